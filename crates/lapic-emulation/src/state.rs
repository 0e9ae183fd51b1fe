// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved state: plain data, validated on the way back (ALL-3).

use crate::base::ApicMode;
use crate::config::{Config, ConfigError};
use crate::init::StartState;
use crate::lapic::{Lapic, Registers};
use crate::signals::Signals;
use crate::spec::{dfr, esr, svr, tdcr, timer_mode, Icr, Lvt, LvtIndex};
use crate::timer::{Armed, Now, Timer};
use crate::vectors::Vectors;

/// Everything that a local APIC remembers.
///
/// Requests that its owner has not taken yet are in
/// [`PostedState`](crate::PostedState).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LapicState {
    /// APIC id, 32 bits; must be the configuration's.
    pub id: u32,
    /// IA32_APIC_BASE.
    pub apic_base: u64,
    /// Task priority register, 8 bits.
    pub tpr: u8,
    /// Logical destination register of xAPIC mode (bits 31:24).
    pub ldr: u32,
    /// Destination format register (bits 27:0 are 1).
    pub dfr: u32,
    /// Spurious interrupt vector register.
    pub svr: u32,
    /// Interrupt command register, 64 bits.
    pub icr: u64,
    /// Local vector table, by [`LvtIndex`].
    pub lvt: [u32; LvtIndex::COUNT],
    /// Error status register as it reads.
    pub esr: u32,
    /// Errors since ESR was written last.
    pub esr_pending: u32,
    /// Interrupt request register; bit n of the whole is vector n.
    pub irr: [u64; 4],
    /// In-service register.
    pub isr: [u64; 4],
    /// Trigger mode register.
    pub tmr: [u64; 4],
    /// Initial-count register.
    pub initial_count: u32,
    /// Divide configuration register.
    pub divide: u32,
    /// What the timer does.
    pub timer: TimerState,
    /// Signals that wait for the CPU.
    pub signals: Signals,
    /// Whether the CPU waits for its start-up IPI.
    pub start: StartState,
    /// Levels of LINT0 (bit 0) and LINT1 (bit 1).
    pub lines: u8,
}

/// The timer at the moment of saving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TimerState {
    /// Nothing counts.
    #[default]
    Stopped,
    /// The counter runs: the present period is `counts` counts and `nanocycles` 10⁻⁹ bus cycles
    /// (less than one count) old. A period or more, if an expiry is still to be seen.
    Counting {
        /// Whole counts since the period began; less than twice the initial count.
        counts: u64,
        /// The rest, in 10⁻⁹ bus cycles; less than `divisor * 10⁹`.
        nanocycles: u64,
    },
    /// IA32_TSC_DEADLINE holds this value, not 0.
    Deadline(u64),
}

/// The state right after power-up of a BSP with id 0.
impl Default for LapicState {
    fn default() -> Self {
        let config = Config::default();
        LapicState {
            id: config.id,
            apic_base: Lapic::reset_base(&config),
            tpr: 0,
            ldr: 0,
            dfr: dfr::RESET,
            svr: svr::RESET,
            icr: 0,
            lvt: [Lvt::RESET; LvtIndex::COUNT],
            esr: 0,
            esr_pending: 0,
            irr: [0; 4],
            isr: [0; 4],
            tmr: [0; 4],
            initial_count: 0,
            divide: 0,
            timer: TimerState::Stopped,
            signals: Signals::default(),
            start: StartState::Running,
            lines: 0,
        }
    }
}

/// A [`LapicState`] that no local APIC of that configuration can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The configuration itself is impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state is another APIC's.
    #[error("the state of APIC {found:#x} cannot be that of APIC {expected:#x}")]
    Id {
        /// The configuration's id.
        expected: u32,
        /// The state's.
        found: u32,
    },
    /// IA32_APIC_BASE has reserved bits or an invalid mode.
    #[error("IA32_APIC_BASE {0:#x} is invalid")]
    ApicBase(u64),
    /// A register has reserved bits set, or reads as no write can make it.
    #[error("register {name} cannot hold {value:#x}")]
    Register {
        /// The register's name.
        name: &'static str,
        /// What the state says.
        value: u64,
    },
    /// IRR, ISR or TMR hold a vector below 16.
    #[error("{0} holds a vector below 16")]
    Vector(&'static str),
    /// The timer's state does not fit its registers.
    #[error("the timer state {0:?} does not fit its mode, initial count and divisor")]
    Timer(TimerState),
    /// More than two NMIs, or a start-up IPI that nothing can wait for.
    #[error("the signals {0:?} cannot be pending")]
    Signals(Signals),
}

impl Lapic {
    /// Everything it remembers. The timer's state is relative to `now`.
    pub fn state(&self, now: Now) -> LapicState {
        // All fields by name, so that a new one cannot be forgotten.
        let Lapic { config, base, regs, timer, signals, start, lines } = self;
        let Registers { tpr, ldr, dfr, svr, icr, lvt, esr, esr_pending, irr, isr, tmr } = regs;
        LapicState {
            id: config.id,
            apic_base: *base,
            tpr: *tpr,
            ldr: *ldr,
            dfr: *dfr,
            svr: *svr,
            icr: *icr,
            lvt: *lvt,
            esr: *esr,
            esr_pending: *esr_pending,
            irr: irr.0,
            isr: isr.0,
            tmr: tmr.0,
            initial_count: timer.initial,
            divide: timer.divide,
            timer: timer.state(now),
            signals: *signals,
            start: *start,
            lines: *lines,
        }
    }

    /// The local APIC that `state` describes, at `now`. An expiry that was due when the state was
    /// saved comes with the next [`Lapic::advance`].
    ///
    /// # Errors
    /// [`StateError`] says what cannot be.
    pub fn from_state(config: Config, state: &LapicState, now: Now) -> Result<Self, StateError> {
        let mut lapic = Lapic::new(config)?;
        lapic.check(state)?;
        lapic.base = state.apic_base;
        lapic.regs = Registers {
            tpr: state.tpr,
            ldr: state.ldr,
            dfr: state.dfr,
            svr: state.svr,
            icr: state.icr,
            lvt: state.lvt,
            esr: state.esr,
            esr_pending: state.esr_pending,
            irr: Vectors(state.irr),
            isr: Vectors(state.isr),
            tmr: Vectors(state.tmr),
        };
        lapic.timer.restore(state, now)?;
        lapic.signals = state.signals;
        lapic.start = state.start;
        lapic.lines = state.lines;
        Ok(lapic)
    }

    fn check(&self, state: &LapicState) -> Result<(), StateError> {
        let LapicState { id, apic_base, .. } = *state;
        if id != self.config.id {
            return Err(StateError::Id { expected: self.config.id, found: id });
        }
        let mode = ApicMode::of(apic_base).filter(|_| apic_base & self.base_reserved() == 0);
        let mode = mode.ok_or(StateError::ApicBase(apic_base))?;
        self.check_registers(state, mode)?;
        check_vectors(state)?;
        check_signals(state)
    }

    fn check_registers(&self, state: &LapicState, mode: ApicMode) -> Result<(), StateError> {
        let icr_bits = match mode {
            ApicMode::X2apic => !0xffff_ffff | u64::from(Icr::WRITABLE_LOW),
            _ => u64::from(Icr::WRITABLE_HIGH_XAPIC) << 32 | u64::from(Icr::WRITABLE_LOW),
        };
        let svr_bits = svr::writable(self.config.directed_eoi);
        let mut fields = [
            ("LDR", state.ldr.into(), 0xff00_0000),
            ("DFR", (state.dfr ^ dfr::ONES).into(), u64::from(!dfr::ONES)),
            ("SVR", state.svr.into(), svr_bits.into()),
            ("ICR", state.icr, icr_bits),
            ("ESR", state.esr.into(), esr::ALL.into()),
            ("pending ESR", state.esr_pending.into(), esr::ALL.into()),
            ("TDCR", state.divide.into(), tdcr::WRITABLE.into()),
            ("LINT levels", state.lines.into(), 3),
        ]
        .into_iter()
        .chain(LvtIndex::ALL.into_iter().map(|lvt| {
            // Delivery status (bit 12) is always idle; remote IRR is LINT0's.
            let remote_irr = if lvt == LvtIndex::Lint0 { 0 } else { 0x4000 };
            let bits = lvt.defined_bits(self.config.tsc_deadline) & !0x1000 & !remote_irr;
            ("LVT", state.lvt[lvt as usize].into(), bits.into())
        }));
        match fields.find(|(_, value, bits)| value & !bits != 0) {
            Some((name, value, _)) => Err(StateError::Register { name, value }),
            None => Ok(()),
        }
    }
}

fn check_vectors(state: &LapicState) -> Result<(), StateError> {
    let sets = [("IRR", state.irr), ("ISR", state.isr), ("TMR", state.tmr)];
    match sets.iter().find(|(_, bits)| Vectors(*bits).has_illegal()) {
        Some((name, _)) => Err(StateError::Vector(name)),
        None => Ok(()),
    }
}

fn check_signals(state: &LapicState) -> Result<(), StateError> {
    let signals = state.signals;
    let waits = signals.init || state.start == StartState::WaitForSipi;
    if signals.nmi > 2 || signals.local != 0 || (signals.sipi.is_some() && !waits) {
        return Err(StateError::Signals(signals));
    }
    Ok(())
}

impl Timer {
    fn state(&self, now: Now) -> TimerState {
        match self.armed {
            Armed::No => TimerState::Stopped,
            Armed::Deadline { tsc, .. } => TimerState::Deadline(tsc),
            Armed::Counter { .. } => {
                // Several missed periods count as one.
                let (age, period) = (self.age(now.ns), self.period().max(1));
                let age = if age < period { age } else { period + age % period };
                // Below 2 * 2^32 counts and 128 * 10^9 nanocycles.
                TimerState::Counting {
                    counts: (age / self.count()) as u64,
                    nanocycles: (age % self.count()) as u64,
                }
            }
        }
    }

    fn restore(&mut self, state: &LapicState, now: Now) -> Result<(), StateError> {
        self.mode = Lvt::from_bits(state.lvt[LvtIndex::Timer as usize]).timer_mode();
        self.initial = state.initial_count;
        self.divide = state.divide;
        let invalid = Err(StateError::Timer(state.timer));
        match state.timer {
            TimerState::Stopped => {}
            TimerState::Deadline(tsc) => {
                if tsc == 0 || self.mode != timer_mode::TSC_DEADLINE {
                    return invalid;
                }
                self.set_deadline(tsc, now);
            }
            TimerState::Counting { counts, nanocycles } => {
                let fits = counts < 2 * u64::from(self.initial)
                    && u128::from(nanocycles) < self.count()
                    && self.mode <= timer_mode::PERIODIC;
                if !fits {
                    return invalid;
                }
                let phase = u128::from(counts) * self.count() + u128::from(nanocycles);
                self.armed = Armed::Counter { origin: now.ns, phase };
            }
        }
        if self.mode > timer_mode::PERIODIC && self.initial != 0 {
            return invalid;
        }
        Ok(())
    }
}
