//! What a hasty reader takes for a fact.

use super::{check, facts};

#[test]
fn negation() {
    check(&[
        ("I don't live in Berlin.", ""),
        ("I don’t live in Berlin.", ""),
        ("I no longer live in Berlin", ""),
        ("I never liked olives", ""),
        ("I'm not vegetarian", ""),
        ("I am no longer vegan", ""),
        ("I'm not a developer", ""),
        ("I have no dog", ""),
        ("I haven't visited Rome", ""),
        ("I didn't buy the car", ""),
    ]);
}

#[test]
fn questions() {
    check(&[
        ("Do I like tea?", ""),
        ("Should I move to Rome?", ""),
        ("Is my sister Anna there?", ""),
        ("Honestly, do I work at Siemens?", ""),
        ("I live in Berlin?", ""),
        ("I moved to Graz, have you been there?", "lives_in: Graz"),
        ("I like tea, what about you?", "likes: tea"),
    ]);
}

#[test]
fn conditions_and_wishes() {
    check(&[
        ("If I lived in Rome, I would eat pizza.", ""),
        ("I wish I had a dog", ""),
        ("I would like to visit Rome", ""),
        ("I'd love a dog, but I have a cat", "has_pet: cat"),
        ("Maybe I'll move to Rome", ""),
        ("Perhaps I like him", ""),
        ("If it rains I will stay home tomorrow", ""),
        ("I will come tomorrow if I can", ""),
        ("I could have a dog", ""),
        ("Imagine I live in a castle", ""),
        ("I think I like him", ""),
    ]);
}

#[test]
fn the_words_of_others() {
    check(&[
        ("She said 'I live in Paris' and left", ""),
        ("She said \"I live in Paris\".", ""),
        ("“I live in Paris”, she said", ""),
        ("He told me: I live in Rome", ""),
        ("> I live in Madrid\nI live in Bonn", "lives_in: Bonn"),
        ("```\nI live in a code block\n```\nI live in Bonn", "lives_in: Bonn"),
        ("use `my name is Bob` there", ""),
        ("Bob: I live in Paris", ""),
        ("Update: I live in Paris", "lives_in: Paris"),
    ]);
}

#[test]
fn the_past_is_not_the_present() {
    let fact = &facts("I used to live in Paris")[0];
    assert_eq!((fact.predicate.as_str(), fact.object.as_str()), ("lived_in", "Paris"));
    assert!(fact.valid_to.is_some());
    check(&[
        ("I used to live in Paris, but I moved to Oslo", "lived_in: Paris; lives_in: Oslo"),
        ("I used to work for Siemens", "worked_at: Siemens"),
        ("I used to play the drums", "used_to: play the drums"),
    ]);
}

#[test]
fn corrections() {
    check(&[
        ("I live in Berlin, no, Hamburg", "lives_in: Hamburg"),
        ("My name is Tim, wait, Tom.", "name: Tom"),
        ("I moved to Graz - sorry, Linz!", "lives_in: Linz"),
        ("I live in Berlin, no problem", "lives_in: Berlin"),
        ("Actually I moved to Graz", "lives_in: Graz"),
    ]);
}

#[test]
fn clauses_end_where_they_should() {
    check(&[
        ("I live in Berlin because my office is there", "lives_in: Berlin"),
        ("I like tea but not coffee", "likes: tea"),
        ("I love painting, it calms me", "likes: painting"),
        ("I love hiking, and my brother swims", "likes: hiking; has_family: brother"),
        ("I work at Acme 🏢 in Ulm", "works_at: Acme"),
        ("I live in New York City and I work at Acme", "lives_in: New York City; works_at: Acme"),
        ("I bought a car to get to work", "bought: car"),
        ("I want to move to Rome and live in a villa", "wants_to: move to Rome and live in a villa"),
    ]);
}

#[test]
fn what_means_nothing_alone() {
    check(&[
        ("I love it", ""),
        ("I love you", ""),
        ("I love your painting!", ""),
        ("I love the way you did that", ""),
        ("I like that idea", ""),
        ("I made it!", ""),
        ("I got this", ""),
        ("I'll let you know", ""),
        ("I'm 5 minutes away", ""),
        ("I'm 80% done here", ""),
        ("I live in fear", ""),
        ("I work for hours", ""),
        ("I'm not sure I like tea", ""),
        ("My name is important to me", ""),
        ("My name is important", ""),
        ("Call me tomorrow", ""),
        ("Call me ASAP", ""),
        ("call me at 12/03/2026", ""),
        ("I'm engaged in a fight", ""),
        ("Look at my goat sculpture", ""),
        ("My favourite one to play is chess", ""),
        ("Going to sleep", ""),
        ("Been there, done that", ""),
        ("I'm a mother of two", "is_a: mother of two"),
        ("Look at the children I met on the ferry", ""),
    ]);
}
