//! `annals attach` and `annals detach`: capture triggers on application tables.

use annals::attach::{self, AttachOptions, Attached, Mode, Operation};
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::render::shown;
use crate::render::style::{HINT, WARN};
use crate::session::{Session, shown_url};

/// Capture every change of these tables with triggers
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Tables of the application, as in SQL: product, or sales.product
    #[arg(required_unless_present = "list", value_name = "TABLE")]
    tables: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Leave a column out; may be given several times
    #[arg(long, value_name = "COLUMN")]
    exclude: Vec<String>,
    /// Tell only that a column changed; may be given several times
    #[arg(long, value_name = "COLUMN")]
    redact: Vec<String>,
    /// Have the worker seal a column, which holds personal data; may be given several times
    #[arg(long, value_name = "COLUMN")]
    personal: Vec<String>,
    /// The entity type of the events [default: the table's name]
    #[arg(long, value_name = "NAME")]
    entity_type: Option<String>,
    /// What to capture: insert, update, delete
    #[arg(long, value_delimiter = ',', value_name = "OPERATIONS")]
    only: Vec<Operation>,
    /// Show what is attached
    #[arg(long, conflicts_with_all = ["tables", "exclude", "redact", "personal", "entity_type", "only", "dry_run"])]
    list: bool,
}

/// No longer capture the changes of these tables
#[derive(Debug, Args)]
pub(crate) struct Detach {
    /// Tables that are attached
    #[arg(required = true, value_name = "TABLE")]
    tables: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Which database, and whether to change it.
#[derive(Debug, Args)]
struct Place {
    /// The application's database, which then holds the queue too
    /// [default: the first transport]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print the SQL, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Place {
    fn url<'a>(&'a self, session: &'a Session) -> &'a str {
        let configured = session.config.transports.first();
        self.database.as_ref().or(configured).map_or("", String::as_str)
    }

    fn mode(&self) -> Mode {
        if self.dry_run { Mode::DryRun } else { Mode::Apply }
    }

    /// Says what was done, or would be.
    fn tell(
        &self,
        session: &Session,
        did: &'static str,
        tables: &[String],
        statements: &[String],
    ) -> Result<(), Failure> {
        if session.out.json() {
            return session.out.object(&json!({
                "tables": tables, "applied": !self.dry_run, "statements": statements,
            }));
        }
        if self.dry_run {
            let lines = statements
                .iter()
                .flat_map(|sql| format!("{sql};").lines().map(shown_line).collect::<Vec<_>>());
            return session.out.text(lines.collect::<String>());
        }
        for table in tables {
            session.out.line(format!("{did}  {}", shown(table)))?;
        }
        Ok(())
    }
}

impl Attach {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let url = self.place.url(session);
        if self.list {
            return list(session, &attach::attached(url).await?);
        }
        let mut options = AttachOptions {
            entity_type: self.entity_type.clone(),
            exclude: self.exclude.clone(),
            redact: self.redact.clone(),
            personal: self.personal.clone(),
            ..AttachOptions::default()
        };
        if !self.only.is_empty() {
            options.operations.clone_from(&self.only);
        }
        if self.tables.len() > 1 && self.entity_type.is_some() {
            return Err(Failure::usage("several tables cannot share one --entity-type")
                .hint("attach them one by one"));
        }
        let statements = attach::attach(url, &self.tables, &options, self.place.mode()).await?;
        self.place.tell(session, "attached", &self.tables, &statements)?;
        let read = session.config.transports.iter().any(|transport| transport == url);
        if !self.place.dry_run && !read {
            session.out.note(format!(
                "{HINT}hint:{HINT:#} a worker must read this queue: annals work --transport {}",
                shown_url(url)
            ));
        }
        Ok(())
    }
}

impl Detach {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let url = self.place.url(session);
        let statements = attach::detach(url, &self.tables, self.place.mode()).await?;
        self.place.tell(session, "detached", &self.tables, &statements)
    }
}

fn shown_line(line: &str) -> String {
    format!("{}\n", shown(line))
}

fn list(session: &Session, attached: &[Attached]) -> Result<(), Failure> {
    if session.out.json() {
        return attached.iter().try_for_each(|table| session.out.object(table));
    }
    for table in attached {
        let mut line = format!("{}  as {}", shown(&table.table), shown(&table.entity_type));
        let mut part = |what: &str, columns: &[String]| {
            if !columns.is_empty() {
                line.push_str(&format!("  {what} {}", shown(&columns.join(", "))));
            }
        };
        part("without", &table.excluded);
        part("redacting", &table.redacted);
        part("sealing", &table.personal);
        if table.operations.len() < 3 {
            part("only", &table.operations);
        }
        if !table.current {
            line.push_str(&format!("  {WARN}its columns changed: attach it again{WARN:#}"));
        }
        session.out.line(line)?;
    }
    if attached.is_empty() {
        session.out.note("no table is attached");
    }
    Ok(())
}
