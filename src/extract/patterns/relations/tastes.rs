//! What somebody likes, has, does for pleasure, feels about, and wants.

use super::super::{
    lexicon::Class,
    relation::{
        Holds::{Future, Now, Past},
        Object::{Deed, Favourite, FavouriteBefore, Habit, Kind, Thing, Things},
        Relation, many, single,
    },
};

#[rustfmt::skip] // a row stays a row
pub(super) const TABLE: &[Relation] = &[
    single("favorite_{}", 0.9, Favourite, Now, &[
        "my favorite|favourite|fave", "my absolute|alltime favorite|favourite",
    ]),
    single("favorite_{}", 0.85, FavouriteBefore, Now, &[
        "NAME is my favorite|favourite", "NAME NAME is my favorite|favourite",
        "NAME is my all-time favorite|favourite",
    ]),
    many("likes", 0.85, Things, Now, &[
        "i|we like|love|enjoy|adore", "i|we do like|love|enjoy", "i|we am|are into|loving|enjoying|digging",
        "i|we am|are fond of", "i|we am|are obsessed with", "i|we am|are crazy|mad about",
        "i|we am|are keen on", "i am a fan of", "i am a big|huge|massive fan of", "i|we am|are hooked on",
        "i|we have always liked|loved|enjoyed", "i|we have been loving|enjoying", "i can not get enough of",
        "i|we fell in love with", "i|we have grown to love",
    ]),
    many("likes", 0.8, Deed, Now, &[
        "i|we like|love to BASE|PLAIN", "i|we enjoy to BASE|PLAIN", "i have always loved|liked to BASE|PLAIN",
    ]),
    many("prefers", 0.85, Things, Now, &["i|we prefer"]),
    many("enjoyed", 0.75, Things, Past, &["i|we liked|loved|enjoyed", "i|we have loved|enjoyed"]),
    many("passionate_about", 0.85, Things, Now, &[
        "i|we am|are passionate about", "i have a passion for", "my passion is",
    ]),
    many("interested_in", 0.85, Things, Now, &[
        "i|we am|are interested in", "i have an interest in", "i am curious about",
    ]),
    many("dislikes", 0.85, Things, Now, &[
        "i|we do not like|enjoy|love", "i|we hate|dislike|despise|detest|loathe", "i can not stand|bear",
        "i am not a fan of", "i am not a big|huge fan of", "i am not into", "i am not fond of",
        "i am not keen on", "i have never liked",
    ]),
    many("fears", 0.85, Things, Now, &["i am afraid|scared|terrified of", "i have a fear of"]),
    many("proud_of", 0.8, Things, Now, &["i|we am|are proud of"]),
    many("grateful_for", 0.75, Things, Now, &["i|we am|are grateful|thankful for"]),
    many("worries_about", 0.75, Things, Now, &[
        "i|we am|are worried|stressed|nervous|anxious|concerned about", "i|we am|are struggling with",
        "i|we have been struggling with", "i|we have been stressed|worried about",
    ]),
    many("has", 0.85, Kind(Class::Possession), Now, &["i|we have|own", "i|we have got"]),
    many("owns", 0.85, Things, Now, &["i|we own"]),
    many("plays", 0.85, Things, Now, &["i|we play"]),
    many("hobby", 0.9, Things, Now, &["my hobby|hobbies is|are", "my hobbies include", "my main hobby is"]),
    many("does", 0.8, Habit, Now, &["i|we BASE"]),
    many("does", 0.75, Deed, Now, &[
       
        "i|we volunteer|coach|teach|collect|mentor|paint|garden|blog|knit|compose|jog|meditate|sing",
        "i|we dance|cook|bake|run|use|write|practice|train|lead|manage|create|grow|host|organize",
    ]),
    many("looks_forward_to", 0.8, Thing, Future, &[
        "i|we am|are looking forward to", "i|we look forward to", "i|we am|are excited about|for",
        "i|we can not wait for", "i|we am|are pumped for", "i|we am|are stoked for|about",
    ]),
    many("looks_forward_to", 0.8, Deed, Future, &[
        "i|we can not wait to BASE|PLAIN", "i|we am|are excited to BASE|PLAIN",
    ]),
    many("wants_to", 0.8, Deed, Future, &[
        "i|we want to BASE|PLAIN", "i|we hope|aim to BASE|PLAIN", "i|we have always wanted to BASE|PLAIN",
        "i|we have been wanting|hoping to BASE|PLAIN", "my goal|dream|aim|ambition is|'s to BASE|PLAIN",
        "i|we am|are hoping|aiming|determined to BASE|PLAIN", "i dream of ACTIVITY|INNER",
        "i|we want to start|keep|go|try ACTIVITY",
    ]),
    many("wants", 0.75, Thing, Future, &["i|we want"]),
    many("considers", 0.75, Deed, Future, &[
        "i|we am|are thinking about|of ACTIVITY|INNER", "i|we am|are considering ACTIVITY|INNER",
        "i|we was|were thinking about|of ACTIVITY|INNER", "i|we have been thinking about|of ACTIVITY|INNER",
    ]),
    many("considers", 0.75, Thing, Future, &[
        "i|we am|are considering", "i|we am|are looking into", "i|we have been looking into",
    ]),
    many("tries_to", 0.75, Deed, Now, &[
        "i|we am|are trying to BASE|PLAIN", "i|we have been trying to BASE|PLAIN",
    ]),
    many("member_of", 0.85, Thing, Now, &[
        "i|we am|are part of", "i|we am|are a member of", "i|we have been part of",
    ]),
    many("has", 0.75, Thing, Now, &["i|we have had"]),
    many("looks_for", 0.75, Thing, Now, &["i|we am|are looking for", "i|we have been looking for"]),
];
