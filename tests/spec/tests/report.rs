//! The report is what the ledgers say now.

#[test]
fn the_report_is_current() {
    for (path, text) in metronome_spec::report::files() {
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is old: `cargo run -p metronome-spec` writes it", path.display());
    }
}
