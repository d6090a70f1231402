//! The tables: whether this version of Factline and the databases fit.

use serde_json::json;

use super::{Finding, Scene};

pub(super) fn migrations(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for (set, status) in &scene.schemas {
        // A database that does not answer was told before.
        let Ok(status) = status else { continue };
        if status.foreign {
            findings.push(Finding::ok("migrations", "the outbox table is the application's own"));
            continue;
        }
        let missing: Vec<i64> =
            status.migrations.iter().filter(|one| !one.applied).map(|one| one.version).collect();
        let ahead: Vec<i64> =
            status.migrations.iter().filter(|one| one.is_unknown()).map(|one| one.version).collect();
        let data = json!({ "set": set, "missing": missing, "ahead": ahead });
        let finding = if !missing.is_empty() {
            let sentence = format!("{set}: migrations {} are missing", list(&missing));
            Finding::problem("migrations", sentence).next("factline migrate up")
        } else if !ahead.is_empty() {
            let sentence = format!(
                "{set}: migrations {} were made by a newer version of factline than this one ({})",
                list(&ahead),
                env!("CARGO_PKG_VERSION")
            );
            Finding::warning("migrations", sentence).next("factline --version")
        } else {
            Finding::ok("migrations", format!("{set}: all migrations are applied"))
        };
        findings.push(finding.data(data));
    }
}

fn list(versions: &[i64]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
