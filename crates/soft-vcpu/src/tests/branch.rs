// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Jumps, calls, loops, and the stack under them.

use iced_x86::code_asm::*;
use vcpu_events::Exception;

use super::machine::{Machine, CODE, DATA, PAGE_TABLES, STACK};
use crate::flags::bit;
use crate::segment::CS;
use crate::Exit;

#[test]
fn a_loop_sums_the_numbers_to_a_hundred() {
    let mut machine = Machine::long();
    let exit = machine.run(|a| {
        let mut again = a.create_label();
        a.xor(eax, eax)?;
        a.mov(ecx, 100)?;
        a.set_label(&mut again)?;
        a.add(eax, ecx)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 5050);
}

#[test]
fn calls_nest_and_return() {
    for mut machine in [Machine::long(), Machine::protected(), Machine::real()] {
        // CALL +1; HLT; (function) CALL +3; ADD AX, 1; RET; (inner) INC AX; RET
        let offset = machine.word();
        let mut code = vec![0xe8];
        code.extend(&1u32.to_le_bytes()[..offset]);
        code.push(0xf4);
        code.push(0xe8);
        let adds: &[u8] = &[0x04, 0x01, 0xc3];
        code.extend(&(adds.len() as u32).to_le_bytes()[..offset]);
        code.extend(adds);
        code.extend([0x04, 0x10, 0xc3]);
        assert_eq!(machine.run_bytes(&code), Exit::Halt);
        let state = machine.vcpu.state();
        assert_eq!(state.gpr[0], 0x11);
        assert_eq!(state.gpr[4], STACK);
    }
}

/// The sixteen conditions by the opcode's low four bits (SDM vol. 1, "EFLAGS Condition Codes").
fn condition(cc: u8, flags: u64) -> bool {
    let has = |bits: u64| flags & bits != 0;
    let less = has(bit::SF) != has(bit::OF);
    let value = match cc >> 1 {
        0 => has(bit::OF),
        1 => has(bit::CF),
        2 => has(bit::ZF),
        3 => has(bit::CF | bit::ZF),
        4 => has(bit::SF),
        5 => has(bit::PF),
        6 => less,
        _ => has(bit::ZF) || less,
    };
    value != (cc & 1 != 0)
}

#[test]
fn every_condition_under_all_flags() {
    let mut machine = Machine::long();
    for cc in 0..16 {
        // jcc +1; hlt; setcc al; cmovcc rcx, rdx; hlt
        let code = [0x70 + cc, 1, 0xf4, 0x0f, 0x90 + cc, 0xc0, 0x48, 0x0f, 0x40 + cc, 0xca, 0xf4];
        for n in 0..32 {
            let flags = [bit::CF, bit::PF, bit::ZF, bit::SF, bit::OF]
                .into_iter()
                .enumerate()
                .map(|(at, flag)| if n >> at & 1 != 0 { flag } else { 0 })
                .sum::<u64>();
            machine.state(|state| {
                state.gpr[..3].copy_from_slice(&[0xff00, 1, 2]);
                state.rflags = flags | bit::FIXED;
            });
            assert_eq!(machine.run_bytes(&code), Exit::Halt);
            let state = machine.vcpu.state();
            let (set, moved) = if condition(cc, flags) { (0xff01, 2) } else { (0xff00, 1) };
            let taken = state.rip == CODE + code.len() as u64;
            assert_eq!(taken, condition(cc, flags), "jump on {cc} under {flags:#x}");
            if taken {
                assert_eq!((state.gpr[0], state.gpr[1]), (set, moved), "{cc} under {flags:#x}");
            }
            // The same, not jumped over.
            machine.state(|state| state.gpr[..3].copy_from_slice(&[0xff00, 1, 2]));
            machine.run_bytes(&code[3..]);
            let state = machine.vcpu.state();
            assert_eq!((state.gpr[0], state.gpr[1]), (set, moved), "{cc} under {flags:#x}");
        }
    }
}

/// Code, RCX before, ZF -> whether it jumps, RCX after.
#[test]
fn loops_count_by_the_address_size() {
    for (code, count, zf, jumps, after) in [
        (&[0xe2, 1][..], 2u64, false, true, 1u64),
        (&[0xe2, 1], 1, true, false, 0),
        (&[0xe2, 1], 0, true, true, u64::MAX),
        (&[0x67, 0xe2, 1], 0x5_0000_0001, true, false, 0),
        (&[0x67, 0xe2, 1], 0x5_0000_0000, true, true, 0xffff_ffff),
        (&[0xe1, 1], 2, true, true, 1),
        (&[0xe1, 1], 2, false, false, 1),
        (&[0xe0, 1], 2, false, true, 1),
        (&[0xe0, 1], 2, true, false, 1),
        (&[0xe3, 1], 0, true, true, 0),
        (&[0xe3, 1], 0x1_0000_0000, true, false, 0x1_0000_0000),
        (&[0x67, 0xe3, 1], 0x1_0000_0000, true, true, 0x1_0000_0000),
    ] {
        let mut machine = Machine::long();
        machine.state(|state| {
            state.gpr[1] = count;
            state.rflags = bit::FIXED | if zf { bit::ZF } else { 0 };
        });
        assert_eq!(machine.run_bytes(&[code, &[0xf4, 0xf4]].concat()), Exit::Halt);
        let state = machine.vcpu.state();
        let end = CODE + code.len() as u64 + 1 + u64::from(jumps);
        assert_eq!((state.rip, state.gpr[1]), (end, after), "{code:x?} {count:#x} {zf}");
    }
}

#[test]
fn a_16_bit_loop_counts_cx() {
    let mut machine = Machine::real();
    machine.state(|state| state.gpr[1] = 0x7777_0003);
    // again: inc ax; loop again; hlt
    assert_eq!(machine.run_bytes(&[0x40, 0xe2, 0xfd, 0xf4]), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.gpr[0], state.gpr[1]), (3, 0x7777_0000));
}

fn faults(mut machine: Machine, code: &[u8], change: impl FnOnce(&mut crate::State)) -> Exit {
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(change);
    let before = machine.vcpu.state();
    let exit = machine.run_bytes(code);
    let after = machine.vcpu.state();
    assert_eq!((after.gpr, after.rflags), (before.gpr, before.rflags), "{code:x?}");
    exit
}

#[test]
fn no_branch_leaves_the_canonical_addresses() {
    let bad = 0x8000_0000_0000;
    // jmp rax; call rax; jmp [rbx]; call [rbx]; ret with the stack at DATA.
    for code in [&[0xff, 0xe0][..], &[0xff, 0xd0], &[0xff, 0x23], &[0xff, 0x13], &[0xc3]] {
        let mut machine = Machine::long();
        machine.write(DATA, &u64::to_le_bytes(bad));
        let exit = faults(machine, code, |state| {
            (state.gpr[0], state.gpr[3], state.gpr[4]) = (bad, DATA, DATA);
        });
        assert_eq!(exit, Exit::Exception(Exception::gp(0)), "{code:x?}");
    }
}

#[test]
fn a_direct_branch_off_the_canonical_addresses_faults_if_taken() {
    // The last canonical page below the hole is mapped to the code.
    let top = 0x7fff_ffff_f000;
    for (code, zf, fault) in [
        (&[0xeb, 0x7f][..], false, true),
        (&[0xe8, 0x7f, 0, 0, 0], false, true),
        (&[0x74, 0x7f], true, true),
        (&[0x74, 0x7f], false, false),
        (&[0xe2, 0x7f], false, true),
    ] {
        let mut machine = Machine::long();
        machine.vcpu.set_exception_exits(u32::MAX);
        map_top(&mut machine);
        let at = 0x1000 - code.len() as u64 - 1;
        machine.write(CODE + at, &[code, &[0xf4]].concat());
        machine.state(|state| {
            state.rip = top + at;
            state.rflags = bit::FIXED | if zf { bit::ZF } else { 0 };
        });
        let exit = machine.vcpu.run(100);
        match fault {
            true => assert_eq!(exit, Exit::Exception(Exception::gp(0)), "{code:x?}"),
            false => assert_eq!(exit, Exit::Halt, "{code:x?}"),
        }
        let state = machine.vcpu.state();
        assert_eq!((state.gpr[1], state.gpr[4]), (0, STACK));
    }
}

/// Maps the page below the hole in the canonical addresses to [`CODE`].
fn map_top(machine: &mut Machine) {
    let table = |n: u64| PAGE_TABLES + 0x8000 + 0x1000 * n;
    machine.write(PAGE_TABLES + 8 * 255, &(table(0) | 7).to_le_bytes());
    for n in 0..2 {
        machine.write(table(n) + 8 * 511, &(table(n + 1) | 7).to_le_bytes());
    }
    machine.write(table(2) + 8 * 511, &(CODE | 7).to_le_bytes());
}

#[test]
fn no_branch_exceeds_the_limit_of_cs() {
    // jmp eax; call eax; jmp +far; call +far; jnz +far; ret with the stack at DATA.
    for code in [
        &[0xff, 0xe0][..],
        &[0xff, 0xd0],
        &[0xe9, 0, 0, 0x10, 0],
        &[0xe8, 0, 0, 0x10, 0],
        &[0x0f, 0x85, 0, 0, 0x10, 0],
        &[0xc3],
    ] {
        let mut machine = Machine::protected();
        machine.write(DATA, &u32::to_le_bytes(0x18_0000));
        let exit = faults(machine, code, |state| {
            state.segments[usize::from(CS)].limit = 0x17_ffff;
            (state.gpr[0], state.gpr[4]) = (0x18_0000, DATA);
        });
        assert_eq!(exit, Exit::Exception(Exception::gp(0)), "{code:x?}");
    }
}

#[test]
fn a_16_bit_operand_size_cuts_ip() {
    // In 32-bit code below 64 KiB: jmp ax with more in EAX.
    let mut machine = Machine::protected();
    machine.write(0x5000, &[0xf4]);
    machine.state(|state| state.gpr[0] = 0x9999_5000);
    assert_eq!(machine.run_bytes(&[0x66, 0xff, 0xe0]), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, 0x5001);
    // In 16-bit code: a jump across the end of the segment comes back at its start.
    let mut machine = Machine::real();
    machine.write(0x10, &[0xf4]);
    machine.write(0xfff0, &[0xeb, 0x1e]);
    machine.state(|state| state.rip = 0xfff0);
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, 0x11);
}

#[test]
fn ret_releases_its_arguments() {
    let mut machine = Machine::long();
    let exit = machine.run(|a| {
        let mut function = a.create_label();
        a.push(1)?;
        a.push(2)?;
        a.call(function)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.ret_1(16)
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[4], STACK);
}

/// BOUND EAX, bounds -3 and 5.
#[test]
fn bound_includes_its_bounds() {
    let br = Exit::Exception(Exception::new(5, None).unwrap());
    for (index, exit) in [(-4, br), (-3, Exit::Halt), (5, Exit::Halt), (6, br)] {
        let mut machine = Machine::protected();
        machine.vcpu.set_exception_exits(u32::MAX);
        machine.write(DATA, &(-3i32).to_le_bytes());
        machine.write(DATA + 4, &5i32.to_le_bytes());
        machine.state(|state| (state.gpr[0], state.gpr[3]) = (u64::from(index as u32), DATA));
        assert_eq!(machine.run_bytes(&[0x62, 0x03, 0xf4]), exit, "{index}");
    }
}
