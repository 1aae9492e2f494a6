//! The handshake of TLS, and what the certificate is worth.
//!
//! The handshake takes every certificate for which the server proves that it has the key, and keeps the
//! chain; [`Handshake::verdict`] is what a client that checks would have said, and why. Whoever goes on over a
//! connection whose certificate was not found good answers for it: nothing secret belongs there.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::dial::Timed;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::target::TargetHost;

/// Protocols that are offered: no more than this, as a server that speaks HTTP/2 takes no upgrade.
const ALPN: &[u8] = b"http/1.1";

/// Which certificates are taken.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Authorities.
    authorities: RootCertStore,
    /// Certificates that are good as they are, whatever they say of themselves.
    pinned: Vec<CertificateDer<'static>>,
}

/// Says why no authorities can be had.
#[derive(Debug, Error)]
pub enum TrustFault {
    /// A file of certificates has none, or something else in it.
    #[error("no certificate in PEM: {0}")]
    Pem(String),
    /// The machine trusts nobody.
    #[error("the authorities of this machine cannot be read: {0}")]
    Machine(String),
}

impl Trust {
    /// Trusts whom the machine trusts.
    ///
    /// # Errors
    /// [`TrustFault::Machine`], where there is not one authority.
    pub fn of_machine() -> Result<Self, TrustFault> {
        let loaded = rustls_native_certs::load_native_certs();
        let mut authorities = RootCertStore::empty();
        let (taken, _) = authorities.add_parsable_certificates(loaded.certs);
        if taken == 0 {
            let faults: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
            let why =
                if faults.is_empty() { "there are none".to_owned() } else { faults.join("; ") };
            return Err(TrustFault::Machine(why));
        }
        Ok(Self { authorities, pinned: Vec::new() })
    }

    /// Trusts the certificates of a file in PEM and nobody else: as authorities, and each as it is.
    ///
    /// # Errors
    /// [`TrustFault::Pem`].
    pub fn of_pem(pem: &[u8]) -> Result<Self, TrustFault> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let pinned = certificates.map_err(|fault| TrustFault::Pem(fault.to_string()))?;
        if pinned.is_empty() {
            return Err(TrustFault::Pem("there is none".to_owned()));
        }
        let mut authorities = RootCertStore::empty();
        // What is no authority stays a certificate that is good as it is.
        authorities.add_parsable_certificates(pinned.iter().cloned());
        Ok(Self { authorities, pinned })
    }
}

/// What the handshake came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// What the server chose of the protocols that were offered.
    pub alpn: Option<String>,
    /// The certificate of the server, as far as it can be read.
    pub certificate: Option<Certificate>,
    /// How many certificates it sent.
    pub chain_length: usize,
    /// What they are worth.
    pub verdict: Result<(), Distrust>,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// Who it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// From when it holds, in seconds since 1970.
    pub not_before_s: i64,
    /// Until when it holds, in seconds since 1970.
    pub not_after_s: i64,
}

impl Certificate {
    /// Says how many whole days it holds from a moment on; less than zero where it has ended.
    pub const fn days_left(&self, now_s: i64) -> i64 {
        self.not_after_s.saturating_sub(now_s).div_euclid(86_400)
    }

    fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// Says why a certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Distrust {
    /// It is for other names.
    #[error("it is for {}, not for {wanted}", shown_names(.names))]
    Name {
        /// The name that was asked for.
        wanted: String,
        /// The names that it is for.
        names: Vec<String>,
    },
    /// It does not hold any more.
    #[error("it has expired")]
    Expired,
    /// It does not hold yet.
    #[error("it is not valid yet")]
    NotYet,
    /// It signed itself.
    #[error("it is signed by itself")]
    SelfSigned,
    /// The server sends its own certificate alone, and who signed that is not trusted: most often the server
    /// has to send the certificate between as well.
    #[error("the server sends it without the certificate of {issuer}, which signed it")]
    IntermediateMissing {
        /// Who signed it.
        issuer: String,
    },
    /// Nobody who is trusted signed it.
    #[error("it was signed by {issuer}, which is not trusted")]
    UnknownAuthority {
        /// Who signed the last of the chain.
        issuer: String,
    },
    /// It has no names but in its subject, where nobody looks any more (RFC 9525), or is of version 1.
    #[error("it has no subject alternative names")]
    NoNames,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// A connection behind its handshake.
pub type Stream = TlsStream<TcpStream>;

/// Makes the handshake, and judges what the server showed.
///
/// # Errors
/// [`Failure`], where there is no handshake at all.
pub async fn handshake(
    stream: TcpStream,
    host: &TargetHost,
    trust: &Trust,
    limits: &Limits,
) -> Timed<Result<(Handshake, Stream), Failure>> {
    let began = Instant::now();
    let value = shake(stream, host, trust, limits).await;
    Timed { took: began.elapsed(), value }
}

async fn shake(
    stream: TcpStream,
    host: &TargetHost,
    trust: &Trust,
    limits: &Limits,
) -> Result<(Handshake, Stream), Failure> {
    let tls = |why: &dyn ToString| Failure::Tls(why.to_string());
    let provider = Arc::new(ring::default_provider());
    let seen = Arc::new(Seen { chain: Mutex::default(), provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|fault| tls(&fault))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = server_name(host)?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
    let stream = match timeout(limits.tls, connecting).await {
        Err(_) => return Err(Failure::Silent(limits.tls)),
        Ok(Err(fault)) => return Err(failure_of(&fault, &seen, &name)),
        Ok(Ok(stream)) => stream,
    };
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let alpn = connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let chain = seen.chain();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let handshake = Handshake {
        version,
        alpn,
        certificate: chain.first().and_then(|certificate| read(certificate)),
        chain_length: chain.len(),
        verdict: judge(&chain, &name, trust, UnixTime::since_unix_epoch(now), &provider),
    };
    Ok((handshake, stream))
}

/// What rustls says stands within what the system says.
fn failure_of(fault: &io::Error, seen: &Seen, name: &ServerName<'_>) -> Failure {
    let within = fault.get_ref();
    let said = match within.and_then(|within| within.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(fault)) => {
            let own = seen.chain().first().and_then(|own| read(own));
            return Failure::Certificate(distrust_of(fault, own, name));
        }
        Some(said) => Some(said.to_string()),
        None => within.map(ToString::to_string),
    };
    said.map_or_else(|| Failure::of_io(fault, 0), Failure::Tls)
}

fn server_name(host: &TargetHost) -> Result<ServerName<'static>, Failure> {
    match host {
        TargetHost::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        TargetHost::Name(name) => ServerName::try_from(name.clone())
            .map_err(|_| Failure::Tls(format!("{name:?} is no name that TLS could carry"))),
    }
}

/// Says what a client that checks says of a chain, the server's own certificate first.
///
/// # Errors
/// [`Distrust`].
fn judge(
    chain: &[CertificateDer<'static>],
    name: &ServerName<'_>,
    trust: &Trust,
    now: UnixTime,
    provider: &Arc<CryptoProvider>,
) -> Result<(), Distrust> {
    let other = |why: &dyn ToString| Distrust::Other(why.to_string());
    let Some((own, between)) = chain.split_first() else {
        return Err(Distrust::Other("the server showed none".to_owned()));
    };
    let read_own = read(own);
    if let (true, Some(own)) = (trust.pinned.contains(own), &read_own) {
        // Pinned is who it is; when and for whom still counts.
        return judge_pinned(own, name, now);
    }
    let authorities = Arc::new(trust.authorities.clone());
    let verifier = match WebPkiServerVerifier::builder_with_provider(
        authorities,
        Arc::clone(provider),
    )
    .build()
    {
        Ok(verifier) => verifier,
        Err(_) => {
            return Err(distrust_of_issuer(read_own.as_ref(), chain));
        }
    };
    let fault = match verifier.verify_server_cert(own, between, name, &[], now) {
        Ok(_) => return Ok(()),
        Err(rustls::Error::InvalidCertificate(fault)) => fault,
        Err(fault) => return Err(other(&fault)),
    };
    Err(match fault {
        CertificateError::UnknownIssuer => distrust_of_issuer(read_own.as_ref(), chain),
        fault => distrust_of(&fault, read_own, name),
    })
}

fn distrust_of(
    fault: &CertificateError,
    own: Option<Certificate>,
    name: &ServerName<'_>,
) -> Distrust {
    match (fault, own) {
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => {
            Distrust::Expired
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, _) => {
            Distrust::NotYet
        }
        (
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            own,
        ) => distrust_of_name(own.map(|own| own.names).unwrap_or_default(), name),
        // An authority as a server ("CaUsedAsEndEntity"), or of version 1 ("UnsupportedCertVersion").
        (_, Some(own)) if own.is_self_issued() => Distrust::SelfSigned,
        (_, Some(own)) if own.names.is_empty() => Distrust::NoNames,
        (fault, _) => Distrust::Other(fault.to_string()),
    }
}

fn judge_pinned(own: &Certificate, name: &ServerName<'_>, now: UnixTime) -> Result<(), Distrust> {
    let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now_s < own.not_before_s {
        return Err(Distrust::NotYet);
    }
    if now_s > own.not_after_s {
        return Err(Distrust::Expired);
    }
    let wanted = name.to_str();
    if own.names.iter().any(|known| is_for(known, &wanted)) {
        return Ok(());
    }
    Err(distrust_of_name(own.names.clone(), name))
}

/// Says whether a name of a certificate is for a host: a star is for one label (RFC 9525, section 6.3).
fn is_for(known: &str, wanted: &str) -> bool {
    if known.eq_ignore_ascii_case(wanted) {
        return true;
    }
    let (Some(known), Some((first, parent))) = (known.strip_prefix("*."), wanted.split_once('.'))
    else {
        return false;
    };
    !first.is_empty() && known.eq_ignore_ascii_case(parent)
}

fn distrust_of_name(names: Vec<String>, name: &ServerName<'_>) -> Distrust {
    if names.is_empty() {
        return Distrust::NoNames;
    }
    Distrust::Name { wanted: name.to_str().into_owned(), names }
}

fn distrust_of_issuer(own: Option<&Certificate>, chain: &[CertificateDer<'static>]) -> Distrust {
    let last = chain.last().and_then(|certificate| read(certificate));
    let issuer = last.map_or_else(|| "somebody".to_owned(), |last| last.issuer);
    match (own, chain.len()) {
        (Some(own), _) if own.is_self_issued() => Distrust::SelfSigned,
        (Some(_), 1) => Distrust::IntermediateMissing { issuer },
        _ => Distrust::UnknownAuthority { issuer },
    }
}

/// Reads what a certificate says of itself; nothing where it is none.
fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => shown_address(bytes),
        _ => None,
    });
    Some(Certificate {
        names: names.collect(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_before_s: certificate.validity().not_before.timestamp(),
        not_after_s: certificate.validity().not_after.timestamp(),
    })
}

fn shown_address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
    v4.or_else(|_| v6()).ok().map(|address| address.to_string())
}

/// The first few of them: a certificate may have hundreds.
fn shown_names(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(3).map(String::as_str).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Keeps the chain and refuses none; that the server has the key is demanded.
#[derive(Debug)]
struct Seen {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl Seen {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = [own].into_iter().chain(between).map(|one| one.clone().into_owned());
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
