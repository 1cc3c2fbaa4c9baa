//! From files to what TLS needs, and again when they change.
//!
//! Everything is read and checked before anything is used: a reload makes a new configuration and puts it in place of
//! the old one, or fails and leaves that. Who is connected stays as it came in.

use super::Refused;
use crate::config::ConfigError;
use crate::config::listeners::{ClientCertificates, TlsConfig, TlsVersion};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};

/// The attribute of a name that is one's own name (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What a listener shows of itself and asks of its clients.
#[derive(Debug)]
pub struct Certificates {
    files: TlsConfig,
    /// Names of the protocols that are spoken inside (ALPN).
    protocols: Vec<Vec<u8>>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Certificates {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// Names the first file that cannot be used, and why.
    pub fn load(files: TlsConfig, protocols: &[&[u8]]) -> Result<Self, ConfigError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let current = RwLock::new(read(&files, &protocols)?);
        Ok(Self { files, protocols, current })
    }

    /// Reads the files of all of these again, and uses what is new for connections to come. Blocks while it reads.
    ///
    /// # Errors
    /// As [`Certificates::load`]; then nothing has changed for any of them.
    pub fn reload<'a>(all: impl Iterator<Item = &'a Self>) -> Result<(), ConfigError> {
        let fresh: Result<Vec<_>, _> =
            all.map(|own| read(&own.files, &own.protocols).map(|config| (own, config))).collect();
        for (own, config) in fresh? {
            *own.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        }
        Ok(())
    }

    /// The files that they were read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.files()
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The user name that a client has by its certificate, where it is to have it from there.
    pub(super) fn user_name(
        &self,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<Option<String>, Refused> {
        let Some(certificate) = certificate.filter(|_| self.files.username_from_certificate) else {
            return Ok(None);
        };
        let name = Certificate::from_der(certificate).ok().and_then(|parsed| common_name(&parsed));
        name.map(Some).ok_or_else(|| Refused::new("TLS: the client's certificate has no common name"))
    }
}

/// The last common name of the subject, which is the most specific one.
fn common_name(certificate: &Certificate) -> Option<String> {
    let sets = certificate.tbs_certificate.subject.0.iter().rev();
    let attribute = sets.flat_map(|set| set.0.iter()).find(|attribute| attribute.oid == COMMON_NAME)?;
    let is_text = matches!(attribute.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    let text = std::str::from_utf8(attribute.value.value()).ok()?;
    (is_text && !text.is_empty()).then(|| text.to_owned())
}

fn read(files: &TlsConfig, protocols: &[Vec<u8>]) -> Result<Arc<ServerConfig>, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let own = Own {
        any: key_pair("listeners.tls", (&files.certificate, &files.key), &provider)?,
        named: files
            .names
            .iter()
            .map(|named| {
                let pair = key_pair("listeners.tls.names", (&named.certificate, &named.key), &provider)?;
                check_name(&named.name, &pair)?;
                Ok((named.name.clone(), pair))
            })
            .collect::<Result<_, ConfigError>>()?,
    };
    let versions = match files.minimum_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| ConfigError(format!("TLS: {error}")))?;
    let builder = match files.client_certificates {
        ClientCertificates::None => builder.with_no_client_auth(),
        asked => builder.with_client_cert_verifier({
            let (roots, file) = authorities(files)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, provider).with_crls(revocations(files)?);
            let verifier = match asked {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            // With lists given, whoever vouches for a client has to have one: who is on none may be on a missing one.
            let verifier = verifier.only_check_end_entity_revocation().build();
            verifier.map_err(|error| cannot_use(file, &error))?
        }),
    };
    let mut config = builder.with_cert_resolver(Arc::new(own));
    config.alpn_protocols = protocols.to_vec();
    Ok(Arc::new(config))
}

/// Our certificates: one for each name that clients ask for, and one for all others.
#[derive(Debug)]
struct Own {
    any: Arc<CertifiedKey>,
    named: Vec<(String, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Own {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let named =
            asked.and_then(|asked| self.named.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked)));
        Some(Arc::clone(named.map_or(&self.any, |(_, pair)| pair)))
    }
}

/// A certificate with its chain and its key, which fit and have not expired, as this section names them.
fn key_pair(
    section: &str,
    (certificate, key_file): (&Path, &Path),
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, ConfigError> {
    let chain = certificates(&format!("{section}.certificate"), certificate)?;
    check_time(certificate, &chain)?;
    let text = contents(&format!("{section}.key"), key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| cannot_use(key_file, &error))?;
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => ConfigError(format!(
            "{}: is not the key of the certificate in {}",
            key_file.display(),
            certificate.display()
        )),
        error => cannot_use(key_file, &error),
    })?;
    Ok(Arc::new(pair))
}

/// An expired certificate is one that no client accepts.
fn check_time(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(), ConfigError> {
    let Some(first) = chain.first() else { return Ok(()) };
    let parsed = Certificate::from_der(first).map_err(|error| cannot_use(file, &error))?;
    let validity = parsed.tbs_certificate.validity;
    let now = SystemTime::now();
    if validity.not_after.to_system_time() < now {
        return Err(cannot_use(file, &format!("the certificate has expired on {}", validity.not_after)));
    }
    if validity.not_before.to_system_time() > now {
        let begin = validity.not_before;
        return Err(cannot_use(file, &format!("the certificate is not valid before {begin}")));
    }
    Ok(())
}

/// A name of the configuration that its certificate does not have is a mistake.
fn check_name(name: &str, pair: &CertifiedKey) -> Result<(), ConfigError> {
    let wrong =
        || ConfigError(format!("listeners.tls.names: the certificate for {name} does not have that name"));
    let server_name = ServerName::try_from(name).map_err(|_| wrong())?;
    let certificate = pair.end_entity_cert().and_then(ParsedCertificate::try_from).map_err(|_| wrong())?;
    rustls::client::verify_server_name(&certificate, &server_name).map_err(|_| wrong())
}

/// Who may vouch for clients.
fn authorities(files: &TlsConfig) -> Result<(Arc<RootCertStore>, &Path), ConfigError> {
    let Some(file) = &files.ca else {
        return Err(ConfigError("listeners.tls.client_certificates needs listeners.tls.ca".to_owned()));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("listeners.tls.ca", file)? {
        roots.add(certificate).map_err(|error| cannot_use(file, &error))?;
    }
    Ok((Arc::new(roots), file))
}

fn revocations(files: &TlsConfig) -> Result<Vec<CertificateRevocationListDer<'static>>, ConfigError> {
    let mut lists = Vec::new();
    for file in &files.crl {
        let text = contents("listeners.tls.crl", file)?;
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(&text) {
            lists.push(list.map_err(|error| cannot_use(file, &error))?);
        }
        if lists.len() == before {
            return Err(cannot_use(file, &"there is no list of revoked certificates in it"));
        }
    }
    Ok(lists)
}

/// All certificates of the file that this key names, at least one.
fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = contents(key, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| cannot_use(file, &error))?;
    if found.is_empty() {
        return Err(cannot_use(file, &"there is no certificate in it"));
    }
    Ok(found)
}

fn contents(key: &str, file: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(file)
        .map_err(|error| ConfigError(format!("{key}: cannot read {}: {error}", file.display())))
}

fn cannot_use(file: &Path, why: &dyn std::fmt::Display) -> ConfigError {
    ConfigError(format!("{}: {why}", file.display()))
}
