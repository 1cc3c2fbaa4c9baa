//! TLS over memory: records in, plain bytes out, and the other way round.

use broker_engine::CloseCause;
use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

/// Plain bytes of one record.
const RECORD: usize = 16 << 10;

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct Tls {
    connection: ServerConnection,
    fault: Option<rustls::Error>,
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        // What is given to it leaves it in the same call, so the bound is with who gives.
        connection.set_buffer_limit(None);
        Ok(Self { connection, fault: None })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What was wrong with what the client sent.
    pub(super) fn fault(&self) -> Option<&rustls::Error> {
        self.fault.as_ref()
    }

    /// The certificate with which the client has shown who it is.
    pub(super) fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// Takes records in any split and hands on what is in them. What the client is to hear in turn is for
    /// [`Tls::collect`], also after an error: it says which.
    pub(super) fn receive(
        &mut self,
        mut records: &[u8],
        mut deliver: impl FnMut(&mut [u8]) -> Result<(), CloseCause>,
    ) -> Result<(), CloseCause> {
        let mut plain = [0; RECORD];
        while !records.is_empty() {
            // It takes no more than it has room for.
            let taken = self.connection.read_tls(&mut records).map_err(|_| CloseCause::Fault)?;
            if taken == 0 {
                return Err(CloseCause::PeerClosed);
            }
            if let Err(fault) = self.connection.process_new_packets() {
                self.fault = Some(fault);
                return Err(CloseCause::Fault);
            }
            loop {
                match self.connection.reader().read(&mut plain) {
                    Ok(0) => return Err(CloseCause::PeerClosed),
                    Ok(count) => deliver(&mut plain[..count])?,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return Err(CloseCause::Fault),
                }
            }
        }
        Ok(())
    }

    /// Encrypts.
    pub(super) fn send(&mut self, plain: &[u8], outgoing: &mut Vec<u8>) {
        if !plain.is_empty() {
            // It has no limit, so it takes everything.
            let taken = self.connection.writer().write(plain);
            debug_assert_eq!(taken.ok(), Some(plain.len()));
        }
        self.collect(outgoing);
    }

    /// Says that nothing more is sent.
    pub(super) fn close(&mut self, outgoing: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.collect(outgoing);
    }

    /// Fetches the records that wait to be sent.
    pub(super) fn collect(&mut self, outgoing: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Memory takes everything.
            if self.connection.write_tls(outgoing).is_err() {
                return;
            }
        }
    }
}
