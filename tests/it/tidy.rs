//! The house rules a compiler does not check: which crate may use which, every guarantee named
//! by a test that exists, paired migrations, headers, no unfinished work, no wall clock.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Longest a source file may be, in lines.
const MAX_LINES: usize = 600;
/// Where source files live.
const SOURCE_DIRS: [&str; 3] = ["crates", "tests", "xtask"];

/// What a crate may use.
struct Rule {
    name: &'static str,
    /// Crates of the workspace it may depend on; `None`: all of them.
    uses: Option<&'static [&'static str]>,
    /// Other crates it must not depend on.
    never: &'static [&'static str],
}

const PURE: &[&str] = &["tokio", "sqlx", "rusqlite", "axum"];
const STAGES: &[&str] =
    &["types", "ledger", "metering", "rating", "catalog", "invoicing", "alerting", "documents"];
const STAGES_AND_STORE: &[&str] =
    &["types", "ledger", "metering", "rating", "catalog", "invoicing", "alerting", "store"];
const ENGINE: &[&str] = &[
    "types",
    "ledger",
    "metering",
    "rating",
    "catalog",
    "invoicing",
    "analytics",
    "alerting",
    "documents",
    "exports",
    "store",
];

/// The direction of dependencies. A new crate is written down here first.
const RULES: &[Rule] = &[
    Rule { name: "types", uses: Some(&[]), never: PURE },
    Rule { name: "ledger", uses: Some(&["types"]), never: PURE },
    Rule { name: "metering", uses: Some(&["types", "ledger"]), never: PURE },
    Rule { name: "rating", uses: Some(&["types"]), never: PURE },
    Rule { name: "catalog", uses: Some(&["types", "metering", "rating"]), never: PURE },
    Rule { name: "invoicing", uses: Some(&["types", "rating"]), never: PURE },
    Rule { name: "analytics", uses: Some(&["types"]), never: PURE },
    Rule { name: "alerting", uses: Some(&["types", "analytics"]), never: PURE },
    Rule { name: "documents", uses: Some(&["types", "rating", "invoicing"]), never: PURE },
    Rule { name: "exports", uses: Some(&["types"]), never: PURE },
    Rule { name: "store", uses: Some(STAGES), never: &["sqlx", "rusqlite", "axum"] },
    Rule { name: "store-sqlite", uses: Some(STAGES_AND_STORE), never: &["axum"] },
    Rule { name: "store-postgres", uses: Some(STAGES_AND_STORE), never: &["axum"] },
    Rule {
        name: "archive",
        uses: Some(STAGES_AND_STORE),
        never: &["tokio", "sqlx", "rusqlite", "axum"],
    },
    Rule {
        name: "delivery",
        uses: Some(&["types", "invoicing", "alerting", "store"]),
        never: &["sqlx", "rusqlite", "axum"],
    },
    Rule {
        name: "stripe",
        uses: Some(&["types", "invoicing", "store", "delivery"]),
        never: &["sqlx", "rusqlite", "axum"],
    },
    Rule { name: "engine", uses: Some(ENGINE), never: &["sqlx", "rusqlite", "axum"] },
    Rule {
        name: "api",
        uses: Some(&[
            "types",
            "ledger",
            "metering",
            "rating",
            "catalog",
            "invoicing",
            "alerting",
            "documents",
            "exports",
            "store",
            "engine",
            "delivery",
            "stripe",
        ]),
        never: &["sqlx", "rusqlite"],
    },
    // What users of the service put into their programs: nothing of the service itself.
    Rule { name: "client", uses: Some(&["types", "ledger"]), never: &["sqlx", "rusqlite"] },
    Rule { name: "cli", uses: None, never: &["sqlx", "rusqlite"] },
    Rule { name: "tests", uses: None, never: &["sqlx", "rusqlite"] },
    // Its benchmarks measure against a bare loop over the database.
    Rule { name: "xtask", uses: None, never: &["sqlx"] },
];

/// Promises that must stand in `docs/guarantees.md`.
const PROMISES: &[&str] = &[
    "L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8", "T1", "T2", "T3", "T4", "M1", "M2", "M3", "R1",
    "R2", "R3", "R4", "R5", "R6", "R7", "S1", "S2", "S3", "I1", "I2", "I3", "I4", "I5", "I6", "I7",
    "I8", "I9",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Path below the root, for messages.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)))
}

fn add_sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", shown(dir))) {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                add_sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            found.push((path, text));
        }
    }
}

/// Every source file of the repository with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for dir in SOURCE_DIRS {
        add_sources(&root().join(dir), &mut found);
    }
    found.sort();
    assert!(
        found.len() > 50,
        "only {} source files found: looking in the wrong place",
        found.len()
    );
    found
}

fn assert_none(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n  {}", offences.join("\n  "));
}

/// Lines of the given files that hold one of `needles`.
fn lines_with(files: &[(PathBuf, String)], needles: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for (path, text) in files {
        for (number, line) in (1..).zip(text.lines()) {
            if needles.iter().any(|needle| line.contains(needle)) {
                offences.push(format!("{}:{number}: {}", shown(path), line.trim()));
            }
        }
    }
    offences
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages").clone();
    assert!(packages.len() > 10, "only {} packages found", packages.len());
    packages
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text under {key:?} in the metadata"))
}

fn short(name: &str) -> &str {
    name.strip_prefix("counterfoil-").unwrap_or(name)
}

/// What is wrong with what one package uses. Tests may use anything: dependencies for
/// development are left out.
fn wrong_uses(package: &Value) -> Vec<String> {
    let name = short(text(package, "name"));
    let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
        return vec![format!("{name} is not in the table: say there what it may use")];
    };
    let mut offences = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        if dependency["kind"] == "dev" {
            continue;
        }
        let used = text(dependency, "name");
        let inside = !dependency["path"].is_null();
        if inside && rule.uses.is_some_and(|uses| !uses.contains(&short(used))) {
            offences.push(format!("{name} uses {used}, which lies beside or above it"));
        }
        if !inside && rule.never.contains(&used) {
            offences.push(format!("{name} uses {used}, which does not belong in its tier"));
        }
    }
    offences
}

/// Whether a manifest takes over the lints of the workspace.
fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[lints]" && line.replace(' ', "") == "workspace=true" {
            return true;
        }
    }
    false
}

#[test]
fn crates_depend_only_in_the_stated_direction() {
    let mut offences = Vec::new();
    for package in packages() {
        offences.extend(wrong_uses(&package));
        if !inherits_lints(&read(Path::new(text(&package, "manifest_path")))) {
            offences.push(format!("{} lacks `[lints] workspace = true`", text(&package, "name")));
        }
    }
    assert_none("the direction of dependencies", &offences);
}

/// Rows `| id | promise | tests |` of a table: id and names of tests, which stand in backticks
/// in the last column. Rows that start with no id (heading, rule) are passed over.
fn promise_rows(table: &str) -> Vec<(String, Vec<String>)> {
    let is_id = |id: &str| {
        let digits = id.trim_start_matches(|c: char| c.is_ascii_uppercase());
        !digits.is_empty() && digits.len() < id.len() && digits.chars().all(|c| c.is_ascii_digit())
    };
    let mut rows = Vec::new();
    for line in table.lines() {
        let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            continue;
        };
        let (Some((id, _)), Some((_, last))) = (row.split_once('|'), row.rsplit_once('|')) else {
            continue;
        };
        let id = id.trim().trim_matches(['*', '`']);
        if is_id(id) {
            let quoted = last.split('`').skip(1).step_by(2);
            let name = |path: &str| path.rsplit("::").next().unwrap_or(path).trim().to_owned();
            rows.push((id.to_owned(), quoted.map(name).collect()));
        }
    }
    rows
}

/// Whether an attribute, from `#[` on, marks a test: `#[test]`, `#[tokio::test(…)]`, ….
fn marks_a_test(attribute: &str) -> bool {
    let path = attribute.trim_start_matches("#[");
    let path = path.split(['(', ']', '=', ' ']).next().unwrap_or(path);
    path.rsplit("::").next() == Some("test")
}

/// Names of the functions in a source text that a test attribute stands before. A function in a
/// `proptest!` block is one by its attribute as well: without it, nothing runs it.
fn test_functions(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut is_test, mut open_brackets) = (false, 0_usize);
    for line in source.lines().map(str::trim) {
        let starts = open_brackets == 0 && line.starts_with("#[");
        if starts || open_brackets > 0 {
            is_test |= starts && marks_a_test(line);
            open_brackets += line.matches(['[', '(']).count();
            open_brackets = open_brackets.saturating_sub(line.matches([']', ')']).count());
            continue;
        }
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let declared = line.split_once("fn ").filter(|(before, _)| {
            before.split_whitespace().all(|word| matches!(word, "pub" | "async" | "pub(crate)"))
        });
        if let Some((_, rest)) = declared
            && is_test
        {
            let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
            names.insert(rest[..end].to_owned());
        }
        is_test = false;
    }
    names
}

#[test]
fn every_guarantee_names_an_existing_test() {
    let existing: BTreeSet<String> =
        sources().iter().flat_map(|(_, text)| test_functions(text)).collect();
    let rows = promise_rows(&read(&root().join("docs/guarantees.md")));
    let stated: BTreeSet<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let mut offences: Vec<String> = PROMISES
        .iter()
        .filter(|id| !stated.contains(**id))
        .map(|id| format!("{id} has no row"))
        .collect();
    for (id, names) in &rows {
        if names.is_empty() {
            offences.push(format!("{id} names no test"));
        }
        let missing = names.iter().filter(|name| !existing.contains(*name));
        offences.extend(missing.map(|name| format!("{id} names `{name}`, which is no test")));
    }
    assert_none("docs/guarantees.md", &offences);
}

#[test]
fn the_readers_of_tables_and_sources_see_what_they_should() {
    let table = "| id | promise | test |\n|---|---|---|\n\
                 | L1 | an `event` is kept | `a::kept`, `kept_too` |\n| **T10** | none | |\n";
    let rows = promise_rows(table);
    assert_eq!(rows[0], ("L1".to_owned(), vec!["kept".to_owned(), "kept_too".to_owned()]));
    assert_eq!(rows[1], ("T10".to_owned(), vec![]));
    assert_eq!(rows.len(), 2);

    let source = "#[test]\nfn plain() {}\nfn helper() {}\n\
                  #[tokio::test(\n    flavor = \"x\",\n)]\n// why\nasync fn wide() {}\n\
                  proptest! {\n    #[test]\n    fn any(x in 0..9) {}\n    fn unrun(x in 0..9) {}\n}\n\
                  #[cfg(test)]\nmod tests {}\n#[cfg(test)]\nfn hidden() {}\n";
    let names = test_functions(source);
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["any", "plain", "wide"]);

    assert!(inherits_lints("[package]\n[lints]\nworkspace = true\n"));
    assert!(!inherits_lints("[lints.rust]\nx = 1\n[package]\nworkspace = true\n"));
}

fn file_names(dir: &str) -> BTreeSet<String> {
    // A directory nobody has put a file in is not in the checkout.
    let entries = fs::read_dir(root().join(dir)).into_iter().flatten();
    entries
        .map(|entry| entry.expect("a directory entry").file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn migrations_are_paired_by_name() {
    let sqlite = file_names("migrations/sqlite");
    let postgres = file_names("migrations/postgres");
    assert!(!sqlite.is_empty(), "no migrations found under migrations/sqlite");
    let lone: Vec<String> = sqlite.symmetric_difference(&postgres).cloned().collect();
    assert_none("migrations that only one of sqlite and postgres has", &lone);

    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &sqlite {
        *versions.entry(name.split('_').next().unwrap_or(name)).or_default() += 1;
    }
    let twice = versions.iter().filter(|(_, count)| **count > 1);
    let twice: Vec<String> = twice.map(|(version, _)| (*version).to_owned()).collect();
    assert_none("numbers of migrations that stand twice", &twice);
}

#[test]
fn every_source_file_says_what_lives_there() {
    let mut offences = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            offences.push(format!("{} does not start with `//!`", shown(&path)));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            offences.push(format!("{} has {lines} lines, more than {MAX_LINES}", shown(&path)));
        }
    }
    assert_none("source files", &offences);
}

#[test]
fn no_unfinished_marks() {
    // Put together from halves, or this file would hold what it looks for.
    let needles = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("#[ign", "ore"),
    ];
    assert_none("unfinished or switched off", &lines_with(&sources(), &needles));
}

/// The engine holds the store against its anchor where it commits; nobody goes around it.
#[test]
fn the_engine_commits_through_one_door() {
    let engine = root().join("crates/engine/src");
    let door = engine.join("recovery.rs");
    let others =
        sources().into_iter().filter(|(path, _)| path.starts_with(&engine) && *path != door);
    let others: Vec<(PathBuf, String)> = others.collect();
    assert!(others.len() > 30, "looking in the wrong place");
    let around = lines_with(&others, &["store.commit(", "store().commit("]);
    assert_none("commits that go around `Engine::commit`", &around);
}

#[test]
fn no_wall_clock_below_the_composition_root() {
    let needles = [
        "Timestamp::now",
        "Zoned::now",
        "SystemTime::now",
        "Instant::now",
        "Uuid::new_v4",
        "Uuid::now_v7",
    ];
    let (crates, root_of_composition) = (root().join("crates"), root().join("crates/cli"));
    let mut below = sources();
    // An SDK is put together by its user; this is where its defaults come from.
    let sdk_defaults = root().join("crates/client/src/system.rs");
    below.retain(|(path, _)| path.starts_with(&crates) && !path.starts_with(&root_of_composition));
    below.retain(|(path, _)| *path != sdk_defaults);
    assert!(!below.is_empty());
    assert_none("time and randomness are passed in", &lines_with(&below, &needles));
}
