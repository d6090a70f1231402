//! A title for a conversation, from the user's own first words, without a model.
//!
//! The extractor sees one message at a time: it offers a title for every meaningful user message, and the
//! ledger keeps the first one that a conversation was given.

use std::{borrow::Cow, ops::ControlFlow};

use async_trait::async_trait;
use factline_pipeline::{
    chat::Message,
    event::Event,
    extractor::{Error, Extractor},
    fact::{self, Extraction},
};

use super::{is_from_user, work};

/// The kind by which the configuration asks for it.
pub(super) const NAME: &str = "title";

/// The longest title, in Unicode characters, the ellipsis not counted.
const MAX_CHARS: usize = 60;

/// Sentences shorter than this are not a title alone if more words would fit.
const MIN_CHARS: usize = 15;

/// A title is in a message's beginning or nowhere: what lies behind this many bytes is not read.
const MAX_CONSIDERED: usize = 4096;

/// A sentence made of nothing else says nothing about what the conversation is about. Sorted.
const SMALL_TALK: [&str; 92] = [
    "a",
    "afternoon",
    "again",
    "all",
    "alright",
    "anybody",
    "anyone",
    "are",
    "awesome",
    "bye",
    "cheers",
    "cool",
    "day",
    "doing",
    "evening",
    "everybody",
    "everyone",
    "fine",
    "folks",
    "friend",
    "good",
    "goodbye",
    "great",
    "greetings",
    "guys",
    "haha",
    "hahaha",
    "hello",
    "here",
    "hey",
    "heya",
    "hi",
    "hiya",
    "hm",
    "hmm",
    "how",
    "how's",
    "howdy",
    "hows",
    "is",
    "it",
    "it's",
    "k",
    "kk",
    "lol",
    "lot",
    "lots",
    "me",
    "meet",
    "morning",
    "much",
    "nice",
    "night",
    "no",
    "nope",
    "of",
    "oh",
    "ok",
    "okay",
    "please",
    "see",
    "so",
    "sup",
    "sure",
    "team",
    "test",
    "testing",
    "thank",
    "thanks",
    "there",
    "thx",
    "to",
    "today",
    "ty",
    "up",
    "very",
    "was",
    "wassup",
    "welcome",
    "well",
    "what",
    "what's",
    "whats",
    "wow",
    "ya",
    "yay",
    "yeah",
    "yep",
    "yes",
    "yo",
    "you",
    "your",
];

/// The words that open a greeting; with one or two names behind it a sentence is still small talk.
const GREETINGS: [&str; 9] = ["hi", "hello", "hey", "heya", "hiya", "yo", "morning", "thanks", "dear"];

/// Gives a conversation a deterministic title.
#[derive(Debug, Clone, Copy, Default)]
pub struct Title;

impl Title {
    /// The extractor; it has no settings.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Extractor for Title {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn extract(&self, _event: &Event, message: &Message) -> Result<Extraction, Error> {
        let text = if is_from_user(&message.role) { title(&message.content) } else { None };
        let title = text.map(|text| fact::Title { text, source: NAME });
        Ok(Extraction { facts: Vec::new(), title })
    }
}

/// The title that a message gives, or nothing where it says nothing.
///
/// Reads on only until there is more than a title can hold.
fn title(content: &str) -> Option<String> {
    let considered = &content[..content.floor_char_boundary(MAX_CONSIDERED)];
    let mut opening = Opening::default();
    read_plain(considered, &mut opening);
    opening.title()
}

/// What a message begins with, in plain words, the small talk passed over.
#[derive(Default)]
struct Opening {
    plain: String,
    /// Where that begins which is not small talk, as far as is known.
    said: usize,
    /// How much of it there is, in Unicode characters.
    characters: usize,
    /// The sentence at `said`, as long as it may turn out to be small talk.
    sentence: SmallTalk,
    /// It has turned out to be none.
    is_talk: bool,
    is_meaningful: bool,
}

impl Opening {
    /// Adds a word, and says whether any more of them could change the title.
    fn add(&mut self, word: &str) -> ControlFlow<()> {
        work::did(word.len());
        if !self.plain.is_empty() {
            self.plain.push(' ');
        }
        if !self.is_talk && self.ends_sentence() {
            self.is_talk = !self.sentence.is_all();
            if !self.is_talk {
                (self.said, self.characters) = (self.plain.len(), 0);
                self.is_meaningful = false;
                self.sentence = SmallTalk::default();
            }
        }
        self.characters += usize::from(self.plain.len() > self.said);
        self.plain.push_str(word);
        self.characters += word.chars().count();
        self.is_meaningful = self.is_meaningful || is_meaningful(word);
        if !self.is_talk {
            self.sentence.add(word);
            self.is_talk = self.sentence.is_ruled_out();
        }
        let is_enough = self.is_talk && self.is_meaningful && self.characters > MAX_CHARS;
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether the word that a space has just been put behind ended a sentence.
    fn ends_sentence(&self) -> bool {
        self.plain.strip_suffix(' ').is_some_and(|text| text.ends_with(['.', '!', '?', '…']))
    }

    fn title(self) -> Option<String> {
        let only_small_talk = !self.is_talk && self.sentence.is_all();
        (self.is_meaningful && !only_small_talk).then(|| shorten(&self.plain[self.said..]))
    }
}

/// One line of plain text: no code, quotations, markup, addresses, control or direction characters.
fn read_plain(content: &str, opening: &mut Opening) {
    let mut in_code = false;
    for line in content.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code && !line.starts_with('>') && read_line(line, opening).is_break() {
            return;
        }
    }
}

fn read_line(line: &str, opening: &mut Opening) -> ControlFlow<()> {
    let text = without_link_targets(line);
    let bullet = |word: &str| word.chars().all(|c| matches!(c, '#' | '*' | '-' | '+' | '=' | '_'));
    for word in text.split_whitespace().skip_while(|word| bullet(word)) {
        let word = without_noise(word);
        if !word.is_empty() && !is_address(&word) {
            opening.add(&word)?;
        }
    }
    ControlFlow::Continue(())
}

/// `[text](address)` becomes `text`.
fn without_link_targets(line: &str) -> Cow<'_, str> {
    if !line.contains(']') {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        work::did(rest.len() - after.len());
        let Some((_, behind)) = after.split_once(')') else { break };
        text.push_str(&before.replacen('[', "", 1));
        rest = behind;
    }
    text.push_str(rest);
    Cow::Owned(text)
}

fn without_noise(word: &str) -> Cow<'_, str> {
    let is_clean = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'`' | b'~');
    if word.as_bytes().iter().all(is_clean) || !word.contains(is_noise) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(word.chars().filter(|c| !is_noise(*c)).collect())
}

/// Markup, control characters, and the invisible ones that turn the direction of text around.
fn is_noise(c: char) -> bool {
    let invisible =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    c.is_control() || invisible || matches!(c, '*' | '`' | '~')
}

fn is_address(word: &str) -> bool {
    word.starts_with("www.") || (word.contains(':') && word.contains("://"))
}

/// Whether a sentence, read word by word, is only small talk.
#[derive(Default)]
struct SmallTalk {
    words: usize,
    greets: bool,
    has_other: bool,
}

impl SmallTalk {
    fn add(&mut self, text: &str) {
        work::did(text.len());
        let separates = |c: char| !c.is_alphanumeric() && c != '\'' && c != '’';
        for word in text.split(separates).filter(|word| !word.is_empty()) {
            let word = if word.is_ascii() {
                Cow::Borrowed(word)
            } else {
                Cow::Owned(word.to_lowercase().replace('’', "'"))
            };
            let is_first = self.words == 0;
            self.words += 1;
            self.greets |= is_first && GREETINGS.iter().any(|greeting| word.eq_ignore_ascii_case(greeting));
            self.has_other = self.has_other || !is_small(&word);
        }
    }

    fn is_all(&self) -> bool {
        !self.has_other || (self.greets && self.words <= 3)
    }

    /// Whatever follows, it is not.
    fn is_ruled_out(&self) -> bool {
        self.has_other && (!self.greets || self.words > 3)
    }
}

fn is_small(word: &str) -> bool {
    let lower = || word.bytes().map(|byte| byte.to_ascii_lowercase());
    SMALL_TALK.binary_search_by(|small| small.bytes().cmp(lower())).is_ok()
}

/// Has a word: emoji, dots and single letters do not make a title.
fn is_meaningful(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric())
        .any(|word| word.chars().nth(1).is_some() || word.chars().any(|c| c.is_alphabetic() && !c.is_ascii()))
}

/// Where the first sentence ends: behind its `.`, `!` or `?`, if a space follows, or with the text.
fn sentence_end(text: &str) -> usize {
    let mut closing = false;
    for (at, c) in text.char_indices() {
        if closing && c.is_whitespace() {
            return at;
        }
        closing = matches!(c, '.' | '!' | '?' | '…');
    }
    text.len()
}

/// As many whole sentences as fit, else as many whole words, else as many characters.
fn shorten(text: &str) -> String {
    let limit = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(at, _)| at);
    if limit == text.len() {
        return text.to_owned();
    }
    // One character more shows whether a sentence ends at the limit; what is behind it changes nothing.
    let text = text.char_indices().nth(MAX_CHARS + 1).map_or(text, |(at, _)| &text[..at]);
    let mut sentences = 0;
    loop {
        let end = sentences + sentence_end(&text[sentences..]);
        if end > limit || end == sentences {
            break;
        }
        sentences = end + (text[end..].len() - text[end..].trim_start().len());
    }
    let whole = text[..sentences.min(limit)].trim_end();
    if whole.chars().count() >= MIN_CHARS {
        return whole.to_owned();
    }
    let words = text[..limit].rfind(char::is_whitespace).unwrap_or(limit);
    let cut = text[..words].trim_end_matches(|c: char| c.is_whitespace() || c.is_ascii_punctuation());
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gives_the_title_that_a_reader_would_expect() {
        for (content, expected) in [
            ("My name is PronterTestUser.", "My name is PronterTestUser."),
            ("Hi! I need help with my tax return", "I need help with my tax return"),
            ("Hey Ole! Good morning! Did you sell the boat?", "Did you sell the boat?"),
            ("# Plan for **Oslo**\n- flights\n- hotel", "Plan for Oslo flights hotel"),
            ("See [the docs](https://example.com/a?b=c) please", "See the docs please"),
            ("https://example.com/x why does this page fail", "why does this page fail"),
            ("```rust\nfn main() {}\n```\nWhy does this not compile?", "Why does this not compile?"),
            ("> you wrote this\nI disagree with that", "I disagree with that"),
            ("Привет, как дела", "Привет, как дела"),
            ("Tell\u{0} me\u{202e} about\tspiders", "Tell me about spiders"),
            (
                "Book a table for six. Then remind me to call my brother about the tickets",
                "Book a table for six.",
            ),
            (
                "Please compare the three offers that I have sent you yesterday and today",
                "Please compare the three offers that I have sent you…",
            ),
        ] {
            assert_eq!(title(content).as_deref(), Some(expected), "{content}");
        }
    }

    #[test]
    fn small_talk_gives_no_title() {
        for content in [
            "hi",
            "Hello!",
            "ok",
            "thanks",
            "Thank you so much!",
            "👋🙂",
            "...",
            "",
            "hey Tom",
            "```\ncode\n```",
        ] {
            assert_eq!(title(content), None, "{content}");
        }
    }

    #[test]
    fn a_title_is_short_and_plain_whatever_the_message() {
        for unit in
            ["a", "word ", "é", "🙂x", "Hi! ", "[a](b)", "\0x", "**", "> \n", "a.b. ", "\u{202e}שלום "]
        {
            let Some(title) = title(&unit.repeat(300_000 / unit.len())) else { continue };
            assert!(title.chars().count() <= MAX_CHARS + 1, "{unit}: {title}");
            assert!(!title.is_empty() && !title.chars().any(is_noise), "{unit}: {title}");
        }
    }
}
