//! Queries: a walk along one index, in the order that people read.
//!
//! Every query is one keyset walk along the index that fits its filter best, and
//! tests the rest of the filter on each row. The indexes end in the id, and so in
//! the millisecond: the rows of one millisecond are put into their order here, or
//! by the server if there are many of them. A page that has looked for long enough ends
//! with what was found, and its cursor goes on from there.

use std::borrow::Cow;

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments, AssertSqlSafe, Row};

use super::super::Stored;
use super::super::paging::{Paging, SLICE};
use super::read::{columns, first_of, stored};
use crate::error::Result;
use crate::event::Timestamp;
use crate::mysql::{Connection, Failure, Pool, number};
use crate::query::{Order, Page, Query};

/// A query under way.
#[derive(Debug)]
pub(super) struct Walk(Paging);

/// A row that was looked at: its place in the order, and the event, if the columns
/// let it through.
type Looked = ((i64, u64), Option<Stored>);

/// Which rows a statement looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stretch {
    /// From a millisecond on, in the order of the ids.
    From(i64),
    /// Of one millisecond, those behind the last one, in their order.
    Within(i64),
}

impl Walk {
    pub(super) fn begin(query: Query) -> Result<Self> {
        Paging::begin(query).map(Self)
    }

    /// Walks until the page is full, or nothing is left.
    pub(super) async fn page(mut self, pool: Pool) -> Result<Page, Failure> {
        let mut connection = pool.connect().await?;
        let more = self.walk(&mut connection).await?;
        connection.commit().await?;
        Ok(self.0.page(more))
    }

    /// The plan of the first statement.
    pub(super) async fn explain(self, pool: Pool) -> Result<String, Failure> {
        let stretch = Stretch::From(self.outermost());
        let Statement { sql, values } =
            Statement::of(&self.0.query, stretch, self.0.at, u64::MAX, self.first_slice())?;
        let explain = AssertSqlSafe(format!("EXPLAIN {sql}"));
        let mut connection = pool.connect().await?;
        let rows = connection.query_with(explain, values).fetch_all(&mut *connection).await?;
        connection.commit().await?;
        // Which table, by which index, and what else has to be done.
        let line = |row: &MySqlRow| {
            let word = |column: &str| row.try_get::<Option<String>, _>(column);
            let words = [word("table")?, word("type")?, word("key")?, word("Extra")?];
            Ok(words.map(Option::unwrap_or_default).join(" "))
        };
        let lines: sqlx::Result<Vec<String>> = rows.iter().map(line).collect();
        Ok(lines?.join("\n"))
    }

    /// As many rows as are likely to fill the page.
    fn first_slice(&self) -> usize {
        (self.0.query.limit + self.0.query.limit / 8 + 8).min(SLICE)
    }

    /// Answers whether there is more to be found.
    async fn walk(&mut self, connection: &mut Connection) -> Result<bool, Failure> {
        let size = match self.0.size {
            Some(size) => size,
            None => *self.0.size.insert(super::tiles::size(connection).await?),
        };
        let mut stretch = Some(Stretch::From(self.outermost()));
        let mut slice = self.first_slice();
        while let Some(here) = stretch {
            if self.0.is_spent() {
                return Ok(true);
            }
            let looked = self.look(connection, here, size, slice).await?;
            let came = looked.len();
            let (looked, next) = self.arrange(here, looked, slice);
            self.0.looked_at(came);
            let mut found = 0;
            for (place, event) in looked {
                let event = event.filter(|event| self.0.query.filter.matches_body(&event.body));
                if let Some(event) = event {
                    if self.0.is_full() {
                        return Ok(true);
                    }
                    self.0.push(event);
                    found += 1;
                }
                self.0.at = Some(place);
            }
            stretch = next;
            slice = if found * 2 < came { SLICE.min(slice * 4) } else { slice };
        }
        Ok(false)
    }

    /// The millisecond with which the walk begins.
    fn outermost(&self) -> i64 {
        match (self.0.at, self.0.query.order) {
            (Some((micros, _)), _) => micros.div_euclid(1000),
            (None, Order::NewestFirst) => Timestamp::MAX.as_millis(),
            (None, Order::OldestFirst) => 0,
        }
    }

    /// Puts rows into their order, leaves out those that were looked at before, and
    /// says where to look next.
    fn arrange(
        &self,
        here: Stretch,
        mut looked: Vec<Looked>,
        slice: usize,
    ) -> (Vec<Looked>, Option<Stretch>) {
        let full = looked.len() >= slice;
        let millis = |looked: &Looked| looked.0.0.div_euclid(1000);
        let step = match self.0.query.order {
            Order::NewestFirst => -1,
            Order::OldestFirst => 1,
        };
        let next = match (here, looked.last().map(millis)) {
            (Stretch::Within(_), _) if full => Some(here),
            (Stretch::Within(millis), _) => Some(Stretch::From(millis + step)),
            (Stretch::From(_), Some(last)) if full => {
                // There may be more of the last millisecond.
                let whole = looked.partition_point(|row| millis(row) != last);
                looked.truncate(whole);
                Some(if whole == 0 { Stretch::Within(last) } else { Stretch::From(last) })
            }
            _ => None,
        };
        if matches!(here, Stretch::From(_)) {
            match self.0.query.order {
                Order::NewestFirst => looked.sort_by_key(|row| std::cmp::Reverse(row.0)),
                Order::OldestFirst => looked.sort_by_key(|row| row.0),
            }
            looked.retain(|row| self.is_beyond(row.0));
        }
        (looked, next)
    }

    /// Whether a place comes after the last one that was looked at.
    fn is_beyond(&self, place: (i64, u64)) -> bool {
        self.0.at.is_none_or(|at| match self.0.query.order {
            Order::NewestFirst => place < at,
            Order::OldestFirst => place > at,
        })
    }

    async fn look(
        &self,
        connection: &mut Connection,
        stretch: Stretch,
        size: u64,
        slice: usize,
    ) -> Result<Vec<Looked>, Failure> {
        let statement = Statement::of(&self.0.query, stretch, self.0.at, size, slice)?;
        let rows = connection
            .query_with(AssertSqlSafe(statement.sql), statement.values)
            .fetch_all(&mut **connection)
            .await?;
        let looked = |row: &MySqlRow| -> Result<Looked, Failure> {
            let position = row.try_get::<i64, _>(0)?.unsigned_abs();
            let through = row.try_get::<Option<&[u8]>, _>(3)?.is_some();
            let event = if through { Some(stored(row)?) } else { None };
            Ok(((row.try_get(4)?, position), event))
        };
        rows.iter().map(looked).collect()
    }
}

/// A statement and its values.
struct Statement {
    sql: String,
    values: MySqlArguments,
}

impl Statement {
    /// The statement for a stretch of a walk. A row that the filter does not let
    /// through comes without its body.
    fn of(
        query: &Query,
        stretch: Stretch,
        at: Option<(i64, u64)>,
        size: u64,
        slice: usize,
    ) -> Result<Self, Failure> {
        let filter = &query.filter;
        // The index is named, since a server that guesses sorts instead.
        let mut index = "PRIMARY";
        let (mut narrow, mut through) = (Conditions::default(), Conditions::default());
        through.add("a.first + e.place < ?", number(size));
        if let Some(entity) = &filter.entity {
            index = "annals_events_entity";
            narrow.add("e.entity_type = ?", entity.kind.as_bytes());
            match &entity.id {
                Some(id) => narrow.add("e.entity_id = ?", id.as_bytes()),
                None => narrow.text.push("e.entity_id IS NULL".into()),
            }
        }
        if let Some(actor) = &filter.actor {
            let decides = index == "PRIMARY";
            index = if decides { "annals_events_actor" } else { index };
            let conditions = if decides { &mut narrow } else { &mut through };
            conditions.add("e.actor_id = ?", actor.id.as_bytes());
            if let Some(kind) = &actor.kind {
                through.add("e.actor_type = ?", kind.as_bytes());
            }
        }
        if let Some(tenant) = &filter.tenant {
            let decides = index == "PRIMARY";
            index = if decides { "annals_events_tenant" } else { index };
            let conditions = if decides { &mut narrow } else { &mut through };
            conditions.add("e.tenant = ?", tenant.as_bytes());
        }
        if let Some(tenants) = filter.tenants.only() {
            through.add_any("e.tenant", tenants.iter().map(String::as_bytes));
        }
        if let Some(tenant) = filter.tenants.left_out() {
            through.add("NOT e.tenant <=> ?", tenant.as_bytes());
        }
        let rest = [
            ("e.entity_type = ?", filter.entity_type.as_deref()),
            ("e.action = ?", filter.action.as_deref()),
            ("e.outcome = ?", filter.outcome.map(|outcome| outcome.as_str())),
            ("e.request_id = ?", filter.request.as_deref()),
        ];
        for (condition, wanted) in rest {
            if let Some(wanted) = wanted {
                through.add(condition, wanted.as_bytes());
            }
        }
        // The index knows milliseconds, the column the rest.
        if let Some(since) = filter.since {
            narrow.add("e.id >= ?", first_of(since.as_millis()));
            through.add("e.occurred_at >= ?", since.as_micros());
        }
        if let Some(until) = filter.until {
            narrow.add("e.id < ?", first_of(until.as_millis() + 1));
            through.add("e.occurred_at < ?", until.as_micros());
        }
        let newest_first = matches!(query.order, Order::NewestFirst);
        let order = match (stretch, newest_first) {
            (Stretch::From(millis), true) => {
                narrow.add("e.id < ?", first_of(millis + 1));
                "e.id DESC"
            }
            (Stretch::From(millis), false) => {
                narrow.add("e.id >= ?", first_of(millis));
                "e.id"
            }
            (Stretch::Within(millis), _) => {
                narrow.add("e.id >= ?", first_of(millis));
                narrow.add("e.id < ?", first_of(millis + 1));
                if let Some((micros, position)) = at {
                    let beyond = match newest_first {
                        true => "(e.occurred_at, a.first + e.place) < (?, ?)",
                        false => "(e.occurred_at, a.first + e.place) > (?, ?)",
                    };
                    narrow.add(beyond, micros);
                    narrow.values.push(Value::Number(number(position)));
                }
                match newest_first {
                    true => "e.occurred_at DESC, a.first + e.place DESC",
                    false => "e.occurred_at, a.first + e.place",
                }
            }
        };
        let sql = format!(
            "SELECT {}, CASE WHEN {} THEN e.body END, e.occurred_at \
             FROM annals_events e FORCE INDEX ({index}) \
             STRAIGHT_JOIN annals_appends a FORCE INDEX (PRIMARY) ON a.number = e.append \
             WHERE {} ORDER BY {order} LIMIT {slice}",
            columns!().trim_end_matches(", e.body"),
            through.text.join(" AND "),
            narrow.text.join(" AND "),
        );
        let mut values = MySqlArguments::default();
        for value in through.values.into_iter().chain(narrow.values) {
            let added = match value {
                Value::Number(number) => values.add(number),
                Value::Bytes(bytes) => values.add(bytes),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(Self { sql, values })
    }
}

/// Conditions and their values, which belong together by their order.
#[derive(Default)]
struct Conditions {
    text: Vec<Cow<'static, str>>,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, condition: &'static str, value: impl Into<Value>) {
        self.text.push(condition.into());
        self.values.push(value.into());
    }

    /// That a column has one of these values; none are no row's.
    fn add_any(&mut self, column: &str, values: impl Iterator<Item = impl Into<Value>>) {
        let before = self.values.len();
        self.values.extend(values.map(Into::into));
        self.text.push(match self.values.len() - before {
            0 => "FALSE".into(),
            values => format!("{column} IN ({})", vec!["?"; values].join(", ")).into(),
        });
    }
}

enum Value {
    Number(i64),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}
