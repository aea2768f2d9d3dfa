//! The operations, one file per noun.

mod access;
mod backfills;
mod books;
mod clock;
mod customers;
pub(crate) mod events;
mod grants;
pub(crate) mod incidents;
mod invoices;
mod jobs;
mod payments;
mod quotas;
mod runs;
mod subscriptions;
mod system;
mod usage;

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
    grants::register(routes);
    runs::register(routes);
    jobs::register(routes);
    access::register(routes);
    clock::register(routes);
    incidents::register(routes);
    system::register(routes);
}
