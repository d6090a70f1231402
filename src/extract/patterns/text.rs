//! A message as tokens and sentences, without what its author did not say in their own voice.
//!
//! Quoted lines and code are left out. Quoted words become one opaque token: they may be a title ("I am
//! reading 'Dune'"), so they stay part of a phrase, but no cue is ever found inside. Work is linear in the
//! message's length, which is limited.

use std::ops::Range;

use super::super::work;
use super::{
    lexicon::{Class, Lexicon},
    tokens::{self, Kind, Token},
};

/// What lies behind this many bytes is not read: nobody introduces themselves that late.
pub(in crate::extract) const MAX_CONSIDERED: usize = 64 * 1024;

/// A message, cut up.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub(super) source: &'a str,
    pub(super) tokens: Vec<Token>,
    /// Sentences that state something, as ranges of tokens: questions are not among them.
    pub(super) sentences: Vec<Range<usize>>,
}

impl<'a> Text<'a> {
    pub(super) fn read(content: &'a str, lexicon: &Lexicon) -> Self {
        let source = &content[..content.floor_char_boundary(MAX_CONSIDERED)];
        let mut text = Self { source, tokens: tokens::read(source, lexicon), sentences: Vec::new() };
        text.find_statements(lexicon);
        text
    }

    pub(super) fn written(&self, token: &Token) -> &'a str {
        &self.source[token.start..token.end]
    }

    fn find_statements(&mut self, lexicon: &Lexicon) {
        let mut from = 0;
        for at in 0..self.tokens.len() {
            let end = match self.tokens[at].kind {
                Kind::End => at,
                Kind::Question => self.statement_before_question(from, at, lexicon),
                _ => continue,
            };
            if from < end {
                self.sentences.push(from..end);
            }
            from = at + 1;
        }
    }

    /// "I moved to Rome, have you been there?" states something up to the comma; most questions do not.
    fn statement_before_question(&self, from: usize, to: usize, lexicon: &Lexicon) -> usize {
        let tokens = &self.tokens[from..to];
        work::did(tokens.len());
        let and = [lexicon.number("and"), lexicon.number("but"), lexicon.number("so")];
        let skipped = |token: &&Token| {
            !token.is_content() || token.is(Class::Interjection) || and.contains(&token.word)
        };
        if tokens.iter().find(|token| !skipped(token)).is_none_or(|first| first.is(Class::Asks)) {
            return from;
        }
        let asks = |at: usize| tokens.get(at).is_some_and(|token| token.is(Class::Asks));
        let turn = (1..tokens.len()).rev().find(|&at| {
            let token = &tokens[at];
            matches!(token.kind, Kind::Comma | Kind::Pause) && asks(at + 1)
                || and.contains(&token.word) && asks(at + 1)
        });
        turn.map_or(from, |at| from + at)
    }
}
