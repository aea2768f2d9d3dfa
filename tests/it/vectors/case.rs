//! One case of the vector file and typed access to its fields. Numbers are decimal strings and
//! instants ISO 8601; a field that is missing or of the wrong shape makes the case a failure with
//! its name, never a panic.

use std::fmt::Display;

use counterfoil_types::{Currency, Exact, Rounding, Timestamp, Zone, civil};
use serde_json::Value;

/// Why a case gave no answer.
#[derive(Debug)]
pub(super) enum Miss {
    /// Not asked of the engine; the reason is counted and printed.
    Skip(String),
    /// The engine (or the adapter) could not answer.
    Fail(String),
}

pub(super) type Answer = Result<Value, Miss>;

/// A failure with the error's text.
pub(super) fn fail(error: impl Display) -> Miss {
    Miss::Fail(error.to_string())
}

/// One line of the file.
#[derive(Clone, Debug)]
pub(super) struct Case(pub(super) Value);

impl Case {
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or("")
    }
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }
    /// A field of the case itself.
    pub(super) fn need(&self, key: &str) -> Result<&Value, Miss> {
        self.get(key).ok_or_else(|| Miss::Fail(format!("the case has no {key:?}")))
    }
    /// A field of `params`.
    pub(super) fn param(&self, key: &str) -> Option<&Value> {
        self.0.get("params")?.get(key).filter(|value| !value.is_null())
    }
    pub(super) fn need_param(&self, key: &str) -> Result<&Value, Miss> {
        self.param(key).ok_or_else(|| Miss::Fail(format!("params has no {key:?}")))
    }
    /// The first of several names a field goes by, in `params` or the case.
    pub(super) fn any(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().find_map(|key| self.param(key).or_else(|| self.get(key)))
    }
    pub(super) fn param_text(&self, key: &str) -> &str {
        self.param(key).and_then(Value::as_str).unwrap_or("")
    }
    pub(super) fn convention(&self, key: &str) -> Option<&Value> {
        self.0.get("convention")?.get(key)
    }
    pub(super) fn requires(&self, name: &str) -> bool {
        let listed = self.0.get("requires").and_then(Value::as_array);
        listed.is_some_and(|list| list.iter().any(|item| item == name))
    }
    pub(super) fn list(&self, key: &str) -> Vec<Value> {
        self.any(&[key]).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    pub(super) fn currency(&self) -> Result<Currency, Miss> {
        match self.text("currency") {
            "" => Ok(Currency::USD),
            code => code.parse().map_err(fail),
        }
    }
    /// `params.dp`, else the currency's decimals.
    pub(super) fn dp(&self) -> Result<i32, Miss> {
        match self.param("dp") {
            Some(dp) => integer(dp),
            None => Ok(self.currency()?.decimals()),
        }
    }
    pub(super) fn zone(&self) -> Result<Zone, Miss> {
        match self.param_text("timezone") {
            "" => Ok(Zone::utc()),
            name => name.parse().map_err(fail),
        }
    }
    /// An instant; a date or a local time without offset is read in the case's zone.
    pub(super) fn instant(&self, value: &Value) -> Result<Timestamp, Miss> {
        let text = as_text(value)?;
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Ok(instant);
        }
        self.zone()?.instant(local(text)?).map_err(fail)
    }
    pub(super) fn need_instant(&self, key: &str) -> Result<Timestamp, Miss> {
        let value = self.any(&[key]).ok_or_else(|| Miss::Fail(format!("no {key:?}")))?;
        self.instant(value)
    }
    /// A wall-clock reading in the case's zone.
    pub(super) fn civil(&self, value: &Value) -> Result<civil::DateTime, Miss> {
        match as_text(value)?.parse::<Timestamp>() {
            Ok(instant) => self.zone()?.civil(instant).map_err(fail),
            Err(_) => local(as_text(value)?),
        }
    }
    pub(super) fn date(&self, value: &Value) -> Result<civil::Date, Miss> {
        Ok(self.civil(value)?.date())
    }
}

fn local(text: &str) -> Result<civil::DateTime, Miss> {
    if let Ok(date) = text.parse::<civil::Date>()
        && text.len() <= 10
    {
        return Ok(date.at(0, 0, 0, 0));
    }
    text.parse().map_err(fail)
}

pub(super) fn as_text(value: &Value) -> Result<&str, Miss> {
    value.as_str().ok_or_else(|| Miss::Fail(format!("{value} is no text")))
}

/// A number: decimal text or a JSON number as it is written.
pub(super) fn exact(value: &Value) -> Result<Exact, Miss> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Exact::parse(&text).map_err(fail)
}

/// A number that may be missing.
pub(super) fn optional(value: Option<&Value>) -> Result<Option<Exact>, Miss> {
    value.map(exact).transpose()
}

pub(super) fn exacts(values: &[Value]) -> Result<Vec<Exact>, Miss> {
    values.iter().map(exact).collect()
}

pub(super) fn integer<N: TryFrom<i128>>(value: &Value) -> Result<N, Miss> {
    let whole = exact(value)?.to_i128().and_then(|whole| N::try_from(whole).ok());
    whole.ok_or_else(|| Miss::Fail(format!("{value} is no whole number in range")))
}

/// A rounding mode by any of the names the sources use; half away from zero when absent.
pub(super) fn rounding(value: Option<&Value>) -> Result<Rounding, Miss> {
    Ok(match value.and_then(Value::as_str).unwrap_or("half_up") {
        "half_up" | "round" | "half_away_from_zero" => Rounding::HalfAwayFromZero,
        "half_down" | "half_towards_zero" => Rounding::HalfTowardsZero,
        "half_even" | "bankers" => Rounding::HalfEven,
        "half_odd" => Rounding::HalfOdd,
        "half_positive_infinity" => Rounding::HalfCeiling,
        "half_negative_infinity" => Rounding::HalfFloor,
        "ceil" | "ceiling" => Rounding::Ceiling,
        "floor" => Rounding::Floor,
        "up" | "away_from_zero" => Rounding::AwayFromZero,
        "down" | "truncate" | "towards_zero" => Rounding::TowardsZero,
        other => return Err(Miss::Skip(format!("rounding mode {other}"))),
    })
}

/// `{dp, mode}` of a rounding convention.
pub(super) fn round_rule(case: &Case, rule: &Value) -> Result<(i32, Rounding), Miss> {
    let dp = rule.get("dp").or_else(|| rule.get("precision"));
    let dp = dp.map_or_else(|| case.dp(), integer)?;
    Ok((dp, rounding(rule.get("mode"))?))
}

/// Numbers as the vector file writes them.
pub(super) fn shown(value: &Exact) -> Value {
    Value::String(value.to_string())
}

pub(super) fn shown_all<'a>(values: impl IntoIterator<Item = &'a Exact>) -> Value {
    Value::Array(values.into_iter().map(shown).collect())
}
