//! What a drill tells: its steps while it plays, and at the end its checks, its figures, and its verdict.

use std::time::Instant;

use factline_pipeline::outage;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::{Verdict, print, print_json, table};

/// Tells, and remembers for the end.
#[derive(Serialize)]
pub(super) struct Journal {
    drill: &'static str,
    /// What its keys begin with.
    run: String,
    passed: bool,
    /// What nobody could look at: `passed` says nothing of it.
    not_looked_at: Vec<String>,
    checks: Vec<Check>,
    figures: Map<String, Value>,
    /// What it leaves behind.
    remains: Vec<String>,
    steps: Vec<Step>,
    #[serde(skip)]
    began: Instant,
    #[serde(skip)]
    quiet: bool,
}

#[derive(Serialize)]
struct Step {
    seconds: f64,
    what: String,
}

/// Something that must be so; nothing of `passed` where it could not be looked at.
#[derive(Serialize)]
struct Check {
    what: String,
    passed: Option<bool>,
    found: String,
}

impl Journal {
    pub(super) fn begin(drill: &'static str, run: String, json: bool) -> Self {
        let mut journal = Self {
            drill,
            run,
            passed: true,
            not_looked_at: Vec::new(),
            checks: Vec::new(),
            figures: Map::new(),
            remains: Vec::new(),
            steps: Vec::new(),
            began: Instant::now(),
            quiet: json,
        };
        journal.step(format!("drill {drill}; its events have keys that begin with {}", journal.run));
        journal
    }

    /// Something is done now. A reader that went away must not end a drill half-way.
    pub(super) fn step(&mut self, what: impl Into<String>) {
        let step = Step { seconds: rounded(self.began.elapsed().as_secs_f64()), what: what.into() };
        if !self.quiet
            && let Err(error) = print(format!("{:6.1} s  {}", step.seconds, step.what))
        {
            tracing::debug!(%error, "nobody reads what the drill does");
        }
        self.steps.push(step);
    }

    /// Whether something is as it must be, and what was found.
    pub(super) fn check(&mut self, what: impl Into<String>, passed: bool, found: impl Into<String>) {
        self.passed &= passed;
        self.checks.push(Check { what: what.into(), passed: Some(passed), found: found.into() });
    }

    /// Something could not be looked at, and why.
    pub(super) fn unchecked(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let what = what.into();
        self.not_looked_at.push(what.clone());
        self.checks.push(Check { what, passed: None, found: why.into() });
    }

    pub(super) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    pub(super) fn seconds(&mut self, name: &str, seconds: f64) {
        self.figure(name, rounded(seconds));
    }

    pub(super) fn remains(&mut self, what: impl Into<String>) {
        self.remains.push(what.into());
    }

    /// The verdict. A drill that did not come to its end has failed.
    pub(super) fn finish(mut self, played: anyhow::Result<()>) -> anyhow::Result<Verdict> {
        if let Err(error) = played {
            self.check("the drill came to its end", false, outage::chain(error.as_ref()));
        }
        if self.quiet {
            print_json(&self)?;
        } else {
            print(self.told())?;
        }
        Ok(if self.passed { Verdict::Done } else { Verdict::Wrong })
    }

    fn told(&self) -> String {
        let mut checks = table::new(&["check", "", "found"]);
        for check in &self.checks {
            let word = match check.passed {
                Some(true) => "ok",
                Some(false) => "FAILED",
                None => "not looked at",
            };
            checks.add_row([&check.what, word, &check.found]);
        }
        let mut figures = table::new(&["figure", "value"]);
        for (name, value) in &self.figures {
            figures.add_row([name.replace('_', " "), value.to_string()]);
        }
        let mut parts = vec![checks.to_string(), figures.to_string()];
        let remains: Vec<String> = self.remains.iter().map(|what| format!("remains: {what}")).collect();
        parts.extend((!remains.is_empty()).then(|| remains.join("\n")));
        parts.push(format!("{}: {}", self.verdict(), self.drill));
        parts.join("\n\n")
    }

    fn verdict(&self) -> String {
        let verdict = if self.passed { "passed" } else { "failed" };
        match self.not_looked_at.len() {
            0 => verdict.to_owned(),
            number => format!("{verdict}, {} not looked at", table::counted(number, "check")),
        }
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
