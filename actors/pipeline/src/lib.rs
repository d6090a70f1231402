//! The pipeline: the five actors that carry an event from the outbox to its facts, and the ports they need.
//!
//! An event's way reads straight down this list of files. Nothing here knows a database: the ports are traits, and
//! the daemon supplies the adapters.
//!
//! # Layout
//!
//! - what moves: [`event`], its entry in a stream ([`cloudevent`]), [`chat`] messages, [`fact`]s, [`dead_letter`]s;
//! - the ports: [`outbox`], [`stream`], [`extractor`] and one [`extraction`] with it, [`ledger`], [`lease`], and how all of them
//!   fail, [`outage`];
//! - what a stream has lost and no ledger has: [`reconcile`] and its [`examiner`];
//! - what a batch changes in what is known: [`merge`] for facts, [`conversation`];
//! - what is told of an event's way: [`metrics`] and the [`trace`]s of those that are sampled;
//! - the actors, in the order in which an event meets them: [`outbox_poller`] with its `recovery`, [`stream_publisher`],
//!   [`consumer_group`] with its [`assignment`] and what it has `in_flight`, [`fact_extractor`] with its `parking` and
//!   its [`extraction_thread`], [`ledger_writer`]; [`batch`] keeps what moves between them in order, [`attempts`] is what
//!   tries leave behind, [`turns`] are whose events the process has in its hands; the [`janitor`] works beside them;
//! - the [`tree`] that holds them.

pub mod time;

pub mod event;

pub mod cloudevent;

pub mod chat;

pub mod fact;

pub mod dead_letter;

pub mod outage;

pub mod outbox;

pub mod stream;

pub mod extractor;

pub mod extraction;

pub mod attempts;

pub mod ledger;

pub mod lease;

pub mod merge;

pub mod conversation;

pub mod batch;

pub mod turns;

pub mod metrics;

pub mod trace;

mod in_flight;

pub mod reconcile;

pub mod examiner;

mod carriers;

mod recovery;

pub mod outbox_poller;

pub mod stream_publisher;

pub mod assignment;

pub mod consumer_group;

mod parking;

pub mod extraction_thread;

pub mod fact_extractor;

pub mod ledger_writer;

pub mod janitor;

pub mod tree;
