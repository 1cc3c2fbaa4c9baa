//! The way in: what comes before MQTT, in a task of its own that ends with it, and with one deadline for all of it.

use crate::connection;
use crate::listener::Door;
use crate::runtime::timeout;
use crate::turn::Shared;
use crate::{Runtime, Stream};
use metronome_host::transport::{Entrance, Refused, Step};
use std::fmt::Display;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

/// How an entrance ends.
enum Outcome {
    In,
    /// It wanted a page, and has it.
    Answered,
    /// It has been told so.
    Refused(Refused),
}

/// Sees a connection to MQTT, or to its page, or out.
pub(crate) async fn run<R: Runtime>(
    shared: Rc<Shared<R>>,
    stream: R::Stream,
    peer: Option<SocketAddr>,
    door: Rc<Door>,
) {
    let entering = shared.entering(peer.map(|peer| peer.ip()));
    let mut entrance = Entrance::new(&door.listener.stages, peer);
    match timeout::<R, _>(shared.connect_timeout, pass(&shared, &stream, &mut entrance)).await {
        Some(Ok(Outcome::In)) => {
            drop(entering);
            // Only now it is known who a proxy connects for.
            if door.listener.stages.is_proxied && is_one_too_many(&shared, &door, entrance.peer()) {
                return;
            }
            connection::begin(&shared, stream, door.id, entrance.enter());
        }
        Some(Ok(Outcome::Answered)) => connection::part(&shared, &stream).await,
        Some(Ok(Outcome::Refused(why))) => {
            log(entrance.peer(), &why);
            connection::part(&shared, &stream).await;
        }
        Some(Err(error)) => log(entrance.peer(), &error),
        None => log(entrance.peer(), &"MQTT did not begin in time"),
    }
}

/// Has its address as many connections that are not let in as it may have?
pub(crate) fn is_one_too_many<R: Runtime>(shared: &Shared<R>, door: &Door, peer: Option<SocketAddr>) -> bool {
    let most = door.listener.max_strangers_per_address as usize;
    let too_many = most > 0 && peer.is_some_and(|peer| shared.strangers_at(peer.ip()) >= most);
    if too_many {
        log(peer, &"too many connections from there that are not let in");
    }
    too_many
}

pub(crate) fn log(peer: Option<SocketAddr>, detail: &dyn Display) {
    let peer = peer.map(tracing::field::display);
    tracing::info!(peer, %detail, "connection refused");
}

async fn pass<R: Runtime>(
    shared: &Shared<R>,
    stream: &R::Stream,
    entrance: &mut Entrance,
) -> io::Result<Outcome> {
    loop {
        poll_fn(|context| stream.poll_read_ready(context)).await?;
        let Some(step) = shared.read_entrance(stream, entrance)? else { continue };
        if let Ok(Step::Page(page)) = step {
            entrance.answer(&shared.page(page));
        }
        while let Err(error) = entrance.write_outgoing(|bytes| stream.write(bytes)) {
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error);
            }
            poll_fn(|context| stream.poll_write_ready(context)).await?;
        }
        match step {
            Ok(Step::More) => {}
            Ok(Step::In) => return Ok(Outcome::In),
            Ok(Step::Page(_)) => return Ok(Outcome::Answered),
            Err(why) => return Ok(Outcome::Refused(why)),
        }
    }
}
