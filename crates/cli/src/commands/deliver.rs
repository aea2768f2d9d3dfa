//! `deliver`: a relay of the outbox, as configured; also for `serve`.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use counterfoil_delivery::{
    Guard, Relay, RelayOptions, Sender, WebSender,
    mail::{
        Attach, Attachment, MailOptions, MailSender, SmtpOptions, Transport, Unsubscribe, message,
    },
};
use counterfoil_documents::{DocumentError, Format, Model, Renderer};
use counterfoil_engine::{Engine, EngineError};
use counterfoil_store::{Effect, StoreError};
use counterfoil_stripe::StripeSender;

use super::Verdict;
use crate::{
    args,
    config::{Config, MailTransport},
    context,
    error::CliError,
    output::Out,
    random::SystemRandom,
};

fn asked(error: impl std::fmt::Display) -> CliError {
    CliError::asked(error.to_string())
}

fn secret(path: &Path) -> Result<String, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| CliError::file(path.display(), error))?;
    Ok(text.trim_end().to_owned())
}

/// Which addresses web hooks may be sent to.
pub(crate) fn guard(config: &Config) -> Guard {
    let (delivery, usual) = (&config.delivery, Guard::default());
    Guard {
        allow_hosts: delivery.allow_hosts.clone(),
        ports: delivery.ports.clone().unwrap_or(usual.ports),
        allow_http: delivery.allow_http,
    }
}

/// What every mail has.
pub(crate) fn mail_options(config: &Config) -> Result<MailOptions, CliError> {
    let mail = &config.mail;
    let from = mail.from.as_deref().unwrap_or("Counterfoil <billing@localhost>");
    let mut options = MailOptions::from_sender(from).map_err(asked)?;
    options.portal_url.clone_from(&mail.portal_url);
    options.upgrade_url = mail.upgrade_url.clone().or_else(|| config.serve.upgrade_url.clone());
    for operator in &mail.operators {
        options.operators.push(message::mailbox("operator", operator).map_err(asked)?);
    }
    options.unsubscribe = match (&mail.unsubscribe_url, &mail.unsubscribe_key_file) {
        (Some(url), Some(file)) => {
            let key = secret(file)?.into_bytes();
            if key.len() < 16 {
                return Err(CliError::file(file.display(), "the key has at least 16 characters"));
            }
            Some(Unsubscribe { url: url.clone(), key })
        }
        (None, None) => None,
        _ => {
            return Err(CliError::asked(
                "mail.unsubscribe_url and mail.unsubscribe_key_file go together",
            ));
        }
    };
    Ok(options)
}

/// Invoices and credit notes beside the mails that tell of them.
struct Documents {
    engine: Engine,
    renderer: Arc<Renderer>,
}

impl Documents {
    async fn model(&self, effect: &Effect) -> Result<Option<Model>, EngineError> {
        let text = |field: &str| effect.body.get(field).and_then(serde_json::Value::as_str);
        match effect.kind.as_str() {
            "invoice.issued" => {
                let Some(id) = text("invoice").and_then(|id| id.parse().ok()) else {
                    return Ok(None);
                };
                let invoice = self.engine.invoice(&id).await?;
                Ok(Some(self.engine.invoice_document(&invoice).await?))
            }
            "credit_note.issued" => match text("credit_note") {
                Some(id) => Ok(Some(self.engine.credit_note_document(id).await?)),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    async fn made(&self, effect: &Effect) -> Result<Option<Attachment>, EngineError> {
        let Some(model) = self.model(effect).await? else { return Ok(None) };
        let branding = self.engine.branding().await?;
        let renderer = Arc::clone(&self.renderer);
        // Paper takes milliseconds of a processor: not where others wait.
        let made = tokio::task::spawn_blocking(move || {
            match renderer.render(&model, &branding, Format::best()) {
                // No paper for this script: the page shows it.
                Err(DocumentError::Glyphs { .. }) => {
                    renderer.render(&model, &branding, Format::Html)
                }
                made => made,
            }
        });
        let made = made.await.map_err(|error| EngineError::refused(error.to_string()))??;
        let media_type = made.media_type.to_owned();
        Ok(Some(Attachment { name: made.name, media_type, bytes: made.bytes }))
    }
}

#[async_trait]
impl Attach for Documents {
    async fn attach(&self, effect: &Effect) -> Result<Option<Attachment>, StoreError> {
        match self.made(effect).await {
            Ok(made) => Ok(made),
            Err(EngineError::Store(error)) => Err(error),
            // The mail says what is owed; it is not kept back for its attachment.
            Err(error) => {
                tracing::error!(%error, key = %effect.key, "a mail goes without its document");
                Ok(None)
            }
        }
    }
}

fn mailer(config: &Config, engine: &Engine) -> Result<Option<Arc<dyn Sender>>, CliError> {
    let mail = &config.mail;
    let transport = match mail.transport {
        MailTransport::None => return Ok(None),
        MailTransport::File => Transport::File(
            mail.folder
                .clone()
                .unwrap_or_else(|| config.database.parent().unwrap_or(Path::new("")).join("mail")),
        ),
        MailTransport::Smtp => {
            let host = mail.host.clone().ok_or_else(|| {
                CliError::asked("mail.transport is smtp: mail.host names the server")
            })?;
            if mail.from.is_none() {
                return Err(CliError::asked("mail.transport is smtp: mail.from names the sender"));
            }
            let password = mail.password_file.as_deref().map(secret).transpose()?;
            let certificate = mail.certificate.as_deref().map(secret).transpose()?;
            Transport::smtp(&SmtpOptions {
                host,
                port: mail.port,
                security: mail.security,
                credentials: mail.user.clone().zip(password),
                certificate: certificate.map(String::into_bytes),
                timeout: None,
            })
            .map_err(asked)?
        }
    };
    let documents = Documents {
        engine: engine.clone(),
        renderer: Arc::new(super::document::renderer(config)?),
    };
    let sender = MailSender::new(engine.shared_store(), mail_options(config)?, transport)
        .attaching(Arc::new(documents));
    Ok(Some(Arc::new(match mail.per_domain_per_second {
        Some(most) => sender.paced(most),
        None => sender,
    })))
}

/// A relay as configured, for the configured tenant.
pub(crate) fn relay(
    config: &Config,
    engine: &Engine,
    holder: Option<String>,
) -> Result<Relay, CliError> {
    let holder = holder.unwrap_or_else(super::worker::name);
    let (delivery, usual) = (&config.delivery, RelayOptions::of(holder));
    let claim = delivery.claim.map_or(usual.ttl_micros, |seconds| i64::from(seconds) * 1_000_000);
    let options = RelayOptions {
        concurrency: delivery.concurrency.unwrap_or(usual.concurrency).clamp(1, 256),
        limit: delivery.attempts.unwrap_or(usual.limit).max(1),
        ttl_micros: claim,
        ..usual
    };
    let store = engine.shared_store();
    let web = WebSender::new(store.clone(), guard(config))?;
    let mail = mailer(config, engine)?;
    let relay = Relay::new(
        store.clone(),
        config.tenant.clone(),
        context::clock(config),
        Arc::new(SystemRandom),
        options,
        (Arc::new(web), mail),
    );
    Ok(match config.stripe.client()? {
        Some(client) => {
            let sender = StripeSender::new(store, client);
            relay.and_to(counterfoil_store::stripe::TARGET, Arc::new(sender))
        }
        None => relay,
    })
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    deliver: &args::Deliver,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let relay = relay(config, engine, deliver.holder.clone())?;
    let report = if deliver.once {
        relay.deliver_due().await.map_err(asked)?
    } else {
        let stop = super::serve::stopped()?;
        counterfoil_delivery::run(relay, Duration::from_millis(deliver.pause), stop).await
    };
    out.value(&report)?;
    out.line(format_args!(
        "{} delivered, {} to be tried again, {} parked",
        report.delivered, report.retried, report.parked
    ))?;
    Ok(Verdict::unless(report.parked > 0))
}
