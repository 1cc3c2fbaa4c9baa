//! A broker with this plugin. Serves until its input ends: `cargo run -p metronome-last-seen -- FILE`, where the file may have
//!
//! ```toml
//! [last_seen]
//! topic = "seen"
//! except = ["monitor"]
//! ```

use metronome_last_seen::{LastSeen, read};
use metronome_tokio::{AllowAll, Broker};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("name a configuration file")?;
    let (config, section) = read(&std::fs::read_to_string(file)?)?;
    let mut builder = Broker::builder().config(config).hook(AllowAll);
    if let Some(section) = section {
        builder = builder.hook(LastSeen::new(section));
        println!("last_seen is loaded");
    }
    let broker = builder.start()?;
    println!("listening on mqtt://{}", broker.local_addrs()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    broker.shutdown(Duration::from_secs(1));
    Ok(())
}
