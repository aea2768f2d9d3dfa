//! Languages of letters. A language is a file in `languages/`: its words, as templates, and how it
//! writes numbers and days. Adding one is adding a file and a line below; a test holds each against
//! English.

use std::{collections::BTreeMap, sync::LazyLock};

use minijinja::{Environment, Value};
use serde::Deserialize;

/// Files of languages; the first is spoken where none is known.
const FILES: [&str; 2] =
    [include_str!("../../languages/en.json"), include_str!("../../languages/de.json")];

static LANGUAGES: LazyLock<Vec<Language>> = LazyLock::new(|| {
    // A damaged file is left out; a test reads them all.
    FILES.iter().filter_map(|file| serde_json::from_str(file).ok()).collect()
});
static NONE: LazyLock<Language> = LazyLock::new(Language::default);
/// Words are plain text: what they become part of escapes them.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    templates
});

/// A language.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// Its code, ISO 639-1.
    pub code: String,
    /// What stands before the decimals.
    pub decimal: String,
    /// What stands between thousands.
    pub group: String,
    /// Whether a currency's symbol comes first.
    pub symbol_first: bool,
    /// How a day is written.
    pub day: String,
    /// The months' names.
    pub months: Vec<String>,
    words: BTreeMap<String, String>,
}

impl Language {
    /// The language of a tag such as `de` or `de-AT`; English where it is not spoken here.
    #[must_use]
    pub fn of(tag: Option<&str>) -> &'static Self {
        let wanted = tag.and_then(|tag| tag.split(['-', '_']).next()).unwrap_or_default();
        let spoken = LANGUAGES.iter().find(|language| language.code.eq_ignore_ascii_case(wanted));
        spoken.or_else(|| LANGUAGES.first()).unwrap_or(&NONE)
    }

    /// Codes of the languages that are spoken.
    #[must_use]
    pub fn codes() -> Vec<&'static str> {
        LANGUAGES.iter().map(|language| language.code.as_str()).collect()
    }

    /// A phrase with its gaps filled.
    #[must_use]
    pub fn say(&self, phrase: &str, with: Value) -> String {
        let Some(words) = self.words.get(phrase) else { return phrase.to_owned() };
        // Templates are ours, and tests fill them all; what cannot be filled is said as it is.
        TEMPLATES.render_str(words, with).unwrap_or_else(|_| words.clone())
    }

    /// A phrase without gaps.
    #[must_use]
    pub fn word(&self, phrase: &str) -> String {
        self.say(phrase, Value::UNDEFINED)
    }

    /// A day.
    #[must_use]
    pub fn day(&self, day: i8, month: i8, year: i16) -> String {
        let place = usize::try_from(month - 1).unwrap_or(0);
        let month = self.months.get(place).map_or("", String::as_str);
        let with = minijinja::context! { day, month, year };
        TEMPLATES.render_str(&self.day, with).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn gaps(text: &str) -> BTreeSet<&str> {
        text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).map(str::trim).collect()
    }

    #[test]
    fn every_language_says_all_that_english_does_with_the_same_gaps() {
        assert_eq!(LANGUAGES.len(), FILES.len(), "a file is damaged");
        let english = Language::of(None);
        assert_eq!(english.code, "en");
        for language in LANGUAGES.iter() {
            let keys: Vec<_> = language.words.keys().collect();
            assert_eq!(keys, english.words.keys().collect::<Vec<_>>(), "{}", language.code);
            for (key, words) in &language.words {
                assert_eq!(gaps(words), gaps(&english.words[key]), "{} {key}", language.code);
                assert!(!words.contains('\n') && !words.trim().is_empty());
            }
            assert_eq!(language.months.len(), 12);
        }
    }

    #[test]
    fn a_tag_finds_its_language_or_english() {
        for (tag, code) in
            [("de-AT", "de"), ("DE", "de"), ("en_GB", "en"), ("tlh", "en"), ("", "en")]
        {
            assert_eq!(Language::of(Some(tag)).code, code);
        }
        assert_eq!(Language::of(Some("de")).day(3, 10, 2026), "3. Oktober 2026");
        let name = minijinja::context! { name => "{{ 7 * 7 }} <b>" };
        assert_eq!(Language::of(None).say("greeting", name), "Hello {{ 7 * 7 }} <b>,");
    }
}
