//! What the simulator found, faults of the engine and wrong judgements of its own: each scenario in `regressions/` broke a
//! statement once, by itself or in a variant. Now all of them hold, and the packet trace says what happens.

use simulation::scenario::Scenario;
use simulation::variants::{VARIANTS, play_compared, variant};
use simulation::world::{Options, play};
use std::fs;
use std::path::Path;

#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut played = 0;
    for entry in fs::read_dir(folder).expect("the folder of regressions") {
        let path = entry.expect("a file").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&path).expect("a text");
        let scenario = Scenario::from_json(&text).expect("a scenario");
        let outcome = play(&scenario, Options { trace: true, ..Options::default() });
        assert_eq!(outcome.violation, None, "{name}");
        for (varied, _) in VARIANTS {
            if let Some(options) = variant(varied, &scenario, Options::default()) {
                assert_eq!(play_compared(&scenario, options).violation, None, "{name}, {varied}");
            }
        }
        insta::assert_snapshot!(&*name, outcome.trace.text());
        played += 1;
    }
    assert!(played > 0, "no scenario was found");
}
