//! A throwaway Prometheus that scrapes one daemon.

use std::process::Command;

use serde_json::Value;

use super::{
    free_port,
    process::{Folder, Process, text},
    wait_until,
};

/// A Prometheus server of one test.
pub(crate) struct Prometheus {
    url: String,
    // Before the folder: dropped, and so ended, first.
    _process: Process,
    _folder: Folder,
}

impl Prometheus {
    /// Scrapes `/metrics` of this address five times a second.
    pub(crate) fn scraping(address: &str) -> Self {
        let folder = Folder::new("prometheus");
        let config = folder.path.join("prometheus.yml");
        let scrape = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs: [{{job_name: factline, static_configs: [{{targets: ['{address}']}}]}}]\n"
        );
        std::fs::write(&config, scrape).expect("a temporary folder can be written to");
        for _ in 0..3 {
            let (listen, data) = (format!("127.0.0.1:{}", free_port()), folder.path.join("data"));
            let flags = [
                format!("--config.file={}", text(&config)),
                format!("--storage.tsdb.path={}", text(&data)),
                format!("--web.listen-address={listen}"),
            ];
            let mut command = vec!["prometheus"];
            command.extend(flags.iter().map(String::as_str));
            let process = Process::start("TERM", &folder, &command);
            let url = format!("http://{listen}");
            let mut ended = false;
            let ready = wait_until(|| {
                ended = process.has_ended();
                ended || ureq::get(format!("{url}/-/ready")).call().is_ok()
            });
            if ready && !ended {
                return Self { url, _process: process, _folder: folder };
            }
        }
        panic!("Prometheus does not start; is it installed? `apt-get install prometheus`");
    }

    /// The sum of a query's result; `None` if there is none.
    pub(crate) fn ask(&self, query: &str) -> Option<f64> {
        let url =
            url::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)]).ok()?;
        let answer = ureq::get(url.as_str()).call().ok()?.body_mut().read_to_string().ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let results = answer["data"]["result"].as_array().filter(|results| !results.is_empty())?;
        let value = |result: &Value| result["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
        Some(results.iter().filter_map(value).sum())
    }

    /// What `promtool` has to say about an exposition; empty if nothing.
    pub(crate) fn lint(exposition: &str) -> String {
        let folder = Folder::new("exposition");
        let file = folder.path.join("metrics");
        std::fs::write(&file, exposition).expect("a temporary folder can be written to");
        let file = std::fs::File::open(&file).expect("it was just written");
        let output = Command::new("promtool").args(["check", "metrics"]).stdin(file).output();
        let output = output.expect("promtool can be run; `apt-get install prometheus`");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}
