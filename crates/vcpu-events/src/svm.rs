// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events in the fields of a VMCB.
//!
//! AMD APM vol. 2, "Event Injection", "Exceptions and Interrupts in the Guest: EXITINTINFO
//! Pseudo-Exit", "Interrupt Shadows", "Global Interrupt Flag, STGI and CLGI Instructions".

use bitfield_struct::bitfield;

use crate::event::{Event, SoftwareInterrupt};
use crate::exception::{Exception, Origin};
use crate::interruptibility::{Activity, Interruptibility, Shadow};
use crate::spec::{event_type, vector, RFLAGS_IF};
use crate::state::any_mode;
use crate::vmx::InvalidEvent;

/// EVENTINJ and EXITINTINFO (64 bits).
///
/// Instruction lengths have no place here: SVM takes the address to return to from the VMCB's
/// RIP or nRIP. INT3, INTO and INT1 are exceptions like others; the first two are told by their
/// vector.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct EventInjection {
    /// Bits 7:0: vector; ignored for an NMI.
    pub vector: u8,
    /// Bits 10:8: type, see [`event_type`].
    #[bits(3)]
    pub event_type: u8,
    /// Bit 11 (EV): the error code counts.
    pub error_code_valid: bool,
    #[bits(19)]
    __: u32,
    /// Bit 31 (V): the field counts.
    pub valid: bool,
    /// Bits 63:32: error code.
    pub error_code: u32,
}

impl From<Event> for EventInjection {
    /// For EVENTINJ.
    fn from(event: Event) -> Self {
        match event {
            Event::Interrupt(vector) => field(event_type::EXTERNAL, vector),
            Event::Nmi => field(event_type::NMI, vector::NMI),
            Event::SoftwareInterrupt(interrupt) => {
                field(event_type::SOFTWARE_INTERRUPT, interrupt.vector())
            }
            Event::Exception(exception) => field(event_type::EXCEPTION, exception.vector())
                .with_error_code_valid(exception.error_code().is_some())
                .with_error_code(exception.error_code().unwrap_or(0)),
        }
    }
}

impl EventInjection {
    /// The event, or `None` if the field is not valid; lengths are 0.
    ///
    /// # Errors
    /// [`InvalidEvent`]: a processor does not write such a field.
    pub fn event(self) -> Result<Option<Event>, InvalidEvent> {
        if !self.valid() {
            return Ok(None);
        }
        let vector = self.vector();
        Ok(Some(match self.event_type() {
            event_type::EXTERNAL => Event::Interrupt(vector),
            event_type::NMI => Event::Nmi,
            event_type::EXCEPTION => Event::Exception(self.exception()?),
            event_type::SOFTWARE_INTERRUPT => {
                Event::SoftwareInterrupt(SoftwareInterrupt::new(vector, 0)?)
            }
            other => return Err(InvalidEvent::Type(other)),
        }))
    }

    fn exception(self) -> Result<Exception, InvalidEvent> {
        let error_code = self.error_code_valid().then_some(self.error_code());
        let exception = any_mode(self.vector(), error_code)?;
        Ok(match self.vector() {
            vector::BP | vector::OF => {
                exception.from_instruction(Origin::Software { length: 0 })?
            }
            _ => exception,
        })
    }
}

/// For [`Events::decide`](crate::Events::decide): the VMCB's INTERRUPT_SHADOW, RFLAGS and GIF.
///
/// The shadow does not say whether STI or MOV SS caused it: both are assumed. NMI blocking,
/// SMM and HLT are the hypervisor's to know.
pub const fn interruptibility(shadow: bool, rflags: u64, gif: bool) -> Interruptibility {
    Interruptibility {
        interrupt_flag: rflags & RFLAGS_IF != 0,
        shadow: Shadow { sti: shadow, mov_ss: shadow },
        nmi_blocked: false,
        smm: false,
        pending_debug: false,
        held: !gif,
        slot_busy: false,
        activity: Activity::Active,
    }
}

fn field(event_type: u8, vector: u8) -> EventInjection {
    EventInjection::new().with_vector(vector).with_event_type(event_type).with_valid(true)
}
