//! `factline status`: backlog, lag, leases, totals, and the running daemon's supervisor tree.

use factline_pipeline::{
    assignment::lease_name,
    lease::Lease,
    outage,
    outbox::Backlog,
    stream::{EventStream, GroupLag, Partition},
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Verdict,
    daemon::{Daemon, Unanswered},
    doctor::deployment_of,
    print, print_json, table,
    table::counted,
};
use crate::{app::Opener, config::Config, observation, records::Totals, stream_users};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Status {
    /// What is wrong, in words; empty: nothing.
    wrong: Vec<String>,
    /// As is everything below: none where it could not be asked for.
    outbox: Option<Backlog>,
    lag: Vec<GroupLag>,
    leases: Vec<Lease>,
    totals: Option<Totals>,
    /// Which deployment the store belongs to.
    deployment: Option<Uuid>,
    /// The tree of the daemon that `admin.bind` leads to.
    tree: Option<Value>,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let (asked, works_on) = tokio::join!(tree_of_daemon(config), deployment_of_daemon(config));
    let mut status = Status::default();
    if let Err(error) = status.look(config).await {
        status.wrong.insert(0, outage::chain(error.as_ref()));
    }
    status.look_at_daemon(asked, config);
    status.compare_deployments(works_on, config);
    if arguments.json {
        print_json(&status)?;
    } else {
        show(&status)?;
    }
    Ok(if status.wrong.is_empty() { Verdict::Done } else { Verdict::Degraded })
}

/// The tree, if a daemon answers there.
async fn tree_of_daemon(config: &Config) -> anyhow::Result<Option<Value>> {
    match Daemon::of(config)? {
        Some(daemon) => Ok(Some(daemon.get("/api/v1/tree").await?.ok()?)),
        None => Ok(None),
    }
}

/// Which deployment the daemon works on, if it says so.
async fn deployment_of_daemon(config: &Config) -> Option<String> {
    deployment_of(&Daemon::of(config).ok()??).await
}

impl Status {
    /// The tree of another deployment's daemon says nothing about this one.
    fn compare_deployments(&mut self, works_on: Option<String>, config: &Config) {
        let (Some(theirs), Some(ours)) = (works_on, self.deployment) else { return };
        if theirs != ours.to_string() {
            let bind = &config.admin.bind;
            self.tree = None;
            self.wrong.push(format!(
                "the daemon on {bind} works on another deployment ({theirs}) than store.url leads to ({ours}): its tree is \
                 not shown; set admin.bind, or go to the folder of its configuration"
            ));
        }
    }

    /// Looks at the servers, the databases first: they tell more than half of it while the streams are away.
    async fn look(&mut self, config: &Config) -> anyhow::Result<()> {
        let mut opener = Opener::impatient(config);
        let databases = opener.databases().await?;
        let outbox = databases.outbox.backlog().await?;
        self.outbox = Some(outbox);
        self.leases = databases.leases.list().await?;
        self.deployment = Some(databases.records.deployment().await?);
        self.totals = Some(databases.records.totals().await?);
        let relay = format!("relay:{}", config.source.name);
        if outbox.pending > 0 && !self.is_held(&relay) {
            self.wrong.push(format!(
                "{} pending in the outbox and no relay is active",
                counted(outbox.pending, "row")
            ));
        }
        self.look_at_streams(config, &*opener.stream().await?).await
    }

    async fn look_at_streams(&mut self, config: &Config, stream: &dyn EventStream) -> anyhow::Result<()> {
        let topics = stream.topics().await?;
        self.lag = stream.lag(&topics).await?;
        for topic in observation::unread_topics(stream, &topics, &self.lag).await? {
            self.wrong.push(format!(
                "topic {topic:?} is read by no group, and nothing in it is ever trimmed: name it in the topics of a \
                 group, or delete what is in it with `factline stream drop {topic}`"
            ));
        }
        for group in &config.groups {
            let mut partitions = group.topics.iter().flat_map(|topic| stream.partitions(topic));
            if partitions.any(|partition| self.waits_unread(&group.name, &partition)) {
                self.wrong.push(format!("group {} has entries waiting that nobody reads", group.name));
            }
        }
        Ok(())
    }

    fn look_at_daemon(&mut self, asked: anyhow::Result<Option<Value>>, config: &Config) {
        match asked {
            Ok(tree) => {
                if let Some(tree) = &tree {
                    unwell(tree, &mut self.wrong);
                }
                self.tree = tree;
            }
            Err(error) if error.is::<Unanswered>() => {
                let bind = &config.admin.bind;
                self.wrong.push(format!("no daemon answers on {bind}; start it with `factline run`"));
            }
            Err(error) => self.wrong.push(format!("{error:#}")),
        }
    }

    fn is_held(&self, lease: &str) -> bool {
        self.leases.iter().any(|one| one.held && one.name == lease)
    }

    fn waits_unread(&self, group: &str, partition: &Partition) -> bool {
        let waits =
            self.lag.iter().any(|lag| lag.partition == *partition && lag.group == group && lag.waiting() > 0);
        waits && !self.is_held(&lease_name(group, partition))
    }
}

/// Whoever is not running, or says that it is degraded.
fn unwell(node: &Value, wrong: &mut Vec<String>) {
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    if node["state"] != "running" {
        wrong.push(format!("{} is {}", text("path"), text("state")));
    } else if node["condition"]["kind"] == "degraded" || node["condition"]["kind"] == "paused" {
        let reason = node["condition"]["reason"].as_str().unwrap_or_default();
        wrong.push(format!(
            "{} is {}: {reason}",
            text("path"),
            node["condition"]["kind"].as_str().unwrap_or("unwell")
        ));
    }
    node["children"].as_array().into_iter().flatten().for_each(|child| unwell(child, wrong));
}

fn show(status: &Status) -> anyhow::Result<()> {
    if let Some(outbox) = &status.outbox {
        let oldest = outbox.oldest_pending.map(|time| format!(", the oldest since {}", table::time(time)));
        let (pending, failed, oldest) = (outbox.pending, outbox.failed, oldest.unwrap_or_default());
        let about = if outbox.estimated { "about " } else { "" };
        print(format!("outbox   {about}{pending} pending, {failed} failed{oldest}"))?;
    }
    if let Some(totals) = &status.totals {
        print(format!(
            "ledger   {} processed, {} dead-lettered ({} of them open); {}",
            totals.processed,
            totals.dead_lettered,
            totals.open_dead_letters,
            counted(totals.facts, "fact")
        ))?;
        if totals.retrying > 0 {
            print(format!(
                "retrying {}, each with its key waiting behind it",
                counted(totals.retrying, "event")
            ))?;
        }
    }
    if !status.lag.is_empty() {
        let mut lag = table::new(&["group", "partition", "entries", "lag", "pending"]);
        for one in &status.lag {
            lag.add_row([
                one.group.clone(),
                one.partition.to_string(),
                one.length.to_string(),
                table::or_dash(one.undelivered.map(|lag| lag.to_string())),
                one.pending.to_string(),
            ]);
        }
        print(lag.to_string())?;
    }
    if !status.leases.is_empty() {
        let mut leases = table::new(&["lease", "holder", "token", "held"]);
        for lease in status.leases.iter().filter(|lease| !stream_users::is_stream_use(lease)) {
            let held = if lease.held { "yes" } else { "no" };
            leases.add_row([&lease.name, &lease.holder, &lease.token.to_string(), held]);
        }
        print(leases.to_string())?;
    }
    if let Some(tree) = &status.tree {
        print(tree_lines(tree))?;
    }
    status.wrong.iter().try_for_each(|wrong| print(format!("! {wrong}")))
}

/// The tree as it is drawn: a line for each supervisor and actor.
pub(super) fn tree_lines(root: &Value) -> String {
    let mut lines = Vec::new();
    draw(root, "", "", &mut lines);
    lines.join("\n")
}

fn draw(node: &Value, first: &str, rest: &str, lines: &mut Vec<String>) {
    let text = |field: &str| node[field].as_str().unwrap_or_default();
    let mut line = format!("{first}{}", text("id"));
    if let Some(strategy) = node["supervision"]["strategy"].as_str() {
        line += &format!("  ({strategy})");
    }
    line += &format!("  {}", text("state"));
    let condition = node["condition"]["kind"].as_str().unwrap_or_default();
    if condition != "healthy" {
        line += &format!(", {condition}");
        if let Some(reason) = node["condition"]["reason"].as_str() {
            line += &format!(": {reason}");
        }
    }
    if let Some(restarts) = node["restarts"].as_u64().filter(|restarts| *restarts > 0) {
        line += &format!(", {}", counted(restarts, "restart"));
        if let Some(reason) = node["last_exit"]["reason"].as_str() {
            line += &format!(", last {reason}");
        }
    }
    lines.push(line);
    let children: Vec<&Value> = node["children"].as_array().into_iter().flatten().collect();
    for (index, child) in children.iter().enumerate() {
        let (branch, below) =
            if index + 1 == children.len() { ("└── ", "    ") } else { ("├── ", "│   ") };
        draw(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), lines);
    }
}
