//! The SDK against the real service over SQLite, on real sockets: outages, restarts, lost
//! acknowledgements, killed processes, partial results, quotas.

#![cfg(test)]

mod killed;
mod layer;
mod server;
mod writer;
