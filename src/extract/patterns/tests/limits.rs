//! Messages that nobody writes by hand: every fact stays sound, and the work stays in proportion.

use super::{
    super::{
        drafts::MAX_FACTS,
        lexicon::Lexicon,
        text::{MAX_CONSIDERED, Text},
    },
    assert_sound, found,
};

const MIB: usize = 1024 * 1024;

#[test]
fn repeated_cues_are_read_up_to_the_limits() {
    let units = [
        "I live in ",
        "I ",
        "my ",
        "my sister ",
        "since ",
        "since for ",
        "the day before ",
        "really ",
        "\"",
        "'a ",
        "(a",
        "I like tea, ",
        "I like tea and ",
        "I love really really ",
        "a@",
        "a.",
        "http://",
        "+1 ",
        "```\n",
        "> \n",
        "é",
        "I'm ",
        "’",
        "`",
        "no, ",
        "I live in A, no, ",
        "My name is ",
        "1 ",
        "in 1 ",
        "I’ve been ",
        "and and ",
        "J.K.",
    ];
    let lexicon = Lexicon::new();
    for unit in units {
        let content = unit.repeat(MIB / unit.len());
        assert!(assert_sound(&content) <= MAX_FACTS, "{unit}");
        let text = Text::read(&content, &lexicon);
        assert!(text.source.len() <= MAX_CONSIDERED && text.tokens.len() <= MAX_CONSIDERED + 1, "{unit}");
    }
}

#[test]
fn ten_thousand_sentences_give_no_more_facts_than_the_limit() {
    let sentences: Vec<_> = (0..10_000).map(|n| format!("I like cheese{n}.")).collect();
    let content = sentences.join(" ");
    assert_eq!(assert_sound(&content), MAX_FACTS);
}

#[test]
fn control_characters_end_a_phrase() {
    assert_eq!(found("I live in Ber\0lin"), "lives_in: Ber");
    assert_eq!(found("I like tea\0 and \u{7}cake"), "likes: tea");
    assert_sound("\0\0I live in \0Oslo\0");
}

#[test]
fn other_scripts_and_emoji_do_no_harm() {
    for content in [
        "🎉🎉🎉 I live in Oslo 🎉 and I like 🍕 pizza",
        "I live in São Paulo 🇧🇷, ich wohne in Köln",
        "\u{202e}I live in Oslo\u{202c}",
        "אני גר בחיפה. I live in Haifa. أنا أعيش في حيفا",
        "İ live in İstanbul. I live in İstanbul. My name is İpek.",
        "👨‍👩‍👧‍👦",
        "",
        "   \n\t ",
        "I",
        "I'm",
        "my",
        "’s",
    ] {
        assert_sound(content);
    }
    assert!(found("אני גר בחיפה. I live in Haifa.").contains("lives_in: Haifa"));
}

#[test]
fn spans_fit_whatever_stands_around_the_words() {
    let statements = [
        "I live in Oslo",
        "I like tea, cake and long walks",
        "my dogs Ada and Bix",
        "I’m 34 years old",
        "I've been painting for seven years",
        "we visited Malmö last month",
        "reach me at a.b@example.org",
        "My favourite book is “Dune”",
        "I work as a baker at Acme",
        "I moved to Graz - sorry, Linz",
    ];
    let surroundings = ["", " ", "é ", "🙂 ", "\n", ". ", "“…” ", "but ", "\u{feff}", "ß, "];
    for statement in statements {
        for before in surroundings {
            for after in surroundings {
                assert_sound(&format!("{before}{statement}{after}"));
            }
        }
    }
}

#[test]
fn every_prefix_of_a_message_is_read_soundly() {
    let content = "Hi! I’m Zoë, 34 years old; I've lived in Lyon since May 2016 with my wife, our cats Tom & Jerry – and \
                   I speak French, English and a little Dutch. Call me on +33 6 12 34 56 78, or mail zoe@example.org!";
    for (end, _) in content.char_indices() {
        assert_sound(&content[..end]);
    }
}
