// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an operation reads of the control word and leaves for the status word.

use super::num::{Class, Num};
use crate::x87::{status, F80};

/// An exception that is not masked: the operation leaves no result.
#[derive(Debug)]
pub(super) struct Unmasked;

/// The result of an operation, or none.
pub(super) type Outcome<T> = Result<T, Unmasked>;

/// Rounding control (SDM vol. 1, table "Rounding Modes and Encoding of Rounding Control (RC) Field").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    Nearest,
    Down,
    Up,
    Chop,
}

/// One operation's view of the control and status words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Env {
    control: u16,
    /// Exceptions raised, SF among them.
    pub raised: u16,
    /// Condition codes.
    pub codes: u16,
    /// Those that are written; C1 always is.
    pub written: u16,
}

const CODES: u16 = status::C0 | status::C1 | status::C2 | status::C3;

impl Env {
    #[inline(always)]
    pub fn new(control: u16) -> Self {
        Env { control, raised: 0, codes: 0, written: status::C1 }
    }

    #[inline(always)]
    pub fn rounding(&self) -> Rounding {
        match self.control >> 10 & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Chop,
        }
    }

    /// Bits of significand that precision control leaves: 24, 53 or 64. The reserved value is as
    /// 64.
    #[inline(always)]
    pub fn precision(&self) -> u32 {
        match self.control >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        }
    }

    /// Whether an exception is masked.
    #[inline(always)]
    pub fn masked(&self, exception: u16) -> bool {
        self.control & exception != 0
    }

    /// Raises an exception that comes before the operation.
    ///
    /// # Errors
    /// It is not masked.
    #[inline(always)]
    pub fn raise(&mut self, exception: u16) -> Outcome<()> {
        self.raised |= exception;
        match self.masked(exception) {
            true => Ok(()),
            false => Err(Unmasked),
        }
    }

    /// An invalid operation: the masked response is the indefinite.
    #[cold]
    pub fn invalid(&mut self) -> Outcome<F80> {
        self.raise(status::IE)?;
        Ok(F80::INDEFINITE)
    }

    /// A register that should not be empty is.
    #[cold]
    pub fn stack_underflow(&mut self) -> Outcome<F80> {
        self.codes &= !status::C1;
        self.written |= status::C1;
        self.raised |= status::SF;
        self.invalid()
    }

    /// A register that should be empty is not.
    #[cold]
    pub fn stack_overflow(&mut self) -> Outcome<F80> {
        self.codes |= status::C1;
        self.written |= status::C1;
        self.raised |= status::SF;
        self.invalid()
    }

    /// Denormal operands.
    #[inline(always)]
    pub fn denormal(&mut self, denormal: bool) -> Outcome<()> {
        match denormal {
            false => Ok(()),
            true => self.raise(status::DE),
        }
    }

    /// Sets C0, C2 and C3; C1 stays what it is.
    #[inline(always)]
    pub fn set_codes(&mut self, codes: u16) {
        self.codes = self.codes & status::C1 | codes;
        self.written = CODES;
    }

    /// Says which condition codes are written; they are 0 until they are set.
    #[inline(always)]
    pub fn write_codes(&mut self, codes: u16) {
        self.written = codes;
    }

    /// Sets C2.
    pub fn set_c2(&mut self) {
        self.codes |= status::C2;
    }

    /// Leaves all condition codes alone, but for C1 after a stack fault.
    #[inline(always)]
    pub fn keep_codes(&mut self) {
        self.written = 0;
    }

    /// Sets C1.
    #[inline(always)]
    pub fn set_c1(&mut self, on: bool) {
        self.codes = self.codes & !status::C1 | u16::from(on) << 9;
    }

    /// What a single operand decides already: unsupported encodings and NaNs.
    #[inline(always)]
    pub fn special(&mut self, a: &Num) -> Outcome<Option<F80>> {
        match a.class {
            Class::Unsupported => self.invalid().map(Some),
            Class::Signaling => {
                self.raise(status::IE)?;
                Ok(Some(a.to_f80()))
            }
            Class::Quiet => Ok(Some(a.to_f80())),
            _ => Ok(None),
        }
    }

    /// What two operands decide already: unsupported encodings and NaNs (SDM vol. 1, table "Rules
    /// for Handling NaNs").
    #[inline(always)]
    pub fn specials(&mut self, a: &Num, b: &Num) -> Outcome<Option<F80>> {
        let ordinary = |n: &Num| n.class as u8 <= Class::Infinity as u8;
        match ordinary(a) && ordinary(b) {
            true => Ok(None),
            false => self.nan(a, b).map(Some),
        }
    }

    #[cold]
    fn nan(&mut self, a: &Num, b: &Num) -> Outcome<F80> {
        let either = |class| a.class == class || b.class == class;
        if either(Class::Unsupported) {
            return self.invalid();
        }
        if either(Class::Signaling) {
            self.raise(status::IE)?;
        }
        let first = match (a.class, b.class) {
            (Class::Signaling, Class::Quiet) => false,
            (Class::Quiet, Class::Signaling) => true,
            _ if !b.is_nan() => true,
            _ if !a.is_nan() => false,
            // The larger significand; of equal ones, the positive NaN.
            _ => (a.sig, b.negative) > (b.sig, a.negative),
        };
        Ok(if first { a.to_f80() } else { b.to_f80() })
    }
}
