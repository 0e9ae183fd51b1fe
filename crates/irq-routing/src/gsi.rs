// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! GSIs that are taken when somebody needs one and given back afterwards.

use crate::route::MAX_ROUTES;
use crate::Gsi;

const WORDS: usize = MAX_ROUTES / 64;

/// A range of GSIs, handed out lowest first. No allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GsiPool {
    /// Bit n of word w: GSI `64 * w + n` may be taken.
    free: [u64; WORDS],
    first: u32,
    end: u32,
}

impl GsiPool {
    /// GSIs from `first` up to `end`, exclusive, cut off at [`MAX_ROUTES`]. Behind an IOAPIC's
    /// pins that is `GsiPool::new(24, 4096)`.
    pub fn new(first: u32, end: u32) -> Self {
        let end = end.min(MAX_ROUTES as u32);
        let mut pool = GsiPool { free: [0; WORDS], first, end };
        (first..end).for_each(|gsi| pool.free[gsi as usize / 64] |= 1 << (gsi % 64));
        pool
    }

    /// The lowest free GSI, or `None` when all are taken.
    pub fn take(&mut self) -> Option<Gsi> {
        let (index, word) = self.free.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(Gsi(index as u32 * 64 + bit))
    }

    /// Takes this very GSI, as a restored machine needs it. `false` if it is not free.
    pub fn take_exactly(&mut self, gsi: Gsi) -> bool {
        let Some(word) = self.free.get_mut(gsi.0 as usize / 64) else { return false };
        let bit = 1 << (gsi.0 % 64);
        let free = *word & bit != 0;
        *word &= !bit;
        free
    }

    /// Gives a GSI back. `false`, without effect, for one that was not taken from this pool.
    pub fn put(&mut self, gsi: Gsi) -> bool {
        if !(self.first..self.end).contains(&gsi.0) {
            return false;
        }
        let word = &mut self.free[gsi.0 as usize / 64];
        let bit = 1 << (gsi.0 % 64);
        let taken = *word & bit == 0;
        *word |= bit;
        taken
    }

    /// How many GSIs are free.
    pub fn available(&self) -> u32 {
        self.free.iter().map(|word| word.count_ones()).sum()
    }
}
