// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Exceptions: which exist, what they carry, and what two of them at once become.
//!
//! Intel SDM vol. 3, "Exception and Interrupt Reference" and "Interrupt 8 - Double Fault
//! Exception (#DF)".

use crate::spec::{self, vector, Class};

/// Where an exception comes from; it decides how hardware is told to deliver it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Origin {
    /// The processor found a fault, trap or abort.
    #[default]
    Hardware,
    /// INT3 (#BP) or INTO (#OF), `length` bytes long (0..=15).
    Software {
        /// Instruction length in bytes; 0 where it is not known (SVM keeps the next RIP
        /// instead).
        length: u8,
    },
    /// INT1 (#DB), `length` bytes long (0..=15): no privilege check on the gate.
    PrivilegedSoftware {
        /// Instruction length in bytes; 0 where it is not known.
        length: u8,
    },
}

/// One exception, valid by construction: vector 0..=31 but 2, an error code only where the
/// vector has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exception {
    vector: u8,
    error_code: Option<u32>,
    payload: Option<u64>,
    origin: Origin,
}

/// Why values make no exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidException {
    /// Vector 2 is the NMI, 32 and above are interrupts.
    #[error("vector {0} is no exception")]
    Vector(u8),
    /// The vector pushes no error code.
    #[error("exception {0} has no error code")]
    UnexpectedErrorCode(u8),
    /// The vector pushes an error code (except in real-address mode:
    /// [`Exception::in_real_mode`]).
    #[error("exception {0} needs an error code")]
    MissingErrorCode(u8),
    /// Only #PF (CR2) and #DB (DR6) carry a payload.
    #[error("exception {0} has no payload")]
    UnexpectedPayload(u8),
    /// INT3 is #BP, INTO is #OF and INT1 is #DB; a length is at most 15.
    #[error("exception {0} does not come from an instruction of that kind or length")]
    Origin(u8),
}

/// What an exception on top of another one becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Merged {
    /// The second one is handled; the first one comes again when its instruction does.
    Serial,
    /// #DF, error code 0, instead of both.
    DoubleFault,
    /// Shutdown.
    TripleFault,
}

impl Exception {
    /// An exception as the processor raises it in protected or long mode.
    ///
    /// # Errors
    /// [`InvalidException`]: no exception has that vector, or its error code is missing or one
    /// too many.
    pub const fn new(vector: u8, error_code: Option<u32>) -> Result<Self, InvalidException> {
        if !spec::is_exception(vector) {
            return Err(InvalidException::Vector(vector));
        }
        match (spec::has_error_code(vector), error_code) {
            (true, None) => Err(InvalidException::MissingErrorCode(vector)),
            (false, Some(_)) => Err(InvalidException::UnexpectedErrorCode(vector)),
            _ => Ok(Self::of(vector, error_code, None)),
        }
    }

    /// The exception in real-address mode, where no error code is pushed.
    pub const fn in_real_mode(self) -> Self {
        Exception { error_code: None, ..self }
    }

    /// With the value for CR2 (#PF) or the cause bits for DR6 (#DB), to be written when the
    /// exception is delivered and not before (KVM's exception payload).
    ///
    /// # Errors
    /// [`InvalidException::UnexpectedPayload`] for another vector.
    pub const fn with_payload(self, payload: u64) -> Result<Self, InvalidException> {
        match self.vector {
            vector::DB | vector::PF => Ok(Exception { payload: Some(payload), ..self }),
            _ => Err(InvalidException::UnexpectedPayload(self.vector)),
        }
    }

    /// With the kind of instruction that raised it.
    ///
    /// # Errors
    /// [`InvalidException::Origin`] where that instruction does not raise this vector, or the
    /// length exceeds 15.
    pub const fn from_instruction(self, origin: Origin) -> Result<Self, InvalidException> {
        let fits = match origin {
            Origin::Hardware => true,
            Origin::Software { length } => {
                matches!(self.vector, vector::BP | vector::OF) && length <= 15
            }
            Origin::PrivilegedSoftware { length } => self.vector == vector::DB && length <= 15,
        };
        match fits {
            true => Ok(Exception { origin, ..self }),
            false => Err(InvalidException::Origin(self.vector)),
        }
    }

    /// #DE, divide error.
    pub const fn de() -> Self {
        Self::of(vector::DE, None, None)
    }

    /// #DB with the cause bits that its delivery sets in DR6.
    pub const fn db(dr6: u64) -> Self {
        Self::of(vector::DB, None, Some(dr6))
    }

    /// #UD, invalid opcode.
    pub const fn ud() -> Self {
        Self::of(vector::UD, None, None)
    }

    /// #NM, device not available.
    pub const fn nm() -> Self {
        Self::of(vector::NM, None, None)
    }

    /// #DF; its error code is always 0.
    pub const fn df() -> Self {
        Self::of(vector::DF, Some(0), None)
    }

    /// #TS, invalid TSS, with its selector error code.
    pub const fn ts(error_code: u32) -> Self {
        Self::of(vector::TS, Some(error_code), None)
    }

    /// #NP, segment not present, with its selector error code.
    pub const fn np(error_code: u32) -> Self {
        Self::of(vector::NP, Some(error_code), None)
    }

    /// #SS, stack-segment fault, with its selector error code or 0.
    pub const fn ss(error_code: u32) -> Self {
        Self::of(vector::SS, Some(error_code), None)
    }

    /// #GP, general protection, with its selector error code or 0.
    pub const fn gp(error_code: u32) -> Self {
        Self::of(vector::GP, Some(error_code), None)
    }

    /// #PF with its error code and the linear address for CR2.
    pub const fn pf(error_code: u32, cr2: u64) -> Self {
        Self::of(vector::PF, Some(error_code), Some(cr2))
    }

    /// #MF, x87 floating-point error.
    pub const fn mf() -> Self {
        Self::of(vector::MF, None, None)
    }

    /// #AC, alignment check; its error code is 0.
    pub const fn ac() -> Self {
        Self::of(vector::AC, Some(0), None)
    }

    /// #MC, machine check.
    pub const fn mc() -> Self {
        Self::of(vector::MC, None, None)
    }

    /// 0..=31, never 2.
    pub const fn vector(&self) -> u8 {
        self.vector
    }

    /// The 32-bit error code that is pushed, if any.
    pub const fn error_code(&self) -> Option<u32> {
        self.error_code
    }

    /// What to write on delivery: CR2 for #PF, the cause bits of DR6 for #DB.
    pub const fn payload(&self) -> Option<u64> {
        self.payload
    }

    /// Where it comes from.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// What RFLAGS becomes before delivery, so that the image pushed is right: a fault sets RF
    /// (bit 16), so that the instruction does not hit its breakpoint again (SDM vol. 3,
    /// "Instruction-Breakpoint Exception Condition"). #DB leaves RF to the debugger; traps and
    /// aborts leave it alone.
    pub const fn saved_rflags(&self, rflags: u64) -> u64 {
        match spec::is_fault(self.vector) {
            true => rflags | spec::RFLAGS_RF,
            false => rflags,
        }
    }

    /// What `second` becomes when it occurs while this one is being delivered (SDM vol. 3,
    /// table "Conditions for Generating a Double Fault").
    pub const fn then(&self, second: &Exception) -> Merged {
        merge(self.vector, second.vector)
    }

    const fn of(vector: u8, error_code: Option<u32>, payload: Option<u64>) -> Self {
        Exception { vector, error_code, payload, origin: Origin::Hardware }
    }
}

const fn merge(first: u8, second: u8) -> Merged {
    let second = spec::class(second);
    match spec::class(first) {
        // The table has no second #DF; one on top of another ends the same way.
        Class::DoubleFault if !matches!(second, Class::Benign) => Merged::TripleFault,
        Class::Contributory if matches!(second, Class::Contributory) => Merged::DoubleFault,
        Class::PageFault if matches!(second, Class::Contributory | Class::PageFault) => {
            Merged::DoubleFault
        }
        _ => Merged::Serial,
    }
}
