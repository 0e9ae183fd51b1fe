// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! When errors are reported, what the pointers tell, what a fault leaves alone.

use iced_x86::code_asm::*;

use super::super::machine::{Machine, CODE, DATA, REAL_CODE};
use crate::spec::cr0;
use crate::x87::status;
use crate::{Exception, Exit};

/// 1.0 / 0.0 with the zero-divide exception unmasked.
fn divide_by_zero(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.fninit()?;
    a.mov(word_ptr(DATA), 0x37b)?;
    a.fldcw(word_ptr(DATA))?;
    a.fld1()?;
    a.fldz()?;
    a.fdivp(st1, st0)
}

fn machine() -> Machine {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine
}

#[test]
fn an_unmasked_exception_is_raised_by_the_next_waiting_instruction() {
    let mut machine = machine();
    let exit = machine.run(|a| {
        divide_by_zero(a)?;
        a.nop()?;
        a.fnstsw(ax)?;
        a.fnstcw(word_ptr(DATA + 2))?;
        a.fld1()?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Exception(Exception::mf()));
    let state = machine.vcpu.state();
    // ES, B and ZE; both operands are still there.
    assert_eq!(state.gpr[0], u64::from(status::ES | status::B | status::ZE | 6 << 11));
    assert_eq!(state.ftw, 0xc0);
    assert_eq!(machine.read_u64(state.rip) & 0xffff, 0xe8d9, "RIP is at FLD1");
}

#[test]
fn wait_and_mmx_raise_it_too_and_fnclex_takes_it_back() {
    type Code = fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>;
    let waiting: [Code; 4] =
        [|a| a.wait(), |a| a.emms(), |a| a.paddb(mm0, mm1), |a| a.movq(rax, mm0)];
    for code in waiting {
        let exit = machine().run(|a| {
            divide_by_zero(a)?;
            code(a)
        });
        assert_eq!(exit, Exit::Exception(Exception::mf()));
    }
    let exit = machine().run(|a| {
        divide_by_zero(a)?;
        a.fnclex()?;
        a.wait()?;
        a.fld1()?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
}

#[test]
fn unmasking_a_flag_that_is_set_makes_it_pending() {
    let exit = machine().run(|a| {
        a.fninit()?;
        a.fld1()?;
        a.fldz()?;
        a.fdivp(st1, st0)?;
        a.mov(word_ptr(DATA), 0x37b)?;
        a.fldcw(word_ptr(DATA))?;
        a.fnop()?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Exception(Exception::mf()));
}

#[test]
fn without_cr0_ne_the_vcpu_says_that_it_has_no_ferr() {
    type Code = fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>;
    let waiting: [Code; 3] = [|a| a.wait(), |a| a.emms(), |a| a.paddb(mm0, mm1)];
    for code in waiting {
        let mut machine = machine();
        machine.state(|state| state.cr0 &= !cr0::NE);
        let exit = machine.run(|a| {
            divide_by_zero(a)?;
            code(a)
        });
        assert!(matches!(exit, Exit::Unsupported(text) if text.contains("FERR#")), "{exit:?}");
    }
}

#[test]
fn ts_and_em_make_every_x87_instruction_unavailable() {
    type Code = fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>;
    let codes: [Code; 5] = [
        |a| a.fninit(),
        |a| a.fnstsw(ax),
        |a| a.fisttp(dword_ptr(DATA)),
        |a| a.fcmovb(st0, st1),
        |a| a.fcomi(st0, st1),
    ];
    for code in codes {
        for bit in [cr0::TS, cr0::EM] {
            let mut machine = machine();
            machine.state(|state| state.cr0 |= bit);
            assert_eq!(machine.run(code), Exit::Exception(Exception::nm()));
        }
    }
    // WAIT obeys TS (with MP) alone.
    let mut machine = machine();
    machine.state(|state| state.cr0 |= cr0::EM);
    let exit = machine.run(|a| {
        a.wait()?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    machine.state(|state| state.cr0 |= cr0::TS | cr0::MP);
    assert_eq!(machine.run(|a| a.wait()), Exit::Exception(Exception::nm()));
}

#[test]
fn a_store_that_faults_pops_nothing() {
    const NOWHERE: u64 = 1 << 31;
    let mut machine = machine();
    let exit = machine.run(|a| {
        a.fninit()?;
        a.fldpi()?;
        a.mov(rbx, NOWHERE)?;
        a.fstp(dword_ptr(rbx))
    });
    assert!(matches!(exit, Exit::Exception(exception) if exception.vector() == 14), "{exit:?}");
    let state = machine.vcpu.state();
    // Not even that pi is inexact in single precision.
    assert_eq!((state.fsw, state.ftw), (7 << 11, 0x80));
}

/// The environment as 16-bit or 32-bit fields, after FLD1 and an FADD with memory that raises an
/// unmasked invalid operation.
fn environment(machine: &mut Machine, code: &[u8]) -> Vec<u32> {
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.write(DATA, &0x7f80_0001u32.to_le_bytes());
    assert_eq!(machine.run_bytes(code), Exit::Halt);
    (0..7).map(|n| machine.read_u64(DATA + 0x100 + 4 * n) as u32).collect()
}

#[test]
fn pointers_tell_the_last_instruction_and_its_operand() {
    // fninit; fldcw [rdx + 0x10]; fld1; fadd dword [rdx]; fnstenv [rdx + 0x100]; hlt
    let code = [
        0xdb, 0xe3, 0xd9, 0x6a, 0x10, 0xd9, 0xe8, 0xd8, 0x02, 0xd9, 0xb2, 0x00, 0x01, 0x00, 0x00,
        0xf4,
    ];
    for (mut machine, selector) in [(Machine::long(), 0x08), (Machine::protected(), 0x18)] {
        machine.state(|state| state.gpr[2] = DATA);
        machine.write(DATA + 0x10, &0x37eu16.to_le_bytes());
        let fields = environment(&mut machine, &code);
        // Tag word: only register 7 is in use, and valid.
        let control_status_tag = [0xffff_037e, 0xffff_b881, 0xffff_3fff];
        assert_eq!(fields[..3], control_status_tag);
        assert_eq!(
            fields[3..],
            [CODE as u32 + 7, selector | 0x002 << 16, DATA as u32, 0xffff_0010]
        );
        // All exceptions are masked then.
        assert_eq!((machine.vcpu.state().fcw, machine.vcpu.state().fsw), (0x37f, 0x3801));
    }
}

#[test]
fn real_mode_has_linear_pointers() {
    // fninit; fldcw [si + 0x10]; fld1; fadd dword [si]; fnstenv [si + 0x20]; hlt
    let code = [0xdb, 0xe3, 0xd9, 0x6c, 0x10, 0xd9, 0xe8, 0xd8, 0x04, 0xd9, 0x74, 0x20, 0xf4];
    let mut machine = Machine::real();
    let data = 0x2_0000;
    machine.state(|state| {
        state.segments[3] = crate::Segment::real(0x2000, 3);
        state.gpr[6] = 0;
    });
    machine.write(data, &0x7f80_0001u32.to_le_bytes());
    machine.write(data + 0x10, &0x37eu16.to_le_bytes());
    assert_eq!(machine.run_bytes(&code), Exit::Halt);
    let field = |n: u64| machine.read_u64(data + 0x20 + 2 * n) as u16;
    let fields: Vec<u16> = (0..7).map(field).collect();
    let upper = |linear: u64| (linear >> 16 << 12) as u16;
    let ip = REAL_CODE + 7;
    let expected = [0x37e, 0xb881, 0x3fff, ip as u16, upper(ip) | 0x004, data as u16, upper(data)];
    assert_eq!(fields, expected);
}

#[test]
fn fldenv_brings_back_what_fnstenv_stored() {
    let mut machine = machine();
    machine.state(|state| {
        (state.fcw, state.fsw, state.ftw) = (0x27f, 0x5124, 0x5a);
        (state.fip, state.fdp, state.fop) = ((0x33, 0x1234_5678), (0x2b, 0x9abc_def0), 0x7a5);
        for (n, register) in (0..).zip(&mut state.x87) {
            *register = (1 << 63 | n, 0x3fff);
        }
    });
    let before = machine.vcpu.state();
    let exit = machine.run(|a| {
        a.fnsave(ptr(DATA))?;
        a.frstor(ptr(DATA))?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    let after = machine.vcpu.state();
    assert_eq!((after.fcw, after.fsw, after.ftw), (before.fcw, before.fsw, before.ftw));
    assert_eq!((after.fip, after.fdp, after.fop), (before.fip, before.fdp, before.fop));
    assert_eq!(after.x87, before.x87);
}

#[test]
fn pointers_that_are_no_real_mode_addresses_are_cut() {
    let mut machine = Machine::real();
    machine.state(|state| {
        (state.fip, state.fdp) = ((0xffff, u64::MAX), (0xffff, u64::MAX));
        state.gpr[6] = 0x2000;
    });
    // fnstenv [si], with 16-bit and with 32-bit fields; hlt
    assert_eq!(machine.run_bytes(&[0xd9, 0x34, 0x66, 0xd9, 0x74, 0x20, 0xf4]), Exit::Halt);
    assert_eq!(machine.read_u64(0x2006) as u16, 0xffef);
}
