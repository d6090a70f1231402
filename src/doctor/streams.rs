//! The streams: whether all daemons use the same ones, and whether everything in them is read.

use serde_json::json;

use super::{Finding, Scene};
use crate::stream_users;

/// Daemons that share a store but not their streams never meet.
pub(super) fn same_for_all(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(store) = scene.store() else { return };
    let uses = stream_users::uses(&store.leases);
    if let Some(disagreement) = stream_users::disagreement(&uses) {
        findings.push(
            Finding::problem("streams", format!("{disagreement}; set stream.url and stream.prefix alike"))
                .next("factline config show")
                .data(&uses),
        );
        return;
    }
    let (Some(streams), Some(theirs)) = (scene.streams(), uses.first()) else { return };
    let ours = &streams.identity;
    if theirs.streams.id == ours.id {
        findings.push(Finding::ok("streams", "the daemons and this command use the same streams"));
        return;
    }
    let sentence = format!(
        "the daemons use the streams {} ({}, {} partitions), but this configuration leads to {} ({}, {} partitions): \
         what is told here of streams is not theirs",
        theirs.streams.id,
        theirs.streams.place,
        theirs.streams.partitions,
        ours.id,
        ours.place,
        ours.partitions
    );
    let finding = Finding::problem("streams", sentence).next("factline config show");
    findings.push(finding.data(json!({ "daemons": theirs.streams, "here": ours })));
}

/// What no group reads is never trimmed, and stops the relay in the end.
pub(super) fn unread_topics(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(streams) = scene.streams() else { return };
    for topic in &streams.unread {
        let sentence = format!(
            "no group reads topic {topic:?}, and nothing in it is ever trimmed: name it in the topics of a group, or \
             drop what is in it"
        );
        findings.push(
            Finding::warning("unread_topic", sentence)
                .next(format!("factline stream drop {topic} --dry-run"))
                .data(json!({ "topic": topic })),
        );
    }
}
