//! What PostgreSQL says of itself.

use serde_json::json;

use super::{Finding, Scene, duration};
use crate::observation::{Holder, OldTransaction, PostgresServer};

/// The share of the connections from which on it is worth a word, in percent.
const MANY: i64 = 80;

/// A slot's age is known in transactions alone: from so many on it is worth a word.
const MANY_TRANSACTIONS: i64 = 1_000_000;

/// The servers, each once: outbox and store may share one.
fn servers<'a>(scene: &'a Scene<'_>) -> Vec<(&'static str, &'a PostgresServer)> {
    let outbox = scene.now.outbox.as_ref().ok().and_then(|view| view.server.as_ref());
    let store = scene.store().and_then(|view| view.server.as_ref());
    let shared = scene.config.source.url == scene.config.store.url;
    let store = store.filter(|_| !shared || outbox.is_none());
    [("outbox", outbox), ("store", store)]
        .into_iter()
        .filter_map(|(part, server)| Some((part, server?)))
        .collect()
}

/// Dead rows pile up that no vacuum may clear away, and every claim walks over them.
pub(super) fn transactions(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for (part, server) in servers(scene) {
        let old = server.oldest_transaction.as_ref().filter(|one| is_old(one, scene));
        findings.push(match old {
            Some(old) => blame(part, old),
            None => Finding::ok("transactions", format!("no old transaction in the database of the {part}")),
        });
    }
}

fn is_old(one: &OldTransaction, scene: &Scene<'_>) -> bool {
    match one.age_seconds {
        Some(age) => age > scene.limits.transaction.as_secs_f64(),
        None => one.kind == Holder::Slot && one.transactions > MANY_TRANSACTIONS,
    }
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
