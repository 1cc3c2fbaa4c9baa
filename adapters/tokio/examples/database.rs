//! Asking a database who may connect, without keeping anybody else waiting. Serves until its input ends:
//! `cargo run -p metronome-tokio --example database -- 127.0.0.1:1883`, then connect as bob with the password secret.

use metronome_tokio::host::engine::{Answer, Authenticate, mqtt_proto::ReasonCode};
use metronome_tokio::{Broker, Client, Decision, Hook};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

/// In place of a query: some time passes, and there is one user.
async fn is_known(username: String, password: Vec<u8>) -> bool {
    tokio::time::sleep(Duration::from_millis(5)).await;
    username == "bob" && password == b"secret"
}

/// Runs its queries in the runtime of the program. The broker has a thread of its own.
struct Database(Handle);

impl Hook for Database {
    fn authenticate(&mut self, client: &Client, connect: &Authenticate) -> Decision {
        let (Some(username), Some(password)) = (client.username.clone(), connect.password.clone()) else {
            return Decision::deny(ReasonCode::NotAuthorized);
        };
        let queries = self.0.clone();
        Decision::later(move |responder| {
            queries.spawn(async move {
                let is_known = is_known(username, password).await;
                let refused = Answer::Deny(ReasonCode::NotAuthorized);
                responder.answer(if is_known { Answer::Allow } else { refused });
            });
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:1883".into());
    let runtime = Runtime::new()?;
    let broker = Broker::builder().listen(&address).hook(Database(runtime.handle().clone())).start()?;
    println!("listening on mqtt://{}", broker.local_addrs()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    broker.shutdown(Duration::from_secs(1));
    Ok(())
}
