// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Accesses where no memory is: each is made exactly once, in order, and instructions see the
//! answers.

use vcpu_events::Exception;

use super::machine::{Machine, CODE, DATA, MEMORY};
use super::paging::{Paged, Paging, LINEAR};
use crate::Exit;

/// A device's address.
const DEVICE: u64 = 0x50_0000;

/// What a device was asked, and the value it gave.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Read(u64, u8, u64),
    Write(u64, u8, u64),
}

use Seen::{Read, Write};

/// Runs to the halt, reading `answers` from the device.
fn run(machine: &mut Machine, code: &[u8], answers: &[u64]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut answers = answers.iter();
    let mut exit = machine.run_bytes(&[code, &[0xf4]].concat());
    loop {
        match exit {
            Exit::MmioRead { address, size } => {
                let value = *answers.next().expect("an unexpected read");
                seen.push(Read(address, size, value));
                machine.vcpu.complete(value);
            }
            Exit::MmioWrite { address, size, value } => seen.push(Write(address, size, value)),
            Exit::Halt => return seen,
            other => panic!("{other:?} after {seen:x?}"),
        }
        exit = machine.vcpu.run(1000);
    }
}

/// A machine with RBX (and RSI, RDI) where the test wants them and RAX = 0x8877665544332211.
fn at(address: u64) -> Machine {
    let mut machine = Machine::long();
    machine.state(|state| {
        (state.gpr[3], state.gpr[6], state.gpr[7]) = (address, address, address);
        state.gpr[0] = 0x8877_6655_4433_2211;
    });
    machine
}

#[test]
fn loads_take_the_low_bytes_of_the_answer() {
    // Code, size, answer, RAX.
    let cases: [(&[u8], u8, u64, u64); 5] = [
        (&[0x8a, 0x03], 1, 0x1_23, 0x8877_6655_4433_2223),
        (&[0x66, 0x8b, 0x03], 2, 0x1_2345, 0x8877_6655_4433_2345),
        (&[0x8b, 0x03], 4, 0x1_8000_0001, 0x8000_0001),
        (&[0x48, 0x8b, 0x03], 8, u64::MAX, u64::MAX),
        (&[0x48, 0x0f, 0xbe, 0x03], 1, 0x80, 0xffff_ffff_ffff_ff80), // movsx rax, byte [rbx]
    ];
    for (code, size, answer, expected) in cases {
        let mut machine = at(DEVICE);
        assert_eq!(run(&mut machine, code, &[answer]), [Read(DEVICE, size, answer)]);
        assert_eq!(machine.vcpu.state().gpr[0], expected);
        assert_eq!(machine.vcpu.executed(), 2);
    }
}

#[test]
fn stores_tell_their_value() {
    let cases: [(&[u8], u8, u64); 4] = [
        (&[0x88, 0x03], 1, 0x11),
        (&[0x66, 0x89, 0x03], 2, 0x2211),
        (&[0x89, 0x03], 4, 0x4433_2211),
        (&[0x48, 0x89, 0x03], 8, 0x8877_6655_4433_2211),
    ];
    for (code, size, value) in cases {
        let mut machine = at(DEVICE);
        assert_eq!(run(&mut machine, code, &[]), [Write(DEVICE, size, value)]);
        assert_eq!(machine.vcpu.executed(), 2);
    }
}

#[test]
fn a_read_modify_write_reads_once_and_writes_once() {
    // add [rbx], eax, with and without LOCK; xchg [rbx], eax; not dword [rbx]
    let cases: [(&[u8], u64); 4] = [
        (&[0x01, 0x03], 0x4433_2212),
        (&[0xf0, 0x01, 0x03], 0x4433_2212),
        (&[0x87, 0x03], 0x4433_2211),
        (&[0xf7, 0x13], 0xffff_fffe),
    ];
    for (code, written) in cases {
        let mut machine = at(DEVICE);
        let seen = run(&mut machine, code, &[1]);
        assert_eq!(seen, [Read(DEVICE, 4, 1), Write(DEVICE, 4, written)], "{code:x?}");
    }
}

#[test]
fn flags_follow_the_answer() {
    let mut machine = at(DEVICE);
    // cmp dword [rbx], 5; setz cl
    run(&mut machine, &[0x83, 0x3b, 0x05, 0x0f, 0x94, 0xc1], &[5]);
    assert_eq!(machine.vcpu.state().gpr[1], 1);
}

#[test]
fn sixteen_bytes_are_two_accesses() {
    let mut machine = at(DEVICE);
    // movups xmm0, [rbx]; movups [rbx+32], xmm0
    let code = [0x0f, 0x10, 0x03, 0x0f, 0x11, 0x43, 0x20];
    let seen = run(&mut machine, &code, &[1, 2]);
    let expected = [
        Read(DEVICE, 8, 1),
        Read(DEVICE + 8, 8, 2),
        Write(DEVICE + 32, 8, 1),
        Write(DEVICE + 40, 8, 2),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn an_access_across_device_pages_is_made_in_two_parts() {
    let mut machine = at(DEVICE + 0xffd);
    // mov ecx, [rbx]; mov [rbx], eax
    let seen = run(&mut machine, &[0x8b, 0x0b, 0x89, 0x03], &[0xcc_bbaa, 0xdd]);
    let second = DEVICE + 0x1000;
    let expected = [
        Read(DEVICE + 0xffd, 3, 0xcc_bbaa),
        Read(second, 1, 0xdd),
        Write(DEVICE + 0xffd, 3, 0x33_2211),
        Write(second, 1, 0x44),
    ];
    assert_eq!(seen, expected);
    assert_eq!(machine.vcpu.state().gpr[1], 0xddcc_bbaa);
}

#[test]
fn an_access_may_be_half_memory_half_device() {
    // From memory into what lies behind it.
    let mut machine = at(MEMORY - 2);
    machine.write(MEMORY - 2, &[0x01, 0x00]);
    // add [rbx], eax, twice
    let seen = run(&mut machine, &[0x01, 0x03, 0x01, 0x03], &[0x10, 0x4443]);
    let expected = [
        Read(MEMORY, 2, 0x10),
        Write(MEMORY, 2, 0x4443),
        Read(MEMORY, 2, 0x4443),
        Write(MEMORY, 2, 0x8876),
    ];
    assert_eq!(seen, expected);
    assert_eq!(machine.read_u64(MEMORY - 8) >> 48, 0x4423);
}

#[test]
fn from_a_device_into_memory_behind_it() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.table(0, DEVICE | 3);
    paged.table(1, DATA | 3);
    paged.machine.write(DATA, &[0xff, 0xff, 0, 0]);
    let machine = &mut paged.machine;
    machine.state(|state| (state.gpr[3], state.gpr[0]) = (LINEAR + 0xffe, 1));
    // add [rbx], eax
    let seen = run(machine, &[0x01, 0x03], &[0xffff]);
    assert_eq!(seen, [Read(DEVICE + 0xffe, 2, 0xffff), Write(DEVICE + 0xffe, 2, 0)]);
    assert_eq!(machine.read_u64(DATA) & 0xffff_ffff, 0);
}

#[test]
fn a_fault_comes_before_the_device_is_asked() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.table(0, DEVICE | 3);
    paged.table(1, 0);
    paged.state(|state| state.gpr[3] = LINEAR + 0xffe);
    for (code, error) in [([0x8b, 0x03], 0), ([0x89, 0x03], 2), ([0x01, 0x03], 2)] {
        let exit = paged.machine.run_bytes(&code);
        assert_eq!(exit, Exit::Exception(Exception::pf(error, LINEAR + 0x1000)));
    }
    // push [rbx], with no page for the stack: the read is made, the push faults for good.
    paged.state(|state| (state.gpr[3], state.gpr[4]) = (LINEAR, LINEAR + 0x1800));
    let exit = paged.machine.run_bytes(&[0xff, 0x33, 0xf4]);
    assert_eq!(exit, Exit::MmioRead { address: DEVICE, size: 8 });
    paged.machine.vcpu.complete(5);
    let fault = Exception::pf(2, LINEAR + 0x17f8);
    assert_eq!(paged.machine.vcpu.run(10), Exit::Exception(fault));
    assert_eq!(paged.machine.vcpu.state().gpr[4], LINEAR + 0x1800);
}

#[test]
fn repeated_moves_between_devices() {
    let mut machine = at(DEVICE);
    machine.state(|state| (state.gpr[7], state.gpr[1]) = (DEVICE + 0x1000, 3));
    // rep movsw
    let seen = run(&mut machine, &[0xf3, 0x66, 0xa5], &[7, 8, 9]);
    let expected = [
        Read(DEVICE, 2, 7),
        Write(DEVICE + 0x1000, 2, 7),
        Read(DEVICE + 2, 2, 8),
        Write(DEVICE + 0x1002, 2, 8),
        Read(DEVICE + 4, 2, 9),
        Write(DEVICE + 0x1004, 2, 9),
    ];
    assert_eq!(seen, expected);
    let gpr = machine.vcpu.state().gpr;
    assert_eq!((gpr[1], gpr[6], gpr[7]), (0, DEVICE + 6, DEVICE + 0x1006));
}

#[test]
fn the_stack_may_be_a_device() {
    let mut machine = at(DEVICE);
    machine.state(|state| state.gpr[4] = DEVICE);
    // push rax; pop rcx
    let value = 0x8877_6655_4433_2211;
    let seen = run(&mut machine, &[0x50, 0x59], &[value]);
    assert_eq!(seen, [Write(DEVICE - 8, 8, value), Read(DEVICE - 8, 8, value)]);
    assert_eq!(machine.vcpu.state().gpr[1], value);
}

#[test]
fn an_answer_that_never_comes_is_all_ones() {
    let mut machine = at(DEVICE);
    assert_eq!(machine.run_bytes(&[0x8b, 0x03, 0xf4]), Exit::MmioRead { address: DEVICE, size: 4 });
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 0xffff_ffff);
}

#[test]
fn a_new_state_drops_the_access_under_way() {
    let mut machine = at(DEVICE);
    assert_eq!(machine.run_bytes(&[0x8b, 0x03, 0xf4]), Exit::MmioRead { address: DEVICE, size: 4 });
    machine.state(|state| state.rip = CODE + 2);
    machine.vcpu.complete(1);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.vcpu.state().gpr[0], 0x8877_6655_4433_2211);
}

#[test]
fn a_run_without_budget_ends_the_instruction_under_way() {
    let mut machine = at(DEVICE);
    // mov [rbx], al; hlt
    let exit = machine.run_bytes(&[0x88, 0x03, 0xf4]);
    assert_eq!(exit, Exit::MmioWrite { address: DEVICE, size: 1, value: 0x11 });
    assert_eq!(machine.vcpu.state().rip, CODE);
    assert_eq!(machine.vcpu.run(0), Exit::Budget);
    assert_eq!((machine.vcpu.state().rip, machine.vcpu.executed()), (CODE + 2, 1));
    assert_eq!(machine.vcpu.run(0), Exit::Budget);
    assert_eq!((machine.vcpu.state().rip, machine.vcpu.executed()), (CODE + 2, 1));
}

#[test]
fn code_is_not_fetched_from_a_device() {
    let mut machine = at(DEVICE);
    // jmp rbx
    assert!(matches!(machine.run_bytes(&[0xff, 0xe3]), Exit::Unsupported(_)));
    assert_eq!(machine.vcpu.state().rip, DEVICE);
    // An instruction of the last two bytes of memory that goes on behind them.
    machine.write(MEMORY - 2, &[0x48, 0xb8]);
    machine.state(|state| state.rip = MEMORY - 2);
    assert!(matches!(machine.vcpu.run(10), Exit::Unsupported(_)));
}

#[test]
fn a_run_without_budget_does_nothing_else() {
    let mut machine = at(DEVICE);
    machine.state(|state| (state.rflags, state.pending_debug) = (0x202, 1));
    machine.vcpu.inject(vcpu_events::Event::Interrupt(0x40)).unwrap();
    machine.vcpu.kick_handle().kick();
    let before = machine.vcpu.state();
    assert_eq!(machine.vcpu.run(0), Exit::Budget);
    assert_eq!(machine.vcpu.state(), before);
    assert_eq!(machine.vcpu.run(1), Exit::Kicked);
}

#[test]
fn a_kick_does_not_keep_a_run_without_budget_from_ending_the_access() {
    let mut machine = at(DEVICE);
    // mov [rbx], al; hlt
    assert!(matches!(machine.run_bytes(&[0x88, 0x03, 0xf4]), Exit::MmioWrite { .. }));
    machine.vcpu.kick_handle().kick();
    assert_eq!(machine.vcpu.run(0), Exit::Budget);
    assert_eq!(machine.vcpu.state().rip, CODE + 2);
}

#[test]
fn an_answer_is_not_kept_for_another_instruction() {
    let mut machine = at(DEVICE);
    // in al, dx; in al, dx; hlt
    machine.state(|state| state.gpr[2] = 0x60);
    let read = Exit::PortRead { port: 0x60, size: 1 };
    assert_eq!(machine.run_bytes(&[0xec, 0xec, 0xf4]), read);
    machine.vcpu.complete(1);
    // Somebody makes a HLT of it meanwhile.
    machine.write(CODE, &[0xf4]);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.vcpu.run(10), read);
}
