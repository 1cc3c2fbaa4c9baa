//! Options of connected TCP sockets.

use metronome_host::config::listeners::TcpConfig;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;

/// Sets options as configured, where the system has them. Small packets leave at once: what belongs together is one write
/// already.
pub fn prepare(socket: &SockRef<'_>, config: TcpConfig) {
    // A failure means that the client has gone already; its task will find out.
    let _gone = set(socket, config);
}

fn set(socket: &SockRef<'_>, config: TcpConfig) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(keepalive) = keepalive(config) {
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if config.user_timeout_ms > 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(config.user_timeout_ms.into())))?;
    }
    Ok(())
}

/// What is 0 is left to the system; `None` where everything is.
fn keepalive(config: TcpConfig) -> Option<TcpKeepalive> {
    let TcpConfig { keepalive_idle_s, keepalive_interval_s, keepalive_probes, user_timeout_ms: _ } = config;
    if keepalive_idle_s == 0 && keepalive_interval_s == 0 && keepalive_probes == 0 {
        return None;
    }
    let mut keepalive = TcpKeepalive::new();
    if keepalive_idle_s > 0 {
        keepalive = keepalive.with_time(Duration::from_secs(keepalive_idle_s.into()));
    }
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "macos",
        windows
    ))]
    {
        if keepalive_interval_s > 0 {
            keepalive = keepalive.with_interval(Duration::from_secs(keepalive_interval_s.into()));
        }
        if keepalive_probes > 0 {
            keepalive = keepalive.with_retries(keepalive_probes);
        }
    }
    Some(keepalive)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{SockRef, TcpConfig, prepare};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn each_option_reaches_the_socket_and_what_is_not_set_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = SockRef::from(&stream);
        let seconds = Duration::from_secs;
        let before = (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_retries().unwrap());
        prepare(&socket, TcpConfig::default());
        assert!(socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        let config = TcpConfig { keepalive_interval_s: 7, ..TcpConfig::default() };
        prepare(&socket, config);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(7));
        assert_eq!((socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_retries().unwrap()), before);
        prepare(
            &socket,
            TcpConfig { keepalive_idle_s: 5, keepalive_probes: 3, user_timeout_ms: 9000, ..config },
        );
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(9)));
    }
}
