//! An OTP-grade supervisor over actix actors.
//!
//! actix restarts an actor that stops by itself, but never one that panics, and tells nobody. This crate
//! adds what Erlang's `supervisor` has: trees of supervisors, the three strategies, restart types,
//! a restart intensity, ordered start and reverse stop, escalation. On top of that it has what a daemon over
//! servers that come and go needs: mailboxes that survive a crash, backoff with jitter, readiness, liveness,
//! parking instead of dying, and observation and control while it runs.
//!
//! # Use
//!
//! Mailboxes are made first, all of them, so that any actor can hold references to any other. Then the specs
//! are put together and started:
//!
//! ```
//! use actix::{Actor, Context, Handler, Message};
//! use factline_supervision::{ChildSpec, Exit, Lifeline, SupervisorSpec, mailbox, start};
//!
//! struct Greeter(Lifeline);
//!
//! impl Actor for Greeter {
//!     type Context = Context<Self>;
//!
//!     fn started(&mut self, _: &mut Self::Context) {
//!         self.0.ready();
//!     }
//! }
//!
//! struct Greet(&'static str);
//!
//! impl Message for Greet {
//!     type Result = String;
//! }
//!
//! impl Handler<Greet> for Greeter {
//!     type Result = String;
//!
//!     fn handle(&mut self, Greet(whom): Greet, _: &mut Self::Context) -> String {
//!         assert!(!whom.is_empty(), "greeting nobody");
//!         format!("hello {whom}, from number {}", self.0.generation())
//!     }
//! }
//!
//! actix::System::new().block_on(async {
//!     let (greeter, mail) = mailbox(16);
//!     let root = SupervisorSpec::new("root").child(ChildSpec::actor("greeter", mail, Greeter));
//!     let tree = start(root).await.unwrap();
//!     assert_eq!(greeter.send(Greet("you")).await.unwrap(), "hello you, from number 1");
//!     assert!(greeter.send(Greet("")).await.is_err());
//!     assert_eq!(greeter.send(Greet("you")).await.unwrap(), "hello you, from number 2");
//!     assert_eq!(tree.stop().await, Exit::Shutdown);
//! });
//! ```
//!
//! # What an actor must know
//!
//! - It says [`Lifeline::ready`] when its start has succeeded, or [`Lifeline::fail`]. Whoever says nothing
//!   runs into the start timeout.
//! - It is made anew by its factory for each incarnation; its state ends with it, its mailbox does not.
//! - A panic in a handler, in `started`, or in a future spawned on its context ends the incarnation: the
//!   message being handled is lost, [`Ref::send`] returns [`SendError::Unanswered`]. A panic in an
//!   `actix::spawn` or `ResponseFuture` future ends only that future, and such a future outlives the actor.
//! - It hands out clones of its [`Ref`], never `ctx.address()`: an `Addr` dies with the incarnation and is
//!   not bounded. For messages to itself `ctx.notify` is fine.
//! - Asked to drain it is stopped at once, unless it has registered [`Lifeline::on_stop`] or its
//!   `Actor::stopping` returns `Running::Continue`. `ctx.stop()` without a drain request is a normal exit.
//! - Whatever may block its thread gets a thread of its own, [`Placement::OwnArbiter`]. On a shared one
//!   nothing can rescue its neighbours, its supervisor among them.
//! - A stuck thread is abandoned, not killed. If its blocking call ever returns, the old incarnation ends
//!   there without another message; until then its references work.
//!
//! # Differences from OTP
//!
//! - A restart waits for its backoff; [`BackoffPolicy::immediate`] is OTP's.
//! - An exhausted supervisor exits as [`Exit::Escalated`], which is abnormal; the root parks what exhausted
//!   it instead, unless told otherwise ([`OnExhausted`]).
//! - Under one-for-one a child that is slow to start again does not hold up its siblings.
//! - A child paused or stopped by an operator stays so when its group or its supervisor is restarted.
//!
//! # Layout
//!
//! Top down, from what a user writes to what runs:
//!
//! | module | |
//! | --- | --- |
//! | `spec` | children and supervisors as specified, and what is refused |
//! | `mailbox` | [`mailbox`], [`Ref`]: bounded, and outliving the actor |
//! | `lifeline` | [`Lifeline`]: what an actor says and hears |
//! | `tree` | [`start`], [`Tree`]: the running whole |
//! | `unit` | the spec laid out for running: each child with its place and its entry |
//! | `supervisor` | one supervisor: events into the core, actions out |
//! | `core` | every decision, as a pure state machine |
//! | `backoff` | delays between restarts |
//! | `cell` | one incarnation from start to end, with its time limits |
//! | `host` | polls the actor, contains its panics |
//! | `placement` | threads for those who may block |
//! | `exit` | why something ended |
//! | `observe` | the snapshot of a running tree |
//! | `millis` | its times in JSON |

mod spec;

mod mailbox;

mod lifeline;

mod tree;

mod unit;

mod supervisor;

mod core;

mod backoff;

mod cell;

mod host;

mod placement;

mod exit;

mod observe;

mod millis;

pub use backoff::{BackoffPolicy, Delays};
pub use exit::Exit;
pub use lifeline::{Condition, Lifeline};
pub use mailbox::{Mailbox, Ref, SendError, TrySendError, mailbox};
pub use observe::{LastExit, MailboxGauge, Node, NodeKind, NodeState, Supervision};
pub use spec::{
    AutoShutdown, ChildSpec, OnExhausted, Placement, Restart, Shutdown, SpecError, Strategy, SupervisorSpec,
};
pub use tree::{Control, ControlError, StartError, Tree, start};
