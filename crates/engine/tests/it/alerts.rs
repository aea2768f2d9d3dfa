//! Alerts: fired once per rule, threshold and window, told once, a digest instead of a flood;
//! whatever fails in between.

use std::sync::Arc;

use counterfoil_alerting::{Rule, Watch, WatchWindow, rule::Direction};
use counterfoil_analytics::anomaly::Method;
use counterfoil_engine::{
    Engine,
    alerts::{AlertReport, Sweep, events::UsageEvents},
};
use counterfoil_store::{
    Alert, AlertFilter, AlertState, Effect, Store,
    faults::{FaultStore, Side},
};
use counterfoil_types::Quantity;

use crate::world::{With, World, at, event, id};

const BOOK: &str = r#"
[book]
name = "b"
version = "1"
currency = "USD"
effective_from = "2026-01-01"
[[meter]]
key = "calls"
event_type = "call"
aggregation = "sum"
unit = "calls"
[[meter]]
key = "users"
event_type = "call"
aggregation = "unique_count"
value = "user"
unit = "users"
[[plan]]
key = "p"
interval = "month"
[[plan.quota]]
meter = "calls"
hard = "2000"
window = "daily"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "per_unit"
unit_price = "0.25"
included = "1000"
[[plan.charge]]
key = "users"
meter = "users"
model = "per_unit"
unit_price = "1"
included = "2"
"#;

async fn world() -> World {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    for name in ["ann", "bob"] {
        world.customer(name, "America/New_York", None).await;
        world.subscribe(name, "b", "p", "2026-10-01").await;
    }
    world.set_clock("2026-10-10T12:00:00Z");
    // Forecasts have a test of their own.
    let mut end = Rule::of("forecast", Watch::Forecast { thresholds: amounts(&[100]) });
    end.enabled = false;
    rule(&world, end).await;
    world
}

async fn used(world: &World, name: &str, time: &str, quantity: &str) {
    let id = format!("{name}/{time}/{quantity}");
    world.ingest(vec![event(&id, name, "call", at(time)).quantity(quantity)]).await;
    world.engine.project_all().await.unwrap();
}

async fn evaluate(world: &World) -> AlertReport {
    world.engine.evaluate_alerts(Sweep::Due).await.unwrap()
}

async fn alerts(engine: &Engine) -> Vec<Alert> {
    let (tenant, all) = (&engine.tenant().id, AlertFilter::default());
    let mut found = engine.store().alerts(tenant, &all, None, 1_000).await.unwrap();
    found.sort_by(|a, b| (&a.rule, &a.threshold).cmp(&(&b.rule, &b.threshold)));
    found
}

async fn effects(engine: &Engine) -> Vec<Effect> {
    let found = engine.store().effects(&engine.tenant().id, 0, 10_000).await.unwrap();
    // Whatever was queued is as the published schema of web hook events says.
    for effect in &found {
        let problems = crate::schema::data_problems(&effect.kind, &effect.body);
        assert_eq!(problems, Vec::<String>::new());
    }
    found.into_iter().filter(|effect| effect.kind.starts_with("alert.")).collect()
}

fn kinds(effects: &[Effect]) -> Vec<&str> {
    effects.iter().map(|effect| effect.kind.as_str()).collect()
}

async fn rule(world: &World, rule: Rule) {
    world.engine.put_alert_rule(&rule).await.unwrap();
}

/// Silences the default rules.
async fn quiet(world: &World) {
    for mut default in counterfoil_alerting::defaults() {
        default.enabled = false;
        rule(world, default).await;
    }
}

fn amounts(list: &[u32]) -> Vec<Quantity> {
    list.iter().copied().map(Quantity::from).collect()
}

#[tokio::test]
async fn thresholds_fire_once_each_and_the_highest_is_told() {
    let world = world().await;
    assert_eq!(evaluate(&world).await.fired, 0);
    used(&world, "ann", "2026-10-09T10:00:00Z", "760").await;
    let report = evaluate(&world).await;
    assert_eq!((report.customers, report.fired, report.told), (1, 1, 1));
    // Nothing new, nothing fires; everybody looked at again, nothing fires.
    assert_eq!(evaluate(&world).await, AlertReport::default());
    assert_eq!(world.engine.evaluate_alerts(Sweep::All).await.unwrap().fired, 0);
    used(&world, "ann", "2026-10-09T11:00:00Z", "245").await;
    let report = evaluate(&world).await;
    assert_eq!((report.fired, report.told), (4, 1));
    let effects = effects(&world.engine).await;
    assert_eq!(kinds(&effects), ["alert.warning", "alert.exceeded"]);
    assert_eq!(effects[1].body["alert"]["threshold"], "100");
    assert_eq!(effects[1].body["also"].as_array().unwrap().len(), 3);
    assert_eq!(
        effects[0].body["alert"]["explanation"],
        "760 of 1000 calls are used: 76 %, 75 % are told of"
    );
    let all = alerts(&world.engine).await;
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|alert| alert.window.start == at("2026-10-01T04:00:00Z")));
    // The next period begins anew, and what is over is resolved.
    world.set_clock("2026-11-02T12:00:00Z");
    used(&world, "ann", "2026-11-02T10:00:00Z", "800").await;
    assert_eq!(evaluate(&world).await.fired, 2);
    let resolved = |alert: &&Alert| alert.state == AlertState::Resolved;
    assert_eq!(alerts(&world.engine).await.iter().filter(resolved).count(), 5);
}

#[tokio::test]
async fn unique_members_and_quotas_are_watched_as_well() {
    let world = world().await;
    let call = |user: &str| {
        event(user, "bob", "call", at("2026-10-10T11:00:00Z")).quantity("850").text("user", user)
    };
    world.ingest(vec![call("u1"), call("u2")]).await;
    world.engine.project_all().await.unwrap();
    evaluate(&world).await;
    let all = alerts(&world.engine).await;
    let of = |rule: &str, meter: &str| -> Vec<&str> {
        all.iter()
            .filter(|alert| alert.rule == rule && alert.meter.as_ref().unwrap().as_str() == meter)
            .map(|alert| alert.threshold.as_str())
            .collect()
    };
    assert_eq!(of("included", "users"), ["100", "75", "80", "90", "95"]);
    assert_eq!(of("included", "calls"), ["100", "75", "80", "90", "95"]);
    assert_eq!(of("quota", "calls"), ["75", "80"]);
    // A day of the quota is one of the customer's zone.
    let quota = all.iter().find(|alert| alert.rule == "quota").unwrap();
    assert_eq!(quota.window.start, at("2026-10-10T04:00:00Z"));
}

#[tokio::test]
async fn every_kind_of_rule_fires_and_explains_itself() {
    let world = world().await;
    quiet(&world).await;
    let usage = Watch::Usage { thresholds: amounts(&[100]), window: WatchWindow::Day };
    rule(&world, Rule { meter: Some("calls".parse().unwrap()), ..Rule::of("day", usage) }).await;
    let spend = Watch::Spend { thresholds: amounts(&[5]), currency: "USD".parse().unwrap() };
    rule(&world, Rule::of("spend", spend)).await;
    let change =
        Watch::Change { percent: Quantity::from(50_u32), direction: Direction::Up, days: 2 };
    rule(&world, Rule::of("change", change)).await;
    let by = Method::Deviations(Quantity::from(3_u32));
    rule(&world, Rule::of("odd", Watch::Anomaly { by, days: 14 })).await;
    rule(&world, Rule::of("end", Watch::Forecast { thresholds: amounts(&[100]) })).await;
    world.set_clock("2026-10-20T12:00:00Z");
    for day in 1..=19 {
        let amount = if day >= 18 { "90" } else { "40" };
        used(&world, "ann", &format!("2026-10-{day:02}T10:00:00Z"), amount).await;
    }
    used(&world, "ann", "2026-10-20T10:00:00Z", "300").await;
    evaluate(&world).await;
    let all = alerts(&world.engine).await;
    let found = |rule: &str| all.iter().find(|alert| alert.rule == rule).unwrap();
    assert!(found("day").explanation.contains("300 calls has reached 100"));
    assert!(found("change").explanation.contains("180 in the last 2 days is 125 % more"));
    assert!(found("odd").explanation.contains("standard deviations above the mean"));
    assert_eq!(found("spend").unit, "USD");
    assert_eq!(all.iter().filter(|alert| alert.rule == "end").count(), 0, "it is used up already");
    used(&world, "bob", "2026-10-01T10:00:00Z", "30").await;
    for day in 2..=19 {
        used(&world, "bob", &format!("2026-10-{day:02}T10:00:00Z"), "40").await;
    }
    evaluate(&world).await;
    let all = alerts(&world.engine).await;
    let end = all.iter().find(|alert| alert.rule == "end").unwrap();
    assert_eq!(end.customer, id("bob"));
    assert!(end.explanation.contains("100 % of 1000 are passed on 2026-10-2"), "{end:?}");
    assert!(end.expected_at.is_some());
}

#[tokio::test]
async fn a_flood_becomes_one_digest_an_hour() {
    let world = world().await;
    quiet(&world).await;
    for number in 0..9 {
        let watch = Watch::Usage { thresholds: amounts(&[10 + number]), window: WatchWindow::Day };
        let meter = Some("calls".parse().unwrap());
        rule(&world, Rule { meter, ..Rule::of(&format!("r{number}"), watch) }).await;
    }
    used(&world, "ann", "2026-10-10T10:00:00Z", "15").await;
    let report = evaluate(&world).await;
    assert_eq!((report.fired, report.told), (6, 1));
    let told = effects(&world.engine).await;
    assert_eq!(kinds(&told), ["alert.digest"]);
    assert_eq!(told[0].body["count"], 6);
    // Within the hour single ones are told singly, and a second flood waits.
    for number in 0..7 {
        let watch =
            Watch::Usage { thresholds: amounts(&[10 + number]), window: WatchWindow::Month };
        let meter = Some("calls".parse().unwrap());
        rule(&world, Rule { meter, ..Rule::of(&format!("m{number}"), watch) }).await;
    }
    world.set_clock("2026-10-10T12:20:00Z");
    let report = evaluate(&world).await;
    assert_eq!((report.fired, report.told), (6, 0));
    assert_eq!(evaluate(&world).await.told, 0);
    world.set_clock("2026-10-10T13:00:01Z");
    assert_eq!(evaluate(&world).await.told, 1);
    assert_eq!(kinds(&effects(&world.engine).await), ["alert.digest", "alert.digest"]);
    assert!(alerts(&world.engine).await.iter().all(|alert| alert.told.is_some()));
    assert_eq!(evaluate(&world).await.told, 0);
}

#[tokio::test]
async fn a_snoozed_alert_silences_what_follows_it_for_a_while() {
    let world = world().await;
    used(&world, "ann", "2026-10-09T10:00:00Z", "760").await;
    evaluate(&world).await;
    let first = alerts(&world.engine).await.remove(0);
    let engine = &world.engine;
    let until = Some(at("2026-10-10T18:00:00Z"));
    engine.move_alert(&first.id, AlertState::Snoozed, until, "ann").await.unwrap();
    assert!(engine.move_alert(&first.id, AlertState::Snoozed, None, "ann").await.is_err());
    used(&world, "ann", "2026-10-09T11:00:00Z", "50").await;
    assert_eq!(evaluate(&world).await.told, 0);
    assert_eq!(alerts(engine).await.len(), 2);
    world.set_clock("2026-10-10T18:00:00Z");
    assert_eq!(evaluate(&world).await.told, 1);
    assert_eq!(kinds(&effects(engine).await), ["alert.warning", "alert.digest"]);
    engine.move_alert(&first.id, AlertState::Acknowledged, None, "ann").await.unwrap();
    assert!(engine.move_alert("alr_none", AlertState::Acknowledged, None, "ann").await.is_err());
}

#[tokio::test]
async fn after_a_projection_only_those_touched_are_looked_at() {
    let world = world().await;
    let engine = &world.engine;
    engine.set_usage_events(UsageEvents::Batch).await.unwrap();
    used(&world, "ann", "2026-10-09T10:00:00Z", "10").await;
    // Never looked at: left to the full evaluation.
    assert_eq!(engine.alerts_after_projection().await.unwrap(), AlertReport::default());
    evaluate(&world).await;
    used(&world, "ann", "2026-10-09T11:00:00Z", "800").await;
    let report = engine.alerts_after_projection().await.unwrap();
    assert_eq!((report.customers, report.fired, report.told), (1, 2, 1));
    assert_eq!(engine.alerts_after_projection().await.unwrap(), AlertReport::default());
    let all = engine.store().effects(&engine.tenant().id, 0, 100).await.unwrap();
    let tracked: Vec<_> = all.iter().filter(|one| one.kind == "api.usage.tracked").collect();
    assert_eq!(tracked.len(), 1);
    assert_eq!(tracked[0].body["events"], 1);
}

/// A2: whichever call to the store fails, on either side of its effect, repeating the evaluation ends
/// where an undisturbed one does: each alert once, each told by one effect.
#[tokio::test]
async fn alerts_fire_once_whatever_call_fails() {
    let clean = world().await;
    used(&clean, "ann", "2026-10-09T10:00:00Z", "960").await;
    used(&clean, "bob", "2026-10-09T10:00:00Z", "760").await;
    let start = clean.copy().await;
    let counting = Arc::new(FaultStore::new(Arc::new(clean.sqlite.clone())));
    let engine = clean.through(counting.clone()).await.unwrap();
    let opened = counting.calls().len();
    engine.evaluate_alerts(Sweep::Due).await.unwrap();
    let calls = counting.calls();
    let wanted = (keys(&clean).await, told(&clean).await);
    assert_eq!(wanted.0.len(), 5);
    for (call, name) in calls.iter().enumerate().skip(opened) {
        for side in [Side::Before, Side::After] {
            let world = start.copy().await;
            let faulty = FaultStore::failing(Arc::new(world.sqlite.clone()), call, side);
            let engine = world.through(Arc::new(faulty)).await.unwrap();
            if engine.evaluate_alerts(Sweep::Due).await.is_err() {
                engine.evaluate_alerts(Sweep::Due).await.unwrap();
            }
            world.engine.evaluate_alerts(Sweep::All).await.unwrap();
            let found = (keys(&world).await, told(&world).await);
            assert_eq!(found, wanted, "call {call} ({name}) {side:?}");
        }
    }
}

async fn keys(world: &World) -> Vec<(String, Option<String>)> {
    let mut found: Vec<_> =
        alerts(&world.engine).await.into_iter().map(|alert| (alert.id, alert.told)).collect();
    found.sort();
    found
}

async fn told(world: &World) -> Vec<String> {
    let mut found: Vec<_> =
        effects(&world.engine).await.into_iter().map(|effect| effect.key).collect();
    found.sort();
    found
}

/// A2: evaluations that run at once, while usage grows in between, tell of each alert once.
#[tokio::test]
async fn two_schedulers_at_once_tell_once() {
    let world = world().await;
    let mut engines = Vec::new();
    for _ in 0..3 {
        let store: Arc<dyn Store> = Arc::new(world.sqlite.clone());
        engines.push(world.through(store).await.unwrap());
    }
    for step in 0..12 {
        used(&world, "ann", &format!("2026-10-09T10:{step:02}:00Z"), "90").await;
        let mut tasks = tokio::task::JoinSet::new();
        for engine in engines.clone() {
            tasks.spawn(async move { engine.evaluate_alerts(Sweep::All).await });
        }
        for outcome in tasks.join_all().await {
            outcome.unwrap();
        }
    }
    let all = alerts(&world.engine).await;
    let told = effects(&world.engine).await;
    let mut named: Vec<String> = Vec::new();
    for effect in &told {
        assert_eq!(effect.body["alert"]["told"], effect.key.as_str());
        named.push(effect.body["alert"]["id"].as_str().unwrap().to_owned());
        let also = effect.body["also"].as_array().unwrap();
        named.extend(also.iter().map(|one| one.as_str().unwrap().to_owned()));
    }
    let mut ids: Vec<String> = all.iter().map(|alert| alert.id.clone()).collect();
    named.sort();
    ids.sort();
    assert_eq!(named, ids, "each alert is told of by exactly one effect");
}
