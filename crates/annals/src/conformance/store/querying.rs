//! Cases for queries, compared with a scan in memory.

use super::{StorePlace, append_new, whole};
use crate::conformance::sample::moment;
use crate::conformance::{Random, records};
use crate::error::{ErrorKind, Result};
use crate::event::{Entity, Event, Outcome, Timestamp};
use crate::query::{ActorFilter, Filter, Order, Query, Tenants};
use crate::store::{Record, Store, Stored};

/// What a filter means, spelt out.
fn lets_through(filter: &Filter, event: &Event) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    let actor = event.actor.as_ref();
    filter.entity.as_ref().is_none_or(|entity| *entity == event.entity)
        && is(&filter.entity_type, Some(&event.entity.kind))
        && filter.actor.as_ref().is_none_or(|wanted| {
            is(&wanted.kind, actor.and_then(|actor| actor.kind.as_deref()))
                && actor.and_then(|actor| actor.id.as_deref()) == Some(&wanted.id)
        })
        && is(&filter.action, Some(&event.action))
        && filter.outcome.is_none_or(|outcome| outcome == event.outcome)
        && is(&filter.tenant, event.tenant.as_deref())
        && match (&filter.tenants, event.tenant.as_deref()) {
            (Tenants::All, _) => true,
            (Tenants::Besides { besides }, tenant) => tenant.is_none_or(|tenant| tenant != besides),
            (Tenants::Only(tenants), tenant) => {
                tenant.is_some_and(|tenant| tenants.contains(tenant))
            }
        }
        && filter.changed.as_ref().is_none_or(|field| event.changed_fields().contains(field))
        && is(&filter.request, event.context.request_id.as_deref())
        && filter.since.is_none_or(|since| event.occurred_at >= since)
        && filter.until.is_none_or(|until| event.occurred_at < until)
}

/// The positions that a query must give, from all events.
pub(super) fn expected(all: &[Stored], filter: &Filter, order: Order) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for stored in all {
        let event = stored.event()?;
        if lets_through(filter, &event) {
            found.push((event.occurred_at, stored.position));
        }
    }
    found.sort_unstable();
    if order == Order::NewestFirst {
        found.reverse();
    }
    Ok(found.into_iter().map(|(_, position)| position).collect())
}

/// The positions that a query gives, page by page.
pub(super) async fn found(store: &dyn Store, query: Query) -> Result<Vec<u64>> {
    let mut positions = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.query(query.clone().after(cursor)).await?;
        assert!(page.events.len() <= query.limit, "a page has its limit");
        positions.extend(page.events.iter().map(|event| event.position));
        // As a client would send it back.
        cursor = page.next.and_then(|next| next.to_string().parse().ok());
        assert_eq!(cursor, page.next, "a cursor can be written and read");
        if cursor.is_none() {
            return Ok(positions);
        }
    }
}

/// A filter of up to all conditions, out of the world of [`Random::record`].
pub(super) fn filter(random: &mut Random) -> Filter {
    let mut own = |choices: &[&str]| {
        // Most filters have one or two conditions.
        if random.one_in(3) { random.maybe(choices).map(str::to_owned) } else { None }
    };
    let entity_type = own(&["product", "order", "ghost"]);
    let actor = own(&["7", "8"]).map(|id| ActorFilter { kind: own(&["user", "job"]), id });
    let action = own(&["created", "updated"]);
    let tenant = own(&["acme", "globex"]);
    let changed = own(&["price", "name"]);
    let request = own(&["r-1"]);
    let entity = random.one_in(3).then(|| match random.below(9) {
        0 => Entity::of_type("product"),
        id => Entity::new("product", id),
    });
    let mut time = || random.one_in(4).then(|| moment(random.below(60)));
    let (since, until) = (time(), time());
    let tenants = ["acme", "globex", "ghost"].into_iter().filter(|_| random.one_in(2));
    let tenants = match tenants.map(str::to_owned).collect() {
        tenants if random.one_in(4) => Tenants::Only(tenants),
        _ if random.one_in(4) => Tenants::Besides { besides: "acme".to_owned() },
        _ => Tenants::All,
    };
    let outcome = random.one_in(4).then_some(Outcome::Denied);
    Filter {
        entity,
        entity_type,
        actor,
        action,
        outcome,
        tenant,
        tenants,
        changed,
        request,
        since,
        until,
    }
}

async fn fill(store: &dyn Store, random: &mut Random, count: usize) -> Result<()> {
    let records: Result<Vec<Record>> = (0..count).map(|_| random.record()).collect();
    append_new(store, &records?).await
}

/// Any filter, in both orders, in pages of any size.
pub async fn filters_find_what_a_scan_finds(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let mut random = Random::seeded(6);
    fill(&*store, &mut random, 400).await?;
    let all = whole(&*store).await?;
    for _ in 0..150 {
        let mut query = Query::newest(filter(&mut random));
        query.limit = usize::try_from(1 + random.below(60)).unwrap_or(1);
        if random.one_in(2) {
            query = query.oldest_first();
        }
        let expected = expected(&all, &query.filter, query.order)?;
        assert_eq!(found(&*store, query.clone()).await?, expected, "{query:?}");
        let mut through = Vec::new();
        for stored in &all {
            let record = Record::decode(stored.body.clone());
            if record.is_ok_and(|record| query.filter.lets_through(&record)) {
                through.push(stored.position);
            }
        }
        through.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(through, expected, "let through one by one: {query:?}");
    }
    Ok(())
}

/// Events that are appended while someone leafs through come in no later page,
/// wherever in time they lie.
pub async fn pages_do_not_shift(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let mut random = Random::seeded(7);
    fill(&*store, &mut random, 60).await?;
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let all = whole(&*store).await?;
        let mut query = Query { order, ..Query::newest(Filter::default()).limit(9) };
        let mut positions = Vec::new();
        loop {
            let page = store.query(query.clone()).await?;
            positions.extend(page.events.iter().map(|event| event.position));
            fill(&*store, &mut random, 5).await?;
            query.cursor = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(positions, expected(&all, &query.filter, order)?);
    }
    Ok(())
}

/// Many events of the same microsecond: by position, across pages.
pub async fn events_of_one_moment_have_an_order(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let same = |number: u64| {
        let event = Event::new("viewed", Entity::new("product", number % 2)).occurred_at(moment(1));
        let record = event.encode().map(Record::decode);
        assert!(matches!(record, Ok(Ok(_))), "an encoded event can be read");
        record.into_iter().flatten()
    };
    append_new(&*store, &(0..30).flat_map(same).collect::<Vec<_>>()).await?;
    for filter in
        [Filter::default(), Filter { entity: Some(Entity::new("product", 1)), ..Filter::default() }]
    {
        let newest = found(&*store, Query::newest(filter.clone()).limit(4)).await?;
        let oldest = found(&*store, Query::newest(filter).limit(4).oldest_first()).await?;
        assert!(newest.is_sorted_by(|a, b| a > b), "{newest:?}");
        assert!(oldest.is_sorted_by(|a, b| a < b), "{oldest:?}");
        assert_eq!(newest.len(), oldest.len());
    }
    Ok(())
}

/// It would skip or repeat events.
pub async fn a_cursor_of_another_query_is_refused(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    append_new(&*store, &records(0..5)?).await?;
    let page = store.query(Query::newest(Filter::default()).limit(2)).await?;
    assert!(page.next.is_some(), "three more events");
    let later = Filter { since: Some(Timestamp::MIN), ..Filter::default() };
    for query in [Query::newest(later), Query::newest(Filter::default()).oldest_first()] {
        let refused = store.query(query.after(page.next)).await;
        assert!(refused.is_err_and(|error| error.kind() == ErrorKind::Usage));
    }
    Ok(())
}
