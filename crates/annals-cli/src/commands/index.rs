//! `annals index`: audit indexes on application tables.

use annals::index::{self, AuditColumns, State, Step};
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::render::shown;
use crate::render::size::{bytes, count};
use crate::render::style::{BAD, GOOD, WARN};
use crate::session::Session;

/// Index who created and changed the rows of these tables
#[derive(Debug, Args)]
pub(crate) struct Index {
    /// Tables of the application, as in SQL: product, or sales.product
    #[arg(required_unless_present = "list", value_name = "TABLE")]
    tables: Vec<String>,
    /// The application's database [default: the first transport]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The column of who made a row
    #[arg(long, default_value = "created_by_id", value_name = "COLUMN")]
    created_by: String,
    /// The column of when it was made
    #[arg(long, default_value = "created_at", value_name = "COLUMN")]
    created_at: String,
    /// The column of who changed it last
    #[arg(long, default_value = "updated_by_id", value_name = "COLUMN")]
    updated_by: String,
    /// The column of when it was changed last
    #[arg(long, default_value = "updated_at", value_name = "COLUMN")]
    updated_at: String,
    /// Print the SQL, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Show the audit indexes that are there
    #[arg(long, conflicts_with_all = ["tables", "dry_run", "explain"])]
    list: bool,
    /// Show whether the planner uses them, and the time with and without
    #[arg(long, conflicts_with = "dry_run")]
    explain: bool,
}

impl Index {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let configured = session.config.transports.first();
        let url = self.database.as_ref().or(configured).map_or("", String::as_str);
        if self.list {
            return list(session, url).await;
        }
        let columns = AuditColumns {
            created_by: self.created_by.clone(),
            created_at: self.created_at.clone(),
            updated_by: self.updated_by.clone(),
            updated_at: self.updated_at.clone(),
        };
        for step in index::plan(url, &self.tables, &columns).await? {
            if self.explain {
                explain(session, url, &step).await?;
            } else {
                self.build(session, url, &step).await?;
            }
        }
        Ok(())
    }

    async fn build(&self, session: &Session, url: &str, step: &Step) -> Result<(), Failure> {
        if self.dry_run && !session.out.json() {
            let lines = step.statements.iter().map(|sql| format!("{};\n", shown(sql)));
            return session.out.text(lines.collect::<String>());
        }
        if !self.dry_run {
            index::build(url, step).await?;
        }
        if session.out.json() {
            return session.out.object(&json!({ "step": step, "applied": !self.dry_run }));
        }
        let done = match &step.state {
            State::Missing => format!("{GOOD}built{GOOD:#}"),
            State::Broken => format!("{GOOD}built anew{GOOD:#}, a build was cut short"),
            State::Present => "there already".to_owned(),
            State::NoColumns(columns) => {
                format!("{WARN}skipped{WARN:#}, no column {}", shown(&columns.join(", ")))
            }
        };
        session.out.line(format!("{}  {}  {done}", shown(&step.table), shown(&step.index)))
    }
}

async fn list(session: &Session, url: &str) -> Result<(), Failure> {
    let indexes = index::list(url).await?;
    for index in &indexes {
        if session.out.json() {
            session.out.object(index)?;
            continue;
        }
        let broken = if index.valid {
            String::new()
        } else {
            format!("  {BAD}a build was cut short{BAD:#}")
        };
        session.out.line(format!(
            "{}  {} ({})  {}, {} scans{broken}",
            shown(&index.table),
            shown(&index.index),
            shown(&index.columns),
            bytes(index.bytes),
            count(index.scans)
        ))?;
    }
    if indexes.is_empty() && !session.out.json() {
        session.out.note("there are no audit indexes");
    }
    Ok(())
}

async fn explain(session: &Session, url: &str, step: &Step) -> Result<(), Failure> {
    let explained = index::explain(url, step).await?;
    if session.out.json() {
        return session.out.object(&json!({ "index": step.index, "explained": explained }));
    }
    let (table, index) = (shown(&step.table), shown(&step.index));
    let Some(explained) = explained else {
        let why = match &step.state {
            State::NoColumns(columns) => format!("no column {}", shown(&columns.join(", "))),
            State::Present => "nobody is named in that column yet".to_owned(),
            _ => "it is not there; run `annals index` first".to_owned(),
        };
        return session.out.line(format!("{table}  {index}  {why}"));
    };
    let used = match explained.used {
        true => format!("{GOOD}used{GOOD:#}"),
        false => {
            format!("{WARN}not used{WARN:#}: the planner finds the table too small, or unanalysed")
        }
    };
    session.out.line(format!(
        "{table}  {index}  {used}  {:.3} ms with, {:.3} ms without\n    {}",
        explained.with_ms,
        explained.without_ms,
        shown(&explained.query)
    ))
}
