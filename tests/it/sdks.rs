//! The SDKs in other languages against the real program: their own test suites, run with the
//! address and a key of a service started here. Nothing is built or installed.

#![cfg(test)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{Place, root};

const BOOK: &str = r#"
[book]
name = "sdks"
version = "1"
currency = "USD"
effective_from = "2026-01-01"

[[meter]]
key = "calls"
event_type = "call"
aggregation = "count"
unit = "calls"

[[meter]]
key = "tokens"
event_type = "answer"
aggregation = "sum"
value = "tokens"
unit = "tokens"

[[meter]]
key = "requests"
event_type = "api.request"
aggregation = "count"
unit = "requests"

[[plan]]
key = "basic"
interval = "month"

[plan.entitlements]
projects = 3

[[plan.quota]]
meter = "tokens"
hard = "10"
window = "monthly"

[[plan.quota]]
meter = "requests"
hard = "2"
window = "monthly"

[[plan.charge]]
key = "calls"
model = "per_unit"
meter = "calls"
unit_price = "0.01"
"#;

/// A service of the real program, stopped at the end.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

impl Service {
    /// Over a store with a price book and these customers.
    pub(crate) fn over(place: &Place, customers: &[&str]) -> Self {
        let book = place.file("sdks.toml", BOOK);
        place.ok(&["pricing", "publish", &book]);
        for customer in customers {
            place.customer(customer, "UTC");
            let subscription = format!("{customer}-sub");
            place.subscribe(&subscription, customer, ("sdks", "basic"), "2026-01-01");
        }
        let key = place.json(&["key", "create", "--name", "sdks", "--scope", "admin"]);
        let key = key["secret"].as_str().expect("a secret").to_owned();
        let file = place.path("address");
        let told = file.display().to_string();
        let child = place
            .command(&["serve", "--listen", "127.0.0.1:0", "--address-file", &told])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let address = loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if let Ok(address) = text.trim().parse() {
                break address;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, address, key }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a suite in its directory; fails with what it said.
fn passes(service: &Service, directory: &Path, command: &mut Command) {
    let output = command
        .current_dir(directory)
        .env("COUNTERFOIL_URL", format!("http://{}", service.address))
        .env("COUNTERFOIL_KEY", &service.key)
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test says what to install"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn the_typescript_sdk_passes_its_tests_against_the_program() {
    let place = Place::on_the_wall_clock();
    let service = Service::over(&place, &["js", "js-express", "js-fastify"]);
    let directory = root().join("sdks/typescript");
    passes(&service, &directory, Command::new("node").args(["--test", "test/"]));
}

#[test]
fn the_python_sdk_passes_its_tests_against_the_program() {
    let place = Place::on_the_wall_clock();
    let service = Service::over(&place, &["py", "py-asgi"]);
    let directory = root().join("sdks/python");
    let mut command = Command::new("python3");
    command.args(["-W", "error", "-m", "unittest", "discover", "-t", ".", "-s", "tests"]);
    // Leaves no compiled files in the checkout.
    command.env("PYTHONPATH", "src").env("PYTHONDONTWRITEBYTECODE", "1");
    passes(&service, &directory, &mut command);
}
