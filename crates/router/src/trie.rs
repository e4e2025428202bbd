//! All phrases of all lists in one tree, walked once over the text. A phrase of a spaced script is looked for only
//! where a word begins; others at every character. It never looks back, so the time is linear in the text, with the
//! longest phrase as the factor's bound.
//!
//! A tree is bytes, and is read where it lies: the one of the built-in lists is part of the program, so that a start
//! builds nothing and the phrases take no memory of their own.

use crate::fold::{is_unspaced, is_word};

/// Bytes of a node.
const NODE: usize = 16;

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trie<'a> {
    pub(crate) words: Tree<'a>,
    pub(crate) anywhere: Tree<'a>,
}

/// A tree as it lies in memory. Children of a node lie side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    /// The node of each first byte; 0 for none.
    pub(crate) root: &'a [u8],
    /// Of each node: its first child, its tail and its first end (four bytes each), the length of the tail (two), how many
    /// children and how many ends (one each).
    pub(crate) nodes: &'a [u8],
    /// The byte that leads to each node.
    pub(crate) labels: &'a [u8],
    /// `phrase * 2`, and 1 more if a word must end with it.
    pub(crate) ends: &'a [u8],
    /// What all phrases of a node have in common behind its byte.
    pub(crate) tails: &'a [u8],
}

/// A tree while it is built: the pieces of [`Tree`].
#[derive(Debug, Default)]
pub(crate) struct Growing {
    pub(crate) root: Vec<u8>,
    pub(crate) nodes: Vec<u8>,
    pub(crate) labels: Vec<u8>,
    pub(crate) ends: Vec<u8>,
    pub(crate) tails: Vec<u8>,
}

/// A phrase while a tree is built: its folded bytes, its number, and whether a word must end with it.
type Seed<'a> = (&'a [u8], u32, bool);

/// `*` at the front or back of a phrase as written in a list lets it be a part of a longer word.
pub(crate) fn edges(written: &str) -> (&str, Edges) {
    let bare = written.trim().trim_start_matches('*').trim_end_matches('*');
    let spaced = |c: Option<char>| c.is_some_and(|c| !is_unspaced(c));
    let left = !written.trim().starts_with('*') && spaced(bare.chars().next());
    let right = !written.trim().ends_with('*') && spaced(bare.chars().next_back());
    (bare, Edges { left, right })
}

/// Grows the two trees of `(folded phrase, edges)`; a phrase's number is its place.
pub(crate) fn grow<'a>(phrases: impl IntoIterator<Item = (&'a str, Edges)>) -> [Growing; 2] {
    let (mut words, mut anywhere) = (Vec::new(), Vec::new());
    for (number, (phrase, edges)) in phrases.into_iter().enumerate() {
        let seeds = if edges.left { &mut words } else { &mut anywhere };
        seeds.push((phrase.as_bytes(), number as u32, edges.right));
    }
    [Growing::new(words), Growing::new(anywhere)]
}

impl Growing {
    fn new(mut seeds: Vec<Seed<'_>>) -> Growing {
        seeds.sort_unstable();
        let mut tree = Growing { root: vec![0; 256 * 4], ..Growing::default() };
        // Number 0 is no node.
        tree.reserve(0);
        for group in seeds.chunk_by(|a, b| a.0.first() == b.0.first()) {
            if let Some(byte) = group[0].0.first() {
                let node = tree.reserve(*byte);
                put(&mut tree.root, usize::from(*byte) * 4, node);
                tree.plant(group, node);
            }
        }
        tree
    }

    /// Makes room for a node that this byte leads to.
    fn reserve(&mut self, label: u8) -> u32 {
        self.labels.push(label);
        self.nodes.extend([0; NODE]);
        self.labels.len() as u32 - 1
    }

    /// Plants sorted phrases that begin with the same byte, node by node.
    fn plant<'a>(&mut self, seeds: &'a [Seed<'a>], root: u32) {
        // Which phrases go through a node, and how many of their bytes lead there.
        let mut through: Vec<(u32, &[Seed<'_>], usize)> = vec![(root, seeds, 1)];
        let mut next = 0;
        while let Some(&(node, seeds, depth)) = through.get(next) {
            next += 1;
            // They are sorted: what the first and the last have in common, all have.
            let (first, last) = (&seeds[0].0[depth..], &seeds[seeds.len() - 1].0[depth..]);
            let common = first.iter().zip(last).take_while(|it| it.0 == it.1);
            let tail = common.take(usize::from(u16::MAX)).count();
            let depth = depth + tail;
            let ending = seeds.partition_point(|it| it.0.len() == depth);
            let at = node as usize * NODE;
            put(&mut self.nodes, at + 4, self.tails.len() as u32);
            put(&mut self.nodes, at + 8, self.ends.len() as u32 / 4);
            self.tails.extend_from_slice(&first[..tail]);
            for (_, phrase, right) in &seeds[..ending] {
                self.ends.extend((phrase * 2 + u32::from(*right)).to_le_bytes());
            }
            put(&mut self.nodes, at, self.labels.len() as u32);
            let mut children = 0;
            for group in seeds[ending..].chunk_by(|a, b| a.0[depth] == b.0[depth]) {
                through.push((self.reserve(group[0].0[depth]), group, depth + 1));
                children += 1;
            }
            // No text has 256 different bytes, and a phrase stands once in each of 15 lists at most.
            let [low, high] = (tail as u16).to_le_bytes();
            self.nodes[at + 12..at + NODE].copy_from_slice(&[low, high, children, ending as u8]);
        }
    }

    #[cfg(test)]
    fn tree(&self) -> Tree<'_> {
        let Growing { root, nodes, labels, ends, tails } = self;
        Tree { root, nodes, labels, ends, tails }
    }
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// The number at `at`, or 0 beyond the end.
pub(crate) fn number(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(|it| it.first_chunk::<4>());
    found.map_or(0, |it| u32::from_le_bytes(*it))
}

impl Trie<'_> {
    /// Calls `found` for every phrase inside `text[start..end]`, in the order of where they begin.
    pub(crate) fn find(self, text: &str, start: usize, end: usize, mut found: impl FnMut(Found)) {
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

impl Tree<'_> {
    /// Reports the phrases that begin at `at`.
    fn walk(&self, text: &str, at: usize, end: usize, found: &mut impl FnMut(Found)) {
        let bytes = &text.as_bytes()[..end];
        let mut node = number(self.root, usize::from(bytes[at]) * 4) as usize;
        let mut next = at + 1;
        while node != 0 {
            let Some(it) = self.nodes.get(node * NODE..).and_then(|it| it.first_chunk::<NODE>())
            else {
                break;
            };
            let [a, b, c, d, e, f, g, h, i, j, k, l, low, high, children, ends] = *it;
            let child = u32::from_le_bytes([a, b, c, d]) as usize;
            let tail = u32::from_le_bytes([e, f, g, h]) as usize;
            let first = u32::from_le_bytes([i, j, k, l]) as usize;
            let length = usize::from(u16::from_le_bytes([low, high]));
            if length > 0 {
                let tail = self.tails.get(tail..tail + length).unwrap_or_default();
                if !bytes[next..].starts_with(tail) {
                    break;
                }
                next += length;
            }
            for index in first..first + usize::from(ends) {
                let ends = number(self.ends, index * 4);
                if ends & 1 == 0 || !word_at(text, next, end) {
                    found(Found { phrase: ends / 2, start: at as u32, end: next as u32 });
                }
            }
            let Some(&byte) = bytes.get(next) else { break };
            let labels = self.labels.get(child..child + usize::from(children)).unwrap_or_default();
            node = labels.iter().position(|it| *it == byte).map_or(0, |it| child + it);
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
        let trees = grow(phrases.iter().map(|it| edges(it)));
        let [words, anywhere] = trees.each_ref().map(Growing::tree);
        let trie = Trie { words, anywhere };
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
        check(&["a", "ab", "abc*", "abd", "abc*"], "abcd abd", &["abc*", "abc*", "abd"]);
        check(&["证明", "证"], "证明", &["证", "证明"]);
        check(&[], "anything", &[]);
    }

    /// The same phrases, looked for one by one.
    #[test]
    fn every_phrase_is_found_wherever_it_stands() {
        let said = [
            "a",
            "ab",
            "aba",
            "b",
            "ba",
            "bab",
            "abab",
            "bb",
            "bbb",
            "abba",
            "证",
            "证明",
            "明",
            "证明明",
        ];
        let phrases: Vec<String> = said.iter().map(|it| format!("*{it}*")).collect();
        let trees = grow(phrases.iter().map(|it| edges(it)));
        let [words, anywhere] = trees.each_ref().map(Growing::tree);
        let trie = Trie { words, anywhere };
        for text in ["ababbbaab", "证明明证", "a证ab明证明b", "", "bbbbabba"] {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            trie.find(text, 0, text.len(), |it| {
                found.push((it.start as usize, it.phrase as usize))
            });
            for (at, _) in text.char_indices() {
                let here = said.iter().enumerate().filter(|it| text[at..].starts_with(it.1));
                expected.extend(here.map(|it| (at, it.0)));
            }
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "in {text:?}");
        }
    }
}
