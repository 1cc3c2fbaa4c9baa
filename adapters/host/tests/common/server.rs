//! A broker's end of every transport, up to the driver, over memory.

use broker_engine::{CloseCause, Config, ConnId, Engine, HashKey, Interest, ListenerId, Seed, Time};
use metronome_host::transport::{Entered, Entrance, Layers, Page, Stages, Step, flush};
use metronome_host::{AllowAll, Driver, Flushed, Hook};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

/// When everything happens.
pub(crate) const NOW: Time = Time::from_secs(1);

/// Two ends of a connection that has no socket.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: VecDeque<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Pipe(pub(crate) Rc<RefCell<Ends>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.borrow_mut().to_client.read(buffer)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().to_server.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server's end, up to the driver.
pub(crate) struct Server {
    pub(crate) driver: Driver,
    pub(crate) entrance: Option<Entrance>,
    pub(crate) client: Option<(ConnId, Layers)>,
    pub(crate) pipe: Pipe,
    /// Bytes that are handed over at a time.
    pub(crate) step: usize,
    /// How it ended, before MQTT or afterwards.
    pub(crate) end: Option<Result<Page, String>>,
    pub(crate) closed: Option<CloseCause>,
}

impl Server {
    pub(crate) fn new(stages: Stages, step: usize) -> Self {
        Self::with(stages, step, AllowAll)
    }

    pub(crate) fn with(stages: Stages, step: usize, hook: impl Hook + 'static) -> Self {
        let config = Config { interest: Interest::CLIENTS, ..Config::default() };
        let engine = Engine::new(config, Seed(1), HashKey([1, 2]));
        let peer = Some("127.0.0.1:4711".parse().unwrap());
        Self {
            driver: Driver::new(engine, hook),
            entrance: Some(Entrance::new(&Arc::new(stages), peer)),
            client: None,
            pipe: Pipe::default(),
            step,
            end: None,
            closed: None,
        }
    }

    /// Takes everything that the client has sent, and answers.
    pub(crate) fn run(&mut self) {
        let bytes = std::mem::take(&mut self.pipe.0.borrow_mut().to_server);
        for part in bytes.chunks(self.step) {
            self.take(part);
        }
    }

    pub(crate) fn take(&mut self, part: &[u8]) {
        if let Some((conn, layers)) = &mut self.client {
            let driver = &mut self.driver;
            if let Err(cause) = layers.receive(&mut part.to_vec(), |mqtt| driver.received(NOW, *conn, mqtt)) {
                self.closed = Some(cause);
            }
            self.flush(usize::MAX);
        } else if let Some(entrance) = &mut self.entrance {
            let step = entrance.receive(part);
            let mut ends = self.pipe.0.borrow_mut();
            entrance.write_outgoing(|bytes| ends.to_client.write(bytes)).unwrap();
            drop(ends);
            match step {
                Ok(Step::More) => {}
                Ok(Step::In) => self.enter(),
                Ok(Step::Page(page)) => {
                    entrance.answer(&self.driver.page(page, NOW, 1_700_000_000));
                    let mut ends = self.pipe.0.borrow_mut();
                    entrance.write_outgoing(|bytes| ends.to_client.write(bytes)).unwrap();
                    self.end = Some(Ok(page));
                }
                Err(why) => {
                    self.end = Some(Err(why.to_string()));
                    self.entrance = None;
                }
            }
        }
    }

    pub(crate) fn enter(&mut self) {
        let Entered { layers, peer, user_name, early, .. } = self.entrance.take().unwrap().enter();
        let conn = self.driver.open(NOW, ListenerId(0), peer);
        if let Some(name) = user_name {
            self.driver.identify(conn, &name);
        }
        self.driver.received(NOW, conn, &early);
        self.client = Some((conn, layers.unwrap_or_default()));
        self.flush(usize::MAX);
    }

    /// Takes everything that the client has sent, to the last of it, at once, and answers with a socket that takes `room` bytes
    /// at a time.
    pub(crate) fn part(&mut self, room: usize) {
        let mut bytes = std::mem::take(&mut self.pipe.0.borrow_mut().to_server);
        let (conn, layers) = self.client.as_mut().unwrap();
        let (conn, driver) = (*conn, &mut self.driver);
        let cause = layers.receive(&mut bytes, |mqtt| driver.received(NOW, conn, mqtt)).unwrap_err();
        // Whoever closes writes once, tells the driver, and goes on writing.
        let mut written = self.flush(room);
        self.driver.closed(NOW, conn, cause);
        while written == Flushed::Blocked {
            written = self.flush(room);
        }
        assert_eq!(written, Flushed::Close);
        self.closed = Some(cause);
    }

    /// Writes, to a socket that takes `room` bytes and then no more.
    pub(crate) fn flush(&mut self, mut room: usize) -> Flushed {
        let (conn, layers) = self.client.as_mut().unwrap();
        let mut ends = self.pipe.0.borrow_mut();
        flush(&mut self.driver, NOW, *conn, layers, |bytes| {
            if room == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(room);
            room -= count;
            ends.to_client.write(&bytes[..count])
        })
    }
}
