//! Lists by cursor. A cursor is opaque to clients: it says where the last page ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// How much of a list is wanted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct PageQuery {
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) limit: Option<u32>,
}

impl PageQuery {
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit)
    }

    pub(crate) fn position(&self) -> Result<u64, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(0) };
        cursor.parse().map_err(|_| bad_cursor())
    }
}

/// A limit within bounds.
pub(crate) fn limit(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(100),
        Some(limit) if (1..=1000).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::parameter("limit", "must lie between 1 and 1000")),
    }
}

/// A cursor that is none of ours.
pub(crate) fn bad_cursor() -> Problem {
    Problem::parameter("cursor", "is none that this list gave out")
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// The cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` items, of which one more was asked for to see whether there is.
    pub(crate) fn of(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(key);
        Self { items, next }
    }

    /// All there is.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}
