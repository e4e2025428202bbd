//! Every line of a log by number: where it lies and what it is, in columns, sixteen bytes a row.
//!
//! Rows are numbered from the moment the dashboard began: what was appended since is 0, 1, 2 …, what was there before
//! is -1, -2, … backwards. So the newest rows can be shown while the index still grows towards the past, and no number
//! ever changes. The same holds for the rows that a [`Filter`] lets through. Texts are never kept.

use std::collections::VecDeque;

use tinyclaw_disk::follow::GapCause;

use crate::meta::{Meta, REPEATED, Tables};

/// A block's share of a file. Smaller ones make the first page quicker, larger ones the index smaller.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;

/// A segment of the log as it was at one time: the same number may name another file after a gap.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Its first bytes, up to 64, as far as they were known.
    pub(crate) head: Vec<u8>,
    /// Why its lines can no longer be read, if so.
    pub(crate) gone: Option<GapCause>,
}

/// Neighbouring rows of one volume.
#[derive(Debug)]
struct Block {
    volume: u16,
    /// Number of the first row.
    first: i64,
    start: u64,
    end: u64,
    starts: Vec<u32>,
    threads: Vec<u16>,
    seconds: Vec<u32>,
    marks: Vec<u8>,
    models: Vec<u8>,
    values: Vec<u32>,
    repeated: u32,
    newest: u32,
    /// The earliest time that is known; `u32::MAX` when none is.
    oldest: u32,
}

/// A stretch of the file that holds whole rows, to be read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Which volume.
    pub(crate) volume: u16,
    /// First byte.
    pub(crate) start: u64,
    /// One past the last byte.
    pub(crate) end: u64,
}

/// A row's place and what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pick {
    /// The row's number among all rows.
    pub(crate) row: i64,
    /// Its number among those that the filter lets through.
    pub(crate) rank: i64,
    /// Which volume.
    pub(crate) volume: u16,
    /// First byte.
    pub(crate) start: u64,
    /// Length with the newline.
    pub(crate) length: u64,
    /// What is remembered.
    pub(crate) meta: Meta,
}

/// Which rows are wanted. A line that stands again after a crash never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Only this thread's.
    pub(crate) thread: Option<u16>,
    /// Only this model's.
    pub(crate) model: Option<u8>,
    /// Of the marks, these bits …
    pub(crate) mask: u8,
    /// … must be these.
    pub(crate) want: u8,
    /// Not before, in seconds since 1970.
    pub(crate) since: u32,
    /// Not after.
    pub(crate) until: u32,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { thread: None, model: None, mask: 0, want: 0, since: 0, until: u32::MAX }
    }
}

impl Filter {
    /// Narrows the filter to rows whose marks have `bits` set as given.
    pub(crate) fn marks(mut self, mask: u8, want: u8) -> Filter {
        self.mask |= mask;
        self.want |= want;
        self
    }

    fn is_open(&self) -> bool {
        *self == Filter::default()
    }

    fn lets(&self, block: &Block, at: usize) -> bool {
        let marks = block.marks[at];
        marks & REPEATED == 0
            && marks & self.mask == self.want
            && self.thread.is_none_or(|it| block.threads[at] == it)
            && self.model.is_none_or(|it| block.models[at] == it)
            && (self.since..=self.until).contains(&block.seconds[at])
    }
}

impl Block {
    fn new(volume: u16, first: i64, start: u64) -> Block {
        Block {
            volume,
            first,
            start,
            end: start,
            starts: Vec::new(),
            threads: Vec::new(),
            seconds: Vec::new(),
            marks: Vec::new(),
            models: Vec::new(),
            values: Vec::new(),
            repeated: 0,
            newest: 0,
            oldest: u32::MAX,
        }
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn push(&mut self, start: u64, end: u64, meta: Meta) {
        self.starts.push((start - self.start) as u32);
        self.threads.push(meta.thread);
        self.seconds.push(meta.seconds);
        self.marks.push(meta.marks);
        self.models.push(meta.model);
        self.values.push(meta.value);
        self.repeated += u32::from(meta.marks & REPEATED != 0);
        self.newest = self.newest.max(meta.seconds);
        if meta.seconds > 0 {
            self.oldest = self.oldest.min(meta.seconds);
        }
        self.end = end;
    }

    fn seal(&mut self) {
        self.starts.shrink_to_fit();
        self.threads.shrink_to_fit();
        self.seconds.shrink_to_fit();
        self.marks.shrink_to_fit();
        self.models.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    fn count(&self, filter: &Filter) -> usize {
        if filter.is_open() {
            return self.len() - self.repeated as usize;
        }
        if self.newest < filter.since {
            return 0;
        }
        (0..self.len()).filter(|at| filter.lets(self, *at)).count()
    }

    fn pick(&self, at: usize, rank: i64) -> Pick {
        let start = self.start + u64::from(self.starts[at]);
        let end = self.starts.get(at + 1).map_or(self.end, |it| self.start + u64::from(*it));
        let meta = Meta {
            thread: self.threads[at],
            seconds: self.seconds[at],
            marks: self.marks[at],
            model: self.models[at],
            value: self.values[at],
        };
        let row = self.first + at as i64;
        Pick { row, rank, volume: self.volume, start, length: end - start, meta }
    }
}

/// The rows of a block that was read from the past.
#[derive(Debug, Default)]
pub(crate) struct PastRows {
    /// Start offset and what is remembered, oldest first.
    pub(crate) rows: Vec<(u64, Meta)>,
    /// Where the block begins.
    pub(crate) start: u64,
    /// Where it ends.
    pub(crate) end: u64,
}

/// The index of one log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    volumes: Vec<Volume>,
    blocks: VecDeque<Block>,
    /// How many blocks hold rows from before the beginning.
    past: usize,
    /// Short numbers of the threads and models met.
    pub(crate) tables: Tables,
    /// Whether everything on disk is indexed.
    pub(crate) complete: bool,
    /// Bytes indexed of what was there at the beginning, and how many there are.
    pub(crate) progress: (u64, u64),
    /// Broken-off places: before which row, and why.
    pub(crate) gaps: Vec<(i64, GapCause)>,
}

impl Index {
    /// Adds a volume and returns its number.
    pub(crate) fn add_volume(&mut self, segment: u64, head: Vec<u8>) -> u16 {
        self.volumes.push(Volume { segment, head, gone: None });
        (self.volumes.len() - 1).min(usize::from(u16::MAX)) as u16
    }

    /// A volume by its number.
    pub(crate) fn volume(&self, number: u16) -> Option<&Volume> {
        self.volumes.get(usize::from(number))
    }

    /// A volume by its number, to be changed.
    pub(crate) fn volume_mut(&mut self, number: u16) -> Option<&mut Volume> {
        self.volumes.get_mut(usize::from(number))
    }

    /// Numbers of the first row and of the one after the last.
    pub(crate) fn range(&self) -> (i64, i64) {
        let first = self.blocks.front().map_or(0, |it| it.first);
        let last = self.blocks.back().map_or(0, |it| it.first + it.len() as i64);
        (first, last.max(0))
    }

    /// Adds a row at the end; returns its number.
    pub(crate) fn append(&mut self, volume: u16, start: u64, end: u64, meta: Meta) -> i64 {
        let next = self.range().1;
        let fits = self.blocks.len() > self.past
            && self.blocks.back().is_some_and(|it| {
                it.volume == volume && it.end <= start && end - it.start <= BLOCK_BYTES
            });
        if !fits {
            if let Some(block) = self.blocks.back_mut() {
                block.seal();
            }
            self.blocks.push_back(Block::new(volume, next, start));
        }
        if let Some(block) = self.blocks.back_mut() {
            block.push(start, end, meta);
        }
        next
    }

    /// Adds the rows before all others.
    pub(crate) fn prepend(&mut self, volume: u16, past: PastRows) {
        if past.rows.is_empty() {
            return;
        }
        let first = self.range().0 - past.rows.len() as i64;
        let mut block = Block::new(volume, first, past.start);
        for (at, (start, meta)) in past.rows.iter().enumerate() {
            let end = past.rows.get(at + 1).map_or(past.end, |(it, _)| *it);
            block.push(*start, end, *meta);
        }
        block.seal();
        self.blocks.push_front(block);
        self.past += 1;
    }

    /// Forgets the oldest rows of the past whose volumes were removed from the disk. Rows since the beginning stay,
    /// unreadable, because the ranks of all others count from them.
    pub(crate) fn retire(&mut self, is_there: impl Fn(u64) -> bool) {
        while self.past > 0 {
            let Some(block) = self.blocks.front() else { break };
            if is_there(self.volumes[usize::from(block.volume)].segment) {
                break;
            }
            self.blocks.pop_front();
            self.past -= 1;
        }
    }

    /// Ranks of the first row that the filter lets through, and of the one after the last.
    pub(crate) fn ranks(&self, filter: &Filter) -> (i64, i64) {
        let count = |range: std::ops::Range<usize>| -> i64 {
            self.blocks.range(range).map(|it| it.count(filter) as i64).sum()
        };
        (-count(0..self.past), count(self.past..self.blocks.len()))
    }

    /// Up to `n` rows that the filter lets through, from rank `from` on, oldest first.
    pub(crate) fn pick(&self, filter: &Filter, from: i64, n: usize) -> Vec<Pick> {
        let (first, last) = self.ranks(filter);
        let from = from.max(first);
        let mut picks = Vec::with_capacity(n.min((last - from).max(0) as usize));
        // Walk from the middle to the block where `from` lies, then forward.
        let mut at = self.past;
        let mut rank = 0;
        while rank > from && at > 0 {
            at -= 1;
            rank -= self.blocks[at].count(filter) as i64;
        }
        while at < self.blocks.len() && picks.len() < n {
            let block = &self.blocks[at];
            let count = block.count(filter) as i64;
            if rank + count > from {
                let rows = (0..block.len()).filter(|i| filter.lets(block, *i));
                let wanted = (rank..).zip(rows).filter(|(rank, _)| *rank >= from);
                picks.extend(wanted.take(n - picks.len()).map(|(rank, i)| block.pick(i, rank)));
            }
            rank += count;
            at += 1;
        }
        picks
    }

    /// The last `n` rows that the filter lets through, oldest first.
    pub(crate) fn pick_last(&self, filter: &Filter, n: usize) -> Vec<Pick> {
        let (_, last) = self.ranks(filter);
        self.pick(filter, last - n as i64, n)
    }

    /// A row by its number.
    pub(crate) fn row(&self, row: i64) -> Option<Pick> {
        let at = self.blocks.partition_point(|it| it.first <= row).checked_sub(1)?;
        let block = &self.blocks[at];
        let inside = usize::try_from(row - block.first).ok()?;
        (inside < block.len()).then(|| block.pick(inside, row))
    }

    /// The row that begins at `offset` of a segment as it is now, or the number after the last one when the offset is
    /// the end.
    pub(crate) fn row_at(&self, segment: u64, offset: u64) -> Option<i64> {
        let is_it = |block: &Block| {
            let volume = &self.volumes[usize::from(block.volume)];
            volume.segment == segment && volume.gone.is_none()
        };
        let mut after_end = None;
        for block in self.blocks.iter().rev().filter(|it| is_it(it)) {
            if block.end == offset {
                after_end = Some(block.first + block.len() as i64);
            }
            if (block.start..block.end).contains(&offset) {
                let inside = (offset - block.start) as u32;
                let at = block.starts.partition_point(|it| *it < inside);
                return Some(block.first + at as i64);
            }
        }
        after_end
    }

    /// The first row of a segment or of the next one after it, as they are now.
    pub(crate) fn first_row_from(&self, segment: u64) -> Option<i64> {
        let is_it = |block: &&Block| {
            let volume = &self.volumes[usize::from(block.volume)];
            volume.segment >= segment && volume.gone.is_none()
        };
        self.blocks.iter().find(is_it).map(|it| it.first)
    }

    /// Every row the filter lets through, newest first, until `each` says stop.
    pub(crate) fn newest_first(&self, filter: &Filter, mut each: impl FnMut(Pick) -> bool) {
        for block in self.blocks.iter().rev().filter(|it| it.newest >= filter.since) {
            for at in (0..block.len()).rev().filter(|at| filter.lets(block, *at)) {
                if !each(block.pick(at, 0)) {
                    return;
                }
            }
        }
    }

    /// The stretches in which the filter may let rows through, newest first.
    pub(crate) fn spans(&self, filter: &Filter) -> Vec<Span> {
        let is_near = |it: &&Block| {
            (it.newest >= filter.since && it.oldest <= filter.until) || it.oldest == u32::MAX
        };
        let wanted = self.blocks.iter().rev().filter(is_near).filter(|it| it.count(filter) > 0);
        wanted.map(|it| Span { volume: it.volume, start: it.start, end: it.end }).collect()
    }

    /// The rows of a span that the filter lets through, newest first.
    pub(crate) fn picks_in(&self, filter: &Filter, span: &Span) -> Vec<Pick> {
        let is_it = |it: &&Block| it.volume == span.volume && it.start == span.start;
        let Some(block) = self.blocks.iter().rev().find(is_it) else { return Vec::new() };
        let rows = (0..block.len()).rev().filter(|at| filter.lets(block, *at));
        rows.map(|at| block.pick(at, 0)).collect()
    }

    /// Whether the oldest row known is older than `seconds`.
    pub(crate) fn reaches_back_to(&self, seconds: u32) -> bool {
        self.blocks.front().is_some_and(|it| it.oldest < seconds)
    }

    /// How many rows each thread has, without repeated ones.
    pub(crate) fn rows_by_thread(&self) -> Vec<(u16, u64)> {
        let mut counts: Vec<u64> = Vec::new();
        for block in &self.blocks {
            for at in (0..block.len()).filter(|at| block.marks[*at] & REPEATED == 0) {
                let thread = usize::from(block.threads[at]);
                if counts.len() <= thread {
                    counts.resize(thread + 1, 0);
                }
                counts[thread] += 1;
            }
        }
        let counted = counts.into_iter().enumerate();
        counted.filter(|(_, it)| *it > 0).map(|(thread, it)| (thread as u16, it)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::FLAG;

    fn meta(thread: u16, marks: u8) -> Meta {
        Meta { thread, seconds: 100, marks, model: 0, value: 0 }
    }

    /// Rows of ten bytes: six from before the beginning in two blocks, three after it; every third is thread 2.
    fn index() -> Index {
        let mut index = Index::default();
        let volume = index.add_volume(1, Vec::new());
        let rows = |range: std::ops::Range<u64>| PastRows {
            rows: range.clone().map(|it| (it * 10, meta(1 + u16::from(it % 3 == 0), 0))).collect(),
            start: range.start * 10,
            end: range.end * 10,
        };
        index.prepend(volume, rows(4..6));
        index.prepend(volume, rows(0..4));
        for it in 6..9 {
            let marks = if it == 8 { REPEATED } else { 0 };
            index.append(volume, it * 10, it * 10 + 10, meta(1 + u16::from(it % 3 == 0), marks));
        }
        index
    }

    fn places(picks: &[Pick]) -> Vec<(i64, i64, u64)> {
        picks.iter().map(|it| (it.row, it.rank, it.start)).collect()
    }

    #[test]
    fn numbers_do_not_change_when_the_past_is_filled_in() {
        let index = index();
        assert_eq!(index.range(), (-6, 3));
        assert_eq!(index.row(-6).unwrap().start, 0);
        assert_eq!(index.row(2).unwrap().start, 80);
        assert_eq!(index.row(3), None);
        assert_eq!(index.row(-7), None);
    }

    #[test]
    fn pages_are_cut_anywhere_and_leave_out_what_stands_again() {
        let index = index();
        let all = Filter::default();
        assert_eq!(index.ranks(&all), (-6, 2));
        assert_eq!(
            places(&index.pick(&all, -3, 4)),
            [(-3, -3, 30), (-2, -2, 40), (-1, -1, 50), (0, 0, 60)]
        );
        assert_eq!(places(&index.pick_last(&all, 1)), [(1, 1, 70)]);
        assert_eq!(index.pick(&all, -100, 100).len(), 8);
        assert!(index.pick(&all, 2, 100).is_empty());
    }

    #[test]
    fn a_filter_has_ranks_of_its_own() {
        let index = index();
        let second = Filter { thread: Some(2), ..Filter::default() };
        assert_eq!(index.ranks(&second), (-2, 1));
        assert_eq!(places(&index.pick(&second, -2, 9)), [(-6, -2, 0), (-3, -1, 30), (0, 0, 60)]);
        assert_eq!(index.ranks(&Filter::default().marks(FLAG, FLAG)), (0, 0));
    }

    #[test]
    fn a_place_in_the_file_is_found_again() {
        let index = index();
        assert_eq!(index.row_at(1, 0), Some(-6));
        assert_eq!(index.row_at(1, 40), Some(-2));
        assert_eq!(index.row_at(1, 90), Some(3));
        assert_eq!(index.row_at(1, 91), None);
        assert_eq!(index.row_at(2, 0), None);
    }
}
