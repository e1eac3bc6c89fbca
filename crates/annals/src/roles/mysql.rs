//! Roles in MariaDB and MySQL. They cannot log in: grant them to users who do, and make
//! them their default role. Rights go to the tables that are there.

use sqlx::{AssertSqlSafe, Executor};

use super::ROLES;
use crate::error::Result;
use crate::mysql::{Failure, Pool, Server};

/// Which rights on what each role has. The log's head is locked by whoever appends or
/// prunes, for which these servers want the right to change it. Nobody but who prunes
/// may delete an event, and nobody may change one.
const RIGHTS: &[(&str, &str, &str)] = &[
    ("annals_queue", "INSERT", "annals_enqueue"),
    ("annals_queue", "SELECT, INSERT, UPDATE, DELETE", "annals_work"),
    ("annals_queue", "SELECT", "annals_read"),
    ("annals_failed", "SELECT, INSERT, UPDATE, DELETE", "annals_work"),
    ("annals_failed", "SELECT", "annals_read"),
    ("annals_queue_head", "SELECT", "annals_enqueue, annals_work, annals_read"),
    ("annals_record", "EXECUTE", "annals_enqueue"),
    ("annals_acknowledge", "EXECUTE", "annals_work"),
    ("annals_store_meta", "SELECT", "annals_work, annals_read, annals_prune"),
    ("annals_events", "SELECT, INSERT", "annals_work"),
    ("annals_events", "SELECT, INSERT, DELETE", "annals_prune"),
    ("annals_events", "SELECT", "annals_read"),
    ("annals_appends", "SELECT, INSERT", "annals_work, annals_prune"),
    ("annals_appends", "SELECT", "annals_read"),
    ("annals_append_blocks", "SELECT, UPDATE", "annals_work, annals_prune"),
    ("annals_tombstones", "SELECT", "annals_work, annals_read"),
    ("annals_tombstones", "SELECT, INSERT", "annals_prune"),
    ("annals_dropped", "SELECT", "annals_work, annals_read"),
    ("annals_dropped", "SELECT, INSERT, UPDATE", "annals_prune"),
    ("annals_drop_partition", "EXECUTE", "annals_prune"),
    ("annals_log_tiles", "SELECT, INSERT, UPDATE", "annals_work, annals_prune"),
    ("annals_log_tiles", "SELECT", "annals_read"),
    ("annals_log_head", "SELECT, UPDATE", "annals_work, annals_prune"),
    ("annals_log_head", "SELECT", "annals_read"),
    ("annals_log_checkpoints", "SELECT, INSERT, UPDATE, DELETE", "annals_work, annals_prune"),
    ("annals_log_checkpoints", "SELECT", "annals_read"),
    ("annals_log_keys", "SELECT, INSERT", "annals_work, annals_prune"),
    ("annals_log_keys", "SELECT", "annals_read"),
    ("annals_log_signer", "SELECT, UPDATE", "annals_work, annals_prune"),
    ("annals_log_signer", "SELECT", "annals_read"),
    ("annals_removals", "SELECT, INSERT", "annals_prune"),
    ("annals_removals", "SELECT", "annals_work, annals_read"),
    ("annals_removal_notes", "SELECT, INSERT, UPDATE", "annals_work, annals_prune"),
    ("annals_removal_notes", "SELECT", "annals_read"),
    ("annals_holds", "SELECT", "annals_work, annals_read, annals_prune"),
    // Who prunes also erases.
    ("annals_subject_keys", "SELECT, INSERT", "annals_work"),
    ("annals_subject_keys", "SELECT, UPDATE", "annals_prune"),
    ("annals_subject_keys", "SELECT", "annals_read"),
    // What a server must know to let anybody in: keyed hashes, and no key.
    ("annals_access", "SELECT", "annals_read"),
    ("annals_access", "SELECT, INSERT, UPDATE", "annals_admit"),
    ("annals_access_head", "SELECT, UPDATE", "annals_admit"),
    ("annals_rollups", "SELECT, INSERT, DELETE", "annals_work"),
    ("annals_rollup_head", "SELECT, UPDATE", "annals_work"),
    ("annals_rollup_stale", "SELECT, DELETE", "annals_work"),
    ("annals_rollup_stale", "SELECT, INSERT, UPDATE", "annals_prune"),
    ("annals_rollups", "SELECT", "annals_read"),
    ("annals_rollup_head", "SELECT", "annals_read"),
    ("annals_rollup_stale", "SELECT", "annals_read"),
    ("annals_trail", "SELECT", "annals_read"),
    ("annals_attached", "SELECT", "annals_read"),
    ("annals_capture_head", "SELECT", "annals_read"),
];

pub(super) async fn make(url: &str) -> Result<()> {
    const THERE: &str = "SELECT CONVERT(table_name USING utf8mb4) FROM information_schema.tables \
             WHERE table_schema = DATABASE() \
         UNION SELECT CONVERT(routine_name USING utf8mb4) FROM information_schema.routines \
             WHERE routine_schema = DATABASE()";
    let server = Server::new(url, "the database")?;
    server.check().await?;
    let work = |pool: Pool| async move {
        let mut connection = pool.connect().await?;
        let there: Vec<String> = connection.scalar(THERE).fetch_all(&mut *connection).await?;
        for (role, _) in ROLES {
            let make = format!("CREATE ROLE IF NOT EXISTS {role}");
            connection.execute(AssertSqlSafe(make)).await?;
        }
        for (object, rights, roles) in RIGHTS {
            if there.iter().any(|name| name == object) {
                let kind = if *rights == "EXECUTE" { "PROCEDURE " } else { "" };
                let grant = format!("GRANT {rights} ON {kind}{object} TO {roles}");
                connection.execute(AssertSqlSafe(grant)).await?;
            }
        }
        connection.commit().await?;
        Ok::<_, Failure>(())
    };
    server.call("make roles in", work).await
}
