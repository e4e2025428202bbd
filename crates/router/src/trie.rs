//! All phrases of all lists in one tree, walked once over the text. A phrase of a spaced script is looked for only
//! where a word begins; others at every character. It never looks back, so the time is linear in the text, with the
//! longest phrase as the factor's bound.

use std::collections::BTreeMap;

use crate::fold::{is_unspaced, is_word};

/// Where a phrase may begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edges {
    /// Only where a word begins.
    pub(crate) left: bool,
    /// Only where a word ends.
    pub(crate) right: bool,
}

/// A phrase found: which one, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) phrase: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Two trees: phrases that begin where a word begins, and phrases that begin anywhere.
#[derive(Debug, Clone)]
pub(crate) struct Trie {
    words: Tree,
    anywhere: Tree,
}

/// A tree: nodes in one vector, children of a node side by side.
#[derive(Debug, Clone)]
struct Tree {
    root: Vec<u32>,
    nodes: Vec<Node>,
    labels: Vec<u8>,
    targets: Vec<u32>,
    /// `(phrase, whether a word must end with it)`
    ends: Vec<(u32, bool)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    child: u32,
    end: u32,
    children: u16,
    ends: u16,
}

/// A node while the tree is built: children by byte, phrases that end here.
type Growing = (BTreeMap<u8, u32>, Vec<(u32, bool)>);

/// `*` at the front or back of a phrase as written in a list lets it be a part of a longer word.
pub(crate) fn edges(written: &str) -> (&str, Edges) {
    let bare = written.trim().trim_start_matches('*').trim_end_matches('*');
    let spaced = |c: Option<char>| c.is_some_and(|c| !is_unspaced(c));
    let left = !written.trim().starts_with('*') && spaced(bare.chars().next());
    let right = !written.trim().ends_with('*') && spaced(bare.chars().next_back());
    (bare, Edges { left, right })
}

impl Trie {
    /// Builds the trees of `(folded phrase, edges)`; a phrase's number is its place.
    pub(crate) fn new<'a>(phrases: impl IntoIterator<Item = (&'a str, Edges)>) -> Trie {
        let mut words = vec![Growing::default()];
        let mut anywhere = vec![Growing::default()];
        for (number, (phrase, edges)) in phrases.into_iter().enumerate() {
            let growing = if edges.left { &mut words } else { &mut anywhere };
            plant(growing, phrase, number as u32, edges.right);
        }
        Trie { words: Tree::new(words), anywhere: Tree::new(anywhere) }
    }

    /// Calls `found` for every phrase inside `text[start..end]`, in the order of where they begin.
    pub(crate) fn find(&self, text: &str, start: usize, end: usize, mut found: impl FnMut(Found)) {
        let mut after_word = false;
        for (offset, c) in text[start..end].char_indices() {
            if ('\u{1160}'..='\u{11ff}').contains(&c) {
                // Inside a Hangul syllable: no phrase begins here.
                continue;
            }
            let at = start + offset;
            let word = is_word(c);
            if !(word && after_word) {
                self.words.walk(text, at, end, &mut found);
            }
            self.anywhere.walk(text, at, end, &mut found);
            after_word = word;
        }
    }
}

fn plant(growing: &mut Vec<Growing>, phrase: &str, number: u32, right: bool) {
    let mut node = 0;
    for &byte in phrase.as_bytes() {
        let next = growing.len() as u32;
        let entry = *growing[node].0.entry(byte).or_insert(next);
        if entry == next {
            growing.push(Growing::default());
        }
        node = entry as usize;
    }
    growing[node].1.push((number, right));
}

impl Tree {
    fn new(growing: Vec<Growing>) -> Tree {
        let mut tree = Tree {
            root: vec![0; 256],
            nodes: Vec::with_capacity(growing.len()),
            labels: Vec::new(),
            targets: Vec::new(),
            ends: Vec::new(),
        };
        for (&byte, &node) in &growing[0].0 {
            tree.root[byte as usize] = node;
        }
        for (children, ends) in growing {
            tree.nodes.push(Node {
                child: tree.labels.len() as u32,
                end: tree.ends.len() as u32,
                children: children.len() as u16,
                ends: ends.len() as u16,
            });
            for (label, target) in children {
                tree.labels.push(label);
                tree.targets.push(target);
            }
            tree.ends.extend(ends);
        }
        tree
    }

    /// Reports the phrases that begin at `at`.
    fn walk(&self, text: &str, at: usize, end: usize, found: &mut impl FnMut(Found)) {
        let bytes = &text.as_bytes()[..end];
        let mut node = self.root[bytes[at] as usize];
        let mut next = at + 1;
        while node != 0 {
            let it = self.nodes[node as usize];
            if it.ends > 0 {
                for &(phrase, right) in &self.ends[it.end as usize..][..it.ends as usize] {
                    if !right || !word_at(text, next, end) {
                        found(Found { phrase, start: at as u32, end: next as u32 });
                    }
                }
            }
            let Some(&byte) = bytes.get(next) else { break };
            let first = it.child as usize;
            let labels = &self.labels[first..first + it.children as usize];
            node =
                labels.iter().position(|it| *it == byte).map_or(0, |it| self.targets[first + it]);
            next += 1;
        }
    }
}

fn word_at(text: &str, at: usize, end: usize) -> bool {
    at < end && text[at..end].chars().next().is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(phrases: &[&str], text: &str, expected: &[&str]) {
        let trie = Trie::new(phrases.iter().map(|it| edges(it)));
        let mut found = Vec::new();
        trie.find(text, 0, text.len(), |it| found.push(phrases[it.phrase as usize]));
        assert_eq!(found, expected, "in {text:?}");
    }

    #[test]
    fn a_word_is_not_found_inside_another() {
        check(&["api", "class", "let"], "the capital is classy, let me", &["let"]);
        check(&["optimi*"], "optimize it, suboptimize it", &["optimi*"]);
        check(&["*architektur"], "die systemarchitektur", &["*architektur"]);
    }

    #[test]
    fn a_word_beside_han_is_found() {
        check(&["python", "证明"], "用python证明它", &["python", "证明"]);
    }

    #[test]
    fn phrases_may_share_their_beginning() {
        check(&["step", "step by step"], "step by step", &["step", "step by step", "step"]);
    }
}
