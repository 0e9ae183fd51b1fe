// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's protocol for a VMM that has the interrupt controllers to itself: the fields of
//! `kvm_run` as values, and the one slot of KVM_INTERRUPT.
//!
//! Linux Documentation/virt/kvm/api.rst, "KVM_INTERRUPT" and "The kvm_run structure".

use crate::decide::Decision;
use crate::interruptibility::Interruptibility;

/// What the VMM writes into `kvm_run` before KVM_RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunIn {
    /// `request_interrupt_window`: exit with KVM_EXIT_IRQ_WINDOW_OPEN as soon as an interrupt
    /// can be queued.
    pub request_interrupt_window: bool,
    /// `cr8`, 4 bits: the task priority class, TPR bits 7:4.
    pub cr8: u8,
    /// `immediate_exit`: complete pending I/O and return with EINTR instead of running.
    pub immediate_exit: bool,
}

impl RunIn {
    /// For the decision that is left after injecting (or that found nothing to inject), with
    /// the LAPIC's CR8. Bits above 3 of `cr8` are dropped.
    pub const fn new(decision: &Decision, cr8: u8) -> Self {
        RunIn {
            request_interrupt_window: decision.window.interrupt,
            cr8: cr8 & 0xf,
            immediate_exit: false,
        }
    }
}

/// What KVM left in `kvm_run` after KVM_RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunOut {
    /// `ready_for_interrupt_injection`: IF is set, no shadow is in force and nothing waits in
    /// the slot. All zero before the first KVM_RUN, which is right: ask for the window.
    pub ready_for_interrupt_injection: bool,
    /// `if_flag`: RFLAGS.IF.
    pub if_flag: bool,
    /// `cr8`, 4 bits: what the guest may have written; the LAPIC's TPR follows it.
    pub cr8: u8,
}

/// KVM_INTERRUPT's one slot, seen from outside.
///
/// KVM keeps a queued vector until it delivered it, and re-injects it by itself; queueing a
/// second one before that is refused here rather than left to the kernel, which overwrites the
/// first one without in-kernel LAPIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterruptSlot {
    queued: Option<u8>,
    ready: bool,
    interrupt_flag: bool,
}

/// Why an interrupt was not queued; it is still its controller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError<E> {
    /// Vector `queued` is in the slot and may not be delivered yet.
    #[error("vector {queued:#x} is still queued for delivery")]
    Busy {
        /// 0..=255.
        queued: u8,
    },
    /// The vCPU cannot take an interrupt: ask for the window.
    #[error("the vCPU is not ready for an interrupt")]
    NotReady,
    /// The hypervisor refused.
    #[error("the hypervisor did not take the interrupt")]
    Hypervisor(E),
}

impl InterruptSlot {
    /// Empty, and not ready until the first [`ran`](Self::ran).
    pub const fn new() -> Self {
        InterruptSlot { queued: None, ready: false, interrupt_flag: false }
    }

    /// Queues `vector` through `interrupt` (the KVM_INTERRUPT call). The slot is taken only if
    /// that succeeded; acknowledge the interrupt at its controller after `Ok`.
    ///
    /// # Errors
    /// [`QueueError`]: nothing changed, here or (but for the call's own doing) in the
    /// hypervisor.
    pub fn queue<E>(
        &mut self,
        vector: u8,
        interrupt: impl FnOnce(u8) -> Result<(), E>,
    ) -> Result<(), QueueError<E>> {
        if let Some(queued) = self.queued {
            return Err(QueueError::Busy { queued });
        }
        if !self.ready {
            return Err(QueueError::NotReady);
        }
        interrupt(vector).map_err(QueueError::Hypervisor)?;
        self.queued = Some(vector);
        Ok(())
    }

    /// KVM_RUN returned: `ready_for_interrupt_injection` means that the slot is free again.
    pub fn ran(&mut self, out: &RunOut) {
        self.ready = out.ready_for_interrupt_injection;
        self.interrupt_flag = out.if_flag;
        if self.ready {
            self.queued = None;
        }
    }

    /// The VMM rewrote RFLAGS, the shadow or the events behind `kvm_run`'s back (reset, restored
    /// state): nothing is known until the next [`ran`](Self::ran).
    pub fn invalidate(&mut self) {
        *self = Self::new();
    }

    /// The vector in the slot, as far as is known.
    pub const fn queued(&self) -> Option<u8> {
        self.queued
    }

    /// What [`Events::decide`](crate::Events::decide) has to know. KVM folds shadow, exceptions
    /// and NMIs into its ready flag, and keeps NMI blocking and SMM to itself (use
    /// [`Tracking::Backend`](crate::Tracking::Backend)).
    pub const fn interruptibility(&self) -> Interruptibility {
        Interruptibility {
            interrupt_flag: self.interrupt_flag,
            slot_busy: !self.ready || self.queued.is_some(),
            ..Interruptibility::CLOSED
        }
    }
}
