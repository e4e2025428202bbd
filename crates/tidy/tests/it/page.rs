use tinyclaw_tidy::read;

/// Longer lines are not read in a review.
const LINE_CHARS_MAX: usize = 160;
/// The page is loaded over a phone's connection.
const PAGE_BYTES_MAX: usize = 120 << 10;

/// The page's parts, in the order in which a reader meets them.
const SECTIONS: [&str; 18] = [
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
    "/* 4 Routing inspector */",
    "/* 5 Prompt inspector */",
    "/* 6 System",
    "/* 7 Logs */",
    "/* The frame: where we are",
];

#[test]
fn the_page_can_be_read_and_is_small() {
    let page = read("static/dashboard.html".as_ref());
    assert!(page.len() <= PAGE_BYTES_MAX, "the page has {} bytes", page.len());
    let long: Vec<String> = page
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.chars().count()))
        .filter(|(_, chars)| *chars > LINE_CHARS_MAX)
        .map(|(at, chars)| format!("static/dashboard.html:{at} has {chars} characters"))
        .collect();
    assert!(long.is_empty(), "{} of them:\n{}", long.len(), long.join("\n"));
}

#[test]
fn the_sections_of_the_page_stand_in_reading_order() {
    let page = read("static/dashboard.html".as_ref());
    let mut at = 0;
    for section in SECTIONS {
        let found = page[at..].find(section);
        assert!(found.is_some(), "{section} does not come after the sections before it");
        at += found.unwrap_or_default();
    }
}
