//! Arguments of the service: `serve`, `key`, `load`, `openapi`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use counterfoil_types::Timestamp;

/// `serve`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    /// Where to listen [default: 127.0.0.1:8080].
    #[arg(long, env = "COUNTERFOIL_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Price books to publish at the start and on SIGHUP.
    #[arg(long, value_name = "DIR")]
    pub(crate) pricing: Option<PathBuf>,
    /// Write the address once the service listens, for whoever asked for port 0.
    #[arg(long, value_name = "FILE")]
    pub(crate) address_file: Option<PathBuf>,
}

/// `load`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Load {
    /// Address of the service.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// An API key that may ingest.
    #[arg(long, env = "COUNTERFOIL_KEY", hide_env_values = true)]
    pub(crate) key: String,
    /// Events a second; as many as the service takes when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// Customers the events are spread over: `load-0`, `load-1`, ….
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) customers: u32,
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Events in one request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) batch: u32,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) connections: u16,
    /// Type of the events.
    #[arg(long, default_value = "call")]
    pub(crate) event_type: String,
    /// Allow an address that is not on this machine.
    #[arg(long)]
    pub(crate) allow_remote: bool,
}

/// `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key. Its secret is shown this once.
    #[command(
        after_help = "Examples:\n  counterfoil key create --name ingest-service --scope ingest\n  counterfoil key create --name backoffice --scope finance --expires 2027-01-01T00:00:00Z"
    )]
    Create {
        /// What people call it.
        #[arg(long)]
        name: String,
        /// What it may do: ingest, read, quota, finance, admin.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// From when on it is refused.
        #[arg(long)]
        expires: Option<Timestamp>,
    },
    /// List keys, without their secrets.
    List,
    /// Refuse a key from now on.
    Revoke {
        /// Its id.
        id: String,
    },
}
