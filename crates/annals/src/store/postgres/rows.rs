//! Events as rows of a binary COPY (PostgreSQL's documentation, "COPY", "Binary
//! Format").

use super::super::Record;
use crate::log::SALT_BYTES;
use crate::postgres::Time;

/// Bytes of rows that go to the server at a time.
pub(super) const CHUNK: usize = 64 * 1024;

/// Columns of a row.
const COLUMNS: i16 = 14;

/// Rows on their way.
#[derive(Debug)]
pub(super) struct Rows {
    bytes: Vec<u8>,
}

impl Rows {
    /// The header of a COPY.
    pub(super) fn begin() -> Self {
        let mut bytes = Vec::with_capacity(CHUNK + 8 * 1024);
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    /// The next row.
    pub(super) fn push(
        &mut self,
        record: &Record,
        append: i64,
        rank: i32,
        salt: &[u8; SALT_BYTES],
    ) {
        self.bytes.extend_from_slice(&COLUMNS.to_be_bytes());
        self.field(record.id.as_bytes());
        self.field(&Time(record.occurred_at).bytes());
        self.field(&append.to_be_bytes());
        self.field(&rank.to_be_bytes());
        self.field(salt);
        let texts = [
            Some(record.action()),
            Some(record.outcome()),
            Some(record.entity_type()),
            record.entity_id(),
            record.actor_type(),
            record.actor_id(),
            record.tenant(),
            record.request_id(),
        ];
        for text in texts {
            match text {
                Some(text) => self.field(text.as_bytes()),
                None => self.bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
        self.field(record.body());
    }

    fn field(&mut self, bytes: &[u8]) {
        // An event is far smaller than what a length can say.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// The end of a COPY.
    pub(super) fn end(&mut self) {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    }

    /// Whether a chunk is full.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK
    }

    /// What is to be sent now.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was sent.
    pub(super) fn sent(&mut self) {
        self.bytes.clear();
    }
}
