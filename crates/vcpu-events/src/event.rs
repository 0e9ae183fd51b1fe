// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An event on its way through the IDT, in the terms that VMX and SVM share.

use crate::exception::Exception;
use crate::spec::MAX_INSTRUCTION_LENGTH;

/// What a processor delivers through the IDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An external interrupt with its vector, acknowledged at its controller.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception, INT3, INTO or INT1.
    Exception(Exception),
    /// INT n.
    SoftwareInterrupt(SoftwareInterrupt),
}

/// INT n: a vector and the length of the instruction, which delivery skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftwareInterrupt {
    vector: u8,
    length: u8,
}

/// The length of an x86 instruction is at most 15 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no instruction is {0} bytes long")]
pub struct InvalidLength(pub u32);

impl SoftwareInterrupt {
    /// INT `vector`, `length` bytes long (0 where it is not known).
    ///
    /// # Errors
    /// [`InvalidLength`] above 15.
    pub const fn new(vector: u8, length: u8) -> Result<Self, InvalidLength> {
        match length <= MAX_INSTRUCTION_LENGTH {
            true => Ok(SoftwareInterrupt { vector, length }),
            false => Err(InvalidLength(length as u32)),
        }
    }

    /// The instruction's operand, 0..=255.
    pub const fn vector(&self) -> u8 {
        self.vector
    }

    /// Instruction length in bytes, 0..=15.
    pub const fn length(&self) -> u8 {
        self.length
    }
}

impl Event {
    /// The event in real-address mode: an exception loses its error code.
    pub const fn in_real_mode(self) -> Self {
        match self {
            Event::Exception(exception) => Event::Exception(exception.in_real_mode()),
            other => other,
        }
    }

    /// The IDT entry that it goes through.
    pub const fn vector(&self) -> u8 {
        match self {
            Event::Interrupt(vector) => *vector,
            Event::Nmi => crate::spec::vector::NMI,
            Event::Exception(exception) => exception.vector(),
            Event::SoftwareInterrupt(interrupt) => interrupt.vector,
        }
    }
}
