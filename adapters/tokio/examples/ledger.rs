//! Users and rules from a file inside another program. Serves until its input ends:
//! `cargo run -p metronome-tokio --example ledger -- adapters/hooks/examples/ledger.yaml 127.0.0.1:1883`, then connect as bob
//! with the password "correct horse".

use metronome_hooks::{AccessControl, RuleFiles, Source};
use metronome_tokio::Broker;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("name a ledger")?;
    let address = arguments.next().unwrap_or("127.0.0.1:1883".into());
    let mut files = RuleFiles::load(vec![Source::Ledger(file.into())])?;
    let control = AccessControl::new(files.rules(), false)?;
    let broker = Broker::builder().listen(&address).hook(control).start()?;
    println!("listening on mqtt://{}", broker.local_addrs()[0]);

    // Each line of the input has the file read again; a program would look at `have_changed` now and then.
    for _line in std::io::stdin().lines() {
        match files.reload() {
            Ok(_) => println!("these rules hold from now on"),
            Err(error) => println!("the old rules stay: {error}"),
        }
    }
    broker.shutdown(Duration::from_secs(1));
    Ok(())
}
