//! The daemon on `admin.bind`: whether it answers, is the right one, and how its parts do.

use serde_json::{Value, json};

use super::{Daemon, Finding, NoTree, Scene};

const CHECK: &str = "daemon";

pub(super) fn answers(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let bind = &scene.config.admin.bind;
    findings.push(match &scene.daemon {
        Daemon::NotConfigured => return,
        Daemon::Silent(reason) if reason.starts_with("no answer") => {
            let sentence = format!("the daemon on {bind} has its port and gives no answer: it hangs");
            Finding::problem(CHECK, sentence)
                .next("restart its process; what it had in hand is done at the next start")
                .data(json!({ "bind": bind }))
        }
        Daemon::Silent(reason) => Finding::problem(CHECK, format!("no daemon answers on {bind}: {reason}"))
            .next("factline run")
            .data(json!({ "bind": bind })),
        Daemon::Answers { tree: Err(why), .. } => {
            let (reason, next) = match why {
                NoTree::WantsToken(reason) => (reason, "export FACTLINE_TOKEN=…"),
                NoTree::Other(reason) => (reason, "factline health"),
            };
            Finding::warning(CHECK, format!("the daemon on {bind} does not show its tree: {reason}"))
                .next(next)
        }
        Daemon::Answers { .. } => Finding::ok(CHECK, format!("the daemon on {bind} answers")),
    });
}

pub(super) fn works_on_this_deployment(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let (Daemon::Answers { deployment: Some(theirs), .. }, Some(store)) = (&scene.daemon, scene.store())
    else {
        return;
    };
    let ours = store.deployment.to_string();
    if *theirs != ours {
        let bind = &scene.config.admin.bind;
        findings.push(
            Finding::problem(
                "deployment",
                format!(
                    "the daemon on {bind} works on deployment {theirs}, but store.url leads to {ours}: it is \
                     another one's daemon, or this folder is not where its configuration is"
                ),
            )
            .next("factline config show")
            .data(json!({ "daemon": theirs, "store": ours })),
        );
    }
}

/// Whoever is not running, or says that it is unwell.
pub(super) fn parts(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    if let Daemon::Answers { tree: Ok(tree), .. } = &scene.daemon {
        let before = findings.len();
        unwell(tree, findings);
        if findings.len() == before {
            findings.push(Finding::ok("tree", "every actor runs"));
        }
    }
}

/// How a child is down that does not come back by itself soon, and what brings it back.
fn down(state: &str) -> Option<(&'static str, &'static str)> {
    match state {
        "paused" => Some(("was paused by an operator, until it is resumed", "resume")),
        "stopped" => Some(("was stopped by an operator, until it is restarted", "restart")),
        "parked" => Some(("has failed too often and is tried again only now and then", "restart")),
        _ => None,
    }
}

fn unwell(node: &Value, findings: &mut Vec<Finding>) {
    let text = |field: &str| node[field].as_str().unwrap_or_default();
    let (path, state) = (text("path"), text("state"));
    let condition = node["condition"]["kind"].as_str().unwrap_or_default();
    let data = json!({ "path": path, "state": state, "condition": node["condition"] });
    if let Some((words, remedy)) = down(state) {
        let finding = Finding::problem("tree", format!("{path} {words}"));
        findings.push(finding.next(format!("factline tree {remedy} {path}")).data(data));
        return; // what is below is down with it
    }
    if state != "running" {
        let finding = Finding::problem("tree", format!("{path} is {state}"));
        findings.push(finding.next("factline tree").data(data));
    } else if matches!(condition, "degraded" | "paused") {
        let reason = node["condition"]["reason"].as_str().unwrap_or_default();
        let finding = Finding::problem("tree", format!("{path} is {condition}: {reason}"));
        findings.push(finding.next("factline tree").data(data));
    }
    node["children"].as_array().into_iter().flatten().for_each(|child| unwell(child, findings));
}
