//! Configuration. One precedence, highest first: command line, environment
//! (`COUNTERFOIL_…`), configuration file, built-in default. The first two are clap's; the file is
//! `--config FILE`, else `counterfoil.toml` in the working directory if there is one.

mod delivery;
mod jobs;
mod serve;
mod stripe;

use std::path::{Path, PathBuf};

use counterfoil_types::{Quantity, TenantId, Timestamp};
use serde::Deserialize;

pub(crate) use delivery::{DeliveryConfig, MailConfig, MailTransport};
pub(crate) use jobs::JobsConfig;
pub(crate) use serve::ServeConfig;
pub(crate) use stripe::StripeConfig;

use crate::{
    args::{Days, Global},
    error::CliError,
};

/// What the file may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// Directory of the embedded store.
    data_dir: Option<PathBuf>,
    /// Where the store is: `sqlite:PATH` or `postgres://…`.
    database_url: Option<String>,
    /// The tenant commands act on.
    tenant: Option<TenantId>,
    /// Lanes of a tenant made on first use.
    lanes: Option<u16>,
    /// Whether the clock may be set.
    test_mode: Option<bool>,
    /// Invoices above this total are parked.
    max_total: Option<Quantity>,
    /// Invoices above this multiple of the last one are parked.
    max_growth: Option<Quantity>,
    /// Prefix of invoice numbers.
    series: Option<String>,
    /// The HTTP service.
    #[serde(default)]
    serve: ServeConfig,
    /// Web hooks.
    #[serde(default)]
    delivery: DeliveryConfig,
    /// Mail.
    #[serde(default)]
    mail: MailConfig,
    /// Stripe.
    #[serde(default)]
    stripe: StripeConfig,
    /// What runs by itself.
    #[serde(default)]
    jobs: JobsConfig,
    /// Documents.
    #[serde(default)]
    documents: DocumentsConfig,
    /// How long things are kept.
    #[serde(default)]
    retention: Retention,
    /// Directory of archives.
    archive_dir: Option<PathBuf>,
    /// Directory of the anchor.
    anchor: Option<PathBuf>,
}

/// How documents are made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentsConfig {
    /// Font files, or folders of them, for scripts that the embedded fonts do not know.
    #[serde(default)]
    fonts: Vec<PathBuf>,
}

/// How long things are kept: days (`90d`) or `forever`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retention {
    /// Content of events, before `archive run` takes it.
    raw: Option<String>,
    /// Aggregates by the hour.
    hourly: Option<String>,
    /// Aggregates by the day.
    daily: Option<String>,
}

const FOREVER: &str = "forever";
/// How long the content of events is kept unless the configuration says otherwise.
const RAW: Days = Days(90);

impl Retention {
    /// Days after which the content of events may be archived; `None`: never by itself.
    fn raw(&self) -> Result<Option<Days>, CliError> {
        for (name, value) in [("hourly", &self.hourly), ("daily", &self.daily)] {
            // Periods cut days and hours in any zone, so answers need them.
            if value.as_deref().is_some_and(|value| value != FOREVER) {
                return Err(CliError::asked(format!(
                    "retention.{name}: aggregates are kept for ever, because exact answers need them; write \"forever\" or leave it out"
                )));
            }
        }
        match self.raw.as_deref() {
            None => Ok(Some(RAW)),
            Some(FOREVER) => Ok(None),
            Some(days) => days
                .parse()
                .map(Some)
                .map_err(|why| CliError::asked(format!("retention.raw: {why}"))),
        }
    }
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The SQLite file; beside it go files of refused events, also where there is none.
    pub(crate) database: PathBuf,
    /// The PostgreSQL database, where that is the store.
    pub(crate) postgres: Option<String>,
    /// Tenant.
    pub(crate) tenant: TenantId,
    /// Lanes for a new tenant.
    pub(crate) lanes: u16,
    /// Whether the clock may be set.
    pub(crate) test_mode: bool,
    /// A clock that stands still, in test mode.
    pub(crate) now: Option<Timestamp>,
    /// Bounds of a run.
    pub(crate) bounds: counterfoil_invoicing::Bounds,
    /// Prefix of invoice numbers.
    pub(crate) series: String,
    /// The HTTP service.
    pub(crate) serve: ServeConfig,
    /// Web hooks.
    pub(crate) delivery: DeliveryConfig,
    /// Mail.
    pub(crate) mail: MailConfig,
    /// Stripe.
    pub(crate) stripe: StripeConfig,
    /// Font files, or folders of them.
    pub(crate) fonts: Vec<PathBuf>,
    /// Days after which the content of events is archived; `None`: only when asked for.
    pub(crate) retention: Option<Days>,
    /// What runs by itself.
    pub(crate) jobs: JobsConfig,
    /// Directory of archives.
    pub(crate) archives: PathBuf,
    /// Whether the configuration names it: only then is anything archived by itself.
    pub(crate) archives_named: bool,
    /// Directory of the anchor.
    pub(crate) anchor: PathBuf,
}

impl Config {
    /// The file of this tenant's anchor.
    pub(crate) fn anchor_file(&self, tenant: &TenantId) -> PathBuf {
        self.anchor.join(format!("anchor-{tenant}.json"))
    }

    /// How invoices are made: bounds and series as configured.
    pub(crate) fn run_options(&self) -> counterfoil_engine::run::RunOptions {
        counterfoil_engine::run::RunOptions {
            bounds: self.bounds,
            series: self.series.clone(),
            ..counterfoil_engine::run::RunOptions::default()
        }
    }
}

fn read_file(path: &Path) -> Result<FileConfig, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| CliError::file(path.display(), error))?;
    toml::from_str(&text).map_err(|error| CliError::file(path.display(), error))
}

/// Puts the configuration together.
pub(crate) fn load(global: &Global) -> Result<Config, CliError> {
    let default_file = Path::new("counterfoil.toml");
    let file = match &global.config {
        Some(path) => read_file(path)?,
        None if default_file.exists() => read_file(default_file)?,
        None => FileConfig::default(),
    };
    // --data-dir and --database-url are alternatives: the nearer one wins.
    let (data_dir, url) = if global.data_dir.is_some() || global.database_url.is_some() {
        (global.data_dir.clone(), global.database_url.clone())
    } else {
        (file.data_dir, file.database_url)
    };
    // With a server there may be no data directory; archives and anchor have one all the same.
    let beside = data_dir.clone().unwrap_or_else(|| PathBuf::from("counterfoil-data"));
    let postgres = url.clone().filter(|url| is_postgres(url));
    let database = match url {
        Some(_) if postgres.is_some() => data_dir.unwrap_or_default().join("counterfoil.db"),
        Some(url) => sqlite_path(&url)?,
        None => {
            data_dir.unwrap_or_else(|| PathBuf::from("counterfoil-data")).join("counterfoil.db")
        }
    };
    let beside = match (&postgres, database.parent()) {
        (None, Some(parent)) => parent.to_owned(),
        _ => beside,
    };
    let tenant = global.tenant.clone().or(file.tenant);
    let tenant = match tenant {
        Some(tenant) => tenant,
        None => TenantId::new("default").map_err(|error| CliError::asked(error.to_string()))?,
    };
    let lanes = global.lanes.or(file.lanes).unwrap_or(counterfoil_ledger::lane::DEFAULT_LANES);
    if lanes == 0 || lanes > counterfoil_ledger::MAX_LANES {
        return Err(CliError::asked(format!("lanes must lie between 1 and 64, not {lanes}")));
    }
    let test_mode = global.test_mode || file.test_mode.unwrap_or(false);
    if global.now.is_some() && !test_mode {
        return Err(CliError::asked(
            "--now sets the clock, which is refused outside test mode (add --test-mode, never in production)",
        ));
    }
    let mut bounds = counterfoil_invoicing::Bounds::default();
    bounds.max_total = file.max_total.unwrap_or(bounds.max_total);
    bounds.max_growth = file.max_growth.unwrap_or(bounds.max_growth);
    Ok(Config {
        database,
        postgres,
        tenant,
        lanes,
        test_mode,
        now: global.now,
        bounds,
        series: file.series.unwrap_or_else(|| "INV".to_owned()),
        serve: file.serve,
        delivery: file.delivery,
        mail: file.mail,
        stripe: file.stripe,
        fonts: file.documents.fonts,
        retention: file.retention.raw()?,
        jobs: file.jobs,
        archives_named: file.archive_dir.is_some(),
        archives: file.archive_dir.unwrap_or_else(|| beside.join("archive")),
        anchor: file.anchor.unwrap_or(beside),
    })
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn sqlite_path(url: &str) -> Result<PathBuf, CliError> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
    match path {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(CliError::asked(format!(
            "database URL {:?} is not understood; write sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE",
            // A URL may hold a password.
            url.split(':').next().unwrap_or_default()
        ))),
    }
}
