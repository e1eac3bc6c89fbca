//! For whom a store is read: what stands behind the checks of whoever asks it.
//!
//! A server checks what somebody may see, and asks the store for that. Within [`seen_by`] the
//! store knows of it too, and one that can refuses to hand out what is others', whatever it is
//! asked for: PostgreSQL, to a role that row-level security holds for.

use crate::query::Tenants;

tokio::task_local! {
    static VIEWER: Tenants;
}

/// Does something for somebody who may see the data of those tenants.
pub async fn seen_by<F: Future>(tenants: Tenants, work: F) -> F::Output {
    VIEWER.scope(tenants, work).await
}

/// Whose data may be seen now, if that is bound at all.
#[cfg(feature = "postgres")]
pub(crate) fn viewer() -> Option<Tenants> {
    VIEWER.try_with(Clone::clone).ok()
}
