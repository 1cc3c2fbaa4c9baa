//! A connection to the server, plain or over TLS. A server that is silent for too long counts as gone.

use super::RedisOptions;
use super::resp::{Pipeline, Reply, read_reply};
use crate::redis_url::RedisUrl;
use crate::store::StoreError;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time for a connection to be there.
const CONNECT: Duration = Duration::from_secs(5);

/// Time in which the server takes or says something.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A connection on which a user is known and a database chosen.
pub(super) struct Link {
    stream: BufReader<Box<dyn Stream>>,
}

impl Link {
    /// Connects. The password is read from its file each time, so it may change.
    pub(super) fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        let url = &options.url;
        let socket = connect(url).map_err(|error| failed(describe(&error)))?;
        let stream: Box<dyn Stream> =
            if url.tls { Box::new(secure(socket, url, options.ca.as_deref())?) } else { Box::new(socket) };
        let mut link = Self { stream: BufReader::new(stream) };
        let password = match &options.password_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| failed(format!("cannot read {}: {error}", file.display())))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => url.password.clone(),
        };
        let mut hello = Pipeline::default();
        match (&url.user, &password) {
            (Some(user), password) => {
                let password = password.as_deref().unwrap_or_default();
                hello.push(&[b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
            (None, Some(password)) => {
                hello.push(&[b"AUTH", password.as_bytes()]);
            }
            (None, None) => {}
        }
        hello.push(&[b"SELECT", url.database.to_string().as_bytes()]);
        link.ask(&hello)?;
        Ok(link)
    }

    /// Asks, and hears an answer to each request; the first that is an error is the error.
    pub(super) fn ask(&mut self, pipeline: &Pipeline) -> Result<Vec<Reply>, StoreError> {
        let replies = self.exchange(pipeline).map_err(|error| failed(describe(&error)))?;
        match replies.iter().find_map(Reply::error) {
            Some(error) => Err(failed(format!("the server says: {error}"))),
            None => Ok(replies),
        }
    }

    /// The same, where errors are answers as well.
    pub(super) fn exchange(&mut self, pipeline: &Pipeline) -> io::Result<Vec<Reply>> {
        let stream = self.stream.get_mut();
        stream.write_all(pipeline.bytes())?;
        stream.flush()?;
        (0..pipeline.requests()).map(|_| read_reply(&mut self.stream)).collect()
    }
}

fn connect(url: &RedisUrl) -> io::Result<TcpStream> {
    let mut failure = ErrorKind::AddrNotAvailable.into();
    for address in (&*url.host, url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(SILENCE))?;
                socket.set_write_timeout(Some(SILENCE))?;
                return Ok(socket);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn secure(
    socket: TcpStream,
    url: &RedisUrl,
    authorities: Option<&Path>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, StoreError> {
    let file = authorities.ok_or_else(|| {
        failed("rediss:// needs redis_ca, a file such as /etc/ssl/certs/ca-certificates.crt that says who vouches for the server")
    })?;
    let wrong = |error: &dyn fmt::Display| failed(format!("{}: {error}", file.display()));
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.map_err(|error| wrong(&error))?);
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|error| failed(format!("TLS: {error}")))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
    let connection = config.and_then(|config| ClientConnection::new(Arc::new(config), name));
    Ok(StreamOwned::new(connection.map_err(|error| failed(format!("TLS: {error}")))?, socket))
}

/// What happened to the connection, for a person.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the server does not answer".to_owned(),
        ErrorKind::UnexpectedEof => "the server has closed the connection".to_owned(),
        ErrorKind::ConnectionRefused => "no server is there: the connection is refused".to_owned(),
        _ => error.to_string(),
    }
}

pub(super) fn failed(what: impl Into<String>) -> StoreError {
    StoreError::Failed(what.into())
}
