//! What somebody plans, does at present, and did.

use super::super::{
    lexicon::Class,
    relation::{
        Holds::{Future, FutureDated, Now, Over, Past, PastDated},
        Object::{Deed, Kind, SomeThing, Thing, Things},
        Relation, many, nothing,
    },
};

#[rustfmt::skip] // a row stays a row
pub(super) const TABLE: &[Relation] = &[
    nothing(&[
        "i|we have got", "i|we have got to", "i|we made it", "i|we took care", "i|we had fun",
        "i|we got back to", "i|we made sure", "i|we got this|it|you", "i|we am|are taking care",
        "i|we took part", "i got into", "i|we am|are engaged|involved in",
    ]),
    // Plans.
    many("plans", 0.85, Deed, Future, &[
        "i|we am|are going to BASE", "i|we plan|intend to BASE|PLAIN",
        "i|we am|are planning|about to BASE|PLAIN", "i|we am|are planning on ACTIVITY|INNER",
    ]),
    many("plans", 0.8, Deed, Future, &["i|we am|are off to BASE|PLAIN"]),
    many("used_to", 0.8, Deed, Over, &["i|we used to BASE|PLAIN"]),
    many("plans", 0.85, Deed, FutureDated, &[
        "i|we will BASE", "i|we will be ACTIVITY", "i|we am|are ACTIVITY",
        "i|we am|are having|meeting|going|getting|leaving|seeing|taking|giving|putting|doing|coming",
    ]),
    many("plans", 0.85, Thing, Future, &["i|we am|are planning", "i|we have been planning"]),
    many("plans", 0.85, Deed, Future, &["i|we am|are moving|relocating", "i|we am|are about to start"]),
    many("plans", 0.85, Kind(Class::Occasion), FutureDated, &["i|we have", "i|we have got"]),
    // What happened, where a relation of its own says it better.
    many("attended", 0.85, Kind(Class::Occasion), Past, &[
        "i|we attended|joined", "i|we went to", "i|we have attended",
    ]),
    many("attended", 0.85, Things, Past, &["i|we attended", "i|we have attended"]),
    many("visited", 0.85, Things, Past, &[
        "i|we visited|toured|explored", "i|we have visited", "i|we have been to", "i|we went to",
        "i|we traveled|travelled|flew|drove to", "i|we took a trip to",
    ]),
    many("returned_from", 0.8, Things, Past, &[
        "i|we returned|came from", "i|we got|came back from", "i|we am|are back from",
    ]),
    many("joined", 0.85, Thing, Past, &["i|we joined", "i|we have joined", "i|we became a member of"]),
    many("signed_up_for", 0.85, Thing, Past, &[
        "i|we signed up for", "i|we enrolled|registered in|for", "i|we have signed up for",
    ]),
    many("bought", 0.85, Things, Past, &[
        "i|we bought|purchased|ordered", "i|we have bought|purchased|ordered", "i|we bought myself|ourselves",
    ]),
    many("got", 0.75, SomeThing, Past, &[
        "i|we got|received", "i|we have received", "i|we got myself|ourselves",
    ]),
    many("made", 0.8, SomeThing, Past, &[
       
        "i|we made|built|baked|cooked|created|painted|knitted|designed|wrote|crafted|sewed|carved",
        "i|we composed|developed|drew",
    ]),
    many("started", 0.8, Thing, Past, &[
        "i|we started|began", "i|we have started|begun", "i|we took up", "i|we have taken up",
        "i|we started to",
    ]),
    many("finished", 0.8, Thing, Past, &["i|we finished|completed", "i|we have finished|completed"]),
    many("won", 0.85, SomeThing, Past, &["i|we won", "i|we have won"]),
    // What goes on.
    many("does", 0.8, Deed, Now, &["i|we have been ACTIVITY"]),
    many("does", 0.75, Deed, Now, &["i|we am|are ACTIVITY"]),
    many("does", 0.75, Deed, Now, &[
        "i|we am|are taking|doing",
        "i|we have been taking|doing|trying|making|using|facing|handling|managing|selling|sharing",
        "i|we have been helping|showing",
        "i|we am|are trying|making|using|facing|handling|managing|selling|sharing|helping|showing",
    ]),
    many("decided_to", 0.8, Deed, Past, &["i|we decided to BASE|PLAIN", "i|we have decided to BASE|PLAIN"]),
    many("got_to", 0.75, Deed, Past, &["i|we got to BASE|PLAIN"]),
    // Anything else that was done.
    many("did", 0.75, Deed, Past, &["i|we DID", "i|we have DID"]),
    many("did", 0.75, Deed, PastDated, &["i|we was|were ACTIVITY"]),
];
