//! What operators and programs ask over HTTP, and change: the real daemon, on both kinds of store.

mod ask;
mod contract;
mod events;
mod letters;
mod listings;
