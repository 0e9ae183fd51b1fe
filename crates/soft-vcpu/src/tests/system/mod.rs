// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! System instructions.

mod alignment;
mod breakpoints;
mod control;
mod flags;
mod msr;
mod ports;
mod prefixes;
mod single_step;
mod table;

use vcpu_events::Exception;

use super::machine::{segment, Machine, TSS, USER_CODE32, USER_CODE64, USER_DATA};
use crate::segment::{CS, SS};
use crate::{CpuidResult, Exit, State};

const GP: Exit = Exit::Exception(Exception::gp(0));
const UD: Exit = Exit::Exception(Exception::ud());

impl Machine {
    /// All exceptions exit.
    fn exiting(mut self) -> Self {
        self.vcpu.set_exception_exits(u32::MAX);
        self
    }

    /// At privilege level 3, without a bit map for ports.
    fn user(mut self) -> Self {
        self.write(TSS + 0x66, &[0xff, 0xff]);
        self.state(|state| {
            let long = state.segments[usize::from(CS)].rights.long();
            let code = if long { USER_CODE64 } else { USER_CODE32 };
            state.segments[usize::from(CS)] = segment(code);
            state.segments[usize::from(SS)] = segment(USER_DATA);
        });
        self
    }

    /// With a CPUID leaf.
    fn cpuid(mut self, leaf: u32, eax: u32, ebx: u32, ecx: u32, edx: u32) -> Self {
        let table = &mut self.vcpu.cpu.cpuid;
        if leaf < 0x8000_0000 {
            table.set(0, None, CpuidResult { eax: 7, ..Default::default() });
        } else {
            let eax = 0x8000_0008;
            table.set(0x8000_0000, None, CpuidResult { eax, ..Default::default() });
        }
        table.set(leaf, None, CpuidResult { eax, ebx, ecx, edx });
        self
    }

    /// Runs `code` with RAX, RCX and RDX.
    fn with(&mut self, rax: u64, rcx: u64, rdx: u64, code: &[u8]) -> Exit {
        self.state(|state| {
            (state.gpr[0], state.gpr[1], state.gpr[2]) = (rax, rcx, rdx);
        });
        self.run_bytes(&[code, &[0xf4]].concat())
    }

    fn now(&self) -> State {
        self.vcpu.state()
    }
}
