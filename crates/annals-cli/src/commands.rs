//! The commands, one file each.

pub(crate) mod attach;
pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod erase;
pub(crate) mod export_log;
pub(crate) mod failed;
pub(crate) mod history;
pub(crate) mod hold;
pub(crate) mod index;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod migrate;
pub(crate) mod people;
pub(crate) mod prove;
pub(crate) mod prune;
pub(crate) mod query;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod retention;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod subject;
pub(crate) mod tail;
pub(crate) mod up;
pub(crate) mod verify;
pub(crate) mod witness;
pub(crate) mod work;

use crate::args::Command;
use crate::failure::Failure;
use crate::session::Session;

/// Runs one command.
pub(crate) async fn run(command: Command, session: Session) -> Result<(), Failure> {
    match command {
        Command::Demo(demo) => demo.run(&session).await,
        Command::Up(up) => up.run(&session).await,
        Command::Init(init) => init.run(&session),
        Command::Record(record) => record.run(&session).await,
        Command::Work(work) => work.run(&session).await,
        Command::Serve(serve) => serve.run(&session).await,
        Command::Tail(tail) => tail.run(&session).await,
        Command::History(history) => history.run(&session).await,
        Command::Query(query) => query.run(&session).await,
        Command::Stats(stats) => stats.run(&session).await,
        Command::Failed(failed) => failed.run(&session).await,
        Command::Hold(hold) => hold.run(&session).await,
        Command::Keys(keys) => keys.run(&session).await,
        Command::People(people) => people.run(&session).await,
        Command::Recover(recover) => recover.run(&session).await,
        Command::Prune(prune) => prune.run(&session).await,
        Command::Retention(retention) => retention.run(&session).await,
        Command::Erase(erase) => erase.run(&session).await,
        Command::Subject(subject) => subject.run(&session).await,
        Command::Verify(verify) => verify.run(&session).await,
        Command::Prove(prove) => prove.run(&session).await,
        Command::Checkpoint(checkpoint) => checkpoint.run(&session).await,
        Command::Log(log) => log.run(&session).await,
        Command::ExportLog(export) => export.run(&session).await,
        Command::Witness(witness) => witness.run(&session).await,
        Command::Attach(attach) => attach.run(&session).await,
        Command::Detach(detach) => detach.run(&session).await,
        Command::Index(index) => index.run(&session).await,
        Command::Migrate(migrate) => migrate.run(&session).await,
        Command::Doctor(doctor) => doctor.run(&session).await,
        Command::Config(config) => config.run(&session),
    }
}
