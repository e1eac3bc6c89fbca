//! The SQLite store: the suites, and what is its own.

use std::sync::Arc;

use annals::conformance::store::StorePlace;
use annals::store::Store;
use annals::store::sqlite::SqliteStore;
use async_trait::async_trait;

/// A SQLite store in a directory that goes when the test is over.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> String {
        self.directory.path().join("store.db").to_str().unwrap().to_owned()
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).await.unwrap()
    }
}

#[async_trait]
impl StorePlace for Place {
    async fn open(&self) -> annals::Result<Arc<dyn Store>> {
        Ok(Arc::new(SqliteStore::open(&self.path()).await?))
    }

    async fn check(&self) -> annals::Result<()> {
        let store = SqliteStore::open(&self.path()).await?;
        let check = store.verify_log().await?;
        assert_eq!(store.log_root().await?, (check.size, check.root));
        Ok(())
    }
}

mod appender_suite {
    annals::appender_conformance!(super::Place::new());
}

mod store_suite {
    annals::store_conformance!(super::Place::new());
}
