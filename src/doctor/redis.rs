//! What Redis says of itself.

use serde_json::json;

use super::{Finding, Scene, counted};
use crate::observation::RedisServer;

/// The share of the memory from which on it is worth a word, in percent.
const MUCH: u64 = 80;

fn server<'a>(scene: &'a Scene<'_>) -> Option<&'a RedisServer> {
    scene.streams()?.server.as_ref()
}

/// The same server at the first look.
fn before_look<'a>(scene: &'a Scene<'_>) -> Option<&'a RedisServer> {
    scene.before.streams.as_ref().ok()?.server.as_ref()
}

/// Full, the server refuses every append; with another policy than `noeviction` it throws streams away instead.
pub(super) fn memory(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(server) = server(scene) else { return };
    let RedisServer { used_memory: used, max_memory: most, eviction_policy: policy, evicted_keys, .. } =
        server;
    let data = json!({ "used": used, "max": most, "policy": policy, "evicted_keys": evicted_keys });
    let before = findings.len();
    if *most > 0 && used.saturating_mul(100) > most.saturating_mul(MUCH) {
        let (used, most) = (used / 1024, most / 1024);
        let sentence = format!("Redis uses {used} KiB of the {most} KiB that it may");
        let finding = Finding::problem("redis_memory", sentence);
        findings.push(finding.next("redis-cli CONFIG SET maxmemory …").data(&data));
    }
    if *most > 0 && !policy.is_empty() && policy != "noeviction" {
        let sentence = format!(
            "Redis may throw streams away when its memory is full: maxmemory-policy is {policy}, not noeviction"
        );
        let finding = Finding::problem("redis_eviction", sentence);
        findings.push(finding.next("redis-cli CONFIG SET maxmemory-policy noeviction").data(&data));
    }
    // Counted since Redis started: what was thrown away long ago is no news.
    let evicted = before_look(scene).map_or(0, |before| evicted_keys.saturating_sub(before.evicted_keys));
    if evicted > 0 {
        let sentence = format!(
            "Redis has thrown away {} in the last {:.1} s; what the streams lost is published again",
            counted(evicted, "key"),
            scene.seconds()
        );
        findings.push(
            Finding::warning("redis_eviction", sentence).next("factline reconcile --dry-run").data(&data),
        );
    }
    if findings.len() == before {
        let thrown_away = match evicted_keys {
            0 => String::new(),
            keys => format!("; it has thrown away {} since it started, none just now", counted(*keys, "key")),
        };
        let sentence = format!("Redis has memory left{thrown_away}");
        findings.push(Finding::ok("redis_memory", sentence).data(data));
    }
}

/// What a restart would cost: everything can be published again from the outbox, in the time that takes.
pub(super) fn persistence(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(server) = server(scene) else { return };
    let data = json!({ "append_only": server.append_only, "snapshots": server.snapshots });
    findings.push(match (server.append_only, server.snapshots) {
        (true, _) => Finding::ok("redis_persistence", "Redis appends every write to a file"),
        (false, Some(true)) => Finding::warning(
            "redis_persistence",
            "Redis keeps snapshots alone: after a crash it lacks what came since the last one",
        )
        .next("redis-cli CONFIG SET appendonly yes"),
        (false, Some(false)) => {
            Finding::warning("redis_persistence", "Redis keeps nothing on disk: a restart loses all streams")
                .next("redis-cli CONFIG SET appendonly yes")
        }
        (false, None) => Finding::warning(
            "redis_persistence",
            "Redis appends to no file, and does not say whether it saves snapshots",
        ),
    });
    if let Some(last) = findings.last_mut() {
        last.data = data;
    }
}
