//! Who somebody is, where they live and work, whom they belong to, and how they are reached.

use super::super::{
    lexicon::Class,
    relation::{
        Holds::{Now, Over, Past},
        Object::{
            Age, Day, Introduction, Kind, Languages, Link, Mail, Meant, NameBefore, Names, NamesInCue,
            Organisation, Phone, Place, Thing, Things, Word,
        },
        Relation, many, single,
    },
};

/// The speaker.
#[rustfmt::skip] // a row stays a row
pub(super) const SELF: &[Relation] = &[
    single("name", 0.95, Names, Now, &[
        "my name|names is|'s", "my full|first name is|'s", "i am called", "call me",
    ]),
    single("name", 0.7, Introduction, Now, &["i am"]),
    single("age", 0.95, Age, Now, &["i am", "i turned|turn", "i have turned"]),
    single("birthday", 0.95, Day, Now, &[
        "my birthday is|'s", "my birthday falls", "i celebrate my birthday",
    ]),
    single("born", 0.95, Day, Now, &["i was born"]),
    single("born_in", 0.95, Place, Now, &["i was born in", "i was born and raised in"]),
    single("from", 0.9, Place, Now, &[
        "i|we am|are from", "i|we come from", "i hail from", "my hometown|homeland is|'s",
        "my home town|country|state is|'s",
    ]),
    many("grew_up_in", 0.9, Place, Now, &["i|we grew up in", "i was raised in", "i grew up near"]),
    single("lives_in", 0.95, Place, Now, &[
        "i|we live|reside in", "i|we live here|over|up|down|out in",
        "i|we am|are living|based|located|settled in", "i|we have lived in", "i|we have been living|based in",
        "i|we am|are still living in", "my home is|'s in",
    ]),
    single("lives_in", 0.9, Place, Past, &[
        "i|we moved|relocated to", "i|we have moved|relocated to", "i|we moved back|over|out|up|down|here to",
        "i|we moved from NAME to", "i|we moved from NAME NAME to", "i|we settled in", "i|we settled down in",
    ]),
    many("lived_in", 0.85, Place, Over, &["i|we used to live in", "i|we lived in", "i|we used to live near"]),
    many("moved_from", 0.85, Place, Past, &["i|we moved|emigrated from", "i|we moved here|away from"]),
    single("nationality", 0.85, Word, Now, &["i am NATIONALITY", "i am an|a NATIONALITY"]),
    single("religion", 0.85, Word, Now, &["i am RELIGION", "i am a|an RELIGION"]),
    single("marital_status", 0.9, Word, Now, &["i|we am|are MARITAL"]),
    many("married_to", 0.95, Names, Now, &["i am married to"]),
    many("engaged_to", 0.95, Names, Now, &["i am engaged to"]),
    many("speaks", 0.9, Languages, Now, &[
        "i|we speak", "i can speak", "i am fluent in", "my native|first language is",
        "my mother|native tongue is",
    ]),
    single("diet", 0.9, Word, Now, &[
        "i am DIET", "i am a DIET", "i have been DIET", "i have been a DIET", "i became DIET", "i went DIET",
        "i turned DIET",
    ]),
    many("allergic_to", 0.95, Things, Now, &[
        "i am allergic to", "i have an allergy to", "i have been allergic to",
    ]),
    many("intolerant_to", 0.9, Things, Now, &["i am intolerant to", "i do not tolerate"]),
    many("avoids", 0.85, Things, Now, &[
        "i do not|never eat|drink", "i never eat|drink", "i avoid", "i am avoiding", "i do not eat|drink any",
    ]),
    many("avoids", 0.7, Things, Now, &["i can not eat|drink"]),
    many("has_condition", 0.85, Things, Now, &[
        "i was diagnosed with", "i suffer from", "i have been diagnosed with",
    ]),
];

/// Work and learning.
#[rustfmt::skip] // a row stays a row
pub(super) const WORK: &[Relation] = &[
    single("works_as", 0.9, Kind(Class::Job), Now, &[
        "i am", "i work as", "i am working|employed as", "i have worked as", "i have been",
        "i have been working as", "i got a job as", "i started working as", "i have been working as",
        "i became", "i have become",
    ]),
    single("works_at", 0.9, Organisation, Now, &[
        "i work at|for", "i am working|employed at|for|by", "i have worked at|for",
        "i have been working at|for", "i started working at|for", "i got a job at", "i have a job at",
        "i got hired by|at", "my employer is", "i started at", "i got a new job at",
    ]),
    many("works_in", 0.8, Things, Now, &["i work in", "i am working in", "i have been working in"]),
    many("worked_as", 0.85, Kind(Class::Job), Over, &[
        "i used to work as", "i worked as", "i was", "i used to be",
    ]),
    many("worked_at", 0.85, Organisation, Over, &["i used to work at|for", "i worked at|for"]),
    many("studies", 0.85, Things, Now, &[
        "i study", "i am studying", "i have been studying", "i am majoring in", "i major in",
        "my major is|'s", "i started studying",
    ]),
    many("studied", 0.85, Things, Past, &[
        "i studied", "i majored in", "i have a degree in", "i graduated in",
    ]),
    many("studies_at", 0.85, Organisation, Now, &[
        "i study at", "i am studying at", "i am a student at", "i am enrolled at",
    ]),
    many("graduated_from", 0.9, Organisation, Past, &["i graduated from", "i have graduated from"]),
    many("learns", 0.85, Thing, Now, &[
        "i|we am|are learning", "i|we have been learning", "i|we started|began learning",
        "i am teaching myself", "i|we have started learning", "i|we am|are learning to|about",
        "i have been learning to|about",
    ]),
    many("works_on", 0.8, Thing, Now, &[
        "i|we am|are working on", "i|we have been working on", "i|we started working on",
        "i|we am|are collaborating on",
    ]),
];

/// Relatives, friends and animals.
#[rustfmt::skip] // a row stays a row
pub(super) const FAMILY: &[Relation] = &[
    many("has_{}", 0.9, NamesInCue, Now, &[
        "my|our KINKIND? KINKIND? KIN|FRIEND|PET NAME",
        "my|our KINKIND? KINKIND? KIN|FRIEND|PET COMMA NAME COMMA",
    ]),
    many("has_{}", 0.95, Names, Now, &[
        "my|our KINKIND? KINKIND? KIN|FRIEND|PET 's name is|'s",
        "my|our KINKIND? KIN|FRIEND|PET is|are called|named", "my|our KINKIND? KIN|FRIEND|PET called|named",
        "my|our KINKIND? KIN|FRIEND|PET names are",
        "i|we have|got|adopted|own a|an|one|two|three KINKIND? KINKIND? KIN|PET called|named",
        "i|we have got a|an|two|three KINKIND? KIN|PET called|named",
        "i|we have a|an|one|two|three KINKIND? KIN|PET COMMA",
    ]),
    many("has_{}", 0.95, NameBefore, Now, &[
        "NAME is my|our KINKIND? KINKIND? KIN|FRIEND|PET", "NAME NAME is my|our KINKIND? KIN|FRIEND|PET",
    ]),
    many("has_pet", 0.9, Kind(Class::Pet), Now, &["i|we have|own", "i|we have got"]),
    many("has_pet", 0.9, Kind(Class::Pet), Past, &[
        "i|we got|adopted|rescued|bought", "i|we have adopted|rescued", "i|we got myself|ourselves",
    ]),
    many("has_pet", 0.8, Meant, Now, &["my|our KINKIND? PET"]),
    many("has_family", 0.9, Kind(Class::Kin), Now, &["i|we have", "i|we have got"]),
    many("is_a", 0.85, Kind(Class::Kin), Now, &["i am a|an|the"]),
    many("lost", 0.9, Meant, Past, &[
        "my KINKIND? KIN|FRIEND|PET died", "my KINKIND? KIN|FRIEND|PET passed away",
    ]),
    many("has_family", 0.8, Meant, Now, &["my KINKIND? RELATIVE"]),
];

/// How the speaker is reached.
#[rustfmt::skip] // a row stays a row
pub(super) const CONTACT: &[Relation] = &[
    many("email", 0.95, Mail, Now, &[
        "my email|e-mail|mail is|'s", "my email|e-mail|mail address is|'s", "my email|e-mail|mail address?",
        "my new|work|private|personal email|e-mail|mail is|'s",
        "my new|work|private|personal email|e-mail address is|'s",
        "email|e-mail|mail|reach|contact|write|message me at|on|via|under", "write to me at", "send it to",
        "i am reachable at|under",
    ]),
    many("phone", 0.95, Phone, Now, &[
        "my number|phone|cell|mobile|telephone is|'s", "my phone|cell|mobile|telephone|new|work number is|'s",
        "my phone|cell|mobile|telephone number?", "my new|work phone|cell|mobile number is|'s",
        "call|text|phone|ring|reach|whatsapp me at|on|under", "i am reachable at|under|on",
    ]),
    many("website", 0.9, Link, Now, &[
        "my website|site|blog|homepage|portfolio|page|channel|github|linkedin|profile is|'s at?",
        "my personal|own website|site|blog|page is|'s at?",
        "my website|site|blog|homepage|portfolio|github|linkedin", "i blog|write at", "my website|blog is at",
        "i have a blog|website at",
    ]),
];

/// Other people, by name.
#[rustfmt::skip] // a row stays a row
pub(super) const OTHERS: &[Relation] = &[
    single("lives_in", 0.85, Place, Now, &[
        "NAME NAME? lives in", "NAME NAME? is living|based in", "NAME NAME? has moved to",
    ]),
    single("lives_in", 0.8, Place, Past, &["NAME NAME? moved to"]),
    single("from", 0.85, Place, Now, &["NAME NAME? is from", "NAME NAME? comes from"]),
    single("works_as", 0.85, Kind(Class::Job), Now, &["NAME NAME? is", "NAME NAME? works as"]),
    single("works_at", 0.85, Organisation, Now, &["NAME NAME? works at|for"]),
    many("speaks", 0.85, Languages, Now, &["NAME NAME? speaks"]),
    many("allergic_to", 0.9, Things, Now, &["NAME NAME? is allergic to"]),
    many("likes", 0.8, Things, Now, &["NAME NAME? likes|loves|enjoys|adores"]),
    many("dislikes", 0.8, Things, Now, &["NAME NAME? hates|dislikes"]),
    single("diet", 0.85, Word, Now, &["NAME NAME? is DIET", "NAME NAME? is a DIET"]),
    many("studies", 0.8, Things, Now, &["NAME NAME? studies", "NAME NAME? is studying"]),
];
