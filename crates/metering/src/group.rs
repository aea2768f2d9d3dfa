//! Group keys: the values of a meter's `group_by` properties, as canonical text.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

/// The key of meters without groups: one text shared by all.
static NO_GROUP: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

/// The values of the `group_by` properties as a JSON array (`null`: absent); empty text for
/// meters without groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey(Arc<str>);

impl Default for GroupKey {
    fn default() -> Self {
        Self(NO_GROUP.clone())
    }
}

impl GroupKey {
    /// The key of these values.
    #[must_use]
    pub fn of(values: &[Option<String>]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        Self(serde_json::to_string(values).unwrap_or_default().into())
    }

    /// A key read back from storage.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        if text.is_empty() { Self::default() } else { Self(text.into()) }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> Vec<Option<String>> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Property name → value, for the properties that were present.
    #[must_use]
    pub fn dimensions(&self, group_by: &[String]) -> BTreeMap<String, String> {
        let pairs = group_by.iter().zip(self.values());
        pairs.filter_map(|(name, value)| Some((name.clone(), value?))).collect()
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> =
            self.values().into_iter().map(|v| v.unwrap_or_else(|| "(none)".to_owned())).collect();
        f.write_str(&values.join(", "))
    }
}
