//! How each actor does, and each supervisor that does not run.

use chrono::{DateTime, Utc};
use factline_supervision::{Condition, Node, NodeKind, NodeState};
use serde_json::json;

use super::{Finding, Seen, Since, State, memory::Memory};

pub(super) fn of_tree(seen: &Seen<'_>, memory: &mut Memory, found: &mut Vec<Finding>) {
    match seen.tree {
        Some(root) => of_node(root, memory, found),
        None => found.push(Finding::new("root", State::Unknown, "the tree is not known").holding_up(true)),
    }
}

fn of_node(node: &Node, memory: &mut Memory, found: &mut Vec<Finding>) {
    let before = memory.restarts.insert(node.path.clone(), node.restarts);
    let restarted = before.is_some_and(|before| node.restarts > before);
    let (state, words, reason) = how_it_does(node, restarted);
    let since = match node.state {
        NodeState::Running if !restarted => Since::Before(DateTime::<Utc>::from(node.condition_since)),
        _ => Since::Looks,
    };
    let data = json!({
        "state": node.state,
        "restarts": node.restarts,
        "restarts_in_window": node.restarts_in_window,
        "last_exit": node.last_exit,
        "in_flight": node.in_flight,
        "mailbox": node.mailbox,
    });
    found.push(Finding {
        quiet: node.kind == NodeKind::Supervisor,
        ..Finding::new(&*node.path, state, format!("{} {words}", node.id))
            .holding_up(true)
            .because(reason)
            .since(since)
            .with(data)
    });
    node.children.iter().for_each(|child| of_node(child, memory, found));
}

fn how_it_does(node: &Node, restarted: bool) -> (State, &'static str, Option<&str>) {
    match node.state {
        NodeState::Running if restarted => (State::Degraded, "has just been restarted", None),
        NodeState::Running => match &node.condition {
            Condition::Healthy => (State::Ok, "works", None),
            Condition::Standby(reason) => (State::Ok, "stands by", Some(reason)),
            Condition::Degraded(reason) => (State::Degraded, "waits for an outage to end", Some(reason)),
            Condition::Paused(reason) => (State::Degraded, "holds back", Some(reason)),
        },
        NodeState::Pending => (State::Degraded, "waits for its turn to start", None),
        NodeState::Starting => (State::Degraded, "is starting", None),
        NodeState::Stopping => (State::Degraded, "is stopping", None),
        NodeState::BackingOff => (State::Degraded, "ended, and will be started again", None),
        NodeState::Paused => (State::Degraded, "was paused by an operator, until it is resumed", None),
        NodeState::Stopped => (State::Failed, "was stopped by an operator, until it is restarted", None),
        NodeState::Parked => {
            (State::Failed, "ended too often and is parked; it is tried again now and then", None)
        }
        NodeState::Finished => (State::Failed, "has ended for good", None),
    }
}
