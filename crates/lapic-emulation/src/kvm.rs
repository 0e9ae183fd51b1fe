// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! State to and from `KVM_GET_LAPIC`, `KVM_SET_LAPIC` and `KVM_{GET,SET}_MP_STATE` (Linux,
//! `Documentation/virt/kvm/api.rst`).

use kvm_bindings::{
    kvm_lapic_state, kvm_mp_state, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED,
    KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED,
};

use crate::base::ApicMode;
use crate::init::StartState;
use crate::lapic::Lapic;
use crate::spec::{dfr, reg, tdcr, timer_mode, Icr, Lvt, LvtIndex};
use crate::state::{LapicState, StateError, TimerState};
use crate::timer::Now;

/// How the page's id register holds the id in x2APIC mode (in xAPIC mode always in bits 31:24).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdFormat {
    /// 8 bits in 31:24: KVM's default.
    #[default]
    Xapic8,
    /// All 32 bits: with `KVM_X2APIC_API_USE_32BIT_IDS`.
    X2apic32,
}

impl Lapic {
    /// The register page as `KVM_GET_LAPIC` returns it.
    ///
    /// It does not hold IA32_APIC_BASE, IA32_TSC_DEADLINE, the errors that ESR has not latched,
    /// parts of a count, pending signals, the start state or the LINT levels:
    /// [`Lapic::state`] does.
    pub fn kvm_state(&self, format: IdFormat, now: Now) -> kvm_lapic_state {
        let mut page = kvm_lapic_state::default();
        for offset in (0..page.regs.len() as u16).step_by(16) {
            if let Ok(value) = self.read_register(offset, now) {
                write(&mut page, offset, value);
            }
        }
        write(&mut page, reg::ID, self.kvm_id(format, self.mode()));
        page
    }

    /// Takes over a register page as `KVM_SET_LAPIC` does. What the page lacks stays as it is;
    /// IA32_APIC_BASE in particular has to be right before, since the page's layout depends
    /// on the mode. Build the destination map after this.
    ///
    /// # Errors
    /// [`StateError`], and nothing has changed.
    pub fn set_kvm_state(
        &mut self,
        page: &kvm_lapic_state,
        format: IdFormat,
        now: Now,
    ) -> Result<(), StateError> {
        let (expected, found) = (self.kvm_id(format, self.mode()), read(page, reg::ID));
        if expected != found {
            return Err(StateError::Id { expected, found });
        }
        let mut state = self.state(now);
        state.load_page(page, self.mode());
        if !self.config.cmci {
            state.lvt[LvtIndex::Cmci as usize] = Lvt::RESET;
        }
        *self = Lapic::from_state(self.config, &state, now)?;
        Ok(())
    }

    fn kvm_id(&self, format: IdFormat, mode: ApicMode) -> u32 {
        match (format, mode) {
            (IdFormat::X2apic32, ApicMode::X2apic) => self.config.id,
            _ => self.config.id << 24,
        }
    }
}

impl LapicState {
    fn load_page(&mut self, page: &kvm_lapic_state, mode: ApicMode) {
        self.tpr = read(page, reg::TPR) as u8;
        self.svr = read(page, reg::SVR);
        self.esr = read(page, reg::ESR);
        self.dfr = read(page, reg::DFR) | dfr::ONES;
        // In x2APIC mode LDR follows from the id.
        self.ldr = if mode == ApicMode::X2apic { 0 } else { read(page, reg::LDR) };
        self.isr = read_vectors(page, reg::ISR);
        self.tmr = read_vectors(page, reg::TMR);
        self.irr = read_vectors(page, reg::IRR);
        let icr_low = read(page, reg::ICR) & !Icr::DELIVERY_STATUS;
        self.icr = u64::from(icr_low) | u64::from(read(page, reg::ICR_HIGH)) << 32;
        for lvt in LvtIndex::ALL {
            self.lvt[lvt as usize] = read(page, lvt.offset()) & !0x1000;
        }
        self.divide = read(page, reg::TDCR);
        self.load_timer(page);
    }

    fn load_timer(&mut self, page: &kvm_lapic_state) {
        let mode = Lvt::from_bits(self.lvt[LvtIndex::Timer as usize]).timer_mode();
        if mode > timer_mode::PERIODIC {
            self.initial_count = 0;
            if !matches!(self.timer, TimerState::Deadline(_)) || mode != timer_mode::TSC_DEADLINE {
                self.timer = TimerState::Stopped;
            }
            return;
        }
        self.initial_count = read(page, reg::TMICT);
        // A current count above the initial one cannot be: KVM clamps it.
        let current = read(page, reg::TMCCT).min(self.initial_count);
        let counts = u64::from(self.initial_count - current);
        self.timer = match (current, self.timer) {
            (0, _) => TimerState::Stopped,
            // The part of a count that the page lacks is still known when nothing else changed.
            (_, TimerState::Counting { counts: known, nanocycles })
                if known == counts && nanocycles < self.count_nanocycles() =>
            {
                self.timer
            }
            _ => TimerState::Counting { counts, nanocycles: 0 },
        };
    }

    fn count_nanocycles(&self) -> u64 {
        u64::from(tdcr::divisor(self.divide)) * 1_000_000_000
    }
}

/// A halted CPU is a running one here: halting is not the APIC's.
impl From<StartState> for kvm_mp_state {
    fn from(state: StartState) -> Self {
        let mp_state = match state {
            StartState::Running => KVM_MP_STATE_RUNNABLE,
            StartState::WaitForSipi => KVM_MP_STATE_INIT_RECEIVED,
        };
        kvm_mp_state { mp_state }
    }
}

/// A `kvm_mp_state` that a local APIC has no counterpart for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("multiprocessing state {0} is not one of runnable, uninitialized, init-received, halted")]
pub struct InvalidMpState(pub u32);

impl TryFrom<kvm_mp_state> for StartState {
    type Error = InvalidMpState;

    fn try_from(state: kvm_mp_state) -> Result<Self, InvalidMpState> {
        match state.mp_state {
            KVM_MP_STATE_RUNNABLE | KVM_MP_STATE_HALTED => Ok(StartState::Running),
            KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED => Ok(StartState::WaitForSipi),
            other => Err(InvalidMpState(other)),
        }
    }
}

fn read(page: &kvm_lapic_state, offset: u16) -> u32 {
    let at = usize::from(offset);
    u32::from_le_bytes(core::array::from_fn(|i| page.regs[at + i] as u8))
}

fn write(page: &mut kvm_lapic_state, offset: u16, value: u32) {
    let at = usize::from(offset);
    for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
        page.regs[at + i] = byte as core::ffi::c_char;
    }
}

fn read_vectors(page: &kvm_lapic_state, first: u16) -> [u64; 4] {
    core::array::from_fn(|word| {
        let low = first + 32 * word as u16;
        u64::from(read(page, low)) | u64::from(read(page, low + 16)) << 32
    })
}
