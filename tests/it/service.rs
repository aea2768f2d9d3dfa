//! The service as it is run: a real process on a real port, killed, told to stop, told to read its
//! price books again.

#![cfg(test)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::Place;

/// A service of this place; killed when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: String,
    pub(crate) key: String,
}

impl Service {
    /// Starts one; `also` are further settings and arguments.
    pub(crate) fn start(place: &Place, url: Option<&str>, also: &[&str]) -> Self {
        let url = url.map(|url| ("DATABASE_URL", url));
        Self::start_in(place, url.as_slice(), also)
    }

    /// Starts one with these variables set.
    pub(crate) fn start_in(place: &Place, settings: &[(&str, &str)], also: &[&str]) -> Self {
        let with = |mut command: Command| {
            command.envs(settings.iter().copied());
            command
        };
        let args = ["key", "create", "--name", "test", "--scope", "admin", "--json"];
        let made = crate::harness::finish(&mut with(place.command(&args))).exits(0).json();
        let file: PathBuf = place.path("address");
        // What an earlier one wrote there is not ours.
        let _ = fs::remove_file(&file);
        let named = file.display().to_string();
        let args = [&["serve", "--listen", "127.0.0.1:0", "--address-file", named.as_str()], also]
            .concat();
        let mut command = with(place.command(&args));
        let child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program runs");
        let mut service = Self {
            child,
            address: String::new(),
            key: made["secret"].as_str().unwrap().to_owned(),
        };
        for _ in 0..600 {
            if let Ok(address) = fs::read_to_string(&file)
                && address.contains(':')
            {
                service.address = address;
                return service;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the service does not listen");
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let done = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(done.expect("kill runs").success());
    }

    /// Waits for its end: exit code and what it printed.
    pub(crate) fn ends(&mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut text).expect("output");
        }
        (self.child.wait().expect("it ends").code(), text)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        ask(&self.address, &self.key, method, path, body).expect("an answer")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own; `None` when there is no whole answer.
pub(crate) fn ask(
    address: &str,
    key: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    let mut socket = TcpStream::connect(address).ok()?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

fn event(id: &str) -> Value {
    json!({"id": id, "source": "svc", "customer": "acme", "type": "call"})
}

fn killed_and_started_again(place: &Place, url: Option<&str>) {
    let service = Service::start(place, url, &[]);
    let over = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (address, key) = (service.address.clone(), service.key.clone());
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let (mut acknowledged, mut unsure) = (Vec::new(), Vec::new());
                for number in 0..100_000 {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("e{sender}-{number}");
                    match ask(&address, &key, "POST", "/v1/events", Some(&event(&id))) {
                        Some((201, _)) => acknowledged.push(id),
                        _ => unsure.push(id),
                    }
                    if unsure.len() > 20 {
                        break;
                    }
                }
                (acknowledged, unsure)
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(900));
    service.signal("KILL");
    thread::sleep(Duration::from_millis(100));
    over.store(true, Ordering::SeqCst);
    let (mut acknowledged, mut unsure) = (Vec::new(), Vec::new());
    for sender in senders {
        let (sure, maybe) = sender.join().expect("a sender");
        acknowledged.extend(sure);
        unsure.extend(maybe);
    }
    assert!(acknowledged.len() > 5, "only {} were acknowledged", acknowledged.len());
    drop(service);
    let mut again = Service::start(place, url, &[]);
    for id in &acknowledged {
        let (status, answer) = again.ask("POST", "/v1/events", Some(&event(id)));
        assert_eq!((status, &answer["receipts"][0]["status"]), (200, &json!("duplicate")), "{id}");
    }
    for id in &unsure {
        let (status, answer) = again.ask("POST", "/v1/events", Some(&event(id)));
        assert!(matches!(status, 200 | 201), "{id}: {answer}");
    }
    let (_, system) = again.ask("GET", "/v1/system", None);
    assert_eq!(system["events"], json!(acknowledged.len() + unsure.len()));
    again.signal("TERM");
    let (code, text) = again.ends();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("stopped"));
}

#[test]
fn a_killed_service_keeps_what_it_acknowledged() {
    killed_and_started_again(&Place::on_the_wall_clock(), None);
}

#[test]
fn a_killed_service_on_postgres_keeps_what_it_acknowledged() {
    let url = crate::on_postgres::database();
    killed_and_started_again(&Place::on_the_wall_clock(), Some(&url));
}

#[test]
fn price_books_are_read_again_when_told_and_a_wrong_one_changes_nothing() {
    let place = Place::on_the_wall_clock();
    let directory = place.path("books");
    fs::create_dir(&directory).expect("a directory");
    let book = fs::read_to_string(crate::harness::root().join("pricing/metering-engine.toml"))
        .expect("a shipped book");
    fs::write(directory.join("one.toml"), &book).expect("a file");
    let named = directory.display().to_string();
    let service = Service::start(&place, None, &["--pricing", named.as_str()]);
    let versions = || {
        let (_, list) = service.ask("GET", "/v1/books", None);
        list["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(versions(), 1);
    fs::write(directory.join("wrong.toml"), "[book]\nname = 1").expect("a file");
    service.signal("HUP");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(versions(), 1);
    fs::remove_file(directory.join("wrong.toml")).expect("a file");
    let next = book.replacen("2026-01", "2027-01", 1).replacen("2026-01-01", "2027-01-01", 1);
    fs::write(directory.join("two.toml"), next).expect("a file");
    service.signal("HUP");
    for _ in 0..200 {
        if versions() == 2 {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the new version was not published");
}
