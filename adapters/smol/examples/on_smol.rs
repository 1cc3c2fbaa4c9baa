//! A broker inside another program: `cargo run -p metronome-smol --example on_smol`.

use metronome_smol::host::engine::{ApplicationMessage, mqtt_proto::QoS};
use metronome_smol::{AllowAll, Broker};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::builder().listen("127.0.0.1:0").hook(AllowAll).start()?;
    println!("clients can connect to {}", broker.local_addrs()[0]);
    broker.publish(ApplicationMessage {
        topic: "greeting".into(),
        payload: "hello from inside".into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        ..ApplicationMessage::default()
    })?;
    let stats = broker.stats().ok_or("the broker stopped")?;
    println!("{} retained message, {} clients", stats.retained, stats.connections);
    broker.shutdown(Duration::from_secs(1));
    Ok(())
}
