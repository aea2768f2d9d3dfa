//! Not too many mails at once to one domain: its servers would refuse them, or take us for somebody
//! who sends what nobody wants.
//!
//! Each mail takes its turn at its domain, and the turn is given on after the pause that the rate
//! leaves. So no clock is read, and domains do not wait for each other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Mutex as Turn;

/// Domains remembered before idle ones are let go.
const MOST: usize = 10_000;

/// See the module header.
pub struct Pace {
    pause: Duration,
    domains: Mutex<HashMap<String, Arc<Turn<()>>>>,
}

impl Pace {
    /// At most so many a second to a domain.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let pause = Duration::from_secs(1) / per_second.max(1);
        Self { pause, domains: Mutex::default() }
    }

    fn turn(&self, domain: &str) -> Arc<Turn<()>> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if domains.len() > MOST {
            domains.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(domains.entry(domain.to_ascii_lowercase()).or_default())
    }

    /// Waits until a mail may go to these domains.
    pub async fn wait(&self, domains: impl Iterator<Item = &str>) {
        // In order, so that two mails never wait for each other.
        let domains: BTreeSet<String> = domains.map(str::to_ascii_lowercase).collect();
        for domain in domains {
            let held = self.turn(&domain).lock_owned().await;
            let pause = self.pause;
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                drop(held);
            });
        }
    }
}
