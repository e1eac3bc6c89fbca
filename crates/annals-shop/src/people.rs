//! Who may come to the shop. A real one would ask for a password; here an
//! `x-user` header with the login is enough.

use annals::Actor;

/// Someone whom the shop knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// What stands in the `x-user` header.
    pub login: &'static str,
    /// The id in the trail.
    pub id: i64,
    /// The name in the trail.
    pub name: &'static str,
    /// Whether this person works here.
    pub staff: bool,
}

/// Everyone, staff first.
pub const PEOPLE: [Person; 6] = [
    Person { login: "jo", id: 7, name: "Jo Doe", staff: true },
    Person { login: "ada", id: 8, name: "Ada Okafor", staff: true },
    Person { login: "sam", id: 9, name: "Sam Lindqvist", staff: true },
    Person { login: "mia", id: 21, name: "Mia Rossi", staff: false },
    Person { login: "tom", id: 22, name: "Tom Nguyen", staff: false },
    Person { login: "lin", id: 23, name: "Lin Ortega", staff: false },
];

impl Person {
    /// The person with that login.
    #[must_use]
    pub fn with_login(login: &str) -> Option<Self> {
        PEOPLE.into_iter().find(|person| person.login == login)
    }

    /// As whom the trail knows this person.
    #[must_use]
    pub fn actor(self) -> Actor {
        Actor::user(self.id).named(self.name)
    }
}
