//! Which lists of phrases are in force: those of the program, which are packed already, or those that a file says. It reads the
//! text of the built-in ones only where a file changes them.

use std::collections::{BTreeMap, HashMap};

use crate::config::{Config, ConfigError, Reader};
use crate::fold::Folder;
use crate::lexicon::{Kind, Lexicon, List};
use crate::trie::edges;

/// `(dimension, name)` → list.
type ByName = BTreeMap<(usize, String), List>;

/// The lists for one kind of message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lists {
    kind: Kind,
    /// `None`: those of the program.
    own: Option<ByName>,
}

impl Lists {
    /// Those of the program.
    pub(crate) fn built_in(kind: Kind) -> Lists {
        Lists { kind, own: None }
    }

    /// None yet.
    pub(crate) fn empty(kind: Kind) -> Lists {
        Lists { kind, own: Some(ByName::new()) }
    }

    /// The lists, to be changed.
    pub(crate) fn own(&mut self) -> &mut ByName {
        let kind = self.kind;
        self.own.get_or_insert_with(|| {
            // A test reads the built-in files, so this cannot fail in a build that passed.
            let config = Config::parse_full(kind.text());
            let config = config.unwrap_or_else(|err| panic!("built-in {err}"));
            let lists = match kind {
                Kind::Chat => config.lists,
                Kind::Desk => config.desk.lists,
            };
            lists.own.unwrap_or_default()
        })
    }

    /// The lists, packed.
    pub(crate) fn lexicon(&self) -> Lexicon {
        let Some(own) = &self.own else { return Lexicon::built_in(self.kind) };
        Lexicon::pack(self.kind, own)
    }

    /// The names of the lists of a dimension.
    pub(crate) fn names(&self, dimension: usize) -> Vec<String> {
        match &self.own {
            Some(own) => own.keys().filter(|it| it.0 == dimension).map(|it| it.1.clone()).collect(),
            None => {
                let lexicon = Lexicon::built_in(self.kind);
                let heads =
                    lexicon.heads().iter().filter(|it| usize::from(it.dimension) == dimension);
                heads.map(|it| it.name.clone()).collect()
            }
        }
    }

    /// Lets go of lists that are packed by now.
    pub(crate) fn forget(&mut self) {
        if let Some(own) = &mut self.own {
            own.clear();
        }
    }

    /// A phrase counts once in a dimension, however it is spelled.
    pub(crate) fn refuse_duplicates(&self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        let Some(own) = &self.own else { return Ok(()) };
        let folder = Folder::new();
        let mut seen: HashMap<(usize, String), (&str, &str)> = HashMap::new();
        for ((dimension, name), list) in own {
            for phrase in list.phrases.values().flatten() {
                let line = || {
                    let quoted = format!("\"{phrase}\"");
                    let last = reader.text.rfind(&quoted);
                    last.or_else(|| reader.text.find(phrase.as_str())).unwrap_or(0)
                };
                let folded = folder.phrase(edges(phrase).0);
                if folded.is_empty() {
                    return Err(reader.refuse(line(), format!("empty phrase in list {name}")));
                }
                if let Some((list, other)) = seen.insert((*dimension, folded), (name, phrase)) {
                    let why = format!(
                        "phrase {phrase:?} of list {name} stands already in list {list} as {other:?}; take one out"
                    );
                    return Err(reader.refuse(line(), why));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::BUILT_IN;
    use crate::lexicon::join;

    /// `UPDATE_EXPECT=1` packs them anew.
    #[test]
    fn the_packed_lists_are_those_of_the_text() {
        let config = Config::parse_full(BUILT_IN).expect("the built-in files");
        let packed = join(&config.lists.lexicon(), &config.desk.lists.lexicon());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lists.bin");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            #[expect(clippy::disallowed_methods, reason = "a developer's, into the source tree")]
            std::fs::write(&path, &packed).expect("lists.bin");
        }
        let kept = std::fs::read(&path).expect("lists.bin");
        assert!(
            kept == packed,
            "router.toml or desk.toml has other lists than lists.bin: UPDATE_EXPECT=1 packs them anew"
        );
    }
}
