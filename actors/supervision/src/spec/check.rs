//! What can't work is refused before anything starts, with the path of the culprit.

use std::collections::HashSet;

use super::{AnyChild, AutoShutdown, Restart, Settings, SupervisorSpec};

/// Why a tree can't be started as specified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An id that can't be part of a path.
    #[error("`{path}`: an id must not be empty or contain `/`")]
    BadId {
        /// Path of the child.
        path: String,
    },
    /// Two children of one supervisor have the same id.
    #[error("`{path}`: another child of the same supervisor has this id")]
    DuplicateId {
        /// Path of the second one.
        path: String,
    },
    /// A setting that can't work.
    #[error("`{path}`: {fault}")]
    BadSetting {
        /// Path of the child or supervisor.
        path: String,
        /// The setting, and what is wrong with it.
        fault: &'static str,
    },
}

/// Refuses what can't work anywhere in the tree.
pub(crate) fn check(root: &SupervisorSpec) -> Result<(), SpecError> {
    check_id(&root.id, &root.id)?;
    check_settings(&root.id, &root.settings)?;
    check_supervisor(&root.id, root)
}

fn check_supervisor(path: &str, spec: &SupervisorSpec) -> Result<(), SpecError> {
    if spec.within.is_zero() {
        return Err(bad(path, "the restart window must be longer than zero"));
    }
    let mut ids = HashSet::new();
    for child in &spec.children {
        let path = format!("{path}/{}", child.id());
        check_id(&path, child.id())?;
        if !ids.insert(child.id()) {
            return Err(SpecError::DuplicateId { path });
        }
        check_settings(&path, child.settings())?;
        check_significance(&path, child.settings(), spec.auto_shutdown)?;
        match child {
            AnyChild::Actor(actor) if actor.body.mail().capacity() == 0 => {
                return Err(bad(&path, "the mailbox capacity must be at least 1"));
            }
            AnyChild::Actor(_) => {}
            AnyChild::Supervisor(below) => check_supervisor(&path, below)?,
        }
    }
    Ok(())
}

fn check_id(path: &str, id: &str) -> Result<(), SpecError> {
    if id.is_empty() || id.contains('/') {
        return Err(SpecError::BadId { path: path.to_owned() });
    }
    Ok(())
}

fn check_settings(path: &str, settings: &Settings) -> Result<(), SpecError> {
    if settings.start_timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(bad(path, "start_timeout must be longer than zero"));
    }
    if settings.stall_after.is_some_and(|silence| silence.is_zero()) {
        return Err(bad(path, "stall_after must be longer than zero"));
    }
    settings.backoff.fault().map_or(Ok(()), |fault| Err(bad(path, fault)))
}

/// As in OTP: a permanent child never ends by itself, and without auto-shutdown significance says nothing.
fn check_significance(path: &str, settings: &Settings, auto: AutoShutdown) -> Result<(), SpecError> {
    if !settings.significant {
        Ok(())
    } else if settings.restart == Restart::Permanent {
        Err(bad(path, "a permanent child can't be significant"))
    } else if auto == AutoShutdown::Never {
        Err(bad(path, "a significant child needs a supervisor with auto_shutdown"))
    } else {
        Ok(())
    }
}

fn bad(path: &str, fault: &'static str) -> SpecError {
    SpecError::BadSetting { path: path.to_owned(), fault }
}
