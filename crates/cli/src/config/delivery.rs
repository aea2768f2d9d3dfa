//! The `[delivery]` and `[mail]` sections of the configuration file.

use std::path::PathBuf;

use counterfoil_delivery::mail::SmtpSecurity;
use serde::Deserialize;

/// How web hooks are sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryConfig {
    /// Hosts of endpoints that may be anywhere, also on this machine or in a private network.
    #[serde(default)]
    pub(crate) allow_hosts: Vec<String>,
    /// Ports that may be sent to; 443 and 8443 when absent.
    pub(crate) ports: Option<Vec<u16>>,
    /// Whether plain HTTP is sent.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// Deliveries on their way to one target at once.
    pub(crate) concurrency: Option<u32>,
    /// Attempts after which a delivery is parked.
    pub(crate) attempts: Option<u32>,
    /// Seconds after which another relay takes over what a dead one had claimed.
    pub(crate) claim: Option<u32>,
}

/// Where mails go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTransport {
    /// Nowhere; effects are not given to mail.
    #[default]
    None,
    /// Into a folder.
    File,
    /// To a mail server.
    Smtp,
}

/// How mails are sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailConfig {
    /// Where they go.
    #[serde(default)]
    pub(crate) transport: MailTransport,
    /// Sender: `Name <address>`.
    pub(crate) from: Option<String>,
    /// Addresses of who runs this.
    #[serde(default)]
    pub(crate) operators: Vec<String>,
    /// The folder of transport `file`; `mail` beside the store when absent.
    pub(crate) folder: Option<PathBuf>,
    /// The mail server.
    pub(crate) host: Option<String>,
    /// Its port.
    pub(crate) port: Option<u16>,
    /// `starttls`, `tls` or `none`.
    #[serde(default)]
    pub(crate) security: SmtpSecurity,
    /// User name.
    pub(crate) user: Option<String>,
    /// File with the password.
    pub(crate) password_file: Option<PathBuf>,
    /// PEM file of a certificate to trust besides the machine's.
    pub(crate) certificate: Option<PathBuf>,
    /// Most mails a second to addresses of one domain.
    pub(crate) per_domain_per_second: Option<u32>,
    /// Where customers see their invoices.
    pub(crate) portal_url: Option<String>,
    /// Where an over-quota customer can get more.
    pub(crate) upgrade_url: Option<String>,
    /// Page that unsubscribes; needs `unsubscribe_key_file`.
    pub(crate) unsubscribe_url: Option<String>,
    /// File with the key that proves unsubscribe links.
    pub(crate) unsubscribe_key_file: Option<PathBuf>,
}
