//! A disk with a volatile cache: what was written and not flushed may be there after a power cut, or not, or in part.
//!
//! The sectors that a flush covered are sure. Of the writes since, a cut keeps any of them, later ones without earlier ones
//! too, and of a kept one perhaps some sectors only. Nothing here invents bytes: each sector is afterwards as it was at some
//! moment since the last flush. That is all a disk promises.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::Dice;

/// What is written as a whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

/// The disk, over a file that holds what is sure.
pub(crate) struct Volatile {
    sure: File,
    bytes: u64,
    /// What was written since the last flush, in its order.
    unflushed: Vec<Write>,
    /// The newest bytes of every sector of those.
    newest: BTreeMap<u64, Vec<u8>>,
    /// The power is gone. Whoever still writes reads it back, and nothing becomes of it.
    is_over: bool,
    /// After so many more writes and flushes the power goes by itself: an idle disk has nothing to lose.
    left: u64,
    counts: Counts,
}

struct Write {
    offset: u64,
    bytes: Vec<u8>,
}

/// What happened to the disk, so that a run shows that its cuts were cuts.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
    /// Writes that no flush had covered at a cut,
    pub(crate) unflushed: u64,
    /// those of them that were lost,
    pub(crate) dropped: u64,
    /// those of which some sectors were lost,
    pub(crate) torn: u64,
    /// and those that were kept though an earlier one was lost.
    pub(crate) overtaking: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.writes += other.writes;
        self.flushes += other.flushes;
        self.unflushed += other.unflushed;
        self.dropped += other.dropped;
        self.torn += other.torn;
        self.overtaking += other.overtaking;
    }
}

impl Volatile {
    pub(crate) fn new(sure: File) -> io::Result<Volatile> {
        let bytes = sure.metadata()?.len();
        Ok(Volatile {
            sure,
            bytes,
            unflushed: Vec::new(),
            newest: BTreeMap::new(),
            is_over: false,
            left: u64::MAX,
            counts: Counts::default(),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What whoever reads sees: the newest, flushed or not.
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = self.bytes.saturating_sub(offset).min(length as u64) as usize;
        let mut bytes = vec![0; length];
        self.sure.read_exact_at(&mut bytes, offset)?;
        let first = offset / SECTOR_BYTES as u64;
        let end = (offset + length as u64).div_ceil(SECTOR_BYTES as u64);
        for (sector, newest) in self.newest.range(first..end) {
            let begin = sector * SECTOR_BYTES as u64;
            for (at, byte) in newest.iter().enumerate() {
                let place = (begin + at as u64).checked_sub(offset);
                if let Some(place) = place.and_then(|it| bytes.get_mut(it as usize)) {
                    *place = *byte;
                }
            }
        }
        Ok(bytes)
    }

    /// Takes whole sectors into the cache.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let is_whole = offset.is_multiple_of(SECTOR_BYTES as u64)
            && bytes.len().is_multiple_of(SECTOR_BYTES)
            && offset + bytes.len() as u64 <= self.bytes;
        if !is_whole {
            return Err(io::Error::other("a disk takes whole sectors"));
        }
        for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            self.newest.insert(offset / SECTOR_BYTES as u64 + at as u64, sector.to_owned());
        }
        if !self.is_over {
            self.counts.writes += 1;
            self.unflushed.push(Write { offset, bytes: bytes.to_owned() });
            self.spend();
        }
        Ok(())
    }

    /// From here on everything written so far is sure.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.is_over {
            return Ok(());
        }
        // A flush that nobody hears back from may have happened or not: not.
        if self.spend() {
            return Ok(());
        }
        self.counts.flushes += 1;
        for (sector, bytes) in std::mem::take(&mut self.newest) {
            self.sure.write_all_at(&bytes, sector * SECTOR_BYTES as u64)?;
        }
        self.unflushed.clear();
        Ok(())
    }

    /// The power goes: what is not sure by now will not be.
    pub(crate) fn stop(&mut self) {
        self.is_over = true;
    }

    /// Lets the power go within so many writes and flushes.
    pub(crate) fn stop_after(&mut self, left: u64) {
        self.left = left;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    fn spend(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.is_over |= self.left == 0;
        self.is_over
    }

    /// What is left: of what was not flushed, chance keeps what it keeps.
    pub(crate) fn settle(mut self, dice: &mut Dice) -> io::Result<Counts> {
        // A cache that had no time at all, one that was nearly empty, and everything between.
        let kept_of_8 = [0, 1, 4, 7, 8][dice.below(5) as usize];
        let mut is_any_dropped = false;
        for write in &self.unflushed {
            self.counts.unflushed += 1;
            if dice.below(8) >= kept_of_8 {
                self.counts.dropped += 1;
                is_any_dropped = true;
                continue;
            }
            self.counts.overtaking += u64::from(is_any_dropped);
            let is_torn = write.bytes.len() > SECTOR_BYTES && dice.below(4) == 0;
            self.counts.torn += u64::from(is_torn);
            for (at, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
                if !is_torn || dice.below(2) == 0 {
                    let begin = write.offset + (at * SECTOR_BYTES) as u64;
                    self.sure.write_all_at(sector, begin)?;
                }
            }
        }
        Ok(self.counts)
    }
}
