//! What PostgreSQL says of itself.

use serde_json::json;

use super::{Finding, Scene, duration};
use crate::observation::{Holder, Observation, OldTransaction, PostgresServer};

/// The share of the connections from which on it is worth a word, in percent.
const MANY: i64 = 80;

/// A slot's age is known in transactions alone: as many as a busy server sees in a second. In the five minutes after
/// which a transaction is old they are a million.
const TRANSACTIONS_A_SECOND: f64 = 3_333.0;

/// The servers, each once: outbox and store may share one.
fn servers<'a>(scene: &'a Scene<'_>) -> Vec<(&'static str, &'a PostgresServer)> {
    let outbox = outbox_server(&scene.now);
    let store = store_server(&scene.now);
    let shared = scene.config.source.url == scene.config.store.url;
    let store = store.filter(|_| !shared || outbox.is_none());
    [("outbox", outbox), ("store", store)]
        .into_iter()
        .filter_map(|(part, server)| Some((part, server?)))
        .collect()
}

fn outbox_server(look: &Observation) -> Option<&PostgresServer> {
    look.outbox.as_ref().ok()?.server.as_ref()
}

fn store_server(look: &Observation) -> Option<&PostgresServer> {
    look.store.as_ref().ok()?.server.as_ref()
}

/// Dead rows pile up that no vacuum may clear away, and every claim walks over them.
pub(super) fn transactions(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for (part, server) in servers(scene) {
        let before =
            if part == "outbox" { outbox_server(&scene.before) } else { store_server(&scene.before) };
        let stayed = |one: &&OldTransaction| before.is_none_or(|before| was_there(one, before));
        let old = server.oldest_transaction.as_ref().filter(|one| is_old(one, scene)).filter(stayed);
        findings.push(match old {
            Some(old) => blame(part, old),
            None => Finding::ok("transactions", format!("no old transaction in the database of the {part}")),
        });
    }
}

fn is_old(one: &OldTransaction, scene: &Scene<'_>) -> bool {
    match one.age_seconds {
        Some(age) => age > scene.limits.transaction.as_secs_f64(),
        None => one.kind == Holder::Slot && as_float(one.transactions) > many_transactions(scene),
    }
}

fn many_transactions(scene: &Scene<'_>) -> f64 {
    scene.limits.transaction.as_secs_f64() * TRANSACTIONS_A_SECOND
}

#[expect(clippy::cast_precision_loss, reason = "there are never more than two thousand million")]
fn as_float(transactions: i64) -> f64 {
    transactions as f64
}

/// The looks at outbox and store are transactions too, and each sees the other's. None of them lasts for two looks.
fn was_there(now: &OldTransaction, before: &PostgresServer) -> bool {
    before
        .oldest_transaction
        .as_ref()
        .is_some_and(|before| (before.kind, before.pid, before.since) == (now.kind, now.pid, now.since))
}

fn blame(part: &str, old: &OldTransaction) -> Finding {
    let OldTransaction { pid, application, state, age_seconds, transactions, .. } = old;
    let age = age_seconds.map(|age| format!("for {}", duration(age))).unwrap_or_default();
    let name = application.replace('\'', "''");
    let (what, next) = match (old.kind, pid) {
        (Holder::Slot, _) => (
            format!("replication slot {application} ({state})"),
            format!("SELECT pg_drop_replication_slot('{name}')"),
        ),
        (Holder::Prepared, _) => {
            (format!("prepared transaction {application}"), format!("ROLLBACK PREPARED '{name}'"))
        }
        (Holder::Transaction, pid) => {
            let pid = pid.unwrap_or_default();
            (
                format!("the transaction of process {pid} ({application:?}, {state})"),
                format!("SELECT pg_terminate_backend({pid})"),
            )
        }
    };
    let sentence = format!(
        "{what} has kept dead rows from being cleared away in the database of the {part} {age} ({transactions} \
         transactions)"
    );
    Finding::warning("transactions", sentence.replace("  ", " ")).next(next).data(old)
}

/// Whoever comes next is turned away.
pub(super) fn connections(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for (part, server) in servers(scene) {
        let (used, most) = (server.connections, server.max_connections.max(1));
        let sentence = format!("{used} of {most} connections to the server of the {part} are in use");
        let data = json!({ "part": part, "used": used, "max": most });
        findings.push(if used * 100 > most * MANY {
            let next =
                "SELECT usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3";
            Finding::warning("connections", sentence).next(next).data(data)
        } else {
            Finding::ok("connections", sentence).data(data)
        });
    }
}
