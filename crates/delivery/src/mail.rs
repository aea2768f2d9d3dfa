//! The sender of mails: who is told what, in words and pictures, and how it leaves the house.
//!
//! | file | what |
//! |---|---|
//! | [`attach`] | what goes along |
//! | [`letter`] | from an effect to a letter: recipient, words, amounts, dates in the customer's zone |
//! | [`bounce`] | addresses that mail came back from |
//! | [`language`] | words, numbers and days of a language |
//! | [`show`] | money and days as people write them |
//! | [`message`] | from a letter to a message: HTML and text, headers that cannot be injected |
//! | [`pace`] | not too many at once to one domain |
//! | [`transport`] | SMTP, or files in a folder |
//! | [`unsubscribe`] | one click, RFC 8058 |

pub mod attach;
pub mod bounce;
pub mod language;
pub mod letter;
pub mod message;
pub mod pace;
pub mod show;
pub mod transport;
pub mod unsubscribe;

use std::sync::Arc;

use async_trait::async_trait;
use counterfoil_store::{Commit, Store};
use lettre::message::Mailbox;
use thiserror::Error;

pub use attach::{Attach, Attachment};
pub use language::Language;
pub use letter::{KINDS, Letter, is_mailed, sample};
pub use transport::{SmtpOptions, SmtpSecurity, Transport};
pub use unsubscribe::Unsubscribe;

use crate::sender::{Parcel, Sender, Sent, Verdict};
use letter::Composed;

/// What is wrong with the configuration or content of mail.
#[derive(Debug, Error)]
pub enum MailError {
    /// An address or a name.
    #[error("{what} {text:?} cannot stand in a mail: {why}")]
    Field {
        /// Which.
        what: &'static str,
        /// What it says.
        text: String,
        /// Why not.
        why: String,
    },
    /// The message cannot be put together.
    #[error("the mail cannot be put together: {0}")]
    Message(String),
    /// The transport cannot be set up.
    #[error("mail cannot be sent: {0}; see [mail] in the configuration")]
    Transport(String),
}

/// From whom, to whom else.
#[derive(Clone, Debug)]
pub struct MailOptions {
    /// Sender of all mails.
    pub from: Mailbox,
    /// Who runs this: told of what waits and what failed.
    pub operators: Vec<Mailbox>,
    /// Where a customer can see its invoices.
    pub portal_url: Option<String>,
    /// Where an over-quota customer can get more.
    pub upgrade_url: Option<String>,
    /// How customers unsubscribe.
    pub unsubscribe: Option<Unsubscribe>,
}

impl MailOptions {
    /// Mail from an address such as `Billing <billing@example.com>`.
    ///
    /// # Errors
    /// [`MailError::Field`].
    pub fn from_sender(from: &str) -> Result<Self, MailError> {
        Ok(Self {
            from: message::mailbox("sender", from)?,
            operators: Vec::new(),
            portal_url: None,
            upgrade_url: None,
            unsubscribe: None,
        })
    }
}

/// Sends mails.
pub struct MailSender {
    store: Arc<dyn Store>,
    options: MailOptions,
    transport: Transport,
    pace: Option<pace::Pace>,
    attach: Option<Arc<dyn Attach>>,
}

impl MailSender {
    /// A sender.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, options: MailOptions, transport: Transport) -> Self {
        Self { store, options, transport, pace: None, attach: None }
    }

    /// The same, with what `attach` makes beside its mails.
    #[must_use]
    pub fn attaching(self, attach: Arc<dyn Attach>) -> Self {
        Self { attach: Some(attach), ..self }
    }

    /// The same, with at most so many mails a second to addresses of one domain.
    #[must_use]
    pub fn paced(self, per_second: u32) -> Self {
        Self { pace: Some(pace::Pace::new(per_second)), ..self }
    }

    /// Records that an address does not take mail, if that is what was said.
    async fn note_bounce(&self, parcel: &Parcel, letter: &Letter, sent: &Sent) {
        let (Verdict::Never(why), Some(code)) = (&sent.verdict, sent.code) else { return };
        let Some((customer, address)) = &letter.customer else { return };
        if !bounce::is_about_address(code, why) {
            return;
        }
        let seen = bounce::Bounce::seen(address.clone(), parcel.now, Some(code), why);
        let outcome = match seen.kept(customer) {
            Ok(write) => self.store.commit(&parcel.tenant, &Commit::of(write)).await,
            Err(error) => Err(error),
        };
        // The delivery is parked in any case; the next mail finds out again.
        if let Err(error) = outcome {
            tracing::warn!(%customer, %error, "a bounce was not recorded");
        }
    }
}

#[async_trait]
impl Sender for MailSender {
    async fn send(&self, parcel: &Parcel) -> Sent {
        let composed =
            letter::compose(self.store.as_ref(), &parcel.tenant, &parcel.effect, &self.options)
                .await;
        let letter = match composed {
            Ok(Composed::Letter(letter)) => letter,
            Ok(Composed::Nobody(why)) => return Sent::of(Verdict::Skipped(why)),
            Err(letter::LetterError::Store(error)) if error.is_transient() => {
                return Sent::of(Verdict::Refused(error.to_string()));
            }
            Err(error) => return Sent::of(Verdict::Never(error.to_string())),
        };
        let attached = match &self.attach {
            Some(attach) => match attach.attach(&parcel.effect).await {
                Ok(attached) => attached,
                Err(error) => return Sent::of(Verdict::Refused(error.to_string())),
            },
            None => None,
        };
        let message =
            message::build(&letter, attached, &self.options, &parcel.id(), parcel.effect.at);
        match message {
            Ok(message) => {
                if let Some(pace) = &self.pace {
                    pace.wait(letter.to.iter().map(|to| to.email.domain())).await;
                }
                let sent = self.transport.send(&message, &parcel.id(), &parcel.effect).await;
                self.note_bounce(parcel, &letter, &sent).await;
                sent
            }
            // No time heals a name with a line break in it; somebody must.
            Err(error) => Sent::of(Verdict::Never(error.to_string())),
        }
    }
}
