//! Row-level security: the database is told whose data a statement may see.
//!
//! It holds for roles that do not own the tables; `annals migrate --roles` makes the policies.

use crate::query::{Query, Tenants};
use crate::store::viewer::viewer;

/// What to set in the transaction of a statement that reads single rows, for whoever it is.
pub(super) fn of_rows() -> Option<String> {
    match viewer()? {
        Tenants::Only(tenants) => Some(set(tenants.iter().map(String::as_str))),
        // Of these the checks alone see to it: the rest of all there is, is nearly all.
        Tenants::All | Tenants::Besides { .. } => None,
    }
}

/// The same for a query: where its index does not lead to what may be seen alone, the database
/// would pass over all else without end, while a walk gives up in time.
pub(super) fn of_query(query: &Query) -> Option<String> {
    let filter = &query.filter;
    let narrow = filter.tenant.is_some() || filter.entity.is_some() || filter.actor.is_some();
    of_rows().filter(|_| narrow)
}

fn set<'a>(tenants: impl Iterator<Item = &'a str>) -> String {
    // An array as PostgreSQL writes it, in a literal.
    let quoted = |tenant: &str| {
        let escaped = tenant.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "''");
        format!("\"{escaped}\"")
    };
    let list: Vec<String> = tenants.map(quoted).collect();
    format!("SET LOCAL annals.tenants = '{{{}}}'", list.join(","))
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn names_are_quoted() {
        let told = set(["acme", "a,b", "o'neil \"x\" \\"].into_iter());
        assert_eq!(told, r#"SET LOCAL annals.tenants = '{"acme","a,b","o''neil \"x\" \\"}'"#);
    }
}
