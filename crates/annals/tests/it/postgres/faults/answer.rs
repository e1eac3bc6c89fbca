//! The connection is lost between COMMIT and its answer.

use annals_testbed::postgres::Postgres;
use annals_testbed::proxy::Proxy;
use annals_testbed::required;

use super::scene::{On, Scene, until};

/// Loses the answer to such a commit, three times.
async fn lose(on: On, statement: &'static str) {
    let Some(server) = required(Postgres::shared()) else { return };
    let proxy = Proxy::start(server.port()).unwrap();
    let database = server.database();
    let scene = Scene::through(&database, on, &proxy.url(&database)).await;
    for lost in 1..=3 {
        scene.worker.log.clear();
        proxy.lose_commit_of(statement);
        until("a commit is lost", &scene.worker.log, || proxy.lost() == lost).await;
        scene.goes_well().await;
    }
    scene.settle().await;
}

macro_rules! lost {
    ($($name:ident: $on:ident, $statement:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            lose(On::$on, $statement).await;
        })+
    };
}

lost! {
    of_an_append: Store, "annals_log_extend";
    of_a_move_from_queue_to_store: Both, "annals_log_extend";
    of_a_send: Queue, "INSERT INTO annals_queue";
    of_a_lease: Queue, "INSERT INTO annals_delivery";
    of_an_acknowledgement: Queue, "DELETE FROM annals_delivery";
}
