//! Dead letters: whether there are more of them, and whether somebody deals with them.

use super::{Finding, Scene, counted, duration};

pub(super) fn dead_letters(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let Some(store) = scene.store() else { return };
    let letters = store.dead_letters;
    if letters.recent > 0 && letters.open > 0 {
        let sentence = format!(
            "dead letters rise: {} set aside in the last ten minutes, {} open",
            counted(letters.recent, "event"),
            letters.open
        );
        let finding = Finding::problem("dead_letters", sentence);
        findings.push(finding.next("factline dlq list --group").data(letters));
    } else if letters.open > 0 {
        let age = letters.oldest.map(|oldest| (scene.now.at - oldest).as_seconds_f64());
        let since = age.map(|age| format!(", the oldest for {}", duration(age))).unwrap_or_default();
        let sentence = format!("{} open{since}", counted(letters.open, "dead letter"));
        let finding = Finding::warning("dead_letters", sentence);
        findings.push(finding.next("factline dlq list --group").data(letters));
    } else {
        findings.push(Finding::ok("dead_letters", "no dead letter is open"));
    }
}
