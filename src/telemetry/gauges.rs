//! What is read at the moment somebody asks for metrics: the last observation, and the supervisor tree.
//!
//! Nothing here asks a server: a scrape costs the databases nothing, and hangs with none of them.

#![expect(clippy::cast_precision_loss, reason = "a metric is a float wherever it goes")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use chrono::{DateTime, Utc};
use factline_supervision::{Condition, Node, NodeState};
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use crate::{
    admin::State,
    observation::{Observation, OutboxView, PoolUse, PostgresServer, StoreView, StreamView},
};

/// Where the gauges read. Once it is gone they tell nothing.
pub type Source = Arc<State>;

/// A gauge's place to put a value with its attributes.
type Put<'a> = &'a dyn AsyncInstrument<f64>;

/// Names the gauges and what each reads.
pub(super) fn register(meter: &Meter, source: &Source) {
    let source = Arc::downgrade(source);
    let gauge = |name: &'static str, unit: &'static str, help: &'static str, read: fn(&State, Put<'_>)| {
        let source: Weak<State> = source.clone();
        meter
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |put| {
                if let Some(state) = source.upgrade() {
                    read(&state, put);
                }
            })
            .build();
    };
    register_outbox(&gauge);
    register_store(&gauge);
    register_streams(&gauge);
    register_servers(&gauge);
    register_actors(&gauge);
    let source = source.clone();
    meter
        .u64_observable_counter("factline.actor.restarts")
        .with_description("Restarts of a supervised child, by why it ended")
        .with_callback(move |put| {
            let Some(state) = source.upgrade() else { return };
            every_node(&state, &mut |node| {
                for (kind, number) in &node.restarts_by_kind {
                    put.observe(*number, &[path_of(node), KeyValue::new("reason", *kind)]);
                }
                if node.restarts_by_kind.is_empty() {
                    put.observe(0, &[path_of(node), KeyValue::new("reason", "none")]);
                }
            });
        })
        .build();
}

/// Makes a gauge of a name, a unit, its meaning, and what it reads.
type Gauge<'a> = &'a dyn Fn(&'static str, &'static str, &'static str, fn(&State, Put<'_>));

fn register_outbox(gauge: Gauge<'_>) {
    gauge(
        "factline.outbox.pending",
        "{rows}",
        "Rows of the outbox that wait to be published",
        |state, put| {
            outbox(state, |seen| put.observe(seen.backlog.pending as f64, &[]));
        },
    );
    gauge(
        "factline.outbox.failed",
        "{rows}",
        "Rows of the outbox that can never be published",
        |state, put| {
            outbox(state, |seen| put.observe(seen.backlog.failed as f64, &[]));
        },
    );
    gauge("factline.outbox.oldest.age", "s", "How long the oldest pending row has waited", |state, put| {
        outbox(state, |seen| put.observe(age(seen.backlog.oldest_pending), &[]));
    });
}

fn register_store(gauge: Gauge<'_>) {
    gauge(
        "factline.dead_letters.open",
        "{letters}",
        "Dead letters that nobody has dealt with",
        |state, put| {
            store(state, |seen| put.observe(seen.dead_letters.open as f64, &[]));
        },
    );
    gauge(
        "factline.dead_letters.oldest.age",
        "s",
        "How long the oldest of them has been open",
        |state, put| {
            store(state, |seen| put.observe(age(seen.dead_letters.oldest), &[]));
        },
    );
    gauge(
        "factline.events.retrying",
        "{events}",
        "Events whose next try is to come, 100 at most; their keys wait with them",
        |state, put| store(state, |seen| put.observe(seen.retrying.len() as f64, &[])),
    );
    gauge("factline.relay.active", "", "1 if any daemon relays the outbox", |state, put| {
        let lease = format!("relay:{}", state.config.source.name);
        let is_held = |seen: &StoreView| seen.leases.iter().any(|one| one.held && one.name == lease);
        store(state, |seen| put.observe(f64::from(u8::from(is_held(seen))), &[]));
    });
}

fn register_streams(gauge: Gauge<'_>) {
    gauge(
        "factline.consumer.lag",
        "s",
        "How long the oldest entry has waited that a group is not done with",
        consumer_lag,
    );
    gauge("factline.stream.length", "{entries}", "Entries of a partition", |state, put| {
        streams(state, |seen| {
            for lag in &seen.lag {
                let number = KeyValue::new("partition", i64::from(lag.partition.number));
                put.observe(
                    lag.length as f64,
                    &[KeyValue::new("topic", lag.partition.topic.to_string()), number],
                );
            }
        });
    });
    gauge("factline.stream.lag", "{entries}", "Entries that a group was not given yet", |state, put| {
        of_groups(state, |lag, of| put.observe(lag.undelivered.unwrap_or_default() as f64, of));
    });
    gauge(
        "factline.stream.pending",
        "{entries}",
        "Entries that a group was given and has not finished",
        |state, put| {
            of_groups(state, |lag, of| put.observe(lag.pending as f64, of));
        },
    );
}

/// By group: since when the oldest entry waits that it is not done with; nothing waits for a group that has none.
fn consumer_lag(state: &State, put: Put<'_>) {
    streams(state, |seen| {
        let mut oldest: BTreeMap<&str, Option<DateTime<Utc>>> = BTreeMap::new();
        for lag in &seen.lag {
            let of_group = oldest.entry(&lag.group).or_default();
            *of_group = [*of_group, lag.oldest].into_iter().flatten().min();
        }
        for (group, oldest) in oldest {
            put.observe(age(oldest), &[KeyValue::new("group", group.to_owned())]);
        }
    });
}

fn register_servers(gauge: Gauge<'_>) {
    gauge("factline.pool.connections", "{connections}", "Our connections to a database", |state, put| {
        pools(state, |name, pool| {
            for (kind, number) in [("used", pool.used), ("idle", pool.idle), ("max", pool.max)] {
                put.observe(f64::from(number), &[KeyValue::new("pool", name), KeyValue::new("state", kind)]);
            }
        });
    });
    gauge(
        "factline.postgres.connections",
        "{connections}",
        "Everybody's connections to a server",
        |state, put| {
            databases(state, |of, server| put.observe(server.connections as f64, of));
        },
    );
    gauge(
        "factline.postgres.max_connections",
        "{connections}",
        "Connections that a server takes",
        |state, put| {
            databases(state, |of, server| put.observe(server.max_connections as f64, of));
        },
    );
    gauge(
        "factline.postgres.oldest_transaction",
        "s",
        "How long the transaction has been open that keeps dead rows from being cleared away",
        |state, put| {
            databases(state, |of, server| {
                put.observe(
                    server.oldest_transaction.as_ref().and_then(|one| one.age_seconds).unwrap_or_default(),
                    of,
                );
            });
        },
    );
    gauge("factline.redis.memory", "By", "Memory of the streams' server; no limit is 0", |state, put| {
        streams(state, |seen| {
            if let Some(server) = &seen.server {
                put.observe(server.used_memory as f64, &[KeyValue::new("state", "used")]);
                put.observe(server.max_memory as f64, &[KeyValue::new("state", "max")]);
            }
        });
    });
    gauge(
        "factline.redis.evicted_keys",
        "{keys}",
        "Keys that the streams' server has thrown away",
        |state, put| {
            streams(state, |seen| {
                if let Some(server) = &seen.server {
                    put.observe(server.evicted_keys as f64, &[]);
                }
            });
        },
    );
    gauge("factline.up", "", "1 if a part could be asked at the last look", |state, put| {
        let Some(seen) = state.observer.latest() else { return };
        let parts = [
            ("outbox", seen.outbox.is_ok()),
            ("store", seen.store.is_ok()),
            ("streams", seen.streams.is_ok()),
        ];
        for (part, is_up) in parts {
            put.observe(f64::from(u8::from(is_up)), &[KeyValue::new("part", part)]);
        }
    });
    gauge("factline.observation.age", "s", "How long ago the last look was", |state, put| {
        if let Some(seen) = state.observer.latest() {
            put.observe(age(Some(seen.at)), &[]);
        }
    });
}

fn register_actors(gauge: Gauge<'_>) {
    gauge("factline.actor.state", "", "1 for the state that a supervised child is in", |state, put| {
        every_node(state, &mut |node| {
            put.observe(1.0, &[path_of(node), KeyValue::new("state", name_of(node.state))]);
        });
    });
    gauge("factline.actor.degraded", "", "1 if a child says of itself that it is degraded", |state, put| {
        let is_degraded = |node: &Node| matches!(node.condition, Condition::Degraded(_));
        every_node(state, &mut |node| put.observe(f64::from(u8::from(is_degraded(node))), &[path_of(node)]));
    });
    gauge(
        "factline.actor.in_flight",
        "{items}",
        "Work that a child has in flight, by its own count",
        |state, put| {
            every_node(state, &mut |node| put.observe(node.in_flight as f64, &[path_of(node)]));
        },
    );
    gauge("factline.actor.mailbox.depth", "{messages}", "Messages that wait in a mailbox", |state, put| {
        every_node(state, &mut |node| {
            if let Some(mailbox) = node.mailbox {
                put.observe(mailbox.depth as f64, &[path_of(node)]);
            }
        });
    });
    gauge("factline.actor.mailbox.capacity", "{messages}", "Messages that a mailbox holds", |state, put| {
        every_node(state, &mut |node| {
            if let Some(mailbox) = node.mailbox {
                put.observe(mailbox.capacity as f64, &[path_of(node)]);
            }
        });
    });
    gauge("factline.build.info", "", "1, with the version that runs", |_, put| {
        put.observe(1.0, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    });
}

/// How long ago, in seconds; nothing is no time ago.
fn age(since: Option<DateTime<Utc>>) -> f64 {
    since.and_then(|since| (Utc::now() - since).to_std().ok()).unwrap_or_default().as_secs_f64()
}

fn seen<T>(state: &State, part: impl Fn(&Observation) -> Option<&T>, tell: impl FnOnce(&T)) {
    if let Some(seen) = state.observer.latest()
        && let Some(part) = part(&seen)
    {
        tell(part);
    }
}

fn outbox(state: &State, tell: impl FnOnce(&OutboxView)) {
    seen(state, |seen| seen.outbox.as_ref().ok(), tell);
}

fn store(state: &State, tell: impl FnOnce(&StoreView)) {
    seen(state, |seen| seen.store.as_ref().ok(), tell);
}

fn streams(state: &State, tell: impl FnOnce(&StreamView)) {
    seen(state, |seen| seen.streams.as_ref().ok(), tell);
}

fn of_groups(state: &State, tell: impl Fn(&factline_pipeline::stream::GroupLag, &[KeyValue])) {
    streams(state, |seen| {
        for lag in &seen.lag {
            let of = [
                KeyValue::new("group", lag.group.clone()),
                KeyValue::new("topic", lag.partition.topic.to_string()),
                KeyValue::new("partition", i64::from(lag.partition.number)),
            ];
            tell(lag, &of);
        }
    });
}

/// Our connections are ours to count: no look is needed.
fn pools(state: &State, tell: impl Fn(&'static str, PoolUse)) {
    let databases = &state.adapters.databases;
    for (name, server) in [("source", &databases.source_server), ("store", &databases.store_server)] {
        if let Some(pool) = server.pool_use() {
            tell(name, pool);
        }
    }
}

fn databases(state: &State, tell: impl Fn(&[KeyValue], &PostgresServer)) {
    let of = |name: &'static str| [KeyValue::new("database", name)];
    outbox(state, |seen| seen.server.iter().for_each(|server| tell(&of("source"), server)));
    store(state, |seen| seen.server.iter().for_each(|server| tell(&of("store"), server)));
}

fn every_node(state: &State, tell: &mut dyn FnMut(&Node)) {
    fn visit(node: &Node, tell: &mut dyn FnMut(&Node)) {
        tell(node);
        node.children.iter().for_each(|child| visit(child, tell));
    }
    if let Some(tree) = state.tree.get() {
        visit(&tree.observe(), tell);
    }
}

fn path_of(node: &Node) -> KeyValue {
    KeyValue::new("path", node.path.clone())
}

fn name_of(state: NodeState) -> &'static str {
    match state {
        NodeState::Pending => "pending",
        NodeState::Starting => "starting",
        NodeState::Running => "running",
        NodeState::Stopping => "stopping",
        NodeState::BackingOff => "backing_off",
        NodeState::Parked => "parked",
        NodeState::Paused => "paused",
        NodeState::Finished => "finished",
        NodeState::Stopped => "stopped",
    }
}
