//! Who issues documents and how they look: settings of the tenant. And what is known of a party
//! besides its name.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::DocumentError;

/// Largest logo, in bytes.
pub const MOST_LOGO: usize = 256 * 1024;
/// Longest text of a branding, in characters.
const MOST_TEXT: usize = 10_000;
/// Colour of headings where none is set.
pub const COLOUR: &str = "#1f4e79";

/// Someone who issues or receives documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Party {
    /// Name; for a customer, the one it is known by when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Street and what belongs to it, at most three lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub street: Vec<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postcode: Option<String>,
    /// City.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Country, ISO 3166 (two letters).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// VAT identifier, such as `DE123456789`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax_id: Option<String>,
    /// Number in a register of companies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// E-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Reference the customer wants to read, such as a Leitweg-ID or an order number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logo {
    /// `image/png`, `image/jpeg` or `image/svg+xml`.
    pub media_type: String,
    /// The picture in Base64, at most 256 KiB.
    pub data: String,
}

/// How days are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DateFormat {
    /// `3 October 2026`, as the language has it.
    Long,
    /// `2026-10-03`.
    Iso,
    /// `03.10.2026`.
    DayMonthYear,
    /// `10/03/2026`.
    MonthDayYear,
}

/// Size of the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Paper {
    /// 210 × 297 mm.
    #[default]
    A4,
    /// 8.5 × 11 in.
    Letter,
}

/// How to pay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PaymentDetails {
    /// Whose account it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// IBAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iban: Option<String>,
    /// BIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bic: Option<String>,
    /// Anything else, for example routing numbers or a page to pay on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Branding of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Branding {
    /// Who issues.
    pub seller: Party,
    /// Logo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo: Option<Logo>,
    /// Colour of headings, as `#rrggbb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// Language where the customer has none: `en`, `de`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// How days are written; as the language has it when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dates: Option<DateFormat>,
    /// What stands before decimals; as the language has it when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal_mark: Option<String>,
    /// What stands between thousands; as the language has it when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_mark: Option<String>,
    /// Size of the paper.
    pub paper: Paper,
    /// How to pay.
    pub payment: PaymentDetails,
    /// What the law wants to be read at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legal: Option<String>,
}

fn refuse<T>(why: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::Branding(why.into()))
}

impl Party {
    /// Checks what serde cannot.
    ///
    /// # Errors
    /// [`DocumentError::Branding`] naming the field.
    pub fn check(&self) -> Result<(), DocumentError> {
        if self.street.len() > 3 {
            return refuse("street has at most three lines");
        }
        if let Some(country) = &self.country
            && !(country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()))
        {
            return refuse(format!(
                "country {country:?} is not a code of ISO 3166 (two capital letters, for example DE)"
            ));
        }
        let more = [
            ("postcode", &self.postcode),
            ("city", &self.city),
            ("tax_id", &self.tax_id),
            ("registration", &self.registration),
            ("email", &self.email),
            ("phone", &self.phone),
            ("reference", &self.reference),
        ];
        let street = self.street.iter().map(|line| ("street", line));
        let rest = more.iter().filter_map(|(what, text)| Some((*what, text.as_ref()?)));
        for (what, text) in street.chain(rest) {
            if text.trim().is_empty() || text.chars().any(char::is_control) {
                return refuse(format!("{what} must say something, in one line, or be left out"));
            }
        }
        let long = |text: &String| text.chars().count() > MOST_TEXT;
        if long(&self.name) || self.street.iter().any(long) {
            return refuse(format!("a name or street has at most {MOST_TEXT} characters"));
        }
        Ok(())
    }
}

impl Logo {
    /// A picture, of the kind that its first bytes say.
    ///
    /// # Errors
    /// As [`Logo::bytes`].
    pub fn of(bytes: &[u8]) -> Result<Self, DocumentError> {
        let media_type = match bytes {
            [0x89, b'P', b'N', b'G', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            _ => "image/svg+xml",
        };
        let logo = Self { media_type: media_type.to_owned(), data: STANDARD.encode(bytes) };
        logo.bytes()?;
        Ok(logo)
    }

    /// The picture.
    ///
    /// # Errors
    /// When it is none of the media types, too large, or not Base64.
    pub fn bytes(&self) -> Result<Vec<u8>, DocumentError> {
        if !["image/png", "image/jpeg", "image/svg+xml"].contains(&self.media_type.as_str()) {
            return refuse(format!(
                "logo: {:?} is not image/png, image/jpeg or image/svg+xml",
                self.media_type
            ));
        }
        let Ok(bytes) = STANDARD.decode(&self.data) else {
            return refuse("logo: data is not Base64");
        };
        if bytes.len() > MOST_LOGO {
            return refuse(format!("logo: at most {} KiB", MOST_LOGO / 1024));
        }
        let fits = match self.media_type.as_str() {
            "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
            "image/jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
            _ => std::str::from_utf8(&bytes).is_ok_and(|text| text.contains("<svg")),
        };
        if fits { Ok(bytes) } else { refuse(format!("logo: this is no {}", self.media_type)) }
    }
}

impl Branding {
    /// Checks what serde cannot.
    ///
    /// # Errors
    /// [`DocumentError::Branding`] naming the field.
    pub fn check(&self) -> Result<(), DocumentError> {
        self.seller.check()?;
        if let Some(colour) = &self.colour {
            let digits = colour.strip_prefix('#').unwrap_or_default();
            if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return refuse(format!("colour {colour:?} is not of the form #rrggbb"));
            }
        }
        if let Some(logo) = &self.logo {
            logo.bytes()?;
        }
        for (what, mark) in [("decimal_mark", &self.decimal_mark), ("group_mark", &self.group_mark)]
        {
            let Some(mark) = mark else { continue };
            if mark.chars().count() > 1 || mark.chars().any(|c| c.is_alphanumeric() || c == '-') {
                return refuse(format!("{what} {mark:?} is not one mark such as . or ,"));
            }
        }
        if self.decimal_mark.as_deref() == Some("") {
            return refuse("decimal_mark must not be empty");
        }
        if self.decimal_mark.is_some() && self.decimal_mark == self.group_mark {
            return refuse("decimal_mark and group_mark must differ");
        }
        let texts = [("legal", &self.legal), ("payment.text", &self.payment.text)];
        for (what, text) in texts {
            if text.as_ref().is_some_and(|text| text.chars().count() > MOST_TEXT) {
                return refuse(format!("{what} has at most {MOST_TEXT} characters"));
            }
        }
        if let Some(iban) = &self.payment.iban
            && !is_iban(iban)
        {
            return refuse(format!("payment.iban {iban:?} is no IBAN: its check digits differ"));
        }
        Ok(())
    }

    /// The colour of headings.
    #[must_use]
    pub fn accent(&self) -> &str {
        self.colour.as_deref().unwrap_or(COLOUR)
    }
}

/// Whether the check digits are right (ISO 7064, modulo 97).
fn is_iban(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if !(15..=34).contains(&plain.len()) || !plain.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    let (head, rest) = plain.split_at(4);
    let rest = rest.chars().chain(head.chars());
    let remainder = rest.filter_map(|c| c.to_digit(36)).fold(0u32, |sum, digit| {
        let shifted = if digit > 9 { sum * 100 } else { sum * 10 };
        (shifted + digit) % 97
    });
    remainder == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_cannot_check_is_refused_by_name() {
        let refused = |spoil: fn(&mut Branding)| {
            let mut branding = Branding::default();
            spoil(&mut branding);
            branding.check().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(|_| {}), "");
        assert!(refused(|b| b.colour = Some("red".into())).contains("#rrggbb"));
        assert!(refused(|b| b.colour = Some("#12345\"".into())).contains("#rrggbb"));
        assert!(refused(|b| b.seller.country = Some("Germany".into())).contains("ISO 3166"));
        assert!(refused(|b| b.seller.city = Some("a\nb".into())).contains("city"));
        assert!(refused(|b| b.group_mark = Some("1".into())).contains("group_mark"));
        assert!(refused(|b| b.payment.iban = Some("DE00 1234".into())).contains("IBAN"));
        assert_eq!(refused(|b| b.payment.iban = Some("DE89 3704 0044 0532 0130 00".into())), "");
        let logo = |media_type: &str, data: &[u8]| {
            Logo { media_type: media_type.into(), data: STANDARD.encode(data) }.bytes().is_ok()
        };
        assert!(logo("image/svg+xml", b"<svg/>") && !logo("image/png", b"<svg/>"));
        assert!(!logo("text/html", b"<svg/>") && !logo("image/svg+xml", &[b' '; MOST_LOGO + 1]));
    }
}
