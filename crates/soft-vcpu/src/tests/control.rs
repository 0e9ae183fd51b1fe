// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Control registers, MSRs, CPUID, ports, system flags.

use iced_x86::code_asm::*;

use super::machine::Machine;
use crate::{spec, CpuidResult, Exit};

fn accumulator(machine: &Machine) -> u64 {
    machine.vcpu.state().gpr[0]
}

#[test]
fn control_registers_read_what_was_written() {
    let mut machine = Machine::long();
    machine.state(|state| {
        state.gpr[0] = state.cr4 | spec::cr4::PSE;
        state.gpr[3] = 0x1234_5678_9abc;
    });
    let exit = machine.run(|a| {
        a.mov(cr4, rax)?;
        a.mov(cr2, rbx)?;
        a.mov(rdi, cr4)?;
        a.mov(rsi, cr2)?;
        a.mov(r8, cr0)?;
        a.mov(r9, cr3)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!(state.gpr[7], state.cr4);
    assert_ne!(state.cr4 & spec::cr4::PSE, 0);
    assert_eq!(state.gpr[6], 0x1234_5678_9abc);
    assert_eq!((state.gpr[8], state.gpr[9]), (state.cr0, state.cr3));
    assert_ne!(state.cr0 & spec::cr0::PG, 0);
    assert_ne!(state.efer & spec::efer::LMA, 0);
}

#[test]
fn ports_exit_and_are_completed() {
    let mut machine = Machine::long();
    machine.state(|state| state.gpr[0] = u64::MAX);
    let code = [0xe4, 0xf0, 0x66, 0xef, 0xf4]; // in al, 0xf0; out dx, ax; hlt
    assert_eq!(machine.run_bytes(&code), Exit::PortRead { port: 0xf0, size: 1 });
    machine.vcpu.complete(0x1_23);
    assert_eq!(machine.vcpu.run(10), Exit::PortWrite { port: 0, size: 2, value: 0xff23 });
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(accumulator(&machine), !0xff | 0x23);
    assert_eq!(machine.vcpu.executed(), 3);
}

#[test]
fn cpuid_tells_the_apic_as_its_base_says() {
    let mut machine = Machine::long();
    let one = CpuidResult { eax: 0x1234, ebx: 1, ecx: 1 << 27 | 2, edx: 1 << 9 | 4 };
    machine.vcpu.cpu.cpuid.set(0, None, CpuidResult { eax: 1, ..Default::default() });
    machine.vcpu.cpu.cpuid.set(1, None, one);
    for (base, features) in [(0xfee0_0000, 4), (0xfee0_0800, 0x204)] {
        machine.vcpu.set_apic_base(base);
        machine.state(|state| state.gpr[..4].fill(u64::MAX << 32 | 1));
        assert_eq!(machine.run_bytes(&[0x0f, 0xa2, 0xf4]), Exit::Halt);
        let gpr = machine.vcpu.state().gpr;
        assert_eq!([gpr[0], gpr[3], gpr[1], gpr[2]], [0x1234, 1, 2, features]);
    }
}
