//! Whatever is changed behind the program's back is found, and its place named.

use counterfoil_types::Timestamp;
use sqlx::SqliteConnection;

use crate::world::{With, World, at, event, shipped};

/// A billed month of two customers, all whole.
async fn billed() -> World {
    let world = World::new(1).await;
    world.engine.publish(&shipped("metering-engine.toml")).await.unwrap();
    world.engine.publish(&shipped("saas-plans.toml")).await.unwrap();
    for name in ["ann", "bob"] {
        world.customer(name, "UTC", None).await;
        world.subscribe(name, "metering-engine", "payg", "2026-10-01").await;
    }
    world.customer("cat", "UTC", None).await;
    world.subscribe("cat", "saas-plans", "pro", "2026-10-01").await;
    world.set_clock("2026-10-31T00:00:00Z");
    let noon = at("2026-10-20T12:30:00Z");
    let mut events = Vec::new();
    for number in 0..6 {
        let name = if number % 2 == 0 { "ann" } else { "bob" };
        events.push(event(&format!("e{number}"), name, "api.call", noon).quantity("20000"));
        events.push(event(&format!("r{number}"), "cat", "api.request", noon));
        events.last_mut().unwrap().user = Some(format!("u{number}"));
    }
    world.ingest(events).await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    assert_eq!(world.problems().await, Vec::<String>::new());
    world
}

async fn tamper(world: &World, statements: &[&'static str]) {
    let mut other: SqliteConnection = world.intruder().await;
    sqlx::raw_sql(
        "DROP TRIGGER usage_event_no_update; DROP TRIGGER usage_event_no_delete;
         DROP TRIGGER invoice_immutable; DROP TRIGGER invoice_no_delete;
         DROP TRIGGER price_book_no_update; DROP TRIGGER price_book_no_delete;
         DROP TRIGGER journal_no_update; DROP TRIGGER journal_no_delete;",
    )
    .execute(&mut other)
    .await
    .unwrap();
    for statement in statements {
        let done = sqlx::raw_sql(*statement).execute(&mut other).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement} changed nothing");
    }
}

/// Tampers and expects a problem that names all of `places`.
async fn is_found(statements: &[&'static str], places: &[&str]) {
    let world = billed().await;
    tamper(&world, statements).await;
    let problems = world.problems().await;
    let named = |problem: &String| places.iter().all(|place| problem.contains(place));
    assert!(problems.iter().any(named), "{statements:?} gave {problems:?}");
}

#[tokio::test]
async fn a_changed_event_is_found() {
    for change in [
        "UPDATE usage_event SET quantity = '20001' WHERE position = 3",
        "UPDATE usage_event SET customer = 'ann' WHERE position = 3",
        "UPDATE usage_event SET type = 'api.request' WHERE position = 3",
        "UPDATE usage_event SET time = time + 1 WHERE position = 3",
        "UPDATE usage_event SET time = NULL WHERE position = 3",
        "UPDATE usage_event SET recorded_at = recorded_at - 1 WHERE position = 3",
        "UPDATE usage_event SET source = 'else' WHERE position = 3",
        "UPDATE usage_event SET id = 'else' WHERE position = 3",
        "UPDATE usage_event SET body = '{\"unit\":\"x\"}' WHERE position = 3",
        "UPDATE usage_event SET leaf = zeroblob(32) WHERE position = 3",
    ] {
        is_found(&[change], &["ledger lane", "position 3", "not what was sealed"]).await;
    }
}

#[tokio::test]
async fn an_unreadable_row_is_found() {
    is_found(&["UPDATE usage_event SET quantity = 'many' WHERE position = 3"], &["position 3"])
        .await;
    is_found(&["UPDATE usage_event SET leaf = x'00' WHERE position = 3"], &["position 3"]).await;
    is_found(
        &["UPDATE invoice SET body = '{' WHERE number LIKE '%1'"],
        &["invoice INV-2026-000001"],
    )
    .await;
    is_found(&["UPDATE aggregate SET state = '{' WHERE customer = 'ann'"], &["aggregate", "ann"])
        .await;
    is_found(&["UPDATE journal SET body = '{' WHERE position = 2"], &["journal"]).await;
}

#[tokio::test]
async fn a_removed_or_moved_event_is_found() {
    is_found(&["DELETE FROM usage_event WHERE position = 3"], &["positions 3 to 3 are missing"])
        .await;
    is_found(&["DELETE FROM usage_event WHERE position > 10"], &["head stands at 12", "row at 10"])
        .await;
    is_found(&["DELETE FROM usage_event"], &["head stands at 12", "row at 0"]).await;
    let swap = [
        "UPDATE usage_event SET position = 99 WHERE position = 3",
        "UPDATE usage_event SET position = 3 WHERE position = 5",
        "UPDATE usage_event SET position = 5 WHERE position = 99",
    ];
    is_found(&swap, &["position 3", "not what was sealed"]).await;
    is_found(&swap, &["position 5", "not what was sealed"]).await;
}

#[tokio::test]
async fn a_changed_aggregate_is_found() {
    // The day and its hours lie in one row: its own state, and theirs beside it.
    for (column, place) in [("hours", "2026-10-20T12:00:00Z"), ("state", "2026-10-20T00:00:00Z")] {
        let world = billed().await;
        let change = sqlx::AssertSqlSafe(format!(
            "UPDATE aggregate SET {column} = replace({column}, '60000', '60001') WHERE meter = 'api_calls' AND customer = 'ann'"
        ));
        let done = sqlx::raw_sql(change).execute(world.sqlite.writer()).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        let problems = world.problems().await;
        let named = |problem: &String| {
            ["aggregate", "api_calls", "ann", place].iter().all(|part| problem.contains(part))
        };
        assert!(problems.iter().any(named), "{column}: {problems:?}");
        world.engine.rebuild().await.unwrap();
        assert_eq!(world.problems().await, Vec::<String>::new(), "rebuilding repairs it");
    }
    is_found(&["DELETE FROM aggregate WHERE customer = 'bob'"], &["bob", "nothing stored"]).await;
    is_found(&["DELETE FROM aggregate_member WHERE member = 'u3'"], &["active_users", "cat"]).await;
    is_found(&["UPDATE aggregate_member SET member = 'x' WHERE member = 'u3'"], &["active_users"])
        .await;
}

#[tokio::test]
async fn a_changed_invoice_is_found() {
    let ann = "WHERE subscription = 'ann'";
    for (change, place) in [
        (
            "UPDATE invoice SET body = replace(body, '60000', '60001') WHERE subscription = 'ann'",
            "",
        ),
        ("UPDATE invoice SET digest = zeroblob(32) WHERE subscription = 'ann'", "sealed"),
        ("UPDATE invoice SET customer = 'bob' WHERE subscription = 'ann'", "its row"),
        ("UPDATE invoice SET total = '1' WHERE subscription = 'ann'", "its row"),
        ("UPDATE invoice SET position = 1 WHERE subscription = 'ann'", "its row"),
        ("UPDATE invoice SET number = 'INV-2026-000009' WHERE subscription = 'ann'", "missing"),
        ("DELETE FROM invoice WHERE subscription = 'ann'", "missing"),
        ("DELETE FROM invoice WHERE number LIKE '%4'", "journal"),
        (
            "DELETE FROM journal WHERE kind = 'invoice.finalized' AND body LIKE '%000004%'",
            "journal",
        ),
    ] {
        let place = if place.is_empty() { "sealed" } else { place };
        is_found(&[change], &[place]).await;
    }
    // Sealed again by someone who knows how: computing it again tells.
    let world = billed().await;
    let mut invoice = world.invoice("ann", 1).await.unwrap();
    invoice.body.customer_name = "Ann & Sons".to_owned();
    invoice.body.lines[0].name = "Cheap calls".to_owned();
    let body = invoice.body.canonical().unwrap();
    let digest = counterfoil_types::Digest::of(body.as_bytes());
    tamper(&world, &["UPDATE invoice SET due_at = due_at WHERE subscription = 'ann'"]).await;
    let forged = format!("UPDATE invoice SET body = ?, digest = ? {ann}");
    sqlx::query(sqlx::AssertSqlSafe(forged))
        .bind(body)
        .bind(digest.0.to_vec())
        .execute(world.sqlite.writer())
        .await
        .unwrap();
    let problems = world.problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("gives another invoice"));
}

#[tokio::test]
async fn a_changed_price_book_is_found() {
    is_found(
        &["UPDATE price_book SET text = replace(text, '0.005', '0.006') WHERE name = 'metering-engine'"],
        &["price book metering-engine@2026-01", "damaged"],
    )
    .await;
    is_found(&["DELETE FROM price_book WHERE name = 'metering-engine'"], &["metering-engine"])
        .await;
}

#[tokio::test]
async fn what_changed_since_is_no_damage() {
    let world = billed().await;
    // A new address, an ended subscription, later events: invoices rebuild from their inputs.
    let mut customer = world.engine.customer(&crate::world::id("ann")).await.unwrap();
    customer.name = "Ann & Sons".to_owned();
    world.engine.put_customer(&customer).await.unwrap();
    let ann = "ann".parse().unwrap();
    world.engine.end_subscription(&ann, "2026-11-20".parse().unwrap()).await.unwrap();
    let noon: Timestamp = at("2026-10-20T12:30:00Z");
    world.ingest(vec![event("late", "ann", "api.call", noon).quantity("5")]).await;
    assert_eq!(world.problems().await, Vec::<String>::new());
}
