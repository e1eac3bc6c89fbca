//! Signing: the log's head as a checkpoint, at least once a second while it grows.
//!
//! Any number of signers may be at work; a store lets one at a time into the
//! transaction in which a checkpoint is made and kept, so that one size never has two.
//! A signature leaves that transaction only when it is durable.
//!
//! A signer signs only what contains everything that was signed before, as far as the
//! store knows and as far as it remembers itself: it keeps the last checkpoint in a file
//! beside the key, where a backup of the database does not take it back. A database that
//! is a copy of the one that was signed is not signed ([`Standing::copy`]), since both
//! would then go on under one name. What brings a signer back from that is
//! [`Signer::resume`], which leaves an event in the trail.
//!
//! What it cannot see: database, key and memory taken back to an older state together.
//! Only a witness on another machine remembers then.

mod keys;
mod memory;
mod resume;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::log::{
    Checkpoint, Hash, Removal, SignedCheckpoint, SigningKey, VerifierKey, check_name,
};
use crate::store::{Kept, SignRemoval, Signing, Standing, Store};

pub use keys::Keys;
use memory::Memory;
pub use resume::{RESUMED, Resumed};

/// Between two looks at the log.
const PAUSE: Duration = Duration::from_millis(900);

/// Signs the log of one store.
#[derive(Debug)]
pub struct Signer {
    store: Arc<dyn Store>,
    name: String,
    keys: Keys,
    directory: PathBuf,
    /// The origin and its keys, once they are read.
    read: Mutex<Option<(String, Arc<[SigningKey]>)>>,
}

/// Whose log it signs, with what, and what was signed last here.
#[derive(Clone, Debug)]
struct Known {
    origin: String,
    keys: Arc<[SigningKey]>,
    memory: Memory,
}

impl Signer {
    /// Signs the log of `store` as `name/<the store's uuid>`, with these keys;
    /// remembers what it signed last in a file in `directory`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if no key could have that name.
    pub fn new(store: Arc<dyn Store>, name: &str, keys: Keys, directory: PathBuf) -> Result<Self> {
        if let Err(fault) = check_name(name) {
            return Err(Error::new(ErrorKind::Usage, "sign the log", fault)
                .hint("name the log as a URL without a scheme, such as shop.example/audit"));
        }
        Ok(Self { store, name: name.to_owned(), keys, directory, read: Mutex::default() })
    }

    /// The log's origin: the name it was given, and the store's uuid.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn origin(&self) -> Result<String> {
        Ok(self.origin_of(&self.store.ledger()?.standing().await?))
    }

    /// The public halves of its keys. It makes none.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there are none here, or they are another log's; also if the
    /// store cannot be read.
    pub async fn verifiers(&self) -> Result<Vec<VerifierKey>> {
        let keys = self.keys.of(&self.origin().await?, false)?;
        Ok(keys.iter().map(SigningKey::verifier).collect())
    }

    fn origin_of(&self, standing: &Standing) -> String {
        format!("{}/{}", self.name, standing.uuid)
    }

    /// Signs the log, if it grew since it was signed last. Answers the checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if the log does not contain what was signed before, or its
    /// database is another than the one that was; [`ErrorKind::Usage`] if the keys are not
    /// this log's, or cannot be read; otherwise when the store cannot be used.
    pub async fn sign(&self) -> Result<Option<SignedCheckpoint>> {
        let ledger = self.store.ledger()?;
        let standing = ledger.standing().await?;
        if standing.latest.as_ref().map_or(0, |latest| latest.size) == standing.size {
            return Ok(None);
        }
        let known = self.known(&standing)?;
        let (doing, keys) = (self.doing(), Arc::clone(&known.keys));
        let (origin, memory) = (known.origin.clone(), known.memory.last().cloned());
        let at = memory.iter().map(|last| last.head().size).collect();
        let make = move |standing: &Standing, roots: &[(u64, Hash)]| {
            // Another signer was faster.
            if standing.latest.as_ref().is_some_and(|latest| latest.size >= standing.size) {
                return Ok(None);
            }
            refuse_strangers(&doing, standing, &keys)?;
            refuse_a_copy(&doing, standing, memory.as_ref())?;
            for last in [memory.as_ref(), latest(standing)?.as_ref()].into_iter().flatten() {
                refuse_what_went_back(&doing, standing, last, roots)?;
            }
            signing(&origin, standing, &keys).map(Some)
        };
        self.keep(ledger.sign(at, Box::new(make)).await?, known)
    }

    /// Whether it may sign now what is not a checkpoint: the origin and keys of a log that it
    /// has signed, as far as it goes.
    async fn signed(&self) -> Result<Known> {
        self.sign().await?;
        let standing = self.store.ledger()?.standing().await?;
        let known = self.known(&standing)?;
        refuse_strangers(&self.doing(), &standing, &known.keys)?;
        refuse_a_copy(&self.doing(), &standing, known.memory.last())?;
        Ok(known)
    }

    /// Learns of a checkpoint of this log that was seen elsewhere, such as by a witness, and
    /// never forgets it: a log that does not contain it is signed no more.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if no key of this log signed it; otherwise if there are no
    /// keys here, or it cannot be remembered.
    pub async fn learn(&self, seen: &SignedCheckpoint) -> Result<()> {
        let standing = self.store.ledger()?.standing().await?;
        let mut known = self.known(&standing)?;
        let keys: Vec<VerifierKey> = known.keys.iter().map(SigningKey::verifier).collect();
        seen.verify(&keys).map_err(|fault| {
            let doing = format!("learn of a checkpoint of the log of {}", self.store.url());
            Error::new(ErrorKind::Damaged, doing, fault)
        })?;
        known.memory.remember(seen)
    }

    /// Signs each second while the log grows, until something is over; then once more.
    /// What keeps it from signing is logged once, and tried again.
    pub async fn run(&self, over: impl Future<Output = ()>) {
        let mut told = None;
        let mut over = std::pin::pin!(over);
        loop {
            let last = tokio::select! {
                () = &mut over => true,
                () = tokio::time::sleep(PAUSE) => false,
            };
            match self.sign().await {
                Ok(_) => told = None,
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(target: "annals::proof", %error, "the log is not signed");
                        told = Some(text);
                    }
                }
            }
            if last {
                return;
            }
        }
    }

    /// Remembers what was signed, once that is durable.
    fn keep(&self, signing: Option<Signing>, mut known: Known) -> Result<Option<SignedCheckpoint>> {
        let Some(note) = signing.and_then(|signing| signing.note) else { return Ok(None) };
        let signed: SignedCheckpoint =
            note.parse().map_err(|fault| Error::new(ErrorKind::Damaged, self.doing(), fault))?;
        known.memory.remember(&signed)?;
        Ok(Some(signed))
    }

    /// The keys of this log, from their file the first time, and what was signed last: its
    /// file is read each time, since others of this directory write it too.
    fn known(&self, standing: &Standing) -> Result<Known> {
        let (origin, memory) = (self.origin_of(standing), self.memory_of(standing)?);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = match read.as_ref().filter(|(of, _)| *of == origin) {
            Some((_, keys)) => Arc::clone(keys),
            None => {
                let keys: Arc<[SigningKey]> =
                    self.keys.of(&origin, standing.keys.is_empty())?.into();
                *read = Some((origin.clone(), Arc::clone(&keys)));
                keys
            }
        };
        Ok(Known { origin, keys, memory })
    }

    /// What was signed last here, by the file.
    fn memory_of(&self, standing: &Standing) -> Result<Memory> {
        Memory::open(self.directory.join(format!("{}.checkpoint", standing.uuid)))
    }

    fn doing(&self) -> String {
        format!("sign the log of {}", self.store.url())
    }
}

#[async_trait]
impl SignRemoval for Signer {
    async fn sign_removal(&self, removal: &Removal) -> Result<String> {
        let known = self.signed().await?;
        Ok(removal.sign(&known.origin, &known.keys, Timestamp::now()))
    }
}

/// The checkpoint of a log as it stands.
fn signing(origin: &str, standing: &Standing, keys: &[SigningKey]) -> Result<Signing> {
    let head = Checkpoint::new(origin, standing.size, standing.root)
        .map_err(|fault| Error::new(ErrorKind::Usage, format!("sign the log {origin}"), fault))?;
    let signed = head.sign(keys, Timestamp::now());
    let mut known = standing.keys.clone();
    known.extend(keys.iter().map(|key| key.verifier().to_string()));
    known.sort();
    known.dedup();
    Ok(Signing {
        size: standing.size,
        note: Some(signed.to_string()),
        keys: known,
        copy: standing.copy.clone(),
        uuid: None,
    })
}

/// The last checkpoint that the store has kept.
fn latest(standing: &Standing) -> Result<Option<SignedCheckpoint>> {
    let parse = |kept: &Kept| {
        kept.note.parse().map_err(|fault| {
            Error::new(ErrorKind::Damaged, "read the last checkpoint of the log", fault)
                .hint("the store was altered: `annals verify` says where")
        })
    };
    standing.latest.as_ref().map(parse).transpose()
}

/// Refuses keys that this log was never signed with: another worker has others.
fn refuse_strangers(doing: &str, standing: &Standing, keys: &[SigningKey]) -> Result<()> {
    let known = |key: &SigningKey| standing.keys.contains(&key.verifier().to_string());
    if standing.keys.is_empty() || keys.iter().any(known) {
        return Ok(());
    }
    let found =
        format!("the log is signed by {}, and not by the key given here", standing.keys.join(", "));
    Err(Error::new(ErrorKind::Usage, doing, found).hint(
        "give all workers of a store the same key; to change it, put the new one beside the old one in \
         their file",
    ))
}

/// Refuses a database that is not the one that was signed. That its server took over from
/// another is fine for who knows that nothing that was signed got lost.
fn refuse_a_copy(
    doing: &str,
    standing: &Standing,
    memory: Option<&SignedCheckpoint>,
) -> Result<()> {
    let Some(signed) = &standing.signed_copy else { return Ok(()) };
    if *signed == standing.copy {
        return Ok(());
    }
    let remembers = latest(standing)?.is_some_and(|latest| {
        memory.is_some_and(|memory| memory.head().size >= latest.head().size)
    });
    if is_alike(signed, &standing.copy) && remembers {
        return Ok(());
    }
    let found = format!(
        "the database is not the one that was signed: that was {signed}, and this is {}",
        standing.copy
    );
    Err(Error::new(ErrorKind::Damaged, doing, found).hint(
        "if it took the other's place, `annals log resume --after-restore` goes on and says so in \
         the trail; a copy beside it must not be signed as the same log",
    ))
}

/// Whether two descriptions of a database have one in common of the things that tell it from
/// others. A timeline alone tells nothing.
fn is_alike(signed: &str, here: &str) -> bool {
    let tells = |part: &&str| !part.starts_with("timeline ");
    signed.split("; ").filter(tells).any(|part| here.split("; ").any(|other| other == part))
}

/// Refuses a log that does not contain what was signed.
fn refuse_what_went_back(
    doing: &str,
    standing: &Standing,
    last: &SignedCheckpoint,
    roots: &[(u64, Hash)],
) -> Result<()> {
    let last = last.head();
    let root = roots.iter().find(|(size, _)| *size == last.size).map(|(_, root)| root);
    let found = match root {
        Some(root) if *root == last.root => return Ok(()),
        Some(_) => format!("its first {} events are not those that were signed", last.size),
        None => format!(
            "it has {} events, and {} were signed: it went back to an older state",
            standing.size, last.size
        ),
    };
    Err(Error::new(ErrorKind::Damaged, doing, found).hint(
        "`annals verify` says what is wrong; after a restore, `annals log resume --after-restore` \
         goes on and says so in the trail",
    ))
}
