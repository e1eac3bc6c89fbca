//! Taking over from the workers of a Symfony application.

/// Runs a test on each database that an application may keep its table in.
macro_rules! on_each_database {
    ($test:ident) => {
        mod $test {
            use crate::symfony::scene::Scene;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(scene) = Scene::on_postgres() {
                    super::$test(scene).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                if let Some(scene) = Scene::on_mariadb() {
                    super::$test(scene).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                if let Some(scene) = Scene::on_sqlite() {
                    super::$test(scene).await;
                }
            }
        }
    };
}

mod failing;
mod holding;
mod php;
mod scene;
mod shape;
mod taking;
mod together;

use annals::foreign::symfony::Row;
use serde_json::Value;

/// The class of the messages in the fixtures.
pub(crate) const CLASS: &str = "App\\Message\\AuditEventMessage";

/// Rows of `messenger_messages` that a running application wrote.
pub(crate) fn rows(name: &str) -> Vec<Row> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/symfony");
    let text = std::fs::read_to_string(format!("{folder}/{name}.jsonl")).unwrap();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        Row {
            id: row["id"].as_i64().unwrap(),
            body: text("body"),
            headers: text("headers"),
            created_at: text("created_at").replace('T', " "),
        }
    };
    text.lines().map(row).collect()
}
