//! One conformance suite a port, run against every adapter: what the port promises, whoever keeps it.
//!
//! A case takes a fixture, which is a fresh database or a fresh key prefix with the adapter opened on it. The adapters
//! are listed here once; a new adapter adds a line, and a function that makes its fixture, in [`adapters`].

/// A module for each adapter, with a test for each case.
macro_rules! for_every_adapter {
    ([$($adapter:ident: $open:path),* $(,)?] $cases:tt) => {
        $(for_every_adapter! { @ $adapter: $open, $cases })*
    };
    (@ $adapter:ident: $open:path, [$($case:ident),* $(,)?]) => {
        mod $adapter {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&$open().await).await;
                }
            )*
        }
    };
}

/// Every adapter of the `Outbox` port.
macro_rules! for_every_outbox {
    ($cases:tt) => {
        for_every_adapter! {
            [
                sqlite: crate::conformance::adapters::outbox_on_sqlite,
                postgres: crate::conformance::adapters::outbox_on_postgres,
            ]
            $cases
        }
    };
}

/// Every adapter of the `EventStream` port.
macro_rules! for_every_stream {
    ($cases:tt) => {
        for_every_adapter! {
            [
                sqlite: crate::conformance::adapters::stream_on_sqlite,
                redis: crate::conformance::adapters::stream_on_redis,
            ]
            $cases
        }
    };
}

/// Every adapter of the `Ledger`, `DeadLetters` and `Leases` ports, and of what there is to read.
macro_rules! for_every_store {
    ($cases:tt) => {
        for_every_adapter! {
            [
                sqlite: crate::conformance::adapters::store_on_sqlite,
                postgres: crate::conformance::adapters::store_on_postgres,
            ]
            $cases
        }
    };
}

mod adapters;
mod samples;

mod outbox;

mod settled;

mod stream;

mod pending;

mod redis;

mod ledger;

mod attempts;

mod dead_letters;

mod reprocessing;

mod facts;

mod horizons;

mod leases;

mod custom_outbox;

mod silence;
