//! Consumer groups: made where they are missing, tidied up, looked at.

use std::time::Duration;

use factline_pipeline::{
    outage::Error,
    stream::{Partition, Position, RETURNED, Reader},
};
use redis::{RedisError, Value};

use super::{Stream, failed, is_unknown_group, reply};

/// How long a consumer has to be silent before it counts as gone: much longer than any read waits.
const GONE: Duration = Duration::from_mins(10);

/// Entries that are returned at a time.
const RETURN_PAGE: usize = 1_000;

/// There is no stream of this name.
pub(super) fn is_no_such_key(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("no such key"))
}

impl Stream {
    pub(super) async fn create_group(&self, group: &str, key: &str) -> Result<(), Error> {
        let create = redis::cmd("XGROUP").arg("CREATE").arg(key).arg(group).arg("0").arg("MKSTREAM").take();
        match create.query_async::<()>(&mut self.shared.clone()).await {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            created => created.map_err(failed),
        }
    }

    /// Names of processes that are gone would pile up.
    ///
    /// One that may still read is spared, although it has nothing pending now: what it reads in between would be
    /// deleted with it.
    pub(super) async fn delete_consumers_that_are_gone(&self, group: &str, key: &str) -> Result<(), Error> {
        let consumers = self.ask(redis::cmd("XINFO").arg("CONSUMERS").arg(key).arg(group)).await?;
        for consumer in reply::consumers_without_entries(consumers, GONE)? {
            let delete = redis::cmd("XGROUP").arg("DELCONSUMER").arg(key).arg(group).arg(consumer).take();
            let _: Value = self.ask(&delete).await?;
        }
        Ok(())
    }

    /// One page of what is pending for anybody; `None` if the group is not known.
    pub(super) async fn pending_page(
        &self,
        group: &str,
        key: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Option<Vec<reply::Pending>>, Error> {
        let start = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let page = redis::cmd("XPENDING").arg(key).arg(group).arg(start).arg("+").arg(limit).take();
        self.ask_group(&page).await?.map(reply::pending).transpose()
    }

    /// Gives the reader these entries, whoever has them; `None` if the group is not known.
    pub(super) async fn claim(
        &self,
        reader: &Reader,
        key: &str,
        positions: impl Iterator<Item = Position>,
    ) -> Result<Option<Value>, Error> {
        let mut claim = redis::cmd("XCLAIM");
        claim.arg(key).arg(&reader.group).arg(&reader.consumer).arg(0);
        claim.arg(positions.map(|position| position.to_string()).collect::<Vec<_>>());
        self.ask_group(&claim).await
    }

    /// Makes what is pending for this reader pending for nobody in particular, page by page.
    pub(super) async fn return_entries(&self, reader: &Reader, key: &str) -> Result<(), Error> {
        loop {
            let mut page = redis::cmd("XPENDING");
            page.arg(key).arg(&reader.group).arg("-").arg("+").arg(RETURN_PAGE).arg(&reader.consumer);
            let Some(page) = self.ask_group(&page).await?.map(reply::pending).transpose()? else {
                return Ok(());
            };
            if page.is_empty() {
                return Ok(());
            }
            let mut claim = redis::cmd("XCLAIM");
            claim.arg(key).arg(&reader.group).arg(RETURNED).arg(0);
            claim
                .arg(page.iter().map(|pending| pending.position.to_string()).collect::<Vec<_>>())
                .arg("JUSTID");
            self.ask_group(&claim).await?;
        }
    }

    /// A stream is gone, deleted or lost in a FLUSHALL: what comes next is read from the beginning.
    pub(super) async fn remake_groups(&self, group: &str, partitions: &[Partition]) -> Result<(), Error> {
        let first = partitions.first().map(ToString::to_string);
        tracing::warn!(
            group,
            partition = first,
            partitions = partitions.len(),
            "the consumer group was lost with a stream, making it again"
        );
        // Whoever starts before the relay's next append must find out how many partitions there are.
        self.record_meta().await?;
        for partition in partitions {
            self.make_group(group, partition).await?;
        }
        Ok(())
    }

    /// Makes the group known, and its topic.
    pub(super) async fn make_group(&self, group: &str, partition: &Partition) -> Result<(), Error> {
        let key = self.key(partition);
        self.create_group(group, &key).await?;
        // Whoever else appends to the stream may not say so, and what nobody knows of is not trimmed.
        let _: i64 = self.ask(redis::cmd("SADD").arg(self.topics_key()).arg(&*partition.topic)).await?;
        self.delete_consumers_that_are_gone(group, &key).await
    }

    /// The groups of one stream; none where there is no stream.
    pub(super) async fn groups(&self, key: &str) -> Result<Vec<reply::Group>, Error> {
        let info = redis::cmd("XINFO").arg("GROUPS").arg(key).take();
        match info.query_async::<Value>(&mut self.shared.clone()).await {
            Ok(groups) => reply::groups(groups),
            Err(error) if is_no_such_key(&error) => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) async fn ask_group(&self, command: &redis::Cmd) -> Result<Option<Value>, Error> {
        match command.query_async(&mut self.shared.clone()).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_unknown_group(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}
