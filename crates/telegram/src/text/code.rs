//! Long code out of an answer and into files of its own: what nobody wants to scroll past in a chat.
//!
//! Only blocks that stand by themselves are taken; one inside a list or a quote stays where it is and is cut. Of what is
//! taken its beginning stays, with a word on where the rest is. Nothing is left out.

use std::collections::BTreeSet;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::units;

/// Longer blocks become files.
const UNITS_MAX: usize = 3000;
/// So much of such a block stays.
const SHOWN_LINES: usize = 12;
const SHOWN_UNITS: usize = 800;

/// A block that became a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeFile {
    /// A name for it: the one the block gives, or one after its language.
    pub name: String,
    /// The code.
    pub text: String,
}

/// The Markdown without its long blocks of code, and those blocks.
pub fn lift(markdown: &str) -> (String, Vec<CodeFile>) {
    let (mut out, mut files) = (String::new(), Vec::<CodeFile>::new());
    let (mut copied, mut depth) = (0, 0_usize);
    let mut block: Option<(String, String)> = None;
    for (event, range) in Parser::new_ext(markdown, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) if depth == 0 => {
                block = Some((info.to_string(), String::new()));
            }
            Event::Start(Tag::List(_) | Tag::BlockQuote(_)) => depth += 1,
            Event::End(TagEnd::List(_) | TagEnd::BlockQuote(_)) => depth -= 1,
            Event::Text(text) => {
                if let Some((_, code)) = &mut block {
                    code.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let Some((info, code)) = block.take() else { continue };
                if units(&code) <= UNITS_MAX {
                    continue;
                }
                let taken: BTreeSet<&str> = files.iter().map(|it| it.name.as_str()).collect();
                let name = name_for(&info, &taken);
                out.push_str(&markdown[copied..range.start]);
                out.push_str(&beginning(&info, &code, &name));
                copied = range.end;
                files.push(CodeFile { name, text: code });
            }
            _ => {}
        }
    }
    out.push_str(&markdown[copied..]);
    (out, files)
}

fn beginning(info: &str, code: &str, name: &str) -> String {
    let mut shown = String::new();
    for line in code.lines().take(SHOWN_LINES) {
        if units(&shown) + units(line) > SHOWN_UNITS {
            break;
        }
        shown.push_str(line);
        shown.push('\n');
    }
    let ticks = code.split(|it| it != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(ticks.max(2) + 1);
    let lines = code.lines().count();
    // An info string with a backtick in it only stands behind tildes, and is not worth keeping.
    let info = if info.contains('`') { "" } else { info };
    let block =
        if shown.is_empty() { String::new() } else { format!("{fence}{info}\n{shown}{fence}\n\n") };
    format!("{block}*… All {lines} lines are in* `{name}`.\n\n")
}

fn name_for(info: &str, taken: &BTreeSet<&str>) -> String {
    let mut words =
        info.split([' ', ',', '\t', '=', ':', '"', '\'', '{', '}']).filter(|it| !it.is_empty());
    let given = words.clone().find(|it| {
        let last = it.rsplit('/').next().unwrap_or_default();
        last.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && !end.is_empty())
    });
    let name = match given {
        Some(given) => tinyclaw_domain::safe_name(given),
        None => format!("code.{}", extension(words.next().unwrap_or_default())),
    };
    if !taken.contains(name.as_str()) {
        return name;
    }
    let (stem, end) = name.rsplit_once('.').unwrap_or((&name, "txt"));
    let free = (2..).map(|n| format!("{stem}-{n}.{end}")).find(|it| !taken.contains(it.as_str()));
    free.unwrap_or(name)
}

fn extension(language: &str) -> String {
    let language = language.to_ascii_lowercase();
    let known = match language.as_str() {
        "rust" => "rs",
        "python" => "py",
        "javascript" => "js",
        "typescript" => "ts",
        "bash" | "shell" | "zsh" => "sh",
        "markdown" => "md",
        "yaml" => "yml",
        "ruby" => "rb",
        "kotlin" => "kt",
        "c++" => "cpp",
        "c#" | "csharp" => "cs",
        "golang" => "go",
        other => other,
    };
    let fit =
        !known.is_empty() && known.len() <= 5 && known.bytes().all(|it| it.is_ascii_alphanumeric());
    if fit { known.to_owned() } else { "txt".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_block_becomes_a_file_and_leaves_its_beginning() {
        let code = "let x = 1;\n".repeat(400);
        let answer = format!("Before.\n\n```rust\n{code}```\n\nAfter.\n\n```\nshort\n```\n");
        let (text, files) = lift(&answer);
        let head = "let x = 1;\n".repeat(12);
        assert_eq!(
            text,
            format!(
                "Before.\n\n```rust\n{head}```\n\n*… All 400 lines are in* `code.rs`.\n\n\n\nAfter.\n\n```\nshort\n```\n"
            )
        );
        assert_eq!(files, [CodeFile { name: "code.rs".to_owned(), text: code }]);
    }

    #[test]
    fn what_is_short_or_part_of_something_stays() {
        let code = "x\n".repeat(2000);
        let nested = code.replace('\n', "\n  ");
        for answer in [
            "```rust\nfn main() {}\n```\n".to_owned(),
            format!("- a list\n\n  ```\n  {nested}\n  ```\n"),
        ] {
            assert_eq!(lift(&answer), (answer.clone(), vec![]));
        }
    }

    #[test]
    fn a_file_has_the_name_its_block_gives() {
        let taken = BTreeSet::from(["code.py", "main.rs"]);
        for (info, name) in [
            ("rust title=\"src/main.rs\"", "main-2.rs"),
            ("ts:src/app.test.ts", "app.test.ts"),
            ("python", "code-2.py"),
            ("", "code.txt"),
            ("what is this", "code.what"),
            ("../../.env", "code.txt"),
        ] {
            assert_eq!(name_for(info, &taken), name, "{info}");
        }
    }

    #[test]
    fn a_fence_is_longer_than_any_in_the_code() {
        let code = "```\ninner\n```\n".repeat(300);
        let (text, files) = lift(&format!("~~~~markdown\n{code}~~~~\n"));
        assert!(text.starts_with("````markdown\n```\ninner\n"), "{text}");
        assert_eq!((files[0].name.as_str(), &files[0].text), ("code.md", &code));
    }
}
