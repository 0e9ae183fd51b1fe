// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The local APIC: interrupt priorities, acceptance and end of interrupt (Intel SDM vol. 3,
//! "Handling Interrupts").

use irq_routing::TriggerMode;

use crate::config::{Config, ConfigError};
use crate::icr::Ipi;
use crate::init::StartState;
use crate::posted::PostedInterrupts;
use crate::signals::Signals;
use crate::spec::{dfr, esr, svr, x2apic_ldr, ApicBase, Lvt, LvtIndex, DEFAULT_BASE};
use crate::spec::{FIRST_LEGAL_VECTOR, PAGE_SIZE};
use crate::timer::{Now, Timer};
use crate::vectors::{Vectors, ILLEGAL};
use crate::{ApicMode, DestinationEntry};

/// The access raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access raises #GP(0)")]
pub struct GeneralProtection;

/// What a local APIC does to the rest of the machine. Called on the owner's thread, never with
/// a lock held by this crate.
pub trait LapicEvents {
    /// The guest sent an IPI to others: hand it to [`deliver_ipi`](crate::deliver_ipi).
    fn ipi(&mut self, ipi: Ipi);

    /// The guest ended a level-triggered interrupt: tell every IOAPIC.
    fn eoi_broadcast(&mut self, vector: u8);

    /// This APIC's entry in the [`DestinationMap`](crate::DestinationMap) changed, see
    /// [`Lapic::destination_entry`].
    fn map_changed(&mut self);
}

/// A machine without anyone else in it: drops every event.
impl LapicEvents for () {
    fn ipi(&mut self, _ipi: Ipi) {}
    fn eoi_broadcast(&mut self, _vector: u8) {}
    fn map_changed(&mut self) {}
}

/// The registers that software writes, but for the timer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) tpr: u8,
    /// xAPIC only; x2APIC derives it.
    pub(crate) ldr: u32,
    pub(crate) dfr: u32,
    pub(crate) svr: u32,
    pub(crate) icr: u64,
    pub(crate) lvt: [u32; LvtIndex::COUNT],
    /// What ESR reads as, and what its next write latches.
    pub(crate) esr: u32,
    pub(crate) esr_pending: u32,
    pub(crate) irr: Vectors,
    pub(crate) isr: Vectors,
    pub(crate) tmr: Vectors,
}

impl Registers {
    /// "Local APIC State After Power-Up or Reset".
    pub(crate) const RESET: Registers = Registers {
        tpr: 0,
        ldr: 0,
        dfr: dfr::RESET,
        svr: svr::RESET,
        icr: 0,
        lvt: [Lvt::RESET; LvtIndex::COUNT],
        esr: 0,
        esr_pending: 0,
        irr: Vectors([0; 4]),
        isr: Vectors([0; 4]),
        tmr: Vectors([0; 4]),
    };
}

/// One CPU's local APIC, owned by the thread that runs the CPU.
///
/// Everyone else reaches it through its [`PostedInterrupts`].
#[derive(Clone, Debug)]
pub struct Lapic {
    pub(crate) config: Config,
    /// IA32_APIC_BASE.
    pub(crate) base: u64,
    pub(crate) regs: Registers,
    pub(crate) timer: Timer,
    /// Taken from the descriptor or raised by the LVT, and not yet by the CPU.
    pub(crate) signals: Signals,
    pub(crate) start: StartState,
    /// Levels of LINT0 (bit 0) and LINT1 (bit 1).
    pub(crate) lines: u8,
}

/// What [`Lapic::sync`] found for the CPU. NMI and SMI are handed over with it: the APIC forgets
/// them. An INIT voids the NMIs and SMIs that the CPU has not taken, so handle it first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "NMIs and SMIs in here are reported once"]
pub struct Synced {
    /// Vectors were taken from the descriptor: [`Lapic::pending`] may have a new answer.
    pub vectors: bool,
    /// NMIs since the last call, 0..=2.
    pub nmi: u8,
    /// An SMI since the last call.
    pub smi: bool,
    /// An INIT waits for [`Lapic::take_init`].
    pub init: bool,
    /// A start-up IPI waits for [`Lapic::take_sipi`].
    pub sipi: bool,
    /// An ExtINT message waits for [`Lapic::accept_extint`].
    pub extint: bool,
}

impl Lapic {
    /// A local APIC after power-up. An AP waits for its start-up IPI.
    ///
    /// # Errors
    /// [`ConfigError`] for an id or a frequency that cannot be.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let mut lapic = Lapic {
            config,
            base: 0,
            regs: Registers::RESET,
            timer: Timer::new(config.bus_hz, config.tsc_hz),
            signals: Signals::default(),
            start: StartState::Running,
            lines: 0,
        };
        lapic.power_up();
        Ok(lapic)
    }

    /// Moves what was posted into this APIC and publishes its priority for arbitration. To be
    /// called before each look at [`Lapic::pending`] and before the CPU sleeps.
    pub fn sync(&mut self, posted: &PostedInterrupts) -> Synced {
        let mut vectors = false;
        if let Some(taken) = posted.take() {
            // Level after edge: where both merge, the EOI must be broadcast, since an EOI that
            // nobody needs is harmless and one that is missing blocks a line for good.
            vectors |= self.accept_posted(Vectors(taken.edge), TriggerMode::Edge);
            vectors |= self.accept_posted(Vectors(taken.level), TriggerMode::Level);
            self.receive(taken.signals);
        }
        posted.publish_priority(self.ppr());
        Synced {
            vectors,
            nmi: core::mem::take(&mut self.signals.nmi),
            smi: core::mem::take(&mut self.signals.smi),
            init: self.signals.init,
            sipi: self.signals.sipi.is_some(),
            extint: self.signals.extint,
        }
    }

    /// The vector that the CPU would get now: the highest in IRR whose class is above PPR's.
    /// Looking changes nothing.
    pub fn pending(&self) -> Option<u8> {
        if self.mode() == ApicMode::Disabled {
            return None;
        }
        let vector = self.regs.irr.highest()?;
        (vector >> 4 > self.ppr() >> 4).then_some(vector)
    }

    /// The CPU took `vector`: it moves from IRR to ISR. Returns whether it was requested; if not,
    /// nothing happens.
    pub fn accept(&mut self, vector: u8) -> bool {
        let requested = self.regs.irr.contains(vector);
        if requested {
            self.regs.irr.remove(vector);
            self.regs.isr.insert(vector);
        }
        requested
    }

    /// End of interrupt ("Signaling Interrupt Servicing Completion"): the highest in-service
    /// vector is done. A level-triggered one is broadcast, and returned, unless the guest
    /// suppresses that (SVR bit 12) and sends directed EOIs itself. With nothing in service
    /// nothing happens.
    pub fn eoi(&mut self, events: &mut impl LapicEvents) -> Option<u8> {
        let vector = self.regs.isr.highest()?;
        self.regs.isr.remove(vector);
        self.end_of_interrupt(vector, events)
    }

    /// The part of an EOI that hardware with virtual-interrupt delivery leaves to software.
    pub(crate) fn end_of_interrupt(
        &mut self,
        vector: u8,
        events: &mut impl LapicEvents,
    ) -> Option<u8> {
        let level = self.regs.tmr.contains(vector);
        self.lint_eoi(vector);
        let broadcast = level && self.regs.svr & svr::SUPPRESS_EOI_BROADCAST == 0;
        if broadcast {
            events.eoi_broadcast(vector);
        }
        broadcast.then_some(vector)
    }

    /// Accepts one message into IRR, or counts its illegal vector. TMR follows the request that
    /// sets the IRR bit; a level request that merges with it makes it level ("Interrupt
    /// Acceptance for Fixed Interrupts").
    pub(crate) fn accept_vector(&mut self, vector: u8, trigger: TriggerMode) {
        if vector < FIRST_LEGAL_VECTOR {
            self.log_error(esr::RECEIVE_ILLEGAL_VECTOR);
            return;
        }
        let merged = self.regs.irr.contains(vector) && self.regs.tmr.contains(vector);
        self.regs.tmr.set(vector, trigger.is_level() || merged);
        self.regs.irr.insert(vector);
    }

    /// [`Lapic::accept_vector`] for a whole bitmap.
    fn accept_posted(&mut self, vectors: Vectors, trigger: TriggerMode) -> bool {
        // A sender's destination map may be older than the INIT or the write that turned this APIC
        // off. It accepts nothing any more: what entered IRR now would come out after the start.
        let off = self.mode() == ApicMode::Disabled || self.start == StartState::WaitForSipi;
        if vectors == Vectors::default() || off {
            return false;
        }
        if vectors.has_illegal() {
            self.log_error(esr::RECEIVE_ILLEGAL_VECTOR);
        }
        let regs = &mut self.regs;
        for word in 0..4 {
            let new = vectors.0[word] & if word == 0 { !ILLEGAL } else { !0 };
            let merged = new & regs.irr.0[word] & regs.tmr.0[word];
            regs.tmr.0[word] &= !new;
            regs.tmr.0[word] |= if trigger.is_level() { new } else { merged };
            regs.irr.0[word] |= new;
        }
        true
    }

    /// Takes signals that came after those already here.
    pub(crate) fn receive(&mut self, later: Signals) {
        self.signals = self.signals.then(Signals { local: 0, ..later });
        for lvt in LvtIndex::ALL {
            if later.local & 1 << lvt as u8 != 0 {
                let _ = self.set_local_intr(lvt);
            }
        }
        self.discard_early_sipi();
    }

    /// Processor priority register ("Task and Processor Priorities").
    pub fn ppr(&self) -> u8 {
        let isrv = self.regs.isr.highest().unwrap_or(0);
        if self.regs.tpr >> 4 >= isrv >> 4 {
            self.regs.tpr
        } else {
            isrv & 0xf0
        }
    }

    /// Arbitration priority register ("Arbitration Priority Register").
    pub(crate) fn apr(&self) -> u8 {
        let irrv = self.regs.irr.highest().unwrap_or(0) & 0xf0;
        let isrv = self.regs.isr.highest().unwrap_or(0) & 0xf0;
        let class = self.regs.tpr & 0xf0;
        if class >= irrv && class > isrv {
            self.regs.tpr
        } else {
            (class & isrv).max(irrv)
        }
    }

    /// Task priority register, 8 bits.
    pub fn tpr(&self) -> u8 {
        self.regs.tpr
    }

    /// CR8: bits 7:4 of the TPR, 0..=15.
    pub fn cr8(&self) -> u8 {
        self.regs.tpr >> 4
    }

    /// A write to CR8 (its low 4 bits) sets TPR bits 7:4 and clears 3:0 ("Interaction of Task
    /// Priorities between CR8 and APIC").
    pub fn set_cr8(&mut self, cr8: u8) {
        self.regs.tpr = cr8 << 4;
    }

    /// When [`Lapic::advance`] has something to do, in ns; `None` while the timer cannot
    /// interrupt. Changes with every register write and with `advance`.
    pub fn next_deadline(&self) -> Option<u64> {
        let masked = Lvt::from_bits(self.regs.lvt[LvtIndex::Timer as usize]).masked();
        if masked {
            return None;
        }
        self.timer.next_deadline()
    }

    /// Lets the timer catch up with `now`. However many periods passed, at most one interrupt is
    /// requested; their number is returned.
    pub fn advance(&mut self, now: Now) -> u64 {
        let expired = self.timer.advance(now);
        if expired != 0 {
            let _ = self.fire(LvtIndex::Timer);
        }
        expired
    }

    /// The guest's TSC was written or its rate changed: a TSC deadline is due at another
    /// nanosecond now.
    pub fn tsc_changed(&mut self, now: Now) {
        self.timer.tsc_changed(now);
    }

    /// The 32-bit APIC id.
    pub fn id(&self) -> u32 {
        self.config.id
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Logical destination register, in the layout of the current mode.
    pub fn ldr(&self) -> u32 {
        match self.mode() {
            ApicMode::X2apic => x2apic_ldr(self.config.id),
            _ => self.regs.ldr,
        }
    }

    /// This APIC's row for [`DestinationMap::new`](crate::DestinationMap::new).
    pub fn destination_entry(&self) -> DestinationEntry {
        DestinationEntry {
            id: self.config.id,
            mode: self.mode(),
            ldr: self.regs.ldr,
            dfr: self.regs.dfr,
            software_enabled: self.software_enabled(),
        }
    }

    /// SVR bit 8.
    pub fn software_enabled(&self) -> bool {
        self.regs.svr & svr::ENABLE != 0
    }

    /// The spurious interrupt's vector: SVR bits 7:0.
    pub fn spurious_vector(&self) -> u8 {
        self.regs.svr as u8
    }

    /// IRR, bit n of the whole is vector n.
    pub fn irr(&self) -> [u64; 4] {
        self.regs.irr.0
    }

    /// ISR, bit n of the whole is vector n.
    pub fn isr(&self) -> [u64; 4] {
        self.regs.isr.0
    }

    /// TMR, bit n of the whole is vector n.
    pub fn tmr(&self) -> [u64; 4] {
        self.regs.tmr.0
    }

    /// IA32_APIC_BASE after reset.
    pub(crate) fn reset_base(config: &Config) -> u64 {
        ApicBase::new()
            .with_frame(DEFAULT_BASE / PAGE_SIZE)
            .with_enable(true)
            .with_bsp(config.bsp)
            .into_bits()
    }
}
