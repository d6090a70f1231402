//! A reply that is lost on its way: the server has delivered entries, and nobody has them.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::stage::{Daemon, Stage, free_address, until};
use crate::servers;

/// Between a daemon and Redis: swallows replies when it is told to.
struct Proxy {
    address: String,
    to_swallow: Arc<AtomicU32>,
}

impl Proxy {
    async fn before(redis_url: &str) -> Self {
        let server = redis_url.strip_prefix("redis://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let to_swallow = Arc::new(AtomicU32::new(0));
        let swallowing = to_swallow.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server.clone(), swallowing.clone()));
            }
        });
        Self { address, to_swallow }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The next replies that carry entries do not arrive, and their connections are closed.
    fn swallow(&self, replies: u32) {
        self.to_swallow.store(replies, Ordering::SeqCst);
    }

    async fn until_swallowed(&self) {
        until("replies are swallowed", || async { self.to_swallow.load(Ordering::SeqCst) == 0 }).await;
    }
}

/// Both ways, until either side or the proxy has had enough.
async fn forward(mut client: TcpStream, server: String, to_swallow: Arc<AtomicU32>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let forwarded = tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(length @ 1..) => server.write_all(&asked[..length]).await,
                _ => return,
            },
            read = server.read(&mut answered) => match read {
                Ok(length @ 1..) if has_entries(&answered[..length]) && take_one(&to_swallow) => return,
                Ok(length @ 1..) => client.write_all(&answered[..length]).await,
                _ => return,
            },
        };
        if forwarded.is_err() {
            return;
        }
    }
}

/// Every entry begins with this attribute.
fn has_entries(reply: &[u8]) -> bool {
    let name = b"specversion";
    reply.windows(name.len()).any(|part| part == name)
}

fn take_one(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

#[tokio::test]
async fn entries_whose_delivery_was_lost_are_recorded_in_order_without_a_restart() {
    let redis = servers::Redis::shared();
    let proxy = Proxy::before(&redis.url()).await;
    let stage = Stage::on(&servers::Postgres::shared().database(), &proxy.url(), &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let address = free_address();
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__ADMIN__BIND", &address);
    let daemon = Daemon::start(command, stage.folder.path().join("log"));
    daemon.until_logged("partitions taken on").await;
    stage.insert_messages(20, 1).await;
    stage.until_recorded(20).await;

    // A delivery, then another one, or what takes its entries over.
    for (round, replies) in [1, 2, 3].into_iter().enumerate() {
        proxy.swallow(replies);
        for _ in 0..10 {
            stage.insert_messages(10, 1).await;
        }
        proxy.until_swallowed().await;
        stage.insert_messages(20, 1).await;
        stage.until_recorded(20 + 120 * (i64::try_from(round).unwrap() + 1)).await;
    }
    stage.assert_exactly_once_in_order().await;
    until("nothing is pending", || async { stage.undrained().await == 0 }).await;

    let mut status = stage.command(&["status", "--json"]);
    status.env("FACTLINE__ADMIN__BIND", &address);
    let status = tokio::task::spawn_blocking(move || status.output().unwrap()).await.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let mut nodes = vec![&status["tree"]];
    while let Some(node) = nodes.pop() {
        assert_eq!(node["restarts"], 0, "{}", daemon.log());
        nodes.extend(node["children"].as_array().into_iter().flatten());
    }
    assert!(daemon.stop().await.success());
}
