//! Sending again: what an endpoint hears of, from a time on, and what was parked. Ids stay as they
//! were, so a receiver that has something already knows it again.

use std::collections::BTreeMap;

use counterfoil_store::{DeliveryFilter, DeliveryState, Store, StoreError};
use counterfoil_types::{TenantId, Timestamp};

use crate::endpoint::Endpoint;

/// Effects that are looked at together.
const PAGE: u32 = 500;

/// Makes deliveries to an endpoint of what it hears of due again: of effects caused from `since` on,
/// of one kind only, where given. Says how many.
///
/// # Errors
/// As the store has them; repeating goes on.
pub async fn replay(
    store: &dyn Store,
    tenant: &TenantId,
    endpoint: &Endpoint,
    since: Option<Timestamp>,
    kind: Option<&str>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let (mut after, mut changed) = (0, 0);
    loop {
        let page = store.effects(tenant, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(changed) };
        after = last.position;
        let keys: Vec<String> = page
            .into_iter()
            .filter(|effect| since.is_none_or(|since| effect.at >= since))
            .filter(|effect| endpoint.wants(&effect.kind))
            .filter(|effect| kind.is_none_or(|kind| effect.kind == kind))
            .map(|effect| effect.key)
            .collect();
        changed += store.deliver_again(tenant, &endpoint.target(), &keys, now).await?;
    }
}

/// Lets parked deliveries go; those to one target or of one effect only, where given. Says how many.
///
/// # Errors
/// As the store has them; repeating goes on.
pub async fn unpark(
    store: &dyn Store,
    tenant: &TenantId,
    target: Option<&str>,
    key: Option<&str>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let filter = DeliveryFilter {
        state: Some(DeliveryState::Parked),
        target: target.map(ToOwned::to_owned),
        kind: None,
        key: key.map(ToOwned::to_owned),
    };
    let (mut after, mut changed): (Option<(u64, String)>, u64) = (None, 0);
    loop {
        let place = after.as_ref().map(|(position, target)| (*position, target.as_str()));
        let page = store.deliveries(tenant, &filter, place, PAGE).await?;
        let Some(last) = page.last() else { return Ok(changed) };
        after = Some((last.effect.position, last.target.clone()));
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for delivery in page {
            keys.entry(delivery.target).or_default().push(delivery.effect.key);
        }
        for (target, keys) in keys {
            changed += store.deliver_again(tenant, &target, &keys, now).await?;
        }
    }
}
