//! Deciding who may do what: everybody may connect, and nobody may subscribe to `test/nosubscribe`. Serves until its
//! input ends: `cargo run -p metronome-tokio --example hook -- 127.0.0.1:1883`.

use metronome_tokio::host::engine::mqtt_proto::{ReasonCode, SubscribeOptions};
use metronome_tokio::host::engine::{Answer, Config, Interest};
use metronome_tokio::{AllowAll, Broker, BrokerConfig, Client, Decision, Hook};
use std::time::Duration;

struct NoSubscribe;

impl Hook for NoSubscribe {
    fn interest(&self) -> Interest {
        Interest::SUBSCRIBE
    }

    fn subscribe(&mut self, _: &Client, filters: &[(String, SubscribeOptions)]) -> Decision {
        // One verdict for each filter. Only this one is refused: `test/#` still gets its messages.
        let verdict = |filter: &str| match filter {
            "test/nosubscribe" => ReasonCode::UnspecifiedError,
            _ => ReasonCode::Success,
        };
        Answer::Filters(filters.iter().map(|(filter, _)| verdict(filter)).collect()).into()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:1883".into());
    let limits = Config { receive_maximum: 10, max_keep_alive: 60, ..Config::default() };
    let config = BrokerConfig { limits, ..BrokerConfig::default() };
    let broker =
        Broker::builder().config(config).listen(&address).hook(NoSubscribe).hook(AllowAll).start()?;
    println!("listening on mqtt://{}", broker.local_addrs()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    broker.shutdown(Duration::from_secs(1));
    Ok(())
}
