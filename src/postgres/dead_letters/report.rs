//! What a time brought: letters that came and went, and what was done about them.

use chrono::{DateTime, Utc};
use factline_pipeline::outage::Error;
use sqlx::{Row as _, postgres::PgRow};

use super::listing::group_by_cause;
use crate::{
    dead_letters::{ActionCount, Report, TopicCount},
    postgres::store::Store,
    records::DeadLetterFilter,
};

/// Causes and topics that a report names at most.
const LINES: u32 = 20;

pub(super) async fn since(store: &Store, since: DateTime<Utc>) -> Result<Report, Error> {
    let arrived = DeadLetterFilter { since: Some(since), limit: LINES, ..DeadLetterFilter::default() };
    let counts = sqlx::query(
        "SELECT count(*) FILTER (WHERE dead_at >= $1) AS arrived, \
         count(*) FILTER (WHERE status = 'resolved' AND resolved_at >= $1) AS resolved, \
         count(*) FILTER (WHERE status = 'discarded' AND resolved_at >= $1) AS discarded, \
         count(*) FILTER (WHERE status = 'open') AS open, \
         count(*) FILTER (WHERE status = 'reprocessing') AS reprocessing, \
         min(dead_at) FILTER (WHERE status = 'open') AS oldest_open, $1 AS since FROM factline.dead_letters",
    );
    let topics = sqlx::query(
        "SELECT topic, event_type, count(*) AS letters FROM factline.dead_letters WHERE dead_at >= $1 \
         GROUP BY topic, event_type ORDER BY letters DESC, topic, event_type LIMIT $2",
    );
    let actions = sqlx::query(
        "SELECT who, action, count(*) AS times FROM factline.operator_log WHERE at >= $1 \
         GROUP BY who, action ORDER BY who, action",
    );
    let report = store.all(counts.bind(since), counted).await?.pop();
    Ok(Report {
        topics: store.all(topics.bind(since).bind(i64::from(LINES)), topic).await?,
        causes: group_by_cause(store, &arrived).await?,
        actions: store.all(actions.bind(since), action).await?,
        ..report.unwrap_or_else(|| Report::empty(since))
    })
}

fn counted(row: &PgRow) -> Result<Report, sqlx::Error> {
    Ok(Report {
        arrived: row.try_get("arrived")?,
        resolved: row.try_get("resolved")?,
        discarded: row.try_get("discarded")?,
        open: row.try_get("open")?,
        reprocessing: row.try_get("reprocessing")?,
        oldest_open: row.try_get("oldest_open")?,
        ..Report::empty(row.try_get("since")?)
    })
}

fn topic(row: &PgRow) -> Result<TopicCount, sqlx::Error> {
    Ok(TopicCount {
        topic: row.try_get("topic")?,
        event_type: row.try_get("event_type")?,
        letters: row.try_get("letters")?,
    })
}

fn action(row: &PgRow) -> Result<ActionCount, sqlx::Error> {
    Ok(ActionCount { who: row.try_get("who")?, action: row.try_get("action")?, times: row.try_get("times")? })
}
