//! What the service counts about itself, in the text format of Prometheus.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    operation: &'static str,
    status: u16,
}

/// Labels of a latency.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Named {
    operation: &'static str,
}

/// Labels of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Received {
    receipt: &'static str,
}

fn latencies() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0,
    ])
}

/// See the module header.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Asked, Counter<u64, AtomicU64>>,
    latency: Family<Named, Histogram, fn() -> Histogram>,
    events: Family<Received, Counter<u64, AtomicU64>>,
    denials: Counter<u64, AtomicU64>,
    limited: Counter<u64, AtomicU64>,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: Gauge,
    projected: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("counterfoil");
        let metrics = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(latencies as fn() -> Histogram),
            events: Family::default(),
            denials: Counter::default(),
            limited: Counter::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            projected: Counter::default(),
            registry: Registry::default(),
        };
        registry.register(
            "http_requests",
            "Requests by operation and status",
            metrics.requests.clone(),
        );
        registry.register("http_request_seconds", "Time to answer", metrics.latency.clone());
        registry.register("events", "Events by receipt", metrics.events.clone());
        registry.register("quota_denials", "Uses denied by a quota", metrics.denials.clone());
        registry.register(
            "rate_limited",
            "Requests refused by a rate limit",
            metrics.limited.clone(),
        );
        registry.register("http_in_flight", "Requests being answered", metrics.in_flight.clone());
        registry.register("http_connections", "Open connections", metrics.connections.clone());
        registry.register("projected_rows", "Ledger rows projected", metrics.projected.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    pub(crate) fn request(&self, operation: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Asked { operation, status }).inc();
        self.latency.get_or_create(&Named { operation }).observe(took.as_secs_f64());
    }

    pub(crate) fn receipts(&self, counts: &counterfoil_ledger::receipt::ReceiptCounts) {
        let all = [
            ("inserted", counts.inserted),
            ("duplicate", counts.duplicate),
            ("conflict", counts.conflict),
            ("rejected", counts.rejected),
        ];
        for (receipt, count) in all.into_iter().filter(|(_, count)| *count > 0) {
            self.events.get_or_create(&Received { receipt }).inc_by(count);
        }
    }

    pub(crate) fn denial(&self) {
        self.denials.inc();
    }

    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    pub(crate) fn projected(&self, rows: u64) {
        self.projected.inc_by(rows);
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}
