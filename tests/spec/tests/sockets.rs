//! The same cases over real sockets, against the binary that `TESTED_BROKER` names, or, where a case asks for an
//! authentication that the binary does not have, against the library.

use libtest_mimic::{Arguments, Trial};
use metronome_spec::{cases, run::run, socket::SocketTransport};

/// Cases mostly wait, so many can be run side by side.
const AT_ONCE: usize = 16;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let trials = cases().into_iter().flat_map(|case| {
        case.versions.clone().into_iter().map(move |version| {
            let case = case.clone();
            Trial::test(format!("{}::{version}", case.name), move || {
                run(&case, version, &mut SocketTransport::of(&case)).map_err(Into::into)
            })
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
