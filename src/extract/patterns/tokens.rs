//! Cutting a message into tokens, in one pass.
//!
//! Contractions become the two words that they stand for, addresses and quotations stay whole.

use super::lexicon::{Class, Classes, Lexicon, Word};

/// How far a closing quotation mark may be away, in bytes.
const MAX_QUOTATION: usize = 240;

/// How long a web or mail address may be, in bytes.
const MAX_ADDRESS: usize = 240;

/// Where apostrophes are left out or words run together: what is written, where to cut, what is meant.
const RUN_TOGETHER: [(&str, usize, &str, &str); 8] = [
    ("im", 1, "i", "am"),
    ("ive", 1, "i", "have"),
    ("dont", 2, "do", "not"),
    ("cannot", 3, "can", "not"),
    ("gonna", 3, "going", "to"),
    ("wanna", 3, "want", "to"),
    ("hadnt", 3, "had", "not"),
    ("didnt", 3, "did", "not"),
];

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
    let mut reader = Reader { source, lexicon, tokens: Vec::with_capacity(64), folded: String::new() };
    reader.read_lines();
    reader.tokens
}

struct Reader<'a, 'l> {
    source: &'a str,
    lexicon: &'l Lexicon,
    tokens: Vec<Token>,
    /// Reused for every word in lower case.
    folded: String,
}

impl Reader<'_, '_> {
    fn read_lines(&mut self) {
        let mut in_code = false;
        let mut start = 0;
        // Control characters end a line, so that neither a quote nor an object can contain one.
        for line in self.source.split(char::is_control) {
            let text = line.trim_start();
            if text.starts_with("```") {
                in_code = !in_code;
            } else if !in_code && !text.starts_with('>') {
                self.read_line(start, start + line.len());
            }
            start += line.len();
            start += self.source[start..].chars().next().map_or(0, char::len_utf8);
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
        if text.starts_with(['+', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
            let digits = text.trim_end_matches(char::is_alphabetic);
            let ordinal =
                ["", "st", "nd", "rd", "th"].iter().any(|e| text[digits.len()..].eq_ignore_ascii_case(e));
            return self.push(if ordinal { Kind::Number } else { Kind::Word }, at, word_end);
        }
        self.push_words(at, word_end);
        word_end
    }

    /// A web or mail address that begins here.
    fn address(&self, at: usize, end: usize) -> Option<(Kind, usize)> {
        if self.source[..at].ends_with(char::is_alphanumeric) {
            return None;
        }
        let limit = self.source.floor_char_boundary(end.min(at + MAX_ADDRESS));
        let chunk = self.source[at..limit].split([' ', '<', '>', '"', ',']).next().unwrap_or_default();
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
        let mut previous = '\0';
        let mut chars = self.source[at..end].char_indices().peekable();
        while let Some((offset, c)) = chars.next() {
            let next = chars.peek().map_or(' ', |(_, next)| *next);
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
        }
        end
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

    /// One word, or the two that a contraction stands for.
    fn push_words(&mut self, at: usize, end: usize) {
        self.fold(at, end);
        if let Some((_, cut, first, second)) = RUN_TOGETHER.iter().find(|(text, ..)| *text == self.folded) {
            self.push_as(first, at, at + cut);
            self.push_as(second, at + cut, end);
            return;
        }
        let contraction = self.folded.rsplit_once('\'').and_then(|(stem, tail)| {
            let meant = CONTRACTED.iter().find(|(text, _)| *text == tail)?.1;
            let negated = tail == "t" && stem.ends_with('n') && stem != "can";
            Some((meant, if negated { tail.len() + 2 } else { tail.len() + 1 }))
        });
        let Some((meant, tail)) = contraction else {
            self.push(Kind::Word, at, end);
            return;
        };
        // The mark may take three bytes in the source and one in the folded word.
        let mark = self.source[at..end].rfind(['\'', '’']).unwrap_or(0);
        let cut = if meant == "not" && tail == 3 { at + mark - 1 } else { at + mark };
        if cut > at {
            self.push(Kind::Word, at, cut);
        }
        self.push_as(meant, cut, end);
    }

    fn fold(&mut self, at: usize, end: usize) {
        self.folded.clear();
        for c in self.source[at..end].chars() {
            match c {
                '’' => self.folded.push('\''),
                _ if c.is_ascii() => self.folded.push(c.to_ascii_lowercase()),
                _ => self.folded.extend(c.to_lowercase()),
            }
        }
    }

    /// Adds a token and gives its end.
    fn push(&mut self, kind: Kind, start: usize, end: usize) -> usize {
        let mut token =
            Token { start, end, kind, word: Word::UNKNOWN, classes: Classes::default(), capital: false };
        match kind {
            Kind::Word => {
                self.fold(start, end);
                (token.word, token.classes) = self.lexicon.look_up(&self.folded);
                token.capital = self.source[start..].starts_with(char::is_uppercase);
                if token.capital && token.word == Word::UNKNOWN {
                    token.classes = token.classes.without(Class::Adverb).with(Class::Name);
                } else if token.word == Word::UNKNOWN {
                    token.classes = token.classes.with(Class::Plain);
                }
            }
            Kind::Number => token.classes = token.classes.with(Class::Number),
            Kind::Comma => token.classes = token.classes.with(Class::Comma),
            Kind::Pause if self.tokens.last().is_some_and(|last| last.kind == Kind::Pause) => return end,
            Kind::End if self.tokens.last().is_none_or(|last| matches!(last.kind, Kind::End)) => return end,
            _ => {}
        }
        self.tokens.push(token);
        end
    }

    fn push_as(&mut self, meant: &str, start: usize, end: usize) {
        let (word, classes) = self.lexicon.look_up(meant);
        self.tokens.push(Token { start, end, kind: Kind::Word, word, classes, capital: false });
    }
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
