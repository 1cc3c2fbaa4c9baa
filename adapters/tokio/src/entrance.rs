//! The way in: what comes before MQTT, in a task of its own that ends with it, and with one deadline for all of it.

use crate::connection;
use crate::listener::Door;
use crate::stream::Stream;
use crate::turn::{Alarm, Shared};
use metronome_host::transport::{Entrance, Refused, Step};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::time::timeout;

/// How an entrance ends.
enum Outcome {
    In,
    /// It wanted a page, and has it.
    Answered,
    /// It has been told so.
    Refused(Refused),
}

/// Sees a connection to MQTT, or to its page, or out.
pub(crate) async fn run(shared: Rc<Shared>, stream: Stream, peer: Option<SocketAddr>, door: Rc<Door>) {
    let _alarm = Alarm(Rc::clone(&shared));
    let entering = shared.entering();
    let mut entrance = Entrance::new(&door.listener.stages, peer);
    match timeout(shared.connect_timeout, pass(&shared, &stream, &mut entrance)).await {
        Ok(Ok(Outcome::In)) => {
            drop(entering);
            connection::begin(&shared, stream, door.id, entrance.enter());
        }
        Ok(Ok(Outcome::Answered)) => connection::part(&shared, &stream).await,
        Ok(Ok(Outcome::Refused(why))) => {
            log(entrance.peer(), &why);
            connection::part(&shared, &stream).await;
        }
        Ok(Err(error)) => log(entrance.peer(), &error),
        Err(_) => log(entrance.peer(), &"MQTT did not begin in time"),
    }
}

pub(crate) fn log(peer: Option<SocketAddr>, detail: &dyn Display) {
    let peer = peer.map(tracing::field::display);
    tracing::info!(peer, %detail, "connection refused");
}

async fn pass(shared: &Shared, stream: &Stream, entrance: &mut Entrance) -> io::Result<Outcome> {
    loop {
        stream.readable().await?;
        let Some(step) = shared.read_entrance(stream, entrance)? else { continue };
        if let Ok(Step::Page(page)) = step {
            entrance.answer(&shared.page(page));
        }
        while let Err(error) = entrance.write_outgoing(|bytes| stream.try_write(bytes)) {
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error);
            }
            stream.writable().await?;
        }
        match step {
            Ok(Step::More) => {}
            Ok(Step::In) => return Ok(Outcome::In),
            Ok(Step::Page(_)) => return Ok(Outcome::Answered),
            Err(why) => return Ok(Outcome::Refused(why)),
        }
    }
}
