//! Rendering: every part of every Markdown is taken by Telegram's own rules, and nothing is left out.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tinyclaw_telegram::text::{Room, plain, render};
use tinyclaw_testkit::telegram::markup::{SOURCE_BYTES_MAX, TEXT_UNITS_MAX, parse_html};

#[track_caller]
fn check(markdown: &str, expect: Expect) {
    let parts = render(markdown, Room::default());
    let html: Vec<&str> = parts.iter().map(|it| it.html.as_str()).collect();
    expect.assert_eq(&html.join("\n=== next ===\n"));
    accepted(markdown, Room::default());
}

/// What is seen, without white space: rendering and cutting may move lines, but not lose a letter.
fn letters(text: &str) -> String {
    text.chars().filter(|it| !it.is_whitespace() && *it != '…').collect()
}

#[track_caller]
fn accepted(markdown: &str, room: Room) {
    let parts = render(markdown, room);
    let mut seen = String::new();
    for part in &parts {
        let parsed = parse_html(&part.html).unwrap_or_else(|it| panic!("{it}\n{}", part.html));
        assert_eq!(parsed.oddities, [""; 0], "{}", part.html);
        assert!(!parsed.text.trim().is_empty());
        assert!(parsed.units() <= room.units.min(TEXT_UNITS_MAX));
        assert!(part.html.len() <= room.bytes.min(SOURCE_BYTES_MAX));
        seen.push_str(&letters(&parsed.text));
    }
    // Cut or whole, the same letters in the same order.
    let endless = Room { units: usize::MAX / 2, bytes: usize::MAX / 2, entities: usize::MAX / 2 };
    let whole = render(markdown, endless);
    let whole: String = whole.iter().map(|it| parse_html(&it.html).unwrap().text).collect();
    assert_eq!(seen, letters(&whole));
}

#[test]
fn a_link_in_a_table_keeps_its_address() {
    check(
        "|what|where|\n|--|--|\n|docs|[here](https://a.b/c)|\n|site|<https://a.b>|\n|mail|<me@a.b>|\n|[`x`](https://x.y)|![pic](https://a.b/p.png)|",
        expect![[r#"
            <pre>what             where
            ───────────────  ──────────────────────────
            docs             here (https://a.b/c)
            site             https://a.b
            mail             me@a.b
            x (https://x.y)  🖼 pic (https://a.b/p.png)</pre>"#]],
    );
    check(
        "|what|where|\n|--|--|\n|docs|[the page about it](https://example.org/a/rather/long/way/to/it)|",
        expect![[r#"
            <b>docs</b>
            where: the page about it (https://example.org/a/rather/long/way/to/it)"#]],
    );
}

#[test]
fn the_usual_elements() {
    check(
        "# Title\nSome *it* and **bold _both_** ~~no~~ `a<b>`.\n\n- one\n  - two\n    1. three\n- [x] done\n- [ ] open\n\n> quoted\n> more\n\n---\n[l](https://a.b/?a=1&b=\"2\") <me@a.b> ![pic](https://a.b/p.png)",
        expect![[r#"
            <b>Title</b>
            Some <i>it</i> and <b>bold <i>both</i></b> <s>no</s> <code>a&lt;b&gt;</code>.

            • one
              ◦ two
                1. three
            ☑ done
            ☐ open

            <blockquote>quoted
            more</blockquote>

            ———

            <a href="https://a.b/?a=1&amp;b=&quot;2&quot;">l</a> <a href="mailto:me@a.b">me@a.b</a> <a href="https://a.b/p.png">🖼 pic</a>"#]],
    );
}

#[test]
fn code_keeps_its_language_and_its_angle_brackets() {
    check(
        "Look:\n```rust ignore\nfn main() {\n    let x: Vec<u8> = vec![];\n}\n```\nand\n\n    indented\n",
        expect![[r#"
            Look:

            <pre><code class="language-rust">fn main() {
                let x: Vec&lt;u8&gt; = vec![];
            }</code></pre>

            and

            <pre>indented</pre>"#]],
    );
}

#[test]
fn tables_are_aligned_and_wide_ones_become_records() {
    check(
        "|Name|Bytes|\n|:--|--:|\n|a|1|\n|`bcd`|2,000|\n",
        expect![[r#"
            <pre>Name  Bytes
            ────  ─────
            a         1
            bcd   2,000</pre>"#]],
    );
    check(
        "|Crate|What it is for|Why\n|--|--|--|\n|tokio|an asynchronous runtime with a scheduler|everything else uses it|\n",
        expect![[r#"
            <b>tokio</b>
            What it is for: an asynchronous runtime with a scheduler
            Why: everything else uses it"#]],
    );
}

#[test]
fn what_is_no_markdown_is_text() {
    check(
        "<thinking>a</thinking> <b>x</b> & \"q\" 1 < 2\n<div>\nblock\n</div>\n\n```\nnever closed <tag>",
        expect![[r#"
            &lt;thinking&gt;a&lt;/thinking&gt; &lt;b&gt;x&lt;/b&gt; &amp; &quot;q&quot; 1 &lt; 2

            &lt;div&gt;
            block
            &lt;/div&gt;

            <pre>never closed &lt;tag&gt;</pre>"#]],
    );
    check(
        "[x](javascript:alert(1)) [y](</etc/passwd>)",
        expect!["x (javascript:alert(1)) y (/etc/passwd)"],
    );
    check("   \n\n\u{200b}", expect![""]);
}

#[test]
fn a_long_quote_is_folded() {
    let parts = render(&"> line\n".repeat(12), Room::default());
    assert!(parts[0].html.starts_with("<blockquote expandable>line\nline"));
}

#[test]
fn a_cut_closes_tags_and_opens_them_again() {
    let room = Room { units: 22, bytes: 1000, entities: 90 };
    let markdown =
        "**bold words that go on**\n\n```py\na = 1\nb = 2\ndef f():\n    return 3\n```\n";
    let html: Vec<String> = render(markdown, room).into_iter().map(|it| it.html).collect();
    expect![[r#"
        <b>bold words that go on</b>
        <pre><code class="language-py">a = 1
        b = 2</code></pre>
        <pre><code class="language-py">def f():
            return 3</code></pre>"#]]
    .assert_eq(&html.join("\n"));
    accepted(markdown, room);
}

#[test]
fn a_line_of_code_keeps_its_indentation_across_a_cut() {
    let code = format!("```\n{}```", "        deep();\n".repeat(40));
    let parts = render(&code, Room { units: 200, bytes: 4000, entities: 90 });
    assert!(parts.len() > 2);
    assert!(parts[1].html.starts_with("…\n<pre>        deep();"), "{}", parts[1].html);
}

#[test]
fn angle_brackets_do_not_outgrow_the_bytes() {
    // 16,000 of them are 4 messages by units, but each takes five bytes.
    accepted(&"&<".repeat(16_000), Room::default());
    accepted(&"x".repeat(20_000), Room::default());
    accepted(&"👨‍👩‍👧‍👦".repeat(3_000), Room::default());
    accepted(&format!("a{}", "\u{301}".repeat(9_000)), Room::default());
    accepted(&"**b** ".repeat(400), Room::default());
    accepted(
        &"[l](https://example.org/a/long/address/that/goes/on) ".repeat(2_000),
        Room::default(),
    );
}

#[test]
fn plain_text_reads_like_the_part() {
    let parts = render("**a** [b](https://c.d) `e<f>`", Room::default());
    assert_eq!(plain(&parts[0]), "a b (https://c.d) e<f>");
}

fn markdown() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zäöü😀 ]{0,40}",
        Just("**".to_owned()),
        Just("*".to_owned()),
        Just("_".to_owned()),
        Just("`".to_owned()),
        Just("~~".to_owned()),
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\n```rust\n".to_owned()),
        Just("\n```\n".to_owned()),
        Just("\n> ".to_owned()),
        Just("\n- ".to_owned()),
        Just("\n  - [x] ".to_owned()),
        Just("\n1. ".to_owned()),
        Just("\n# ".to_owned()),
        Just("\n|a|b|\n|-|-|\n|c|".to_owned()),
        Just("[x](https://e.org/?a&b)".to_owned()),
        Just("![](x)".to_owned()),
        Just("<b>".to_owned()),
        Just("&amp;".to_owned()),
        Just("&#0;<".to_owned()),
        Just("👩‍🚀e\u{301}".to_owned()),
        "\\PC{0,30}",
        "[<>&\"'\\\\\\[\\]()!|#-]{0,12}",
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|it| it.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_part_of_any_markdown_is_accepted(
        markdown in markdown(), units in 8_usize..300, entities in 8_usize..60,
    ) {
        accepted(&markdown, Room { units, bytes: 4000, entities });
    }
}
