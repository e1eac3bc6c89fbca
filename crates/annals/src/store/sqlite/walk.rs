//! Queries: a walk along one index, in the order that people read.
//!
//! Every query is one keyset walk along the index that fits its filter best, and
//! tests the rest of the filter on each row; nothing is ever sorted. The walk
//! goes in slices, so that a filter that lets little through neither holds up
//! other readers nor runs without a bound: when a page has looked for long
//! enough it ends with what was found, and its cursor goes on from there.

use rusqlite::{Connection, named_params};

use super::read::stored;
use super::tiles::Head;
use crate::error::Result;
use crate::query::{Filter, Order, Page, Query};
use crate::sqlite::Failure;
use crate::store::paging::{Paging, SLICE};

/// A query under way.
#[derive(Debug)]
pub(super) struct Walk(Paging);

/// How a slice ended.
enum Slice {
    /// There is nothing more to find.
    End,
    /// The page is full, and there is more.
    Full,
    /// Its rows were used up.
    GoOn,
}

impl Walk {
    pub(super) fn begin(query: Query) -> Result<Self> {
        Paging::begin(query).map(Self)
    }

    /// Walks on; answers the page once it is done.
    pub(super) fn slice(&mut self, connection: &Connection) -> Result<Option<Page>, Failure> {
        let size = match self.0.size {
            Some(size) => size,
            None => *self.0.size.insert(Head::read(connection)?.size),
        };
        let more = match self.step(connection, size)? {
            Slice::End => false,
            Slice::Full => true,
            Slice::GoOn if self.0.is_spent() => true,
            Slice::GoOn => return Ok(None),
        };
        Ok(Some(self.0.page(more)))
    }

    fn step(&mut self, connection: &Connection, size: u64) -> Result<Slice, Failure> {
        let filter = &self.0.query.filter.clone();
        let mut select = connection.prepare_cached(&sql(filter, self.0.query.order))?;
        let (time, position) = self.0.at.map_or(self.outermost(), |(time, position)| {
            (time, i64::try_from(position).unwrap_or(i64::MAX))
        });
        let entity = filter.entity.as_ref();
        let actor = filter.actor.as_ref();
        let micros = |time: Option<crate::Timestamp>| time.map(crate::Timestamp::as_micros);
        let mut rows = select.query(named_params! {
            ":time": time,
            ":position": position,
            ":since": micros(filter.since).unwrap_or(i64::MIN),
            ":until": micros(filter.until).unwrap_or(i64::MAX),
            ":size": size,
            ":by_entity": entity.is_some(),
            ":entity_kind": entity.map(|entity| &*entity.kind),
            ":entity_id": entity.and_then(|entity| entity.id.as_deref()),
            ":entity_type": filter.entity_type,
            ":actor_kind": actor.and_then(|actor| actor.kind.as_deref()),
            ":actor_id": actor.map(|actor| &*actor.id),
            ":tenant": filter.tenant,
            ":tenants": filter.tenants.only().map(|tenants| serde_json::json!(tenants).to_string()),
            ":left_out": filter.tenants.left_out(),
            ":action": filter.action,
            ":outcome": filter.outcome.map(crate::Outcome::as_str),
            ":request": filter.request,
            ":slice": SLICE,
        })?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            let body = row.get_ref(3)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
            let key = (row.get(4)?, row.get(0)?);
            if body.is_some_and(|body| filter.matches_body(body)) {
                if self.0.is_full() {
                    return Ok(Slice::Full);
                }
                self.0.push(stored(row)?);
            }
            self.0.at = Some(key);
        }
        self.0.looked_at(seen);
        Ok(if seen < SLICE { Slice::End } else { Slice::GoOn })
    }

    /// A place before every event that is looked for, in the order of the walk: the index is
    /// entered there, and not where the store ends.
    fn outermost(&self) -> (i64, i64) {
        let filter = &self.0.query.filter;
        let micros =
            |time: Option<crate::Timestamp>, or| time.map_or(or, crate::Timestamp::as_micros);
        match self.0.query.order {
            Order::NewestFirst => (micros(filter.until, i64::MAX), -1),
            Order::OldestFirst => (micros(filter.since, -1), -1),
        }
    }
}

/// The statement of a walk. A row that the filter does not let through comes
/// without its body, which is then not read from the file either.
fn sql(filter: &Filter, order: Order) -> String {
    let (index, narrow) = match filter {
        Filter { entity: Some(_), .. } => {
            ("entity", "entity_type = :entity_kind AND entity_id IS :entity_id AND")
        }
        Filter { actor: Some(_), .. } => ("actor", "actor_id = :actor_id AND"),
        Filter { tenant: Some(_), .. } => ("tenant", "tenant = :tenant AND"),
        _ => ("time", ""),
    };
    let (beyond, direction) = match order {
        Order::NewestFirst => ("<", "DESC"),
        Order::OldestFirst => (">", "ASC"),
    };
    format!(
        "SELECT position, id, appended_at, CASE WHEN position < :size \
         AND (NOT :by_entity OR (entity_type = :entity_kind AND entity_id IS :entity_id)) \
         AND (:entity_type IS NULL OR entity_type = :entity_type) \
         AND (:actor_kind IS NULL OR actor_type = :actor_kind) \
         AND (:actor_id IS NULL OR actor_id = :actor_id) \
         AND (:tenant IS NULL OR tenant = :tenant) \
         AND (:tenants IS NULL OR tenant IN (SELECT value FROM json_each(:tenants))) \
         AND (:left_out IS NULL OR tenant IS NOT :left_out) \
         AND (:action IS NULL OR action = :action) \
         AND (:outcome IS NULL OR outcome = :outcome) \
         AND (:request IS NULL OR request_id = :request) \
         THEN body END, occurred_at \
         FROM annals_events INDEXED BY annals_events_{index} \
         WHERE {narrow} (occurred_at, position) {beyond} (:time, :position) \
         AND occurred_at >= :since AND occurred_at < :until \
         ORDER BY occurred_at {direction}, position {direction} LIMIT :slice"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Entity, Outcome};
    use crate::query::ActorFilter;
    use crate::store::sqlite::schema;

    /// What SQLite would do, in its own words.
    fn plan(connection: &Connection, filter: &Filter, order: Order) -> String {
        let explain = format!("EXPLAIN QUERY PLAN {}", sql(filter, order));
        let mut statement = connection.prepare(&explain).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_query_walks_an_index_and_sorts_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, "test").unwrap();
        let all = Filter::default;
        let entity = Some(Entity::new("product", 42));
        let actor = Some(ActorFilter { kind: None, id: "7".to_owned() });
        let filters = [
            (
                Filter { entity: entity.clone(), ..all() },
                "annals_events_entity (entity_type=? AND entity_id=? AND ",
            ),
            (
                Filter { entity, actor: actor.clone(), ..all() },
                "annals_events_entity (entity_type=? AND entity_id=? AND ",
            ),
            (Filter { actor, ..all() }, "annals_events_actor (actor_id=? AND "),
            (
                Filter { tenant: Some("acme".to_owned()), ..all() },
                "annals_events_tenant (tenant=? AND ",
            ),
            (Filter { outcome: Some(Outcome::Denied), ..all() }, "annals_events_time ("),
            (all(), "annals_events_time ("),
        ];
        for (filter, index) in filters {
            for order in [Order::NewestFirst, Order::OldestFirst] {
                let plan = plan(&connection, &filter, order);
                assert!(plan.starts_with("SEARCH annals_events USING INDEX "), "{plan}");
                assert!(plan.contains(index), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
                assert!(
                    plan.contains("occurred_at"),
                    "it begins where the last page ended: {plan}"
                );
            }
        }
    }
}
