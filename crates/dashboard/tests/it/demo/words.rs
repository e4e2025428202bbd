//! What is said in the offices of the tests, by whom, and at which desk.

/// What was said, what was answered, and what the router saw in it.
pub(super) struct Exchange {
    pub(super) thread: u32,
    pub(super) sender: &'static str,
    pub(super) ask: &'static str,
    pub(super) answer: &'static str,
    pub(super) seen: &'static [(usize, f64, &'static str)],
}

pub(super) const EXCHANGES: &[Exchange] = &[
    Exchange {
        thread: 3,
        sender: "Ada",
        ask: "The lane lock seems to be taken before the recover pass has finished. Analyze claim.rs step by step, find the race, and design a fix that does not lose a message when the process dies between the two renames. First show me the interleaving, then the change.",
        answer: "There is a race, and it is narrow.\n\n1. `recover` lists `processing/` and sees `7~a`.\n2. The owner finishes `7~a` and frees the lane.\n3. `claim` takes the lane for `7~b`.\n4. `recover` renames `7~a` back, although it was done.\n\nThe fix is to look again under the lock. A file that is gone by then was finished by its owner, and that is no error.\n\n```rust\nlet Some(file) = head_of(&lane)? else { return Ok(None) };\n```\n\nTwo tests cover it now: one for the interleaving above, one that kills the process between the two renames.",
        seen: &[
            (0, 0.55, ""),
            (1, 0.63, "claim.rs"),
            (2, 0.86, "step by step"),
            (3, 0.78, "race"),
            (5, -0.1, ""),
            (6, 0.7, "first … then"),
            (8, 0.6, "design"),
            (9, 0.4, "does not lose"),
        ],
    },
    Exchange {
        thread: 3,
        sender: "Ada",
        ask: "Run the queue tests and tell me what fails.",
        answer: "Two of 148 tests fail, both in `claim.rs`:\n\n- `a_lane_has_one_owner`: timed out after 10 s\n- `a_dead_owner_is_replaced`: left 1 message in `processing/`\n\nBoth began with the change to the lane lock.",
        seen: &[(0, -0.4, ""), (1, 0.3, "tests"), (3, 0.35, "queue"), (8, 0.3, "run")],
    },
    Exchange {
        thread: 3,
        sender: "Bob",
        ask: "thanks!",
        answer: "You are welcome.",
        seen: &[(0, -1.0, ""), (5, -1.0, "thanks")],
    },
    Exchange {
        thread: 7,
        sender: "Bob",
        ask: "Make the headline shorter and put the opening hours under it.",
        answer: "Done. The headline is now “Bread, every morning”, and the hours stand below it in one line. I left the font size alone.",
        seen: &[(0, -0.3, ""), (4, 0.4, "headline"), (8, 0.45, "make"), (9, 0.3, "shorter")],
    },
    Exchange {
        thread: 7,
        sender: "Bob",
        ask: "What is the colour of the button in hex?",
        answer: "`#8a5a2b`.",
        seen: &[(0, -0.9, ""), (5, -0.8, "what is"), (10, 0.4, "hex")],
    },
    Exchange {
        thread: 7,
        sender: "Ada",
        ask: "Please move the page to a static build: compare three generators, list what each would cost us in build time and plugins, then migrate the templates to the best one. Keep the addresses of all pages, and do not add JavaScript.",
        answer: "I compared three and moved the templates to the second.\n\n| | build | plugins |\n|---|---|---|\n| one | 4.1 s | 11 |\n| two | 0.3 s | 0 |\n| three | 1.9 s | 4 |\n\nAll 42 addresses answer as before; a test holds the list. There is no JavaScript on any page.",
        seen: &[
            (0, 0.6, ""),
            (1, 0.35, "templates"),
            (3, 0.6, "static build"),
            (6, 0.9, "then"),
            (8, 0.8, "compare, migrate"),
            (9, 0.8, "keep, do not"),
            (2, 0.3, "compare"),
            (12, 0.4, "do not"),
        ],
    },
    Exchange {
        thread: 12,
        sender: "Ada",
        ask: "Remind me: when do I sow the broad beans?",
        answer: "In your notes: from the end of February, under fleece, 5 cm deep. Last year they came up after 19 days.",
        seen: &[(0, -0.7, ""), (5, -0.6, "when do"), (11, 0.3, "remind me")],
    },
    Exchange {
        thread: 12,
        sender: "Ada",
        ask: "Write a short piece for the newsletter about why we stopped digging the beds. Friendly, about 150 words, no lists.",
        answer: "We put the spades away two years ago, and the beds have not missed them. A layer of compost in autumn, a little patience, and the worms do the rest …\n\n(148 words, in `newsletter/beds.md`.)",
        seen: &[
            (0, 0.1, ""),
            (4, 0.8, "write a short piece"),
            (8, 0.4, "write"),
            (9, 0.6, "about 150 words, no lists"),
            (10, 0.4, "words"),
            (2, 0.25, "why"),
        ],
    },
    Exchange {
        thread: 1,
        sender: "Ada",
        ask: "How is everybody?",
        answer: "Three desks are idle. *queue* has a failing test since this morning; *homepage* waits for an answer about the photographs; *garden* has nothing to do.",
        seen: &[(0, -0.95, ""), (5, -0.5, "how is"), (7, 0.1, "?")],
    },
    Exchange {
        thread: 1,
        sender: "Bob",
        ask: "Collect what every desk did this week and write one page: what was finished, what is stuck and why, and what each should do next. Then send the desks their part.",
        answer: "The page is in `reports/week-47.md`. Four things were finished, one is stuck (the lane lock, because two fixes contradict each other). I sent *queue* and *homepage* their part.",
        seen: &[
            (0, 0.4, ""),
            (2, 0.55, "why"),
            (3, 0.2, "desk"),
            (6, 0.8, "then"),
            (8, 0.5, "collect, write"),
            (10, 0.5, "one page"),
            (11, 0.5, "this week"),
        ],
    },
    Exchange {
        thread: 3,
        sender: "Ada",
        ask: "Prove that the rename order in complete() cannot show a key in two folders, even if power fails after any line. Derive it from the table of states and name every assumption about the file system.",
        answer: "The claim holds under three assumptions.\n\n**A1.** A rename within one file system is atomic. **A2.** A flushed folder keeps its names. **A3.** Nobody else moves files of this lane: the lock says so.\n\nBy A1 the key is in the old folder or the new one at every moment. A power cut between the rename and the flush may undo the rename, by A2 not more. So at recovery the key is in exactly one of the two, and the further one wins. ∎",
        seen: &[
            (0, 0.45, ""),
            (1, 0.4, "complete()"),
            (2, 1.0, "prove, derive"),
            (3, 0.7, "rename, file system"),
            (9, 0.5, "cannot, any"),
            (12, 0.3, "cannot"),
            (13, 0.6, "power fails"),
        ],
    },
    Exchange {
        thread: 7,
        sender: "Bob",
        ask: "yes, do option 2",
        answer: "Option 2 it is: the photographs load when they come into view. The first screen needs 84 KB now, before it was 1.9 MB.",
        seen: &[(0, -0.9, ""), (5, -0.3, "yes"), (11, 0.8, "option 2")],
    },
];

pub(super) const NAMES: [(u32, &str, &str); 5] = [
    (1, "General", "/srv/office"),
    (3, "queue", "/srv/office/queue"),
    (7, "homepage", "/srv/office/homepage"),
    (12, "garden", "/srv/office/garden"),
    (15, "attic", "/srv/office/attic"),
];

pub(super) const SYSTEM: &str = "You sit at the desk “{name}” of an office that lives in a Telegram forum.\nSeveral people write to you; their name stands before each message.\n\n# Manners\n- Answer in the language you are asked in.\n- Short answers to short questions.\n- Say what you did, what you left out, and what you are not sure of.\n\n# Tools\n- `send_message` writes to another desk. Say who asked.\n- `list_threads` tells which desks there are.\n- Ask before you delete anything that is not yours.\n\n# This desk\n- It works in {cwd}.\n- Tests run with `cargo nextest run`.\n- Notes of the day are kept; the summary of the last session is given once, when a session is new.";
