// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The local vector table and its pins (Intel SDM vol. 3, "Local Vector Table").

use irq_routing::{Delivery, DeliveryMode, TriggerMode};

use crate::lapic::Lapic;
use crate::spec::{Lvt, LvtIndex, LVT_READ_ONLY};
use crate::{ApicMode, Now};

/// A local interrupt pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Lint {
    /// INTR while the APIC is disabled.
    Lint0 = 0,
    /// NMI while the APIC is disabled.
    Lint1 = 1,
}

impl Lint {
    const fn lvt(self) -> LvtIndex {
        match self {
            Lint::Lint0 => LvtIndex::Lint0,
            Lint::Lint1 => LvtIndex::Lint1,
        }
    }
}

impl Lapic {
    /// Whether the 8259A's INTR reaches the CPU: the APIC is disabled, LINT0 is an unmasked
    /// ExtINT, or an ExtINT message waits. Priorities and RFLAGS.IF aside: ExtINT has none of
    /// the former.
    pub fn extint_open(&self) -> bool {
        self.mode() == ApicMode::Disabled || self.signals.extint || self.lint0_is_extint()
    }

    /// Whether LINT0 is an unmasked ExtINT entry: one of the ways of the 8259A's INTR, for a
    /// machine that gives the wire one owner at a time.
    pub fn lint0_is_extint(&self) -> bool {
        let lint0 = self.lvt(LvtIndex::Lint0);
        !lint0.masked() && lint0.delivery_mode() == DeliveryMode::ExtInt.bits()
    }

    /// The CPU acknowledged the 8259A (INTA): an ExtINT message that waited is served.
    pub fn accept_extint(&mut self) {
        self.signals.extint = false;
    }

    /// Sets a pin; `true` is asserted, whatever the polarity bit says. LINT0 with ExtINT needs no
    /// call: ask [`Lapic::extint_open`] with the PIC's INTR in hand.
    pub fn set_lint(&mut self, lint: Lint, level: bool) -> Delivery {
        let bit = 1 << lint as u8;
        let rising = level && self.lines & bit == 0;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        if !rising {
            return Delivery::Ignored;
        }
        if self.mode() == ApicMode::Disabled {
            return self.set_disabled_lint(lint);
        }
        self.fire(lint.lvt())
    }

    /// Without APIC, LINT1 is the NMI pin and LINT0 is INTR, which the caller has.
    fn set_disabled_lint(&mut self, lint: Lint) -> Delivery {
        match lint {
            Lint::Lint0 => Delivery::Ignored,
            Lint::Lint1 => self.local_signal(DeliveryMode::Nmi),
        }
    }

    /// Makes an LVT entry fire once, as a pulse on its input would (LAP-13): `Ignored` where it is
    /// masked or does not exist.
    pub fn set_local_intr(&mut self, lvt: LvtIndex) -> Delivery {
        match self.mode() {
            ApicMode::Disabled => match lvt {
                LvtIndex::Lint1 => self.set_disabled_lint(Lint::Lint1),
                _ => Delivery::Ignored,
            },
            _ => self.fire(lvt),
        }
    }

    /// The entry's source has an interrupt.
    pub(crate) fn fire(&mut self, index: LvtIndex) -> Delivery {
        let entry = self.lvt(index);
        if entry.masked() {
            return Delivery::Ignored;
        }
        if index == LvtIndex::Performance {
            // "the mask bit is set when a PMI is delivered" ("Local Vector Table").
            self.regs.lvt[index as usize] |= Lvt::new().with_masked(true).into_bits();
        }
        match DeliveryMode::from_bits(entry.delivery_mode()) {
            Ok(DeliveryMode::Fixed) => self.fire_fixed(index, entry),
            Ok(mode) => self.local_signal(mode),
            Err(_) => Delivery::Ignored,
        }
    }

    fn fire_fixed(&mut self, index: LvtIndex, entry: Lvt) -> Delivery {
        // LINT1 is edge-triggered whatever its bit 15 says.
        let level = index == LvtIndex::Lint0 && entry.level();
        if level && entry.remote_irr() {
            return Delivery::Coalesced;
        }
        let coalesced = self.regs.irr.contains(entry.vector());
        if level {
            self.regs.lvt[index as usize] = entry.with_remote_irr(true).into_bits();
        }
        self.accept_vector(entry.vector(), TriggerMode::from_bit(level));
        match coalesced {
            true => Delivery::Coalesced,
            false => Delivery::Delivered(1),
        }
    }

    /// Delivery modes without vector. Lowest priority and start-up mean nothing in an LVT.
    pub(crate) fn local_signal(&mut self, mode: DeliveryMode) -> Delivery {
        let before = self.signals;
        match mode {
            DeliveryMode::Nmi => self.signals.nmi = (self.signals.nmi + 1).min(2),
            DeliveryMode::Smi => self.signals.smi = true,
            DeliveryMode::Init => self.signals = self.signals.with_init(),
            DeliveryMode::ExtInt => self.signals.extint = true,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::StartUp => {
                return Delivery::Ignored
            }
        }
        match self.signals == before {
            true => Delivery::Coalesced,
            false => Delivery::Delivered(1),
        }
    }

    pub(crate) fn lvt(&self, index: LvtIndex) -> Lvt {
        Lvt::from_bits(self.regs.lvt[index as usize])
    }

    pub(crate) fn has_lvt(&self, index: LvtIndex) -> bool {
        index != LvtIndex::Cmci || self.config.cmci
    }

    /// A write to an entry. While the APIC is software-disabled the mask bit stays set.
    pub(crate) fn write_lvt(&mut self, index: LvtIndex, value: u32, now: Now) {
        if index == LvtIndex::Timer {
            // What expired under the old entry is delivered, or masked, by the old entry.
            self.advance(now);
        }
        let writable = index.defined_bits(self.config.tsc_deadline) & !LVT_READ_ONLY;
        let old = self.regs.lvt[index as usize];
        let mut entry = Lvt::from_bits((value & writable) | (old & LVT_READ_ONLY));
        if !self.software_enabled() {
            entry.set_masked(true);
        }
        self.regs.lvt[index as usize] = entry.into_bits();
        match index {
            LvtIndex::Timer => self.timer.set_mode(entry.timer_mode()),
            LvtIndex::Lint0 => self.lint0_changed(Lvt::from_bits(old), entry),
            _ => {}
        }
    }

    /// Software disable: every entry is masked ("Local APIC State After It Has Been Software
    /// Disabled").
    pub(crate) fn mask_lvts(&mut self, now: Now) {
        self.advance(now);
        let mask = Lvt::new().with_masked(true).into_bits();
        self.regs.lvt.iter_mut().for_each(|entry| *entry |= mask);
    }

    /// Remote IRR belongs to level-triggered fixed delivery of one vector, whose EOI clears it; an
    /// asserted level that just got unmasked interrupts.
    fn lint0_changed(&mut self, old: Lvt, entry: Lvt) {
        let level = entry.level() && entry.delivery_mode() == DeliveryMode::Fixed.bits();
        if !level || old.vector() != entry.vector() {
            self.regs.lvt[LvtIndex::Lint0 as usize] = entry.with_remote_irr(false).into_bits();
        }
        if level {
            self.refire_lint0();
        }
    }

    fn refire_lint0(&mut self) {
        let asserted = self.lines & 1 << Lint::Lint0 as u8 != 0;
        if asserted && !self.lvt(LvtIndex::Lint0).remote_irr() {
            let _ = self.fire(LvtIndex::Lint0);
        }
    }

    /// An EOI ends the service of a level-triggered LINT0; while still asserted it interrupts
    /// again.
    pub(crate) fn lint_eoi(&mut self, vector: u8) {
        let entry = self.lvt(LvtIndex::Lint0);
        if entry.remote_irr() && entry.vector() == vector {
            self.regs.lvt[LvtIndex::Lint0 as usize] = entry.with_remote_irr(false).into_bits();
            self.refire_lint0();
        }
    }
}
