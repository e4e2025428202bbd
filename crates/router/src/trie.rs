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

/// The tree: nodes in one vector, children of a node side by side.
#[derive(Debug, Clone)]
pub(crate) struct Trie {
    root: Vec<u32>,
    nodes: Vec<Node>,
    labels: Vec<u8>,
    targets: Vec<u32>,
    ends: Vec<(u32, Edges)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    child: u32,
    end: u32,
    children: u16,
    ends: u16,
}

/// A node while the tree is built: children by byte, phrases that end here.
type Growing = (BTreeMap<u8, u32>, Vec<(u32, Edges)>);

/// `*` at the front or back of a phrase as written in a list lets it be a part of a longer word.
pub(crate) fn edges(written: &str) -> (&str, Edges) {
    let bare = written.trim().trim_start_matches('*').trim_end_matches('*');
    let spaced = |c: Option<char>| c.is_some_and(|c| !is_unspaced(c));
    let left = !written.trim().starts_with('*') && spaced(bare.chars().next());
    let right = !written.trim().ends_with('*') && spaced(bare.chars().next_back());
    (bare, Edges { left, right })
}

impl Trie {
    /// Builds the tree of `(folded phrase, edges)`; a phrase's number is its place.
    pub(crate) fn new<'a>(phrases: impl IntoIterator<Item = (&'a str, Edges)>) -> Trie {
        let mut growing: Vec<Growing> = vec![Growing::default()];
        for (number, (phrase, edges)) in phrases.into_iter().enumerate() {
            let mut node = 0;
            for &byte in phrase.as_bytes() {
                let next = growing.len() as u32;
                let entry = *growing[node].0.entry(byte).or_insert(next);
                if entry == next {
                    growing.push(Growing::default());
                }
                node = entry as usize;
            }
            growing[node].1.push((number as u32, edges));
        }
        let mut trie = Trie {
            root: vec![0; 256],
            nodes: Vec::with_capacity(growing.len()),
            labels: Vec::new(),
            targets: Vec::new(),
            ends: Vec::new(),
        };
        for &byte in growing[0].0.keys() {
            trie.root[byte as usize] = growing[0].0[&byte];
        }
        for (children, ends) in growing {
            trie.nodes.push(Node {
                child: trie.labels.len() as u32,
                end: trie.ends.len() as u32,
                children: children.len() as u16,
                ends: ends.len() as u16,
            });
            for (label, target) in children {
                trie.labels.push(label);
                trie.targets.push(target);
            }
            trie.ends.extend(ends);
        }
        trie
    }

    /// Calls `found` for every phrase inside `text[start..end]`, in the order of where they begin.
    pub(crate) fn find(&self, text: &str, start: usize, end: usize, mut found: impl FnMut(Found)) {
        let bytes = &text.as_bytes()[..end];
        let mut after_word = false;
        for (offset, c) in text[start..end].char_indices() {
            let at = start + offset;
            if ('\u{1160}'..='\u{11ff}').contains(&c) {
                // Inside a Hangul syllable: no phrase begins here.
                continue;
            }
            let word = is_word(c);
            let begins = word && !after_word;
            let inside = word && after_word;
            after_word = word;
            let mut node = self.root[bytes[at] as usize];
            if node == 0 {
                continue;
            }
            let mut next = at + 1;
            loop {
                let it = self.nodes[node as usize];
                if it.ends > 0 {
                    let ends = &self.ends[it.end as usize..it.end as usize + it.ends as usize];
                    for &(phrase, edges) in ends {
                        if (!edges.left || begins || !inside)
                            && (!edges.right || !word_at(text, next, end))
                        {
                            found(Found { phrase, start: at as u32, end: next as u32 });
                        }
                    }
                }
                let Some(&byte) = bytes.get(next) else { break };
                let first = it.child as usize;
                let labels = &self.labels[first..first + it.children as usize];
                let Some(child) = labels.iter().position(|label| *label == byte) else { break };
                node = self.targets[first + child];
                next += 1;
            }
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
