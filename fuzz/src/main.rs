//! `metronome-fuzz TARGET FILE...`: runs a target on what a fuzzer found; `metronome-fuzz --save FILE` prints the
//! scenario that a file of the target `scenario` is, for the simulator to replay and to shrink; `metronome-fuzz --seeds`
//! writes the files of the corpora that are of the broker's own formats.

use metronome_fuzz::{TARGETS, seeds};
use simulation::scenario::from_bytes;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metronome-fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let read = |file: &String| fs::read(file).map_err(|error| format!("{file}: {error}"));
    match arguments {
        [command, file] if command == "--save" => print!("{}", from_bytes(&read(file)?).to_json()),
        [command] if command == "--seeds" => {
            let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
            seeds::write(&corpora).map_err(|error| format!("{}: {error}", corpora.display()))?;
        }
        [name, files @ ..] if !files.is_empty() => {
            let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(" ");
            let target = TARGETS.iter().find(|target| target.name == name);
            let target = target.ok_or_else(|| format!("no target {name}; there are {}", names()))?;
            for file in files {
                (target.run)(&read(file)?);
                println!("{name} holds for {file}");
            }
        }
        _ => return Err("TARGET FILE..., or --save FILE, or --seeds".to_owned()),
    }
    Ok(())
}
