//! Stores that cannot be used: read-only, locked, full, from a newer program, no database at all.
//! Each is a clear error, and the store is as good as before once the cause is gone.

#![cfg(test)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{Outcome, Place, binary, finish, on_the_store, receipts};

const NOW: &str = "2026-11-02T09:00:00Z";

fn events(count: u32) -> String {
    (0..count)
        .map(|n| {
            format!(
                "{{\"id\":\"e{n}\",\"source\":\"s\",\"customer\":\"acme\",\"type\":\"api.call\",\"time\":\"2026-10-20T00:00:00Z\"}}\n"
            )
        })
        .collect()
}

/// A command that would write into this data directory.
fn write_into(place: &Place, directory: &Path) -> Outcome {
    let args = ["customer", "add", "acme", "--name", "Acme", "--currency", "USD"];
    finish(place.command(&args).env("COUNTERFOIL_DATA_DIR", directory))
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let place = Place::at(NOW);
    let file = place.file("plain", "a file");
    write_into(&place, &place.path("plain/data")).refused(1, &["plain/data"]);
    write_into(&place, file.as_ref()).refused(1, &["plain"]);
    assert_eq!(fs::read_to_string(file).expect("the file"), "a file");

    fs::create_dir_all(place.path("odd/counterfoil.db")).expect("a directory");
    write_into(&place, &place.path("odd")).refused(1, &["odd/counterfoil.db"]);
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let place = Place::at(NOW);
    fs::create_dir(place.data()).expect("a directory");
    let text = "not a database, but somebody's text, and long enough to have a header. ".repeat(90);
    fs::write(place.database(), &text).expect("a file");
    place.run(&["doctor"]).refused(1, &["not a database"]);
    assert_eq!(fs::read_to_string(place.database()).expect("the file"), text);
}

/// Whether the permissions of files bind this user.
fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id runs");
    output.stdout.starts_with(b"0\n")
}

#[test]
fn a_read_only_directory_is_refused_and_unharmed() {
    let place = Place::at(NOW);
    place.customer("before", "UTC");
    let allow = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    };
    let args = ["customer", "add", "acme", "--name", "Acme", "--currency", "USD"];
    let mut command = place.command(&args);
    if is_root() {
        // Permissions do not bind root: the program runs as nobody, from where nobody may look.
        let copy = place.path("counterfoil");
        fs::copy(binary(), &copy).expect("a copy");
        allow(&copy, 0o755);
        allow(&place.path(""), 0o755);
        let mut as_nobody = Command::new("setpriv");
        as_nobody.args(["--reuid=65534", "--clear-groups"]).arg(&copy).args(args);
        as_nobody.env_clear().env("COUNTERFOIL_DATA_DIR", place.data()).current_dir("/");
        if !Command::new("setpriv").arg("--version").output().is_ok_and(|out| out.status.success())
        {
            eprintln!("skipped: root without setpriv cannot feel permissions");
            return;
        }
        command = as_nobody;
    }
    allow(&place.database(), 0o444);
    allow(&place.data(), 0o555);
    finish(&mut command).refused(1, &["cannot be written", "permissions of the data directory"]);
    allow(&place.data(), 0o755);
    allow(&place.database(), 0o644);
    place.ok(&["customer", "list"]).shows(&["before"]);
    place.assert_sound();
}

#[test]
fn a_database_locked_by_another_process_says_so() {
    let place = Place::at(NOW);
    place.ok(&["doctor"]);
    let file = place.file("events.jsonl", events(10));
    on_the_store(&place.database(), async |store| {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *store).await.expect("the lock");
        place.run(&["ingest", &file]).refused(1, &["locked by another process"]);
        sqlx::query("ROLLBACK").execute(&mut *store).await.expect("the lock is given back");
    });
    assert_eq!(place.events(), 0);
    assert_eq!(receipts(&place.json(&["ingest", &file])), [10, 0, 0, 0]);
    place.assert_sound();
}

#[test]
fn two_processes_that_append_at_once_wait_for_each_other() {
    let place = Place::at(NOW);
    let file = place.file("events.jsonl", events(20_000));
    place.ok(&["doctor"]);
    let mut children = Vec::new();
    for _ in 0..3 {
        let mut command = place.command(&["ingest", &file, "--json", "--batch", "500"]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        children.push(command.spawn().expect("the program runs"));
    }
    let mut sum = [0; 4];
    for child in children {
        let output = child.wait_with_output().expect("the program ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report = serde_json::from_slice(&output.stdout).expect("JSON");
        for (sum, count) in sum.iter_mut().zip(receipts(&report)) {
            *sum += count;
        }
    }
    assert_eq!(sum, [20_000, 40_000, 0, 0], "each event is inserted by exactly one of them");
    assert_eq!(place.events(), 20_000);
    place.assert_sound();
}

#[test]
fn a_store_of_a_newer_program_is_not_touched() {
    let place = Place::at(NOW);
    let file = place.file("events.jsonl", events(10));
    place.ok(&["ingest", &file]);
    on_the_store(&place.database(), async |store| {
        let sql = "INSERT INTO _sqlx_migrations \
                   (version, description, success, checksum, execution_time) \
                   VALUES (9999, 'from the future', 1, x'00', 0)";
        sqlx::query(sql).execute(store).await.expect("a row");
    });
    for command in [&["ingest", &file][..], &["doctor"], &["verify"], &["quickstart"]] {
        place.run(command).refused(1, &["9999", "use a newer counterfoil"]);
    }
    on_the_store(&place.database(), async |store| {
        let sql = "DELETE FROM _sqlx_migrations WHERE version = 9999";
        sqlx::query(sql).execute(store).await.expect("a row");
    });
    assert_eq!(place.events(), 10);
    place.assert_sound();
}

/// A small file system of its own, which only root can have.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        fs::create_dir_all(path).expect("a directory");
        Self::tell(&["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs"], path).then_some(Self(path))
    }

    fn grow(&self) {
        assert!(Self::tell(&["mount", "-o", "remount,size=60m"], self.0), "the disk grows");
    }

    fn tell(words: &[&str], path: &Path) -> bool {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(path).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        Self::tell(&["umount"], self.0);
    }
}

#[test]
fn a_full_disk_stops_between_batches_and_the_rest_follows() {
    let place = Place::at(NOW);
    let data = place.data();
    let Some(disk) = SmallDisk::mount(&data) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let file = place.file("events.jsonl", events(30_000));
    place.run(&["ingest", &file, "--batch", "1000"]).refused(1, &["full", "Free disk space"]);
    disk.grow();
    let stored = place.events();
    assert!(0 < stored && stored < 30_000, "{stored} events found room");
    assert_eq!(stored % 1_000, 0, "a batch is stored or it is not");
    place.assert_sound();
    let report = place.json(&["ingest", &file]);
    assert_eq!(receipts(&report), [30_000 - stored, stored, 0, 0]);
    place.assert_sound();
}

#[test]
fn output_that_finds_no_room_is_an_error() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: there is no /dev/full");
        return;
    }
    let place = Place::at(NOW);
    let mut command = place.command(&["doctor"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut child = command.stdout(full).stderr(Stdio::piped()).spawn().expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

#[test]
fn the_clock_is_set_in_test_mode_only() {
    let place = Place::on_the_wall_clock();
    let now = ["doctor", "--now", NOW];
    place.run(&now).refused(1, &["--now", "test mode"]);
    finish(place.command(&["doctor"]).env("COUNTERFOIL_NOW", NOW)).refused(1, &["test mode"]);
    place.ok(&[&now[..], &["--test-mode"]].concat()).shows(&["stands at 2026-11-02T09:00:00Z"]);
    place.run(&["doctor", "--test-mode", "--now", "tomorrow"]).refused(2, &["tomorrow"]);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let place = Place::at(NOW);
    place.run(&["doctor", "--lanes", "0"]).refused(1, &["lanes", "0"]);
    place.run(&["doctor", "--lanes", "65"]).refused(1, &["lanes", "65"]);
    place.run(&["doctor", "--tenant", "a/b"]).refused(2, &["a/b"]);
    place.run(&["doctor", "--config", "nowhere.toml"]).refused(1, &["nowhere.toml"]);
    let secrets = [
        ("mysql://user:s3cret@host/db", ["sqlite:PATH", "postgres://"]),
        ("postgres://user:s3cret@127.0.0.1:1/db", ["127.0.0.1:1/db", "not available"]),
    ];
    for (url, words) in secrets {
        let outcome = place.run(&["doctor", "--database-url", url]);
        assert!(!outcome.stderr.contains("s3cret"), "a password in a message");
        outcome.refused(1, &words);
    }
    place.file("counterfoil.toml", "tenannt = 'x'\n");
    place.run(&["doctor"]).refused(1, &["counterfoil.toml", "tenannt"]);
    place.file("counterfoil.toml", "");
    assert!(!place.data().exists(), "nothing was made on the way");
}
