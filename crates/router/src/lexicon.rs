//! Lists of phrases as the router reads them: packed into bytes, with the trees that find them. Those of the built-in lists
//! are packed before the program is compiled (`lists.bin`) and read where they lie, so a start parses and builds nothing;
//! an operator's own are packed when they are read. It knows no weights and does not know what a list is for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::fold::Folder;
use crate::trie::{Edges, Found, Growing, Tree, Trie, edges, grow, number};

/// The packed built-in lists: of a chat, then of a desk, each behind its length.
const BUILT_IN: &[u8] = include_bytes!("../lists.bin");

/// Pieces of a packed lexicon.
const SECTIONS: usize = 13;
/// Bytes of the fingerprint in front of them.
const HASH: usize = 32;
/// Bytes of a phrase: where its text ends, and its list.
const PHRASE: usize = 6;

/// The dimension of a list that only takes phrases back: it speaks for none.
pub(crate) const TAKES_BACK: u8 = u8::MAX;

/// Words that take an order back ("do not merge").
const NEGATORS: [&str; 22] = [
    "don't",
    "dont",
    "do not",
    "not yet",
    "without",
    "nicht",
    "kein*",
    "ne pas",
    "no hagas",
    "não",
    "non",
    "niet",
    "inte",
    "nie",
    "не",
    "değil",
    "đừng",
    "jangan",
    "不要",
    "别",
    "しないで",
    "하지 마",
];

/// What is read with lists of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message of a chat.
    Chat,
    /// A message at a desk.
    Desk,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Chat, Kind::Desk];

    /// The built-in file.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Kind::Chat => include_str!("../router.toml"),
            Kind::Desk => include_str!("../desk.toml"),
        }
    }
}

/// A family of phrases that mean the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct List {
    /// Counts fully only at the start of an instruction.
    pub(crate) at_start: bool,
    /// Is taken back by a negation in front of it.
    pub(crate) negatable: bool,
    /// Language → phrases as written.
    pub(crate) phrases: BTreeMap<String, Vec<String>>,
}

/// The lists of one kind of message.
#[derive(Debug, Clone)]
pub(crate) struct Lexicon {
    bytes: Cow<'static, [u8]>,
    sections: [(u32, u32); SECTIONS],
    heads: Vec<Head>,
}

/// What a list is, without its phrases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Which dimension it speaks for, from 0; what comes behind the 14 has rules of its own.
    pub(crate) dimension: u8,
    pub(crate) name: String,
    /// Counts fully only at the start of an instruction.
    pub(crate) at_start: bool,
    /// Is taken back by a negation in front of it.
    pub(crate) negatable: bool,
}

impl Lexicon {
    /// The built-in lists.
    pub(crate) fn built_in(kind: Kind) -> Lexicon {
        let (chat, desk) = BUILT_IN.split_at(number(BUILT_IN, 0) as usize + 4);
        Lexicon::open(Cow::Borrowed(match kind {
            Kind::Chat => &chat[4..],
            Kind::Desk => desk,
        }))
    }

    /// Packs lists, `(dimension, name)` → list. At a desk the words that take an order back follow as one more.
    pub(crate) fn pack(kind: Kind, lists: &BTreeMap<(usize, String), List>) -> Lexicon {
        let folder = Folder::new();
        let mut sections = [const { Vec::new() }; 3];
        let [heads, phrases, written] = &mut sections;
        let mut folded: Vec<(String, Edges)> = Vec::new();
        let mut list = 0u16;
        let mut add = |head: &Head, of: &mut dyn Iterator<Item = &str>| {
            let flags = u8::from(head.at_start) | u8::from(head.negatable) << 1;
            // Names are keys of a file that people write; one that is longer is cut.
            let name = &head.name[..head.name.floor_char_boundary(usize::from(u8::MAX))];
            heads.extend([head.dimension, flags, name.len() as u8]);
            heads.extend_from_slice(name.as_bytes());
            for phrase in of {
                let (bare, edges) = edges(phrase);
                folded.push((folder.phrase(bare), edges));
                written.extend_from_slice(phrase.as_bytes());
                phrases.extend((written.len() as u32).to_le_bytes());
                phrases.extend(list.to_le_bytes());
            }
            list += 1;
        };
        for ((dimension, name), list) in lists {
            let List { at_start, negatable, phrases } = list;
            let (dimension, name) = (*dimension as u8, name.clone());
            let head = Head { dimension, name, at_start: *at_start, negatable: *negatable };
            add(&head, &mut phrases.values().flatten().map(String::as_str));
        }
        if kind == Kind::Desk {
            let name = "negator".to_owned();
            let head = Head { dimension: TAKES_BACK, name, at_start: false, negatable: false };
            add(&head, &mut NEGATORS.into_iter());
        }
        let trees = grow(folded.iter().map(|(phrase, edges)| (phrase.as_str(), *edges)));
        let trees = trees.into_iter().flat_map(|it| {
            let Growing { root, nodes, labels, ends, tails } = it;
            [root, nodes, labels, ends, tails]
        });
        let sections: Vec<Vec<u8>> = sections.into_iter().chain(trees).collect();
        let mut body = Vec::new();
        sections.iter().for_each(|it| body.extend((it.len() as u32).to_le_bytes()));
        sections.iter().for_each(|it| body.extend_from_slice(it));
        let mut bytes = Sha256::digest(&body).to_vec();
        bytes.extend(body);
        Lexicon::open(Cow::Owned(bytes))
    }

    fn open(bytes: Cow<'static, [u8]>) -> Lexicon {
        let mut at = (HASH + SECTIONS * 4) as u32;
        let sections = std::array::from_fn(|index| {
            let start = at;
            at += number(&bytes, HASH + index * 4);
            (start, at)
        });
        let mut lexicon = Lexicon { bytes, sections, heads: Vec::new() };
        let mut rest = lexicon.section(0);
        let mut heads = Vec::new();
        while let [dimension, flags, length, more @ ..] = rest {
            let Some((name, more)) = more.split_at_checked(usize::from(*length)) else { break };
            heads.push(Head {
                dimension: *dimension,
                name: String::from_utf8_lossy(name).into_owned(),
                at_start: flags & 1 != 0,
                negatable: flags & 2 != 0,
            });
            rest = more;
        }
        lexicon.heads = heads;
        lexicon
    }

    fn section(&self, index: usize) -> &[u8] {
        let (start, end) = self.sections[index];
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    /// What tells these lists from others.
    pub(crate) fn hash(&self) -> &[u8] {
        &self.bytes[..HASH]
    }

    /// The lists, in the order of [`Lexicon::list_of`].
    pub(crate) fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Which list a phrase is of.
    pub(crate) fn list_of(&self, phrase: u32) -> usize {
        let bytes = self.section(1).get(phrase as usize * PHRASE + 4..);
        let list = bytes.and_then(|it| it.first_chunk::<2>());
        list.map_or(0, |it| usize::from(u16::from_le_bytes(*it)))
    }

    /// A phrase as it is written in its list.
    pub(crate) fn written(&self, phrase: u32) -> String {
        let end = |phrase: usize| number(self.section(1), phrase * PHRASE) as usize;
        let phrase = phrase as usize;
        let start = phrase.checked_sub(1).map_or(0, end);
        let bytes = self.section(2).get(start..end(phrase)).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Calls `found` for every phrase inside a range of a folded text, in the order of where they begin.
    pub(crate) fn find(&self, text: &str, range: Range<usize>, found: impl FnMut(Found)) {
        let tree = |first: usize| Tree {
            root: self.section(first),
            nodes: self.section(first + 1),
            labels: self.section(first + 2),
            ends: self.section(first + 3),
            tails: self.section(first + 4),
        };
        let trie = Trie { words: tree(3), anywhere: tree(8) };
        trie.find(text, range.start, range.end, found);
    }
}

/// The bytes of `lists.bin` for these packed lists.
#[cfg(test)]
pub(crate) fn join(chat: &Lexicon, desk: &Lexicon) -> Vec<u8> {
    let length = (chat.bytes.len() as u32).to_le_bytes();
    [&length, &*chat.bytes, &*desk.bytes].concat()
}
