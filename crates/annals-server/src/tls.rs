//! TLS: certificates from files, read again when they change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use annals::{Error, ErrorKind, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// How often to see whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files of TLS, all of them PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The server's certificate, and those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of which clients must show a certificate, if they must show one.
    pub client_authorities: Option<PathBuf>,
}

impl TlsFiles {
    /// A certificate and its key.
    #[must_use]
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_authorities: None }
    }

    /// Lets in only who shows a certificate of these authorities.
    #[must_use]
    pub fn client_authorities(mut self, file: Option<PathBuf>) -> Self {
        self.client_authorities = file;
        self
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_authorities)
            .map(PathBuf::as_path)
    }
}

/// What a server needs to speak TLS. It follows its files: a certificate that was renewed is
/// shown within a few seconds, to new connections; files that make no sense change nothing.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<RwLock<Arc<ServerConfig>>>,
    /// When each of the files had been changed before they were read.
    read: Vec<Option<SystemTime>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for files that cannot be read, hold nothing of the kind, or do not
    /// fit each other.
    pub fn open(files: TlsFiles) -> Result<Self> {
        let read = stamps(&files);
        let config = Arc::new(RwLock::new(Arc::new(config(&files)?)));
        Ok(Self { files, config, read })
    }

    /// What makes a new connection one of TLS.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Reads the files again whenever they change, for ever.
    pub(crate) async fn follow(self) {
        let mut seen = self.read;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let files = self.files.clone();
            let before = seen.clone();
            let look = move || {
                let now = stamps(&files);
                let read = (now != before).then(|| config(&files));
                (now, read)
            };
            let Ok((now, read)) = tokio::task::spawn_blocking(look).await else { return };
            let certificate = self.files.certificate.display();
            match read {
                None => {}
                Some(Ok(config)) => {
                    *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                    tracing::info!(%certificate, "read the certificate anew");
                }
                // Perhaps one of them is not written yet; then they will change once more.
                Some(Err(error)) => {
                    tracing::warn!(%error, "keeping the certificate that was read before");
                }
            }
            seen = now;
        }
    }
}

/// When each of the files was changed.
fn stamps(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    let changed = |file: &Path| std::fs::metadata(file).and_then(|found| found.modified()).ok();
    files.all().map(changed).collect()
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn wrong(file: &Path, found: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, format!("read {} for TLS", file.display()), found)
}

fn config(files: &TlsFiles) -> Result<ServerConfig> {
    refuse_readable(&files.key)?;
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
        wrong(&files.key, error).hint("it must hold a private key in PEM, without a password")
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.certificate, error))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(file)? {
                roots.add(authority).map_err(|error| wrong(file, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(file, error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        wrong(&files.certificate, error).hint("certificate and key must belong together")
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(wrong(file, "it holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(file, error)),
    }
}

/// Refuses a private key that everybody may read; a group may, as Debian's `ssl-cert` does.
#[cfg(unix)]
fn refuse_readable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let found = std::fs::metadata(file).map_err(|error: io::Error| wrong(file, error))?;
    match found.permissions().mode() & 0o007 {
        0 => Ok(()),
        _ => Err(wrong(file, "everybody may read it").hint(format!("chmod o= {}", file.display()))),
    }
}

#[cfg(not(unix))]
fn refuse_readable(_: &Path) -> Result<()> {
    Ok(())
}
