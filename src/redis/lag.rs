//! How the groups stand in many partitions, in two round trips.

use chrono::DateTime;
use factline_pipeline::{
    outage::Error,
    stream::{GroupLag, Partition, Position},
};
use redis::{Pipeline, RedisResult, Value};

use super::{Stream, failed, groups::is_no_such_key, is_unknown_group, reply};

/// A group, and where it goes on.
struct Standing {
    lag: GroupLag,
    last_delivered: Position,
}

impl Stream {
    pub(super) async fn lag_of(&self, partitions: Vec<Partition>) -> Result<Vec<GroupLag>, Error> {
        let mut standings = self.standings(partitions).await?;
        self.add_what_waits(&mut standings).await?;
        Ok(standings.into_iter().map(|standing| standing.lag).collect())
    }

    async fn standings(&self, partitions: Vec<Partition>) -> Result<Vec<Standing>, Error> {
        let mut pipeline = redis::pipe();
        for partition in &partitions {
            let key = self.key(partition);
            pipeline.cmd("XLEN").arg(&key);
            pipeline.cmd("XINFO").arg("GROUPS").arg(&key);
        }
        let mut answers = self.ask_all(pipeline).await?.into_iter();
        let mut standings = Vec::new();
        for partition in partitions {
            let (Some(length), Some(groups)) = (answers.next(), answers.next()) else { break };
            let length = length.map_err(failed)?;
            let length = reply::lengths(std::slice::from_ref(&length))?.into_iter().sum();
            let groups = match groups {
                Err(error) if is_no_such_key(&error) => continue,
                groups => reply::groups(groups.map_err(failed)?)?,
            };
            standings.extend(groups.into_iter().map(|group| Standing {
                last_delivered: group.last_delivered,
                lag: GroupLag {
                    group: group.name,
                    partition: partition.clone(),
                    length,
                    undelivered: group.lag,
                    pending: group.pending,
                    pending_for: Vec::new(),
                    oldest: None,
                },
            }));
        }
        Ok(standings)
    }

    /// Asks only where something waits. What is pending was appended before what is not delivered.
    async fn add_what_waits(&self, standings: &mut [Standing]) -> Result<(), Error> {
        let waits = |standing: &&mut Standing| {
            standing.lag.pending > 0 || (standing.lag.length > 0 && standing.lag.undelivered != Some(0))
        };
        let mut waiting: Vec<&mut Standing> = standings.iter_mut().filter(waits).collect();
        let mut pipeline = redis::pipe();
        for standing in &waiting {
            let key = self.key(&standing.lag.partition);
            if standing.lag.pending > 0 {
                pipeline.cmd("XPENDING").arg(key).arg(&standing.lag.group);
            } else {
                let next = standing.last_delivered.successor().to_string();
                pipeline.cmd("XRANGE").arg(key).arg(next).arg("+").arg("COUNT").arg(1);
            }
        }
        let answers = self.ask_all(pipeline).await?;
        for (standing, answer) in waiting.iter_mut().zip(answers) {
            let answer = match answer {
                Err(error) if is_unknown_group(&error) => continue, // lost at this very moment
                answer => answer.map_err(failed)?,
            };
            let oldest = if standing.lag.pending > 0 {
                let (oldest, consumers) = reply::pending_summary(answer)?;
                standing.lag.pending_for = consumers;
                oldest
            } else {
                reply::first_position(answer)?
            };
            standing.lag.oldest = oldest.and_then(|position| {
                DateTime::from_timestamp_millis(i64::try_from(position.major).unwrap_or(i64::MAX))
            });
        }
        Ok(())
    }

    /// All answers in one round trip, each of which may be an error.
    async fn ask_all(&self, mut pipeline: Pipeline) -> Result<Vec<RedisResult<Value>>, Error> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        pipeline.ignore_errors();
        pipeline.query_async(&mut self.shared.clone()).await.map_err(failed)
    }
}
