//! Stripe, against servers on real sockets and both stores.
//!
//! | file | what |
//! |---|---|
//! | `server` | a scripted Stripe: fields, keys and their reuse, limits of time, what it counts |
//! | `proxy` | a connection that is cut before or after the effect |
//! | `world` | an engine with a relay to Stripe |
//! | `usage` | usage arrives once, whatever fails |
//! | `push` | what is queued: faults of the store, races, late usage |
//! | `invoices` | one invoice, one charge |
//! | `real` | invoices at a stateful server that others wrote: currencies, tax, credits, kills |
//! | `reconcile` | what Stripe counts, setup |

#![cfg(test)]

mod invoices;
mod proxy;
mod push;
mod real;
mod reconcile;
mod server;
mod usage;
mod world;
