//! Cutting a message into tokens, in one pass.
//!
//! Contractions become the two words that they stand for, addresses and quotations stay whole.

use std::ops::Range;

use super::super::work;
use super::lexicon::{Class, Classes, Lexicon, Word};

/// How far a closing quotation mark may be away, in bytes.
const MAX_QUOTATION: usize = 240;

/// How long a web or mail address may be, in bytes.
const MAX_ADDRESS: usize = 240;

/// What the part behind an apostrophe stands for. "'d" may also be "had"; taken as "would" it gives no fact.
const CONTRACTED: [(&str, &str); 7] =
    [("m", "am"), ("re", "are"), ("ve", "have"), ("ll", "will"), ("d", "would"), ("t", "not"), ("s", "'s")];

/// A full stop behind these ends no sentence.
const ABBREVIATED: [&str; 7] = ["dr", "mr", "mrs", "ms", "st", "prof", "mt"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    /// Words between quotation marks, the marks included.
    Quoted,
    /// A mail address.
    Mail,
    /// A web address.
    Link,
    Comma,
    Colon,
    /// A dash, a bracket, an emoji: a phrase ends here, the sentence does not.
    Pause,
    /// The sentence ends.
    End,
    /// The sentence ends, and was a question.
    Question,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    pub(super) word: Word,
    pub(super) classes: Classes,
    /// Begins with an upper-case letter.
    pub(super) capital: bool,
}

impl Token {
    pub(super) fn is(&self, class: Class) -> bool {
        self.classes.has(class)
    }

    pub(super) fn is_any(&self, classes: &[Class]) -> bool {
        self.classes.has_any(classes)
    }

    /// Anything but punctuation.
    pub(super) fn is_content(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Number | Kind::Quoted | Kind::Mail | Kind::Link)
    }
}

/// The tokens of a message.
pub(super) fn read(source: &str, lexicon: &Lexicon) -> Vec<Token> {
    let mut reader = Reader {
        source,
        lexicon,
        tokens: Vec::with_capacity(64),
        folded: String::with_capacity(64),
        may_have_mail: source.contains('@'),
    };
    reader.read_lines();
    reader.tokens
}

struct Reader<'a, 'l> {
    source: &'a str,
    lexicon: &'l Lexicon,
    tokens: Vec<Token>,
    /// Reused for every word in lower case.
    folded: String,
    /// Somewhere in the message there is an "@".
    may_have_mail: bool,
}

impl Reader<'_, '_> {
    fn read_lines(&mut self) {
        let mut in_code = false;
        let mut start = 0;
        loop {
            // Control characters end a line, so that neither a quote nor an object can contain one.
            let control = control_behind(self.source, start);
            let end = control.as_ref().map_or(self.source.len(), |control| control.start);
            work::did(end - start);
            let text = self.source[start..end].trim_start();
            if text.starts_with("```") {
                in_code = !in_code;
            } else if !in_code && !text.starts_with('>') {
                self.read_line(start, end);
            }
            let Some(control) = control else { return };
            start = control.end;
        }
    }

    fn read_line(&mut self, start: usize, end: usize) {
        let mut at = start;
        while let Some(c) = self.source[at..end].chars().next() {
            let after = at + c.len_utf8();
            at = if c.is_whitespace() {
                after
            } else if c.is_alphanumeric() || (c == '+' && self.source[after..end].starts_with(is_digit)) {
                self.read_word(at, end)
            } else if c == '&' {
                self.push_as("&", at, after);
                after
            } else if let Some(close) = self.quotation_end(at, end, c) {
                self.push(Kind::Quoted, at, close)
            } else {
                self.push(mark(c), at, after)
            };
        }
        self.push(Kind::End, end, end);
    }

    /// Where the quotation that may begin here ends, its closing mark included.
    fn quotation_end(&self, at: usize, end: usize, open: char) -> Option<usize> {
        let close: &[char] = match open {
            '"' => &['"'],
            '“' | '„' => &['”', '“', '"'],
            '«' => &['»'],
            '`' => &['`'],
            '\'' | '‘' | '’' => &['\'', '’'],
            _ => return None,
        };
        let single = close.contains(&'\'');
        let from = at + open.len_utf8();
        let limit = self.source.floor_char_boundary(end.min(from + MAX_QUOTATION));
        work::did(limit - from);
        let inside = &self.source[from..limit];
        if single && !inside.starts_with(char::is_alphanumeric) {
            return None;
        }
        let closes = |(offset, mark): &(usize, &str)| {
            let next = self.source[from + offset + mark.len()..].chars().next();
            !single || !next.is_some_and(char::is_alphanumeric)
        };
        let found = inside.match_indices(close).find(closes);
        found.map(|(offset, mark)| from + offset + mark.len())
    }

    fn read_word(&mut self, at: usize, end: usize) -> usize {
        if let Some((kind, address_end)) = self.address(at, end) {
            return self.push(kind, at, address_end);
        }
        let word_end = self.word_end(at, end);
        let text = &self.source[at..word_end];
        let is_number = text.starts_with(|c: char| c == '+' || is_digit(c));
        if is_number && is_ordinal(text) {
            return self.push(Kind::Number, at, word_end);
        }
        self.fold(at, word_end);
        if is_number {
            self.push_folded(at, word_end);
        } else {
            self.push_words(at, word_end);
        }
        word_end
    }

    /// A web or mail address that begins here.
    fn address(&self, at: usize, end: usize) -> Option<(Kind, usize)> {
        let may_be_link = matches!(self.source.as_bytes()[at], b'h' | b'w');
        if !(may_be_link || self.may_have_mail) || self.source[..at].ends_with(char::is_alphanumeric) {
            return None;
        }
        let limit = self.source.floor_char_boundary(end.min(at + MAX_ADDRESS));
        let chunk = self.source[at..limit].split([' ', '<', '>', '"', ',']).next().unwrap_or_default();
        work::did(chunk.len());
        let kind =
            if chunk.starts_with("www.") || chunk.starts_with("http://") || chunk.starts_with("https://") {
                Kind::Link
            } else if is_mail(chunk) {
                Kind::Mail
            } else {
                return None;
            };
        let kept = chunk.trim_end_matches(['.', '!', '?', ';', ':', ')', ']', '\'', '*']);
        Some((kind, at + kept.len()))
    }

    /// Letters and digits, and the marks that bind them: "rock'n'roll", "well-known", "J.K.", "5.30".
    fn word_end(&self, at: usize, end: usize) -> usize {
        let text = &self.source[at..end];
        let (mut offset, mut previous) = (0, '\0');
        loop {
            let plain = text.as_bytes()[offset..].iter().take_while(|byte| byte.is_ascii_alphanumeric());
            let run = plain.count();
            work::did(run + 1);
            if run > 0 {
                offset += run;
                previous = char::from(text.as_bytes()[offset - 1]);
            }
            let mut chars = text[offset..].chars();
            let Some(c) = chars.next() else { return end };
            let next = chars.next().unwrap_or(' ');
            let binds = match c {
                _ if c.is_alphanumeric() || offset == 0 => true,
                '\'' | '’' | '-' | '_' | '&' => next.is_alphanumeric(),
                '.' | ',' | ':' | '/' if previous.is_ascii_digit() => next.is_ascii_digit(),
                ':' => previous.is_uppercase() && next.is_uppercase(),
                '+' | '#' => previous.is_alphabetic() || previous == '+',
                '.' => self.stop_binds(at, at + offset, next),
                _ => false,
            };
            if !binds {
                return at + offset;
            }
            previous = c;
            offset += c.len_utf8();
        }
    }

    /// Initials ("J.K. Rowling") and titles ("Dr. Lee") carry their full stop.
    fn stop_binds(&self, at: usize, stop: usize, next: char) -> bool {
        let word = &self.source[at..stop];
        let initial = word.rsplit('.').next().is_some_and(|part| {
            let mut chars = part.chars();
            chars.next().is_some_and(char::is_uppercase) && chars.next().is_none() && part != "I"
        });
        initial && (next.is_uppercase() || word.contains('.'))
            || ABBREVIATED.iter().any(|title| word.eq_ignore_ascii_case(title))
    }

    /// The folded word, or the two that a contraction stands for.
    fn push_words(&mut self, at: usize, end: usize) {
        if let Some((cut, first, second)) = run_together(&self.folded) {
            self.push_as(first, at, at + cut);
            self.push_as(second, at + cut, end);
            return;
        }
        if !self.folded.as_bytes().contains(&b'\'') {
            self.push_folded(at, end);
            return;
        }
        let contraction = self.folded.rsplit_once('\'').and_then(|(stem, tail)| {
            let meant = CONTRACTED.iter().find(|(text, _)| *text == tail)?.1;
            let negated = tail == "t" && stem.ends_with('n') && stem != "can";
            Some((meant, if negated { tail.len() + 2 } else { tail.len() + 1 }))
        });
        let Some((meant, tail)) = contraction else {
            self.push_folded(at, end);
            return;
        };
        // The mark may take three bytes in the source and one in the folded word.
        let mark = self.source[at..end].rfind(['\'', '’']).unwrap_or(0);
        let cut = if meant == "not" && tail == 3 { at + mark - 1 } else { at + mark };
        if cut > at {
            self.folded.truncate(self.folded.len() - tail);
            self.push_folded(at, cut);
        }
        self.push_as(meant, cut, end);
    }

    fn fold(&mut self, at: usize, end: usize) {
        work::did(end - at);
        self.folded.clear();
        if self.source[at..end].is_ascii() {
            self.folded.push_str(&self.source[at..end]);
            self.folded.make_ascii_lowercase();
            return;
        }
        for c in self.source[at..end].chars() {
            match c {
                '’' => self.folded.push('\''),
                _ if c.is_ascii() => self.folded.push(c.to_ascii_lowercase()),
                _ => self.folded.extend(c.to_lowercase()),
            }
        }
    }

    /// Adds a token that is no word and gives its end.
    fn push(&mut self, kind: Kind, start: usize, end: usize) -> usize {
        let classes = Classes::default();
        let classes = match kind {
            Kind::Number => classes.with(Class::Number),
            Kind::Comma => classes.with(Class::Comma),
            Kind::Pause if self.tokens.last().is_some_and(|last| last.kind == Kind::Pause) => return end,
            Kind::End if self.tokens.last().is_none_or(|last| last.kind == Kind::End) => return end,
            _ => classes,
        };
        self.tokens.push(Token { start, end, kind, word: Word::UNKNOWN, classes, capital: false });
        end
    }

    /// Adds the word that has been folded last.
    fn push_folded(&mut self, start: usize, end: usize) {
        let (word, mut classes) = self.lexicon.look_up(&self.folded);
        let capital = self.source[start..].starts_with(char::is_uppercase);
        if word == Word::UNKNOWN {
            classes = if capital {
                classes.without(Class::Adverb).with(Class::Name)
            } else {
                classes.with(Class::Plain)
            };
        }
        self.tokens.push(Token { start, end, kind: Kind::Word, word, classes, capital });
    }

    fn push_as(&mut self, meant: &str, start: usize, end: usize) {
        let (word, classes) = self.lexicon.look_up(meant);
        self.tokens.push(Token { start, end, kind: Kind::Word, word, classes, capital: false });
    }
}

/// The first control character that does not stand before `from`.
fn control_behind(source: &str, from: usize) -> Option<Range<usize>> {
    // 0xC2 leads the only ones that are not ASCII, and others.
    let bytes = source.as_bytes()[from..].iter().enumerate();
    let mut may_be = bytes.filter(|(_, byte)| byte.is_ascii_control() || **byte == 0xC2);
    may_be.find_map(|(offset, _)| {
        let at = from + offset;
        let c = source[at..].chars().next().filter(|c| c.is_control())?;
        Some(at..at + c.len_utf8())
    })
}

/// Where apostrophes are left out or words run together: where to cut, and what is meant.
fn run_together(word: &str) -> Option<(usize, &'static str, &'static str)> {
    Some(match word {
        "im" => (1, "i", "am"),
        "ive" => (1, "i", "have"),
        "dont" => (2, "do", "not"),
        "cannot" => (3, "can", "not"),
        "gonna" => (3, "going", "to"),
        "wanna" => (3, "want", "to"),
        "hadnt" => (3, "had", "not"),
        "didnt" => (3, "did", "not"),
        _ => return None,
    })
}

/// "3rd", and "3" as well.
fn is_ordinal(text: &str) -> bool {
    let digits = text.trim_end_matches(char::is_alphabetic);
    ["", "st", "nd", "rd", "th"].iter().any(|ending| text[digits.len()..].eq_ignore_ascii_case(ending))
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_mail(chunk: &str) -> bool {
    chunk.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.starts_with('.') && host.trim_end_matches('.').contains('.')
    })
}

fn mark(c: char) -> Kind {
    match c {
        '.' | '!' | ';' => Kind::End,
        '?' => Kind::Question,
        ',' => Kind::Comma,
        ':' => Kind::Colon,
        _ => Kind::Pause,
    }
}
