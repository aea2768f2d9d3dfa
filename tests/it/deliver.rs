//! `kill -9` in the middle of delivering, again and again: every effect reaches its receiver, under
//! one id, whatever was cut off; and the commands around it.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::harness::{Place, Random};

/// Ids that came, and how often.
type Seen = Arc<Mutex<BTreeMap<String, usize>>>;

/// A receiver that takes a moment for each event and writes its id down.
fn receiver() -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let seen = Seen::default();
    let kept = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = kept.clone();
            std::thread::spawn(move || serve(stream, &kept));
        }
    });
    (format!("http://{address}/in"), seen)
}

fn serve(stream: TcpStream, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line == "\r\n" {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "webhook-id" => id = value.to_owned(),
                "content-length" => length = value.parse().ok()?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        *seen.lock().expect("no panic").entry(id).or_default() += 1;
        std::thread::sleep(Duration::from_millis(5));
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// A place that has billed the sample month, with an endpoint at `url`.
fn billed(url: &str) -> Place {
    let place = Place::on_the_wall_clock();
    let config = "[delivery]\nallow_hosts = [\"127.0.0.1\"]\nallow_http = true\nclaim = 1\nconcurrency = 2\n";
    place.file("counterfoil.toml", config);
    place.ok(&["quickstart"]);
    place.ok(&["webhook", "add", url, "--id", "crm"]);
    place
}

#[test]
fn killed_while_delivering_every_effect_arrives_under_one_id() {
    let (url, seen) = receiver();
    let place = billed(&url);
    let mut random = Random::sequence(6);
    for _ in 0..12 {
        let mut relays: Vec<_> = (0..2)
            .map(|_| {
                let mut command = place.command(&["deliver", "--pause", "20"]);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.spawn().expect("the program runs")
            })
            .collect();
        std::thread::sleep(Duration::from_millis(40 + random.below(200)));
        for relay in &mut relays {
            relay.kill().expect("it can be killed");
            relay.wait().expect("it ends");
        }
    }
    // What the dead had claimed is free again after its second.
    for _ in 0..40 {
        place.ok(&["deliver", "--once"]);
        let due = place.json(&["outbox", "list", "--state", "due"]);
        if due.as_array().expect("a list").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let done = place.json(&["outbox", "list", "--state", "done"]);
    let done = done.as_array().expect("a list");
    let seen = seen.lock().expect("no panic");
    assert!(done.len() > 3, "the sample month has effects: {done:?}");
    assert_eq!(seen.len(), done.len(), "each effect came, under one id: {seen:?}");
    let parked = place.json(&["outbox", "parked"]);
    assert_eq!(parked, serde_json::json!([]));
}

#[test]
fn endpoints_and_deliveries_are_looked_after_from_the_command_line() {
    let (url, seen) = receiver();
    let place = billed(&url);
    let run = |args: &[&str]| place.run(args);
    run(&["webhook", "add", "https://169.254.169.254/x"]).refused(1, &["link-local"]);
    run(&["webhook", "add", &url, "--id", "crm"]).refused(1, &["crm", "already"]);
    run(&["webhook", "test", "crm"]).exits(0).shows(&["delivered (200)"]);
    let after_test = seen.lock().expect("no panic").len();
    assert!(after_test > 1, "the test also delivered what was due");
    run(&["webhook", "replay", "crm", "--kind", "invoice.issued"]).exits(0);
    run(&["deliver", "--once"]).exits(0).shows(&["delivered"]);
    assert_eq!(seen.lock().expect("no panic").len(), after_test, "no id is new");
    assert!(seen.lock().expect("no panic").values().any(|times| *times == 2));
    run(&["webhook", "rotate", "crm"]).exits(0).shows(&["whsec_"]);
    let listed = place.json(&["webhook", "list"]);
    assert_eq!(listed[0]["secrets"], 2);
    assert!(!listed.to_string().contains("whsec_"));
    run(&["mail", "preview", "invoice.issued", "--html"]).exits(0).shows(&["<table", "Total"]);
    run(&["mail", "preview", "no.kind"]).refused(1, &["invoice.issued"]);
    run(&["mail", "preview", "run.waiting"]).exits(0).shows(&["waits for approval"]);
    run(&["webhook", "remove", "crm"]).exits(0);
    run(&["webhook", "rotate", "crm"]).refused(1, &["no endpoint crm"]);
}
