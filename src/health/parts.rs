//! How the servers do, and what waits in them.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::{
    assignment::lease_name,
    lease::Lease,
    stream::{GroupLag, Partition},
};
use factline_supervision::{Condition, Node};
use serde_json::{Value, json};

use super::{
    Finding, Seen, Since, State,
    memory::{Memory, Moving},
    span,
};
use crate::observation::{
    OpenLetters, PoolUse, PostgresServer, RETRYING_SHOWN, RedisServer, Retrying, StreamView,
};

/// Redis that has used so much of its memory, in percent, is about to refuse appends.
const MEMORY_PERCENT: u64 = 90;

pub(super) fn of_outbox(seen: &Seen<'_>, memory: &mut Memory, found: &mut Vec<Finding>) {
    match &seen.observation.outbox {
        Ok(view) => {
            found.push(database("outbox", view.server.as_ref()));
            found.extend(view.pool.map(|pool| connections("outbox_pool", pool)));
            found.push(backlog(seen, memory));
        }
        Err(reason) => {
            memory.backlog = None;
            found.push(away("outbox", reason));
            found.push(unknown("backlog", "outbox"));
        }
    }
}

pub(super) fn of_store(seen: &Seen<'_>, memory: &mut Memory, found: &mut Vec<Finding>) {
    match &seen.observation.store {
        Ok(view) => {
            found.push(database("store", view.server.as_ref()));
            found.extend(view.pool.map(|pool| connections("store_pool", pool)));
            found.push(relay(seen, &view.leases, memory));
            found.push(dead_letters(view.dead_letters));
            found.push(retrying(seen, &view.retrying));
        }
        Err(reason) => {
            found.push(away("store", reason));
            found.extend(["relay", "dead_letters", "retrying"].map(|part| unknown(part, "store")));
        }
    }
}

pub(super) fn of_streams(seen: &Seen<'_>, memory: &mut Memory, found: &mut Vec<Finding>) {
    match &seen.observation.streams {
        Ok(view) => {
            found.push(streams(view.server.as_ref()));
            of_groups(seen, view, memory, found);
        }
        Err(reason) => {
            memory.lag.clear();
            found.push(away("streams", reason));
        }
    }
}

fn away(part: &str, reason: &str) -> Finding {
    Finding::new(part, State::Failed, format!("the {part} cannot be asked"))
        .holding_up(true)
        .because(Some(reason))
}

fn unknown(part: &str, of: &str) -> Finding {
    Finding::new(part, State::Unknown, format!("the {of} cannot be asked"))
}

fn database(part: &str, server: Option<&PostgresServer>) -> Finding {
    let words = server.map_or_else(|| "a file".to_owned(), |server| format!("PostgreSQL {}", server.version));
    Finding::new(part, State::Ok, format!("{words} answers")).with(server).holding_up(true)
}

fn connections(part: &str, pool: PoolUse) -> Finding {
    let state = if pool.used >= pool.max { State::Degraded } else { State::Ok };
    Finding::new(part, state, format!("{} of {} connections are in use", pool.used, pool.max)).with(pool)
}

fn streams(server: Option<&RedisServer>) -> Finding {
    let Some(server) = server else {
        return Finding::new("streams", State::Ok, "a file answers").holding_up(true);
    };
    let percent = server.used_memory.saturating_mul(100).checked_div(server.max_memory);
    let words = match percent {
        Some(percent) => format!("Redis {} answers, {percent} % of its memory in use", server.version),
        None => format!("Redis {} answers, its memory has no limit", server.version),
    };
    let full = percent.is_some_and(|percent| percent >= MEMORY_PERCENT);
    let state = if full { State::Degraded } else { State::Ok };
    // What it refuses then is told by the relay that is refused.
    Finding::new("streams", state, words).with(server).holding_up(!full)
}

fn backlog(seen: &Seen<'_>, memory: &mut Memory) -> Finding {
    let Ok(view) = &seen.observation.outbox else { return unknown("backlog", "outbox") };
    let (at, backlog) = (seen.observation.at, view.backlog);
    let moving = Moving::after(memory.backlog.as_ref(), backlog.pending, backlog.oldest_pending, at);
    let still = at - moving.since;
    memory.backlog = Some(moving.clone());
    let age = backlog.oldest_pending.map(|oldest| (at - oldest).max(TimeDelta::zero()));
    let about = if backlog.estimated { "about " } else { "" };
    let mut words = match (backlog.pending, age) {
        (0, _) => "nothing is pending".to_owned(),
        (pending, Some(age)) => format!("{about}{pending} pending, the oldest for {}", span(age)),
        (pending, None) => format!("{about}{pending} pending"),
    };
    let mut finding = Finding::new("backlog", State::Ok, "");
    if still >= seen.patience() && backlog.pending > 0 {
        words += &format!("; none was published for {}", span(still));
        finding.state = State::Degraded;
        finding.since = Since::Known(moving.since);
    }
    let seconds = age.map(TimeDelta::as_seconds_f64);
    let data = json!({ "pending": backlog.pending, "failed": backlog.failed,
        "oldest_pending": backlog.oldest_pending, "oldest_age_seconds": seconds });
    Finding { sentence: words, ..finding }.with(data).holding_up(is_active(
        seen.tree,
        "root/relay",
        "outbox_poller",
    ))
}

fn relay(seen: &Seen<'_>, leases: &[Lease], memory: &mut Memory) -> Finding {
    let held = leases.iter().find(|lease| lease.held && lease.name == seen.relay_lease);
    let Some(lease) = held else {
        let ours = seen.tree.is_some_and(|root| root.find("root/relay").is_some());
        return Finding::new("relay", State::Degraded, "no relay is active").holding_up(ours);
    };
    let since = memory.leader_since(lease, seen.observation.at);
    let data = json!({ "holder": lease.holder, "token": lease.token, "since": since });
    Finding::new("relay", State::Ok, "a relay is active").with(data)
}

fn dead_letters(letters: OpenLetters) -> Finding {
    let (state, words) = match letters {
        OpenLetters { open: 0, .. } => (State::Ok, "no dead letter is open".to_owned()),
        OpenLetters { open, recent: 0, .. } => {
            (State::Ok, format!("{open} open, none of the last ten minutes"))
        }
        OpenLetters { open, recent, .. } => {
            (State::Degraded, format!("{open} open; {recent} were set aside in the last ten minutes"))
        }
    };
    Finding::new("dead_letters", state, words).with(letters)
}

fn retrying(seen: &Seen<'_>, retrying: &[Retrying]) -> Finding {
    let at = seen.observation.at;
    let longest = retrying.iter().filter_map(|one| one.since).min();
    let words = match (retrying.len(), longest) {
        (0, _) => "no event waits for its next try".to_owned(),
        (events, None) => format!("{events} wait for their next try, and their keys with them"),
        (events, Some(since)) => format!(
            "{events} wait for their next try, and their keys with them, the first for {}",
            span(at - since)
        ),
    };
    let long = longest.filter(|since| at - *since >= seen.limit());
    let state = if long.is_some() { State::Degraded } else { State::Ok };
    Finding::new("retrying", state, words).since(long.map_or(Since::Looks, Since::Known)).with(retrying)
}

fn of_groups(seen: &Seen<'_>, view: &StreamView, memory: &mut Memory, found: &mut Vec<Finding>) {
    let mut groups: BTreeMap<&str, Vec<&GroupLag>> = BTreeMap::new();
    for lag in &view.lag {
        groups.entry(&lag.group).or_default().push(lag);
    }
    let known =
        |key: &(String, Partition)| view.lag.iter().any(|lag| lag.group == key.0 && lag.partition == key.1);
    memory.lag.retain(|key, _| known(key));
    found.extend(groups.into_iter().map(|(group, lag)| of_group(seen, group, &lag, memory)));
}

fn of_group(seen: &Seen<'_>, group: &str, partitions: &[&GroupLag], memory: &mut Memory) -> Finding {
    let at = seen.observation.at;
    let (mut waiting, mut figures) = (0, Vec::new());
    let (mut still, mut perhaps_on_purpose) = (Vec::new(), Vec::new());
    for lag in partitions {
        let here = lag.waiting();
        let key = (group.to_owned(), lag.partition.clone());
        let moving = Moving::after(memory.lag.get(&key), here, lag.oldest, at);
        if here > 0 && at - moving.since >= seen.patience() {
            let all_delivered = lag.undelivered == Some(0);
            if all_delivered { &mut perhaps_on_purpose } else { &mut still }.push(moving.since);
        }
        figures.push(figures_of(seen, lag, (here > 0).then_some(moving.since)));
        memory.lag.insert(key, moving);
        waiting += here;
    }
    // What waits for its next try stands still on purpose. Which partition that is in is not known: it is taken to be
    // the one that has stood still for the longest, and each such event explains one partition, not the whole group.
    perhaps_on_purpose.sort_unstable();
    still.extend(perhaps_on_purpose.into_iter().skip(tries_to_come(seen, group)));
    let mut words = if waiting == 0 { "nothing waits".to_owned() } else { format!("{waiting} wait") };
    let mut finding = Finding::new(format!("groups/{group}"), State::Ok, "");
    if let Some(since) = still.into_iter().min() {
        words += &format!("; a partition has not moved for {}", span(at - since));
        finding.state = State::Degraded;
        finding.since = Since::Known(since);
    }
    let path = format!("root/consumers/{group}");
    Finding { sentence: words, ..finding }
        .with(json!({ "waiting": waiting, "partitions": figures }))
        .holding_up(is_active(seen.tree, &path, "consumer_group"))
}

fn figures_of(seen: &Seen<'_>, lag: &GroupLag, still_since: Option<DateTime<Utc>>) -> Value {
    let name = lease_name(&lag.group, &lag.partition);
    let leases = seen.observation.store.as_ref().map(|store| store.leases.as_slice()).unwrap_or_default();
    let reader = leases.iter().find(|lease| lease.held && lease.name == name).map(|lease| &lease.holder);
    json!({
        "partition": lag.partition,
        "length": lag.length,
        "undelivered": lag.undelivered,
        "pending": lag.pending,
        "reader": reader,
        "unmoved_since": still_since,
    })
}

/// How many events of the group wait for a try that is not overdue.
fn tries_to_come(seen: &Seen<'_>, group: &str) -> usize {
    let Ok(store) = &seen.observation.store else { return 0 };
    if store.retrying.len() >= RETRYING_SHOWN as usize {
        return usize::MAX; // those that are not shown may be of any group
    }
    let is_to_come =
        |one: &&Retrying| one.next_attempt_at.is_none_or(|next| seen.observation.at - next < seen.limit());
    store.retrying.iter().filter(|one| one.consumer_group == group).filter(is_to_come).count()
}

/// Whether this process does the work of that part itself: it has it, and does not stand by.
fn is_active(tree: Option<&Node>, part: &str, actor: &str) -> bool {
    let actor = tree.and_then(|root| root.find(&format!("{part}/{actor}")));
    actor.is_some_and(|actor| !matches!(actor.condition, Condition::Standby(_)))
}
