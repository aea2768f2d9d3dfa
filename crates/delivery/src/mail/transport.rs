//! How a message leaves the house: SMTP, or files in a folder for development.
//!
//! | SMTP says | verdict |
//! |---|---|
//! | taken | delivered |
//! | 4xx | refused, tried again |
//! | 5xx about the mail | never: parked |
//! | 530, 534, 535, 538: about us | refused, tried again once somebody has set it right |
//! | nothing, or the connection breaks | unknown: it may have been taken (RFC 1047) |

use std::{path::PathBuf, time::Duration};

use counterfoil_store::Effect;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    transport::smtp::{
        PoolConfig,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

use super::MailError;
use crate::sender::{Sent, Verdict};

/// Longest a command of SMTP may take.
const COMMAND: Duration = Duration::from_secs(30);
/// Longest an attempt may take.
const WHOLE: Duration = Duration::from_secs(60);
/// Connections that are kept open.
const KEPT: u32 = 8;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// TLS after STARTTLS; refused where the server has none.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None: a relay on this machine.
    None,
}

/// A mail server.
#[derive(Clone)]
pub struct SmtpOptions {
    /// Its name.
    pub host: String,
    /// Its port; the usual one when absent.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// A certificate to trust besides the machine's, as PEM.
    pub certificate: Option<Vec<u8>>,
    /// Longest a command may take.
    pub timeout: Option<Duration>,
}

/// Where messages go.
pub enum Transport {
    /// A mail server.
    Smtp(Box<AsyncSmtpTransport<Tokio1Executor>>),
    /// A folder; one readable file a message.
    File(PathBuf),
}

impl Transport {
    /// Over SMTP. Nothing is connected yet.
    ///
    /// # Errors
    /// [`MailError::Transport`].
    pub fn smtp(options: &SmtpOptions) -> Result<Self, MailError> {
        let failed =
            |error: lettre::transport::smtp::Error| MailError::Transport(error.to_string());
        let tls = || {
            let mut tls = TlsParameters::builder(options.host.clone());
            if let Some(pem) = &options.certificate {
                tls = tls.add_root_certificate(Certificate::from_pem(pem).map_err(failed)?);
            }
            tls.build_rustls().map_err(failed)
        };
        let (tls, port) = match options.security {
            SmtpSecurity::Starttls => (Tls::Required(tls()?), 587),
            SmtpSecurity::Tls => (Tls::Wrapper(tls()?), 465),
            SmtpSecurity::None => (Tls::None, 25),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(options.host.clone())
                .port(options.port.unwrap_or(port))
                .tls(tls)
                .timeout(Some(options.timeout.unwrap_or(COMMAND)))
                .pool_config(PoolConfig::new().max_size(KEPT));
        if let Some((user, password)) = &options.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self::Smtp(Box::new(builder.build())))
    }

    /// Sends a message.
    pub async fn send(&self, message: &Message, id: &str, effect: &Effect) -> Sent {
        match self {
            Self::Smtp(smtp) => match tokio::time::timeout(WHOLE, smtp.send(message.clone())).await
            {
                Ok(Ok(response)) => Sent::with(Verdict::Delivered, response.code().into()),
                Ok(Err(error)) => refused(&error),
                Err(_) => Sent::of(Verdict::Unknown("the mail server is too slow".to_owned())),
            },
            Self::File(folder) => {
                let kind = effect.kind.replace('/', "-");
                let name = format!("{:06}-{kind}-{id}", effect.position);
                match write(folder, &name, &message.formatted()).await {
                    Ok(()) => Sent::of(Verdict::Delivered),
                    Err(error) => {
                        Sent::of(Verdict::Refused(format!("{}: {error}", folder.display())))
                    }
                }
            }
        }
    }
}

/// Under a temporary name first: a reader sees whole messages.
async fn write(folder: &std::path::Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    tokio::fs::create_dir_all(folder).await?;
    let temporary = folder.join(format!(".{name}.part"));
    tokio::fs::write(&temporary, bytes).await?;
    tokio::fs::rename(temporary, folder.join(format!("{name}.eml"))).await
}

fn refused(error: &lettre::transport::smtp::Error) -> Sent {
    use std::error::Error;

    let mut why = error.to_string();
    if let Some(source) = error.source()
        && !why.contains(&source.to_string())
    {
        why = format!("{why}: {source}");
    }
    let code: Option<u16> = error.status().map(Into::into);
    let verdict = match code {
        Some(530 | 534 | 535 | 538) | Some(..500) => Verdict::Refused(why),
        Some(_) => Verdict::Never(why),
        // Nothing was sent yet: no way to log in, or no TLS.
        None if error.is_client() || error.is_tls() => Verdict::Refused(why),
        None => Verdict::Unknown(why),
    };
    Sent { verdict, code, after: None }
}
