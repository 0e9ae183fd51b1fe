// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Debug registers.

use crate::cpu::Cpu;
use crate::op::Trap;

impl Cpu {
    /// #DB for an instruction breakpoint at `rip`, unless RFLAGS.RF holds it back.
    pub fn instruction_breakpoint(&mut self) -> Result<(), Trap> {
        Ok(())
    }
}
