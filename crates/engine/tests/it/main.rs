//! The use-cases over a real store.
//!
//! | file | what it holds together |
//! |---|---|
//! | `usage` | usage read through buckets and tail = a fold over the ledger |
//! | `projection` | incremental = rebuilt, also with two projectors |
//! | `month` | a month from price book to numbered invoices, against figures worked by hand |
//! | `late` | late events and corrections: billed once, as if known in time |
//! | `parked` | accounts that look wrong never stop the others |
//! | `races` | two programs at one run |
//! | `reports` | the reports of finance, against figures worked by hand |
//! | `usage_reports` | the reports of usage, deferred revenue and growth, against figures worked by hand |
//! | `late_reports` | the late-arrival report and the rounding ledger |
//! | `random_reports` | whatever happens, reports add up and the books reconcile |
//! | `archive` | rows that lie in files: the same answers, or refused by name |
//! | `archive_faults` | changed archives, and every store call of an archiving failing |
//! | `archive_random` | whatever is archived and restored, answers are those of a ledger that never was |
//! | `recovery` | a store behind its anchor bills nothing |
//! | `jobs` | what is due is done once: clocks, missed times, parking, leases |
//! | `jobs_month` | a month by itself: schedulers at once, every store call failing |
//! | `sharing` | projectors that share lanes by lease |
//! | `verify` | what was tampered with is named |
//! | `faults` | every store call failing, before and after its effect |

#![cfg(test)]

mod alerts;
mod any_order;
mod archive;
mod archive_faults;
mod archive_random;
mod contract_terms;
mod contracts;
mod documents;
mod faults;
mod faults_documents;
mod jobs;
mod jobs_month;
mod late;
mod late_reports;
mod month;
mod parked;
mod projection;
mod races;
mod random;
mod random_reports;
mod recovery;
mod reports;
#[expect(dead_code, reason = "shared with the tests of delivery, which use all of it")]
#[path = "../../../delivery/tests/it/schema.rs"]
mod schema;
mod sharing;
mod usage;
mod usage_reports;
mod verify;
mod world;
