//! Every case, in each of its versions, through the pure engine.

use libtest_mimic::{Arguments, Trial};
use metronome_spec::{cases, engine::EngineTransport, run::run};

fn main() {
    let trials = cases().into_iter().flat_map(|case| {
        case.versions.clone().into_iter().map(move |version| {
            let case = case.clone();
            Trial::test(format!("{}::{version}", case.name), move || {
                run(&case, version, &mut EngineTransport::of(&case)).map_err(Into::into)
            })
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
