//! Times as the registry keeps them: RFC 3339, so that people can read them.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

use crate::event::Timestamp;

pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// Such a time, if there is one.
pub(super) mod maybe {
    use super::{Deserialize, Deserializer, Error, Serializer, Timestamp};

    pub(in super::super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let time = Option::<String>::deserialize(from)?;
        time.map(|time| time.parse().map_err(D::Error::custom)).transpose()
    }
}
