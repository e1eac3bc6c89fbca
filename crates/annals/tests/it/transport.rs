//! Every transport passes the suite.

use std::path::PathBuf;
use std::sync::Arc;

use annals::conformance::transport::{CASES, TransportFactory};
use annals::transport::Transport;
use annals::transport::memory::MemoryTransport;
use annals::transport::sqlite::SqliteTransport;
use async_trait::async_trait;

struct Memory(Arc<MemoryTransport>);

#[async_trait]
impl TransportFactory for Memory {
    async fn open(&self) -> Arc<dyn Transport> {
        self.0.clone()
    }

    fn durable(&self) -> bool {
        false
    }
}

struct Sqlite(PathBuf);

#[async_trait]
impl TransportFactory for Sqlite {
    async fn open(&self) -> Arc<dyn Transport> {
        let path = self.0.display().to_string();
        Arc::new(SqliteTransport::open(&path).await.expect("open"))
    }
}

#[tokio::test]
async fn memory_conforms() {
    for case in CASES {
        println!("memory: {}", case.name);
        (case.run)(&Memory(Arc::new(MemoryTransport::new()))).await;
    }
}

#[tokio::test]
async fn sqlite_conforms() {
    for case in CASES {
        println!("sqlite: {}", case.name);
        let directory = tempfile::tempdir().unwrap();
        (case.run)(&Sqlite(directory.path().join("queue.db"))).await;
    }
}
