// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Arithmetic and logic: against this processor, and with memory that faults or is a device.

use iced_x86::code_asm::*;

use super::machine::{Machine, DATA};
use crate::flags::bit;
use crate::Exit;

/// Where no page is mapped.
const UNMAPPED: u64 = 1 << 30;
/// Mapped, but no memory.
const DEVICE: u64 = 0x80_0000;

/// Operands at the edges of every size.
const EDGES: [u64; 14] = [
    0,
    1,
    0xf,
    0x10,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff_ffff,
    0x7fff_ffff,
    0x8000_0000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// `a op b` by this processor, with `flags` before: the whole register and the status flags.
macro_rules! native {
    ($instruction:expr) => {
        |mut a: u64, b: u64, mut flags: u64| -> (u64, u64) {
            // SAFETY: register arithmetic; the stack is used as the compiler allows it to be.
            unsafe {
                std::arch::asm!(
                    "push {f}", "popfq", $instruction, "pushfq", "pop {f}",
                    in("rcx") b, f = inout(reg) flags, inout("rax") a,
                );
            }
            (a, flags & bit::STATUS)
        }
    };
}

type Native = fn(u64, u64, u64) -> (u64, u64);

/// Opcode bytes of `op ax, cx` in the four sizes, and what does the same here.
macro_rules! binary {
    ($name:literal, $opcode:literal) => {
        [
            (vec![$opcode, 0xc8], native!(concat!($name, " al, cl")) as Native),
            (vec![0x66, $opcode + 1, 0xc8], native!(concat!($name, " ax, cx")) as Native),
            (vec![$opcode + 1, 0xc8], native!(concat!($name, " eax, ecx")) as Native),
            (vec![0x48, $opcode + 1, 0xc8], native!(concat!($name, " rax, rcx")) as Native),
        ]
    };
}

macro_rules! unary {
    ($name:literal, $opcode:literal, $modrm:literal) => {
        [
            (vec![$opcode, $modrm], native!(concat!($name, " al")) as Native),
            (vec![0x66, $opcode + 1, $modrm], native!(concat!($name, " ax")) as Native),
            (vec![$opcode + 1, $modrm], native!(concat!($name, " eax")) as Native),
            (vec![0x48, $opcode + 1, $modrm], native!(concat!($name, " rax")) as Native),
        ]
    };
}

fn instructions() -> Vec<(Vec<u8>, Native)> {
    [
        binary!("add", 0x00),
        binary!("or", 0x08),
        binary!("adc", 0x10),
        binary!("sbb", 0x18),
        binary!("and", 0x20),
        binary!("sub", 0x28),
        binary!("xor", 0x30),
        binary!("cmp", 0x38),
        binary!("test", 0x84),
        unary!("inc", 0xfe, 0xc0),
        unary!("dec", 0xfe, 0xc8),
        unary!("not", 0xf6, 0xd0),
        unary!("neg", 0xf6, 0xd8),
    ]
    .concat()
}

#[test]
fn results_and_flags_are_this_processors() {
    let mut machine = Machine::long();
    for (code, native) in instructions() {
        let code = [code, vec![0xf4]].concat();
        for (a, b) in EDGES.into_iter().flat_map(|a| EDGES.map(|b| (a, b))) {
            for before in [bit::FIXED, bit::FIXED | bit::STATUS] {
                machine.state(|state| {
                    (state.gpr[0], state.gpr[1], state.rflags) = (a, b, before);
                });
                assert_eq!(machine.run_bytes(&code), Exit::Halt);
                let state = machine.vcpu.state();
                let got = (state.gpr[0], state.rflags & bit::STATUS);
                assert_eq!(got, native(a, b, before), "{code:x?} {a:#x} {b:#x} {before:#x}");
            }
        }
    }
}

/// `op [rbx], ecx` and `op eax, [rbx]` of the eight: aligned, not aligned, across lines and pages.
#[test]
fn memory_operands_are_as_good_as_registers() {
    let (a, b) = (0x8123_4567u32, 0x9abc_def0u32);
    let mut machine = Machine::long();
    let mut run = |code: [u8; 2], at: u64, memory: u32| {
        machine.write(at, &memory.to_le_bytes());
        machine.state(|state| {
            state.gpr[..4].copy_from_slice(&[u64::from(a), u64::from(b), 0, at]);
            state.rflags = bit::FIXED | bit::CF;
        });
        assert_eq!(machine.run_bytes(&[&code[..], &[0xf4]].concat()), Exit::Halt);
        let state = machine.vcpu.state();
        (state.gpr[0] as u32, machine.read_u64(at) as u32, state.rflags)
    };
    for opcode in (0x00..0x40).step_by(8) {
        for at in [DATA, DATA + 1, DATA + 0x3e, DATA + 0xffd] {
            let (result, _, flags) = run([opcode + 1, 0xc8], at, 0);
            let written = if opcode == 0x38 { a } else { result };
            assert_eq!(run([opcode + 1, 0x0b], at, a), (a, written, flags), "{opcode:#x} {at:#x}");
            assert_eq!(run([opcode + 3, 0x03], at, b), (result, b, flags), "{opcode:#x} {at:#x}");
        }
    }
}

#[test]
fn a_fault_changes_no_flag_and_no_register() {
    for code in [
        &[0x01, 0x03][..],       // add [rbx], eax
        &[0x03, 0x03],           // add eax, [rbx]
        &[0xff, 0x03],           // inc dword [rbx]
        &[0xf0, 0x0f, 0xc1, 3],  // lock xadd [rbx], eax
        &[0x0f, 0xb1, 0x13],     // cmpxchg [rbx], edx
        &[0x0f, 0xc7, 0x0b],     // cmpxchg8b [rbx]
        &[0x48, 0x0f, 0xc7, 11], // cmpxchg16b [rbx]
        &[0x87, 0x03],           // xchg [rbx], eax
        &[0xff, 0x33],           // push [rbx]
        &[0x8f, 0x03],           // pop [rbx]
        &[0x0f, 0x44, 0x03],     // cmovz eax, [rbx]
        &[0xd7],                 // xlatb
        &[0xff, 0x13],           // call [rbx]
    ] {
        let mut machine = Machine::long();
        machine.vcpu.set_exception_exits(u32::MAX);
        machine.state(|state| {
            state.gpr[3] = UNMAPPED;
            state.rflags = bit::FIXED | bit::CF | bit::OF;
        });
        let before = machine.vcpu.state();
        let exit = machine.run_bytes(code);
        let Exit::Exception(exception) = exit else { panic!("{code:x?}: {exit:?}") };
        assert_eq!((exception.vector(), exception.payload()), (14, Some(UNMAPPED)), "{code:x?}");
        let after = machine.vcpu.state();
        assert_eq!((after.gpr, after.rflags), (before.gpr, before.rflags), "{code:x?}");
    }
}

#[test]
fn a_device_is_read_once_and_written_once() {
    let mut machine = Machine::long();
    machine.state(|state| state.gpr[3] = DEVICE);
    let exit = machine.run(|a| {
        a.add(dword_ptr(rbx), 5)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::MmioRead { address: DEVICE, size: 4 });
    machine.vcpu.complete(u64::from(u32::MAX));
    let exit = machine.vcpu.run(100);
    assert_eq!(exit, Exit::MmioWrite { address: DEVICE, size: 4, value: 4 });
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    assert_eq!(machine.vcpu.state().rflags & (bit::CF | bit::ZF), bit::CF);
}

#[test]
fn a_push_from_a_device_moves_the_stack_once() {
    let mut machine = Machine::long();
    machine.state(|state| state.gpr[3] = DEVICE);
    let exit = machine.run(|a| {
        a.push(qword_ptr(rbx))?;
        a.pop(rax)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::MmioRead { address: DEVICE, size: 8 });
    machine.vcpu.complete(0x1122_3344_5566_7788);
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!((state.gpr[0], state.gpr[4]), (0x1122_3344_5566_7788, super::machine::STACK));
}
