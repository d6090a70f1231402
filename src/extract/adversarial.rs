//! Messages that nobody writes by hand: what would make extraction slow if anything could.
//!
//! Tests count what they cost; `factline bench extract` measures it.

/// Repeated, each of them invites a reader to look far ahead or back, or to begin again at every word.
pub(super) const PIECES: [&str; 62] = [
    // One endless word, number, name, address, or nothing at all.
    "x",
    "X",
    "é",
    "9",
    "1.",
    "1,",
    "_",
    "a-",
    "A.",
    "J.K.",
    "a.",
    "a@",
    "a@b.",
    "http://",
    "https://a.b/ ",
    " ",
    "\n",
    "\u{a0}",
    "\u{301}",
    "a\u{301}",
    "\0",
    "İ",
    "ß",
    "ﬁ",
    // Marks that open and never close.
    "\"",
    "\"a ",
    "“",
    "“a ",
    "«a ",
    "'a ",
    "’",
    "`",
    "`a ",
    "(",
    "[",
    "](",
    "[a](b",
    "[a](b)",
    "(a [b ",
    "```\n",
    "> \n",
    // Emoji, and text from right to left.
    "🎉",
    "👨‍👩‍👧‍👦 ",
    "אני גר ",
    "\u{202e}I ",
    // Cues and what may stand between them.
    "I ",
    "I I’m ",
    "I live in ",
    "my name is ",
    "my sister ",
    "really ",
    "I really ",
    "and ",
    "no, ",
    "I live in A, no, ",
    "I like tea, ",
    "I like tea and ",
    "if I live in A but ",
    "Hi! ",
    // Dates.
    "on 1 ",
    "since for the last ",
    "the day before ",
];

/// The piece as often as it takes to fill so many bytes.
pub(super) fn repeated(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes.div_ceil(piece.len()))
}

/// Sentences with a fact each, no two alike.
pub(super) fn sentences(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        text +=
            &format!("I like cheese{number}, and did I move to Rome{number} on Friday, or don't you know? ");
    }
    text
}

/// Payloads that are at least so long, by name.
#[must_use]
pub fn payloads(bytes: usize) -> Vec<(String, String)> {
    let contents = PIECES.iter().map(|piece| (format!("{piece:?} repeated"), repeated(piece, bytes)));
    let contents = contents.chain([("a fact in every sentence".to_owned(), sentences(bytes))]);
    let mut payloads: Vec<_> = contents
        .map(|(name, content)| (name, serde_json::json!({ "content": content }).to_string()))
        .collect();
    let beside =
        |name: &str, field: String| (name.to_owned(), format!("{{{field}, \"content\": \"I like tea.\"}}"));
    payloads.extend([
        beside("a deep field", format!("\"a\": {}{}", "[".repeat(bytes / 2), "]".repeat(bytes / 2))),
        beside("a deep id", format!("\"message_id\": {}{}", "[".repeat(bytes / 2), "]".repeat(bytes / 2))),
        beside("a long key", format!("\"{}\": 1", "k".repeat(bytes))),
        beside("an escaped key", format!("\"{}\": 1", "\\u0041".repeat(bytes / 6))),
        beside("a long number", format!("\"message_id\": {}", "9".repeat(bytes))),
        beside("a long time", format!("\"sent_at\": \"{}\"", "9".repeat(bytes))),
        beside("many fields", vec!["\"k\": 1"; bytes / 8].join(", ")),
    ]);
    payloads
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Patterns,
            examples::event,
            patterns::{MAX_CONSIDERED, samples_of_cues},
            title::Title,
            work,
        },
        *,
    };
    use factline_pipeline::{chat::Message, extractor::Extractor};
    use futures_util::FutureExt;

    /// The steps that both extractors take, on a message that is read to its end or to their limits.
    fn steps(patterns: &Patterns, content: &str) -> usize {
        let event = event(&serde_json::json!({ "content": content }).to_string());
        let message = Message::parse(&event).unwrap();
        work::of(|| {
            patterns.extract(&event, &message).now_or_never().unwrap().unwrap();
            Title::new().extract(&event, &message).now_or_never().unwrap().unwrap();
        })
    }

    fn check(patterns: &Patterns, name: &str, content: impl Fn(usize) -> String, length: usize) {
        let (short, long) = (steps(patterns, &content(length / 4)), steps(patterns, &content(length)));
        let says_something = content(length).chars().any(char::is_alphanumeric);
        assert!(long > 0 || !says_something, "{name}: nothing was counted");
        assert!(long <= 5 * short + 1000, "{name}: {short} steps, four times as long {long}");
        assert!(long <= 250 * length, "{name}: {long} steps for {length} bytes");
    }

    #[test]
    fn four_times_the_message_is_four_times_the_work() {
        let patterns = Patterns::new();
        for piece in PIECES {
            check(&patterns, piece, |length| repeated(piece, length), MAX_CONSIDERED);
        }
        check(&patterns, "sentences", sentences, MAX_CONSIDERED);
    }

    #[test]
    fn no_cue_makes_more_work_the_more_often_it_is_repeated() {
        let patterns = Patterns::new();
        let samples: Vec<String> = samples_of_cues().collect();
        assert!(samples.len() > 100);
        for (sample, next) in samples.iter().zip(samples.iter().cycle().skip(1)) {
            check(&patterns, sample, |length| repeated(&format!("{sample} "), length), 4096);
            check(&patterns, sample, |length| repeated(&format!("{sample} and {next} "), length), 4096);
        }
    }

    #[test]
    fn what_lies_behind_the_limit_costs_nothing() {
        let patterns = Patterns::new();
        for piece in PIECES {
            let limit = steps(&patterns, &repeated(piece, MAX_CONSIDERED));
            let beyond = steps(&patterns, &repeated(piece, 1 << 20));
            assert!(beyond <= limit + 1000, "{piece}: {limit} steps at the limit, {beyond} for a mebibyte");
        }
    }

    #[test]
    fn every_payload_is_a_message_or_says_why_not() {
        for (name, payload) in payloads(20_000) {
            assert!(payload.len() >= 20_000, "{name}");
            let read = Message::parse(&event(&payload)).map(|_| ()).map_err(|error| error.to_string());
            // What nobody reads may be as deep as it likes.
            let is_sound = !["a deep id", "a long number", "a long time"].contains(&name.as_str());
            assert_eq!(read.is_ok(), is_sound, "{name}: {read:?}");
        }
    }
}
