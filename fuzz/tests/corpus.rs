//! Every target holds for all that is kept of it, and has a program and a corpus.

use broker_engine::{Engine, HashKey};
use metronome_fuzz::TARGETS;
use metronome_host::recording::Segment;
use simulation::recording::{Options, play};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder; none if there is no such folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join(folder)).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn names(folder: &str) -> BTreeSet<String> {
    files(folder).iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// Says which file it was when a target panics.
struct Replaying<'a>(&'a Path);

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while replaying {}", self.0.display());
        }
    }
}

#[test]
fn what_is_kept_holds() {
    for target in TARGETS {
        let corpus = files(&format!("corpus/{}", target.name));
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        for path in corpus.iter().chain(&files(&format!("regressions/{}", target.name))) {
            let _replaying = Replaying(path);
            (target.run)(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_target_has_a_program_and_nothing_else_is_kept() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("libfuzzer/src/bin"), targets);
    assert_eq!(names("corpus"), targets);
    assert!(names("regressions").is_subset(&targets));
}

/// `cargo run -p metronome-fuzz -- --seeds` writes them anew.
#[test]
fn snapshots_and_recordings_are_of_the_present_format() {
    let snapshot = fs::read(root().join("corpus/snapshot_bytes/snapshot")).unwrap();
    assert!(Engine::restore(&snapshot, HashKey([1, 2])).is_ok());
    let segment = fs::read(root().join("corpus/recording/segment")).unwrap();
    let report = play(&[Segment::from_bytes(segment).unwrap()], Options::default()).unwrap();
    assert!(report.failure.is_none() && report.inputs > 20 && report.digests > 0, "{report:?}");
}

#[test]
fn corpora_stay_small() {
    let sizes = TARGETS.iter().flat_map(|target| files(&format!("corpus/{}", target.name)));
    let bytes: u64 = sizes.map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}
