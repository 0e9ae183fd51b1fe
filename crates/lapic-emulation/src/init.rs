// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reset, INIT, start-up (Intel SDM vol. 3, "Local APIC State After Power-Up or Reset", "Local
//! APIC State After It Receives an INIT Reset", "MP Initialization Protocol Algorithm").

use irq_routing::DeliveryMode;

use crate::lapic::{Lapic, LapicEvents, Registers};
use crate::signals::Signals;
use crate::spec::{svr, Lvt, LvtIndex};

/// Whether the CPU runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StartState {
    /// It executes instructions, or is halted by one.
    #[default]
    Running,
    /// It does nothing until a start-up IPI.
    WaitForSipi,
}

impl Lapic {
    /// Power-up or RESET. The levels of LINT0 and LINT1 belong to whoever drives them and stay.
    pub fn reset(&mut self, events: &mut impl LapicEvents) {
        self.power_up();
        events.map_changed();
    }

    pub(crate) fn power_up(&mut self) {
        self.base = Lapic::reset_base(&self.config);
        self.signals = Signals::default();
        self.reset_registers();
        self.enter_start_state();
    }

    /// The APIC's part of an INIT: all but id and IA32_APIC_BASE returns to the reset state, and
    /// a CPU that is not the BSP (IA32_APIC_BASE bit 8) waits for its start-up IPI. A pending NMI
    /// or SMI is void.
    pub fn init(&mut self, events: &mut impl LapicEvents) {
        // What followed the INIT survives it.
        self.signals = Signals { sipi: self.signals.sipi, ..Signals::default() };
        self.reset_registers();
        self.enter_start_state();
        self.discard_early_sipi();
        events.map_changed();
    }

    /// Handles a pending INIT with [`Lapic::init`]; the caller then resets the CPU. Returns
    /// whether there was one.
    #[must_use = "the CPU has to be reset too"]
    pub fn take_init(&mut self, events: &mut impl LapicEvents) -> bool {
        let pending = self.signals.init;
        if pending {
            self.init(events);
        }
        pending
    }

    /// Takes the start-up IPI that ends wait-for-SIPI: the CPU starts in real mode at
    /// `vector << 12`.
    #[must_use = "the CPU has to be started"]
    pub fn take_sipi(&mut self) -> Option<u8> {
        if self.start != StartState::WaitForSipi || self.signals.init {
            return None;
        }
        let vector = self.signals.sipi.take()?;
        self.start = StartState::Running;
        Some(vector)
    }

    /// Whether the CPU runs or waits for its start-up IPI.
    pub fn start_state(&self) -> StartState {
        self.start
    }

    /// A start-up IPI counts in wait-for-SIPI, or after an INIT that will lead there.
    pub(crate) fn discard_early_sipi(&mut self) {
        if self.start != StartState::WaitForSipi && !self.signals.init {
            self.signals.sipi = None;
        }
    }

    /// What a machine without firmware does to the BSP before its first instruction (Intel
    /// MultiProcessor Specification, "Virtual Wire Mode"): APIC software-enabled with spurious
    /// vector 0xff, LINT0 is ExtINT and LINT1 is NMI, both unmasked. Build the destination map
    /// after this.
    pub fn set_virtual_wire(&mut self) {
        self.regs.svr |= svr::ENABLE;
        let lvt = |mode: DeliveryMode| Lvt::new().with_delivery_mode(mode.bits()).into_bits();
        self.regs.lvt[LvtIndex::Lint0 as usize] = lvt(DeliveryMode::ExtInt);
        self.regs.lvt[LvtIndex::Lint1 as usize] = lvt(DeliveryMode::Nmi);
    }

    pub(crate) fn reset_registers(&mut self) {
        self.regs = Registers::RESET;
        self.timer.reset();
    }

    fn enter_start_state(&mut self) {
        self.start = if self.is_bsp() { StartState::Running } else { StartState::WaitForSipi };
    }
}
