//! Audit indexes on an application's own tables.

use annals::ErrorKind;
use annals::index::{AuditColumns, State, Step, build, explain, list, plan};
use annals_testbed::postgres::Release;
use annals_testbed::required;
use sqlx::postgres::PgPool;

async fn steps(url: &str, table: &str) -> Vec<Step> {
    plan(url, &[table.to_owned()], &AuditColumns::default()).await.unwrap()
}

async fn built(url: &str, table: &str) -> Vec<(String, State)> {
    let mut states = Vec::new();
    for step in steps(url, table).await {
        build(url, &step).await.unwrap();
        states.push((step.index, step.state));
    }
    states
}

on_each_release!(who_made_and_changed_rows_is_found_by_an_index);
async fn who_made_and_changed_rows_is_found_by_an_index(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let long = "a_table_whose_name_is_so_long_that_none_is_left_for_the_index_1";
    server.sql(
        database,
        &format!(
            "CREATE TABLE orders AS SELECT g AS id, g % 700 AS created_by_id, now() - g * interval '1 s' AS created_at, \
                 g % 30 AS updated_by_id, now() AS updated_at FROM generate_series(1, 50000) g; \
             CREATE TABLE visit (created_by_id int, created_at date) PARTITION BY RANGE (created_at); \
             CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM ('2026-01-01') TO ('2026-07-01'); \
             CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM ('2026-07-01') TO ('2027-01-01'); \
             INSERT INTO visit SELECT g % 900, '2026-01-01'::date + g % 300 FROM generate_series(1, 30000) g; \
             CREATE TABLE {long} (created_by_id int, created_at date); \
             CREATE TABLE {} (created_by_id int, created_at date); \
             CREATE TABLE other (who int, at date); ANALYZE",
            long.replace("_1", "_2")
        ),
    );
    let made = |what: &str| (format!("idx_orders_audit_{what}"), State::Missing);
    assert_eq!(built(&url, "orders").await, [made("created"), made("updated")]);
    let there = |what: &str| (format!("idx_orders_audit_{what}"), State::Present);
    assert_eq!(built(&url, "orders").await, [there("created"), there("updated")]);
    let visit = built(&url, "visit").await;
    assert!(matches!(visit[1].1, State::NoColumns(_)), "{visit:?}");
    assert!(built(&url, "visit").await.iter().all(|(_, state)| *state != State::Missing));
    for table in [long.to_owned(), long.replace("_1", "_2")] {
        built(&url, &table).await;
        assert_eq!(
            steps(&url, &table).await[0].state,
            State::Present,
            "found again under its short name"
        );
    }
    for table in ["orders", "visit"] {
        let told = explain(&url, &steps(&url, table).await[0]).await.unwrap().unwrap();
        assert!(told.used, "{}", told.plan);
        assert!(told.with_ms > 0.0 && told.without_ms > 0.0);
    }
    let all = list(&url).await.unwrap();
    assert_eq!(all.len(), 7);
    assert!(
        all.iter().all(|index| index.valid && index.columns == "created_by_id, created_at DESC"
            || index.table == "orders")
    );

    let columns = AuditColumns {
        created_by: "who".into(),
        created_at: "at".into(),
        ..AuditColumns::default()
    };
    let lacking = plan(&url, &["other".to_owned()], &AuditColumns::default()).await.unwrap_err();
    assert!(
        lacking.kind() == ErrorKind::Usage && lacking.to_string().contains("created_by_id"),
        "{lacking}"
    );
    assert_eq!(plan(&url, &["other".to_owned()], &columns).await.unwrap()[0].state, State::Missing);
    let columns = AuditColumns { created_by: "id".into(), ..AuditColumns::default() };
    let taken = plan(&url, &["orders".to_owned()], &columns).await.unwrap_err();
    assert!(taken.advice().unwrap().contains("DROP INDEX"), "{taken}");
}

on_each_release!(a_build_that_was_cut_short_is_done_anew);
async fn a_build_that_was_cut_short_is_done_anew(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    server.sql(database, "CREATE TABLE t (created_by_id int, created_at date)");
    // A build waits for this one.
    let pool = PgPool::connect(&url).await.unwrap();
    let mut older = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1, now())").execute(&mut *older).await.unwrap();
    let step = steps(&url, "t").await.remove(0);
    let building = tokio::spawn({
        let url = url.clone();
        async move { build(&url, &step).await }
    });
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' \
        AND wait_event_type = 'Lock' AND datname = current_database()";
    while server.sql(database, cut) == "0" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    building.await.unwrap().unwrap_err();
    older.commit().await.unwrap();
    assert!(!list(&url).await.unwrap()[0].valid);
    assert_eq!(built(&url, "t").await[0].1, State::Broken);
    assert!(list(&url).await.unwrap()[0].valid);
}
