//! What stands between a socket and MQTT: PROXY headers, requests and frames. TLS draws from a random source, so it is
//! left to tests.

use broker_engine::CloseCause;
use metronome_host::config::listeners::MetricNames;
use metronome_host::transport::{Entrance, Page, Service, Stages, Step, WebSocketPolicy};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// What becomes of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    mqtt: Vec<u8>,
    peer: Option<SocketAddr>,
    is_in: bool,
    page: Option<Page>,
    /// It was refused, or has ended.
    is_over: bool,
}

/// The first byte chooses the stages. Bytes that come at once lead to the same as the same ones that come one by one.
pub fn transport(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let policy =
        WebSocketPolicy { path: "/mqtt".to_owned(), origins: Vec::new(), max_message: u64::from(*kind) << 4 };
    let service = match kind & 3 {
        0 => Service::Mqtt,
        1 => Service::WebSocket(policy),
        2 => Service::Any(policy),
        _ => Service::Pages(MetricNames::default()),
    };
    let stages = Arc::new(Stages { is_proxied: kind & 4 != 0, tls: None, service });
    let whole = outcome(&stages, bytes, usize::MAX);
    for step in [1, 3, 64] {
        let parts = outcome(&stages, bytes, step);
        if whole.is_over && parts.is_over {
            // What a breach of frames cuts off behind the handshake may have got through in parts.
            assert!(parts.mqtt.starts_with(&whole.mqtt) || whole.mqtt.starts_with(&parts.mqtt));
            assert_eq!((whole.page, whole.peer), (parts.page, parts.peer));
        } else {
            assert_eq!(whole, parts, "in steps of {step}");
        }
    }
}

fn outcome(stages: &Arc<Stages>, bytes: &[u8], step: usize) -> Outcome {
    let mut entrance = Some(Entrance::new(stages, None));
    let mut layers = None;
    let mut outcome = Outcome::default();
    for part in bytes.chunks(step) {
        let Some(entering) = &mut entrance else {
            let Some(layers) = &mut layers else {
                outcome.mqtt.extend_from_slice(part);
                continue;
            };
            let received = receive(layers, part, &mut outcome.mqtt);
            outcome.is_over = received.is_err();
            if outcome.is_over {
                return outcome;
            }
            continue;
        };
        let step = entering.receive(part);
        let mut said = Vec::new();
        entering.write_outgoing(|bytes| said.write(bytes)).expect("memory takes everything");
        outcome.peer = entering.peer();
        match step {
            Ok(Step::More) => assert!(said.is_empty()),
            Ok(Step::Page(page)) => {
                (outcome.page, outcome.is_over) = (Some(page), true);
                return outcome;
            }
            Err(_) => {
                let is_http = said.starts_with(b"HTTP/1.1 ");
                assert!(said.is_empty() || is_http, "{said:?}");
                outcome.is_over = true;
                return outcome;
            }
            Ok(Step::In) => {
                outcome.is_in = true;
                if let Some(entered) = entrance.take().map(Entrance::enter) {
                    outcome.mqtt.extend(entered.early);
                    layers = entered.layers;
                }
            }
        }
    }
    outcome
}

fn receive(
    layers: &mut metronome_host::transport::Layers,
    part: &[u8],
    mqtt: &mut Vec<u8>,
) -> Result<(), CloseCause> {
    let received = layers.receive(&mut part.to_vec(), |bytes| mqtt.extend_from_slice(bytes));
    let mut said = Vec::new();
    layers.write_outgoing(|bytes| said.write(bytes)).expect("memory takes everything");
    // A pong or a Close frame, or both.
    assert!(said.len() <= 2 * 127 + 4, "{} bytes", said.len());
    received
}
