//! An office with a day and a half of work in it, invented but plain: for tests, screenshots and a look around.
//!
//! The same seed makes the same office. Everything is written through the shapes of `tinyclaw-domain`, so what the page
//! is shown is what the services write.
#![allow(
    clippy::disallowed_methods,
    reason = "the generator plays every writer of the state folder"
)]
#![allow(dead_code, reason = "each user of this file needs another part of it")]

mod words;

use std::fs::{OpenOptions, create_dir_all, write};
use std::io::Write;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tinyclaw_domain::*;

use self::words::{EXCHANGES, Exchange, NAMES, SYSTEM};

/// The router's own numbers, so that the page is tried on the scale it is used with.
const ROUTER: &str = include_str!("../../../../router/router.toml");
/// The scores in [`words`] are plain to read; the router's are smaller.
const SCORE_SHARE: f64 = 0.3;

/// The numbers under `[section]` of the router's file, in order.
fn numbers(section: &str) -> Vec<(&'static str, f64)> {
    let lines = ROUTER.lines().skip_while(|it| *it != format!("[{section}]")).skip(1);
    let numbers = lines.take_while(|it| !it.starts_with('[')).filter_map(|it| it.split_once(" = "));
    numbers.map(|(name, number)| (name, number.parse().unwrap())).collect()
}

/// Makes and fills offices.
pub(crate) struct Demo<'a> {
    state: &'a Path,
    chance: StdRng,
    number: u64,
    sizes: [u64; 16],
}

impl<'a> Demo<'a> {
    /// An office in the folder `state`, which is made.
    pub(crate) fn new(state: &'a Path) -> Demo<'a> {
        for folder in ["logs", "health", "progress", "queue"] {
            create_dir_all(state.join(folder)).unwrap();
        }
        for folder in
            ["incoming", "processing", "outgoing", "sending", "done", "dead", "quarantine"]
        {
            create_dir_all(state.join("queue").join(folder)).unwrap();
        }
        Demo { state, chance: StdRng::seed_from_u64(7), number: 812_345_000, sizes: [0; 16] }
    }

    /// A day and a half of work that ended a moment before `now_ms`, and a present.
    pub(crate) fn fill(&mut self, now_ms: u64, exchanges: usize) {
        let length = 36 * 3_600_000;
        let step = length / (exchanges as u64 + 1);
        for at in 0..exchanges {
            // People sleep: most of the work lies around noon and in the evening.
            let jitter = self.chance.random_range(0..step.max(2) / 2);
            self.exchange(now_ms - length + step * (at as u64 + 1) - jitter, at);
        }
        self.present(now_ms);
    }

    /// One question and its answer, with every trace it leaves; returns its key.
    pub(crate) fn exchange(&mut self, at: u64, which: usize) -> Key {
        self.answered("done/20261120", at, which)
    }

    /// The same, with the answer lying in a folder of the queue.
    fn answered(&mut self, folder: &str, at: u64, which: usize) -> Key {
        let pick = match which % 29 {
            0 => 0,
            _ => self.chance.random_range(0..EXCHANGES.len()),
        };
        let it = &EXCHANGES[pick];
        self.number += 1;
        let message = self.message(it, at);
        let decision = self.decision(it, &message);
        let model = decision.effective_model;
        let routed = at + self.chance.random_range(40..900);
        let asked = routed + self.chance.random_range(6..40);
        let working = match model {
            Model::HAIKU => self.chance.random_range(900..4_000),
            Model::SONNET => self.chance.random_range(4_000..38_000),
            _ => self.chance.random_range(15_000..140_000),
        };
        let answered = asked + working;
        let tier = decision.tier;
        let cost = match model {
            Model::HAIKU => 0.0011,
            Model::SONNET => 0.021,
            _ => 0.14,
        } * self.chance.random_range(0.6..1.9);
        self.append("message-history.jsonl", &HistoryLine::of(&message));
        self.append("routing-log.jsonl", &routing_line(&message, routed, decision));
        let prompt = self.prompt(it, &message, asked, model);
        self.append("logs/prompts.jsonl", &prompt);
        let usage = Usage {
            input_tokens: prompt.prompt_length / 4,
            output_tokens: it.answer.len() as u64 / 4 + 12,
            cache_read_tokens: 18_400,
            cache_write_tokens: 900,
        };
        let answer = HistoryLine {
            timestamp: answered,
            direction: Direction::Out,
            sender: "Claude".into(),
            source: Source::System,
            message: it.answer.into(),
            model: Some(model),
            tier: Some(tier),
            duration_ms: Some(working),
            cost_usd: Some(cost),
            usage: Some(usage),
            context_tokens: Some(usage.context()),
            tools: tools(working),
            ..HistoryLine::of(&message)
        };
        self.append("message-history.jsonl", &answer);
        self.log_lines(&message, model, routed, answered);
        self.done(folder, message.clone(), it, (model, tier), (at, answered, working), cost);
        message.key
    }

    fn message(&mut self, it: &Exchange, at: u64) -> Message {
        let key: Key = format!("tg-{}", self.number).parse().unwrap();
        let mut message =
            Message::new(key, Channel::Telegram, ThreadId::topic(it.thread), it.ask, at);
        message.sender = it.sender.into();
        message.sender_id = Some(if it.sender == "Ada" { "1001" } else { "1002" }.into());
        if it.ask.starts_with("yes") {
            message.is_reply = true;
            message.reply_to_model = Some(Model::SONNET);
            message.reply_to_text =
                Some("Two ways: 1. smaller photographs, 2. load them late.".into());
        }
        message
    }

    fn decision(&mut self, it: &Exchange, message: &Message) -> Decision {
        let dims: Vec<Dimension> = numbers("weights")
            .into_iter()
            .enumerate()
            .map(|(at, (name, weight))| {
                let seen = it.seen.iter().find(|(which, ..)| *which == at);
                let score = seen.map_or(0.0, |(_, score, _)| score * SCORE_SHARE);
                let hits =
                    seen.map_or("", |(.., words)| *words).split(", ").filter(|it| !it.is_empty());
                let hits = hits.filter_map(|phrase| {
                    let start = it.ask.to_lowercase().find(phrase)?;
                    Some(Hit { phrase: phrase.into(), start, end: start + phrase.len() })
                });
                let contribution = score * weight;
                let hits = hits.collect();
                Dimension { name: name.into(), score, weight, contribution, band: None, hits }
            })
            .collect();
        let score: std::collections::BTreeMap<_, _> = numbers("score").into_iter().collect();
        let (bias, learned) = (score["bias"], 0.05);
        let raw_score = bias + learned + dims.iter().map(|it| it.contribution).sum::<f64>();
        let boundaries = Boundaries { medium: score["medium"], complex: score["complex"] };
        let scored = match raw_score {
            it if it < boundaries.medium => Tier::Simple,
            it if it < boundaries.complex => Tier::Medium,
            _ => Tier::Complex,
        };
        let tier_of = |it| Tiers::default().tier_of(it).unwrap_or(Tier::Complex);
        let (tier, cause) = match message.reply_to_model {
            Some(floor) if tier_of(floor) > scored => (tier_of(floor), Cause::ReplyFloor),
            _ => (scored, Cause::Scored),
        };
        let far = |from: f64| 1.0 / (1.0 + (-1.2 * from).exp());
        let complex = far(raw_score - boundaries.complex);
        let simple = 1.0 - far(raw_score - boundaries.medium);
        let probabilities =
            Probabilities { simple, medium: (1.0 - complex - simple).max(0.0), complex };
        let confidence = match scored {
            Tier::Simple => simple,
            Tier::Medium => probabilities.medium,
            Tier::Complex => complex,
        };
        let is_pinned = it.thread == 12 && tier > Tier::Simple;
        Decision {
            dims,
            bias,
            learned: Some(learned),
            raw_score,
            boundaries,
            band: None,
            desk: None,
            sets_off: Vec::new(),
            effort: Some(ChosenEffort { level: Effort::High, from: EffortFrom::Tier }),
            warm: Vec::new(),
            stay: None,
            replied: None,
            evidence: None,
            probabilities,
            confidence,
            tier,
            model: Tiers::default().of(tier),
            cause: if is_pinned { Cause::Pinned } else { cause },
            upgraded: tier > scored,
            effective_model: if is_pinned { Model::HAIKU } else { Tiers::default().of(tier) },
            estimated_tokens: it.ask.len() as u64 / 4,
            truncated: false,
            router_version: "1".into(),
            config_hash: "5f2c91d07a3e".into(),
        }
    }

    fn prompt(&mut self, it: &Exchange, message: &Message, at: u64, model: Model) -> PromptLine {
        let slot = it.thread as usize % 16;
        // Sessions grow and are begun anew; now and then history is put in where it does not belong.
        let new_session = self.sizes[slot] == 0 || self.chance.random_bool(0.06);
        let is_fault = !new_session && self.chance.random_bool(0.04);
        self.sizes[slot] = if new_session { 1 } else { self.sizes[slot] + 1 };
        let time = "[Friday 20 November 2026, 10:14]\n\n".to_owned();
        let mut parts = vec![part("time", &time)];
        let mut text = time;
        let mut history_lines = 0;
        if new_session || is_fault {
            let summary = "# Summary of the last session\nThe lane lock was rewritten; two tests are open. Ada wants the proof in the docs. Nothing was pushed.\n\n";
            parts.push(part("summaries", summary));
            text.push_str(summary);
            let mut history = "# What was said lately\n".to_owned();
            for other in EXCHANGES.iter().filter(|other| other.thread == it.thread) {
                history_lines += 2;
                history.push_str(&format!("[telegram] {}: {}\n", other.sender, other.ask));
                let answer: String = other.answer.chars().take(120).collect();
                history.push_str(&format!("[telegram] TinyClaw: {}\n", answer.replace('\n', " ")));
            }
            history.push('\n');
            parts.push(part("history", &history));
            text.push_str(&history);
        }
        if let Some(replied) = &message.reply_to_text {
            let reply = format!("[in reply to: {replied}]\n");
            parts.push(part("reply", &reply));
            text.push_str(&reply);
        }
        let said = format!("[{} via Telegram]: {}", it.sender, it.ask);
        parts.push(part("message", &said));
        text.push_str(&said);
        let (_, name, cwd) = NAMES[NAMES.iter().position(|(id, ..)| *id == it.thread).unwrap_or(0)];
        PromptLine {
            timestamp: at,
            key: message.key.clone(),
            attempt: 1,
            thread_id: message.thread_id.clone(),
            message_id: message.message_id.clone(),
            model,
            system_prompt: SYSTEM.replace("{name}", name).replace("{cwd}", cwd),
            prompt_length: text.chars().count() as u64,
            user_message: text,
            new_session,
            history_injected: new_session || is_fault,
            history_lines,
            parts,
        }
    }

    fn log_lines(&mut self, message: &Message, model: Model, routed: u64, answered: u64) {
        let thread = &message.thread_id;
        let key = &message.key;
        let stamp = |ms: u64| format!("2026-11-20T{}Z", clock(ms));
        let mut queue = format!(
            "{} \x1b[32m INFO\x1b[0m thread {thread} goes to {model} key={key} queued_ms={}\n",
            stamp(routed),
            routed - message.timestamp,
        );
        match self.chance.random_range(0..40) {
            0 => queue.push_str(&format!("{} \x1b[33m WARN\x1b[0m the disk took 340 ms to flush\n", stamp(routed + 5))),
            1 => queue.push_str(&format!("{} \x1b[31mERROR\x1b[0m Claude did not answer: overloaded (529); trying again in 4 s key={key}\n", stamp(routed + 800))),
            _ => {}
        }
        queue.push_str(&format!(
            "{} \x1b[34mDEBUG\x1b[0m session kept warm thread={thread}\n",
            stamp(answered)
        ));
        self.add("logs/queue.log", queue.as_bytes());
        let telegram = format!(
            "{}  INFO update published key={key}\n{}  INFO answer sent key={key} parts=1\n",
            stamp(message.timestamp),
            stamp(answered + 300),
        );
        self.add("logs/telegram.log", telegram.as_bytes());
    }

    #[allow(clippy::too_many_arguments, reason = "one caller hands on all it knows")]
    fn done(
        &mut self,
        folder: &str,
        mut message: Message,
        it: &Exchange,
        (model, tier): (Model, Tier),
        (at, answered, working): (u64, u64, u64),
        cost: f64,
    ) {
        message.attempts = Attempts { run: 1, send: 1, ..Attempts::default() };
        message.reply = Some(Reply {
            text: it.answer.into(),
            model: Some(model),
            tier: Some(tier),
            cost_usd: cost,
            duration_ms: working,
            tools: tools(working),
            ..Reply::default()
        });
        let intent = answered + self.chance.random_range(20..250);
        if folder.starts_with("done") {
            let telegram_message_id = Some(4_400);
            message.delivery =
                vec![Delivery { part: 1, intent, telegram_message_id, marked: false }];
        }
        self.queue_file(folder, &message, at + 12, None);
    }

    /// What is going on right now: something waits, something runs, something was given up.
    fn present(&mut self, now: u64) {
        let mut threads = Threads::new();
        for (at, (id, name, cwd)) in NAMES.into_iter().enumerate() {
            let thread = Thread {
                name: name.into(),
                cwd: cwd.into(),
                session_id: (id != 15).then(|| {
                    format!("{id:02x}1d4c{id:02x}-8a2b-4d7e-9c3f-0a1b2c3d4e{id:02x}")
                        .parse()
                        .unwrap()
                }),
                model: [
                    Some(Model::SONNET),
                    Some(Model::OPUS),
                    Some(Model::HAIKU),
                    Some(Model::HAIKU),
                    None,
                ][at],
                pin: (id == 12).then_some(Model::HAIKU),
                tiers: OwnTiers::default(),
                effort: None,
                trust: None,
                env: None,
                permission_mode: if id == 3 {
                    PermissionMode::AcceptEdits
                } else {
                    PermissionMode::Ask
                },
                system_prompt: (id == 7)
                    .then(|| "The bakery's voice: warm, short, no superlatives.".into()),
                mcp: McpServers::new(),
                repo: (id == 7).then(|| "ada/homepage".into()),
                is_master: id == 1,
                status: [
                    ThreadStatus::Idle,
                    ThreadStatus::Working,
                    ThreadStatus::Waiting,
                    ThreadStatus::Idle,
                    ThreadStatus::Closed,
                ][at],
                last_active: now - [420_000, 9_000, 65_000, 5_400_000, 260_000_000][at],
                extra: Default::default(),
            };
            threads.insert(ThreadId::topic(id), thread);
        }
        self.write("threads.json", &threads);
        for (service, ready, why, age, up) in [
            ("telegram", true, "", 3_000, 129_600_000),
            ("processor", true, "", 2_000, 129_600_000),
            ("broker", false, "no installation of the GitHub App is set up", 4_000, 129_590_000),
        ] {
            let health = Health {
                service: service.into(),
                version: "2026.11.0".into(),
                pid: 7,
                started_at: now - up,
                at: now - age,
                alive: true,
                ready,
                why: if why.is_empty() { Vec::new() } else { vec![why.into()] },
                numbers: match service {
                    "processor" => [("deskUsers".to_owned(), 3.into())].into(),
                    _ => Default::default(),
                },
            };
            self.write(&format!("health/{service}.json"), &health);
        }
        self.given_up(now);
        self.running(now);
        self.answered("outgoing", now - 200_000, 0);
        // Who waits for the first turn is not in the history yet.
        for (which, age) in [(1, 4_000), (9, 2_500)] {
            self.number += 1;
            let message = self.message(&EXCHANGES[which], now - age);
            self.queue_file("incoming", &message, now - age + 9, None);
        }
    }

    /// One that failed too often, and one that waits for its next try.
    fn given_up(&mut self, now: u64) {
        self.number += 1;
        let mut message = self.message(&EXCHANGES[5], now - 240_000);
        message.attempts.run = 5;
        self.append("message-history.jsonl", &HistoryLine::of(&message));
        self.queue_file("dead", &message, now - 239_990, None);
        self.number += 1;
        let mut message = self.message(&EXCHANGES[3], now - 60_000);
        message.attempts.run = 1;
        self.begun(&EXCHANGES[3], &message, now - 59_000);
        self.queue_file("incoming", &message, now - 60_000, Some(now + 40_000));
    }

    fn running(&mut self, now: u64) {
        self.number += 1;
        let message = self.message(&EXCHANGES[0], now - 36_000);
        self.begun(&EXCHANGES[0], &message, now - 35_400);
        self.queue_file("processing", &message, now - 35_990, None);
        let tool = |name: &str, detail: &str, ago: u64, took: Option<u64>| ToolUse {
            name: name.into(),
            detail: detail.into(),
            at: now - ago,
            duration_ms: took,
            failed: false,
            is_nested: false,
        };
        let progress = Progress {
            key: message.key.clone(),
            thread_id: message.thread_id.clone(),
            attempt: 1,
            state: TurnState::Working,
            model: Some(Model::OPUS),
            tier: Some(Tier::Complex),
            started_at: now - 35_300,
            updated_at: now - 200,
            text: "Two tests fail in claim.rs: the lane lock is taken before …".into(),
            tools: vec![
                tool("Read", "crates/queue/src/claim.rs", 31_000, Some(120)),
                tool("Bash", "cargo nextest run -p queue", 27_000, Some(14_200)),
                tool("Edit", "crates/queue/src/claim.rs", 9_000, None),
            ],
            todos: Vec::new(),
            background: Vec::new(),
            asks: None,
            devbox: None,
            mcp_trouble: Vec::new(),
            trouble: None,
        };
        self.write(&format!("progress/{}.json", message.key), &progress);
    }

    /// What is written when a turn begins.
    fn begun(&mut self, it: &Exchange, message: &Message, at: u64) {
        let decision = self.decision(it, message);
        let model = decision.effective_model;
        self.append("message-history.jsonl", &HistoryLine::of(message));
        self.append("routing-log.jsonl", &routing_line(message, at, decision));
        let prompt = self.prompt(it, message, at + 20, model);
        self.append("logs/prompts.jsonl", &prompt);
    }

    fn queue_file(
        &mut self,
        folder: &str,
        message: &Message,
        queued_at: u64,
        not_before: Option<u64>,
    ) {
        let ulid = ulid::Ulid::from_parts(queued_at, self.chance.random());
        let wait = not_before.map_or_else(String::new, |it| format!("~{it}"));
        let name = format!("0-{ulid}~{}~{}{wait}.json", message.lane(), message.key);
        create_dir_all(self.state.join("queue").join(folder)).unwrap();
        self.write(&format!("queue/{folder}/{name}"), message);
        if folder == "dead" {
            let reason = "the request was refused five times: overloaded (529)";
            write(self.state.join(format!("queue/dead/{name}.reason")), reason).unwrap();
        }
    }

    /// Appends a value as one line.
    pub(crate) fn append(&self, log: &str, line: &impl Serialize) {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        self.add(log, &text);
    }

    /// Appends bytes.
    pub(crate) fn add(&self, log: &str, bytes: &[u8]) {
        let path = self.state.join(log);
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn write(&self, name: &str, it: &impl Serialize) {
        write(self.state.join(name), serde_json::to_vec_pretty(it).unwrap()).unwrap();
    }
}

fn routing_line(message: &Message, at: u64, decision: Decision) -> RoutingLine {
    RoutingLine {
        timestamp: at,
        key: message.key.clone(),
        attempt: 1,
        message_id: message.message_id.clone(),
        thread_id: message.thread_id.clone(),
        raw_input: message.message.clone(),
        duration_us: 11 + at % 9,
        decision,
    }
}

fn part(name: &str, text: &str) -> InjectedPart {
    InjectedPart { name: name.into(), chars: text.chars().count() as u64 }
}

fn clock(ms: u64) -> String {
    let s = ms / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", s / 3600 % 24, s / 60 % 60, s % 60, ms % 1000)
}

/// What a turn of this length may have used: the longer, the more. One in five fails.
fn tools(working: u64) -> Vec<ToolSpan> {
    let count = (working / 4_000).min(9);
    let span = |at: u64| ToolSpan {
        name: ["Read", "Grep", "Bash", "Edit", "Bash"][at as usize % 5].to_owned(),
        start_ms: working / 12 + at * (working / 12 * 10 / count),
        duration_ms: [120, 340, working / count / 2, 60, working / count / 3][at as usize % 5],
        ok: at % 5 != 4,
    };
    (0..count).map(span).collect()
}
