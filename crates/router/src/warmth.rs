//! Which models have a desk's conversation cached, read from the usage of its past turns. It has no clock: whoever asks
//! says what time it is.

use tinyclaw_domain::{CacheTtl, Direction, HistoryLine, Model, WarmCache};

/// The caches of one desk's conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caches {
    /// Tokens of the conversation after its last answer.
    context: u64,
    /// Whose cache, how many tokens, and when it was used last.
    used: Vec<(Model, u64, u64)>,
}

impl Caches {
    /// What the last lines of a desk's history leave cached, oldest first.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a HistoryLine>) -> Caches {
        let mut caches = Caches::default();
        for line in lines {
            caches.heard(line);
        }
        caches
    }

    /// Notes a line: an answer leaves in its model's cache what it read from there and wrote there. An answer that did
    /// neither leaves nothing; one without numbers, of an older log, is taken to have cached all.
    pub fn heard(&mut self, line: &HistoryLine) {
        let (Direction::Out, Some(model), Some(context)) =
            (line.direction, line.model, line.context_tokens)
        else {
            return;
        };
        let cached = line.usage.map_or(context, |it| it.cache_read_tokens + it.cache_write_tokens);
        self.answered(model, context, cached, line.timestamp);
    }

    /// Notes an answer that ended at `at`, in ms since 1970.
    pub(crate) fn answered(&mut self, model: Model, context: u64, cached: u64, at: u64) {
        if !self.goes_on(context) {
            self.used.clear();
        }
        self.context = context;
        self.used.retain(|it| it.0 != model);
        if cached > 0 {
            self.used.push((model, cached.min(context), at));
        }
    }

    /// Whether an answer with so much context belongs to the conversation so far. One that has half of it or less was
    /// begun anew; a little less may be another model's way of counting.
    pub(crate) fn goes_on(&self, context: u64) -> bool {
        context > self.context / 2
    }

    /// Tokens of the conversation after its last answer.
    pub fn context(&self) -> u64 {
        self.context
    }

    /// What is cached at `now`, weakest model first. Each use keeps a cache for its whole time again.
    pub fn alive(&self, now: u64, ttl: CacheTtl) -> Vec<WarmCache> {
        let cache = |it: &(Model, u64, u64)| {
            let (model, tokens, at) = *it;
            WarmCache { model, tokens, until: at.saturating_add(ttl.ms()) }
        };
        let mut alive: Vec<WarmCache> =
            self.used.iter().map(cache).filter(|it| now < it.until).collect();
        alive.sort_unstable_by(|a, b| a.model.as_str().cmp(b.model.as_str()));
        alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn answer(model: Model, minute: u64, context: u64, read_and_written: [u64; 2]) -> HistoryLine {
        let [read, written] = read_and_written;
        let line = serde_json::json!({
            "timestamp": minute * MINUTE, "key": "tg-1", "attempt": 1, "messageId": "1_tg1",
            "threadId": 1, "channel": "telegram", "direction": "out", "sender": "Claude",
            "message": "done", "model": model, "contextTokens": context,
            "usage": {"cacheReadTokens": read, "cacheWriteTokens": written},
        });
        serde_json::from_value(line).expect("a line of history")
    }

    #[track_caller]
    fn alive(lines: &[HistoryLine], minute: u64, ttl: CacheTtl, expected: &[(Model, u64, u64)]) {
        let found = Caches::of(lines).alive(minute * MINUTE, ttl);
        let found: Vec<_> =
            found.iter().map(|it| (it.model, it.tokens, it.until / MINUTE)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_model_is_warm_for_a_ttl_after_its_last_answer() {
        let lines = [
            answer(Model::OPUS, 0, 50_000, [0, 50_000]),
            answer(Model::HAIKU, 3, 51_000, [0, 51_000]),
            answer(Model::OPUS, 4, 52_000, [50_000, 2_000]),
        ];
        let five = CacheTtl::FiveMinutes;
        let (haiku, opus) = ((Model::HAIKU, 51_000, 8), (Model::OPUS, 52_000, 9));
        alive(&lines, 5, five, &[haiku, opus]);
        alive(&lines, 8, five, &[opus]);
        alive(&lines, 9, five, &[]);
        alive(
            &lines,
            9,
            CacheTtl::OneHour,
            &[(Model::HAIKU, 51_000, 63), (Model::OPUS, 52_000, 64)],
        );
    }

    #[test]
    fn what_was_neither_read_from_a_cache_nor_written_to_one_is_not_warm() {
        let five = CacheTtl::FiveMinutes;
        alive(&[answer(Model::OPUS, 0, 50_000, [0, 0])], 1, five, &[]);
        // A turn of many calls reads the same tokens again and again; they are cached once.
        let busy = answer(Model::OPUS, 0, 50_000, [400_000, 20_000]);
        alive(&[busy], 1, five, &[(Model::OPUS, 50_000, 5)]);
        let part = answer(Model::OPUS, 0, 50_000, [10_000, 5_000]);
        alive(&[part], 1, five, &[(Model::OPUS, 15_000, 5)]);
    }

    #[test]
    fn a_conversation_that_begins_anew_has_no_use_for_the_old_caches() {
        let lines = [
            answer(Model::OPUS, 0, 90_000, [0, 90_000]),
            answer(Model::HAIKU, 1, 12_000, [0, 12_000]),
        ];
        alive(&lines, 2, CacheTtl::FiveMinutes, &[(Model::HAIKU, 12_000, 6)]);
        assert_eq!(Caches::of(&lines).context(), 12_000);
    }
}
