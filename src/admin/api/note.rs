//! Entries of the operator log for what no transaction of the store is about: the tree, and the outbox.

use std::time::Duration;

use serde_json::Value;

use crate::{admin::State, operator_log::Actor};

/// How long the operator log may keep anybody waiting.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes to the operator log what was done. A store that is away must not keep anybody from doing it: the daemon's own
/// log says then that the entry is missing.
pub(super) async fn note(state: &State, by: &Actor, action: &str, target: &str, detail: &Value) {
    let targets = [target.to_owned()];
    let noting = state.adapters.databases.operator_log.note(by, action, &targets, detail);
    let error = match tokio::time::timeout(TIMEOUT, noting).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => factline_pipeline::outage::chain(&error),
        Err(_) => "the store does not answer".to_owned(),
    };
    tracing::error!(who = by.who, action, target, %detail, error, "not in the operator log");
}
