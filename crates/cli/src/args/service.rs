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
