// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One case: code, what is in the registers and in memory before, and what comes out.

use std::fmt;

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter};

use super::layout::CODE;

/// Registers, as both sides start with them and leave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// The 512 bytes of FXSAVE64.
    pub fx: [u8; 512],
}

/// One case.
#[derive(Clone)]
pub struct Case {
    /// Instructions.
    pub code: Vec<u8>,
    /// Registers before.
    pub registers: Registers,
    /// The seed of memory's contents.
    pub memory: u64,
    /// What is not compared after it.
    pub undefined: Undefined,
}

/// What an instruction leaves that is not the same on every processor; it ends its case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undefined {
    /// Bits of RFLAGS.
    pub rflags: u64,
    /// Bits of the x87 status word.
    pub fsw: u16,
}

/// What a side makes of a case.
pub struct Outcome {
    /// Registers after.
    pub registers: Registers,
    /// Memory after.
    pub memory: Vec<u8>,
    /// Vector and instruction pointer of the exception that ended it.
    pub exception: Option<(u8, u64)>,
}

impl Case {
    /// The instructions.
    pub fn instructions(&self) -> Vec<Instruction> {
        Decoder::with_ip(64, &self.code, CODE, DecoderOptions::NONE).into_iter().collect()
    }

    /// Names of the instructions that were executed to their ends: with an exception, those in
    /// front of it.
    pub fn executed(&self, exception: Option<(u8, u64)>) -> Vec<String> {
        let end = exception.map_or(u64::MAX, |(_, rip)| rip);
        let instructions = self.instructions().into_iter().take_while(|one| one.ip() < end);
        instructions.map(|one| format!("{:?}", one.mnemonic())).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut formatter = NasmFormatter::new();
        for instruction in self.instructions() {
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            let start = (instruction.ip() - CODE) as usize;
            let bytes = &self.code[start..(start + instruction.len()).min(self.code.len())];
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(f, "  {:#x}  {hex:<30} {text}", instruction.ip())?;
        }
        write!(f, "  before: rflags {:#x}", self.registers.rflags)?;
        for (n, value) in self.registers.gpr.iter().enumerate() {
            write!(f, " r{n}={value:#x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_faults_and_what_follows_was_not_executed() {
        let case = Case {
            code: vec![0x90, 0xf7, 0xf0, 0xf8], // NOP; DIV EAX; CLC
            registers: Registers { gpr: [0; 16], rflags: 2, fx: [0; 512] },
            memory: 0,
            undefined: Undefined::default(),
        };
        assert_eq!(case.executed(None), ["Nop", "Div", "Clc"]);
        assert_eq!(case.executed(Some((0, CODE + 1))), ["Nop"]);
        assert_eq!(case.executed(Some((0, CODE))), [""; 0]);
    }
}
