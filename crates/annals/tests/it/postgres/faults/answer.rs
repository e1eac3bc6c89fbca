//! The connection is lost between COMMIT and its answer, or says nothing any more.

use annals_testbed::postgres::Postgres;
use annals_testbed::proxy::Proxy;
use annals_testbed::required;

use super::scene::{On, Scene, until};

/// Loses the answer to a commit of such a statement, so many times: of the first one,
/// and of others under load.
async fn lose(on: On, statement: &'static str, times: usize) {
    let Some(server) = required(Postgres::shared()) else { return };
    let proxy = Proxy::start(server.port()).unwrap();
    let database = server.database();
    proxy.lose_commit_of(statement);
    let scene = Scene::through(&database, on, &proxy.url(&database)).await;
    for lost in 1..=times {
        until("a commit is lost", &scene.worker.log, || proxy.lost() == lost).await;
        scene.goes_well().await;
        if lost < times {
            proxy.lose_commit_of(statement);
        }
    }
    scene.settle().await;
}

/// The wire goes silent with everything in flight, and is not closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_everything() {
    let Some(server) = required(Postgres::shared()) else { return };
    let proxy = Proxy::start(server.port()).unwrap();
    let database = server.database();
    let url = format!("{}&statement_timeout=1s&connect_timeout=1s", proxy.url(&database));
    let scene = Scene::through(&database, On::Both, &url).await;
    for _ in 0..2 {
        scene.goes_well().await;
        proxy.fall_silent();
    }
    scene.goes_well().await;
    scene.settle().await;
}

macro_rules! lost {
    ($($name:ident: $on:ident, $statement:literal, $times:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            lose(On::$on, $statement, $times).await;
        })+
    };
}

lost! {
    of_an_append: Store, "INSERT INTO annals_events_", 3;
    // As it is done by who has not appended before.
    of_an_append_in_steps: Store, "annals_log_extend", 1;
    of_a_move_from_queue_to_store: Both, "INSERT INTO annals_events_", 3;
    of_a_move_in_steps: Both, "annals_log_extend", 1;
    of_a_send: Queue, "INSERT INTO annals_queue", 3;
    of_a_lease: Queue, "INSERT INTO annals_delivery", 3;
    of_an_acknowledgement: Queue, "annals_acknowledge(", 3;
}
