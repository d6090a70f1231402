//! The built-in extractors, and the one place that knows them by their kind.
//!
//! The configuration names extractors by kind (`extractors = ["patterns", "title"]`); [`build`] turns such a
//! word into an extractor, and [`KINDS`] is what an error message offers when the word is unknown.

use std::sync::Arc;

use factline_pipeline::extractor::Extractor;

pub use misbehave::Misbehave;
pub use patterns::Patterns;
pub use title::Title;

pub mod adversarial;
mod misbehave;
mod patterns;
mod title;
mod work;

/// Every kind that [`build`] knows, in the order in which they are documented.
pub const KINDS: [&str; 3] = [patterns::NAME, title::NAME, misbehave::NAME];

/// The extractor of a kind, with its default settings; nothing for an unknown kind.
#[must_use]
pub fn build(kind: &str) -> Option<Arc<dyn Extractor>> {
    match kind {
        patterns::NAME => Some(Arc::new(Patterns::new())),
        title::NAME => Some(Arc::new(Title::new())),
        misbehave::NAME => Some(Arc::new(Misbehave::default())),
        _ => None,
    }
}

/// Whether the message was written by the person whom the conversation is with.
///
/// Only their own words say something about them: an assistant's "I live in the cloud" must never become a
/// fact about the user, and its greeting must never become a conversation's title.
fn is_from_user(role: &str) -> bool {
    ["user", "human"].iter().any(|user| role.trim().eq_ignore_ascii_case(user))
}

#[cfg(test)]
mod examples;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_built_and_is_called_what_it_says() {
        for kind in KINDS {
            assert_eq!(build(kind).unwrap().name(), kind);
        }
        assert!(build("llm").is_none());
    }

    #[test]
    fn only_the_users_own_words_count() {
        for role in ["user", "User", " human "] {
            assert!(is_from_user(role), "{role}");
        }
        for role in ["assistant", "system", "tool", "function", "developer", ""] {
            assert!(!is_from_user(role), "{role}");
        }
    }
}
