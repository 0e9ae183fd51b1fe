// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events in the fields of a VMCS.
//!
//! Intel SDM vol. 3, "VM-Entry Controls for Event Injection", "Information for VM Exits Due to
//! Vectored Events", "Information for VM Exits That Occur During Event Delivery", "Guest
//! Non-Register State".

use bitfield_struct::bitfield;

use crate::decide::Window;
use crate::event::{Event, InvalidLength, SoftwareInterrupt};
use crate::exception::{Exception, InvalidException, Origin};
use crate::interruptibility::{Activity, Interruptibility, Shadow};
use crate::spec::{event_type, vector, RFLAGS_IF};
use crate::state::any_mode;

/// VM-entry interruption information, VM-exit interruption information and IDT-vectoring
/// information share this layout (32 bits).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct InterruptionInfo {
    /// Bits 7:0: vector.
    pub vector: u8,
    /// Bits 10:8: type, see [`event_type`].
    #[bits(3)]
    pub event_type: u8,
    /// Bit 11: the error code field counts.
    pub error_code_valid: bool,
    /// Bit 12: NMI unblocking due to IRET. VM-exit interruption information only: undefined in
    /// IDT-vectoring information, 0 for an entry.
    pub nmi_unblocking: bool,
    #[bits(18)]
    __: u32,
    /// Bit 31: the field counts.
    pub valid: bool,
}

/// Guest interruptibility state (32 bits).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GuestInterruptibility {
    /// Bit 0: blocking by STI.
    pub sti: bool,
    /// Bit 1: blocking by MOV SS.
    pub mov_ss: bool,
    /// Bit 2: blocking by SMI.
    pub smi: bool,
    /// Bit 3: blocking by NMI (virtual-NMI blocking with virtual NMIs).
    pub nmi: bool,
    /// Bit 4: enclave interruption.
    pub enclave: bool,
    #[bits(27)]
    __: u32,
}

/// The three fields that describe one event, for an entry or from an exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFields {
    /// VM-entry interruption information, or IDT-vectoring information.
    pub info: InterruptionInfo,
    /// VM-entry exception error code, or IDT-vectoring error code.
    pub error_code: u32,
    /// VM-entry or VM-exit instruction length, bytes.
    pub instruction_length: u32,
}

/// Why fields describe no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// Type 1 is reserved, type 7 is nothing that goes through the IDT.
    #[error("interruption type {0} is no event that the IDT delivers")]
    Type(u8),
    /// The NMI's vector is 2.
    #[error("NMI with vector {0}")]
    NmiVector(u8),
    /// The vector is not that of an exception, or its error code is one too many.
    #[error(transparent)]
    Exception(#[from] InvalidException),
    /// An instruction length above 15.
    #[error(transparent)]
    Length(#[from] InvalidLength),
}

impl From<Event> for EventFields {
    /// For an entry; bits 30:12 are zero.
    fn from(event: Event) -> Self {
        match event {
            Event::Interrupt(vector) => fields(event_type::EXTERNAL, vector),
            Event::Nmi => fields(event_type::NMI, vector::NMI),
            Event::SoftwareInterrupt(interrupt) => EventFields {
                instruction_length: interrupt.length().into(),
                ..fields(event_type::SOFTWARE_INTERRUPT, interrupt.vector())
            },
            Event::Exception(exception) => exception_fields(&exception),
        }
    }
}

impl EventFields {
    /// The event, or `None` if the fields are not valid. Bits 30:12 are ignored.
    ///
    /// # Errors
    /// [`InvalidEvent`]: a processor does not write such fields.
    pub fn event(&self) -> Result<Option<Event>, InvalidEvent> {
        if !self.info.valid() {
            return Ok(None);
        }
        let vector = self.info.vector();
        Ok(Some(match self.info.event_type() {
            event_type::EXTERNAL => Event::Interrupt(vector),
            event_type::NMI if vector == vector::NMI => Event::Nmi,
            event_type::NMI => return Err(InvalidEvent::NmiVector(vector)),
            event_type::EXCEPTION => Event::Exception(any_mode(vector, self.error_code())?),
            event_type::SOFTWARE_INTERRUPT => {
                Event::SoftwareInterrupt(SoftwareInterrupt::new(vector, self.length()?)?)
            }
            event_type::PRIVILEGED_SOFTWARE => {
                self.instruction(Origin::PrivilegedSoftware { length: self.length()? })?
            }
            event_type::SOFTWARE_EXCEPTION => {
                self.instruction(Origin::Software { length: self.length()? })?
            }
            other => return Err(InvalidEvent::Type(other)),
        }))
    }

    fn instruction(&self, origin: Origin) -> Result<Event, InvalidEvent> {
        let exception = Exception::new(self.info.vector(), self.error_code())?;
        Ok(Event::Exception(exception.from_instruction(origin)?))
    }

    fn error_code(&self) -> Option<u32> {
        self.info.error_code_valid().then_some(self.error_code)
    }

    fn length(&self) -> Result<u8, InvalidLength> {
        u8::try_from(self.instruction_length).map_err(|_| InvalidLength(self.instruction_length))
    }
}

impl GuestInterruptibility {
    /// The field for an entry that injects `event`: an NMI does not enter while it blocks
    /// itself, so its blocking is cleared first.
    pub fn entering_with(self, event: &Event) -> Self {
        match event {
            Event::Nmi => self.with_nmi(false),
            _ => self,
        }
    }

    /// For [`Events::decide`](crate::Events::decide): this field, RFLAGS, the activity state and
    /// whether the pending debug exceptions field holds any.
    pub fn interruptibility(
        self,
        rflags: u64,
        activity: Activity,
        pending_debug: bool,
    ) -> Interruptibility {
        Interruptibility {
            interrupt_flag: rflags & RFLAGS_IF != 0,
            shadow: Shadow { sti: self.sti(), mov_ss: self.mov_ss() },
            nmi_blocked: self.nmi(),
            smm: self.smi(),
            pending_debug,
            held: false,
            slot_busy: false,
            activity,
        }
    }
}

/// Whether the VMM must set blocking by NMI before it resumes the guest: the exit came from a
/// fault of an IRET that had unblocked NMIs already (SDM vol. 3, "Resuming Guest Software after
/// Handling an Exception").
pub fn iret_must_block_nmi(exit: InterruptionInfo, vectoring: InterruptionInfo) -> bool {
    exit.valid() && exit.nmi_unblocking() && exit.vector() != vector::DF && !vectoring.valid()
}

/// Bits to set in the primary processor-based controls: interrupt-window exiting (bit 2) and
/// NMI-window exiting (bit 22).
pub const fn window_controls(window: Window) -> u32 {
    (window.interrupt as u32) << 2 | (window.nmi as u32) << 22
}

/// The activity-state field, 0..=3; `None` for what the SDM does not define.
pub const fn activity(field: u32) -> Option<Activity> {
    match field {
        0 => Some(Activity::Active),
        1 => Some(Activity::Halted),
        2 => Some(Activity::Shutdown),
        3 => Some(Activity::WaitForSipi),
        _ => None,
    }
}

/// The activity-state field for `activity`.
pub const fn activity_field(activity: Activity) -> u32 {
    match activity {
        Activity::Active => 0,
        Activity::Halted => 1,
        Activity::Shutdown => 2,
        Activity::WaitForSipi => 3,
    }
}

fn exception_fields(exception: &Exception) -> EventFields {
    let (event_type, length) = match exception.origin() {
        Origin::Hardware => (event_type::EXCEPTION, 0),
        Origin::Software { length } => (event_type::SOFTWARE_EXCEPTION, length),
        Origin::PrivilegedSoftware { length } => (event_type::PRIVILEGED_SOFTWARE, length),
    };
    let fields = fields(event_type, exception.vector());
    EventFields {
        info: fields.info.with_error_code_valid(exception.error_code().is_some()),
        error_code: exception.error_code().unwrap_or(0),
        instruction_length: length.into(),
    }
}

fn fields(event_type: u8, vector: u8) -> EventFields {
    let info = InterruptionInfo::new().with_vector(vector).with_event_type(event_type);
    EventFields { info: info.with_valid(true), error_code: 0, instruction_length: 0 }
}
