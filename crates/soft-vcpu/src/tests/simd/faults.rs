// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Exceptions of MMX and SSE instructions, and that nothing has happened before them.

use iced_x86::code_asm::*;
use iced_x86::Code;
use vcpu_events::Exception;

use super::registers::Rng;
use super::{forms, forms_of, may_be_unaligned, ours};
use crate::tests::machine::{Machine, CODE, DATA, MEMORY, PAGE_TABLES};
use crate::{Exit, State};

/// A machine of which exceptions exit.
fn machine() -> Machine {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine
}

/// The state without what `run_bytes` sets.
fn registers(machine: &Machine) -> State {
    State { rip: 0, ..machine.vcpu.state() }
}

/// Executes one instruction with its memory operand at an address; the exception, and that no
/// register has changed if there is one.
fn run_at(machine: &mut Machine, instruction: &[u8], at: u64) -> Option<Exception> {
    machine.state(|state| (state.gpr[6], state.gpr[7]) = (at, at));
    let before = registers(machine);
    match machine.run_bytes(&[instruction, &[0xf4]].concat()) {
        Exit::Halt => None,
        Exit::Exception(exception) => {
            assert_eq!(State { cr2: 0, ..registers(machine) }, State { cr2: 0, ..before });
            assert_eq!(machine.vcpu.state().rip, CODE);
            Some(exception)
        }
        other => panic!("{other:?}"),
    }
}

fn with_memory() -> impl Iterator<Item = Code> {
    ours(|code| forms_of(code).any(|memory| memory))
}

#[test]
fn sixteen_bytes_are_aligned_or_gp_where_the_manual_says_so() {
    let (mut machine, mut rng) = (machine(), Rng(7));
    for code in with_memory() {
        let bytes = forms::instruction(code, true, 0x55, &mut rng);
        let size = forms::memory_size(code);
        for offset in [1, 4, 8, 15] {
            let wanted = size == 16 && !may_be_unaligned(code.mnemonic());
            let raised = run_at(&mut machine, &bytes, DATA + offset);
            assert_eq!(raised, wanted.then_some(Exception::gp(0)), "{code:?} at {offset}");
        }
        assert_eq!(run_at(&mut machine, &bytes, DATA + 16), None, "{code:?}");
    }
}

/// The second of two pages, into which an operand reaches by a byte, is not there.
#[test]
fn a_page_fault_leaves_registers_and_memory_alone() {
    let (mut machine, mut rng) = (machine(), Rng(8));
    // DATA + 2 MiB is unmapped.
    machine.write(PAGE_TABLES + 0x2000 + 8 * ((DATA >> 21) + 1), &[0; 8]);
    let end = (DATA >> 21 << 21) + (2 << 20);
    assert!(end <= MEMORY);
    for code in with_memory() {
        let bytes = forms::instruction(code, true, 0x55, &mut rng);
        let size = forms::memory_size(code) as u64;
        // Where alignment is due, an operand never crosses.
        let at = match size == 16 && !may_be_unaligned(code.mnemonic()) {
            true => end,
            false => end - size + 1,
        };
        let before: Vec<u64> = (0..4).map(|n| machine.read_u64(end - 32 + 8 * n)).collect();
        machine.state(|state| {
            // A mask of ones, whichever register has it; TOP is not 0.
            state.xmm = [u128::MAX; 16];
            state.x87 = [(u64::MAX, 0x1234); 8];
            (state.fsw, state.ftw) = (5 << 11, 0x18);
        });
        let raised = run_at(&mut machine, &bytes, at);
        let raised = raised.unwrap_or_else(|| panic!("{code:?} went through"));
        assert_eq!(raised.vector(), 14, "{code:?}");
        assert_eq!(raised.payload(), Some(end), "{code:?}");
        let after: Vec<u64> = (0..4).map(|n| machine.read_u64(end - 32 + 8 * n)).collect();
        assert_eq!(before, after, "{code:?}");
    }
}

#[test]
fn a_masked_move_touches_only_the_pages_of_its_bytes() {
    let mut machine = machine();
    machine.write(PAGE_TABLES + 0x2000 + 8 * ((DATA >> 21) + 1), &[0; 8]);
    let end = (DATA >> 21 << 21) + (2 << 20);
    let bytes = [0x66, 0x0f, 0xf7, 0xc1]; // MASKMOVDQU XMM0, XMM1
    machine.state(|state| {
        state.xmm[0] = u128::from_le_bytes(*b"0123456789abcdef");
        state.xmm[1] = 0x80 << 16 | 0x80 << 56;
    });
    assert_eq!(run_at(&mut machine, &bytes, end - 8), None);
    assert_eq!(machine.read_u64(end - 8).to_le_bytes(), [0, 0, b'2', 0, 0, 0, 0, b'7']);
    machine.state(|state| state.xmm[1] = 0);
    assert_eq!(run_at(&mut machine, &bytes, end), None);
}

#[test]
fn mmx_raises_mf_for_a_pending_x87_exception_and_sse_does_not() {
    let (mut machine, mut rng) = (machine(), Rng(9));
    for code in ours(|_| true) {
        for memory in forms_of(code) {
            let bytes = forms::instruction(code, memory, 0x55, &mut rng);
            // ES, B, ZE.
            machine.state(|state| (state.fcw, state.fsw) = (0x37b, 0x8084));
            // A bad address does not come first.
            let name = format!("{code:?}");
            let mmx = name.contains("_mm") && !name.contains("_mmxm") || code == Code::Emms;
            let at = if memory && mmx { 1 << 60 } else { DATA };
            let raised = run_at(&mut machine, &bytes, at);
            assert_eq!(raised, mmx.then_some(Exception::mf()), "{code:?}");
        }
    }
}

#[test]
fn segment_limits_hold() {
    let mut machine = Machine::protected();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| state.segments[3].limit = DATA as u32 + 15);
    let mut load = |at: u64| {
        machine.state(|state| state.gpr[6] = at);
        machine.run(|a| {
            a.movups(xmm0, xmmword_ptr(esi))?;
            a.hlt()
        })
    };
    assert_eq!(load(DATA), Exit::Halt);
    assert_eq!(load(DATA + 1), Exit::Exception(Exception::gp(0)));
    let mut store = |mask: u128| {
        machine.state(|state| (state.gpr[7], state.xmm[1]) = (DATA + 1, mask));
        machine.run(|a| {
            a.maskmovdqu(xmm0, xmm1)?;
            a.hlt()
        })
    };
    assert_eq!(store(0x80), Exit::Exception(Exception::gp(0)));
}

/// In real mode, 16-bit addresses and no REX registers.
#[test]
fn real_mode_has_sse_once_it_is_enabled() {
    let mut machine = Machine::real();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.write(0x5000, &[0x80; 16]);
    let run = |machine: &mut Machine| {
        machine.state(|state| state.gpr[6] = 0x5000);
        machine.run(|a| {
            a.movdqa(xmm3, xmmword_ptr(si))?;
            a.pmovmskb(eax, xmm3)?;
            a.hlt()
        })
    };
    assert_eq!(run(&mut machine), Exit::Exception(Exception::ud()));
    machine.state(|state| state.cr4 |= crate::spec::cr4::OSFXSR);
    assert_eq!(run(&mut machine), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 0xffff);
}

/// What x86-64-v2 does not have although its encodings look alike.
#[test]
fn newer_and_foreign_instructions_do_not_exist() {
    let mut machine = machine();
    for (name, bytes) in [
        ("PCLMULQDQ", &[0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x00][..]),
        ("AESENC", &[0x66, 0x0f, 0x38, 0xdc, 0xc1]),
        ("SHA1MSG1", &[0x0f, 0x38, 0xc9, 0xc1]),
        ("GF2P8MULB", &[0x66, 0x0f, 0x38, 0xcf, 0xc1]),
        ("EXTRQ", &[0x66, 0x0f, 0x79, 0xc1]),
        ("MOVNTSS", &[0xf3, 0x0f, 0x2b, 0x06]),
        ("VPXOR", &[0xc5, 0xf1, 0xef, 0xc2]),
        ("PAVGUSB", &[0x0f, 0x0f, 0xc1, 0xbf]),
        ("PHADDW without an operand size it has", &[0xf3, 0x0f, 0x38, 0x01, 0xc1]),
    ] {
        let raised = run_at(&mut machine, bytes, DATA);
        assert_eq!(raised, Some(Exception::ud()), "{name}");
    }
}
