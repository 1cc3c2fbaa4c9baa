//! A client's half of every transport, over anything that reads and writes: rustls and tungstenite.

use super::authority::Authority;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

pub(crate) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// How a client speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// Of its certificate and key.
    pub(crate) name: Option<&'static str>,
    pub(crate) server_name: &'static str,
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) only_1_2: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { name: None, server_name: "localhost", protocols: Vec::new(), only_1_2: false }
    }
}

impl Tls {
    /// Trusts `authority`, and has its certificate from there.
    pub(crate) fn over<S: Read + Write>(
        &self,
        authority: &Authority,
        stream: S,
    ) -> StreamOwned<ClientConnection, S> {
        let certificates = |file: &str| -> Vec<CertificateDer<'static>> {
            let file = authority.file(file);
            CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
        };
        let mut roots = RootCertStore::empty();
        roots.add(certificates("ca.pem").remove(0)).unwrap();
        let versions = if self.only_1_2 { &[&TLS12][..] } else { &[&TLS13, &TLS12] };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(authority.file(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(certificates(&format!("{name}.pem")), key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(self.server_name).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }
}

/// Shakes hands; `wait` is called when the stream has nothing to read.
pub(crate) fn shake_hands<S: Stream>(
    stream: &mut StreamOwned<ClientConnection, S>,
    mut wait: impl FnMut(),
) -> io::Result<()> {
    while stream.conn.is_handshaking() {
        match stream.conn.complete_io(&mut stream.sock) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(),
            done => {
                done?;
            }
        }
    }
    Ok(())
}

/// Opens a WebSocket for MQTT; `wait` is called when the stream has nothing to read.
pub(crate) fn websocket<S: Stream>(stream: S, path: &str, mut wait: impl FnMut()) -> WebSocket<S> {
    let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    let mut handshake = tungstenite::client::client(request, stream);
    loop {
        match handshake {
            Ok((socket, _)) => return socket,
            Err(HandshakeError::Interrupted(half)) => {
                wait();
                handshake = half.handshake();
            }
            Err(HandshakeError::Failure(error)) => panic!("{error}"),
        }
    }
}

/// The bytes of the messages of a WebSocket, each write being a message.
pub(crate) struct Messages<S> {
    pub(crate) socket: WebSocket<S>,
    /// Of the message that came last.
    rest: Vec<u8>,
}

impl<S> Messages<S> {
    pub(crate) fn of(socket: WebSocket<S>) -> Self {
        Self { socket, rest: Vec::new() }
    }
}

impl<S: Stream> Read for Messages<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.rest = bytes.to_vec(),
                Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => return Ok(0),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

impl<S: Stream> Write for Messages<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.send(Message::Binary(bytes.to_vec().into())) {
            Ok(()) => Ok(bytes.len()),
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(bytes.len()),
            Err(tungstenite::Error::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
