//! Asks people in, and lets them sign in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::access_key::{AccessKey, Shown};
use super::api_key::Token;
use super::entries::{Entries, Kept, Listed};
use super::password;
use super::person::{Link, Person, Subject};
use super::role::Role;
use super::session::{Means, Session};
use crate::capture::Audit;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Timestamp};
use crate::hex::hex;
use crate::query::Tenants;
use crate::store::Store;

/// People of one store, at most, those included who may no longer sign in.
pub const MAX_PEOPLE: usize = 10_000;

/// Sessions of somebody at a time; another one takes the place of the oldest.
const MAX_SESSIONS: usize = 20;

/// How long a link to set a password can be used.
pub const LINK: Duration = Duration::from_secs(3 * 86_400);

/// The id of the first administrator: there can be one of it only.
const FIRST: &str = "0000000000000001";

/// The action of the event that tells that somebody was asked in.
pub const PERSON_INVITED: &str = "annals.person.invited";

/// The action of the event that tells that somebody's role, tenants or state were changed.
pub const PERSON_CHANGED: &str = "annals.person.changed";

/// The action of the event that tells that somebody has set a password by a link.
pub const PASSWORD_SET: &str = "annals.person.password_set";

/// The people who may use a store's servers.
#[derive(Clone, Debug)]
pub struct People {
    entries: Entries,
}

/// What to change of somebody.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What they may do from now on.
    pub role: Option<Role>,
    /// With whose data.
    pub tenants: Option<Tenants>,
    /// Whether they may no longer sign in.
    pub disabled: Option<bool>,
}

/// Where somebody signs in from.
#[derive(Clone, Debug, Default)]
pub struct From {
    /// Their address.
    pub ip: Option<String>,
    /// Their program.
    pub user_agent: Option<String>,
}

impl People {
    /// The people of that store, under that key.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store keeps none.
    pub fn new(store: Arc<dyn Store>, key: AccessKey) -> Result<Self> {
        Entries::new(store, key).map(|entries| Self { entries })
    }

    /// Tells of changes by a handle, and not in the store itself.
    #[must_use]
    pub fn telling(mut self, audit: Audit) -> Self {
        self.entries.tell_by(audit);
        self
    }

    pub(super) fn of(entries: Entries) -> Self {
        Self { entries }
    }

    /// All of them, in the order in which they were changed last.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed<Person>>> {
        Ok(self.entries.all().await?.into_iter().map(|(_, listed)| listed).collect())
    }

    /// Asks somebody in: by the link that is answered, they set a password. An event
    /// [`PERSON_INVITED`] tells of it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name that is none or that somebody has, or tenants that are
    /// none; [`ErrorKind::Full`] where there are [`MAX_PEOPLE`]; otherwise if the store cannot
    /// be written.
    pub async fn invite(
        &self,
        name: &str,
        role: Role,
        tenants: Tenants,
        by: Option<Actor>,
    ) -> Result<(Person, Token)> {
        let token = Token::generate()?;
        let mut person = Person::new(token.id().to_owned(), name, role, tenants);
        self.check_new(&person).await?;
        person.link = Some(self.link_of(&token));
        self.entries.write(&person, 0).await?;
        self.tell(PERSON_INVITED, &person, by).await?;
        Ok((person, token))
    }

    async fn check_new(&self, person: &Person) -> Result<()> {
        let doing = || format!("ask {:?} in", person.name);
        if let Some(fault) = person.fault() {
            return Err(Error::new(ErrorKind::Usage, doing(), fault));
        }
        let all = self.entries.all::<Person>().await?;
        if all.len() >= MAX_PEOPLE {
            let found = format!("there are {MAX_PEOPLE} already, which is the most");
            return Err(Error::new(ErrorKind::Full, doing(), found));
        }
        let taken = all.iter().any(
            |(_, listed)| matches!(listed, Listed::Ours(other) if other.is_called(&person.name)),
        );
        if taken {
            let found = "somebody of that name is there already";
            return Err(Error::new(ErrorKind::Usage, doing(), found)
                .hint("`annals people list` names those there are"));
        }
        Ok(())
    }

    fn link_of(&self, token: &Token) -> Link {
        let hash = self.entries.key().hash(Shown::Link, token.id(), token.secret());
        Link { hash, expires_at: Timestamp::now().after(LINK) }
    }

    /// Makes a new link for somebody, to set another password; one that was made before works
    /// no more, the password until it is set. An event [`PERSON_INVITED`] tells of it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is nobody of that id, or that one may not sign in;
    /// otherwise if the store cannot be written.
    pub async fn link(&self, id: &str, by: Option<Actor>) -> Result<(Person, Token)> {
        let doing = "make a link for";
        let (revision, mut person) = self.entries.find::<Person>(id, doing).await?;
        if person.disabled_at.is_some() {
            let doing = format!("{doing} {}", person.name);
            return Err(Error::new(ErrorKind::Usage, doing, "they may not sign in")
                .hint(format!("`annals people change {id} --enable` lets them")));
        }
        let token = Token::generate_for(id)?;
        person.link = Some(self.link_of(&token));
        self.entries.write(&person, revision).await?;
        self.tell(PERSON_INVITED, &person, by).await?;
        Ok((person, token))
    }

    /// A link for the first administrator, if there is none yet who can sign in. Nothing is
    /// written for it: each server that starts may make one, and the first that is used is the
    /// last.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn first(&self) -> Result<Option<Token>> {
        if self.is_administered().await? {
            return Ok(None);
        }
        let seconds = Timestamp::now().as_millis() / 1_000;
        Ok(Some(self.first_link(&format!("{seconds:016x}"))))
    }

    /// The link of that id, which tells when it was made.
    fn first_link(&self, id: &str) -> Token {
        let secret = self.entries.key().hash(Shown::First, id, "");
        Token::of(id.to_owned(), Zeroizing::new(hex(&secret)))
    }

    /// Whether somebody can sign in who may say who uses the server.
    async fn is_administered(&self) -> Result<bool> {
        let all = self.entries.all::<Person>().await?;
        Ok(all.iter().any(|(_, listed)| match listed {
            Listed::Ours(person) => person.role == Role::Administrator && person.can_sign_in(),
            Listed::Foreign(_) => false,
        }))
    }

    /// Who a link makes the first administrator, if it can be used.
    async fn asked_first(&self, link: &Token) -> Result<Option<Person>> {
        let key = self.entries.key();
        let made = i64::from_str_radix(link.id(), 16).ok();
        let made = made.and_then(|seconds| Timestamp::from_micros(seconds.checked_mul(1_000_000)?));
        let shown = super::digits::read(link.secret());
        let is_it = shown.is_some_and(|shown| key.is_hash(Shown::First, link.id(), "", &shown));
        let now = Timestamp::now();
        let works = made.is_some_and(|made| now < made.after(LINK));
        if !is_it || !works || self.is_administered().await? {
            return Ok(None);
        }
        let all = Tenants::All;
        Ok(Some(Person::new(FIRST.to_owned(), "administrator", Role::Administrator, all)))
    }

    /// Whom a link is for, if it can be used.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn asked(&self, link: &Token) -> Result<Option<Person>> {
        Ok(self.asked_with(link).await?.map(|(_, person)| person))
    }

    async fn asked_with(&self, link: &Token) -> Result<Option<(u64, Person)>> {
        let key = self.entries.key();
        for (revision, listed) in self.entries.all::<Person>().await? {
            let Listed::Ours(person) = listed else { continue };
            let Some(made) = person.link.as_ref().filter(|_| person.id == link.id()) else {
                continue;
            };
            let is_it = key.is_hash(Shown::Link, link.id(), link.secret(), &made.hash);
            let works = Timestamp::now() < made.expires_at && person.disabled_at.is_none();
            return Ok((is_it && works).then_some((revision, person)));
        }
        Ok(self.asked_first(link).await?.map(|person| (0, person)))
    }

    /// Sets a password by a link, which works no more then; sessions that there are end. An
    /// event [`PASSWORD_SET`] tells of it. With `name`, they are called so from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a link that cannot be used, a password that is too weak, a
    /// name that somebody has; otherwise if the store cannot be written.
    pub async fn welcome(
        &self,
        link: &Token,
        name: Option<&str>,
        password: Zeroizing<String>,
    ) -> Result<Person> {
        const DOING: &str = "set a password";
        let used = || {
            Error::new(ErrorKind::Usage, DOING, "the link was used, is too old, or was never made")
                .hint("ask an administrator for another one")
        };
        let (revision, mut person) = self.asked_with(link).await?.ok_or_else(used)?;
        let is_called_otherwise = name.is_some_and(|name| !person.is_called(name));
        if let Some(name) = name {
            person.name = name.trim().to_owned();
        }
        if is_called_otherwise || revision == 0 {
            self.check_new(&person).await?;
        }
        if let Some(fault) = password::fault(&person.name, &password) {
            return Err(Error::new(ErrorKind::Usage, DOING, fault).hint("choose another one"));
        }
        let key = self.entries.key().clone();
        let hashed = spawn_blocking(move || password::hash(&key, &password)).await;
        let hashed = hashed.map_err(|error| Error::new(ErrorKind::Away, DOING, error))??;
        (person.password, person.link) = (Some(hashed), None);
        person.sessions_since = Some(Timestamp::now());
        // Of two who use it at once, one comes too late.
        if !self.entries.try_write(&person, revision).await? {
            return Err(used());
        }
        self.tell(PASSWORD_SET, &person, Some(person.actor())).await?;
        Ok(person)
    }

    /// Changes somebody; their sessions may do what they may from the next look on, or nothing.
    /// An event [`PERSON_CHANGED`] tells of it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is nobody of that id, for tenants that are none, and where
    /// nobody would be left who may say who uses the server; otherwise if the store cannot be
    /// written.
    pub async fn change(&self, id: &str, change: Change, by: Option<Actor>) -> Result<Person> {
        let (revision, before) = self.entries.find::<Person>(id, "change").await?;
        let doing = || format!("change {}", before.name);
        let mut person = before.clone();
        person.role = change.role.unwrap_or(before.role);
        person.tenants = change.tenants.unwrap_or_else(|| before.tenants.clone());
        match change.disabled {
            Some(true) => {
                person.disabled_at = person.disabled_at.or_else(|| Some(Timestamp::now()));
                person.link = None;
            }
            Some(false) if person.disabled_at.is_some() => {
                (person.disabled_at, person.sessions_since) = (None, Some(Timestamp::now()));
            }
            _ => {}
        }
        if let Some(fault) = person.fault() {
            return Err(Error::new(ErrorKind::Usage, doing(), fault));
        }
        let administers = |person: &Person| {
            person.can_sign_in()
                && person.role == Role::Administrator
                && person.tenants == Tenants::All
        };
        if administers(&before) && !administers(&person) {
            let all = self.list().await?;
            let mut others = all.iter().filter_map(|listed| match listed {
                Listed::Ours(other) if other.id != id => Some(other),
                _ => None,
            });
            if !others.any(administers) {
                let found = "nobody else administers all tenants";
                return Err(Error::new(ErrorKind::Usage, doing(), found)
                    .hint("make somebody else an administrator first"));
            }
        }
        self.entries.write(&person, revision).await?;
        self.tell(PERSON_CHANGED, &person, by).await?;
        Ok(person)
    }

    /// Who signs in with a name and a password; `None` if nobody does. It takes as long for a
    /// name that nobody has.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn recognise(
        &self,
        name: &str,
        password: Zeroizing<String>,
    ) -> Result<Option<Person>> {
        let all = self.entries.all::<Person>().await?;
        let found = all.into_iter().find_map(|(_, listed)| match listed {
            Listed::Ours(person) if person.is_called(name) => Some(person),
            _ => None,
        });
        let kept = found.as_ref().and_then(|person| person.password.clone());
        let key = self.entries.key().clone();
        let is_it = spawn_blocking(move || password::is_hash(&key, &password, kept.as_deref()));
        let is_it = is_it.await.unwrap_or(false);
        Ok(found.filter(|person| is_it && person.can_sign_in()))
    }

    /// Who somebody is whom a provider of identities has recognised, with the role and the
    /// tenants that it gives them; who comes for the first time is made then. `None` if they
    /// may not sign in.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name that is none, or that somebody else has; otherwise if
    /// the store cannot be read or written.
    pub async fn recognise_subject(
        &self,
        subject: Subject,
        name: &str,
        role: Role,
        tenants: Tenants,
    ) -> Result<Option<Person>> {
        let all = self.entries.all::<Person>().await?;
        let found = all.into_iter().find_map(|(revision, listed)| match listed {
            Listed::Ours(person) if person.subject.as_ref() == Some(&subject) => {
                Some((revision, person))
            }
            _ => None,
        });
        let Some((revision, before)) = found else {
            let id = Token::generate()?.id().to_owned();
            let mut person = Person::new(id, name, role, tenants);
            person.subject = Some(subject);
            self.check_new(&person).await?;
            self.entries.write(&person, 0).await?;
            self.tell(PERSON_INVITED, &person, Some(person.actor())).await?;
            return Ok(Some(person));
        };
        if before.disabled_at.is_some() {
            return Ok(None);
        }
        let person = Person { role, tenants, ..before.clone() };
        if person != before {
            if let Some(fault) = person.fault() {
                let doing = format!("let {} in", person.name);
                return Err(Error::new(ErrorKind::Usage, doing, fault));
            }
            self.entries.write(&person, revision).await?;
            self.tell(PERSON_CHANGED, &person, Some(person.actor())).await?;
        }
        Ok(Some(person))
    }

    /// Begins a session; the token is what shows that it is theirs.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn begin(
        &self,
        person: &Person,
        means: Means,
        from: From,
        lasts: Duration,
    ) -> Result<(Session, Token)> {
        let now = Timestamp::now();
        let all = self.all_sessions().await?;
        let mut theirs: Vec<(u64, &str)> = Vec::new();
        let mut over = None;
        for (revision, session, lasts) in &all {
            if !lasts {
                over = Some((*revision, session.id.as_str()));
            } else if session.person == person.id {
                theirs.push((*revision, &session.id));
            }
        }
        let taken = if theirs.len() >= MAX_SESSIONS { theirs.first().copied() } else { over };
        // Who takes the same place at the same time has been faster; a new one is free.
        for (revision, id) in taken.into_iter().map(|(at, id)| (at, Some(id))).chain([(0, None)]) {
            let token = match id {
                Some(id) => Token::generate_for(id)?,
                None => Token::generate()?,
            };
            let session = Session {
                id: token.id().to_owned(),
                person: person.id.clone(),
                means,
                ip: from.ip.clone(),
                user_agent: from.user_agent.clone(),
                created_at: now,
                expires_at: now.after(lasts),
                ended_at: None,
                hash: self.entries.key().hash(Shown::Session, token.id(), token.secret()),
            };
            if self.entries.try_write(&session, revision).await? {
                return Ok((session, token));
            }
        }
        let doing = format!("let {} in", person.name);
        Err(Error::new(ErrorKind::Away, doing, "too many sign in at once").hint("try again"))
    }

    /// The sessions that last, in the order in which they began.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn sessions(&self) -> Result<Vec<Session>> {
        let all = self.all_sessions().await?.into_iter();
        let lasting = all.filter(|(.., lasts)| *lasts);
        let mut lasting: Vec<Session> = lasting.map(|(_, session, _)| session).collect();
        lasting.sort_by_key(|session| session.created_at);
        Ok(lasting)
    }

    /// All sessions, in the order in which they were changed last, each with its revision and
    /// whether it lasts.
    async fn all_sessions(&self) -> Result<Vec<(u64, Session, bool)>> {
        let now = Timestamp::now();
        let people: HashMap<String, Person> = self
            .list()
            .await?
            .into_iter()
            .filter_map(|listed| match listed {
                Listed::Ours(person) => Some((person.id.clone(), person)),
                Listed::Foreign(_) => None,
            })
            .collect();
        let all = self.entries.all::<Session>().await?.into_iter();
        let all = all.filter_map(|(revision, listed)| match listed {
            Listed::Ours(session) => {
                let person = people.get(&session.person);
                let lasts = session.lasts_at(now)
                    && person.is_some_and(|person| !session.was_ended(person));
                Some((revision, session, lasts))
            }
            Listed::Foreign(_) => None,
        });
        Ok(all.collect())
    }

    /// Ends a session; answers false if it was over.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is none such; otherwise if the store cannot be written.
    pub async fn end(&self, id: &str) -> Result<bool> {
        let (revision, mut session) = self.entries.find::<Session>(id, "end").await?;
        if !session.lasts_at(Timestamp::now()) {
            return Ok(false);
        }
        session.ended_at = Some(Timestamp::now());
        self.entries.write(&session, revision).await?;
        Ok(true)
    }

    async fn tell(&self, action: &'static str, person: &Person, by: Option<Actor>) -> Result<()> {
        let tells = json!({
            "name": person.name, "role": person.role, "tenants": person.tenants,
            "disabled": person.disabled_at.is_some(),
        });
        self.entries.tell(action, ("annals.person", person.id()), &tells, by).await
    }
}
