//! The consumer groups: whether they are read, whether they keep up, and what stands in their way.

use std::collections::{BTreeMap, BTreeSet};

use factline_pipeline::{
    assignment::lease_name,
    lease::membership,
    stream::{GroupLag, RETURNED},
};
use serde_json::json;

use super::{Daemon, Finding, Scene, counted, duration};
use crate::observation::StoreView;

/// A group that is behind by less than this is at work.
const NOT_WORTH_A_WORD: u64 = 1_000;

/// Entries wait in a partition whose lease nobody holds.
pub(super) fn are_read(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let (Some(store), Some(streams)) = (scene.store(), scene.streams()) else { return };
    for group in &scene.config.groups {
        let waits = |lag: &&GroupLag| lag.group == group.name && lag.waiting() > 0;
        let unread: Vec<&GroupLag> = streams
            .lag
            .iter()
            .filter(waits)
            .filter(|lag| !is_held(store, &lease_name(&group.name, &lag.partition)))
            .collect();
        let entries: u64 = unread.iter().map(|lag| lag.waiting()).sum();
        if entries > 0 {
            let partitions: Vec<String> = unread.iter().map(|lag| lag.partition.to_string()).collect();
            let sentence = format!(
                "{} wait for group {}, and nobody reads {}",
                counted_entries(entries),
                group.name,
                partitions.join(", ")
            );
            findings.push(
                Finding::problem("consumers", sentence)
                    .next(readers(scene))
                    .data(json!({ "group": group.name, "partitions": partitions, "entries": entries })),
            );
        } else {
            findings.push(Finding::ok("consumers", format!("nothing waits unread for group {}", group.name)));
        }
    }
}

fn counted_entries(entries: u64) -> String {
    if entries == 1 { "1 entry".into() } else { format!("{entries} entries") }
}

fn is_held(store: &StoreView, name: &str) -> bool {
    store.leases.iter().any(|lease| lease.held && lease.name == name)
}

/// Entries that a daemon had in its hands that runs no more, and that nobody has taken over in between.
pub(super) fn vanished_consumers(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let (Some(store), Some(streams), Ok(before)) = (scene.store(), scene.streams(), &scene.before.streams)
    else {
        return;
    };
    let mut vanished: BTreeMap<(&str, &str), (u64, Vec<String>)> = BTreeMap::new();
    // What other programs do with groups of their own is nothing that a daemon of ours could take over.
    let ours = |lag: &&GroupLag| scene.config.groups.iter().any(|group| group.name == lag.group);
    for lag in streams.lag.iter().filter(ours) {
        for one in &lag.pending_for {
            let was = before.lag.iter().any(|earlier| {
                earlier.group == lag.group
                    && earlier.partition == lag.partition
                    && earlier.pending_for.iter().any(|earlier| earlier.consumer == one.consumer)
            });
            if was && one.consumer != RETURNED && !is_present(store, &lag.group, &one.consumer) {
                let found = vanished.entry((&lag.group, &one.consumer)).or_default();
                found.0 += one.entries;
                found.1.push(lag.partition.to_string());
            }
        }
    }
    for ((group, consumer), (entries, partitions)) in vanished {
        let sentence = format!(
            "{} of group {group} in {} are pending for {consumer}, which is gone, and nobody takes them over",
            counted_entries(entries),
            partitions.join(", "),
        );
        let data =
            json!({ "group": group, "consumer": consumer, "entries": entries, "partitions": partitions });
        let finding = Finding::problem("vanished_consumer", sentence);
        findings.push(finding.next(readers(scene)).data(data));
    }
}

/// A consumer is a daemon, and which start of its group's reader it was: `host-1a2b3c4d.1`.
fn is_present(store: &StoreView, group: &str, consumer: &str) -> bool {
    let holder = consumer.rsplit_once('.').map_or(consumer, |(holder, _)| holder);
    let club = membership(&format!("group:{group}"), holder);
    store.leases.iter().any(|lease| {
        let serves = lease.name.starts_with(&format!("partition:{group}:")) || lease.name == club;
        lease.held && lease.holder == holder && serves
    })
}

/// Who is to read: the daemon that answers, if it does; its readers may be paused.
fn readers(scene: &Scene<'_>) -> &'static str {
    match scene.daemon {
        Daemon::Answers { .. } => "factline tree",
        Daemon::NotConfigured | Daemon::Silent(_) => "factline run --only consumers",
    }
}

/// A group falls behind what is appended.
pub(super) fn lag(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let (Some(streams), Ok(before)) = (scene.streams(), &scene.before.streams) else { return };
    let groups: BTreeSet<&str> = streams.lag.iter().map(|lag| lag.group.as_str()).collect();
    for group in groups {
        let waiting = |all: &[GroupLag]| -> u64 {
            all.iter().filter(|lag| lag.group == group).map(GroupLag::waiting).sum()
        };
        let (was, is) = (waiting(&before.lag), waiting(&streams.lag));
        let oldest = streams.lag.iter().filter(|lag| lag.group == group).filter_map(|lag| lag.oldest).min();
        let server = streams.server.as_ref().map(|server| server.clock_ahead_ms);
        let age = oldest.map(|oldest| scene.age(oldest, server));
        let data = json!({ "group": group, "before": was, "now": is, "oldest_seconds": age });
        let since = age.map(|age| format!(", the oldest for {}", duration(age))).unwrap_or_default();
        let waits = format!("{} wait for group {group}{since}", counted_entries(is));
        // A busy group has many entries in its hands, none of them for long.
        let behind = age.is_some_and(|age| scene.is_long(age));
        findings.push(if is > was && is >= NOT_WORTH_A_WORD && behind {
            let sentence =
                format!("the lag grows: {waits}, {} more than {:.1} s ago", is - was, scene.seconds());
            Finding::warning("lag", sentence).next("factline status").data(data)
        } else {
            Finding::ok("lag", waits).data(data)
        });
    }
}

/// Events whose next try is to come; their keys wait with them.
pub(super) fn blocked_keys(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(store) = scene.store() else { return };
    let Some(first) = store.retrying.first() else {
        findings.push(Finding::ok("retries", "no key waits for a retry"));
        return;
    };
    let number = u64::try_from(store.retrying.len()).unwrap_or(u64::MAX);
    let until = first.next_attempt_at.map_or_else(
        || "a next try".to_owned(),
        |at| {
            let seconds = (at - scene.now.at).as_seconds_f64();
            if seconds > 0.0 {
                format!("its next try in {}", duration(seconds))
            } else {
                "its next try, which is due".to_owned()
            }
        },
    );
    let others = if number > 1 { format!("; {} more", number - 1) } else { String::new() };
    let sentence = format!(
        "event {} of group {} waits for {until}, and its key with it: {} failed, at last with: {}{others}",
        first.event_id,
        first.consumer_group,
        counted(u64::from(first.attempts.unsigned_abs()), "try").replace("trys", "tries"),
        first.last_error.as_deref().unwrap_or("no reason given"),
    );
    findings.push(
        Finding::warning("retries", sentence)
            .next(format!("factline explain {}", first.event_id))
            .data(&store.retrying),
    );
}
