//! The flags that every command has, and the commands.

use std::path::PathBuf;

use annals::config::Flag;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    attach, checkpoint, config, doctor, erase, export_log, failed, history, hold, index, init,
    keys, log, migrate, people, prove, prune, query, record, recover, retention, serve, stats,
    subject, tail, up, verify, witness, work,
};
use crate::demo;

/// An audit trail: who did what to what, kept through crashes.
#[derive(Debug, Parser)]
#[command(name = "annals", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Read this configuration instead of ./annals.toml
    #[arg(long, global = true, env = "ANNALS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Read the variables of a PHP application too, such as its .env
    #[arg(long, global = true, env = "ANNALS_ENV_FILE", value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Keep the embedded databases here [default: annals-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// A queue to use, such as sqlite:PATH; may be given several times
    #[arg(long, global = true, value_name = "URL")]
    transport: Vec<String>,
    /// The store to use, such as sqlite:PATH
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// A plain copy to write too, such as file:PATH; may be given several times
    #[arg(long, global = true, value_name = "URL")]
    mirror: Vec<String>,
    /// Read through the server at this URL instead of the store
    #[arg(long, global = true, env = "ANNALS_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The key that the server wants; better given as ANNALS_KEY, which nobody sees
    #[arg(
        long = "key",
        id = "server_key",
        env = "ANNALS_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub(crate) server_key: Option<String>,
    /// Print for machines: one JSON object, or one a line for lists
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tell more on stderr: -v names batches, -vv events
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How what is told on stderr looks
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Global {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        push(&mut flags, "data_dir", "--data-dir", self.data_dir.as_ref());
        push(&mut flags, "store", "--store", self.store.as_ref());
        push(&mut flags, "transport", "--transport", &self.transport);
        push(&mut flags, "mirror", "--mirror", &self.mirror);
        flags
    }
}

/// Adds a flag that sets a setting, if it was given.
pub(crate) fn push<'a>(
    flags: &mut Vec<Flag>,
    key: &'static str,
    name: &'static str,
    values: impl IntoIterator<Item = &'a String>,
) {
    let values: Vec<String> = values.into_iter().cloned().collect();
    if !values.is_empty() {
        flags.push(Flag { key, name, values });
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch a sample application being audited
    Demo(demo::Demo),
    /// Run everything in one process: ingest, worker, daily prune
    Up(up::Up),
    /// Write a commented annals.toml
    Init(init::Init),
    /// Record one event from flags, or many from NDJSON on stdin
    Record(record::Record),
    /// Move events from the queues to the store and its mirrors
    Work(work::Work),
    /// Take events in over HTTP
    Serve(serve::Serve),
    /// Follow new events
    Tail(tail::Tail),
    /// Show one entity's events, newest first, or its state at a time
    History(history::History),
    /// Find events
    Query(query::Query),
    /// Show what queues and store hold
    Stats(stats::Stats),
    /// Look after events that could not be stored
    #[command(subcommand)]
    Failed(failed::Failed),
    /// Put rescued events back into the queue
    Recover(recover::Recover),
    /// Remove old events
    Prune(prune::Prune),
    /// Remove what is older than the rules of the configuration keep it
    #[command(subcommand)]
    Retention(retention::Retention),
    /// Keep events from being removed by anybody
    #[command(subcommand)]
    Hold(hold::Hold),
    /// Make and revoke the keys by which applications use the server
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Ask people in, and say what they may do at the server
    #[command(subcommand)]
    People(people::People),
    /// Make what is sealed about a subject unreadable for ever
    Erase(erase::Erase),
    /// Show what is held about a subject
    Subject(subject::Subject),
    /// Check that nothing in the store was altered, or that a proof is right
    Verify(verify::Verify),
    /// Prove that an event is in the log
    Prove(prove::Prove),
    /// Sign the log's head and print it
    Checkpoint(checkpoint::Checkpoint),
    /// Care for the log's keys and signatures
    #[command(subcommand)]
    Log(log::Log),
    /// Write the log's signed head and its hashes as files to be served
    ExportLog(export_log::ExportLog),
    /// Cosign the checkpoints of other machines' logs
    Witness(witness::Witness),
    /// Create the tables
    Migrate(migrate::Migrate),
    /// Capture every change of these tables with triggers
    Attach(attach::Attach),
    /// No longer capture the changes of these tables
    Detach(attach::Detach),
    /// Index who created and changed the rows of these tables
    Index(index::Index),
    /// Check the installation
    Doctor(doctor::Doctor),
    /// Show every setting, its value and where it came from
    Config(config::Config),
}

impl Command {
    /// Its name, if it cannot be done through a server.
    pub(crate) fn needs_the_store(&self) -> Option<&'static str> {
        Some(match self {
            Self::Query(_) | Self::History(_) | Self::Tail(_) | Self::Stats(_) => return None,
            Self::Failed(_) | Self::Hold(_) | Self::Prove(_) | Self::Verify(_) => return None,
            Self::Checkpoint(_) | Self::Retention(_) => return None,
            Self::Config(_) | Self::Init(_) | Self::Demo(_) | Self::Witness(_) => return None,
            Self::Up(_) => "up",
            Self::Record(_) => "record",
            Self::Work(_) => "work",
            Self::Serve(_) => "serve",
            Self::Recover(_) => "recover",
            Self::Prune(_) => "prune",
            Self::Keys(_) => "keys",
            Self::People(_) => "people",
            Self::Erase(_) => "erase",
            Self::Subject(_) => "subject",
            Self::Log(_) => "log",
            Self::ExportLog(_) => "export-log",
            Self::Migrate(_) => "migrate",
            Self::Attach(_) => "attach",
            Self::Detach(_) => "detach",
            Self::Index(_) => "index",
            Self::Doctor(_) => "doctor",
        })
    }

    /// The settings that the command's own flags set.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        match self {
            Self::Up(up) => up.flags(),
            Self::Work(work) => work.flags(),
            Self::Serve(serve) => serve.flags(),
            Self::Prune(prune) => prune.flags(),
            _ => Vec::new(),
        }
    }
}
