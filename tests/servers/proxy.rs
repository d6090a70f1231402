//! Between clients and a server: a network that can be cut, go silent, refuse, be slow, or lose an answer.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    time::sleep,
};

/// What becomes of the connections of one time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// What comes in goes out.
    Alive,
    /// They stay open, and nothing arrives any more: neither side hears that the other is gone.
    Forgotten,
    /// They are closed.
    Cut,
}

/// A network in front of one server. It lives as long as the test's runtime.
pub(crate) struct Proxy {
    port: u16,
    network: Arc<Network>,
}

struct Network {
    server: String,
    /// Of the connections that are there now.
    fate: Mutex<watch::Sender<Fate>>,
    refuses: AtomicBool,
    is_silent: AtomicBool,
    delay_ms: AtomicU64,
    to_swallow: AtomicU32,
    swallows: fn(&[u8]) -> bool,
}

impl Proxy {
    /// In front of the server at this URL.
    pub(crate) async fn before(url: &str) -> Self {
        Self::before_swallowing(url, |_| false).await
    }

    /// One that can lose answers of this kind; see [`swallow`](Self::swallow).
    pub(crate) async fn before_swallowing(url: &str, swallows: fn(&[u8]) -> bool) -> Self {
        let url = url::Url::parse(url).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::new(Network {
            server: format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()),
            fate: Mutex::new(watch::Sender::new(Fate::Alive)),
            refuses: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            to_swallow: AtomicU32::new(0),
            swallows,
        });
        let this = network.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(this.clone().connect(client));
            }
        });
        Self { port, network }
    }

    /// The server's URL, by way of this network.
    pub(crate) fn of(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }

    /// Closes all connections. New ones are let through.
    pub(crate) fn cut(&self) {
        self.network.end_connections(Fate::Cut);
    }

    /// Nothing arrives any more over the connections that are there. New ones are let through.
    pub(crate) fn forget(&self) {
        self.network.end_connections(Fate::Forgotten);
    }

    /// Closes all connections, and new ones at once.
    pub(crate) fn refuse(&self) {
        self.network.refuses.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Takes connections, and nothing arrives over any of them.
    pub(crate) fn fall_silent(&self) {
        self.network.is_silent.store(true, Ordering::SeqCst);
        self.forget();
    }

    /// Whatever goes either way takes this much longer.
    pub(crate) fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap();
        self.network.delay_ms.store(delay, Ordering::SeqCst);
    }

    /// The next answers of the kind that it can lose do not arrive, and their connections are closed.
    pub(crate) fn swallow(&self, answers: u32) {
        self.network.to_swallow.store(answers, Ordering::SeqCst);
    }

    /// How many of them are still to be lost.
    pub(crate) fn to_swallow(&self) -> u32 {
        self.network.to_swallow.load(Ordering::SeqCst)
    }

    /// All is well again, for new connections.
    pub(crate) fn heal(&self) {
        self.network.refuses.store(false, Ordering::SeqCst);
        self.network.is_silent.store(false, Ordering::SeqCst);
        self.delay(Duration::ZERO);
    }
}

impl Network {
    fn end_connections(&self, fate: Fate) {
        let connections = std::mem::replace(&mut *self.fate.lock().unwrap(), watch::Sender::new(Fate::Alive));
        connections.send_replace(fate);
    }

    async fn connect(self: Arc<Self>, client: TcpStream) {
        if self.refuses.load(Ordering::SeqCst) {
            return;
        }
        let mut fate = self.fate.lock().unwrap().subscribe();
        if self.is_silent.load(Ordering::SeqCst) {
            fate = watch::Sender::new(Fate::Forgotten).subscribe();
        }
        let Ok(server) = TcpStream::connect(&self.server).await else { return };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.forward(from_client, to_server, fate.clone(), false) => {}
            () = self.forward(from_server, to_client, fate, true) => {}
        }
    }

    /// One way, until either side, or this network, has had enough.
    async fn forward(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        mut fate: watch::Receiver<Fate>,
        is_answer: bool,
    ) {
        let mut buffer = vec![0; 1 << 16];
        let cut = {
            let mut fate = fate.clone();
            async move {
                if fate.wait_for(|fate| *fate == Fate::Cut).await.is_err() {
                    std::future::pending::<()>().await; // its time is over, and it was not cut
                }
            }
        };
        tokio::pin!(cut);
        loop {
            let length = tokio::select! {
                read = from.read(&mut buffer) => match read {
                    Ok(length @ 1..) => length,
                    _ => return,
                },
                () = &mut cut => return,
            };
            if *fate.borrow_and_update() == Fate::Forgotten {
                continue;
            }
            if is_answer && (self.swallows)(&buffer[..length]) && self.take_one_to_swallow() {
                return;
            }
            sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst))).await;
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }

    fn take_one_to_swallow(&self) -> bool {
        let one = |count: u32| count.checked_sub(1);
        self.to_swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_ok()
    }
}
