//! The addresses of a name. The system's resolver knows no time limit, so it is asked on a thread of its own, of which there is
//! one at most, and whoever waits does so no longer than it may.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long addresses hold.
const HOLD: Duration = Duration::from_secs(10);

/// A host with its port.
#[derive(Debug)]
pub(super) struct Name {
    text: String,
    lookup: Arc<Lookup>,
}

#[derive(Debug, Default)]
struct Lookup {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A thread asks.
    asking: bool,
    /// How often one has come back.
    answers: u64,
    found: Vec<SocketAddr>,
    /// Until then.
    holds: Option<Instant>,
    /// Why there is none.
    failure: String,
}

impl Name {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), lookup: Arc::default() }
    }

    /// All of its addresses, or why there are none.
    pub(super) fn addresses(&self, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.text.parse() {
            return Ok(vec![address]);
        }
        self.ask(timeout, |name| name.to_socket_addrs().map(Iterator::collect))
    }

    fn ask(
        &self,
        timeout: Duration,
        resolve: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut state = self.lookup.lock();
        if state.holds.is_some_and(|until| until > Instant::now()) {
            return Ok(state.found.clone());
        }
        if !state.asking {
            let (text, lookup) = (self.text.clone(), Arc::clone(&self.lookup));
            let asks = thread::Builder::new().name("metronome-names".into());
            asks.spawn(move || lookup.answered(resolve(&text)))?;
            state.asking = true;
        }
        let before = state.answers;
        let waits = self.lookup.done.wait_timeout_while(state, timeout, |state| state.answers == before);
        let (state, late) = waits.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return Err(io::Error::new(ErrorKind::TimedOut, "nobody says where the host is"));
        }
        if state.found.is_empty() {
            Err(io::Error::other(state.failure.clone()))
        } else {
            Ok(state.found.clone())
        }
    }
}

impl Lookup {
    fn answered(&self, answer: io::Result<Vec<SocketAddr>>) {
        let mut state = self.lock();
        (state.asking, state.answers) = (false, state.answers + 1);
        (state.found, state.failure) = match answer {
            Ok(found) => (found, "no such host".to_owned()),
            Err(error) => (Vec::new(), error.to_string()),
        };
        state.holds = (!state.found.is_empty()).then(|| Instant::now() + HOLD);
        drop(state);
        self.done.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;
    use std::net::SocketAddr;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_resolver_that_is_slow_holds_nobody_up_and_is_asked_once() {
        let name = Name::new("service:80");
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let (release, released) = channel();
        let slow = move |_: &str| {
            released.recv().unwrap();
            Ok(vec![address])
        };
        let late = name.ask(Duration::from_millis(10), slow).unwrap_err();
        assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
        let again = name.ask(Duration::from_millis(10), |_| panic!("it is being asked already"));
        assert!(again.is_err());
        release.send(()).unwrap();
        assert_eq!(name.ask(LONG, |_| panic!("it is being asked already")).unwrap(), [address]);
        assert_eq!(name.ask(Duration::ZERO, |_| panic!("it is known")).unwrap(), [address]);
    }

    #[test]
    fn a_failure_does_not_stay() {
        let name = Name::new("service:80");
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let failed = name.ask(LONG, |_| Err(std::io::Error::other("no"))).unwrap_err();
        assert_eq!(failed.to_string(), "no");
        assert_eq!(name.ask(LONG, move |_| Ok(vec![address])).unwrap(), [address]);
    }

    #[test]
    fn numbers_are_no_names() {
        assert_eq!(Name::new("[::1]:80").addresses(Duration::ZERO).unwrap().len(), 1);
        assert!(Name::new("localhost:80").addresses(LONG).unwrap().iter().all(|found| found.port() == 80));
    }
}
