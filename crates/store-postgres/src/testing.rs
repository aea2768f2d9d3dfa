//! A PostgreSQL server of one's own, for tests and benchmarks: own data directory, free port on
//! loopback, as user `postgres` when started by root. A watchdog stops it by its pid and removes
//! its directory when the program that started it ends, however that happens.
//!
//! `COUNTERFOIL_TEST_POSTGRES_URL` names a server that runs already, with the right to create
//! databases; tests that kill a server start their own all the same.

pub mod bare;
mod standby;

use std::{
    ffi::OsStr,
    fmt, fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{PostgresOptions, PostgresStore};

const ENV: &str = "COUNTERFOIL_TEST_POSTGRES_URL";
const TEMPLATE: &str = "counterfoil_template";
const PAUSE: Duration = Duration::from_millis(50);
/// Half a minute.
const PAUSES: u32 = 600;

/// Why there is no server, in words.
#[derive(Clone, Debug)]
pub struct NoServer(String);

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoServer {}

fn failed(what: &str, why: impl fmt::Display) -> NoServer {
    NoServer(format!("{what}: {why}"))
}

/// What the server must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Its own crash: nothing is forced to the disk, which is quick.
    Lazy,
    /// A power cut: as in production.
    Durable,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// `postgres://user@host:port`, without database.
    base: String,
    own: Option<Own>,
}

/// A server that we started.
#[derive(Debug)]
struct Own {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
    process: Child,
    /// Ends when its standard input closes, which it does when this program ends.
    _watchdog: Child,
}

/// The server all tests of this program share, started when it is first asked for.
///
/// # Errors
/// When there is none and none can be started; the text says what to install.
pub fn shared() -> Result<&'static Server, NoServer> {
    static SERVER: OnceLock<Result<Server, NoServer>> = OnceLock::new();
    SERVER.get_or_init(start_shared).as_ref().map_err(Clone::clone)
}

fn start_shared() -> Result<Server, NoServer> {
    if let Some(url) = std::env::var(ENV).ok().filter(|url| !url.is_empty()) {
        // What stands behind the host is a database; each test has its own.
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
        let base = url.get(..end).unwrap_or_default().to_owned();
        return Ok(Server { base, own: None });
    }
    let server = Server::start(Disk::Lazy, &[])?;
    // On a thread of its own, because tests run inside a runtime already.
    let made = thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| failed("runtime", error))?;
                runtime.block_on(server.make_template())
            })
            .join()
    });
    made.unwrap_or_else(|_| Err(NoServer("making the template panicked".to_owned())))?;
    Ok(server)
}

impl Server {
    /// Starts a server of its own with these settings (`name=value`).
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start(disk: Disk, settings: &[&str]) -> Result<Self, NoServer> {
        let binaries = binaries()?;
        let directory = tempfile::Builder::new()
            .prefix("counterfoil-pg-")
            .tempdir()
            .map_err(|error| failed("temporary directory", error))?
            .keep();
        let watchdog = watch(&directory)?;
        hand_over(&directory)?;
        let data = directory.join("data");
        let output = as_server(binaries.join("initdb"))?
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .current_dir(&directory)
            .output()
            .map_err(|error| failed("initdb", error))?;
        if !output.status.success() {
            return Err(failed("initdb", String::from_utf8_lossy(&output.stderr)));
        }
        let mut all: Vec<String> = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "max_connections=300".to_owned(),
        ];
        if disk == Disk::Lazy {
            all.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
        }
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        // Another program may take the port between choosing and using it.
        let mut last = NoServer("no port is free".to_owned());
        for _ in 0..5 {
            let port = free_port()?;
            match launch(&binaries, &directory, port, &all) {
                Ok(process) => {
                    let base = format!("postgres://postgres@127.0.0.1:{port}");
                    let (settings, _watchdog) = (all, watchdog);
                    let own = Own { binaries, directory, port, settings, process, _watchdog };
                    return Ok(Self { base, own: Some(own) });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.base)
    }

    /// The port, of a server of one's own.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.own.as_ref().map(|own| own.port)
    }

    /// Creates an empty database and returns its URL.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn empty_database(&self) -> Result<String, NoServer> {
        let name = fresh_name();
        self.admin(format!("CREATE DATABASE {name}")).await?;
        Ok(self.url(&name))
    }

    /// Creates a database with the schema and returns its URL.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn database(&self) -> Result<String, NoServer> {
        if self.own.is_none() {
            return self.empty_database().await;
        }
        let name = fresh_name();
        self.admin(format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await?;
        Ok(self.url(&name))
    }

    /// Removes a database that was made here, whoever is still connected to it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_database(&self, url: &str) -> Result<(), NoServer> {
        let name = url.rsplit('/').next().unwrap_or_default();
        self.admin(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
    }

    /// Writes out what earlier work left to be written, so that the next is not charged for it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn settle(&self) -> Result<(), NoServer> {
        self.admin("CHECKPOINT".to_owned()).await
    }

    async fn admin(&self, sql: String) -> Result<(), NoServer> {
        let fail = |error: sqlx::Error| failed(&sql, error);
        let mut connection = PgConnection::connect(&self.url("postgres")).await.map_err(fail)?;
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut connection).await.map_err(fail)?;
        connection.close().await.map_err(fail)
    }

    /// The database others are copied from. Its own order of text is a language's, as it is in
    /// many installations; what needs the order of bytes must say so itself.
    async fn make_template(&self) -> Result<(), NoServer> {
        let icu = format!(
            "CREATE DATABASE {TEMPLATE} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        );
        if self.admin(icu).await.is_err() {
            self.admin(format!("CREATE DATABASE {TEMPLATE}")).await?;
        }
        let store = PostgresStore::connect(&self.url(TEMPLATE), PostgresOptions::default())
            .await
            .map_err(|error| failed("template", error))?;
        store.close().await;
        Ok(())
    }

    /// Kills the server as `kill -9` does: no shutdown, no goodbye to its clients.
    ///
    /// # Errors
    /// When it is not a server of one's own, or does not run.
    pub fn kill(&mut self) -> Result<(), NoServer> {
        let own = self.own.as_mut().ok_or_else(not_ours)?;
        let pid = pid(&own.directory)?;
        let done = Command::new("kill").args(["-9", &pid]).status();
        match done {
            Ok(status) if status.success() => {}
            other => return Err(failed("kill", format!("{other:?}"))),
        }
        own.process.wait().map_err(|error| failed("wait", error))?;
        Ok(())
    }

    /// Starts a server again that was killed.
    ///
    /// # Errors
    /// When it does not recover.
    pub fn restart(&mut self) -> Result<(), NoServer> {
        let own = self.own.as_mut().ok_or_else(not_ours)?;
        let mut last = not_ours();
        // The processes of the killed server hold its memory until they notice.
        for _ in 0..PAUSES {
            match launch(&own.binaries, &own.directory, own.port, &own.settings) {
                Ok(process) => {
                    own.process = process;
                    return Ok(());
                }
                Err(error) => last = error,
            }
            thread::sleep(PAUSE);
        }
        Err(last)
    }
}

fn not_ours() -> NoServer {
    NoServer("only a server of one's own can be killed".to_owned())
}

/// A name no other test uses on a shared server.
fn fresh_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("counterfoil_{}_{number}", std::process::id())
}

/// Where PostgreSQL's programs lie: beside the `postgres` of the search path, or where packages
/// put them; the newest.
fn binaries() -> Result<PathBuf, NoServer> {
    let mut places: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let linked = places.iter().filter_map(|dir| fs::canonicalize(dir.join("postgres")).ok());
    let mut linked: Vec<PathBuf> =
        linked.filter_map(|file| file.parent().map(Path::to_path_buf)).collect();
    places.append(&mut linked);
    let mut packaged: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_str().and_then(|name| name.parse().ok());
        packaged.extend(version.map(|version| (version, entry.path().join("bin"))));
    }
    packaged.sort();
    places.extend(packaged.into_iter().rev().map(|(_, place)| place));
    places
        .into_iter()
        .find(|place| place.join("initdb").exists() && place.join("postgres").exists())
        .ok_or_else(|| {
            NoServer(format!(
                "PostgreSQL is not installed, and these tests need a server: install it ('apt-get install postgresql' on Debian and Ubuntu, 'dnf install postgresql-server' on Fedora, 'brew install postgresql' on macOS), or name one in {ENV} (postgres://USER@HOST:PORT, with the right to create databases)"
            ))
        })
}

/// A number that `id` tells.
fn id(args: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(args).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The user and group that run the server, if that is not this program's: root hands it to
/// `postgres`, which PostgreSQL's packages create.
fn server_user() -> Result<Option<(u32, u32)>, NoServer> {
    if id(&["-u"]) != Some(0) {
        return Ok(None);
    }
    match (id(&["-u", "postgres"]), id(&["-g", "postgres"])) {
        (Some(user), Some(group)) => Ok(Some((user, group))),
        _ => Err(NoServer(
            "PostgreSQL does not run as root, and there is no user postgres: run the tests as another user, or 'useradd --system postgres'".to_owned(),
        )),
    }
}

/// A command as the user that runs the server.
fn as_server(program: impl AsRef<OsStr>) -> Result<Command, NoServer> {
    let mut command = Command::new(program);
    // A signal from the terminal is for the tests; the watchdog ends the server.
    command.stdin(Stdio::null()).process_group(0).env("LC_ALL", "C");
    if let Some((user, group)) = server_user()? {
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// Gives the directory to the user that runs the server.
fn hand_over(directory: &Path) -> Result<(), NoServer> {
    let Some((user, group)) = server_user()? else { return Ok(()) };
    std::os::unix::fs::chown(directory, Some(user), Some(group))
        .map_err(|error| failed("handing the directory over", error))
}

/// Stops the server and removes its directory when our end of its standard input is closed.
fn watch(directory: &Path) -> Result<Child, NoServer> {
    const SCRIPT: &str = r#"
        cat > /dev/null
        pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null)
        if [ -n "$pid" ]; then
            kill -INT "$pid" 2> /dev/null
            tries=0
            while kill -0 "$pid" 2> /dev/null && [ $tries -lt 100 ]; do
                sleep 0.1
                tries=$((tries + 1))
            done
            kill -QUIT "$pid" 2> /dev/null
        fi
        rm -rf "$1"
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "watchdog"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| failed("watchdog", error))
}

fn free_port() -> Result<u16, NoServer> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed("port", error))?;
    Ok(listener.local_addr().map_err(|error| failed("port", error))?.port())
}

fn pid(directory: &Path) -> Result<String, NoServer> {
    let file = fs::read_to_string(directory.join("data/postmaster.pid"))
        .map_err(|error| failed("the server does not run", error))?;
    Ok(file.lines().next().unwrap_or_default().to_owned())
}

/// Starts the server and waits until it takes connections.
fn launch(
    binaries: &Path,
    directory: &Path,
    port: u16,
    settings: &[String],
) -> Result<Child, NoServer> {
    let log = directory.join("log");
    let output = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(|error| failed("log", error))?;
    let errors = output.try_clone().map_err(|error| failed("log", error))?;
    let mut command = as_server(binaries.join("postgres"))?;
    command.arg("-D").arg(directory.join("data")).args(["-p", &port.to_string()]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    let mut process = command
        .current_dir(directory)
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|error| failed("postgres", error))?;
    let own = |process: &Child| process.id().to_string();
    for _ in 0..PAUSES {
        if let Ok(Some(status)) = process.try_wait() {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            return Err(failed("postgres ended", format!("{status}: {}", tail.join(" | "))));
        }
        let state = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = state.lines();
        // A file that the killed server left behind names another process.
        if lines.next() == Some(own(&process).as_str())
            && lines.nth(6).is_some_and(|state| state.trim() == "ready")
        {
            return Ok(process);
        }
        thread::sleep(PAUSE);
    }
    let _ = process.kill();
    Err(NoServer("postgres did not become ready".to_owned()))
}
