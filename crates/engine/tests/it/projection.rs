//! Incremental projection, by one projector or two, leaves what a rebuild leaves.

use counterfoil_store::Bucket;
use sqlx::Row;

use crate::{
    random::Random,
    usage::{books, random_events},
    world::World,
};

async fn aggregates(world: &World) -> (Vec<Bucket>, Vec<String>) {
    let mut buckets = Vec::new();
    for lane in world.engine.tenant().lane_ids() {
        buckets.extend(world.engine.store().all_buckets(lane, None, 100_000).await.unwrap());
    }
    buckets.retain(|bucket| bucket.state.events() != 0);
    let sql = "SELECT customer || ' ' || meter || ' ' || hour || ' ' || grp || ' ' || member || ' ' || n FROM aggregate_member WHERE n <> 0 ORDER BY 1";
    let rows = sqlx::query(sql).fetch_all(world.sqlite.writer()).await.unwrap();
    (buckets, rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn incremental_projection_equals_rebuild() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let world = World::new(3).await;
        books(&world).await;
        world.set_clock("2026-10-31T00:00:00Z");
        let mut sent = Vec::new();
        for _ in 0..8 {
            let batch = random_events(&mut random, &mut sent, 12);
            world.ingest(batch).await;
            if random.chance(40) {
                let (one, two) =
                    tokio::join!(world.engine.project_all(), world.engine.project_all());
                one.unwrap();
                two.unwrap();
            } else if random.chance(70) {
                world.engine.project_all().await.unwrap();
            }
        }
        let check = world.engine.check_aggregates().await.unwrap();
        assert_eq!(check.difference_count, 0, "seed {seed}: {:?}", check.differences);
        assert!(check.buckets > 0);
        let incremental = aggregates(&world).await;
        world.engine.rebuild().await.unwrap();
        let rebuilt = aggregates(&world).await;
        assert_eq!(incremental.0.len(), rebuilt.0.len(), "seed {seed}");
        for (incremental, rebuilt) in incremental.0.iter().zip(&rebuilt.0) {
            assert_eq!(incremental, rebuilt, "seed {seed}");
        }
        assert_eq!(incremental.1, rebuilt.1, "seed {seed}");
    }
}

#[tokio::test]
async fn a_meter_registered_later_catches_up() {
    let mut random = Random::new(99);
    let world = World::new(2).await;
    world.set_clock("2026-10-31T00:00:00Z");
    let mut sent = Vec::new();
    world.ingest(random_events(&mut random, &mut sent, 60)).await;
    // Nobody knows a meter yet: only the count of all events goes on.
    world.engine.project_all().await.unwrap();
    books(&world).await;
    world.ingest(random_events(&mut random, &mut sent, 60)).await;
    let check = world.engine.check_aggregates().await.unwrap();
    assert_eq!(check.difference_count, 0, "{:?}", check.differences);
    assert!(check.rows >= 120);
}
