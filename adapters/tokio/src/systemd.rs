//! systemd: sockets that it hands over, and what it is told of the broker.
//!
//! Both need no library: files are handed over by number, which variables name, and what is told is a datagram of text.
//! Without these variables, nothing happens.

use metronome_tokio::host::config::ListenerConfig;
use metronome_tokio::{Bound, BrokerHandle};
use std::convert::Infallible;
use std::io;
use std::time::Duration;

/// A file that is handed over: its number and name.
type Handed = (i32, String);

/// The first number; the others follow it.
const FIRST: i32 = 3;

/// Sockets that listen already, with their names.
pub(crate) fn sockets() -> io::Result<Vec<(String, Bound)>> {
    let files = handed_over(std::process::id(), |name| std::env::var(name).ok());
    files.into_iter().map(|(number, name)| Ok((name, take(number)?))).collect()
}

/// What the variables say, where they are meant for this process.
fn handed_over(process: u32, variable: impl Fn(&str) -> Option<String>) -> Vec<Handed> {
    let number = |name| variable(name)?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(process) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or_default();
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(ToOwned::to_owned).chain(std::iter::repeat(String::new()));
    (FIRST..).zip(names).take(usize::try_from(count).unwrap_or_default()).collect()
}

#[cfg(unix)]
#[allow(unsafe_code)] // A number becomes a file that is ours in no other way.
fn take(number: i32) -> io::Result<Bound> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // What is not open must not be owned, as it would be closed.
    std::fs::symlink_metadata(format!("/dev/fd/{number}"))?;
    // SAFETY: the file is open, and LISTEN_PID says that it was opened for this process, in which nothing else has it: it is
    // taken once, before anything else is opened.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    Bound::try_from(file)
}

#[cfg(not(unix))]
fn take(_: i32) -> io::Result<Bound> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Finds the listener of each socket: the one of its name, else the one at its address. Where no listeners are configured,
/// each socket is one. Listeners are where their sockets are then.
pub(crate) fn assign(
    listeners: &mut Vec<ListenerConfig>,
    sockets: Vec<(String, Bound)>,
) -> Result<Vec<Bound>, String> {
    let are_all = listeners.is_empty();
    let mut bound = Vec::new();
    for (name, socket) in sockets {
        let place = socket.place().ok_or_else(|| format!("systemd: {name} is at no address or path"))?;
        if are_all {
            listeners.push(ListenerConfig::default().moved_to(&place));
        } else {
            let called = |listener: &ListenerConfig| !name.is_empty() && listener.name == name;
            let is_there = |listener: &ListenerConfig| listener.place().is_ok_and(|at| at.is_same(&place));
            let found = listeners.iter().position(called).or_else(|| listeners.iter().position(is_there));
            let listener = found.and_then(|at| listeners.get_mut(at)).ok_or_else(|| {
                format!("systemd: no listener is called {name:?} or is at {place}, where there is a socket")
            })?;
            *listener = std::mem::take(listener).moved_to(&place);
        }
        bound.push(socket);
    }
    Ok(bound)
}

/// Tells systemd, where it wants to hear.
pub(crate) fn notify(state: &str) {
    if let Err(error) = send(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

#[cfg(unix)]
fn send(state: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match address.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)?
        }
        _ => SocketAddr::from_pathname(&address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.send(state.as_bytes()).map(drop)
}

#[cfg(not(unix))]
fn send(_: &str) -> io::Result<()> {
    Ok(())
}

/// Tells systemd that files are read again; [`notify`] `READY=1` says when that is done.
pub(crate) fn notify_reloading() {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}

/// Tells systemd for ever that the broker's thread lives, twice in each time that it is given.
pub(crate) async fn keep_watch(broker: &BrokerHandle) -> Infallible {
    let Some(patience) = watchdog(std::process::id(), |name| std::env::var(name).ok()) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(patience / 2).await;
        if broker.responds().await {
            notify("WATCHDOG=1");
        }
    }
}

/// How long systemd waits for a sign of life of this process.
fn watchdog(process: u32, variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let number = |name| variable(name)?.parse::<u64>().ok();
    let is_meant = number("WATCHDOG_PID").is_none_or(|meant| meant == u64::from(process));
    number("WATCHDOG_USEC").filter(|micros| is_meant && *micros > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::{Bound, Duration, ListenerConfig, assign, handed_over, watchdog};
    use std::net::TcpListener;

    fn environment(text: &'static str) -> impl Fn(&str) -> Option<String> {
        move |name| {
            let mut variables = text.split(' ').filter_map(|variable| variable.split_once('='));
            variables.find_map(|(known, value)| (known == name).then(|| value.to_owned()))
        }
    }

    #[test]
    fn files_are_for_the_process_that_is_meant() {
        for (variables, wanted) in [
            ("", &[][..]),
            ("LISTEN_FDS=1", &[]),
            ("LISTEN_PID=8 LISTEN_FDS=1", &[]),
            ("LISTEN_PID=7", &[]),
            ("LISTEN_PID=7 LISTEN_FDS=x", &[]),
            ("LISTEN_PID=7 LISTEN_FDS=2", &[(3, ""), (4, "")]),
            ("LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=mqtt:web", &[(3, "mqtt"), (4, "web")]),
            ("LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=mqtt", &[(3, "mqtt"), (4, "")]),
        ] {
            let files = handed_over(7, environment(variables));
            let files: Vec<_> = files.iter().map(|(number, name)| (*number, &**name)).collect();
            assert_eq!(files, wanted, "{variables}");
        }
    }

    #[test]
    fn signs_of_life_are_for_the_process_that_is_meant() {
        for (variables, wanted) in [
            ("", None),
            ("WATCHDOG_USEC=0", None),
            ("WATCHDOG_USEC=2000 WATCHDOG_PID=8", None),
            ("WATCHDOG_USEC=2000 WATCHDOG_PID=7", Some(2)),
            ("WATCHDOG_USEC=2000", Some(2)),
        ] {
            assert_eq!(watchdog(7, environment(variables)), wanted.map(Duration::from_millis), "{variables}");
        }
    }

    #[test]
    fn a_socket_belongs_to_the_listener_of_its_name_or_at_its_address() {
        let socket = || Bound::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let there = socket();
        let address = there.local_addr().unwrap();
        let elsewhere = socket();
        let moved = elsewhere.local_addr().unwrap();
        let named = ListenerConfig { name: "web".to_owned(), ..ListenerConfig::at("ws://0.0.0.0:1/path") };
        let mut listeners =
            vec![named, ListenerConfig::at(address.to_string()), ListenerConfig::at("[::1]:2")];
        let sockets = vec![("x.socket".to_owned(), there), ("web".to_owned(), elsewhere)];
        assert_eq!(assign(&mut listeners, sockets).unwrap().len(), 2);
        let places: Vec<_> = listeners.iter().map(|listener| listener.place().unwrap().to_string()).collect();
        assert_eq!(places, [moved.to_string(), address.to_string(), "[::1]:2".to_owned()]);
        // Its type and its path are what they were.
        assert_eq!(
            (listeners[0].transport.unwrap().name(), listeners[0].path.as_deref()),
            ("ws", Some("/path"))
        );

        let error = assign(&mut listeners, vec![("other".to_owned(), socket())]).unwrap_err();
        assert!(error.contains("no listener is called \"other\" or is at 127.0.0.1:"), "{error}");
        let mut listeners = Vec::new();
        assign(&mut listeners, vec![("any".to_owned(), socket())]).unwrap();
        assert_eq!(listeners.len(), 1);
    }
}
