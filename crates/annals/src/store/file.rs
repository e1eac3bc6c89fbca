//! The `file:` mirror.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Appended, Appender, Record};
use crate::error::Result;

/// A file.
#[derive(Debug)]
pub struct FileStore;

impl FileStore {
    /// Opens.
    pub async fn open(_path: &str) -> Result<Self> {
        todo!()
    }
}

#[async_trait]
impl Appender for FileStore {
    fn url(&self) -> &str {
        todo!()
    }
    async fn append(&self, _batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        todo!()
    }
}
