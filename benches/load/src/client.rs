//! One MQTT client on a non-blocking socket: whole packets in, one write for everything that is to be sent.

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use mqtt_proto::{
    Ack, AckProperties, Connect, ConnectProperties, Limits, Packet, PacketId, QoS, ReasonCode, Subscribe,
    SubscribeFilters, SubscribeOptions, UserProperties, Version,
};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// Something that cannot happen with a broker that works.
pub(crate) type Failure = Box<dyn std::error::Error>;

pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) version: Version,
    /// What is to be sent, and how much of it is.
    output: Vec<u8>,
    sent: usize,
    /// The beginning of a packet.
    input: Vec<u8>,
    last_id: u16,
}

impl Client {
    /// Begins to connect; events come under `token`.
    pub(crate) fn open(
        address: SocketAddr,
        version: Version,
        token: usize,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, version, output: Vec::new(), sent: 0, input: Vec::new(), last_id: 0 })
    }

    /// Says CONNECT, with a session that ends with the connection or lasts.
    pub(crate) fn connect(&mut self, client_id: &str, keep_alive: u16, lasts: bool) -> Result<(), Failure> {
        self.send(&Packet::Connect(Connect {
            version: self.version,
            client_id,
            clean_start: !lasts,
            keep_alive,
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties {
                session_expiry_interval: lasts.then_some(3600),
                ..ConnectProperties::default()
            },
        }))
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<(), Failure> {
        let packet_id = self.next_id();
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&[(filter, SubscribeOptions { qos, ..Default::default() })]),
        }))
    }

    pub(crate) fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id % u16::MAX + 1;
        PacketId::new(self.last_id).unwrap_or(PacketId::FIRST)
    }

    pub(crate) fn acknowledge(
        &mut self,
        packet_id: PacketId,
        kind: fn(Ack<'static>) -> Packet<'static>,
    ) -> Result<(), Failure> {
        let (reason, properties) = (ReasonCode::Success, AckProperties::default());
        self.send(&kind(Ack { packet_id, reason, properties }))
    }

    /// Puts a packet behind what waits to be sent.
    pub(crate) fn send(&mut self, packet: &Packet<'_>) -> Result<(), Failure> {
        Ok(packet.encode(self.version, &mut self.output)?)
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    /// Is everything sent?
    pub(crate) fn is_idle(&self) -> bool {
        self.output.is_empty()
    }

    /// Reads everything that is there and hands over each packet. The client is lent to `handle` without its input.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        mut handle: impl FnMut(&mut Self, Packet<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err("the broker closed a connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let mut input = std::mem::take(&mut self.input);
            let begun = !input.is_empty();
            if begun {
                input.extend_from_slice(&buffer[..count]);
            }
            let bytes = if begun { &input[..] } else { &buffer[..count] };
            let mut used = 0;
            while let Some((packet, len)) = Packet::parse(&bytes[used..], self.version, &Limits::NONE)? {
                used += len;
                handle(self, packet)?;
            }
            self.input = if begun {
                input.drain(..used);
                input
            } else {
                bytes[used..].to_vec()
            };
        }
    }
}
