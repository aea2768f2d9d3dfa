//! Calls counted in this process.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{Decision, LimitError, Limiter, Rate};

/// Parts of the map, each with a lock of its own.
const PARTS: usize = 16;
/// Entries of a part beyond which those that account for nothing any more are let go.
const MOST: usize = 20_000;

/// Counts in memory.
#[derive(Debug)]
pub struct InMemory {
    parts: Vec<Mutex<HashMap<String, i64>>>,
    hasher: RandomState,
}

impl Default for InMemory {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { parts, hasher: RandomState::new() }
    }
}

#[async_trait]
impl Limiter for InMemory {
    async fn decide(&self, key: &str, rate: &Rate, now: i64) -> Result<Decision, LimitError> {
        let number = self.hasher.hash_one(key) % (PARTS as u64);
        let part = usize::try_from(number).ok().and_then(|number| self.parts.get(number));
        let part = part.ok_or_else(|| LimitError("no such part".to_owned()))?;
        let mut counted = part.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() > MOST {
            counted.retain(|_, until| *until > now);
            // All of them are busy: counting anew is better than growing without bound.
            if counted.len() > MOST {
                counted.clear();
            }
        }
        let decision = rate.decide(counted.get(key).copied(), now);
        match counted.get_mut(key) {
            Some(until) => *until = decision.until,
            None => {
                counted.insert(key.to_owned(), decision.until);
            }
        }
        Ok(decision)
    }
}
