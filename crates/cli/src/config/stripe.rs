//! The `[stripe]` section of the configuration file. The secret key comes from a file or from
//! `COUNTERFOIL_STRIPE_KEY`, so that no configuration holds it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use counterfoil_stripe::{Client, ClientOptions};
use serde::Deserialize;

use crate::error::CliError;

const KEY: &str = "COUNTERFOIL_STRIPE_KEY";

/// What the file may say about Stripe.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StripeConfig {
    /// File with the secret key; `COUNTERFOIL_STRIPE_KEY` when absent.
    key_file: Option<PathBuf>,
    /// File with the signing secrets of web hooks, one a line: two during a rotation.
    webhook_secrets_file: Option<PathBuf>,
    /// Where Stripe is.
    base_url: Option<String>,
    /// Version of its API.
    api_version: Option<String>,
    /// Version of its API for usage records.
    usage_records_version: Option<String>,
    /// Seconds a request may take.
    timeout: Option<u64>,
}

impl StripeConfig {
    /// A client; `None` where no key is configured.
    pub(crate) fn client(&self) -> Result<Option<Arc<Client>>, CliError> {
        let key = match &self.key_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| CliError::file(file.display(), error))?,
            ),
            None => std::env::var(KEY).ok().filter(|key| !key.trim().is_empty()),
        };
        let Some(key) = key else { return Ok(None) };
        let mut options = ClientOptions::new(key);
        if let Some(base) = &self.base_url {
            options.base.clone_from(base);
        }
        if let Some(version) = &self.api_version {
            options.version.clone_from(version);
        }
        if let Some(version) = &self.usage_records_version {
            options.legacy_version.clone_from(version);
        }
        if let Some(seconds) = self.timeout {
            // Shorter than the claim of a delivery.
            options.timeout = Duration::from_secs(seconds.clamp(1, 80));
        }
        let client = Client::new(options).map_err(|error| CliError::asked(error.to_string()))?;
        Ok(Some(Arc::new(client)))
    }

    /// The client that a command needs.
    pub(crate) fn needed(&self) -> Result<Arc<Client>, CliError> {
        self.client()?.ok_or_else(|| {
            CliError::asked(format!(
                "no secret key of Stripe: set {KEY}, or stripe.key_file in the configuration"
            ))
        })
    }

    /// The signing secrets of web hooks.
    pub(crate) fn signing_secrets(&self) -> Result<Vec<String>, CliError> {
        let Some(file) = &self.webhook_secrets_file else { return Ok(Vec::new()) };
        let text =
            std::fs::read_to_string(file).map_err(|error| CliError::file(file.display(), error))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.map(str::to_owned).collect())
    }
}
