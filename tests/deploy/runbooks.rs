//! The runbooks: that every page can be found, and leads somewhere. `daemon::readme` tries their commands.

use std::collections::BTreeSet;

use super::{read, root, rules, services};

fn pages() -> Vec<String> {
    let files = std::fs::read_dir(root().join("deploy/runbooks")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// The targets of a page's links to other files.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://")).collect()
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_in_the_index() {
    for page in pages() {
        for link in links(&read(&format!("deploy/runbooks/{page}"))) {
            assert!(root().join("deploy/runbooks").join(link).exists(), "{page}: {link}");
        }
    }
    let index = read("deploy/runbooks/README.md");
    let listed: BTreeSet<&str> = links(&index).into_iter().collect();
    for page in pages().iter().filter(|page| *page != "README.md") {
        assert!(listed.contains(page.as_str()), "{page} is not in the index");
    }
    for alert in rules::alerts() {
        let name = alert["alert"].as_str().unwrap();
        let page = alert["annotations"]["runbook_url"].as_str().unwrap().rsplit('/').next().unwrap();
        let page = page.strip_suffix(".md").unwrap();
        assert!(index.contains(&format!("| {name} | [{page}]({page}.md) |")), "{name} is not in the index");
    }
    for link in links(&read("README.md")) {
        assert!(root().join(link.split('#').next().unwrap()).exists(), "README.md: {link}");
    }
}

#[test]
fn every_page_of_an_alert_says_when_it_is_over() {
    for alert in rules::alerts() {
        let page = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(read(page).contains("It is over"), "{page}");
    }
}

/// Where the daemon's container may not run, or what fails is not Factline's.
const WITHOUT_DOCTOR: [&str; 2] = ["daemon-down.md", "target-down.md"];

#[test]
fn every_page_of_an_alert_has_the_doctor_called_first() {
    let mut others = Vec::new();
    for alert in rules::alerts() {
        let page = alert["annotations"]["runbook_url"].as_str().unwrap();
        let text = read(page);
        let first = text.lines().find(|line| line.starts_with("factline "));
        if first != Some("factline doctor") {
            others.push(page.rsplit('/').next().unwrap().to_owned());
        }
    }
    others.sort();
    assert_eq!(others, WITHOUT_DOCTOR);
}

/// Services that are named to docker compose, and profiles.
#[test]
fn every_service_that_a_page_names_exists() {
    let services = services();
    let profiles: Vec<&str> =
        services.values().flat_map(|service| super::texts(&service["profiles"])).collect();
    let mut named = 0;
    for page in pages() {
        let text = read(&format!("deploy/runbooks/{page}"));
        for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("docker compose ")) {
            let line = line.split([';', '|', '>']).next().unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_service = |word: &&&str| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            };
            let verb =
                words.iter().position(|word| ["logs", "ps", "stop", "start", "restart"].contains(word));
            for service in verb.map(|verb| &words[verb + 1..]).unwrap_or_default().iter().filter(is_service) {
                assert!(services.contains_key(*service), "{page}: {line}");
                named += 1;
            }
            if let Some(profile) = words.iter().position(|word| *word == "--profile") {
                assert!(profiles.contains(&words[profile + 1]), "{page}: {line}");
            }
        }
    }
    assert!(named > 20, "{named}");
}
