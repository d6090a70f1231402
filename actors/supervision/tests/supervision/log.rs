//! What is logged: every exit once, where it is decided upon.

use std::{fmt, sync::Arc, time::Duration};

use factline_supervision::{OnExhausted, SupervisorSpec, start};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::common::{Do, Journal, virtual_time, worker};

/// Writes events into a journal, a line each, without debug events.
struct Recorder(Journal);

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("factline_supervision") && *metadata.level() < tracing::Level::DEBUG
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.note(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 = match field.name() {
            "message" => format!("{} {value:?}", self.0),
            name => format!("{} {name}={value:?}", self.0),
        };
    }
}

#[test]
fn every_exit_and_what_follows_is_logged_once() {
    let journal = Journal::default();
    let recorder =
        tracing::Dispatch::from(Arc::new(Recorder(journal.clone())) as Arc<dyn Subscriber + Send + Sync>);
    tracing::dispatcher::with_default(&recorder, || {
        virtual_time(async {
            let (a, spec) = worker("a", &Journal::default());
            let root = SupervisorSpec::new("root").intensity(1, Duration::from_secs(5));
            let tree = start(root.on_exhausted(OnExhausted::Exit).child(spec)).await.unwrap();
            a.send(Do::InFlight(2)).await.unwrap();
            assert!(a.send(Do::Panic).await.is_err());
            assert!(a.send(Do::Fail).await.is_ok());
            tree.exited().await;
        });
    });
    let cause = "more than 1 restarts within 5s, at last `a`: failed: gave up";
    assert_eq!(
        journal.take(),
        [
            "WARN child exited, restarting it path=\"root/a\" generation=1 reason=panicked: boom in_flight=2 \
             delay_ms=0"
                .into(),
            format!(
                "ERROR supervisor gives up path=\"root/a\" generation=2 reason=failed: gave up in_flight=0 \
                 supervisor=\"root\" cause=\"{cause}\""
            ),
            format!("WARN child exited and stays down path=\"root\" generation=1 reason=escalated: {cause} in_flight=0"),
        ]
    );
}
