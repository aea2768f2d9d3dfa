//! What goes along with a mail. Who makes it stands behind a port: mails know no documents.

use async_trait::async_trait;
use counterfoil_store::{Effect, StoreError};

/// A file beside a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Makes attachments.
#[async_trait]
pub trait Attach: Send + Sync {
    /// What goes along with the mail of an effect, if anything does.
    ///
    /// # Errors
    /// As the store has them; the mail is sent later.
    async fn attach(&self, effect: &Effect) -> Result<Option<Attachment>, StoreError>;
}
