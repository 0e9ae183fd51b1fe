// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What one thread can ask of a vCPU: KVM's `KVM_REQ_*` and ACRN's `ACRN_REQUEST_*`, by name.
//!
//! Sources: Linux `arch/x86/include/asm/kvm_host.h` and `include/linux/kvm_host.h` (numbers and
//! flags), `vcpu_enter_guest()` (order), Documentation/virt/kvm/vcpu-requests.rst (semantics);
//! ACRN `hypervisor/include/arch/x86/asm/guest/vcpu.h` ("Event ID supported for virtual
//! interrupt injection").

use core::fmt;

/// `KVM_REQUEST_ARCH_BASE`: the number of the first x86 request.
const ARCH: u8 = 8;

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident: kvm $kvm:expr, acrn $acrn:expr, $scope:ident, $wake:ident;)*) => {
        /// One request. The discriminant is the mailbox bit, and the order in which requests
        /// are handled: [`Request::VmDead`] first, [`Request::Event`] last.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Request { $($(#[$doc])* $name,)* }

        impl Request {
            /// All requests in the order of handling.
            pub const ALL: &'static [Request] = &[$(Request::$name),*];

            /// Number of the `KVM_REQ_*` bit (x86 requests start at 8), if KVM has it.
            pub const fn kvm_bit(self) -> Option<u8> {
                match self { $(Request::$name => $kvm,)* }
            }

            /// `ACRN_REQUEST_*` id, if ACRN has it.
            pub const fn acrn_id(self) -> Option<u8> {
                match self { $(Request::$name => $acrn,)* }
            }

            const fn scope(self) -> Scope {
                match self { $(Request::$name => Scope::$scope,)* }
            }

            const fn wake(self) -> Wakeup {
                match self { $(Request::$name => Wakeup::$wake,)* }
            }
        }
    };
}

/// Who can do something about a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// A user-space VMM.
    User,
    /// The hypervisor that owns the page tables and the VMCS or VMCB.
    Kernel,
}

/// Whether a request ends a halt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wakeup {
    Wakes,
    /// `KVM_REQUEST_NO_WAKEUP`.
    Sleeps,
}

requests! {
    /// The VM is broken and must not run again. KVM returns `-EIO` from `KVM_RUN`; it does not
    /// wake halted vCPUs for it, this mailbox does: a VMM wants their threads back.
    VmDead: kvm Some(1), acrn None, User, Wakes;
    /// The VMM wants the vCPU's thread: pause, snapshot, shutdown. Neither KVM's nor ACRN's.
    Pause: kvm None, acrn None, User, Wakes;
    /// Kernel-internal. The dirty ring is nearly full: KVM exits with `KVM_EXIT_DIRTY_RING_FULL`.
    DirtyRingSoftFull: kvm Some(3), acrn None, Kernel, Wakes;
    /// Hypervisor-internal. Initialise the VMCS before the first entry.
    InitVmcs: kvm None, acrn Some(8), Kernel, Wakes;
    /// Kernel-internal. Map the pages that a restored nested state refers to.
    GetNestedStatePages: kvm Some(ARCH + 24), acrn None, Kernel, Wakes;
    /// Kernel-internal. Free page-table roots of an obsolete MMU generation.
    MmuFreeObsoleteRoots: kvm Some(ARCH + 31), acrn None, Kernel, Sleeps;
    /// Move the vCPU's timers to the CPU on which it now runs.
    MigrateTimer: kvm Some(ARCH), acrn None, User, Wakes;
    /// Kernel-internal. Recompute the VM's TSC master clock.
    MasterclockUpdate: kvm Some(ARCH + 13), acrn None, Kernel, Wakes;
    /// Kernel-internal. Keeps vCPUs out of the guest while the master clock changes; a barrier
    /// without handler.
    MclockInProgress: kvm Some(ARCH + 14), acrn None, Kernel, Sleeps;
    /// Kernel-internal. Update kvmclock on all vCPUs.
    GlobalClockUpdate: kvm Some(ARCH + 16), acrn None, Kernel, Wakes;
    /// Refresh this vCPU's paravirtual clock page.
    ClockUpdate: kvm Some(ARCH + 4), acrn None, User, Wakes;
    /// Kernel-internal. Synchronise shadow page-table roots.
    MmuSync: kvm Some(ARCH + 3), acrn None, Kernel, Wakes;
    /// Kernel-internal. Load a new page-table root.
    LoadMmuPgd: kvm Some(ARCH + 5), acrn None, Kernel, Wakes;
    /// Hypervisor-internal. Flush all of the VM's translations (INVEPT); ACRN's EPT_FLUSH.
    TlbFlush: kvm Some(0), acrn Some(5), Kernel, Sleeps;
    /// Kernel-internal. Flush the translations of the current context.
    TlbFlushCurrent: kvm Some(ARCH + 26), acrn None, Kernel, Wakes;
    /// Hypervisor-internal. Flush what the guest itself could flush (INVVPID); ACRN's
    /// VPID_FLUSH.
    TlbFlushGuest: kvm Some(ARCH + 27), acrn Some(7), Kernel, Sleeps;
    /// Kernel-internal. Flush the addresses that a Hyper-V hypercall queued.
    HvTlbFlush: kvm Some(ARCH + 32), acrn None, Kernel, Sleeps;
    /// Report a TPR access to the VMM (`KVM_EXIT_TPR_ACCESS`).
    ReportTprAccess: kvm Some(ARCH + 1), acrn None, User, Wakes;
    /// The guest triple-faulted: shutdown (`KVM_EXIT_SHUTDOWN`); ACRN's TRP_FAULT.
    TripleFault: kvm Some(ARCH + 2), acrn Some(6), User, Wakes;
    /// Halt until an asynchronous page fault completes.
    ApfHalt: kvm Some(ARCH + 7), acrn None, User, Wakes;
    /// Kernel-internal. Write the steal-time record.
    StealUpdate: kvm Some(ARCH + 8), acrn None, Kernel, Wakes;
    /// Hypervisor-internal. Wait until another vCPU's emulated WBINVD is done.
    WaitWbinvd: kvm None, acrn Some(9), Kernel, Wakes;
    /// Hypervisor-internal. Wait until another vCPU's split-locked access is emulated.
    SplitLock: kvm None, acrn Some(10), Kernel, Wakes;
    /// Hypervisor-internal. Run a function that another physical CPU asked for.
    SmpCall: kvm None, acrn Some(11), Kernel, Wakes;
    /// Queue a system management interrupt.
    Smi: kvm Some(ARCH + 12), acrn None, User, Wakes;
    /// Queue a non-maskable interrupt.
    Nmi: kvm Some(ARCH + 9), acrn Some(3), User, Wakes;
    /// Kernel-internal. Reprogram the virtual PMU's counters.
    Pmu: kvm Some(ARCH + 10), acrn None, Kernel, Wakes;
    /// Deliver the performance counter's LVT interrupt.
    Pmi: kvm Some(ARCH + 11), acrn None, User, Wakes;
    /// Report an EOI to the user-space IOAPIC (`KVM_EXIT_IOAPIC_EOI`, split irqchip).
    IoapicEoiExit: kvm Some(ARCH + 19), acrn None, User, Wakes;
    /// The IOAPIC's entries changed: recompute which vectors' EOIs must exit.
    ScanIoapic: kvm Some(ARCH + 15), acrn None, User, Sleeps;
    /// Load the recomputed EOI-exit bitmap; ACRN's EOI_EXIT_BITMAP_UPDATE.
    LoadEoiExitmap: kvm Some(ARCH + 23), acrn Some(4), User, Wakes;
    /// Kernel-internal. The APIC-access page moved.
    ApicPageReload: kvm Some(ARCH + 17), acrn None, Kernel, Sleeps;
    /// The guest reported a crash through Hyper-V's MSRs (`KVM_SYSTEM_EVENT_CRASH`).
    HvCrash: kvm Some(ARCH + 18), acrn None, User, Wakes;
    /// The guest asked for a reset through Hyper-V's MSR (`KVM_SYSTEM_EVENT_RESET`).
    HvReset: kvm Some(ARCH + 20), acrn None, User, Wakes;
    /// A Hyper-V hypercall or MSR needs the VMM (`KVM_EXIT_HYPERV`).
    HvExit: kvm Some(ARCH + 21), acrn None, User, Wakes;
    /// A Hyper-V synthetic timer expired.
    HvStimer: kvm Some(ARCH + 22), acrn None, User, Wakes;
    /// APICv or AVIC was inhibited or allowed again.
    ApicvUpdate: kvm Some(ARCH + 25), acrn None, User, Sleeps;
    /// An asynchronous page fault completed: tell the guest.
    ApfReady: kvm Some(ARCH + 28), acrn None, User, Wakes;
    /// Kernel-internal. The MSR filter changed: recompute intercepts
    /// (`KVM_REQ_MSR_FILTER_CHANGED`, later renamed `KVM_REQ_RECALC_INTERCEPTS`).
    MsrFilterChanged: kvm Some(ARCH + 29), acrn None, Kernel, Wakes;
    /// Kernel-internal. Page-modification logging was switched.
    UpdateCpuDirtyLogging: kvm Some(ARCH + 30), acrn None, Kernel, Sleeps;
    /// Kernel-internal. The encrypted state of an SEV-SNP guest's vCPU was replaced.
    UpdateProtectedGuestState: kvm Some(ARCH + 34), acrn None, Kernel, Wakes;
    /// Kernel-internal. End the halt; nothing else to do.
    Unblock: kvm Some(2), acrn None, Kernel, Wakes;
    /// An exception was queued (ACRN's EXCP).
    Exception: kvm None, acrn Some(0), User, Wakes;
    /// The PIC's INTR line may have risen (ACRN's EXTINT).
    ExtInt: kvm None, acrn Some(2), User, Wakes;
    /// Something about events changed: synchronise the LAPIC and decide anew (KVM's and ACRN's
    /// EVENT). INIT and SIPI come with it.
    Event: kvm Some(ARCH + 6), acrn Some(1), User, Wakes;
}

impl Request {
    /// The request behind a `KVM_REQ_*` number, 0..=63 without flag bits.
    pub fn from_kvm_bit(bit: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|request| request.kvm_bit() == Some(bit))
    }

    /// The request behind an `ACRN_REQUEST_*` id.
    pub fn from_acrn_id(id: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|request| request.acrn_id() == Some(id))
    }

    /// Whether only the hypervisor that owns page tables and VMCS or VMCB can act on it. Such a
    /// request never reaches a user-space VMM; a bare-metal hypervisor may use its bit.
    pub const fn is_kernel_internal(self) -> bool {
        matches!(self.scope(), Scope::Kernel)
    }

    /// Whether it ends a halt (KVM: not marked `KVM_REQUEST_NO_WAKEUP`). The others are seen
    /// when the vCPU runs again for another reason.
    pub const fn wakes(self) -> bool {
        matches!(self.wake(), Wakeup::Wakes)
    }

    /// The request's bit in [`Requests`].
    pub const fn mask(self) -> u64 {
        1 << self as u8
    }
}

/// A set of requests, a bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[must_use]
pub struct Requests(u64);

impl Requests {
    /// No request.
    pub const EMPTY: Self = Requests(0);
    /// Every request.
    pub const ALL: Self = Requests((1 << Request::ALL.len()) - 1);
    /// Those that end a halt.
    pub const WAKING: Self = Requests(waking());

    /// From bits; those that mean no request are dropped.
    pub const fn from_bits_truncate(bits: u64) -> Self {
        Requests(bits & Self::ALL.0)
    }

    /// Bit n: the request with discriminant n.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether no request is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `request` is in the set.
    pub const fn contains(self, request: Request) -> bool {
        self.0 & request.mask() != 0
    }

    /// Adds `request`.
    pub fn insert(&mut self, request: Request) {
        self.0 |= request.mask();
    }

    /// Removes `request` and says whether it was there.
    pub fn remove(&mut self, request: Request) -> bool {
        let there = self.contains(request);
        self.0 &= !request.mask();
        there
    }
}

const fn waking() -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < Request::ALL.len() {
        if Request::ALL[index].wakes() {
            bits |= Request::ALL[index].mask();
        }
        index += 1;
    }
    bits
}

/// Takes requests out of the set in the order of handling.
impl Iterator for Requests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let request = *Request::ALL.get(self.0.trailing_zeros() as usize)?;
        self.remove(request);
        Some(request)
    }
}

impl FromIterator<Request> for Requests {
    fn from_iter<I: IntoIterator<Item = Request>>(requests: I) -> Self {
        let mut set = Requests::EMPTY;
        requests.into_iter().for_each(|request| set.insert(request));
        set
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(*self).finish()
    }
}
