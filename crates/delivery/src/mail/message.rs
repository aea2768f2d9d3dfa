//! From a letter to a message. Headers are written by lettre's typed API only; what holds a line
//! break or another control character is refused before it gets there.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use counterfoil_types::Timestamp;
use lettre::{
    Address, Message,
    message::{
        Attachment as FilePart, Mailbox, MultiPart,
        header::{ContentType, HeaderName, HeaderValue},
    },
};
use minijinja::{Environment, context};

use super::{Attachment, MailError, MailOptions, letter::Letter};

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    // What is wrong with a template is said when it is used; a test uses both.
    let _ = templates.add_template("letter.html", include_str!("../../templates/letter.html"));
    let _ = templates.add_template("letter.txt", include_str!("../../templates/letter.txt"));
    templates
});

/// Refuses text that would end a header and begin another.
///
/// # Errors
/// [`MailError::Field`].
pub fn one_line<'a>(what: &'static str, text: &'a str) -> Result<&'a str, MailError> {
    if text.chars().any(char::is_control) {
        let why = "it holds a line break or another control character".to_owned();
        return Err(MailError::Field { what, text: text.to_owned(), why });
    }
    Ok(text)
}

/// Reads `Name <address>` or an address.
///
/// # Errors
/// [`MailError::Field`].
pub fn mailbox(what: &'static str, text: &str) -> Result<Mailbox, MailError> {
    one_line(what, text)?.parse().map_err(|error: lettre::address::AddressError| MailError::Field {
        what,
        text: text.to_owned(),
        why: error.to_string(),
    })
}

/// A name and an address.
///
/// # Errors
/// [`MailError::Field`].
pub fn addressed(name: &str, address: &str) -> Result<Mailbox, MailError> {
    let name = one_line("name", name)?;
    let parsed = one_line("address", address)?.parse::<Address>().map_err(|error| {
        MailError::Field { what: "address", text: address.to_owned(), why: error.to_string() }
    })?;
    Ok(Mailbox::new(Some(name.to_owned()), parsed))
}

/// HTML and text of a letter.
///
/// # Errors
/// [`MailError::Message`].
pub fn render(letter: &Letter) -> Result<(String, String), MailError> {
    let one = |name: &str| {
        TEMPLATES
            .get_template(name)
            .and_then(|template| template.render(context! { letter }))
            .map_err(|error| MailError::Message(error.to_string()))
    };
    Ok((one("letter.html")?, one("letter.txt")?))
}

/// The message, the same at every attempt but for the boundary between its parts.
///
/// # Errors
/// [`MailError`].
pub fn build(
    letter: &Letter,
    attached: Option<Attachment>,
    options: &MailOptions,
    id: &str,
    at: Timestamp,
) -> Result<Message, MailError> {
    let (html, text) = render(letter)?;
    let seconds = u64::try_from(at.micros().div_euclid(1_000_000)).unwrap_or(0);
    let domain = options.from.email.domain();
    let mut message = Message::builder()
        .from(options.from.clone())
        .subject(one_line("subject", &letter.subject)?)
        .message_id(Some(format!("<{}@{domain}>", one_line("id", id)?)))
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    for to in &letter.to {
        message = message.to(to.clone());
    }
    let failed = |error: &dyn std::fmt::Display| MailError::Message(error.to_string());
    if let Some(link) = &letter.unsubscribe {
        for (name, value) in [
            ("List-Unsubscribe", format!("<{}>", one_line("link", link)?)),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
        ] {
            let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|e| failed(&e))?;
            message = message.raw_header(HeaderValue::new(name, value));
        }
    }
    let body = MultiPart::alternative_plain_html(text, html);
    let body = match attached {
        None => body,
        Some(Attachment { name, media_type, bytes }) => {
            let kind = ContentType::parse(&media_type).map_err(|e| failed(&e))?;
            let file = FilePart::new(one_line("attachment", &name)?.to_owned()).body(bytes, kind);
            MultiPart::mixed().multipart(body).singlepart(file)
        }
    };
    message.multipart(body).map_err(|error| failed(&error))
}
