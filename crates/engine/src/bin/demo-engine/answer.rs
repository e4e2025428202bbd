//! What the demo engine says: Markdown that is pleasant to look at, and honest about who speaks.

/// The answer to a message without marks.
pub(crate) fn plain(
    message: &str,
    desk: &str,
    who: &str,
    turn: usize,
    before: Option<&str>,
    files: usize,
) -> String {
    let mut text = format!(
        "👋 **TinyClaw's demo engine here.** No model read this, and nothing left this machine.\n\n\
         You wrote:\n\n{}\n\n",
        quote(message, 600)
    );
    text.push_str(&format!("- desk: `{desk}`\n- model you would have had: {who}\n"));
    text.push_str(&format!("- message {turn} of this session\n"));
    if files > 0 {
        text.push_str(&format!("- with {files} attachment{}\n", if files == 1 { "" } else { "s" }));
    }
    if let Some(before) = before {
        text.push_str(&format!("- before that you wrote “{}”\n", brief(before, 60)));
    }
    text.push_str("\nTry `[demo: tool]`, `[demo: ask]` or `[demo: long 5000]` in a message.");
    text
}

/// An answer of about so many bytes, with everything in it that is hard to split.
pub(crate) fn long(bytes: usize) -> String {
    let mut text =
        "# A long answer\n\nThe **demo engine** makes up as much text as you like.\n\n".to_owned();
    let mut part = 0;
    while text.len() < bytes {
        part += 1;
        text.push_str(&format!("## Part {part}\n\n"));
        text.push_str(
            "Each topic is a desk: its own directory, its own session, its own history. \
             A message is in exactly one folder, and the folder is its state.\n\n",
        );
        match part % 3 {
            0 => text.push_str(
                "| folder | what it means |\n|---|---|\n| `incoming` | waits |\n| `processing` | is being answered |\n\n",
            ),
            1 => text.push_str(&format!(
                "```rust\nfn part_{part}() -> Option<Ticket> {{\n    queue.claim(Side::Run, &Which::Ordinary)\n}}\n```\n\n"
            )),
            _ => text.push_str("1. claim\n2. route\n3. remember\n4. run\n5. reply\n\n"),
        }
    }
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The first characters of a text, as a Markdown quotation.
fn quote(text: &str, chars_max: usize) -> String {
    if text.is_empty() {
        return "> *(nothing)*".to_owned();
    }
    brief(text, chars_max).lines().map(|it| format!("> {it}")).collect::<Vec<_>>().join("\n")
}

pub(crate) fn brief(text: &str, chars_max: usize) -> String {
    let mut short: String = text.chars().take(chars_max).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
