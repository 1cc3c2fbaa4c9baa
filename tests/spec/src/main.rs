//! Writes `docs/conformance.md`, and its short form into the README.

fn main() -> std::io::Result<()> {
    for (path, text) in metronome_spec::report::files() {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
        println!("{}", path.canonicalize()?.display());
    }
    Ok(())
}
