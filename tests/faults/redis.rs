//! Redis goes away and comes back, or has no memory left.

use super::scene::{Scene, stage_on};
use crate::servers::{Postgres, Redis};

#[tokio::test]
async fn redis_is_stopped_and_killed_under_load_and_nothing_is_to_be_seen_of_it() {
    let redis = Redis::start_own();
    let scene = Scene::start(stage_on(Postgres::shared(), &redis).await).await;
    for kill in [false, true, false, true] {
        if kill {
            redis.kill();
        } else {
            redis.stop();
        }
        scene.until_said("redis is unavailable").await;
        redis.start();
        scene.until_more(200).await;
    }
    scene.unharmed().await;
}

#[tokio::test]
async fn a_redis_that_has_no_memory_left_is_waited_for() {
    let redis = Redis::start_own_with(&["--maxmemory-policy", "noeviction"]);
    let scene = Scene::start(stage_on(Postgres::shared(), &redis).await).await;
    for _ in 0..2 {
        redis.configure("maxmemory", "1");
        scene.until_said("OOM").await;
        redis.configure("maxmemory", "0");
        scene.until_more(200).await;
    }
    scene.unharmed().await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_waited_for() {
    let redis = Redis::start_own();
    let scene = Scene::start(stage_on(Postgres::shared(), &redis).await).await;
    redis.freeze();
    scene.until_said("redis is unavailable").await;
    redis.thaw();
    scene.until_more(200).await;
    scene.unharmed().await;
}
