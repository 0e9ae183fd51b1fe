// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which hypervisor calls an irqchip mode allows.
//!
//! KVM can keep all interrupt controllers in the kernel, the LAPICs only, or none, and each
//! mode has its own set of legal calls. Most wrong calls fail with an errno, but some are
//! accepted and lose the interrupt, or leave the caller waiting for an exit that never comes.
//! [`IrqchipMode::check`] refuses both kinds before the hypervisor, and so the guest, sees them.
//!
//! Source: Linux, Documentation/virt/kvm/api.rst, each call's own section, and what the kernel
//! answers where that text is silent.

/// Who emulates the interrupt controllers of a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum IrqchipMode {
    /// The VMM emulates PIC, IOAPIC and LAPICs; no irqchip is ever created in the kernel.
    #[default]
    User,
    /// The VMM emulates PIC and IOAPIC, the kernel the LAPICs (`KVM_CAP_SPLIT_IRQCHIP`).
    Split,
    /// The kernel emulates all of them (`KVM_CREATE_IRQCHIP`).
    Kernel,
}

/// A call, or a use of a `kvm_run` field, whose legality depends on the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `KVM_INTERRUPT` while no interrupt is queued.
    Interrupt,
    /// `KVM_INTERRUPT` while an earlier one has not entered the guest.
    InterruptWhilePending,
    /// `kvm_run.request_interrupt_window`.
    RequestInterruptWindow,
    /// `kvm_run.cr8` as the guest's task priority at the next entry.
    RunCr8,
    /// `KVM_NMI`.
    Nmi,
    /// `KVM_IRQ_LINE` and `KVM_IRQ_LINE_STATUS` of a GSI that leads to a PIC or IOAPIC pin.
    IrqLine,
    /// `KVM_IRQ_LINE` and `KVM_IRQ_LINE_STATUS` of a GSI that leads to an MSI.
    IrqLineMsi,
    /// `KVM_SIGNAL_MSI`.
    SignalMsi,
    /// `KVM_SET_GSI_ROUTING` with MSI routes only.
    SetGsiRoutingMsi,
    /// `KVM_SET_GSI_ROUTING` with a route to a PIC or IOAPIC pin.
    SetGsiRoutingPin,
    /// `KVM_IRQFD` without resampling.
    Irqfd,
    /// `KVM_IRQFD` with `KVM_IRQFD_FLAG_RESAMPLE`.
    IrqfdResample,
    /// `KVM_CREATE_IRQCHIP` once the mode is settled and a vCPU exists.
    CreateIrqchip,
    /// `KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP)` once the mode is settled and a vCPU exists.
    EnableSplitIrqchip,
    /// `KVM_GET_IRQCHIP`: PIC or IOAPIC state.
    GetIrqchip,
    /// `KVM_SET_IRQCHIP`.
    SetIrqchip,
    /// `KVM_CREATE_PIT2`, the first one.
    CreatePit2,
    /// `KVM_GET_PIT2` of a machine that created a PIT if it could.
    GetPit2,
    /// `KVM_SET_PIT2` of a machine that created a PIT if it could.
    SetPit2,
    /// `KVM_GET_LAPIC`.
    GetLapic,
    /// `KVM_SET_LAPIC`.
    SetLapic,
    /// `KVM_SET_VAPIC_ADDR`.
    SetVapicAddr,
    /// `KVM_GET_MP_STATE`.
    GetMpState,
    /// `KVM_SET_MP_STATE` with `KVM_MP_STATE_RUNNABLE`.
    SetMpStateRunnable,
    /// `KVM_SET_MP_STATE` with any state that waits: uninitialized, INIT received, SIPI
    /// received, halted.
    SetMpStateWaiting,
    /// `KVM_SET_MSRS` of IA32_TSC_DEADLINE.
    SetTscDeadline,
}

/// Errors by which KVM refuses calls, with Linux's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Errno {
    /// No such file or directory, 2.
    Enoent = 2,
    /// No such device or address, 6.
    Enxio = 6,
    /// File exists, 17.
    Eexist = 17,
    /// Invalid argument, 22.
    Einval = 22,
}

/// How KVM answers a call in some mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does what it says.
    Works,
    /// It fails with this error.
    Fails(Errno),
    /// It reports success and harms the guest, for this reason.
    Harms(Harm),
}

/// What goes wrong although KVM accepts the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Harm {
    /// The interrupt that was queued before is overwritten.
    Overwrites,
    /// The field is ignored: the exit that it asks for never comes.
    NoExit,
    /// The value is ignored: the LAPIC in the kernel has its own.
    NoEffect,
    /// The interrupt goes nowhere: the pins are not in the kernel.
    Lost,
}

/// A call that the mode does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call:?} is illegal with the irqchip mode {mode:?}: {}", .why)]
pub struct IllegalCall {
    /// The mode.
    pub mode: IrqchipMode,
    /// The call.
    pub call: Call,
    /// What KVM would have answered.
    pub why: Why,
}

/// Why a call is illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// KVM refuses it with this error.
    #[error("KVM answers {0:?}")]
    Refused(Errno),
    /// KVM accepts it, to the guest's harm.
    #[error("KVM accepts it, but {}", .0.text())]
    Harmful(Harm),
}

impl IrqchipMode {
    /// Every mode.
    pub const ALL: [IrqchipMode; 3] = [IrqchipMode::User, IrqchipMode::Split, IrqchipMode::Kernel];

    /// Whether `call` is legal in this mode.
    ///
    /// # Errors
    /// [`IllegalCall`] where KVM would refuse it or accept it and harm the guest.
    pub const fn check(self, call: Call) -> Result<(), IllegalCall> {
        let why = match self.answer(call) {
            Answer::Works => return Ok(()),
            Answer::Fails(errno) => Why::Refused(errno),
            Answer::Harms(harm) => Why::Harmful(harm),
        };
        Err(IllegalCall { mode: self, call, why })
    }

    /// KVM's own answer to `call` in this mode.
    pub const fn answer(self, call: Call) -> Answer {
        let [user, split, kernel] = call.answers();
        match self {
            IrqchipMode::User => user,
            IrqchipMode::Split => split,
            IrqchipMode::Kernel => kernel,
        }
    }

    /// Whether the LAPICs are the kernel's.
    pub const fn lapic_in_kernel(self) -> bool {
        !matches!(self, IrqchipMode::User)
    }

    /// Whether PIC and IOAPIC are the kernel's.
    pub const fn pins_in_kernel(self) -> bool {
        matches!(self, IrqchipMode::Kernel)
    }
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 26] = [
        Call::Interrupt,
        Call::InterruptWhilePending,
        Call::RequestInterruptWindow,
        Call::RunCr8,
        Call::Nmi,
        Call::IrqLine,
        Call::IrqLineMsi,
        Call::SignalMsi,
        Call::SetGsiRoutingMsi,
        Call::SetGsiRoutingPin,
        Call::Irqfd,
        Call::IrqfdResample,
        Call::CreateIrqchip,
        Call::EnableSplitIrqchip,
        Call::GetIrqchip,
        Call::SetIrqchip,
        Call::CreatePit2,
        Call::GetPit2,
        Call::SetPit2,
        Call::GetLapic,
        Call::SetLapic,
        Call::SetVapicAddr,
        Call::GetMpState,
        Call::SetMpStateRunnable,
        Call::SetMpStateWaiting,
        Call::SetTscDeadline,
    ];

    /// The matrix: KVM's answers in user, split and kernel mode.
    #[rustfmt::skip]
    const fn answers(self) -> [Answer; 3] {
        use Answer::{Fails, Harms, Works};
        use Errno::{Eexist, Einval, Enoent, Enxio};
        match self {
            //                                User                      Split                  Kernel
            Call::Interrupt              => [Works,                    Works,                 Fails(Enxio)],
            Call::InterruptWhilePending  => [Harms(Harm::Overwrites),  Fails(Eexist),         Fails(Enxio)],
            Call::RequestInterruptWindow => [Works,                    Works,                 Harms(Harm::NoExit)],
            Call::RunCr8                 => [Works,                    Harms(Harm::NoEffect), Harms(Harm::NoEffect)],
            Call::Nmi                    => [Works,                    Works,                 Works],
            Call::IrqLine                => [Fails(Enxio),             Harms(Harm::Lost),     Works],
            Call::IrqLineMsi             => [Fails(Enxio),             Works,                 Works],
            Call::SignalMsi              => [Fails(Einval),            Works,                 Works],
            Call::SetGsiRoutingMsi       => [Fails(Einval),            Works,                 Works],
            Call::SetGsiRoutingPin       => [Fails(Einval),            Fails(Einval),         Works],
            Call::Irqfd                  => [Fails(Einval),            Works,                 Works],
            Call::IrqfdResample          => [Fails(Einval),            Fails(Einval),         Works],
            Call::CreateIrqchip          => [Fails(Einval),            Fails(Eexist),         Fails(Eexist)],
            Call::EnableSplitIrqchip     => [Fails(Eexist),            Fails(Eexist),         Fails(Eexist)],
            Call::GetIrqchip             => [Fails(Enxio),             Fails(Enxio),          Works],
            Call::SetIrqchip             => [Fails(Enxio),             Fails(Enxio),          Works],
            Call::CreatePit2             => [Fails(Enoent),            Fails(Enoent),         Works],
            Call::GetPit2                => [Fails(Enxio),             Fails(Enxio),          Works],
            Call::SetPit2                => [Fails(Enxio),             Fails(Enxio),          Works],
            Call::GetLapic               => [Fails(Einval),            Works,                 Works],
            Call::SetLapic               => [Fails(Einval),            Works,                 Works],
            Call::SetVapicAddr           => [Fails(Einval),            Works,                 Works],
            Call::GetMpState             => [Works,                    Works,                 Works],
            Call::SetMpStateRunnable     => [Works,                    Works,                 Works],
            Call::SetMpStateWaiting      => [Fails(Einval),            Works,                 Works],
            Call::SetTscDeadline         => [Harms(Harm::NoEffect),    Works,                 Works],
        }
    }
}

impl Errno {
    /// Linux's number.
    pub const fn raw(self) -> i32 {
        self as i32
    }
}

impl Harm {
    const fn text(self) -> &'static str {
        match self {
            Harm::Overwrites => "the interrupt queued before is lost",
            Harm::NoExit => "the exit never comes",
            Harm::NoEffect => "the value has no effect",
            Harm::Lost => "the interrupt goes nowhere",
        }
    }
}
