//! The host's driver over sockets that take little at a time, or nothing for a while.

use crate::steps::{self, CLIENTS, Clients, Fault, Player};
use broker_engine::{CloseCause, Command, Config, ConnId, Engine, HashKey, Interest, ListenerId, Seed, Time};
use metronome_host::{AllowAll, Driver, Flushed};
use std::io::{self, ErrorKind};

/// Calls after which a turn must have come to its end.
const MOST_CALLS: u32 = 20_000;

/// The same steps over sockets that take everything, and over some that do not: every client gets the same bytes.
pub fn driver(bytes: &[u8]) {
    let Some((setup, steps)) = steps::draw(bytes) else { return };
    // What a full socket or a budget makes of publications is another matter: here nothing comes near.
    let config = Config {
        memory_high: None,
        memory_max: None,
        interest: Interest::CLIENTS,
        queue_qos0_offline: true,
        ..setup.config()
    };
    let [whole, partial] = [None, Some(setup.number)].map(|room| {
        let (mut turns, mut clients) = (Turns::new(config.clone(), room), Clients::new());
        for step in &steps {
            clients.play(step, &mut turns);
        }
        turns.end();
        turns
    });
    assert!(whole.written == partial.written, "other bytes through a small socket");
}

/// What an adapter does with the driver, its sockets played.
struct Turns {
    driver: Driver,
    now: u64,
    current: [Option<ConnId>; CLIENTS],
    /// What the sockets took, in the order of connections.
    written: Vec<(ConnId, Vec<u8>)>,
    /// How much a socket takes at a time, by chance of this state; `None` is everything.
    room: Option<u32>,
}

impl Turns {
    fn new(config: Config, room: Option<u8>) -> Self {
        let engine = Engine::new(config, Seed(3), HashKey([1, 2]));
        Self {
            driver: Driver::new(engine, AllowAll),
            now: 1_000_000,
            current: [None; CLIENTS],
            written: Vec::new(),
            room: room.map(u32::from),
        }
    }

    fn time(&self) -> Time {
        Time::from_micros(self.now)
    }

    /// Ends a turn: the engine's work is done, and what is dirty is flushed until the sockets have it all.
    fn turn(&mut self) {
        let mut calls = 0;
        loop {
            calls += 1;
            assert!(calls < MOST_CALLS, "a turn that never ends");
            while self.driver.next_urgent().is_some() {}
            while self.driver.next_changed().is_some() {}
            if let Some(conn) = self.driver.next_dirty() {
                self.flush(conn);
            } else if self.driver.next_deadline().is_some_and(|deadline| deadline.at <= self.time()) {
                self.driver.tick(self.time());
            } else {
                break;
            }
        }
        self.driver.view().verify().expect("the engine's accounts add up");
    }

    fn flush(&mut self, conn: ConnId) {
        loop {
            let now = self.time();
            let (room, written) = (&mut self.room, &mut self.written);
            let flushed = self.driver.flush(now, conn, |slices| {
                let mut most = usize::MAX;
                if let Some(state) = room {
                    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    match *state >> 29 {
                        0 => return Err(ErrorKind::WouldBlock.into()),
                        1 => return Err(io::Error::from(ErrorKind::Interrupted)),
                        _ => most = 1 + (*state >> 16) as usize % 40,
                    }
                }
                let place = written.iter_mut().rfind(|(known, _)| *known == conn);
                let (_, bytes) = place.expect("a connection that was opened");
                let before = bytes.len();
                bytes.extend(slices.iter().flat_map(|slice| slice.iter()).take(most));
                Ok(bytes.len() - before)
            });
            match flushed {
                Flushed::Done => return,
                Flushed::Blocked => assert!(self.driver.unsent(conn) > 0, "blocked, and nothing is left"),
                Flushed::Close => {
                    self.driver.release(conn);
                    for current in &mut self.current {
                        current.take_if(|known| *known == conn);
                    }
                    return;
                }
                Flushed::Broken => unreachable!("these sockets do not break"),
            }
        }
    }

    /// Everybody goes.
    fn end(&mut self) {
        for who in 0..CLIENTS {
            self.cut(who, CloseCause::PeerClosed);
        }
        assert_eq!((self.driver.strangers(), self.driver.view().transports()), (0, 0));
    }
}

impl Player for Turns {
    fn open(&mut self, who: usize) {
        self.cut(who, CloseCause::Fault);
        let conn = self.driver.open(self.time(), ListenerId(0), None);
        self.current[who] = Some(conn);
        self.written.push((conn, Vec::new()));
        self.turn();
    }

    fn feed(&mut self, who: usize, bytes: &[u8]) {
        if let Some(conn) = self.current[who] {
            self.driver.received(self.time(), conn, bytes);
            self.turn();
        }
    }

    fn cut(&mut self, who: usize, cause: CloseCause) {
        if let Some(conn) = self.current[who].take() {
            self.driver.closed(self.time(), conn, cause);
            self.driver.release(conn);
            self.turn();
        }
    }

    fn command(&mut self, command: Command) {
        self.driver.command(self.time(), command);
        self.turn();
    }

    fn wait(&mut self, micros: u64) {
        self.now += micros;
        self.driver.tick(self.time());
        self.turn();
    }

    fn fault(&mut self, _: &Fault) {}
}
