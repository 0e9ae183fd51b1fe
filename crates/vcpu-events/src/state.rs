// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved state: plain data out, checked on the way back in.

use crate::event::{InvalidLength, SoftwareInterrupt};
use crate::events::{Events, Nmi, Slot, Smi, Tracking, Vectoring};
use crate::exception::{Exception, InvalidException, Origin};
use crate::spec;

/// All of [`Events`] but its [`Tracking`], which is configuration. A snapshot is taken between
/// an exit and the next entry: what was being delivered is in it as injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EventsState {
    /// A triple fault waits.
    pub triple_fault: bool,
    /// An INIT waits, or is latched by SMM.
    pub init: bool,
    /// A start-up IPI waits: its page, 0..=255.
    pub sipi: Option<u8>,
    /// The exception that waits or has to be delivered again.
    pub exception: Option<ExceptionState>,
    /// The interrupt that has to be delivered again.
    pub interrupt: Option<InterruptState>,
    /// An NMI has to be delivered again.
    pub nmi_injected: bool,
    /// NMIs that wait; together with the one above at most 2.
    pub nmi_pending: u8,
    /// NMIs are blocked until IRET.
    pub nmi_masked: bool,
    /// An SMI waits.
    pub smi_pending: bool,
    /// In SMM until RSM.
    pub smm: bool,
    /// NMIs were blocked before SMM was entered; only together with `smm`.
    pub smm_inside_nmi: bool,
}

/// An exception as plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExceptionState {
    /// 0..=31, not 2.
    pub vector: u8,
    /// 32 bits; only for vectors that have one, and not in real-address mode.
    pub error_code: Option<u32>,
    /// CR2 for #PF, cause bits of DR6 for #DB.
    pub payload: Option<u64>,
    /// Where it came from.
    pub origin: Origin,
    /// It was being delivered and comes before everything else.
    pub injected: bool,
}

/// An interrupt whose delivery was cut short, as plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InterruptState {
    /// 0..=255.
    pub vector: u8,
    /// INT n with its length in bytes (0..=15, 0: not known); `None`: an external interrupt.
    pub software: Option<u8>,
}

/// Why a state cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidState {
    /// The exception does not exist.
    #[error("saved exception: {0}")]
    Exception(#[from] InvalidException),
    /// The software interrupt's instruction is too long.
    #[error("saved software interrupt: {0}")]
    Interrupt(#[from] InvalidLength),
    /// More than two NMIs, the one to be delivered again included.
    #[error("{0} NMIs are pending, which is more than a processor latches")]
    NmiPending(u8),
    /// NMI blocking from before SMM, without SMM.
    #[error("NMI blocking from before SMM is recorded outside SMM")]
    SmmInsideNmi,
}

impl Events {
    /// The state as plain data.
    pub fn state(&self) -> EventsState {
        let Events { triple_fault, init, sipi, exception, interrupt, nmi, smi, tracking: _ } =
            *self;
        EventsState {
            triple_fault,
            init,
            sipi,
            exception: exception.map(ExceptionState::from),
            interrupt: interrupt.map(InterruptState::from),
            nmi_injected: nmi.injected,
            nmi_pending: nmi.pending,
            nmi_masked: nmi.masked,
            smi_pending: smi.pending,
            smm: smi.smm,
            smm_inside_nmi: smi.inside_nmi,
        }
    }

    /// Events as they were saved.
    ///
    /// # Errors
    /// [`InvalidState`]: no vCPU can be in this state.
    pub fn from_state(state: &EventsState, tracking: Tracking) -> Result<Self, InvalidState> {
        if state.nmi_pending > 2 - u8::from(state.nmi_injected) {
            return Err(InvalidState::NmiPending(state.nmi_pending));
        }
        if state.smm_inside_nmi && !state.smm {
            return Err(InvalidState::SmmInsideNmi);
        }
        Ok(Events {
            triple_fault: state.triple_fault,
            init: state.init,
            sipi: state.sipi,
            exception: state.exception.map(Slot::try_from).transpose()?,
            interrupt: state.interrupt.map(Vectoring::try_from).transpose()?,
            nmi: Nmi {
                injected: state.nmi_injected,
                pending: state.nmi_pending,
                masked: state.nmi_masked,
            },
            smi: Smi {
                pending: state.smi_pending,
                smm: state.smm,
                inside_nmi: state.smm_inside_nmi,
            },
            tracking,
        })
    }
}

impl From<Slot> for ExceptionState {
    fn from(Slot { exception, injected }: Slot) -> Self {
        ExceptionState {
            vector: exception.vector(),
            error_code: exception.error_code(),
            payload: exception.payload(),
            origin: exception.origin(),
            injected,
        }
    }
}

impl TryFrom<ExceptionState> for Slot {
    type Error = InvalidException;

    fn try_from(state: ExceptionState) -> Result<Self, InvalidException> {
        let exception = any_mode(state.vector, state.error_code)?;
        let exception = match state.payload {
            Some(payload) => exception.with_payload(payload)?,
            None => exception,
        };
        let exception = exception.from_instruction(state.origin)?;
        Ok(Slot { exception, injected: state.injected })
    }
}

/// An exception from real-address, protected or long mode: a missing error code means the
/// first.
pub(crate) fn any_mode(vector: u8, error_code: Option<u32>) -> Result<Exception, InvalidException> {
    if error_code.is_none() && spec::has_error_code(vector) {
        return Ok(Exception::new(vector, Some(0))?.in_real_mode());
    }
    Exception::new(vector, error_code)
}

impl From<Vectoring> for InterruptState {
    fn from(vectoring: Vectoring) -> Self {
        match vectoring {
            Vectoring::External(vector) => InterruptState { vector, software: None },
            Vectoring::Software(interrupt) => {
                InterruptState { vector: interrupt.vector(), software: Some(interrupt.length()) }
            }
        }
    }
}

impl TryFrom<InterruptState> for Vectoring {
    type Error = InvalidLength;

    fn try_from(state: InterruptState) -> Result<Self, InvalidLength> {
        Ok(match state.software {
            None => Vectoring::External(state.vector),
            Some(length) => Vectoring::Software(SoftwareInterrupt::new(state.vector, length)?),
        })
    }
}
