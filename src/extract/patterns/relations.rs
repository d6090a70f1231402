//! The table of relations: what people say of themselves, and in which words.
//!
//! Where two cues of the same length fit, the row that comes first wins. `relation.rs` says how to read a
//! row.

use super::relation::Relation;

mod events;
mod people;
mod tastes;

/// All rows, in the order of their precedence.
pub(super) fn table() -> impl Iterator<Item = &'static Relation> {
    [
        people::SELF,
        people::WORK,
        people::FAMILY,
        people::CONTACT,
        people::OTHERS,
        tastes::TABLE,
        events::TABLE,
    ]
    .into_iter()
    .flatten()
}
