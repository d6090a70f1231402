//! The network before either server is cut, refuses, goes silent, is slow, or forgets the connections it has.

use std::time::Duration;

use super::scene::Scene;
use crate::{daemon::stage::Stage, servers::Proxy};

#[tokio::test]
async fn whatever_happens_to_the_network_before_redis_is_waited_out() {
    let mut stage = Stage::new().await;
    let proxy = Proxy::before(&stage.redis).await;
    stage.redis = proxy.of(&stage.redis);
    disturb(&proxy, Scene::start(stage).await, "redis is unavailable").await;
}

#[tokio::test]
async fn whatever_happens_to_the_network_before_postgres_is_waited_out() {
    let mut stage = Stage::new().await;
    let proxy = Proxy::before(&stage.database).await;
    stage.database = proxy.of(&stage.database);
    disturb(&proxy, Scene::start(stage).await, "postgres is unavailable").await;
}

async fn disturb(proxy: &Proxy, scene: Scene, said: &str) {
    for _ in 0..10 {
        proxy.cut();
        scene.until_more(50).await;
    }
    for disturb in [Proxy::refuse, Proxy::fall_silent] {
        disturb(proxy);
        scene.until_said(said).await;
        proxy.heal();
        scene.until_more(200).await;
    }
    proxy.forget();
    scene.until_said(said).await;
    scene.until_more(200).await;
    proxy.delay(Duration::from_millis(50));
    scene.until_more(200).await;
    proxy.heal();
    scene.unharmed().await;
}
