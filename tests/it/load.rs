//! The load generator against the program's own service.

#![cfg(test)]

use serde_json::json;

use crate::{harness::Place, sdks::Service};

#[test]
fn load_tells_rate_and_latencies_of_what_was_stored() {
    let place = Place::on_the_wall_clock();
    let service = Service::over(&place, &["load-0"]);
    let url = format!("http://{}", service.address);
    let common = ["load", "--url", &url, "--key", &service.key, "--seconds", "1"];
    let report = place
        .json(&[&common[..], &["--rate", "500", "--customers", "3", "--batch", "50"]].concat());
    let requests = report["requests"].as_u64().expect("a count");
    assert!((1..=10).contains(&requests), "at most 500 events in batches of 50: {report}");
    assert_eq!(report["inserted"], 50 * requests);
    assert_eq!((&report["failed"], &report["rejected"]), (&json!(0), &json!(0)));
    let latency = |name: &str| report["latency_micros"][name].as_u64().expect("microseconds");
    assert!(latency("p50") > 0);
    assert!(latency("p50") <= latency("p95") && latency("p95") <= latency("p99"));
    assert!(latency("p99") <= latency("max"));
    let told = place.ok(&[&common[..], &["--connections", "2"]].concat()).stdout;
    assert!(told.contains("events stored") && told.contains("p99"), "{told}");
}

#[test]
fn load_goes_to_this_machine_only_unless_told_otherwise() {
    let place = Place::on_the_wall_clock();
    let sent = ["load", "--key", "cf_any", "--seconds", "1", "--url"];
    for url in ["http://192.0.2.1:8080", "https://billing.example.com"] {
        place.run(&[&sent[..], &[url]].concat()).refused(1, &["--allow-remote"]);
    }
    place.run(&[&sent[..], &["127.0.0.1:8080"]].concat()).refused(1, &["http://"]);
    // Nothing listens there: said, counted, and over in time.
    let report = place.run(&[&sent[..], &["http://127.0.0.1:9", "--json"]].concat());
    assert_ne!(report.code, Some(0));
    let report = report.json();
    assert_eq!(report["inserted"], 0);
    assert!(report["failed"].as_u64().expect("a count") > 0);
}
