//! The adapter against a real server, one binary and so one server: the contract every backend
//! passes, and what only PostgreSQL can do wrong.
//!
//! | file | what |
//! |---|---|
//! | `contract` | one test per promise of the contract suite |
//! | `postgres` | schema, settings, errors, other programs |
//! | `outages` | a standby promoted, a full disk, no connection left, serialization failures |
//! | `roles` | what each role may, row-level security, what `doctor` finds |
//! | `races` | many writers, readers, projectors and finalizers at once |
//! | `cuts` | connections that break before and after COMMIT, a server that is killed |

#![cfg(test)]

mod contract;
mod cuts;
mod fixture;
mod outages;
mod postgres;
mod races;
mod roles;
