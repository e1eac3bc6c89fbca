//! Certificates for servers that speak TLS.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::postgres::give_away;

/// An authority, and a certificate of its own for a server, as files that go when
/// this is dropped.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// A new authority, and what it says of the server with this name.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn of(server: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("annals-tls-").tempdir()?;
        let certificates = Self { directory };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = CertificateParams::new([server.to_owned()]).map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &authority).map_err(io::Error::other)?;
        fs::write(certificates.authority(), authority.pem())?;
        fs::write(certificates.path("server.pem"), certificate.pem())?;
        let secret = certificates.private("server.key", &key.serialize_pem())?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, "a client of the tests");
        let certificate = params.signed_by(&key, &authority).map_err(io::Error::other)?;
        fs::write(certificates.path("client.pem"), certificate.pem())?;
        certificates.private("client.key", &key.serialize_pem())?;
        // The server reads them as its own user.
        give_away(&secret)?;
        give_away(certificates.directory.path())?;
        Ok(certificates)
    }

    /// Writes a file that its owner alone may read.
    fn private(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// The server's certificate and its private key.
    #[must_use]
    pub fn server(&self) -> [PathBuf; 2] {
        [self.path("server.pem"), self.path("server.key")]
    }

    /// A client's certificate of the same authority, and its private key.
    #[must_use]
    pub fn client(&self) -> [PathBuf; 2] {
        [self.path("client.pem"), self.path("client.key")]
    }

    /// The file with the authority's certificate, for `sslrootcert`.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// The settings of a PostgreSQL server that shows the certificate.
    #[must_use]
    pub fn settings(&self) -> [String; 3] {
        [
            "ssl = on".to_owned(),
            format!("ssl_cert_file = '{}'", self.path("server.pem").display()),
            format!("ssl_key_file = '{}'", self.path("server.key").display()),
        ]
    }

    /// The settings of a Redis server that shows the certificate.
    #[must_use]
    pub fn redis_settings(&self) -> [String; 3] {
        [
            format!("tls-cert-file {}", self.path("server.pem").display()),
            format!("tls-key-file {}", self.path("server.key").display()),
            format!("tls-ca-cert-file {}", self.authority().display()),
        ]
    }

    /// The settings of a MariaDB server that shows the certificate.
    #[must_use]
    pub fn mariadb_settings(&self) -> [String; 2] {
        [
            format!("ssl-cert={}", self.path("server.pem").display()),
            format!("ssl-key={}", self.path("server.key").display()),
        ]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
