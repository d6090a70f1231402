//! Connections for blocking reads, which hold up whatever shares their connection.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use factline_pipeline::outage::Error;
use redis::{Client, aio::MultiplexedConnection};

use super::{failed, shared};

/// Idle connections, one for each group.
///
/// Whoever reads takes the connection out, and puts it back only when the answer is there. If the read fails or is no
/// longer wanted, its connection is closed with it: a blocked read that nobody waits for would go on taking entries.
#[derive(Default)]
pub(super) struct Readers {
    idle: Mutex<HashMap<String, MultiplexedConnection>>,
}

impl Readers {
    pub(super) async fn take(&self, client: &Client, group: &str) -> Result<MultiplexedConnection, Error> {
        let idle = self.idle().remove(group);
        if let Some(connection) = idle {
            return Ok(connection);
        }
        shared::connect(client).await.map_err(failed)
    }

    pub(super) fn put_back(&self, group: &str, connection: MultiplexedConnection) {
        self.idle().insert(group.to_owned(), connection);
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<String, MultiplexedConnection>> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
