//! How numbers, amounts, days and phrases are written: a language, with what the tenant prefers.
//! A language is a file in `languages/`; a test holds each against English.

use std::{collections::BTreeMap, sync::LazyLock};

use counterfoil_types::{Currency, Exact, Money, Rounding, TimeError, Timestamp, Zone};
use serde::Deserialize;

use crate::branding::{Branding, DateFormat};

/// Files of languages; the first is spoken where none is known.
const FILES: [&str; 2] =
    [include_str!("../languages/en.json"), include_str!("../languages/de.json")];
/// Decimals of a quantity that are shown; one with more is marked with ≈.
const DECIMALS: i32 = 6;

static LANGUAGES: LazyLock<Vec<Language>> = LazyLock::new(|| {
    // A damaged file is left out; a test reads them all.
    FILES.iter().filter_map(|file| serde_json::from_str(file).ok()).collect()
});
static NONE: LazyLock<Language> = LazyLock::new(Language::default);

/// A language.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// Its code, ISO 639-1.
    pub code: String,
    decimal: String,
    group: String,
    symbol_first: bool,
    day: String,
    months: Vec<String>,
    words: BTreeMap<String, String>,
}

impl Language {
    /// The language of the first tag (`de`, `de-AT`) that is spoken here; else English.
    #[must_use]
    pub fn of(tags: &[Option<&str>]) -> &'static Self {
        let spoken = |tag: &str| {
            let wanted = tag.split(['-', '_']).next().unwrap_or_default();
            LANGUAGES.iter().find(|language| language.code.eq_ignore_ascii_case(wanted))
        };
        let found = tags.iter().flatten().find_map(|tag| spoken(tag));
        found.or_else(|| LANGUAGES.first()).unwrap_or(&NONE)
    }
}

/// A language with what the tenant prefers.
#[derive(Clone, Debug)]
pub struct Style<'a> {
    language: &'static Language,
    decimal: &'a str,
    group: &'a str,
    dates: DateFormat,
}

impl<'a> Style<'a> {
    /// For a reader of this language.
    #[must_use]
    pub fn new(branding: &'a Branding, reader: Option<&str>) -> Self {
        let language = Language::of(&[reader, branding.language.as_deref()]);
        Self {
            language,
            decimal: branding.decimal_mark.as_deref().unwrap_or(&language.decimal),
            group: branding.group_mark.as_deref().unwrap_or(&language.group),
            dates: branding.dates.unwrap_or(DateFormat::Long),
        }
    }

    /// Code of the language.
    #[must_use]
    pub fn code(&self) -> &'static str {
        &self.language.code
    }

    /// A phrase without gaps.
    #[must_use]
    pub fn word(&self, key: &str) -> String {
        self.say(key, &[])
    }

    /// A phrase with its gaps filled, each once: what fills one is never looked at again.
    #[must_use]
    pub fn say(&self, key: &str, gaps: &[(&str, &str)]) -> String {
        let Some(phrase) = self.language.words.get(key) else { return key.to_owned() };
        fill(phrase, gaps)
    }

    /// An amount with its symbol.
    #[must_use]
    pub fn money(&self, amount: Money) -> String {
        let plain = amount.to_plain();
        let (sign, plain) =
            plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("−", rest));
        self.with_currency(sign, &self.number(plain), amount.currency())
    }

    /// A price of one unit, with all its digits.
    #[must_use]
    pub fn price(&self, price: &Exact, currency: Currency) -> String {
        let text = price.to_string();
        let (sign, plain) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("−", rest));
        let least = usize::try_from(currency.decimals()).unwrap_or(0);
        let (whole, rest) = plain.split_once('.').unwrap_or((plain, ""));
        let number = if rest.len() < least {
            self.number(&format!("{whole}.{rest:0<least$}"))
        } else {
            self.number(plain)
        };
        self.with_currency(sign, &number, currency)
    }

    fn with_currency(&self, sign: &str, number: &str, currency: Currency) -> String {
        let symbol = match currency.code() {
            "USD" => "$",
            "EUR" => "€",
            "GBP" => "£",
            "JPY" => "¥",
            // Symbols that several currencies share, or that are written from right to left, are
            // said in full.
            code => return format!("{sign}{number}\u{a0}{code}"),
        };
        if self.language.symbol_first {
            return format!("{sign}{symbol}{number}");
        }
        format!("{sign}{number}\u{a0}{symbol}")
    }

    /// A quantity; what has more than six decimals is marked.
    #[must_use]
    pub fn quantity(&self, value: &Exact) -> String {
        let rounded = value.round(DECIMALS, Rounding::HalfAwayFromZero);
        let about = if rounded == *value { "" } else { "≈\u{a0}" };
        let text = rounded.to_string();
        let (sign, plain) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("−", rest));
        format!("{about}{sign}{}", self.number(plain))
    }

    /// A plain number without sign, in groups of three.
    fn number(&self, plain: &str) -> String {
        let (whole, rest) = plain.split_once('.').unwrap_or((plain, ""));
        let mut text = String::new();
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place).is_multiple_of(3) {
                text.push_str(self.group);
            }
            text.push(digit);
        }
        if !rest.is_empty() {
            text.push_str(self.decimal);
            text.push_str(rest);
        }
        text
    }

    /// The day an instant falls on in a zone.
    ///
    /// # Errors
    /// When it lies beyond the years that can be computed with.
    pub fn day(&self, at: Timestamp, zone: &Zone) -> Result<String, TimeError> {
        let date = zone.civil(at)?.date();
        let (day, month, year) = (date.day(), date.month(), date.year());
        Ok(match self.dates {
            DateFormat::Iso => date.to_string(),
            DateFormat::DayMonthYear => format!("{day:02}.{month:02}.{year}"),
            DateFormat::MonthDayYear => format!("{month:02}/{day:02}/{year}"),
            DateFormat::Long => {
                let name = usize::try_from(month - 1).ok();
                let name = name.and_then(|at| self.language.months.get(at));
                let (day, year) = (day.to_string(), year.to_string());
                let month = name.map_or("", String::as_str);
                fill(&self.language.day, &[("day", &day), ("month", month), ("year", &year)])
            }
        })
    }
}

/// Fills `{gaps}`; what fills them is not looked at.
fn fill(phrase: &str, gaps: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(phrase.len() + 16);
    let mut rest = phrase;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            rest = after;
            continue;
        };
        let value = gaps.iter().find(|(gap, _)| *gap == name).map_or("", |(_, value)| value);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn gaps(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn every_language_says_all_that_english_does_with_the_same_gaps() {
        assert_eq!(LANGUAGES.len(), FILES.len(), "a file is damaged");
        let english = Language::of(&[]);
        for language in LANGUAGES.iter() {
            let keys: Vec<_> = language.words.keys().collect();
            assert_eq!(keys, english.words.keys().collect::<Vec<_>>(), "{}", language.code);
            for (key, words) in &language.words {
                assert_eq!(gaps(words), gaps(&english.words[key]), "{} {key}", language.code);
            }
            assert_eq!(language.months.len(), 12);
        }
    }

    #[test]
    fn numbers_and_days_are_written_as_the_reader_or_the_tenant_has_them() {
        let plain = Branding::default();
        let (english, german) = (Style::new(&plain, None), Style::new(&plain, Some("de-AT")));
        let money = |text: &str, code: &str| {
            Money::from_exact(&Exact::parse(text).unwrap(), code.parse().unwrap()).unwrap()
        };
        for (amount, code, shown, gezeigt) in [
            ("1234567.5", "USD", "$1,234,567.50", "1.234.567,50\u{a0}$"),
            ("-12", "EUR", "−€12.00", "−12,00\u{a0}€"),
            ("1000", "JPY", "¥1,000", "1.000\u{a0}¥"),
            ("1000.125", "KWD", "1,000.125\u{a0}KWD", "1.000,125\u{a0}KWD"),
        ] {
            assert_eq!(english.money(money(amount, code)), shown);
            assert_eq!(german.money(money(amount, code)), gezeigt);
        }
        let exact = |text: &str| Exact::parse(text).unwrap();
        assert_eq!(english.price(&exact("0.0125"), Currency::USD), "$0.0125");
        assert_eq!(english.price(&exact("2"), Currency::USD), "$2.00");
        assert_eq!(english.quantity(&exact("85/31")), "≈\u{a0}2.741935");
        assert_eq!(english.quantity(&exact("-1234.5")), "−1,234.5");
        let swiss = Branding {
            group_mark: Some("’".into()),
            decimal_mark: Some(".".into()),
            dates: Some(DateFormat::DayMonthYear),
            language: Some("de".into()),
            ..Branding::default()
        };
        let style = Style::new(&swiss, None);
        assert_eq!(style.money(money("1234.5", "CHF")), "1’234.50\u{a0}CHF");
        let at: Timestamp = "2026-10-01T02:00:00Z".parse().unwrap();
        let zone: Zone = "America/New_York".parse().unwrap();
        assert_eq!(style.day(at, &zone).unwrap(), "30.09.2026");
        assert_eq!(english.day(at, &zone).unwrap(), "30 September 2026");
        assert_eq!(german.day(at, &Zone::utc()).unwrap(), "1. Oktober 2026");
    }

    #[test]
    fn what_fills_a_gap_is_not_a_template() {
        let branding = Branding::default();
        let style = Style::new(&branding, None);
        let shown = style.say("credit", &[("name", "{name} {total} {")]);
        assert_eq!(shown, "Credit used: {name} {total} {");
    }
}
