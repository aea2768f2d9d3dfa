//! The `[serve]` section of the configuration file.

use std::{net::SocketAddr, path::PathBuf};

use counterfoil_api::limits::RateRule;
use serde::Deserialize;

/// What the file may say about the service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServeConfig {
    /// Where to listen.
    pub(crate) listen: Option<SocketAddr>,
    /// Most connections at once.
    pub(crate) connections: Option<usize>,
    /// Most requests answered at once.
    pub(crate) in_flight: Option<usize>,
    /// Most of them for one tenant.
    pub(crate) tenant_in_flight: Option<usize>,
    /// Largest body in bytes.
    pub(crate) max_body: Option<usize>,
    /// Largest body of a batch of events in bytes.
    pub(crate) max_batch_body: Option<usize>,
    /// Most events in a batch.
    pub(crate) max_batch: Option<usize>,
    /// Seconds the headers of a request may take.
    pub(crate) header_timeout: Option<u64>,
    /// Seconds a body may take, and a stream may pause.
    pub(crate) body_timeout: Option<u64>,
    /// Seconds that requests may still take once the service stops.
    pub(crate) drain: Option<u64>,
    /// Status of a use that a quota denies: 402 or 403.
    pub(crate) over_quota_status: Option<u16>,
    /// Where an over-quota customer can get more.
    pub(crate) upgrade_url: Option<String>,
    /// Whether events beyond a hard quota are rejected at ingest.
    pub(crate) enforce_quotas_at_ingest: Option<bool>,
    /// Price books to publish at the start and on SIGHUP.
    pub(crate) pricing: Option<PathBuf>,
    /// PEM files of certificate chain and key, where the service speaks TLS itself.
    pub(crate) tls: Option<TlsConfig>,
    /// Where calls are counted, when several processes share a limit: `redis://…`.
    pub(crate) redis: Option<String>,
    /// Whether calls go on while they cannot be counted; true when absent.
    pub(crate) fail_open: Option<bool>,
    /// Limits on calls of the service.
    #[serde(default, rename = "rate_limit")]
    pub(crate) rate_limits: Vec<RateRule>,
}

/// TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsConfig {
    /// Certificate chain.
    pub(crate) certificates: PathBuf,
    /// Key.
    pub(crate) key: PathBuf,
}
