//! What a stream carries: the ids of its events. Redis gives entries only as a whole, so pages are as small as the
//! entries are large.

use factline_pipeline::{
    outage::Error,
    stream::{Carried, Partition, Position},
};
use redis::Value;
use uuid::Uuid;

use super::{Stream, reply};

/// Entries in the first page, whose sizes tell how many the next ones may have.
const FIRST_PAGE: usize = 16;

/// What a page may hold.
const PAGE_BYTES: usize = 1 << 20;

impl Stream {
    /// The last entries before a position, newest first; not much more than [`PAGE_BYTES`].
    pub(super) async fn last_entries_before(
        &self,
        partition: &Partition,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Carried>, Error> {
        let key = self.key(partition);
        let (mut carried, mut bytes, mut page) = (Vec::new(), 0, FIRST_PAGE.min(limit));
        while page > 0 {
            let before = carried.last().map_or(before, |last: &Carried| Some(last.position));
            let end = before.map_or_else(|| "+".to_owned(), |before| format!("({before}"));
            let range = redis::cmd("XREVRANGE").arg(&key).arg(end).arg("-").arg("COUNT").arg(page).take();
            let entries = reply::entries(self.ask::<Value>(&range).await?)?;
            let found = entries.len();
            for (position, fields) in entries {
                bytes += fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
                let id = fields.iter().rev().find(|(name, _)| name == b"id");
                let event_id = id.and_then(|(_, id)| Uuid::try_parse_ascii(id).ok());
                carried.push(Carried { position, event_id });
            }
            if found < page {
                break;
            }
            let room = PAGE_BYTES.saturating_sub(bytes) * carried.len() / bytes.max(1);
            page = room.min(limit - carried.len());
        }
        Ok(carried)
    }
}
