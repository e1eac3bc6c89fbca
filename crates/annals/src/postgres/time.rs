//! Times as PostgreSQL's timestamptz holds them: microseconds since 2000-01-01, as
//! a big-endian int8 (PostgreSQL's source, `timestamptz_send`).

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef, Postgres};
use sqlx::{Decode, Encode, Type};

use crate::event::Timestamp;

/// 2000-01-01, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

/// A time on its way to or from PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Time {
    /// The eight bytes of the binary formats.
    pub(crate) fn bytes(self) -> [u8; 8] {
        (self.0.as_micros() - EPOCH).to_be_bytes()
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        // timestamptz, in PostgreSQL's pg_type.dat
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let time = micros.checked_add(EPOCH).and_then(Timestamp::from_micros);
        time.map(Self).ok_or_else(|| "a time out of range".into())
    }
}
