//! A client made of raw bytes, so that the tests share no code with what they test.

#![allow(dead_code)] // Each test binary uses a part of it.

#[path = "../../../tasks/tests/suite/packets.rs"]
mod packets;
pub(crate) mod process;

pub(crate) use packets::{connect, packet, publish, string};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a packet.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) version: u8,
}

impl Client {
    /// A transport without CONNECT.
    pub(crate) fn open(address: SocketAddr, version: u8) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, version }
    }

    /// An accepted client.
    pub(crate) fn connect(address: SocketAddr, version: u8, name: &str) -> Self {
        let mut client = Self::open(address, version);
        client.send(&connect(version, name));
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn subscribe(&mut self, topic: &str, qos: u8) {
        let properties: &[u8] = if self.version == 5 { &[0] } else { &[] };
        self.send(&packet(0x82, &[&[0, 1][..], properties, &string(topic), &[qos]].concat()));
        let suback = self.packet();
        assert_eq!((suback[0], suback.last()), (0x90, Some(&qos)), "{suback:02x?}");
    }

    pub(crate) fn publish(&mut self, topic: &str, qos: u8, payload: &[u8]) {
        self.send(&publish(self.version, topic, qos, payload));
    }

    /// One whole packet.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.try_packet().expect("a packet, not the end of the stream")
    }

    /// One whole packet, or `None` at the end of the stream.
    pub(crate) fn try_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 1];
        match self.stream.read(&mut packet) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
        let (mut len, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            packet.push(byte[0]);
            len |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + len, 0);
        self.stream.read_exact(&mut packet[start..]).unwrap();
        Some(packet)
    }

    /// The payload of the next packet, which is a PUBLISH with QoS 0.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        let packet = self.packet();
        assert_eq!(packet[0] & 0xf6, 0x30, "{:02x?}", &packet[..packet.len().min(20)]);
        let head = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let topic = usize::from(packet[head]) << 8 | usize::from(packet[head + 1]);
        packet[head + 2 + topic + usize::from(self.version == 5)..].to_vec()
    }
}
