// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LGDT, LIDT, SGDT, SIDT.

use vcpu_events::Exception;

use super::{Machine, GP};
use crate::spec::cr4;
use crate::tests::machine::DATA;
use crate::{Exit, Table};

const LIMIT_AND_BASE: [u8; 10] = [0x34, 0x12, 0x10, 0x32, 0x54, 0x76, 0x98, 0xff, 0xff, 0xff];

type New = fn() -> Machine;

/// Loads from [`DATA`]: LGDT, or with `idt` LIDT.
fn load(machine: &mut Machine, prefix: &[u8], idt: bool) -> Exit {
    machine.write(DATA, &LIMIT_AND_BASE);
    let code = [prefix, &address(machine, if idt { 3 } else { 2 })].concat();
    machine.with(0, 0, 0, &code)
}

fn store(machine: &mut Machine, prefix: &[u8], idt: bool) -> Exit {
    machine.write(DATA, &[0xee; 16]);
    let code = [prefix, &address(machine, u8::from(idt))].concat();
    machine.with(0, 0, 0, &code)
}

/// 0f 01 /n with the address in RBX, or BX.
fn address(machine: &mut Machine, n: u8) -> Vec<u8> {
    let real = machine.now().cr0 & 1 == 0;
    machine.state(|state| {
        state.gpr[3] = if real { 0 } else { DATA };
        if real {
            state.segments[3].base = DATA;
        }
    });
    vec![0x0f, 0x01, n << 3 | if real { 7 } else { 3 }]
}

#[test]
fn the_base_has_24_32_or_64_bits() {
    let long = 0xffff_ff98_7654_3210;
    let cases: [(New, &[u8], u64); 6] = [
        (Machine::long, &[], long),
        (Machine::long, &[0x66], long),
        (Machine::protected, &[], 0x7654_3210),
        (Machine::protected, &[0x66], 0x54_3210),
        (Machine::real, &[], 0x54_3210),
        (Machine::real, &[0x66], 0x7654_3210),
    ];
    for (new, prefix, base) in cases {
        for idt in [false, true] {
            let mut machine = new();
            let other = if idt { machine.now().gdtr } else { machine.now().idtr };
            assert_eq!(load(&mut machine, prefix, idt), Exit::Halt);
            let table = Table { base, limit: 0x1234 };
            let (gdtr, idtr) = (machine.now().gdtr, machine.now().idtr);
            assert_eq!((gdtr, idtr), if idt { (other, table) } else { (table, other) });
            // All of the base is stored, whatever the operand size is.
            machine.state(|state| {
                let table = Table { base: long, limit: 0x1234 };
                (state.gdtr, state.idtr) = (table, table);
            });
            assert_eq!(store(&mut machine, prefix, idt), Exit::Halt);
            assert_eq!(
                machine.read_u64(DATA),
                0x7654_3210_1234
                    | match machine.now().cr4 {
                        // 64-bit mode
                        c if c & cr4::PAE != 0 => 0xff98 << 48,
                        _ => 0xeeee << 48,
                    }
            );
        }
    }
}

#[test]
fn a_base_that_is_not_canonical_is_gp() {
    let mut machine = Machine::long().exiting();
    machine.write(DATA, &[0xff, 0xff, 0, 0, 0, 0, 0, 0x80, 0, 0]);
    machine.state(|state| state.gpr[3] = DATA);
    let before = machine.now().gdtr;
    assert_eq!(machine.run_bytes(&[0x0f, 0x01, 0x13]), GP);
    assert_eq!(machine.now().gdtr, before);
}

#[test]
fn a_store_that_faults_stores_nothing() {
    let mut machine = Machine::long().exiting();
    // The last byte mapped is at 1 GiB - 1; a device is there, which is not asked.
    machine.state(|state| state.gpr[3] = (1 << 30) - 4);
    let exit = machine.run_bytes(&[0x0f, 0x01, 0x03]);
    assert_eq!(exit, Exit::Exception(Exception::pf(2, 1 << 30)));
}

#[test]
fn umip_keeps_the_tables_from_the_user() {
    for (umip, user, allowed) in [(false, true, true), (true, true, false), (true, false, true)] {
        let mut machine = Machine::long().exiting();
        if user {
            machine = machine.user();
        }
        if umip {
            machine.state(|state| state.cr4 |= cr4::UMIP);
        }
        machine.state(|state| state.gpr[3] = DATA);
        // sgdt [rbx]; sidt [rbx]; smsw [rbx]
        for n in [0x03, 0x0b, 0x23] {
            let exit = machine.run_bytes(&[0x0f, 0x01, n, 0x0f, 0x0b]);
            assert_eq!(exit == GP, !allowed, "{n:x}");
        }
    }
}
