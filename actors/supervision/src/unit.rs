//! The specs of a started tree: what is needed to bring any child up again, and where it is observed.

use std::{rc::Rc, sync::Arc};

use crate::{
    core::{Policy, Rules},
    host::Body,
    observe::Entry,
    placement::Place,
    spec::{AnyChild, OnExhausted, Placement, Settings, SupervisorSpec},
};

/// A child, actor or supervisor.
pub(crate) struct Unit {
    pub(crate) entry: Arc<Entry>,
    pub(crate) settings: Settings,
    pub(crate) place: Option<Rc<Place>>,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Actor(Arc<dyn Body>),
    Supervisor(Rc<Branch>),
}

/// A supervisor's rules and children.
pub(crate) struct Branch {
    pub(crate) entry: Arc<Entry>,
    pub(crate) rules: Rules,
    pub(crate) children: Vec<Rc<Unit>>,
}

impl Unit {
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            id: self.entry.id.clone(),
            restart: self.settings.restart,
            significant: self.settings.significant,
            backoff: self.settings.backoff.clone(),
            max_consecutive_failures: self.settings.max_consecutive_failures,
        }
    }

    /// Opens an actor's mailbox, in case it was closed; those below a supervisor open as they start.
    pub(crate) fn open(&self) {
        if let Kind::Actor(body) = &self.kind {
            body.mail().open();
        }
    }

    /// Closes the mailboxes of this child and of all below it.
    pub(crate) fn close(&self) {
        match &self.kind {
            Kind::Actor(body) => body.mail().close(),
            Kind::Supervisor(branch) => branch.children.iter().for_each(|child| child.close()),
        }
    }
}

/// Lays out a checked spec. `exhausted` is what its supervisor does by default.
pub(crate) fn supervisor(
    parent: &str,
    spec: SupervisorSpec,
    inherited: Option<Rc<Place>>,
    exhausted: OnExhausted,
) -> Rc<Unit> {
    let path = join(parent, &spec.id);
    let place = place(spec.settings.placement, inherited);
    let rules = Rules {
        strategy: spec.strategy,
        max_restarts: spec.max_restarts,
        within: spec.within,
        on_exhausted: spec.on_exhausted.unwrap_or(exhausted),
        auto_shutdown: spec.auto_shutdown,
    };
    let children: Vec<_> = spec.children.into_iter().map(|child| unit(&path, child, place.clone())).collect();
    let entries = children.iter().map(|child| Arc::clone(&child.entry)).collect();
    let entry = Arc::new(Entry::supervisor(path, spec.id, &rules, entries));
    let branch = Rc::new(Branch { entry: Arc::clone(&entry), rules, children });
    Rc::new(Unit { entry, settings: spec.settings, place, kind: Kind::Supervisor(branch) })
}

fn unit(parent: &str, child: AnyChild, inherited: Option<Rc<Place>>) -> Rc<Unit> {
    match child {
        AnyChild::Supervisor(spec) => supervisor(parent, spec, inherited, OnExhausted::Exit),
        AnyChild::Actor(spec) => {
            let place = place(spec.settings.placement, inherited);
            let body: Arc<dyn Body> = Arc::from(spec.body);
            let entry = Arc::new(Entry::actor(join(parent, &spec.id), spec.id, Arc::clone(&body)));
            Rc::new(Unit { entry, settings: spec.settings, place, kind: Kind::Actor(body) })
        }
    }
}

fn place(placement: Placement, inherited: Option<Rc<Place>>) -> Option<Rc<Place>> {
    match placement {
        Placement::Inherit => inherited,
        Placement::OwnArbiter => Some(Rc::default()),
    }
}

fn join(parent: &str, id: &str) -> String {
    if parent.is_empty() { id.to_owned() } else { format!("{parent}/{id}") }
}
