//! What happens when the process has no file left. A test binary of its own, as the limit is the process's.
#![cfg(unix)]

mod common;

use common::{Client, connect};
use metronome_tokio::{AllowAll, Broker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

#[test]
fn running_out_of_files_refuses_new_clients_and_keeps_old_ones() {
    let broker = Broker::builder().listen("127.0.0.1:0").hook(AllowAll).start().unwrap();
    let address = broker.local_addrs()[0];
    let mut old = Client::connect(address, 4, "old");
    // The clients' own files are opened before there are none.
    let sockets: Vec<Socket> =
        (0..12).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let highest = sockets.iter().map(AsRawFd::as_raw_fd).max().unwrap();
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(u64::try_from(highest).unwrap() + 4), ..before };
    setrlimit(Resource::Nofile, few).unwrap();
    let mut accepted = Vec::new();
    let mut refused = 0;
    for (number, socket) in sockets.into_iter().enumerate() {
        socket.connect(&address.into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut client = Client { stream: TcpStream::from(socket), version: 4 };
        // A refused one may be closed before this is sent.
        let _refused = std::io::Write::write_all(&mut client.stream, &connect(4, &format!("c{number}")));
        match client.try_packet() {
            Some(connack) => {
                assert_eq!(connack, [0x20, 2, 0, 0]);
                accepted.push(client);
            }
            None => refused += 1,
        }
    }
    assert!(refused > 0 && accepted.len() >= 2, "{refused} refused, {} accepted", accepted.len());
    old.send(&[0xc0, 0]);
    assert_eq!(old.packet(), [0xd0, 0]);
    setrlimit(Resource::Nofile, before).unwrap();
    Client::connect(address, 4, "new");
}
