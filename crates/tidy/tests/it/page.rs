use tinyclaw_tidy::read;

/// Longer lines are not read in a review.
const LINE_CHARS_MAX: usize = 160;
/// The page is loaded over a phone's connection, and so are the views that it loads later.
const FILE_BYTES_MAX: usize = 120 << 10;

/// The two files of the page.
const PAGE: &str = "static/dashboard.html";
const VIEWS: &str = "static/views.js";
/// The gateway's chat.
const CHAT: &str = "static/chat.html";
/// Its description of the API.
const API: &str = "static/api.html";

/// The page's parts, in the order in which a reader meets them.
const PAGE_SECTIONS: [&str; 14] = [
    "<style>",
    "/* Colours",
    "/* The frame */",
    "/* The virtual list */",
    "</style>",
    "<body>",
    "/* Small tools",
    "/* Asking the server",
    "/* The rows of one log",
    "/* Searching",
    "/* 1 Overview */",
    "/* 2 Live feed */",
    "/* 3 Thread */",
    "/* The frame: where we are",
];
/// And of the views that it loads later.
const VIEWS_SECTIONS: [&str; 6] = [
    "'use strict'",
    "/* 4 Routing inspector */",
    "/* 5 Prompt inspector */",
    "/* 6 System",
    "/* 7 Logs */",
    "/* 8 Events */",
];

#[test]
fn the_page_can_be_read_and_is_small() {
    let mut long = Vec::new();
    for file in [PAGE, VIEWS, CHAT, API] {
        let text = read(file.as_ref());
        assert!(text.len() <= FILE_BYTES_MAX, "{file} has {} bytes", text.len());
        for (at, line) in text.lines().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX {
                long.push(format!("{file}:{} has {chars} characters", at + 1));
            }
        }
    }
    assert!(long.is_empty(), "{} of them:\n{}", long.len(), long.join("\n"));
}

#[test]
fn the_sections_of_the_page_stand_in_reading_order() {
    for (file, sections) in [(PAGE, &PAGE_SECTIONS[..]), (VIEWS, &VIEWS_SECTIONS)] {
        let text = read(file.as_ref());
        let mut at = 0;
        for section in sections {
            let found = text[at..].find(section);
            assert!(
                found.is_some(),
                "{file}: {section} does not come after the sections before it"
            );
            at += found.unwrap_or_default();
        }
    }
}
