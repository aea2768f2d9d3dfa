//! The service as its callers see it. `world` runs it over a store of its own; `wire` speaks to it
//! through real sockets.

#![cfg(test)]

mod access;
mod backfills;
mod bodies;
mod document;
mod events;
mod faults;
mod finance;
mod jobs;
mod limits;
mod once;
mod quotas;
mod usage;
mod wire;
mod world;
