//! What is said at the prompt: a message, an order, or something the terminal answers itself. The verbs are Telegram's.

use tinyclaw_domain::approval::{Choice, Chosen};
use tinyclaw_domain::{
    Catalogue, Command, DevboxOrder, McpOrder, PermissionMode, ThreadId, Tier, Trust,
};

/// A line, understood.
#[derive(Debug, PartialEq)]
pub(crate) enum Typed {
    /// Nothing.
    Nothing,
    /// A message to Claude.
    Message(String),
    /// A file, and what is said about it.
    File { path: String, text: String },
    /// An order about this thread.
    Order(Command),
    /// Stop what runs here.
    Stop,
    /// List the threads.
    Threads,
    /// Go to another thread, by its id or its name.
    Thread(String),
    /// Open a thread, with a checkout if it is named.
    New { name: String, repo: Option<String> },
    /// A new devbox, in a thread of its own.
    Devbox(DevboxOrder),
    /// What is set in this thread of what this verb sets, and how it is changed.
    SetNow { verb: &'static str, usage: String },
    /// What today cost.
    Cost,
    /// What can be said here.
    Help,
    /// Leave.
    Leave,
    /// Not understood: how it is used, and an example.
    Wrong(String),
}

/// One verb: its name, what follows it, what it does, an example.
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("threads", "", "all threads", "/threads"),
    ("thread", "ID|NAME", "go to another thread", "/thread 7"),
    (
        "new",
        "NAME [org/repo]",
        "a new thread, with a checkout if you like",
        "/new website ada/website",
    ),
    ("stop", "", "stop what runs here; Ctrl-C does the same", "/stop"),
    (
        "model",
        "[simple|medium|complex] haiku|sonnet|opus|fable|auto",
        "who answers in this thread, or one tier's messages",
        "/model opus",
    ),
    ("skills", "", "which skills Claude has here, and where from", "/skills"),
    (
        "trust",
        "none|text|settings",
        "what of a repository counts: nothing, its CLAUDE.md, or its settings, which run",
        "/trust text",
    ),
    ("effort", "low|medium|high|xhigh|max|auto", "how hard Claude thinks here", "/effort high"),
    (
        "haiku",
        "TEXT",
        "ask haiku this once; also /sonnet, /opus and /fable",
        "/haiku what time is it in Oslo?",
    ),
    ("mode", "plan|ask|edits|bypass", "what Claude may do without asking", "/mode plan"),
    ("dir", "PATH", "work in another directory", "/dir ~/workspace/website"),
    ("prompt", "TEXT|off", "words for Claude's system prompt", "/prompt Answer in German."),
    ("file", "PATH [TEXT]", "send a file along", "/file report.pdf what does it say?"),
    ("reset", "", "end the session; the next message begins a new one", "/reset"),
    ("close", "", "close this thread", "/close"),
    ("reopen", "", "open it again", "/reopen"),
    ("status", "", "how this thread is", "/status"),
    (
        "devbox",
        "[list|status|doctor] [NAME] | add NAME HOST[:PORT] [USER] [DIR] | remove|rename|move|trust|git|forget key|key …",
        "remote machines on which Claude works",
        "/devbox add api 10.0.0.7 deploy /srv/api",
    ),
    (
        "mcp",
        "[add NAME COMMAND|add NAME URL|remove NAME|allow NAME TOOLS|reconnect]",
        "tools that others give to Claude here",
        "/mcp add db PGHOST=localhost npx some-server",
    ),
    ("cost", "", "what today cost", "/cost"),
    ("go", "", "go on although today's budget is spent", "/go"),
    ("leave", "", "leave; Ctrl-C twice or Ctrl-D does the same", "/leave"),
];

/// What can be said here, one verb a line.
pub(crate) fn help() -> String {
    let width = TABLE.iter().map(|(name, takes, ..)| name.len() + takes.len() + 2).max();
    let line = |(name, takes, about, _): &(&str, &str, &str, &str)| {
        format!("{:<1$}  {about}", format!("/{name} {takes}"), width.unwrap_or(0))
    };
    let lines: Vec<String> = TABLE.iter().map(line).collect();
    lines.join("\n")
        + "\nWhat begins with ! goes to the turn that runs; when none does, it is a message like any other."
}

/// What a line chooses in a question: options by their numbers, or else its own words.
pub(crate) fn chosen(choice: &Choice, line: &str) -> Chosen {
    let number = |it: &str| {
        let at = it.parse::<usize>().ok()?.checked_sub(1)?;
        (at < choice.options.len()).then_some(at)
    };
    let words = line.split([',', ' ']).filter(|it| !it.is_empty());
    match words.map(number).collect::<Option<Vec<usize>>>() {
        Some(options) if options.len() == 1 || (choice.is_many && !options.is_empty()) => {
            Chosen { options, text: None }
        }
        _ => Chosen::words(line.trim()),
    }
}

/// Understands a line.
pub(crate) fn parse(line: &str, catalogue: &Catalogue) -> Typed {
    let line = line.trim();
    let Some(rest) = line.strip_prefix('/') else {
        return if line.is_empty() { Typed::Nothing } else { Typed::Message(line.to_owned()) };
    };
    let (verb, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let plain = |command: Command| match rest {
        "" => Typed::Order(command),
        _ => wrong(verb),
    };
    match verb {
        "model" if rest.is_empty() => set_now("model"),
        "effort" if rest.is_empty() => set_now("effort"),
        "mode" if rest.is_empty() => set_now("mode"),
        "trust" if rest.is_empty() => set_now("trust"),
        "stop" => Typed::Stop,
        "threads" | "sessions" => Typed::Threads,
        "thread" if !rest.is_empty() => Typed::Thread(rest.to_owned()),
        "new" => match rest.rsplit_once(char::is_whitespace) {
            Some((name, repo)) if repo.contains('/') => {
                Typed::New { name: name.trim().to_owned(), repo: Some(repo.to_owned()) }
            }
            _ if !rest.is_empty() => Typed::New { name: rest.to_owned(), repo: None },
            _ => wrong(verb),
        },
        "model" => model(rest, catalogue),
        "effort" => match rest.parse() {
            Ok(effort) => Typed::Order(Command::Effort { effort: Some(effort) }),
            Err(_) if rest == "auto" => Typed::Order(Command::Effort { effort: None }),
            Err(err) => wrong_because("effort", &err),
        },
        "skills" => plain(Command::Skills {}),
        "trust" => match Trust::named(rest) {
            Some(trust) => Typed::Order(Command::Trust { trust, admin: true }),
            None => wrong(verb),
        },
        it if !rest.is_empty() && catalogue.find(it).is_ok() => Typed::Message(line.to_owned()),
        "mode" => {
            let mode = match rest {
                "plan" => PermissionMode::Plan,
                "ask" => PermissionMode::Ask,
                "edits" => PermissionMode::AcceptEdits,
                "bypass" => PermissionMode::Bypass,
                _ => return wrong(verb),
            };
            // Whoever sits here owns the state folder and could change any setting.
            Typed::Order(Command::Mode { mode, admin: true })
        }
        "dir" | "cd" | "setdir" if !rest.is_empty() => {
            Typed::Order(Command::Setdir { dir: rest.to_owned(), admin: true })
        }
        "prompt" if !rest.is_empty() => {
            Typed::Order(Command::Prompt { text: (rest != "off").then(|| rest.to_owned()) })
        }
        "mcp" => match rest.parse::<McpOrder>() {
            Ok(order) => Typed::Order(Command::Mcp { order, admin: true }),
            Err(err) => Typed::Wrong(format!("This will not do: {err}.\n{}", usage(verb))),
        },
        "devbox" => match rest.parse::<DevboxOrder>() {
            Ok(order @ DevboxOrder::Add { .. }) => Typed::Devbox(order),
            Ok(order) => Typed::Order(Command::Devbox { order, admin: true }),
            Err(err) => Typed::Wrong(format!("This will not do: {err}")),
        },
        "file" if !rest.is_empty() => {
            let (path, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            Typed::File { path: path.to_owned(), text: text.trim().to_owned() }
        }
        "reset" | "clear" => plain(Command::Reset {}),
        "close" => plain(Command::Close {}),
        "reopen" => plain(Command::Reopen {}),
        "status" => plain(Command::Status {}),
        "cost" => Typed::Cost,
        "go" => plain(Command::GoOn {}),
        "help" => Typed::Help,
        "leave" | "quit" | "exit" => Typed::Leave,
        _ => wrong(verb),
    }
}

/// `/model opus` for everything here, `/model complex fable` for what one tier does.
fn model(rest: &str, catalogue: &Catalogue) -> Typed {
    let (tier, word) = match rest.split_once(char::is_whitespace) {
        Some((tier, word)) => match tier.parse::<Tier>() {
            Ok(tier) => (Some(tier), word.trim()),
            Err(err) => return wrong_because("model", &err),
        },
        None => (None, rest),
    };
    let model = match word {
        "auto" => None,
        word => match catalogue.find(word) {
            Ok(model) => Some(model),
            Err(err) => return wrong_because("model", &err),
        },
    };
    Typed::Order(match tier {
        Some(tier) => Command::Tier { tier, model },
        None => Command::Model { model },
    })
}

fn wrong_because(verb: &str, err: &dyn std::error::Error) -> Typed {
    Typed::Wrong(format!("{}\n{err}.", usage(verb)))
}

fn set_now(verb: &'static str) -> Typed {
    Typed::SetNow { verb, usage: usage(verb) }
}

fn wrong(verb: &str) -> Typed {
    Typed::Wrong(usage(verb))
}

fn usage(verb: &str) -> String {
    let known = match verb {
        "cd" | "setdir" => "dir",
        "sonnet" | "opus" | "fable" => "haiku",
        it => it,
    };
    match TABLE.iter().find(|(name, ..)| *name == known) {
        Some((name, takes, _, example)) => format!("Usage: /{name} {takes}\nExample: {example}"),
        None => format!("There is no /{verb}. /help lists what can be said here."),
    }
}

/// The id of a new thread of this name that none of `taken` has.
pub(crate) fn new_id(name: &str, is_taken: impl Fn(&ThreadId) -> bool) -> ThreadId {
    let mut slug = String::new();
    for it in name.chars().flat_map(char::to_lowercase) {
        if it.is_ascii_alphanumeric() {
            slug.push(it);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(32);
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "thread" } else { slug };
    let numbered = |n: usize| match n {
        1 => format!("cli-{slug}"),
        n => format!("cli-{slug}-{n}"),
    };
    let ids = (1..).map(|n| numbered(n).parse::<ThreadId>());
    // Letters, digits and dashes, short enough: every one of them parses.
    ids.flatten().find(|it| !is_taken(it)).unwrap_or_else(ThreadId::master)
}

#[cfg(test)]
mod tests {
    use tinyclaw_domain::Model;

    use super::*;

    #[test]
    fn verbs_are_understood_and_the_rest_is_a_message() {
        let message = |text: &str| Typed::Message(text.to_owned());
        for (line, said) in [
            ("  ", Typed::Nothing),
            (" hello there ", message("hello there")),
            ("/opus why?", message("/opus why?")),
            ("/fable why?", message("/fable why?")),
            (
                "/model complex fable",
                Typed::Order(Command::Tier { tier: Tier::Complex, model: Some(Model::FABLE) }),
            ),
            ("/stop", Typed::Stop),
            ("/thread 7", Typed::Thread("7".to_owned())),
            (
                "/new my site ada/site",
                Typed::New { name: "my site".to_owned(), repo: Some("ada/site".to_owned()) },
            ),
            ("/new my site", Typed::New { name: "my site".to_owned(), repo: None }),
            ("/model auto", Typed::Order(Command::Model { model: None })),
            ("/cd /srv", Typed::Order(Command::Setdir { dir: "/srv".to_owned(), admin: true })),
            ("/prompt off", Typed::Order(Command::Prompt { text: None })),
            (
                "/file a.txt what is it?",
                Typed::File { path: "a.txt".to_owned(), text: "what is it?".to_owned() },
            ),
        ] {
            assert_eq!(parse(line, &Catalogue::default()), said, "{line}");
        }
    }

    #[test]
    fn a_verb_in_the_wrong_shape_says_its_usage_and_one_example() {
        for line in ["/model gpt", "/mode all", "/dir", "/thread", "/new", "/close now", "/opus"] {
            let Typed::Wrong(says) = parse(line, &Catalogue::default()) else { panic!("{line}") };
            assert!(
                says.starts_with("Usage: /") && says.contains("\nExample: /"),
                "{line}: {says}"
            );
        }
        assert_eq!(
            parse("/nope", &Catalogue::default()),
            Typed::Wrong("There is no /nope. /help lists what can be said here.".to_owned())
        );
    }

    #[test]
    fn every_verb_of_the_help_is_understood_by_its_example() {
        for (name, _, _, example) in TABLE {
            assert!(
                !matches!(parse(example, &Catalogue::default()), Typed::Wrong(_)),
                "{name}: {example}"
            );
        }
    }

    #[test]
    fn a_new_thread_gets_an_id_of_its_own() {
        let taken = |it: &ThreadId| it.as_str() == "cli-web-site";
        for (name, id) in [("Web  Site!", "cli-web-site-2"), ("日本", "cli-thread"), ("a", "cli-a")]
        {
            assert_eq!(new_id(name, taken).as_str(), id);
        }
        assert!(new_id(&"long ".repeat(40), taken).as_str().len() <= 40);
    }
}
