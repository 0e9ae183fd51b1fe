// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! INS and OUTS, and string instructions on devices: one exit for each access, none twice.

use vcpu_events::Exception;

use super::*;
use crate::tests::machine::{segment, Machine, CODE, DATA, TSS, USER_CODE64, USER_DATA};

const INS: u8 = 0x6c;
const OUTS: u8 = 0x6e;
/// Above memory, mapped.
const DEVICE: u64 = 0x1000_0000;

fn port(machine: &mut Machine, port: u64) {
    machine.state(|state| state.gpr[2] = port);
}

#[test]
fn rep_outs_asks_for_one_write_after_the_other() {
    let mut machine = Machine::long();
    machine.write(DATA, &[1, 2, 3, 4, 5, 6, 7, 8]);
    for (size, values) in [(1, [1, 2]), (2, [0x201, 0x403]), (4, [0x0403_0201, 0x0807_0605])] {
        set_registers(&mut machine, 2, DATA, 0);
        port(&mut machine, 0xffff_0000_0000_03f8);
        let code = [&instruction(&[REP], OUTS, size)[..], &[HLT]].concat();
        let mut exit = machine.run_bytes(&code);
        for (n, value) in (0..).zip(values) {
            assert_eq!(exit, Exit::PortWrite { port: 0x3f8, size: size as u8, value });
            assert_eq!(registers(&machine), (2 - n, DATA + n * size, 0));
            machine.vcpu.complete(0);
            exit = machine.vcpu.run(100);
        }
        assert_eq!(exit, Exit::Halt);
        assert_eq!(registers(&machine), (0, DATA + 2 * size, 0));
    }
}

#[test]
fn rep_ins_stores_what_was_read() {
    let mut machine = Machine::long();
    for size in [1u64, 2, 4] {
        // Across a page boundary, downwards.
        let at = DATA + 0x1000 - size + 1;
        machine.write(DATA + 0xf00, &[0; 0x200]);
        machine.state(|state| state.rflags = 2 | DF);
        set_registers(&mut machine, 2, 0, at);
        port(&mut machine, 0x1f0);
        let code = [&instruction(&[REP], INS, size)[..], &[HLT]].concat();
        let mut exit = machine.run_bytes(&code);
        for value in [0xa1a2_a3a4, 0xb1b2_b3b4] {
            assert_eq!(exit, Exit::PortRead { port: 0x1f0, size: size as u8 });
            machine.vcpu.complete(value);
            exit = machine.vcpu.run(100);
        }
        assert_eq!(exit, Exit::Halt);
        assert_eq!(registers(&machine), (0, 0, at - 2 * size));
        let expected = [0xb1b2_b3b4u32, 0xa1a2_a3a4].map(|value| value.to_le_bytes());
        let expected = expected.map(|bytes| bytes[..size as usize].to_vec()).concat();
        assert_eq!(read(&machine, at - size, 2 * size as usize), expected);
    }
}

#[test]
fn a_port_is_not_read_for_a_place_that_cannot_be_written() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 14);
    // 2^30 is where the map ends.
    set_registers(&mut machine, 1, 0, (1 << 30) - 1);
    port(&mut machine, 0x1f0);
    let exit = machine.run_bytes(&instruction(&[REP], INS, 2));
    assert_eq!(exit, Exit::Exception(Exception::pf(2, 1 << 30)));
}

#[test]
fn a_port_that_is_not_allowed_comes_before_memory() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(1 << 13);
    // The I/O map base is beyond the TSS's limit: no port is allowed.
    machine.write(TSS + 0x66, &[0x68, 0]);
    machine.state(|state| {
        state.segments[1] = segment(USER_CODE64);
        state.segments[2] = segment(USER_DATA);
        // Beyond what is mapped.
        (state.gpr[1], state.gpr[6], state.gpr[7]) = (1, 1 << 30, 1 << 30);
    });
    for opcode in [INS, OUTS] {
        let exit = machine.run_bytes(&instruction(&[REP], opcode, 1));
        assert_eq!(exit, Exit::Exception(Exception::gp(0)));
    }
    // No iteration, no check.
    machine.state(|state| state.gpr[1] = 0);
    let exit = machine.run_bytes(&[REP, OUTS, HLT]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
    assert_eq!(machine.vcpu.state().rip, CODE + 2);
}

#[test]
fn rep_movs_to_a_device_makes_each_write_once() {
    let mut machine = Machine::long();
    let bytes = pattern(0x20);
    machine.write(DATA, &bytes);
    set_registers(&mut machine, 4, DATA, DEVICE);
    let mut exit = machine.run_bytes(&[REP, 0x48, MOVS + 1, HLT]);
    for (n, bytes) in (0..4).zip(bytes.chunks(8)) {
        let value = u64::from_le_bytes(bytes.try_into().unwrap());
        assert_eq!(exit, Exit::MmioWrite { address: DEVICE + 8 * n, size: 8, value });
        machine.vcpu.complete(0);
        exit = machine.vcpu.run(100);
    }
    assert_eq!(exit, Exit::Halt);
    assert_eq!(registers(&machine), (0, DATA + 0x20, DEVICE + 0x20));
}

#[test]
fn movs_from_device_to_device_reads_then_writes() {
    let mut machine = Machine::long();
    set_registers(&mut machine, 2, DEVICE, DEVICE + 0x1000);
    let mut exit = machine.run_bytes(&[REP, MOVS, HLT]);
    for n in 0..2 {
        assert_eq!(exit, Exit::MmioRead { address: DEVICE + n, size: 1 });
        machine.vcpu.complete(0x40 + n);
        let written = Exit::MmioWrite { address: DEVICE + 0x1000 + n, size: 1, value: 0x40 + n };
        assert_eq!(machine.vcpu.run(100), written);
        machine.vcpu.complete(0);
        exit = machine.vcpu.run(100);
    }
    assert_eq!(exit, Exit::Halt);
    assert_eq!(registers(&machine), (0, DEVICE + 2, DEVICE + 0x1002));
}

#[test]
fn a_write_that_was_made_is_not_made_again_when_its_source_changes() {
    let mut machine = Machine::long();
    machine.write(DATA, &[1, 2]);
    set_registers(&mut machine, 2, DATA, DEVICE);
    let exit = machine.run_bytes(&[REP, MOVS, HLT]);
    assert_eq!(exit, Exit::MmioWrite { address: DEVICE, size: 1, value: 1 });
    machine.vcpu.complete(0);
    // As another vCPU may do before this one runs on.
    machine.write(DATA, &[0x55]);
    let exit = machine.vcpu.run(100);
    assert_eq!(exit, Exit::MmioWrite { address: DEVICE + 1, size: 1, value: 2 });
}

#[test]
fn repe_cmps_of_a_device_reads_it_once_per_element() {
    let mut machine = Machine::long();
    machine.write(DATA, &[7, 8, 9]);
    set_registers(&mut machine, 3, DATA, DEVICE);
    assert_eq!(machine.run_bytes(&[REP, CMPS, HLT]), Exit::MmioRead { address: DEVICE, size: 1 });
    machine.vcpu.complete(7);
    assert_eq!(machine.vcpu.run(100), Exit::MmioRead { address: DEVICE + 1, size: 1 });
    machine.vcpu.complete(7);
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    assert_eq!(registers(&machine), (1, DATA + 2, DEVICE + 2));
}
