// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What waits for a vCPU: exception, NMI, SMI, INIT, SIPI, triple fault, and what was being
//! delivered when the vCPU left the guest.

use crate::decide::Injection;
use crate::event::{Event, SoftwareInterrupt};
use crate::exception::{Exception, Merged};

/// Who keeps NMI blocking and SMM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tracking {
    /// [`Events`] does: a delivered NMI blocks the next one until [`Events::iret`], an SMI
    /// enters SMM until [`Events::rsm`]. For hypervisors that intercept IRET and RSM, and for
    /// software CPUs.
    #[default]
    Here,
    /// The backend does (KVM_NMI and KVM_SMI; VMX with virtual NMIs, which reports its blocking
    /// in [`Interruptibility`](crate::Interruptibility)): handing an NMI over blocks nothing
    /// here.
    Backend,
}

/// The events of one vCPU, owned by its thread.
///
/// Interrupts are not queued here: the controllers hold them, and
/// [`decide`](Self::decide) gets them as arguments. Only one that was acknowledged and not
/// delivered stays here ([`interrupted`](Self::interrupted)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    pub(crate) triple_fault: bool,
    pub(crate) init: bool,
    pub(crate) sipi: Option<u8>,
    pub(crate) exception: Option<Slot>,
    /// An external or software interrupt that has to be delivered again.
    pub(crate) interrupt: Option<Vectoring>,
    pub(crate) nmi: Nmi,
    pub(crate) smi: Smi,
    pub(crate) tracking: Tracking,
}

/// The exception slot: a second one merges with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub exception: Exception,
    /// It was being delivered: it comes before everything else.
    pub injected: bool,
}

/// An interrupt whose delivery was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vectoring {
    External(u8),
    Software(SoftwareInterrupt),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nmi {
    /// Its delivery was cut short.
    pub injected: bool,
    /// 0..=2.
    pub pending: u8,
    /// Blocked until IRET.
    pub masked: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Smi {
    pub pending: bool,
    /// In SMM until RSM.
    pub smm: bool,
    /// NMIs were blocked already when SMM was entered, and stay so after RSM.
    pub inside_nmi: bool,
}

impl Events {
    /// Nothing pending, nothing blocked.
    pub fn new(tracking: Tracking) -> Self {
        Events { tracking, ..Default::default() }
    }

    /// Queues an exception that the vCPU's instruction raised, or that the VMM injects. On top
    /// of one that is queued or was being delivered it merges as the processor would merge
    /// them, and the result says how ([`Merged::Serial`] also if there was none).
    ///
    /// For a fault that the delivery of an event raised see
    /// [`fault_in_delivery`](Self::fault_in_delivery).
    pub fn queue_exception(&mut self, exception: Exception) -> Merged {
        self.merge(exception, false)
    }

    /// Queues an NMI. One can wait behind another; behind one that is blocked, or whose delivery
    /// was cut short, only one waits. Says whether it was taken (`false`: merged).
    pub fn queue_nmi(&mut self) -> bool {
        let limit = if self.nmi.masked || self.nmi.injected { 1 } else { 2 };
        let taken = self.nmi.pending < limit;
        self.nmi.pending += u8::from(taken);
        taken
    }

    /// Queues an SMI. Says whether it was taken (`false`: merged).
    pub fn queue_smi(&mut self) -> bool {
        !core::mem::replace(&mut self.smi.pending, true)
    }

    /// Queues an INIT; a SIPI that came before it is void.
    pub fn queue_init(&mut self) {
        self.init = true;
        self.sipi = None;
    }

    /// Queues a start-up IPI with its page number; it takes effect in wait-for-SIPI only. A
    /// second one before that changes nothing.
    pub fn queue_sipi(&mut self, page: u8) {
        self.sipi.get_or_insert(page);
    }

    /// Queues a shutdown.
    pub fn queue_triple_fault(&mut self) {
        self.triple_fault = true;
    }

    /// The backend took `injection`: forget it, and block what it blocks.
    ///
    /// Call it after the backend accepted, never before; then acknowledge ExtINT at the PIC or
    /// accept the vector at the LAPIC, if that has not been part of handing it over.
    pub fn commit(&mut self, injection: Injection) {
        match injection {
            Injection::TripleFault => self.triple_fault = false,
            Injection::Init => self.enter_wait_for_sipi(),
            Injection::StartUp(_) => self.sipi = None,
            Injection::Reinject(event) => self.commit_again(event),
            Injection::Exception(_) => self.exception = None,
            Injection::Smi => self.enter_smm(),
            Injection::Nmi => {
                self.nmi.pending = self.nmi.pending.saturating_sub(1);
                self.block_nmi();
            }
            Injection::ExtInt | Injection::Interrupt(_) => {}
        }
    }

    /// The vCPU executed IRET: NMIs are no longer blocked.
    pub fn iret(&mut self) {
        self.nmi.masked = false;
    }

    /// The vCPU executed RSM: SMM ends, and so does the NMI blocking that began with it.
    pub fn rsm(&mut self) {
        if self.smi.smm {
            self.nmi.masked &= self.smi.inside_nmi;
            self.smi.smm = false;
            self.smi.inside_nmi = false;
        }
    }

    /// Sets NMI blocking to what the processor says, e.g. after an IRET that faulted and has to
    /// block again (SDM vol. 3, "NMI unblocking due to IRET").
    pub fn set_nmi_masked(&mut self, masked: bool) {
        self.nmi.masked = masked;
    }

    /// Whether NMIs are blocked, as far as it is tracked here.
    pub fn nmi_masked(&self) -> bool {
        self.nmi.masked
    }

    /// Whether the vCPU is in SMM, as far as it is tracked here.
    pub fn in_smm(&self) -> bool {
        self.smi.smm
    }

    /// NMIs that wait, 0..=2, without one whose delivery was cut short.
    pub fn pending_nmis(&self) -> u8 {
        self.nmi.pending
    }

    /// Whether nothing waits, deliverable or not.
    pub fn is_empty(&self) -> bool {
        *self
            == Events {
                nmi: self.blocking_only(),
                smi: self.smm_only(),
                ..Events::new(self.tracking)
            }
    }

    /// RESET: as after [`new`](Self::new).
    pub fn reset(&mut self) {
        *self = Events::new(self.tracking);
    }

    /// Merges `second` into the slot; `injected` says which stage the result has.
    pub(crate) fn merge(&mut self, second: Exception, injected: bool) -> Merged {
        let merged = match self.exception {
            Some(first) => first.exception.then(&second),
            None => Merged::Serial,
        };
        self.exception = match merged {
            Merged::Serial => Some(Slot { exception: second, injected }),
            Merged::DoubleFault => Some(Slot { exception: Exception::df(), injected }),
            Merged::TripleFault => None,
        };
        self.triple_fault |= merged == Merged::TripleFault;
        merged
    }

    fn commit_again(&mut self, event: Event) {
        match event {
            Event::Exception(_) => self.exception = None,
            Event::Interrupt(_) | Event::SoftwareInterrupt(_) => self.interrupt = None,
            Event::Nmi => {
                self.nmi.injected = false;
                self.block_nmi();
            }
        }
    }

    fn block_nmi(&mut self) {
        self.nmi.masked |= self.tracking == Tracking::Here;
    }

    fn enter_smm(&mut self) {
        self.smi.pending = false;
        if self.tracking == Tracking::Here && !self.smi.smm {
            self.smi = Smi { pending: false, smm: true, inside_nmi: self.nmi.masked };
            self.nmi.masked = true;
        }
    }

    /// INIT drops everything but a SIPI that followed it.
    fn enter_wait_for_sipi(&mut self) {
        *self = Events { sipi: self.sipi, ..Events::new(self.tracking) };
    }

    fn blocking_only(&self) -> Nmi {
        Nmi { masked: self.nmi.masked, ..Nmi::default() }
    }

    fn smm_only(&self) -> Smi {
        Smi { pending: false, ..self.smi }
    }
}
