//! Starting a tree, and the handle to a running one.
//!
//! Above the root there is a trunk: a supervisor with one temporary, significant child, the root. So
//! the root is started, stopped, observed and controlled by the same code as every other child.

use std::{rc::Rc, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::{oneshot, watch},
    task::spawn_local,
};
use tokio_util::sync::CancellationToken;

use crate::{
    core::Rules,
    exit::Exit,
    lifeline::Lifeline,
    observe::{Entry, Node},
    spec::{AutoShutdown, OnExhausted, Restart, SpecError, Strategy, SupervisorSpec, check},
    supervisor::{self, Command},
    unit::{self, Branch, Unit},
};

/// What an operator can ask of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Stop it and start it again at once, with the siblings its strategy says; not counted as a failure.
    /// Also brings back a child that is down, for whatever reason.
    Restart,
    /// Stop it and keep its mail until it is resumed.
    Pause,
    /// Start a paused child.
    Resume,
    /// Stop it for good and close its mailbox.
    Stop,
}

/// Why a tree did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The spec can't work.
    #[error("the supervision tree is not valid")]
    Spec(#[from] SpecError),
    /// A child did not start; those started before it were stopped again.
    #[error("{0}")]
    Failed(Exit),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No child has this path.
    #[error("there is no child at `{0}`, see the tree for the paths")]
    Unknown(String),
    /// Its supervisor is down itself.
    #[error("the supervisor of `{0}` is not running")]
    SupervisorDown(String),
    /// The child's state does not allow it.
    #[error("`{path}` can't do this now: {control:?}")]
    Refused {
        /// Path of the child.
        path: String,
        /// What was asked of it.
        control: Control,
    },
}

/// A handle to a running tree. Dropping it leaves the tree running.
#[derive(Clone)]
pub struct Tree {
    trunk: Arc<Entry>,
    stop: Lifeline,
    exit: watch::Receiver<Option<Exit>>,
}

/// Starts a tree on the current `LocalSet` (under actix: on the current arbiter) and returns when every
/// child is ready. Each child is ready before the next one starts; if one fails, those before it are stopped
/// in reverse order. Dropping the future before that kills what was started.
///
/// # Panics
///
/// Outside of a `LocalSet`, as everything in actix does.
pub async fn start(root: SupervisorSpec) -> Result<Tree, StartError> {
    check(&root)?;
    let trunk = trunk(root);
    let lifeline = Lifeline::new(Arc::clone(&trunk.entry.path), 1);
    let killed = CancellationToken::new();
    let undo = killed.clone().drop_guard();
    let (gone, exit) = watch::channel(None);
    let tree = Tree { trunk: Arc::clone(&trunk.entry), stop: lifeline.clone(), exit };
    spawn_local(run(trunk, lifeline.clone(), killed, gone));
    tokio::select! {
        biased;
        () = lifeline.became_ready() => {
            undo.disarm();
            Ok(tree)
        }
        exit = tree.exited() => Err(StartError::Failed(exit)),
    }
}

async fn run(
    trunk: Rc<Branch>,
    lifeline: Lifeline,
    killed: CancellationToken,
    gone: watch::Sender<Option<Exit>>,
) {
    let exit = supervisor::run(Rc::clone(&trunk), lifeline, killed).await;
    let root = &trunk.children[0];
    root.close();
    let last = root.entry.live().last_exit.as_ref().map(|last| last.reason.clone());
    gone.send_replace(Some(last.unwrap_or(exit)));
}

fn trunk(mut root: SupervisorSpec) -> Rc<Branch> {
    root.settings.restart = Restart::Temporary;
    root.settings.significant = true;
    let rules = Rules {
        strategy: Strategy::OneForOne,
        max_restarts: 0,
        within: Duration::from_secs(1),
        on_exhausted: OnExhausted::Exit,
        auto_shutdown: AutoShutdown::AnySignificant,
    };
    let root: Rc<Unit> = unit::supervisor("", root, None, OnExhausted::Park);
    let children = vec![Arc::clone(&root.entry)];
    let entry = Arc::new(Entry::supervisor(String::new(), String::new(), &rules, children));
    Rc::new(Branch { entry, rules, children: vec![root] })
}

impl Tree {
    /// A snapshot. It reads shared memory only, so it works whatever the children do.
    #[must_use]
    pub fn observe(&self) -> Node {
        self.trunk.children[0].observe(Duration::ZERO)
    }

    /// Asks the supervisor of the child at `path` to do something about it. Returns when the request was
    /// taken; how it goes on is seen in [`observe`](Tree::observe).
    pub async fn control(&self, path: &str, control: Control) -> Result<(), ControlError> {
        let Some((supervisor, child)) = self.trunk.find(path) else {
            return Err(ControlError::Unknown(path.to_owned()));
        };
        if control == Control::Stop && Arc::ptr_eq(supervisor, &self.trunk) {
            // without its root the tree is gone
            self.stop.request_drain();
            return Ok(());
        }
        let down = || ControlError::SupervisorDown(path.to_owned());
        let commands = supervisor.live().commands.clone().ok_or_else(down)?;
        let (answer, answered) = oneshot::channel();
        commands.send(Command { child, control, answer }).await.map_err(|_| down())?;
        answered.await.map_err(|_| down())?
    }

    /// Stops the tree in reverse order, each child within its shutdown time, and returns when it is gone.
    pub async fn stop(&self) -> Exit {
        self.stop.request_drain();
        self.exited().await
    }

    /// Resolves when the tree is gone: stopped, finished, or exhausted.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(Exit::Killed),
            // the thread it ran on is gone, and the tree with it
            Err(_) => Exit::Killed,
        }
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("root", &self.trunk.children[0].path).finish_non_exhaustive()
    }
}
