//! What is between socket and MQTT while a client is there.

use super::tls::Tls;
use super::websocket::{self, End, Status, WebSocket};
use crate::driver::{Driver, Flushed};
use broker_engine::{CloseCause, ConnId, Time};
use std::io::{self, ErrorKind, IoSlice};
use std::mem;

/// MQTT bytes that are framed and encrypted at a time. They are in memory twice while the socket does not take them.
const PORTION: usize = 64 << 10;

/// From so many unsent bytes on a ping of the client is not answered: it does not read the answers it has.
const UNREAD: usize = 4 << 10;

/// TLS, WebSocket, or both, of one connection.
#[derive(Debug, Default)]
pub struct Layers {
    /// A kilobyte, which those without it need not have.
    pub(super) tls: Option<Box<Tls>>,
    pub(super) websocket: Option<WebSocket>,
    /// Bytes for the socket, which has taken the first `written` of them.
    outgoing: Vec<u8>,
    written: usize,
    /// MQTT bytes that are among them.
    carried: usize,
    /// What a layer has to say at the end that the client has brought about, behind what MQTT has to say.
    last_words: Option<Vec<u8>>,
    is_over: bool,
}

impl Layers {
    /// Takes what came from the socket and hands on the MQTT bytes in it. Afterwards, and also after an error, there may
    /// be something to [`flush`].
    ///
    /// # Errors
    /// The client has ended the conversation in an orderly way, or made it impossible.
    pub fn receive(&mut self, bytes: &mut [u8], mut deliver: impl FnMut(&[u8])) -> Result<(), CloseCause> {
        if self.is_ending() {
            return Ok(());
        }
        let (mut said, websocket) = (Vec::new(), &mut self.websocket);
        let mut unframe = |bytes: &mut [u8]| unframe(websocket, bytes, &mut said, &mut deliver);
        let end = match &mut self.tls {
            Some(tls) => tls.receive(bytes, unframe),
            None => unframe(bytes),
        };
        self.answer(said, end)
    }

    /// As [`Layers::receive`], with what has been decrypted already.
    pub(super) fn receive_plain(
        &mut self,
        bytes: &mut [u8],
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), CloseCause> {
        let mut said = Vec::new();
        let end = unframe(&mut self.websocket, bytes, &mut said, &mut deliver);
        self.answer(said, end)
    }

    /// Sends what a layer answers by itself. At the end that waits: the client may have asked something in the same breath,
    /// and [`flush`] has the answers.
    fn answer(&mut self, said: Vec<u8>, end: Result<(), CloseCause>) -> Result<(), CloseCause> {
        if end.is_err() {
            self.last_words = Some(said);
        } else if self.outgoing.len() - self.written < UNREAD {
            self.send(said);
        } else if let Some(tls) = &mut self.tls {
            tls.collect(&mut self.outgoing);
        }
        end
    }

    /// Has one side said goodbye?
    pub fn is_ending(&self) -> bool {
        self.is_over || self.last_words.is_some()
    }

    /// Is there something that the socket has not taken?
    pub fn has_outgoing(&self) -> bool {
        self.written < self.outgoing.len() || self.last_words.is_some()
    }

    /// Says goodbye in the words of each layer; nothing can be sent behind it.
    pub fn close(&mut self) {
        if self.is_over {
            return;
        }
        let last_words = self.last_words.take().unwrap_or_else(|| {
            let mut frame = Vec::new();
            if self.websocket.is_some() {
                websocket::close(Status::Normal, &mut frame);
            }
            frame
        });
        self.send(last_words);
        self.is_over = true;
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.outgoing);
        }
    }

    /// Sends bytes that stand in no frame.
    pub(super) fn send(&mut self, plain: Vec<u8>) {
        match &mut self.tls {
            Some(tls) => tls.send(&plain, &mut self.outgoing),
            None if self.outgoing.is_empty() => self.outgoing = plain,
            None => self.outgoing.extend(plain),
        }
    }

    /// Writes the next of `slices`; says how many of their bytes the socket has taken, with all that they were wrapped
    /// in. Until then they have to stay the first.
    fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.carried == 0 {
            self.carried = slices.iter().map(|slice| slice.len()).sum::<usize>().min(PORTION);
            let mut plain = Vec::with_capacity(self.carried + websocket::OUR_HEADER);
            if self.websocket.is_some() {
                websocket::header(self.carried, &mut plain);
            }
            let mut left = self.carried;
            for slice in slices {
                let part = &slice[..slice.len().min(left)];
                plain.extend_from_slice(part);
                left -= part.len();
            }
            self.send(plain);
        }
        self.write_outgoing(write)?;
        Ok(mem::take(&mut self.carried))
    }

    /// Writes until nothing is left, or the socket takes no more.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write_outgoing(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while self.written < self.outgoing.len() {
            match write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // An idle connection has no buffer.
        (self.outgoing, self.written) = (Vec::new(), 0);
        Ok(())
    }
}

/// Hands on what stands in frames, where there are frames.
fn unframe(
    websocket: &mut Option<WebSocket>,
    bytes: &mut [u8],
    said: &mut Vec<u8>,
    deliver: &mut impl FnMut(&[u8]),
) -> Result<(), CloseCause> {
    let Some(websocket) = websocket else {
        deliver(bytes);
        return Ok(());
    };
    websocket.receive(bytes, said, deliver).map_err(|end| match end {
        End::Closed => CloseCause::PeerClosed,
        End::Broken(status) => {
            websocket::close(status, said);
            CloseCause::Fault
        }
    })
}

/// As [`Driver::flush`], through the layers of the connection. What they say by themselves is written too; a goodbye
/// comes last, whoever began with it, so [`Flushed::Close`] means that it is written as well.
pub fn flush(
    driver: &mut Driver,
    now: Time,
    conn: ConnId,
    layers: &mut Layers,
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
) -> Flushed {
    let mut outcome = Flushed::Close;
    let is_served = !layers.is_over;
    if is_served {
        outcome = driver.flush(now, conn, |slices| layers.write(slices, &mut write));
        if outcome == Flushed::Close || outcome == Flushed::Done && layers.is_ending() {
            layers.close();
            outcome = Flushed::Close;
        }
    }
    if outcome == Flushed::Broken {
        return Flushed::Broken;
    }
    match layers.write_outgoing(write) {
        Ok(()) => outcome,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Flushed::Blocked,
        Err(_) => {
            if is_served && !driver.is_closing(conn) {
                driver.closed(now, conn, CloseCause::Fault);
            }
            Flushed::Broken
        }
    }
}
