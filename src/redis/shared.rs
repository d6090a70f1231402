//! The connection for everything that is answered at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Pipeline, RedisError, RedisFuture, RedisResult,
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
    io::tcp::TcpSettings,
};

use tokio::{runtime::Handle, task::JoinError};

use super::{CONNECTION_TIMEOUT, RESPONSE_TIMEOUT};

/// A connection that is made when it is first used, and made anew after it broke, or did not answer in time.
///
/// The crate's `ConnectionManager` keeps one that does not answer: over a connection that a firewall forgot, nothing
/// would ever work again.
#[derive(Clone)]
pub(super) struct Shared {
    client: Client,
    /// Where the connection is made, for it lives no longer than the runtime that it was made in.
    home: Option<Handle>,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
}

/// Nothing is connected yet. An unreadable URL is an error, which does not repeat it.
pub(super) fn client(url: &str) -> RedisResult<Client> {
    // Without it, a last packet that is not full may wait until the server has acknowledged those before.
    let at_once = TcpSettings::default().set_nodelay(true);
    Client::open(url.into_connection_info()?.set_tcp_settings(at_once))
}

/// A connection to the server that answers in time or fails.
pub(super) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTION_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The process ends.
fn gone(error: JoinError) -> RedisError {
    std::io::Error::other(error).into()
}

impl Shared {
    pub(super) fn new(client: Client) -> Self {
        Self { client, home: Handle::try_current().ok(), current: Arc::default() }
    }

    /// Two that connect at the same time do so twice; the later connection is kept.
    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let current = self.current().clone();
        if let Some(connection) = current {
            return Ok(connection);
        }
        let client = self.client.clone();
        let connection = match &self.home {
            None => connect(&client).await?,
            Some(home) => home.spawn(async move { connect(&client).await }).await.map_err(gone)??,
        };
        *self.current() = Some(connection.clone());
        Ok(connection)
    }

    /// Whoever still waits for an answer over it has it for so long.
    fn give_up_after(&self, error: &RedisError) {
        if error.is_timeout() || error.is_unrecoverable_error() {
            *self.current() = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionLike for Shared {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = self.connection().await?.req_packed_command(command).await;
            answer.inspect_err(|error| self.give_up_after(error))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answers = self.connection().await?.req_packed_commands(pipeline, offset, count).await;
            answers.inspect_err(|error| self.give_up_after(error))
        })
    }

    fn get_db(&self) -> i64 {
        self.client.get_connection_info().redis_settings().db()
    }
}
