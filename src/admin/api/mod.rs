//! `/api/v1`: what people and programs ask, and what they may change.

pub(super) mod tree;
