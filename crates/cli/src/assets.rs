//! What ships inside the binary: the price books and the sample month.

/// A shipped price book: file name and text.
pub(crate) const BOOKS: [(&str, &str); 5] = [
    ("metering-engine.toml", include_str!("../../../pricing/metering-engine.toml")),
    ("six-services.toml", include_str!("../../../pricing/six-services.toml")),
    ("saas-plans.toml", include_str!("../../../pricing/saas-plans.toml")),
    ("llm-tokens.toml", include_str!("../../../pricing/llm-tokens.toml")),
    ("contract-toolkit.toml", include_str!("../../../pricing/contract-toolkit.toml")),
];

/// The sample's customers and subscriptions.
pub(crate) const SAMPLE_CUSTOMERS: &str = include_str!("../../../sample/customers.toml");

/// The sample's usage, gzipped JSON Lines.
pub(crate) const SAMPLE_USAGE: &[u8] = include_bytes!("../../../sample/usage-2026-10.jsonl.gz");
