//! What the tests of the program share: finding and building the binary, a place of its own for
//! each test (data directory, clock, no settings from outside), and reading what came out.

#![cfg(test)]

use std::{
    ffi::OsStr,
    fmt::Debug,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use sqlx::Connection;
use tempfile::TempDir;

/// Settings of the program that could come from outside.
const SETTINGS: [&str; 11] = [
    "COUNTERFOIL_CONFIG",
    "COUNTERFOIL_DATA_DIR",
    "COUNTERFOIL_LANES",
    "COUNTERFOIL_LOG",
    "COUNTERFOIL_NOW",
    "COUNTERFOIL_TENANT",
    "COUNTERFOIL_TEST_MODE",
    "DATABASE_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "RUST_LOG",
    "USER",
];

/// Root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The program. Cargo builds it in the profile of the tests, once per process; when nothing has
/// changed that is quick, and cargo's own lock keeps several processes apart.
/// `COUNTERFOIL_TEST_BIN` names another one, for example a release.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("COUNTERFOIL_TEST_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    // …/target/<profile>/deps/it-<hash>
    let here = std::env::current_exe().expect("this test has a path");
    let profile = here.parent().and_then(Path::parent).and_then(Path::file_name);
    let profile = match profile.and_then(OsStr::to_str) {
        None | Some("debug") => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "-p",
            "counterfoil-cli",
            "--bin",
            "counterfoil",
            "--features",
            "full",
        ])
        .args(["--profile", profile, "--message-format", "json"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    executable.expect("cargo names the program it has built")
}

/// What a command left behind.
pub(crate) struct Outcome {
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    what: String,
}

impl Outcome {
    fn of(what: String, output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
            what,
        }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        let Self { what, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "{what}\n--- out\n{stdout}\n--- err\n{stderr}");
        self
    }

    /// Asserts that the command failed with this code, printed nothing as a result, and named all
    /// of `words` in its message.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        let what = self.what.clone();
        let Self { stdout, stderr, .. } = self.exits(code);
        for word in words {
            assert!(stderr.contains(word), "{what}: the message lacks {word:?}:\n{stderr}");
        }
        assert!(stdout.is_empty(), "{what}: a result beside an error:\n{stdout}");
        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    }

    /// Asserts that the output holds all of `words`.
    #[track_caller]
    pub(crate) fn shows(self, words: &[&str]) -> Self {
        for word in words {
            let Self { what, stdout, .. } = &self;
            assert!(stdout.contains(word), "{what}: the output lacks {word:?}:\n{stdout}");
        }
        self
    }

    /// The output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}:\n{}", self.what, self.stdout))
    }
}

/// A place of its own: files, a data directory, a clock that stands still.
pub(crate) struct Place {
    dir: TempDir,
    now: Option<&'static str>,
}

impl Place {
    /// A place whose clock stands at this instant.
    pub(crate) fn at(now: &'static str) -> Self {
        Self { now: Some(now), ..Self::on_the_wall_clock() }
    }

    /// A place with the system's clock.
    pub(crate) fn on_the_wall_clock() -> Self {
        Self { dir: TempDir::new().expect("a temporary directory"), now: None }
    }

    /// A path in this place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The file of the embedded store.
    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("counterfoil.db")
    }

    /// Writes a file and gives its path as text.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.display().to_string()
    }

    /// A command in this place, with the data directory and clock given as settings.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = self.bare_command(args);
        command.env("COUNTERFOIL_DATA_DIR", self.data());
        if let Some(now) = self.now {
            command.env("COUNTERFOIL_TEST_MODE", "true").env("COUNTERFOIL_NOW", now);
        }
        command
    }

    /// A command in this place without any settings.
    pub(crate) fn bare_command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(binary());
        for name in SETTINGS {
            command.env_remove(name);
        }
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<S: AsRef<OsStr> + Debug>(&self, args: &[S]) -> Outcome {
        finish(&mut self.command(args))
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr> + Debug>(&self, args: &[S]) -> Outcome {
        self.run(args).exits(0)
    }

    /// Runs a command that must succeed, for its JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.ok(&[args, &["--json"]].concat()).json()
    }

    /// Runs a command with this text on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Outcome {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        child.stdin.take().expect("a pipe").write_all(input).expect("input is read");
        Outcome::of(format!("{args:?}"), child.wait_with_output().expect("the program ends"))
    }

    /// Events in the ledger of the tenant, as `doctor` counts them.
    pub(crate) fn events(&self) -> u64 {
        let facts = self.json(&["doctor"]);
        facts["facts"]["events"].as_str().and_then(|count| count.parse().ok()).expect("a count")
    }

    /// Asserts that ledger, aggregates, invoices and numbers agree.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let report = self.run(&["verify", "--json"]).exits(0).json();
        assert_eq!(report["problems"], serde_json::json!([]));
        let report = self.run(&["rebuild", "--check", "--json"]).exits(0).json();
        assert_eq!(report["difference_count"], 0);
    }

    /// One number straight out of the store's file.
    pub(crate) fn count(&self, sql: &'static str) -> i64 {
        let path = self.database();
        on_the_store(&path, async move |store| {
            sqlx::query_scalar(sql).fetch_one(store).await.expect("a number")
        })
    }

    /// Publishes shipped price books.
    pub(crate) fn publish(&self, books: &[&str]) {
        for book in books {
            let file = root().join("pricing").join(format!("{book}.toml"));
            self.ok(&["pricing".as_ref(), "publish".as_ref(), file.as_os_str()]);
        }
    }

    /// Adds a customer billed in dollars.
    pub(crate) fn customer(&self, id: &str, zone: &str) {
        self.ok(&["customer", "add", id, "--name", id, "--currency", "USD", "--zone", zone]);
    }

    /// Starts a subscription.
    pub(crate) fn subscribe(&self, id: &str, customer: &str, plan: (&str, &str), start: &str) {
        self.ok(&[
            "subscription",
            "start",
            id,
            "--customer",
            customer,
            "--book",
            plan.0,
            "--plan",
            plan.1,
            "--start",
            start,
        ]);
    }
}

/// Opens the store's file as any other program could, and does something with it.
pub(crate) fn on_the_store<T>(
    path: &Path,
    work: impl AsyncFnOnce(&mut sqlx::SqliteConnection) -> T,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut store =
            sqlx::SqliteConnection::connect_with(&options).await.expect("the store opens");
        let done = work(&mut store).await;
        store.close().await.expect("the store closes");
        done
    })
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Outcome {
    let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
    Outcome::of(what, command.output().expect("the program runs"))
}

/// Receipts of the only file of an `ingest --json`: inserted, duplicate, conflict, rejected.
pub(crate) fn receipts(report: &Value) -> [u64; 4] {
    let of = |name: &str| report[0][name].as_u64().unwrap_or_else(|| panic!("{name} in {report}"));
    [of("inserted"), of("duplicate"), of("conflict"), of("rejected")]
}

/// The refused lines in a file of rejects.
pub(crate) fn rejects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).expect("a reject is JSON")).collect()
}

/// Random numbers from a seed (SplitMix64), for tests that must be repeatable.
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each `number`. `COUNTERFOIL_TEST_SEED` gives other sequences.
    pub(crate) fn sequence(number: u64) -> Self {
        let seed = std::env::var("COUNTERFOIL_TEST_SEED").ok();
        let seed: u64 = seed.map_or(0, |seed| seed.parse().expect("a seed is a number"));
        Self(number.wrapping_add(seed.wrapping_mul(1_000)))
    }

    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
