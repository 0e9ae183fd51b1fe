// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the processor's state lets through.

/// What the vCPU is doing (Intel SDM vol. 3, "Guest Non-Register State", activity state).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Executing instructions.
    #[default]
    Active,
    /// In HLT: any event that is let through ends it.
    Halted,
    /// Shut down by a triple fault: NMI, SMI and INIT still get through.
    Shutdown,
    /// After INIT: only a SIPI gets through.
    WaitForSipi,
}

/// The interrupt shadow: one instruction after STI, MOV SS or POP SS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Shadow {
    /// Blocking by STI.
    pub sti: bool,
    /// Blocking by MOV SS or POP SS.
    pub mov_ss: bool,
}

impl Shadow {
    /// No shadow.
    pub const NONE: Self = Shadow { sti: false, mov_ss: false };

    /// Whether any of the two is in force.
    pub const fn any(self) -> bool {
        self.sti || self.mov_ss
    }
}

/// The processor's state at an instruction boundary, as far as it decides which event gets
/// through. NMI blocking and SMM may be tracked by [`Events`](crate::Events) or reported here;
/// either blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interruptibility {
    /// RFLAGS.IF.
    pub interrupt_flag: bool,
    /// Interrupt shadow.
    pub shadow: Shadow,
    /// Blocking by NMI, as the processor reports it.
    pub nmi_blocked: bool,
    /// In system management mode, as the processor reports it.
    pub smm: bool,
    /// A debug trap on the instruction just finished waits for delivery by the processor
    /// itself: it comes before NMI and interrupts, not before SMI and INIT (SDM vol. 3, table
    /// "Priority Among Concurrent Events").
    pub pending_debug: bool,
    /// Everything is held back: SVM's GIF is 0.
    pub held: bool,
    /// The hypervisor takes no external interrupt for this entry: KVM's
    /// `ready_for_interrupt_injection` is 0 or its slot is taken.
    pub slot_busy: bool,
    /// What the vCPU is doing.
    pub activity: Activity,
}

impl Interruptibility {
    /// Executing with RFLAGS.IF set and nothing in the way.
    pub const OPEN: Self = Interruptibility { interrupt_flag: true, ..Self::CLOSED };

    /// Executing with RFLAGS.IF clear and nothing else in the way.
    pub const CLOSED: Self = Interruptibility {
        interrupt_flag: false,
        shadow: Shadow::NONE,
        nmi_blocked: false,
        smm: false,
        pending_debug: false,
        held: false,
        slot_busy: false,
        activity: Activity::Active,
    };

    /// Whether a maskable interrupt gets through (ExtINT or the LAPIC's; priorities are the
    /// controllers' business).
    pub const fn interrupt_allowed(&self) -> bool {
        self.interrupt_flag
            && !self.shadow.any()
            && !self.pending_debug
            && !self.held
            && !self.slot_busy
            && matches!(self.activity, Activity::Active | Activity::Halted)
    }

    /// Whether an NMI gets through. The STI shadow holds it back too: whether it does is up to
    /// the processor, and some refuse the entry otherwise (SDM vol. 3, "Checks on Guest
    /// Non-Register State").
    pub const fn nmi_allowed(&self) -> bool {
        !self.nmi_blocked
            && !self.smm
            && !self.shadow.any()
            && !self.pending_debug
            && !self.held
            && !matches!(self.activity, Activity::WaitForSipi)
    }

    /// Whether an SMI gets through.
    pub const fn smi_allowed(&self) -> bool {
        !self.smm && !self.held && !matches!(self.activity, Activity::WaitForSipi)
    }

    /// Whether an INIT gets through; in SMM it stays latched.
    pub const fn init_allowed(&self) -> bool {
        !self.smm && !self.held
    }

    /// Whether a start-up IPI gets through.
    pub const fn sipi_allowed(&self) -> bool {
        matches!(self.activity, Activity::WaitForSipi)
    }
}
