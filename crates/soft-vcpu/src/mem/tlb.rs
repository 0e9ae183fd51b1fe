// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Translations of one vCPU, direct-mapped.
//!
//! Three sets: what user code may do, what the supervisor may do while SMAP keeps it from user
//! pages, and what it may do otherwise. A tag is the page's linear address; it holds only what
//! needs no further look: right privileges, memory of the host, A (and for writes D) set, and for
//! writes no code in the page.

use super::{PAGE, PAGE_MASK};
use crate::mem::Memory;

/// Entries of a set.
const ENTRIES: usize = 1024;
/// Sets.
const SETS: usize = 4;
/// A tag that no address matches: comparisons keep the page and at most the low four bits.
const NONE: u64 = 1 << 11;

/// One page: what every access needs, in half a cache line.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Entry {
    /// Tags per kind of access.
    pub read: u64,
    pub write: u64,
    pub fetch: u64,
    /// The host's address minus the linear one.
    pub addend: usize,
}

/// What else is known of the page.
#[derive(Clone, Copy)]
struct Note {
    /// Guest-physical address of the page.
    physical: u64,
    /// Writes are allowed but must be told to the page, which has code.
    observed: bool,
    /// Survives a change of CR3.
    global: bool,
    /// Listed in `Tlb::filled`.
    listed: bool,
}

const EMPTY: Entry = Entry { read: NONE, write: NONE, fetch: NONE, addend: 0 };
const NO_NOTE: Note = Note { physical: 0, observed: false, global: false, listed: false };

/// The three sets.
pub(crate) struct Tlb {
    /// One set after the other.
    entries: Box<[Entry; SETS * ENTRIES]>,
    notes: Box<[Note; SETS * ENTRIES]>,
    /// The first entry of the set in force.
    current: usize,
    /// Which entries are filled.
    filled: Vec<u16>,
    /// Where pages larger than 4 KiB were translated, of up to 4 MiB and of 1 GiB: bits by
    /// address, several addresses sharing one. INVLPG cannot tell which entries are theirs.
    large: Regions,
    giant: Regions,
}

/// What a walk found, to be kept.
pub(super) struct Translation {
    pub linear: u64,
    pub physical: u64,
    pub host: *mut u8,
    pub read: bool,
    pub write: bool,
    pub fetch: bool,
    pub global: bool,
    pub observed: bool,
    /// log2 of the size in the tables.
    pub shift: u32,
}

/// A set of regions, by a hash of one bit each.
type Regions = [u64; 16];

fn region(linear: u64, shift: u32) -> (usize, u64) {
    let number = linear >> shift;
    let bit = number ^ number >> 10;
    ((bit / 64 % 16) as usize, 1 << (bit % 64))
}

/// Region sizes of `Tlb::large` and `Tlb::giant`.
const LARGE: u32 = 22;
const GIANT: u32 = 30;

const USER: usize = 0;
const SUPERVISOR_SMAP: usize = ENTRIES;
const SUPERVISOR: usize = 2 * ENTRIES;

fn boxed<T: Copy, const N: usize>(value: T) -> Box<[T; N]> {
    let all = vec![value; N].into_boxed_slice();
    all.try_into().unwrap_or_else(|_| Box::new([value; N]))
}

impl Default for Tlb {
    fn default() -> Self {
        Tlb {
            entries: boxed(EMPTY),
            notes: boxed(NO_NOTE),
            current: SUPERVISOR,
            filled: Vec::new(),
            large: [0; 16],
            giant: [0; 16],
        }
    }
}

impl Tlb {
    /// Chooses the set that fits privilege level 3 or not, and SMAP in force or not.
    pub fn select(&mut self, user: bool, smap: bool) {
        self.current = match (user, smap) {
            (true, _) => USER,
            (false, true) => SUPERVISOR_SMAP,
            (false, false) => SUPERVISOR,
        };
    }

    /// Chooses the set of implicit supervisor accesses, to which RFLAGS.AC means nothing; gives
    /// the one that was in force.
    pub(super) fn select_implicit(&mut self, smap: bool) -> usize {
        let before = self.current;
        self.select(false, smap);
        before
    }

    /// Back to what [`Tlb::select_implicit`] gave.
    pub(super) fn restore(&mut self, set: usize) {
        self.current = set;
    }

    /// Whether the set in force is the user's, and whether SMAP is in force.
    pub(super) fn privilege(&self) -> (bool, bool) {
        (self.current == USER, self.current == SUPERVISOR_SMAP)
    }

    /// The entry in which `linear` would be.
    #[inline(always)]
    pub fn entry(&self, linear: u64) -> &Entry {
        &self.entries[self.slot(linear)]
    }

    #[inline(always)]
    fn slot(&self, linear: u64) -> usize {
        (self.current + (linear / PAGE) as usize % ENTRIES) % (SETS * ENTRIES)
    }

    /// Guest-physical address of the page in the entry of `linear`.
    #[inline(always)]
    pub fn physical(&self, linear: u64) -> u64 {
        self.notes[self.slot(linear)].physical
    }

    /// Whether writes to the page in the entry of `linear` are allowed, but must be told to it.
    #[inline(always)]
    pub(super) fn is_observed(&self, linear: u64) -> bool {
        self.notes[self.slot(linear)].observed
    }

    pub(super) fn fill(&mut self, found: &Translation) {
        let slot = self.slot(found.linear);
        let page = found.linear & PAGE_MASK;
        let tag = |allowed| if allowed { page } else { NONE };
        self.entries[slot] = Entry {
            read: tag(found.read),
            write: tag(found.write),
            fetch: tag(found.fetch),
            addend: (found.host as usize).wrapping_sub(page as usize),
        };
        if !self.notes[slot].listed {
            self.filled.push(slot as u16);
        }
        self.notes[slot] = Note {
            physical: found.physical & PAGE_MASK,
            observed: found.observed,
            global: found.global,
            listed: true,
        };
        let (regions, shift) = match found.shift {
            0..=12 => return,
            13..=LARGE => (&mut self.large, LARGE),
            _ => (&mut self.giant, GIANT),
        };
        let (word, bit) = region(found.linear, shift);
        regions[word] |= bit;
    }

    /// The page at `linear` has no code any more.
    pub(super) fn stop_observing(&mut self, linear: u64) {
        self.notes[self.slot(linear)].observed = false;
    }

    /// Everything.
    pub fn flush_all(&mut self) {
        for slot in self.filled.drain(..).map(usize::from) {
            (self.entries[slot], self.notes[slot]) = (EMPTY, NO_NOTE);
        }
        (self.large, self.giant) = ([0; 16], [0; 16]);
    }

    /// Everything but global pages.
    pub fn flush_local(&mut self) {
        let (entries, notes) = (&mut self.entries, &mut self.notes);
        self.filled.retain(|slot| {
            let slot = usize::from(*slot);
            let stays = notes[slot].global;
            if !stays {
                (entries[slot], notes[slot]) = (EMPTY, NO_NOTE);
            }
            stays
        });
    }

    /// One page, as INVLPG does.
    pub fn flush_page(&mut self, linear: u64) {
        let is_in = |regions: &Regions, shift| {
            let (word, bit) = region(linear, shift);
            regions[word] & bit != 0
        };
        if is_in(&self.large, LARGE) || is_in(&self.giant, GIANT) {
            return self.flush_all();
        }
        let (page, slot) = (linear & PAGE_MASK, (linear / PAGE) as usize % ENTRIES);
        for slot in (slot..SETS * ENTRIES).step_by(ENTRIES) {
            let entry = &mut self.entries[slot];
            if [entry.read, entry.write, entry.fetch].contains(&page) {
                *entry = EMPTY;
                self.notes[slot] = Note { listed: self.notes[slot].listed, ..NO_NOTE };
            }
        }
    }

    /// Forgets the ways to write to pages that have code by now.
    pub fn forget_writes_to_code(&mut self, memory: &Memory) {
        for slot in self.filled.iter().copied().map(usize::from) {
            let (entry, note) = (&mut self.entries[slot], &mut self.notes[slot]);
            if entry.write == NONE {
                continue;
            }
            if memory.page(note.physical).is_none_or(|(_, page)| page.has_code()) {
                entry.write = NONE;
                note.observed = true;
            }
        }
    }
}
