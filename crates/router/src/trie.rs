//! All phrases of all lists in one tree, walked once over the text. A phrase of a spaced script is looked for only
//! where a word begins; others at every character. It never looks back, so the time is linear in the text, with the
//! longest phrase as the factor's bound.

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

/// A tree: nodes in one vector, children of a node side by side. Where only one phrase goes on, its bytes stand in one piece
/// in place of a node for each.
#[derive(Debug, Clone)]
struct Tree {
    root: Vec<u32>,
    nodes: Vec<Node>,
    labels: Vec<u8>,
    targets: Vec<u32>,
    /// `(phrase, whether a word must end with it)`
    ends: Vec<(u32, bool)>,
    /// How phrases go on that are alone.
    tails: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// Its first child in `labels`; of one without children, where in `tails` its phrases go on.
    child: u32,
    /// Its first phrase in `ends`.
    end: u32,
    /// How many bytes of `tails` follow.
    tail: u16,
    children: u16,
    ends: u16,
}

/// A phrase while the tree is built: its folded bytes, its number, and whether a word must end with it.
type Growing<'a> = (&'a [u8], u32, bool);

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
        let (mut words, mut anywhere) = (Vec::new(), Vec::new());
        for (number, (phrase, edges)) in phrases.into_iter().enumerate() {
            let growing = if edges.left { &mut words } else { &mut anywhere };
            growing.push((phrase.as_bytes(), number as u32, edges.right));
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

impl Tree {
    fn new(mut phrases: Vec<Growing<'_>>) -> Tree {
        phrases.sort_unstable();
        let mut tree = Tree {
            root: vec![0; 256],
            nodes: vec![Node::default()],
            labels: Vec::new(),
            targets: Vec::new(),
            ends: Vec::new(),
            tails: Vec::new(),
        };
        for group in phrases.chunk_by(|a, b| a.0.first() == b.0.first()) {
            if let Some(byte) = group[0].0.first() {
                tree.root[usize::from(*byte)] = tree.nodes.len() as u32;
                tree.grow(group);
            }
        }
        tree.nodes.shrink_to_fit();
        tree.labels.shrink_to_fit();
        tree.targets.shrink_to_fit();
        tree.ends.shrink_to_fit();
        tree.tails.shrink_to_fit();
        tree
    }

    /// Plants sorted phrases that begin with the same byte, node by node.
    fn grow<'a>(&mut self, phrases: &'a [Growing<'a>]) {
        // Which phrases go through a node, and how many of their bytes lead there.
        let mut through: Vec<(&[Growing<'_>], usize)> = vec![(phrases, 1)];
        let first = self.nodes.len();
        self.nodes.push(Node::default());
        let mut at = 0;
        while at < through.len() {
            let (phrases, depth) = through[at];
            let whole = phrases[0].0;
            let is_alone = phrases.iter().all(|it| it.0 == whole)
                && (1..=usize::from(u16::MAX)).contains(&(whole.len() - depth));
            let ending = match is_alone {
                true => phrases.len(),
                false => phrases.partition_point(|it| it.0.len() == depth),
            };
            let end = self.ends.len() as u32;
            self.ends.extend(phrases[..ending].iter().map(|it| (it.1, it.2)));
            let mut node = Node { end, ends: ending as u16, ..Node::default() };
            if is_alone {
                node.child = self.tails.len() as u32;
                node.tail = (whole.len() - depth) as u16;
                self.tails.extend_from_slice(&whole[depth..]);
            } else {
                node.child = self.labels.len() as u32;
                for group in phrases[ending..].chunk_by(|a, b| a.0[depth] == b.0[depth]) {
                    self.labels.push(group[0].0[depth]);
                    self.targets.push(self.nodes.len() as u32);
                    self.nodes.push(Node::default());
                    through.push((group, depth + 1));
                    node.children += 1;
                }
            }
            self.nodes[first + at] = node;
            at += 1;
        }
    }

    /// Reports the phrases that begin at `at`.
    fn walk(&self, text: &str, at: usize, end: usize, found: &mut impl FnMut(Found)) {
        let bytes = &text.as_bytes()[..end];
        let mut node = self.root[bytes[at] as usize];
        let mut next = at + 1;
        while node != 0 {
            let it = self.nodes[node as usize];
            let first = it.child as usize;
            if it.tail > 0 {
                let tail = &self.tails[first..][..usize::from(it.tail)];
                if !bytes[next..].starts_with(tail) {
                    break;
                }
                next += tail.len();
            }
            for &(phrase, right) in &self.ends[it.end as usize..][..usize::from(it.ends)] {
                if !right || !word_at(text, next, end) {
                    found(Found { phrase, start: at as u32, end: next as u32 });
                }
            }
            if it.tail > 0 {
                break;
            }
            let Some(&byte) = bytes.get(next) else { break };
            let labels = &self.labels[first..][..usize::from(it.children)];
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
        check(&["a", "ab", "abc*", "abd", "abc*"], "abcd abd", &["abc*", "abc*", "abd"]);
        check(&["证明", "证"], "证明", &["证", "证明"]);
        check(&[], "anything", &[]);
    }

    /// The same phrases, looked for one by one.
    #[test]
    fn every_phrase_is_found_wherever_it_stands() {
        let words = [
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
        let phrases: Vec<String> = words.iter().map(|it| format!("*{it}*")).collect();
        let trie = Trie::new(phrases.iter().map(|it| edges(it)));
        for text in ["ababbbaab", "证明明证", "a证ab明证明b", "", "bbbbabba"] {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            trie.find(text, 0, text.len(), |it| {
                found.push((it.start as usize, it.phrase as usize))
            });
            for (at, _) in text.char_indices() {
                let here = words.iter().enumerate().filter(|it| text[at..].starts_with(it.1));
                expected.extend(here.map(|it| (at, it.0)));
            }
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "in {text:?}");
        }
    }
}
