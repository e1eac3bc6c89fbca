//! Queries: a walk along one index, in the order that people read.
//!
//! Every query is one keyset walk along the index that fits its filter best, and
//! tests the rest of the filter on each row. The indexes end in the id, and so in
//! the millisecond: the rows of one millisecond are put into their order here, or
//! by the server if there are many of them. A page that has looked for long enough ends
//! with what was found, and its cursor goes on from there.

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::{Arguments, AssertSqlSafe, Row};
use uuid::Uuid;

use super::super::Stored;
use super::super::paging::{Paging, SLICE};
use super::read::{columns, stored};
use crate::error::Result;
use crate::event::Timestamp;
use crate::postgres::{Connection, Failure, Pool, Time, number};
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
        let explain = AssertSqlSafe(format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {sql}"));
        let mut connection = pool.connect().await?;
        let rows = connection.query_with(explain, values).fetch_all(&mut *connection).await?;
        connection.commit().await?;
        let lines: sqlx::Result<Vec<String>> = rows.iter().map(|row| row.try_get(0)).collect();
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
        let looked = |row: &PgRow| -> Result<Looked, Failure> {
            let time: Time = row.try_get(4)?;
            let position = row.try_get::<i64, _>(0)?.unsigned_abs();
            let through = row.try_get::<Option<&str>, _>(3)?.is_some();
            let event = if through { Some(stored(row)?) } else { None };
            Ok(((time.0.as_micros(), position), event))
        };
        rows.iter().map(looked).collect()
    }
}

/// A statement and its values.
struct Statement {
    sql: String,
    values: PgArguments,
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
        let mut values = Values::default();
        let filter = &query.filter;
        let mut narrow = Vec::new();
        let mut through = vec![format!("a.first + e.rank < {}", values.add(number(size))?)];
        let mut decided = None;
        if let Some(entity) = &filter.entity {
            decided = Some("entity");
            narrow.push(format!("e.entity_type = {}", values.add(entity.kind.to_string())?));
            narrow.push(match &entity.id {
                Some(id) => format!("e.entity_id = {}", values.add(id.to_string())?),
                None => "e.entity_id IS NULL".to_owned(),
            });
        }
        if let Some(actor) = &filter.actor {
            let condition = format!("e.actor_id = {}", values.add(actor.id.clone())?);
            if decided.is_none() { &mut narrow } else { &mut through }.push(condition);
            decided = decided.or(Some("actor"));
            if let Some(kind) = &actor.kind {
                through.push(format!("e.actor_type = {}", values.add(kind.clone())?));
            }
        }
        if let Some(tenant) = &filter.tenant {
            let condition = format!("e.tenant = {}", values.add(tenant.clone())?);
            if decided.is_none() { &mut narrow } else { &mut through }.push(condition);
        }
        if let Some(tenants) = filter.tenants.only() {
            let tenants: Vec<String> = tenants.iter().cloned().collect();
            through.push(format!("e.tenant = ANY ({})", values.add(tenants)?));
        }
        if let Some(tenant) = filter.tenants.left_out() {
            through.push(format!("e.tenant IS DISTINCT FROM {}", values.add(tenant.to_owned())?));
        }
        let outcome = filter.outcome.map(|outcome| outcome.as_str().to_owned());
        let rest = [
            ("entity_type", filter.entity_type.clone()),
            ("action", filter.action.clone()),
            ("outcome", outcome),
            ("request_id", filter.request.clone()),
        ];
        for (column, wanted) in rest {
            if let Some(wanted) = wanted {
                through.push(format!("e.{column} = {}", values.add(wanted)?));
            }
        }
        // The index knows milliseconds, the column the rest.
        if let Some(since) = filter.since {
            narrow.push(format!("e.id >= {}", values.add(first_of(since.as_millis()))?));
            through.push(format!("e.occurred_at >= {}", values.add(Time(since))?));
        }
        if let Some(until) = filter.until {
            narrow.push(format!("e.id < {}", values.add(first_of(until.as_millis() + 1))?));
            through.push(format!("e.occurred_at < {}", values.add(Time(until))?));
        }
        let (beyond, direction) = match query.order {
            Order::NewestFirst => ("<", "DESC"),
            Order::OldestFirst => (">", "ASC"),
        };
        let order = match (stretch, query.order) {
            (Stretch::From(millis), Order::NewestFirst) => {
                narrow.push(format!("e.id < {}", values.add(first_of(millis + 1))?));
                format!("e.id {direction}")
            }
            (Stretch::From(millis), Order::OldestFirst) => {
                narrow.push(format!("e.id >= {}", values.add(first_of(millis))?));
                format!("e.id {direction}")
            }
            (Stretch::Within(millis), _) => {
                narrow.push(format!("e.id >= {}", values.add(first_of(millis))?));
                narrow.push(format!("e.id < {}", values.add(first_of(millis + 1))?));
                if let Some((micros, position)) = at {
                    let time = Time(Timestamp::from_micros(micros).unwrap_or(Timestamp::MIN));
                    narrow.push(format!(
                        "(e.occurred_at, a.first + e.rank) {beyond} ({}, {})",
                        values.add(time)?,
                        values.add(number(position))?
                    ));
                }
                format!("e.occurred_at {direction}, a.first + e.rank {direction}")
            }
        };
        // The slice stands in the statement, so that the planner knows how few rows
        // are wanted.
        let sql = format!(
            "SELECT {}, CASE WHEN {} THEN e.body END, e.occurred_at \
             FROM annals_events e JOIN annals_appends a ON a.number = e.append \
             WHERE {} ORDER BY {order} LIMIT {slice}",
            columns!().trim_end_matches(", e.body"),
            through.join(" AND "),
            narrow.join(" AND "),
        );
        Ok(Self { sql, values: values.0 })
    }
}

/// The smallest id of a millisecond; of one beyond what an id can say, the largest
/// id.
fn first_of(millis: i64) -> Uuid {
    let millis = u128::from(millis.max(0).unsigned_abs());
    Uuid::from_u128(millis.saturating_mul(1 << 80))
}

/// Values, and what they are called in the statement.
#[derive(Default)]
struct Values(PgArguments);

impl Values {
    fn add<'q, T>(&mut self, value: T) -> Result<String, Failure>
    where
        T: sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres>,
    {
        self.0.add(value).map_err(sqlx::Error::Encode)?;
        Ok(format!("${}", self.0.len()))
    }
}
