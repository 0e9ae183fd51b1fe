// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The same instruction executed by a soft vCPU.

use vm_memory::{Bytes, GuestAddress};

use super::registers::Registers;
use super::PAGE;
use crate::sse::Sse;
use crate::tests::machine::{Machine, CODE, MEMORY};
use crate::x87::{F80, X87};
use crate::Exit;

/// The data page is the last one that there is: an access that reaches too far asks the VMM.
const DATA: u64 = MEMORY - PAGE as u64;

pub struct Soft {
    machine: Machine,
}

impl Soft {
    pub fn new() -> Self {
        Soft { machine: Machine::long() }
    }

    pub fn load(&mut self, instruction: &[u8]) {
        self.machine.write(CODE, &[instruction, &[0xf4]].concat());
    }

    /// The registers after; `memory`, the end of the data page, is changed.
    pub fn run(&mut self, registers: &Registers, memory: &mut [u8]) -> Registers {
        let at = GuestAddress(MEMORY - memory.len() as u64);
        self.machine.memory.write_slice(memory, at).unwrap();
        let cpu = &mut self.machine.vcpu.cpu;
        cpu.gpr[..16].copy_from_slice(&registers.gpr);
        cpu.gpr[6] += DATA;
        cpu.gpr[7] += DATA;
        cpu.flags.set_status(registers.flags);
        cpu.sse = Sse { xmm: registers.xmm, mxcsr: registers.mxcsr };
        cpu.x87 = X87 {
            regs: registers.x87.map(|(mantissa, sign_exponent)| F80 { mantissa, sign_exponent }),
            control: 0x37f,
            status: registers.fsw,
            used: registers.ftw,
            ..X87::default()
        };
        cpu.rip = CODE;
        assert_eq!(self.machine.vcpu.run(10), Exit::Halt);
        self.machine.memory.read_slice(memory, at).unwrap();
        let cpu = &self.machine.vcpu.cpu;
        let mut gpr: [u64; 16] = std::array::from_fn(|n| cpu.gpr[n]);
        gpr[6] -= DATA;
        gpr[7] -= DATA;
        Registers {
            gpr,
            flags: cpu.flags.status(),
            fsw: cpu.x87.status,
            ftw: cpu.x87.used,
            x87: cpu.x87.regs.map(|register| (register.mantissa, register.sign_exponent)),
            xmm: cpu.sse.xmm,
            mxcsr: cpu.sse.mxcsr,
        }
    }
}
