//! The operations, one file per noun.

mod access;
mod alerts;
mod backfills;
mod books;
mod clock;
mod customers;
mod deliveries;
mod documents;
pub(crate) mod events;
mod exports;
mod grants;
pub(crate) mod incidents;
mod invoices;
mod jobs;
mod mail;
mod payments;
mod quotas;
mod reports;
mod runs;
mod stripe;
mod subscriptions;
mod system;
mod usage;
mod webhooks;

use crate::operation::Routes;

/// Registers all of them, in the order the reference shows.
pub(crate) fn register(routes: &mut Routes) {
    events::register(routes);
    backfills::register(routes);
    usage::register(routes);
    quotas::register(routes);
    customers::register(routes);
    subscriptions::register(routes);
    books::register(routes);
    invoices::register(routes);
    payments::register(routes);
    documents::register(routes);
    grants::register(routes);
    runs::register(routes);
    reports::register(routes);
    exports::register(routes);
    alerts::register(routes);
    webhooks::register(routes);
    deliveries::register(routes);
    mail::register(routes);
    stripe::register(routes);
    jobs::register(routes);
    access::register(routes);
    clock::register(routes);
    incidents::register(routes);
    system::register(routes);
}
