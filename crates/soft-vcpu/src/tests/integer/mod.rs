// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Shifts, bits, multiplication and division in registers, against the processor that the test
//! runs on: the same bytes are executed by both.

mod bcd;
mod bits;
mod muldiv;
mod shift;

use vcpu_events::Exception;

use super::machine::{Machine, CODE};
use crate::cpu::Cause;
use crate::decode;
use crate::flags::bit;

/// RAX, RCX, RDX and the status flags.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Registers {
    rax: u64,
    rcx: u64,
    rdx: u64,
    flags: u64,
}

/// An instruction on those: its bytes, and the host's execution of them.
#[derive(Clone, Copy)]
struct Instruction {
    bytes: &'static [u8],
    native: fn(&mut Registers),
}

macro_rules! instruction {
    ($($byte:literal),+) => {{
        fn native(registers: &mut super::Registers) {
            // SAFETY: the bytes are an instruction that changes RAX, RCX, RDX and flags alone.
            unsafe {
                std::arch::asm!(
                    "push r8",
                    "popfq",
                    $(concat!(".byte ", $byte),)+
                    "pushfq",
                    "pop r8",
                    inout("rax") registers.rax,
                    inout("rcx") registers.rcx,
                    inout("rdx") registers.rdx,
                    inout("r8") registers.flags,
                );
            }
            registers.flags &= crate::flags::bit::STATUS;
        }
        super::Instruction { bytes: &[$($byte),+], native }
    }};
}
use instruction;

/// A processor without memory of its instructions.
struct Soft(Machine);

impl Soft {
    fn new() -> Self {
        Soft(Machine::long())
    }

    fn execute(&mut self, bytes: &[u8], before: Registers) -> Result<Registers, Exception> {
        let cpu = &mut self.0.vcpu.cpu;
        (cpu.gpr[0], cpu.gpr[1], cpu.gpr[2]) = (before.rax, before.rcx, before.rdx);
        cpu.flags.set(before.flags);
        let Ok(decoded) = decode::decode(bytes, CODE, cpu.mode) else { panic!("{bytes:x?}") };
        if (decoded.op.run)(cpu, &decoded.op).is_err() {
            let Cause::Exception(exception) = cpu.trap else { panic!("{:?}", cpu.trap) };
            return Err(exception);
        }
        let [rax, rcx, rdx, ..] = cpu.gpr;
        Ok(Registers { rax, rcx, rdx, flags: cpu.flags.status() })
    }

    /// Both processors' results must be the same, but for the flags in `undefined`.
    fn compare(&mut self, instruction: Instruction, before: Registers, undefined: u64) {
        let mut native = before;
        (instruction.native)(&mut native);
        let soft = self.execute(instruction.bytes, before).map(|soft| Registers {
            flags: soft.flags & !undefined | native.flags & undefined,
            ..soft
        });
        assert_eq!(soft, Ok(native), "{:02x?} of {before:x?}", instruction.bytes);
    }
}

/// Numbers at random, more often than not of the kind that shows mistakes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    fn operand(&mut self) -> u64 {
        let value = self.next();
        match self.next() >> 60 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (value & 63),
            3 => (1 << (value & 63)) - 1,
            4 => value & 0xff,
            5 => (value & 0xff).wrapping_neg(),
            6 => 0x8080_8000_8000_8080,
            7 => value >> (value & 63),
            _ => value,
        }
    }

    fn registers(&mut self) -> Registers {
        Registers {
            rax: self.operand(),
            rcx: self.operand(),
            rdx: self.operand(),
            flags: self.next() & bit::STATUS,
        }
    }
}
