//! A thread that extracts, one batch at a time, and that can be given up.
//!
//! Extraction is foreign code. It may hold its thread for ever, and a thread cannot be killed: whoever waits for it
//! looks at how far it has come, and if one event takes too long leaves the thread to it and goes on with another.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    dead_letter::ErrorKind,
    event::Event,
    extraction::{self, Failure},
    extractor::Extractor,
    ledger::Said,
    stream::Delivered,
};

/// How often the thread is looked at while it works.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Threads that may be stuck in one process, which nothing but its end can free.
const MOST_STUCK: usize = 64;

/// What became of one entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    /// What it says.
    Said(Option<Box<Said>>),
    /// Why that is not known.
    Failed(Failure),
    /// It is no event.
    Unreadable,
    /// It was not tried, for an earlier event of its key has failed for now.
    Behind,
}

/// What it is done with.
#[derive(Clone)]
pub struct Tools {
    /// What finds facts, in order; the first title wins.
    pub extractors: Vec<Arc<dyn Extractor>>,
    /// How long each of them may take for one event.
    pub deadline: Duration,
    /// Shared by the whole process.
    pub stuck: StuckThreads,
}

impl Tools {
    /// After which time a thread is given up: a future that is only slow has ended itself by then.
    fn patience(&self) -> Duration {
        let extractors = u32::try_from(self.extractors.len().max(1)).unwrap_or(u32::MAX);
        self.deadline.saturating_mul(extractors) + Duration::from_secs(1)
    }
}

/// Counts the threads of a process that were given up: each may hold a core and its memory for ever.
#[derive(Debug, Clone, Default)]
pub struct StuckThreads(Arc<Stuck>);

#[derive(Debug, Default)]
struct Stuck {
    count: AtomicUsize,
    too_many: Notify,
}

impl StuckThreads {
    /// One more was given up.
    pub fn add_one(&self) {
        if self.0.count.fetch_add(1, Ordering::SeqCst) + 1 >= MOST_STUCK {
            self.0.too_many.notify_one();
        }
    }

    /// Whether there are so many that nobody should risk another one for work that can wait: more than half of those
    /// that a process may have.
    #[must_use]
    pub fn leave_little_room(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) > MOST_STUCK / 2
    }

    /// Resolves, once, when there are so many that the process should end.
    pub async fn too_many(&self) {
        self.0.too_many.notified().await;
    }
}

/// How far a thread has come in its batch: what became of its first entries.
type Progress = Vec<Fate>;

struct Batch {
    entries: Arc<Vec<Delivered>>,
    progress: Arc<Mutex<Progress>>,
    done: oneshot::Sender<()>,
}

/// A thread, or the means to start one.
#[derive(Default)]
pub(crate) struct ExtractionThread {
    batches: Option<mpsc::Sender<Batch>>,
}

impl ExtractionThread {
    /// What becomes of each of these entries. Calls `progress` as long as there is any.
    pub(crate) async fn extract(
        &mut self,
        tools: &Tools,
        entries: Vec<Delivered>,
        progress: impl Fn(),
    ) -> Vec<(Delivered, Fate)> {
        let (mut extracted, mut left) = (Vec::with_capacity(entries.len()), entries);
        while !left.is_empty() {
            let (mut entries, mut fates, ended) = self.extract_until_stuck(tools, left, &progress).await;
            if let Some(failure) = ended {
                fates.push(Fate::Failed(failure)); // the one in hand is the guilty one
            }
            left = entries.split_off(fates.len());
            extracted.extend(entries.into_iter().zip(fates));
        }
        extracted
    }

    /// The entries, the fates of those that were done, and why there are no more.
    async fn extract_until_stuck(
        &mut self,
        tools: &Tools,
        entries: Vec<Delivered>,
        progress: &impl Fn(),
    ) -> (Vec<Delivered>, Vec<Fate>, Option<Failure>) {
        let entries = Arc::new(entries);
        let shared = Arc::new(Mutex::new(Progress::with_capacity(entries.len())));
        let (done, is_done) = oneshot::channel();
        let batch = Batch { entries: Arc::clone(&entries), progress: Arc::clone(&shared), done };
        let failure = match self.hand_over(tools, batch) {
            Err(failure) => Some(failure),
            Ok(()) => wait(tools, &shared, is_done, progress).await.err(),
        };
        if failure.is_some() {
            self.batches = None;
        }
        let fates = std::mem::take(&mut *lock(&shared));
        let failure = failure.filter(|_| fates.len() < entries.len());
        (Arc::unwrap_or_clone(entries), fates, failure)
    }

    fn hand_over(&mut self, tools: &Tools, batch: Batch) -> Result<(), Failure> {
        let batch = match &self.batches {
            Some(batches) => match batches.send(batch) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(batch)) => batch,
            },
            None => batch,
        };
        let batches = start(tools.clone()).map_err(|error| Failure {
            kind: ErrorKind::Exhausted,
            error: format!("no thread to extract with: {error}"),
            retryable: true,
        })?;
        // A thread that has just been started takes what comes.
        batches.send(batch).ok();
        self.batches = Some(batches);
        Ok(())
    }
}

/// What one entry says, found on a thread of its own that is given up if it never comes back.
pub async fn extract_alone(tools: &Tools, entry: Delivered) -> Result<Option<Box<Said>>, Failure> {
    let extracted = ExtractionThread::default().extract(tools, vec![entry], || {}).await;
    match extracted.into_iter().next() {
        Some((_, Fate::Said(said))) => Ok(said),
        Some((_, Fate::Failed(failure))) => Err(failure),
        Some((_, Fate::Unreadable | Fate::Behind)) | None => {
            Err(Failure { kind: ErrorKind::Malformed, error: "it is no event".to_owned(), retryable: false })
        }
    }
}

/// Waits until the batch is done; an error says that its next entry is the last one that this thread will ever try.
async fn wait(
    tools: &Tools,
    shared: &Mutex<Progress>,
    mut is_done: oneshot::Receiver<()>,
    progress: &impl Fn(),
) -> Result<(), Failure> {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Looks, not time: a process that was paused has held nothing up.
    let (mut seen, mut looked, mut held) = (0, Instant::now(), Duration::ZERO);
    loop {
        tokio::select! {
            done = &mut is_done => return done.map_err(|_| Failure {
                kind: ErrorKind::Panic,
                error: "the extraction's thread ended".into(),
                retryable: false,
            }),
            _ = look.tick() => {
                let done = lock(shared).len();
                held += looked.elapsed().min(2 * LOOK_EVERY);
                looked = Instant::now();
                if done > seen {
                    (seen, held) = (done, Duration::ZERO);
                    progress();
                } else if held > tools.patience() {
                    tools.stuck.add_one();
                    return Err(Failure {
                        kind: ErrorKind::TimedOut,
                        error: format!("the extraction held its thread for {held:.0?}; the thread was given up"),
                        retryable: false,
                    });
                }
            }
        }
    }
}

fn start(tools: Tools) -> std::io::Result<mpsc::Sender<Batch>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, batches) = mpsc::channel::<Batch>();
    let work = move || {
        for batch in batches {
            runtime.block_on(extract_all(&tools, &batch));
            // Whoever waits takes the entries back without a copy.
            drop(batch.entries);
            batch.done.send(()).ok();
        }
    };
    std::thread::Builder::new().name("extraction".into()).spawn(work)?;
    Ok(sender)
}

async fn extract_all(tools: &Tools, batch: &Batch) {
    let mut held_up: HashSet<&str> = HashSet::new();
    for entry in batch.entries.iter() {
        let fate = match &entry.event {
            Err(_) => Fate::Unreadable,
            Ok(event) if held_up.contains(event.key.as_str()) => Fate::Behind,
            Ok(event) => {
                let _until_it_is_known = entry.trail.begin(event, &entry.partition);
                fate_of(tools, event).await
            }
        };
        if let (Fate::Failed(Failure { retryable: true, .. }), Ok(event)) = (&fate, &entry.event) {
            held_up.insert(&event.key);
        }
        lock(&batch.progress).push(fate);
    }
}

async fn fate_of(tools: &Tools, event: &Event) -> Fate {
    match extraction::try_once(&tools.extractors, event, tools.deadline).await {
        Ok(said) => Fate::Said(said),
        Err(failure) => Fate::Failed(failure),
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    // Nothing that runs under this lock can panic half-way through a change.
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
