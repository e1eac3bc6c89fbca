//! `annals verify`: is everything as it was appended?

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals::archive::{ArchiveFinding, ArchiveReport};
use annals::log::{EventProof, KeyType, SignedCheckpoint, VerifierKey};
use annals::proof::{Finding, Report, VerifyOptions, Witnesses, verify};
use annals::store::Store;
use clap::Args;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::checkpoint::hex;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::remote::Remote;
use crate::render::shown;
use crate::render::size::{count, plural};
use crate::render::style::{BAD, GOOD, HINT};
use crate::session::Session;

/// How often it is kept how far all is right.
const SAVE: Duration = Duration::from_secs(5);

/// Check that nothing in the store was altered, or that a proof is right
///
/// Reads every event and the whole log. Without --key it believes the key that signs here,
/// and where there is none those that the store itself names, which whoever changed the
/// store may have changed too: give the key that was handed over when the log began.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A key that may have signed the log, as `annals checkpoint --key` prints it
    #[arg(long, value_name = "KEY")]
    key: Vec<VerifierKey>,
    /// An earlier checkpoint, which the log must extend
    #[arg(long, value_name = "FILE")]
    since: Vec<PathBuf>,
    /// Go on from the checkpoint in this file, up to which all was right when it was last
    /// used here, and keep in it how far all is right now
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// The key of a witness that is believed; without any those of `log.witnesses`
    #[arg(long, value_name = "KEY")]
    witness: Vec<VerifierKey>,
    /// As many witnesses must have cosigned the log [default: all that --witness names]
    #[arg(long, value_name = "N")]
    require: Option<usize>,
    /// How long they may not have done so while the log grew
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    witnessed_within: Duration,
    /// Check the files of an archive instead; without --key by the keys that sign here
    #[arg(long, value_name = "DIR", conflicts_with_all = ["since", "resume", "proof"])]
    archive: Option<PathBuf>,
    /// Check this proof instead, without any store
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "resume"], requires = "key")]
    proof: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    annals::unit::parse_duration(text)
}

impl Verify {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if let Some(path) = &self.proof {
            return self.check(session, path);
        }
        if let Some(directory) = &self.archive {
            return self.check_archive(session, directory).await;
        }
        if let Some(remote) = session.remote() {
            let more = !self.key.is_empty() || !self.since.is_empty() || self.resume.is_some();
            let asked = more || !self.witness.is_empty() || self.require.is_some();
            session.here_only("verifying against keys or checkpoints", asked)?;
            return far(session, remote).await;
        }
        let store = session.store().await?;
        let mut options = VerifyOptions::default();
        options.keys = self.keys(session, &store).await?;
        options.witnesses = self.witnesses(session)?;
        let believed = options.keys.is_empty();
        for path in &self.since {
            options.since.push(read::<SignedCheckpoint>(path)?);
        }
        if let Some(path) = self.resume.as_ref().filter(|path| path.exists()) {
            options.from = Some(read::<SignedCheckpoint>(path)?);
        }
        let mut right = options.from.as_ref().map(|from| from.head().size);
        let (steps, told) = watch::channel(right);
        let watched = session.out.is_terminal() && !session.out.json();
        let progress = watched.then(|| Progress::show(0));
        let report = {
            let verifying = verify(&store, options, |step| {
                if let Some(progress) = &progress {
                    progress.set(step.position, step.size);
                }
                steps.send_replace(step.right);
            });
            let mut verifying = std::pin::pin!(verifying);
            let mut pause = tokio::time::interval(SAVE);
            loop {
                tokio::select! {
                    report = &mut verifying => break report?,
                    _ = pause.tick() => {
                        let reached = *told.borrow();
                        self.keep(&*store, &mut right, reached).await?;
                    }
                }
            }
        };
        drop(progress);
        let reached = *told.borrow();
        self.keep(&*store, &mut right, reached.filter(|_| report.findings.is_empty())).await?;
        if session.out.json() {
            session.out.object(&machine(&report))?;
        } else {
            session.out.text(human(&report, believed))?;
        }
        if report.findings.is_empty() { Ok(()) } else { Err(Failure::found_wrong()) }
    }

    /// The keys that are believed; none if only the store's own word is to be had.
    async fn keys(
        &self,
        session: &Session,
        store: &Arc<dyn Store>,
    ) -> Result<Vec<VerifierKey>, Failure> {
        if !self.key.is_empty() {
            return Ok(self.key.clone());
        }
        // What signs here is believed before what the store says of itself, unless keys
        // that are not here any more have signed too.
        let signer = session.signer_of(Arc::clone(store))?;
        let here = signer.verifiers().await.unwrap_or_default();
        let told = store.ledger()?.standing().await?.keys;
        let all = told.iter().all(|told| here.iter().any(|key| key.to_string() == *told));
        Ok(if all { here } else { Vec::new() })
    }

    /// Checks archive files against the keys alone.
    async fn check_archive(&self, session: &Session, directory: &Path) -> Result<(), Failure> {
        let mut keys = self.key.clone();
        if keys.is_empty() {
            let here = async { self.keys(session, &session.store().await?).await };
            keys = here.await.unwrap_or_default();
        }
        if keys.is_empty() {
            return Err(Failure::usage("there is no key here to verify an archive with")
                .hint("give --key with what `annals checkpoint --key` prints beside its log"));
        }
        let report = annals::archive::verify(directory, &keys, |_, _| ()).await?;
        let findings = &report.findings;
        if session.out.json() {
            let finding = |finding: &ArchiveFinding| {
                json!({
                    "file": finding.file, "line": finding.line, "kind": finding.kind.name(),
                    "position": finding.position, "what": finding.what,
                    "event": finding.event.map(|id| id.to_string()),
                })
            };
            session.out.object(&json!({
                "files": report.files, "events": report.events,
                "findings": findings.iter().map(finding).collect::<Vec<_>>(),
            }))?;
        } else {
            session.out.text(archive_report(&report))?;
        }
        if findings.is_empty() { Ok(()) } else { Err(Failure::found_wrong()) }
    }

    /// Keeps the checkpoint of the size up to which all is right, if that has grown.
    async fn keep(
        &self,
        store: &dyn Store,
        kept: &mut Option<u64>,
        reached: Option<u64>,
    ) -> Result<(), Failure> {
        let (Some(path), Some(size)) = (&self.resume, reached) else { return Ok(()) };
        if kept.is_some_and(|kept| kept >= size) {
            return Ok(());
        }
        let checkpoints = store.ledger()?.checkpoints(size, 1).await?;
        // Of one hour the last stays: it may have been thinned out by now.
        let Some(checkpoint) = checkpoints.first().filter(|found| found.size == size) else {
            return Ok(());
        };
        let failed = |error| {
            Failure::failed(format!("keep how far all is right in {}: {error}", path.display()))
        };
        let beside = path.with_extension("new");
        fs::write(&beside, &checkpoint.note).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        *kept = Some(size);
        Ok(())
    }

    /// Who is to have cosigned; nobody, unless it is asked for.
    fn witnesses(&self, session: &Session) -> Result<Option<Witnesses>, Failure> {
        if self.witness.is_empty() && self.require.is_none() {
            return Ok(None);
        }
        let keys = match self.witness.is_empty() {
            true => session.witness_keys()?,
            false => self.witness.clone(),
        };
        if let Some(log) = keys.iter().find(|key| key.key_type() != KeyType::Witness) {
            return Err(Failure::usage(format!("the key {log} is a log's, and no witness's"))
                .hint("`annals witness` prints its own when it starts"));
        }
        let required = self.require.unwrap_or(keys.len());
        if required > keys.len() || required == 0 {
            let known = plural(keys.len() as u64, "witness").replace("witnesss", "witnesses");
            return Err(Failure::usage(format!(
                "{required} are required to have cosigned, and {known} known"
            ))
            .hint("name each with --witness KEY, or in log.witnesses"));
        }
        Ok(Some(Witnesses { keys, required, within: self.witnessed_within }))
    }

    /// Checks a proof against the keys alone.
    fn check(&self, session: &Session, path: &Path) -> Result<(), Failure> {
        let proof: EventProof = read(path)?;
        let asked = self.witnesses(session)?;
        let checked = proof
            .checkpoint
            .verify(&self.key)
            .map_err(|fault| format!("its checkpoint: {fault}"))
            .and_then(|()| check_witnesses(asked.as_ref(), &proof.checkpoint))
            .and_then(|()| proof.verify_inclusion().map_err(|fault| fault.to_string()));
        let head = proof.checkpoint.head();
        if session.out.json() {
            session.out.object(&json!({
                "proof": path, "right": checked.is_ok(), "why": checked.as_ref().err(),
                "event": checked.as_ref().ok().map(|event| event.id.to_string()),
                "position": proof.position, "origin": head.origin, "size": head.size,
            }))?;
            return checked.map(drop).map_err(|_| Failure::found_wrong());
        }
        match checked {
            Ok(event) => session.out.text(format!(
                "{GOOD}right{GOOD:#}  event {} is at position {} of the log {}, whose first {} were signed\n{}\n",
                event.id,
                proof.position,
                shown(&head.origin),
                plural(head.size, "event"),
                shown(&String::from_utf8_lossy(&proof.body)),
            )),
            Err(why) => {
                session.out.text(format!("{BAD}wrong{BAD:#}  {}: {}\n", path.display(), shown(&why)))?;
                Err(Failure::found_wrong())
            }
        }
    }
}

/// What a server says of its log: its own word, which is enough to find damage, and not to
/// find that somebody there lies.
async fn far(session: &Session, remote: &Remote) -> Result<(), Failure> {
    let found: Value = remote.json("/v1/verify", Vec::new()).await?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let findings = found["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    if session.out.json() {
        session.out.object(&found)?;
    } else {
        for finding in findings {
            let text = |name: &str| shown(finding[name].as_str().unwrap_or_default()).into_owned();
            let kind = text("kind").replace('_', " ");
            let at = finding["position"].as_u64().map(|at| format!(" at {}", count(at)));
            let (event, at) = (text("event"), at.unwrap_or_default());
            session.out.line(format!("{BAD}{kind}{BAD:#} {event}{at}: {}", text("what")))?;
        }
        let verdict = match findings.is_empty() {
            true => format!("{GOOD}right{GOOD:#}"),
            false => format!("{BAD}wrong{BAD:#}"),
        };
        let (size, events) = (number(&found["size"]), number(&found["events"]));
        let signed = found["signed"].as_u64();
        session.out.line(format!(
            "{verdict}  a log of {}: {} there, {} removed; {}, says {}",
            plural(size, "event"),
            count(events),
            count(number(&found["removed"])),
            signed.map_or_else(
                || "never signed".to_owned(),
                |to| format!("signed up to {}", count(to))
            ),
            shown(remote.url()),
        ))?;
    }
    if findings.is_empty() { Ok(()) } else { Err(Failure::found_wrong()) }
}

/// Whether enough witnesses have cosigned the checkpoint of a proof.
fn check_witnesses(asked: Option<&Witnesses>, checkpoint: &SignedCheckpoint) -> Result<(), String> {
    let Some(asked) = asked else { return Ok(()) };
    match asked.seen(checkpoint) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            Err(format!("its checkpoint is not cosigned by {} of the witnesses", asked.required))
        }
        Err(fault) => Err(format!("a cosignature of its checkpoint: {fault}")),
    }
}

/// Reads a file of ours.
fn read<T: std::str::FromStr<Err: std::fmt::Display>>(path: &Path) -> Result<T, Failure> {
    let wrong =
        |why: &dyn std::fmt::Display| Failure::failed(format!("read {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    text.parse().map_err(|fault| wrong(&fault))
}

fn machine(report: &Report) -> serde_json::Value {
    let finding = |finding: &Finding| {
        json!({
            "kind": finding.kind.name(), "position": finding.position,
            "event": finding.event.map(|id| id.to_string()), "what": finding.what,
        })
    };
    json!({
        "size": report.size, "from": report.from, "root": hex(&report.root), "events": report.events, "removed": report.removed,
        "checkpoints": report.checkpoints, "signed": report.signed,
        "witnessed": report.witnessed.map(|(size, at)| json!({ "size": size, "at": at.to_string() })),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(), "further": report.further,
    })
}

fn archive_report(report: &ArchiveReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let event = finding.event.map(|id| format!(" event {id}")).unwrap_or_default();
        let position = finding.position.map(|at| format!(" at {}", count(at))).unwrap_or_default();
        let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        text.push_str(&format!(
            "{BAD}{}{BAD:#}{event}{position}: {}{line}: {}\n",
            finding.kind.name().replace('_', " "),
            shown(&finding.file.display().to_string()),
            shown(&finding.what)
        ));
    }
    let verdict = match report.findings.is_empty() {
        true => format!("{GOOD}right{GOOD:#}"),
        false => format!("{BAD}wrong{BAD:#}"),
    };
    let (files, events) = (plural(report.files, "file"), plural(report.events, "event"));
    text.push_str(&format!("{verdict}  an archive of {files} with {events}\n"));
    text
}

fn human(report: &Report, believed: bool) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let event = finding.event.map(|id| format!(" event {id}")).unwrap_or_default();
        // What has no place in the log has none to be named.
        let position = finding.position.filter(|position| *position < u64::MAX);
        let position =
            position.map(|position| format!(" at {}", count(position))).unwrap_or_default();
        text.push_str(&format!(
            "{BAD}{}{BAD:#}{event}{position}: {}\n",
            finding.kind.name().replace('_', " "),
            shown(&finding.what)
        ));
    }
    if report.further > 0 {
        text.push_str(&format!("and {} more\n", count(report.further)));
    }
    let verdict = match report.findings.is_empty() {
        true => format!("{GOOD}right{GOOD:#}"),
        false => format!("{BAD}wrong{BAD:#}"),
    };
    text.push_str(&format!(
        "{verdict}  a log of {}{}: {} there, {} removed",
        plural(report.size, "event"),
        match report.from {
            0 => String::new(),
            from => format!(", from {} on", count(from)),
        },
        count(report.events),
        count(report.removed),
    ));
    text.push_str(&match report.signed {
        None => "; it was never signed\n".to_owned(),
        Some(size) => format!(
            "; signed up to {}, by {}\n",
            count(size),
            plural(report.checkpoints, "checkpoint")
        ),
    });
    if let Some((size, at)) = report.witnessed {
        text.push_str(&format!("       witnessed up to {}, at {at}\n", count(size)));
    }
    if believed && report.signed.is_some() {
        text.push_str(&format!(
            "{HINT}hint:{HINT:#} the keys were the store's own word; give --key, and --since with a checkpoint from elsewhere\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use annals::EventId;
    use annals::proof::FindingKind;

    use super::*;

    #[test]
    fn findings_are_lines_and_the_verdict_comes_last() {
        let id: EventId = "01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67".parse().unwrap();
        let finding = |kind, position, event, what: &str| Finding {
            kind,
            position,
            event,
            what: what.to_owned(),
        };
        let mut report = Report::default();
        (report.size, report.events, report.removed) = (1_100, 1_000, 98);
        (report.checkpoints, report.signed) = (11, Some(1_100));
        let right = human(&report, true);
        report.findings = vec![
            finding(
                FindingKind::Changed,
                Some(300),
                Some(id),
                "the column tenant says \"a\", and the event \"b\"",
            ),
            finding(
                FindingKind::CutOff,
                Some(1_100),
                None,
                "the log ends at 1100, and 1200 events were signed",
            ),
            finding(
                FindingKind::Inserted,
                Some(u64::MAX),
                Some(id),
                "the event was never appended",
            ),
        ];
        report.further = 2_000;
        let text = format!("{right}\n{}", human(&report, false));
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }
}
