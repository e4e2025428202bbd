use tinyclaw_tidy::{files, production, read};

/// Rust files below `src`, `examples`, `benches` and at the top of `tests`, with their text.
fn sources() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|it| it.extension().is_some_and(|it| it == "rs")).map(|it| {
        let text = read(&it);
        (it.to_string_lossy().into_owned(), text)
    })
}

#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_module_begins_by_saying_what_it_is() {
    let is_module = |path: &str| !path.contains("/tests/") || path.ends_with("/tests/it/main.rs");
    let wrong: Vec<String> = sources()
        .filter(|(path, _)| is_module(path))
        .filter(|(_, text)| {
            let first = text.lines().find(|it| !it.starts_with("#!/") && !it.trim().is_empty());
            !first
                .is_some_and(|it| it.starts_with("//! ") || it.starts_with("#![doc = include_str!"))
        })
        .map(|(path, _)| path)
        .collect();
    none(&wrong);
}

/// Who may change files by hand, and why. A path that ends in a slash is everything below it.
const MAY_WRITE: &[(&str, &str)] = &[
    ("crates/disk/", "everybody else is sent here"),
    (
        "crates/queue/",
        "its renames are the message's state; DESIGN gives it the same right as disk",
    ),
    (
        "crates/warden/src/inside.rs",
        "it removes what a desk left, as that desk, and writes nothing",
    ),
    ("crates/testkit/", "tests only: it plays the operator and the outside world"),
    ("crates/e2e/", "tests only"),
    ("crates/tidy/", "it names what it forbids"),
    (
        "crates/router/examples/",
        "tools of the workbench, which write where they are told; the room itself does no I/O",
    ),
    (
        "crates/engine/src/bin/demo-engine/",
        "it stands in for Claude, and tries where the leash lets it write",
    ),
    ("crates/engine/src/testing/", "tests only: it plays an agent at its desk"),
    ("broker/", "imports nothing of ours, and shares no folder with us"),
];

#[test]
fn files_change_only_through_disk_and_queue() {
    let by_hand = [
        "fs::write(",
        "fs::rename(",
        "fs::copy(",
        "fs::hard_link(",
        "File::create(",
        "File::create_new(",
        ".create_new(true)",
        ".append(true)",
        ".truncate(true)",
        ".write(true)",
        ".set_len(",
        "renameat",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
        if is_test || MAY_WRITE.iter().any(|(may, _)| path.starts_with(may)) {
            continue;
        }
        // A descriptor that leads nowhere is no file.
        for line in production(&text).lines().filter(|it| !it.contains("\"/dev/null\"")) {
            if let Some(it) = by_hand.iter().find(|it| line.contains(*it)) {
                wrong.push(format!("{path}: {it} – go through tinyclaw-disk: {}", line.trim()));
            }
        }
    }
    none(&wrong);
}

/// Who may open files by hand, and why nothing that an agent left can be among them. A path that ends in a slash is
/// everything below it.
const MAY_OPEN: &[(&str, &str)] = &[
    ("crates/disk/", "everybody else is sent here, to `foreign` for what an agent could have made"),
    (
        "crates/queue/src/folders/plain.rs",
        "its own opener: no links, regular files only, never waiting, a cap",
    ),
    ("crates/queue/src/folders/layout.rs", "`FORMAT` and the kernel's boot id"),
    ("crates/ledger/src/json.rs", "health and progress, which services write"),
    ("crates/ledger/src/threads/file.rs", "`threads.json`, which processor writes"),
    ("crates/telegram/src/inbound/updates.rs", "`updates/`, which telegram writes"),
    ("crates/telegram/src/bot/addresses/pages.rs", "`telegram.json`, which telegram writes"),
    ("crates/telegram/src/bot/pace.rs", "`telegram-pace.json`, which telegram writes"),
    ("crates/bot/src/health.rs", "health, which services write"),
    ("crates/dashboard/src/log.rs", "logs, which processor writes; the volume is read-only"),
    ("crates/dashboard/src/access.rs", "keys that the operator names"),
    ("crates/dashboard/src/costs.rs", "`router.toml`, which the operator writes"),
    ("crates/gateway/src/access/", "tokens and keys, which the operator names"),
    ("crates/service/src/settings/", "settings and secrets, which the operator names"),
    ("crates/processor/src/work/routing.rs", "`router.toml`, which the operator writes"),
    ("crates/devbox/src/helper.rs", "the helper, which lies beside this program"),
    ("crates/engine/src/users.rs", "the system's own lists of users and groups"),
    ("crates/porter/src/envs.rs", "`envs.json`, which the operator names"),
    ("crates/engine/src/link/health.rs", "the system's own settings, at the far end"),
    ("crates/cli/", "a person's own command, on files that this person names and the state folder"),
    ("crates/engine/src/bin/", "it stands in for Claude"),
    ("crates/engine/src/leash/", "a process for each desk: who makes it wait holds up nobody else"),
    ("crates/testkit/", "tests only"),
    ("crates/engine/src/testing/", "tests only"),
    ("crates/e2e/", "tests only"),
    ("crates/tidy/", "it names what it forbids"),
    ("broker/", "imports nothing of ours, and no agent writes where it reads"),
];

/// A pipe that an agent put where a service looks held the service for ever, and a link showed it what it may not see.
#[test]
fn what_an_agent_could_have_made_is_opened_by_one_set_of_rules() {
    let by_hand =
        ["File::open(", "fs::read(", "fs::read_to_string(", "OpenOptions::new()", "fs::copy("];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let is_production = path.contains("/src/") && !path.ends_with("/tests.rs");
        if !is_production || MAY_OPEN.iter().any(|(may, _)| path.starts_with(may)) {
            continue;
        }
        for line in production(&text).lines().filter(|it| !it.contains("\"/proc/")) {
            if let Some(it) = by_hand.iter().find(|it| line.contains(*it)) {
                let way_out = "go through tinyclaw_disk::foreign";
                wrong.push(format!("{path}: {it} – {way_out}: {}", line.trim()));
            }
        }
    }
    none(&wrong);
}

/// Where a field `cwd` is a directory of this machine, and whose.
const CWD_IS_HERE: &[(&str, &str)] = &[
    ("crates/domain/src/thread.rs", "`Thread::place` itself"),
    ("crates/engine/src/bin/demo-engine/", "its own working directory"),
    ("crates/service/src/settings/table.rs", "`workspace.cwd`, which the operator names"),
    ("crates/tidy/", "it names what it forbids"),
];

/// A thread's `cwd` may be a directory of another machine: opened as a path of this one it would be another directory, or
/// the bot's own. `Thread::place` reads it, and a `Look` of its place says what is there.
#[test]
fn nobody_takes_a_threads_directory_for_one_of_this_machine() {
    // What makes a path of the text of a field `cwd`, or asks one for something.
    let is_path = |line: &str| {
        let made = ["Path::new(", "PathBuf::from(", "OsStr::new(", "OsString::from("];
        let made = made.iter().any(|it| {
            line.match_indices(it).any(|(at, _)| {
                let inside = line[at + it.len()..].split([')', ',']).next().unwrap_or_default();
                inside.ends_with(".cwd") || inside.contains(".cwd.")
            })
        });
        let asked = ["join(", "into(", "exists(", "is_dir(", "canonicalize(", "as_ref(", "parse"];
        made || asked.iter().any(|it| line.contains(&format!(".cwd.{it}")))
    };
    for it in ["Path::new(&thread.cwd)", "PathBuf::from(it.cwd)", "it.cwd.into()", "x.cwd.join(y)"]
    {
        assert!(is_path(it), "{it} is seen");
    }
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let is_production = path.contains("/src/") && !path.ends_with("/tests.rs");
        if !is_production || CWD_IS_HERE.iter().any(|(may, _)| path.starts_with(may)) {
            continue;
        }
        for line in production(&text).lines().filter(|it| is_path(it)) {
            wrong.push(format!("{path}: ask Thread::place and its place: {}", line.trim()));
        }
    }
    none(&wrong);
}

/// Words that may not stand in the production code of a room: its invariant in DESIGN's list.
#[test]
fn rooms_keep_their_invariants() {
    let rules: &[(&str, &[&str], &str)] = &[
        (
            "crates/router/src/",
            &[
                "std::fs",
                "std::net",
                "std::env",
                "SystemTime",
                "Instant::now",
                "async fn",
                "std::process",
            ],
            "router does no I/O",
        ),
        (
            "crates/domain/src/",
            &[
                "std::fs",
                "std::net",
                "std::env",
                "SystemTime",
                "Instant::now",
                "async fn",
                "std::process",
            ],
            "domain does no I/O",
        ),
        (
            "crates/dashboard/src/",
            &[
                "disk::replace",
                "disk::remove",
                "disk::rename",
                "disk::write_new",
                "Appender",
                "remove_file",
                "create_dir",
            ],
            "dashboard writes nothing",
        ),
        ("crates/telegram/src/", &["stream-json", "anthropic"], "telegram knows no Claude"),
        (
            "crates/telegram/src/bot/",
            &["tinyclaw_queue", "tinyclaw_ledger"],
            "the Bot API knows no queue",
        ),
        ("crates/engine/src/", &["teloxide", "api.telegram.org"], "engine knows no Telegram"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (_, words, rule) in rules.iter().filter(|(room, ..)| path.starts_with(room)) {
            let text = production(&text);
            for word in words.iter().filter(|it| text.contains(*it)) {
                wrong.push(format!("{path}: {rule}, but {word:?} stands there"));
            }
        }
    }
    none(&wrong);
}

/// Longer files, and why they are one room all the same.
const MAY_BE_LONG: &[(&str, &str)] = &[];

#[test]
fn a_file_is_one_room() {
    let wrong: Vec<String> = sources()
        .filter(|(path, _)| {
            path.contains("/src/") && !MAY_BE_LONG.iter().any(|(may, _)| path == may)
        })
        .map(|(path, text)| (path, production(&text).lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .map(|(path, lines)| format!("{path} has {lines} lines: it is two rooms"))
        .collect();
    none(&wrong);
}

/// What one machine knows and another must not need: its folders, its mirrors, its keys.
#[test]
fn nothing_of_one_machine_is_committed() {
    // Written in two halves, so that this file does not name what it looks for.
    let halves = [
        ("/wor", "k/main"),
        ("/wor", "k/shared"),
        ("/tmp", "/h/"),
        ("/Us", "ers/"),
        ("/roo", "t/."),
        ("[sou", "rce.crates-io]"),
        ("replace", "-with ="),
        ("index-", "url"),
        ("registry.", "npmmirror"),
        ("art", "ifactory"),
        ("-----BEGIN RSA ", "PRIVATE KEY"),
        ("-----BEGIN ", "PRIVATE KEY"),
        ("sk-ant-", "oat01-A"),
    ];
    let words: Vec<String> = halves.iter().map(|(a, b)| format!("{a}{b}")).collect();
    let mut wrong = Vec::new();
    for path in files() {
        let text = read(&path);
        let path = path.to_string_lossy();
        for word in words.iter().filter(|it| text.contains(it.as_str())) {
            wrong.push(format!("{path}: {word}"));
        }
        if path.ends_with("Cargo.lock") || path.ends_with("package-lock.json") {
            let home = [
                concat!("registry+https://github.com/rust-lang/crate", "s.io-index"),
                concat!("https://registry.np", "mjs.org/"),
            ];
            let sources = text.lines().filter(|it| {
                it.starts_with("source = ") || it.trim_start().starts_with("\"resolved\"")
            });
            let foreign = sources.filter(|line| !home.iter().any(|it| line.contains(it)));
            wrong.extend(foreign.map(|line| format!("{path}: {line}")));
        }
    }
    none(&wrong);
}

/// Every link from one of our documents to a file leads somewhere.
#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in files().into_iter().filter(|it| it.extension().is_some_and(|it| it == "md")) {
        let dir = path.parent().unwrap_or(&path);
        for (_, rest) in
            read(&path).match_indices("](").map(|(at, _)| (at, read(&path)[at + 2..].to_owned()))
        {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let is_file =
                !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_file && !tinyclaw_tidy::root().join(dir).join(target).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    none(&wrong);
}
