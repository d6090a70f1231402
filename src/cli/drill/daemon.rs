//! What the daemons say over HTTP: how their actors do, how often they were restarted, and what came twice.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{cli::daemon::Daemon, config::Config};

/// Who is asked.
pub(super) struct Daemons(Vec<Daemon>);

/// What one of them said, or why nothing.
pub(super) struct Answer {
    url: String,
    tree: anyhow::Result<Value>,
}

/// What all of them said.
pub(super) struct Trees(Vec<Answer>);

impl Daemons {
    /// Those that were named, or whoever listens where the configuration says.
    pub(super) fn new(named: &[String], config: &Config) -> anyhow::Result<Self> {
        Ok(Self(match named {
            [] => Daemon::of(config)?.into_iter().collect(),
            named => named.iter().map(|url| Daemon::at(url)).collect(),
        }))
    }

    pub(super) async fn look(&self) -> Trees {
        let mut answers = Vec::with_capacity(self.0.len());
        for daemon in &self.0 {
            let tree = ask(daemon, "/api/v1/tree").await;
            answers.push(Answer { url: daemon.url().to_owned(), tree });
        }
        Trees(answers)
    }

    /// How many entries they have read whose events had taken effect before; nothing if one of them does not say.
    pub(super) async fn duplicates(&self) -> Option<u64> {
        let mut duplicates = None;
        for daemon in &self.0 {
            let metrics = ask(daemon, "/metrics.json").await.ok()?;
            let number = metrics["events_duplicate_total"].as_u64()?;
            duplicates = Some(duplicates.unwrap_or_default() + number);
        }
        duplicates
    }
}

async fn ask(daemon: &Daemon, path: &str) -> anyhow::Result<Value> {
    daemon.get(path).await?.ok()
}

impl Trees {
    /// Why nothing is known of the actors, if so.
    pub(super) fn silence(&self) -> Option<String> {
        if self.0.is_empty() {
            return Some("admin.bind is empty; name a daemon with --daemon".to_owned());
        }
        let silent = self.0.iter().filter_map(|answer| Some((&answer.url, answer.tree.as_ref().err()?)));
        let silent: Vec<String> = silent.map(|(url, error)| format!("{url}: {error:#}")).collect();
        (!silent.is_empty()).then(|| silent.join("; "))
    }

    /// Who is not running, or says that it is not well: paths and reasons.
    pub(super) fn unwell(&self) -> Vec<String> {
        let mut unwell = Vec::new();
        self.each_node(&mut |_, node| {
            let path = node["path"].as_str().unwrap_or_default();
            let (state, condition) = (node["state"].as_str(), node["condition"]["kind"].as_str());
            let reason = node["condition"]["reason"].as_str().map(|reason| format!(": {reason}"));
            match (state, condition) {
                (Some("running"), Some("healthy") | None) => {}
                (Some("running"), Some(condition)) => {
                    unwell.push(format!("{path} is {condition}{}", reason.unwrap_or_default()));
                }
                (state, _) => unwell.push(format!("{path} is {}", state.unwrap_or("in no state"))),
            }
        });
        unwell
    }

    /// Who was started anew since then.
    pub(super) fn restarted_since(&self, before: &Self) -> Vec<String> {
        let (before, now) = (before.starts(), self.starts());
        let anew = now.iter().filter(|(path, starts)| before.get(*path) != Some(starts));
        anew.map(|((_, path), _)| path.clone()).collect()
    }

    /// How often each was started, by daemon and path.
    fn starts(&self) -> BTreeMap<(String, String), u64> {
        let mut starts = BTreeMap::new();
        self.each_node(&mut |url, node| {
            let path = node["path"].as_str().unwrap_or_default().to_owned();
            starts.insert((url.to_owned(), path), node["generation"].as_u64().unwrap_or_default());
        });
        starts
    }

    fn each_node(&self, told: &mut impl FnMut(&str, &Value)) {
        for Answer { url, tree } in &self.0 {
            if let Ok(tree) = tree {
                visit(url, tree, told);
            }
        }
    }
}

fn visit(url: &str, node: &Value, told: &mut impl FnMut(&str, &Value)) {
    told(url, node);
    for child in node["children"].as_array().into_iter().flatten() {
        visit(url, child, told);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trees(generation: u64, condition: &Value) -> Trees {
        let tree = json!({
            "path": "root", "state": "running", "generation": 1, "condition": { "kind": "healthy" },
            "children": [{ "path": "root/a", "state": "running", "generation": generation, "condition": condition }],
        });
        Trees(vec![Answer { url: "http://x".into(), tree: Ok(tree) }])
    }

    #[test]
    fn who_is_unwell_and_who_was_restarted_is_told_by_path() {
        let well = trees(1, &json!({ "kind": "healthy" }));
        let degraded = trees(2, &json!({ "kind": "degraded", "reason": "no server" }));
        assert_eq!(well.unwell(), Vec::<String>::new());
        assert_eq!(degraded.unwell(), ["root/a is degraded: no server"]);
        assert_eq!(degraded.restarted_since(&well), ["root/a"]);
        assert_eq!(well.restarted_since(&well), Vec::<String>::new());
        assert_eq!(well.silence(), None);
        assert!(Trees(Vec::new()).silence().is_some());
    }
}
