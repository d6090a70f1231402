//! All cues as one tree of words, so that each position of a message is compared with all of them at once.

use super::super::work;
use super::{
    lexicon::{Class, Lexicon, Word},
    relation::Relation,
    tokens::Token,
};

/// How many adverbs may stand inside a cue altogether.
const MAX_ADVERBS: usize = 3;

/// A place in the tree: the words read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(usize);

impl Node {
    pub(super) const ROOT: Self = Self(0);
}

/// The tree.
#[derive(Debug)]
pub(super) struct Cues {
    branches: Vec<Branch>,
}

#[derive(Debug, Default)]
struct Branch {
    /// Sorted by word once the tree is built.
    words: Vec<(Word, Node)>,
    classes: Vec<(Class, Node)>,
    /// The relations whose cue ends here, in the table's order.
    relations: Vec<&'static Relation>,
}

/// A cue found in a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) relation: &'static Relation,
    /// The token behind the cue.
    pub(super) end: usize,
    /// The relative, friend or animal that the cue mentions.
    pub(super) meant: Option<usize>,
}

impl Cues {
    /// The tree of a table's cues. Teaches the lexicon their words.
    pub(super) fn new(table: impl Iterator<Item = &'static Relation>, lexicon: &mut Lexicon) -> Self {
        let mut cues = Self { branches: vec![Branch::default()] };
        for relation in table {
            for cue in relation.cues {
                cues.plant(cue, relation, lexicon);
            }
        }
        for branch in &mut cues.branches {
            branch.words.sort_unstable_by_key(|(word, _)| *word);
        }
        cues
    }

    fn plant(&mut self, cue: &str, relation: &'static Relation, lexicon: &mut Lexicon) {
        let mut ends = vec![Node::ROOT];
        for step in cue.split_whitespace() {
            let (step, optional) = step.strip_suffix('?').map_or((step, false), |step| (step, true));
            let mut next = if optional { ends.clone() } else { Vec::new() };
            for end in ends {
                for word in step.split('|') {
                    next.push(self.grow(end, word, lexicon));
                }
            }
            ends = next;
        }
        for end in ends {
            self.branches[end.0].relations.push(relation);
        }
    }

    /// The node behind a word of a cue, which may exist already.
    fn grow(&mut self, from: Node, word: &str, lexicon: &mut Lexicon) -> Node {
        let next = Node(self.branches.len());
        let branch = &mut self.branches[from.0];
        let node = if let Some(class) = Class::named(word) {
            find_or_add(&mut branch.classes, class, next)
        } else {
            find_or_add(&mut branch.words, lexicon.learn(&word.to_lowercase()), next)
        };
        if node == next {
            self.branches.push(Branch::default());
        }
        node
    }

    /// Where a word leads, if any cue goes on with it.
    pub(super) fn step(&self, from: Node, word: Word) -> Option<Node> {
        let words = &self.branches[from.0].words;
        words.binary_search_by_key(&word, |(word, _)| *word).ok().map(|index| words[index].1)
    }

    /// Whether a cue may begin with this token.
    pub(super) fn may_begin(&self, token: &Token) -> bool {
        self.step(Node::ROOT, token.word).is_some()
            || self.branches[0].classes.iter().any(|(class, _)| token.is(*class))
    }

    /// All cues that go on from `node` with the token at `at`; the longest first, then in the table's order.
    pub(super) fn find(&self, node: Node, tokens: &[Token], at: usize) -> Vec<Found> {
        let mut found = Vec::new();
        self.walk(node, tokens, at, None, MAX_ADVERBS, &mut found);
        found.sort_by_key(|found| std::cmp::Reverse(found.end));
        found
    }

    fn walk(
        &self,
        node: Node,
        tokens: &[Token],
        at: usize,
        meant: Option<usize>,
        adverbs: usize,
        found: &mut Vec<Found>,
    ) {
        work::did(1);
        let branch = &self.branches[node.0];
        found.extend(branch.relations.iter().map(|relation| Found { relation, end: at, meant }));
        let Some(token) = tokens.get(at) else { return };
        if let Some(next) = self.step(node, token.word) {
            self.walk(next, tokens, at + 1, meant, adverbs, found);
        }
        for (class, next) in &branch.classes {
            if token.is(*class) {
                let someone = matches!(class, Class::Kin | Class::Relative | Class::Friend | Class::Pet);
                let meant = if someone { Some(at) } else { meant };
                self.walk(*next, tokens, at + 1, meant, adverbs, found);
            }
        }
        if node != Node::ROOT && adverbs > 0 && token.is(Class::Adverb) && !branch.is_leaf() {
            self.walk(node, tokens, at + 1, meant, adverbs - 1, found);
        }
    }
}

impl Branch {
    fn is_leaf(&self) -> bool {
        self.words.is_empty() && self.classes.is_empty()
    }
}

fn find_or_add<K: PartialEq>(edges: &mut Vec<(K, Node)>, key: K, next: Node) -> Node {
    if let Some((_, node)) = edges.iter().find(|(known, _)| *known == key) {
        return *node;
    }
    edges.push((key, next));
    next
}
