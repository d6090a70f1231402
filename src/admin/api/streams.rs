//! `/api/v1/streams`: every topic, its partitions, and how far each group is.

use std::collections::BTreeMap;

use actix_web::{
    get,
    web::{Data, Json},
};
use factline_pipeline::{assignment::lease_name, lease::Lease, stream::GroupLag};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::admin::{State, access::Viewer, problem::Problem};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(list);
}

/// A topic that was ever written to or read.
#[derive(Debug, Serialize, ToSchema)]
struct Topic {
    /// Its name.
    #[serde(rename = "topic")]
    name: String,
    /// Its partitions that any group reads.
    partitions: Vec<Partition>,
}

/// A partition.
#[derive(Debug, Serialize, ToSchema)]
struct Partition {
    /// Its number.
    #[serde(rename = "partition")]
    number: u16,
    /// Entries in it.
    length: u64,
    /// How the groups stand.
    groups: Vec<Group>,
}

/// How a group stands in a partition.
#[derive(Debug, Serialize, ToSchema)]
struct Group {
    /// Its name.
    #[serde(rename = "group")]
    name: String,
    /// Entries that were not yet delivered to it, where the server can tell.
    undelivered: Option<u64>,
    /// Entries delivered to it and not acknowledged.
    pending: u64,
    /// Who reads the partition for it now.
    reader: Option<String>,
}

/// Every topic with its partitions, and how far each group is.
#[utoipa::path(
    tag = "streams",
    security(("bearer" = [])),
    responses((status = OK, description = "all topics", body = Vec<Topic>)),
)]
#[get("/api/v1/streams")]
async fn list(_: Viewer, state: Data<State>) -> Result<Json<Vec<Topic>>, Problem> {
    let topics = state.adapters.stream.topics().await?;
    let lag = state.adapters.stream.lag(&topics).await?;
    let leases = state.adapters.databases.leases.list().await?;
    let mut by_topic: BTreeMap<String, BTreeMap<u16, Partition>> =
        topics.into_iter().map(|topic| (topic, BTreeMap::new())).collect();
    for one in lag {
        let partitions = by_topic.entry(one.partition.topic.to_string()).or_default();
        let number = one.partition.number;
        let partition = partitions.entry(number).or_insert_with(|| Partition {
            number,
            length: one.length,
            groups: Vec::new(),
        });
        partition.groups.push(standing(one, &leases));
    }
    let topic = |(name, partitions): (String, BTreeMap<u16, Partition>)| Topic {
        name,
        partitions: partitions.into_values().collect(),
    };
    Ok(Json(by_topic.into_iter().map(topic).collect()))
}

fn standing(lag: GroupLag, leases: &[Lease]) -> Group {
    let lease = lease_name(&lag.group, &lag.partition);
    let reader = leases.iter().find(|one| one.held && one.name == lease);
    Group {
        reader: reader.map(|lease| lease.holder.clone()),
        undelivered: lag.undelivered,
        pending: lag.pending,
        name: lag.group,
    }
}
