//! The relay, and what waits for it.

use serde_json::json;

use super::{Finding, Scene, counted, duration};
use crate::{observation::StoreView, stream_users};

/// A relay that takes less than this is not behind: a row waits for its turn.
const NOT_WORTH_A_WORD: u64 = 100;

/// Nobody relays, or those who could only stand by.
pub(super) fn is_active(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(store) = scene.store() else { return };
    let name = format!("relay:{}", scene.config.source.name);
    let lease = store.leases.iter().find(|lease| lease.name == name);
    if let Some(lease) = lease.filter(|lease| lease.held) {
        findings.push(Finding::ok("relay", format!("{} relays", lease.holder)));
        return;
    }
    let last = lease.map(|lease| format!("; the last was {}", lease.holder)).unwrap_or_default();
    let sentence = match someone_who_could(store) {
        Some(daemon) => format!(
            "no relay is active, although daemon {daemon} could be: it is starting, or its relay is paused or down{last}"
        ),
        None => format!("no relay runs{last}"),
    };
    let next = if someone_who_could(store).is_some() { "factline tree" } else { "factline run" };
    findings.push(Finding::problem("relay", sentence).next(next).data(json!({ "lease": name })));
}

fn someone_who_could(store: &StoreView) -> Option<String> {
    let uses = stream_users::uses(&store.leases).into_iter();
    uses.filter(|one| one.role != stream_users::Role::Consumers).map(|one| one.daemon).next()
}

/// More comes in than goes out.
pub(super) fn backlog(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let (Ok(before), Ok(now)) = (&scene.before.outbox, &scene.now.outbox) else { return };
    let (was, is) = (before.backlog.pending, now.backlog.pending);
    let about = if now.backlog.estimated { "about " } else { "" };
    let waits = format!("{about}{} wait in the outbox", counted(is, "row"));
    let server = now.server.as_ref().map(|server| server.clock_ahead_ms);
    let age = now.backlog.oldest_pending.map(|oldest| scene.age(oldest, server));
    let since = age.map(|age| format!(", the oldest for {}", duration(age))).unwrap_or_default();
    // A row that waited during both looks has not been taken in between.
    let stuck = is > 0
        && before.backlog.oldest_pending == now.backlog.oldest_pending
        && age.is_some_and(|age| age > scene.seconds())
        && was <= is;
    // Rows that were claimed and not yet marked wait too: a relay that keeps up has many, none of them old. A table
    // without times does not say.
    let growing = is > was && is >= NOT_WORTH_A_WORD && age.is_none_or(|age| scene.is_long(age));
    let data = json!({ "before": was, "now": is, "seconds": scene.seconds(), "oldest_seconds": age });
    findings.push(if growing {
        let more = is - was;
        let sentence =
            format!("the backlog grows: {waits}{since}, {more} more than {:.1} s ago", scene.seconds());
        Finding::problem("backlog", sentence).next("factline status").data(data)
    } else if stuck {
        Finding::problem("backlog", format!("the relay takes nothing: {waits}{since}"))
            .next("factline status")
            .data(data)
    } else {
        Finding::ok("backlog", waits).data(data)
    });
}

/// Rows that could not be published stay in the outbox, marked as failed, when somebody has dealt with their letters.
pub(super) fn failed_rows(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(failed) =
        scene.now.outbox.as_ref().ok().map(|view| view.backlog.failed).filter(|rows| *rows > 0)
    else {
        return;
    };
    let data = json!({ "failed": failed, "letters_wait": scene.unpublished.as_ref().ok() });
    let sentence = format!("{} of the outbox could not be published", counted(failed, "row"));
    findings.push(if scene.unpublished == Ok(true) {
        Finding::warning(
            "failed_rows",
            format!("{sentence}, and not all of their dead letters are dealt with"),
        )
        .next("factline dlq list --consumer-group relay")
        .data(data)
    } else {
        Finding::ok("failed_rows", sentence).data(data)
    });
}
