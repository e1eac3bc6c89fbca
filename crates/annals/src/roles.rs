//! Least privilege: roles of a database that may do one thing each.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;

use crate::error::{Error, ErrorKind, Result};
use crate::url::without_secrets;

/// The roles, and what each may do.
pub const ROLES: [(&str, &str); 5] = [
    ("annals_enqueue", "put events into the queue"),
    ("annals_work", "take them out and append them to the store"),
    ("annals_read", "read"),
    ("annals_prune", "remove old events"),
    ("annals_admit", "let people sign in, and say who may use the server"),
];

/// Makes [`ROLES`] in the database that `url` names, and gives them their rights on
/// the tables of Annals that are there. Done again, it adds what is missing.
///
/// # Errors
/// [`ErrorKind::Usage`] where there are no roles; otherwise what the database says,
/// such as that this user may make none.
pub async fn make(url: &str) -> Result<()> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::make(url).await,
        #[cfg(feature = "mysql")]
        Some(("mysql" | "mariadb", _)) => mysql::make(url).await,
        _ => {
            let doing = format!("make roles in {}", without_secrets(url));
            Err(Error::new(ErrorKind::Usage, doing, "it has no roles")
                .hint("the rights of its files are what guards it"))
        }
    }
}
