//! What lies beside the database: archive files, and the anchor that a restored backup is held
//! against.
//!
//! | file | what |
//! |---|---|
//! | [`files`] | archives in a directory: gzip CSV and manifest, written whole or not at all |
//! | `rows` | ledger rows as CSV, to the byte |
//! | [`anchor`] | the anchor file |
//! | `durable` | temporary name, sync, rename |

pub mod anchor;
mod durable;
pub mod files;
mod rows;

pub use anchor::AnchorFile;
pub use files::ArchiveDir;
