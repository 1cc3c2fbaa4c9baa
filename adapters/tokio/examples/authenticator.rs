//! Deciding who may do what: everybody may connect, and nobody may subscribe to `test/nosubscribe`. Serves until its
//! input ends: `cargo run -p metronome-tokio --example authenticator -- 127.0.0.1:1883`.

use metronome_tokio::host::engine::{Answer, Config, Interest, Question, mqtt_proto::ReasonCode};
use metronome_tokio::{AllowAll, Authenticator, Broker, BrokerConfig};
use std::time::Duration;

struct NoSubscribe;

impl Authenticator for NoSubscribe {
    fn interest(&self) -> Interest {
        Interest::SUBSCRIBE
    }

    fn answer(&mut self, question: &Question) -> Answer {
        let Question::Subscribe { filters, .. } = question else { return AllowAll.answer(question) };
        // One verdict for each filter. Only this one is refused: `test/#` still gets its messages.
        let verdict = |filter: &str| match filter {
            "test/nosubscribe" => ReasonCode::UnspecifiedError,
            _ => ReasonCode::Success,
        };
        Answer::Filters(filters.iter().map(|(filter, _)| verdict(filter)).collect())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:1883".into());
    let limits = Config { receive_maximum: 10, max_keep_alive: 60, ..Config::default() };
    let config = BrokerConfig { limits, ..BrokerConfig::default() };
    let broker = Broker::builder().config(config).listen(&address).authenticator(NoSubscribe).start()?;
    println!("listening on mqtt://{}", broker.local_addrs()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    broker.shutdown(Duration::from_secs(1));
    Ok(())
}
