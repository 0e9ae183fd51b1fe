// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! State to and from `kvm_vcpu_events`.
//!
//! Linux Documentation/virt/kvm/api.rst, "KVM_GET_VCPU_EVENTS" and "KVM_SET_VCPU_EVENTS".

use kvm_bindings::{
    kvm_vcpu_events, KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_PAYLOAD,
    KVM_VCPUEVENT_VALID_SHADOW, KVM_VCPUEVENT_VALID_SIPI_VECTOR, KVM_VCPUEVENT_VALID_SMM,
    KVM_VCPUEVENT_VALID_TRIPLE_FAULT, KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI,
};

use crate::events::{Events, Slot, Tracking};
use crate::exception::Origin;
use crate::interruptibility::Shadow;
use crate::spec::vector;
use crate::state::{EventsState, ExceptionState, InterruptState, InvalidState};

const KNOWN_FLAGS: u32 = KVM_VCPUEVENT_VALID_NMI_PENDING
    | KVM_VCPUEVENT_VALID_SIPI_VECTOR
    | KVM_VCPUEVENT_VALID_SHADOW
    | KVM_VCPUEVENT_VALID_SMM
    | KVM_VCPUEVENT_VALID_PAYLOAD
    | KVM_VCPUEVENT_VALID_TRIPLE_FAULT;

/// What `kvm_vcpu_events` holds: the events and the interrupt shadow.
///
/// It has no place for the length of a software interrupt or of INT3 and INTO (they come back
/// as 0), nor for the difference between INT1 and a #DB that the processor found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct VcpuEvents {
    /// What waits and what was being delivered.
    pub events: EventsState,
    /// The interrupt shadow. Its bits there are MOV_SS = 1 and STI = 2, the reverse of VMX.
    pub shadow: Shadow,
}

/// Optional parts that KVM_SET_VCPU_EVENTS accepts only on demand; it answers EINVAL to their
/// flags otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// KVM_CAP_EXCEPTION_PAYLOAD is enabled. Without it a pending exception becomes an injected
    /// one, as in KVM_GET_VCPU_EVENTS, and its payload is the caller's to write to CR2 or DR6.
    pub exception_payload: bool,
    /// KVM_CAP_X86_TRIPLE_FAULT_EVENT is enabled. Without it a triple fault does not travel.
    pub triple_fault: bool,
    /// KVM_CAP_X86_SMM exists. Without it SMM, SMI and a latched INIT do not travel.
    pub smm: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Capabilities { exception_payload: true, triple_fault: true, smm: true };
}

/// Why `kvm_vcpu_events` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVcpuEvents {
    /// Flags that this crate (and Linux 6.x) does not know.
    #[error("unknown flags {0:#x}")]
    Flags(u32),
    /// The page of a start-up IPI has 8 bits.
    #[error("SIPI vector {0:#x} does not fit in 8 bits")]
    SipiVector(u32),
    /// What the fields say together is no state.
    #[error(transparent)]
    State(#[from] InvalidState),
}

impl VcpuEvents {
    /// For KVM_SET_VCPU_EVENTS. The SIPI vector counts only while a SIPI waits.
    pub fn to_kvm(&self, enabled: Capabilities) -> kvm_vcpu_events {
        let mut out = kvm_vcpu_events {
            flags: KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
            ..Default::default()
        };
        self.put_exception(&mut out, enabled.exception_payload);
        self.put_interrupts(&mut out);
        if enabled.smm {
            self.put_smm(&mut out);
        }
        if enabled.triple_fault {
            out.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
            out.triple_fault.pending = self.events.triple_fault.into();
        }
        out
    }

    /// Takes over what `from` says, as KVM_SET_VCPU_EVENTS does: a field whose flag is clear
    /// leaves its part as it is. On an error nothing changes.
    ///
    /// # Errors
    /// [`InvalidVcpuEvents`]; where KVM clamps (NMIs beyond two) this does too.
    pub fn update(&mut self, from: &kvm_vcpu_events) -> Result<(), InvalidVcpuEvents> {
        if from.flags & !KNOWN_FLAGS != 0 {
            return Err(InvalidVcpuEvents::Flags(from.flags));
        }
        let mut new = *self;
        new.events.exception = exception(from).map_err(InvalidState::from)?;
        new.take_interrupts(from)?;
        if from.flags & KVM_VCPUEVENT_VALID_SMM != 0 {
            new.take_smm(from);
        }
        if from.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT != 0 {
            new.events.triple_fault = from.triple_fault.pending != 0;
        }
        Events::from_state(&new.events, Tracking::Here)?;
        *self = new;
        Ok(())
    }

    fn put_exception(&self, out: &mut kvm_vcpu_events, payload_enabled: bool) {
        if payload_enabled {
            out.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
        }
        let Some(exception) = self.events.exception else { return };
        let pending = payload_enabled && !exception.injected;
        out.exception.injected = (!pending).into();
        out.exception.pending = pending.into();
        out.exception.nr = exception.vector;
        out.exception.has_error_code = exception.error_code.is_some().into();
        out.exception.error_code = exception.error_code.unwrap_or(0);
        if pending {
            out.exception_has_payload = exception.payload.is_some().into();
            out.exception_payload = exception.payload.unwrap_or(0);
        }
    }

    fn put_interrupts(&self, out: &mut kvm_vcpu_events) {
        if let Some(interrupt) = self.events.interrupt {
            out.interrupt.injected = 1;
            out.interrupt.nr = interrupt.vector;
            out.interrupt.soft = interrupt.software.is_some().into();
        }
        out.interrupt.shadow = shadow_bits(self.shadow);
        out.nmi.injected = self.events.nmi_injected.into();
        out.nmi.pending = self.events.nmi_pending;
        out.nmi.masked = self.events.nmi_masked.into();
        if let Some(page) = self.events.sipi {
            out.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
            out.sipi_vector = page.into();
        }
    }

    fn put_smm(&self, out: &mut kvm_vcpu_events) {
        out.flags |= KVM_VCPUEVENT_VALID_SMM;
        out.smi.smm = self.events.smm.into();
        out.smi.pending = self.events.smi_pending.into();
        out.smi.smm_inside_nmi = self.events.smm_inside_nmi.into();
        out.smi.latched_init = self.events.init.into();
    }

    fn take_interrupts(&mut self, from: &kvm_vcpu_events) -> Result<(), InvalidVcpuEvents> {
        let software = (from.interrupt.soft != 0).then_some(0);
        self.events.interrupt = (from.interrupt.injected != 0)
            .then_some(InterruptState { vector: from.interrupt.nr, software });
        if from.flags & KVM_VCPUEVENT_VALID_SHADOW != 0 {
            self.shadow = shadow(from.interrupt.shadow);
        }
        self.events.nmi_injected = from.nmi.injected != 0;
        self.events.nmi_masked = from.nmi.masked != 0;
        if from.flags & KVM_VCPUEVENT_VALID_NMI_PENDING != 0 {
            self.events.nmi_pending = from.nmi.pending;
        }
        let limit = 2 - u8::from(self.events.nmi_injected);
        self.events.nmi_pending = self.events.nmi_pending.min(limit);
        if from.flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR != 0 {
            let page = u8::try_from(from.sipi_vector)
                .map_err(|_| InvalidVcpuEvents::SipiVector(from.sipi_vector))?;
            self.events.sipi = Some(page);
        }
        Ok(())
    }

    fn take_smm(&mut self, from: &kvm_vcpu_events) {
        self.events.smm = from.smi.smm != 0;
        self.events.smi_pending = from.smi.pending != 0;
        self.events.smm_inside_nmi = self.events.smm && from.smi.smm_inside_nmi != 0;
        self.events.init = from.smi.latched_init != 0;
    }
}

impl From<&VcpuEvents> for kvm_vcpu_events {
    fn from(events: &VcpuEvents) -> Self {
        events.to_kvm(Capabilities::ALL)
    }
}

impl TryFrom<&kvm_vcpu_events> for VcpuEvents {
    type Error = InvalidVcpuEvents;

    /// On top of a fresh vCPU's state.
    fn try_from(events: &kvm_vcpu_events) -> Result<Self, InvalidVcpuEvents> {
        let mut new = VcpuEvents::default();
        new.update(events)?;
        Ok(new)
    }
}

/// `pending` and the payload count only with their flag, and then win over `injected`.
fn exception(
    from: &kvm_vcpu_events,
) -> Result<Option<ExceptionState>, crate::exception::InvalidException> {
    let payload_counts = from.flags & KVM_VCPUEVENT_VALID_PAYLOAD != 0;
    let pending = payload_counts && from.exception.pending != 0;
    if !pending && from.exception.injected == 0 {
        return Ok(None);
    }
    let state = ExceptionState {
        vector: from.exception.nr,
        error_code: (from.exception.has_error_code != 0).then_some(from.exception.error_code),
        payload: (pending && from.exception_has_payload != 0).then_some(from.exception_payload),
        origin: match from.exception.nr {
            // KVM takes these two for INT3 and INTO whatever raised them.
            vector::BP | vector::OF => Origin::Software { length: 0 },
            _ => Origin::Hardware,
        },
        injected: !pending,
    };
    Slot::try_from(state).map(|_| Some(state))
}

fn shadow(bits: u8) -> Shadow {
    Shadow {
        sti: u32::from(bits) & KVM_X86_SHADOW_INT_STI != 0,
        mov_ss: u32::from(bits) & KVM_X86_SHADOW_INT_MOV_SS != 0,
    }
}

fn shadow_bits(shadow: Shadow) -> u8 {
    let mov_ss = u32::from(shadow.mov_ss) * KVM_X86_SHADOW_INT_MOV_SS;
    let sti = u32::from(shadow.sti) * KVM_X86_SHADOW_INT_STI;
    (mov_ss | sti) as u8
}
