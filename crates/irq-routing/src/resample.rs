// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Telling level sources that the guest ended their interrupt.
//!
//! Two steps, because nobody is called under a lock: [`Router::eoi`] notes who is to be told
//! (and lowers the sources that asked for it), [`Router::next_resample`] hands them out one by
//! one, so that the caller can take each, drop its lock, and tell the device.

use crate::route::{Pin, MAX_ROUTES};
use crate::router::{Router, Targets};
use crate::{Gsi, SourceId};

impl Router {
    /// The guest ended an interrupt of `pin`: an EOI for the IOAPIC pin, a cleared ISR bit of
    /// the 8259A.
    ///
    /// Sources connected with [`crate::Resample::Deassert`] lose their level here, so call this
    /// before the chip looks whether the pin is still asserted, or the guest gets one interrupt
    /// too many. Returns whether [`Router::next_resample`] has something.
    pub fn eoi(&mut self, pin: Pin, targets: &mut impl Targets) -> bool {
        for index in 0..self.table.gsis(pin).len() {
            let gsi = self.table.gsis(pin)[index];
            self.eoi_gsi(gsi, targets);
        }
        self.due.any()
    }

    /// Whether an EOI of `pin` is anybody's business: if not, a hypervisor need not exit for it.
    pub fn wants_eoi(&self, pin: Pin) -> bool {
        let wires = self.table.gsis(pin).iter().filter_map(|gsi| self.wires.get(gsi.0 as usize));
        wires.fold(0, |all, wire| all | wire.notify | wire.deassert) != 0
    }

    /// The next source to be told of an EOI, with its GSI; each EOI tells each source at most
    /// once, and EOIs that nobody has collected yet merge.
    pub fn next_resample(&mut self) -> Option<(Gsi, SourceId)> {
        let gsi = self.due.first()?;
        let wire = self.wire_mut(gsi)?;
        let source = SourceId::new(wire.due.trailing_zeros() as u8);
        wire.due &= wire.due.wrapping_sub(1);
        if wire.due == 0 {
            self.due.remove(gsi);
        }
        Some((gsi, source?))
    }

    fn eoi_gsi(&mut self, gsi: Gsi, targets: &mut impl Targets) {
        let Some(wire) = self.wire_mut(gsi) else { return };
        let before = wire.line.level();
        wire.line.sources &= !wire.deassert;
        let falling = before && !wire.line.level();
        wire.due |= wire.notify | wire.deassert;
        if wire.due != 0 {
            self.due.insert(gsi);
        }
        if falling {
            let _ = self.drive(gsi, false, targets);
        }
    }
}

/// The GSIs with sources to be told: a bitmap, and a bitmap of its words that are not zero.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    words: [u64; MAX_ROUTES / 64],
    nonzero: u64,
}

impl Default for Due {
    fn default() -> Self {
        Due { words: [0; MAX_ROUTES / 64], nonzero: 0 }
    }
}

impl Due {
    fn any(&self) -> bool {
        self.nonzero != 0
    }

    fn first(&self) -> Option<Gsi> {
        let word = self.nonzero.trailing_zeros();
        let bits = self.words.get(word as usize)?;
        Some(Gsi(word * 64 + bits.trailing_zeros()))
    }

    pub(crate) fn insert(&mut self, gsi: Gsi) {
        let word = gsi.0 as usize / 64;
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= 1 << (gsi.0 % 64);
            self.nonzero |= 1 << word;
        }
    }

    pub(crate) fn remove(&mut self, gsi: Gsi) {
        let word = gsi.0 as usize / 64;
        if let Some(bits) = self.words.get_mut(word) {
            *bits &= !(1 << (gsi.0 % 64));
            if *bits == 0 {
                self.nonzero &= !(1 << word);
            }
        }
    }
}
