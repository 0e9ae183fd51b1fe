// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tables that nobody would write: whatever is in them, no transfer panics or never ends, and CPL
//! is CS's RPL afterwards.

use proptest::prelude::*;

use super::super::machine::{
    Machine, CODE, GDT, IDT, STACK, TSS, USER_CODE32, USER_CODE64, USER_DATA,
};
use crate::segment::{CS, SS};
use crate::spec::cr0;
use crate::Exit;

/// Descriptors that differ little from good ones: byte 5 and the upper half are what matters.
fn descriptor() -> impl Strategy<Value = u64> {
    let base = prop_oneof![Just(0u64), any::<u64>().prop_map(|it| it & 0xff00_00ff_ffff_0000)];
    (base, any::<u8>(), any::<u8>(), any::<u16>(), 0u64..0x80).prop_map(
        |(base, rights, upper, limit, selector)| {
            let low = if rights & 0x10 == 0 { selector << 16 } else { u64::from(limit) };
            base | low | u64::from(rights | 0x80) << 40 | u64::from(upper) << 48
        },
    )
}

/// One instruction that goes through tables; `operand` is a selector.
fn instruction(number: u8, operand: u16, offset: u32) -> Vec<u8> {
    let pointer = [&offset.to_le_bytes()[..], &operand.to_le_bytes()].concat();
    let code: Vec<u8> = match number % 14 {
        0 => vec![0xcd, offset as u8],
        1 => [&[0xea][..], &pointer].concat(),
        2 => [&[0x9a][..], &pointer].concat(),
        // Through memory at RBX.
        3 => vec![0xff, 0x2b],
        4 => vec![0xff, 0x1b],
        5 => vec![0xcf],
        6 => vec![0x48, 0xcf],
        7 => vec![0xcb],
        8 => vec![0x8e, 0xd8],
        9 => vec![0x8e, 0xd0],
        10 => vec![0x0f, 0x00, 0xd0],
        11 => vec![0x0f, 0x00, 0xd8],
        12 => vec![0x0f, 0x02, 0xd0],
        _ => vec![0x48, 0xff, 0x1b],
    };
    [code, vec![0xf4]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn hostile_tables(
        mode in 0u8..4,
        gdt in proptest::collection::vec(descriptor(), 16),
        idt in proptest::collection::vec(descriptor(), 64),
        tss in proptest::collection::vec(any::<u8>(), 0x68),
        stack in proptest::collection::vec(0u64..0x80, 8),
        number in any::<u8>(),
        operand in 0u16..0x88,
        offset in any::<u32>(),
        limits in any::<[u8; 3]>(),
        flags in any::<u64>(),
    ) {
        let mut machine = match mode {
            0 | 1 => Machine::long(),
            2 => Machine::protected(),
            _ => Machine::real(),
        };
        for (n, entry) in (1..).zip(&gdt) {
            machine.write(GDT + 0x30 + 8 * n, &entry.to_le_bytes());
        }
        for (n, entry) in (0..).zip(&idt) {
            machine.write(IDT + 8 * n, &entry.to_le_bytes());
        }
        machine.write(TSS, &tss);
        let items: Vec<u8> = stack.iter().flat_map(|item| item.to_le_bytes()).collect();
        machine.write(STACK, &items);
        if flags & 1 != 0 && mode != 3 {
            machine.at(if mode == 0 { USER_CODE64 } else { USER_CODE32 }, USER_DATA);
        }
        machine.state(|state| {
            state.gdtr.limit = 0xff - u16::from(limits[0] & 0x3f);
            state.idtr.limit = u16::from(limits[1]) * 2;
            state.segments[7].limit = u32::from(limits[2] & 0x7f);
            state.rflags = flags & 0x25_7ed5 | 2;
            (state.gpr[0], state.gpr[3], state.gpr[4]) = (operand.into(), STACK, STACK);
        });
        let code = instruction(number, operand, offset);
        let mut exit = machine.run_bytes(&code);
        for answer in 0..20 {
            match exit {
                Exit::MmioRead { .. } => machine.vcpu.complete(answer),
                Exit::MmioWrite { .. } => {}
                _ => break,
            }
            exit = machine.vcpu.run(1000);
        }
        let state = machine.vcpu.state();
        if state.cr0 & cr0::PE != 0 {
            let (code, stack) = (state.segments[usize::from(CS)], state.segments[usize::from(SS)]);
            prop_assert_eq!(code.selector as u8 & 3, machine.vcpu.cpu.cpl());
            prop_assert_eq!(stack.rights.dpl(), machine.vcpu.cpu.cpl());
            prop_assert!(code.rights.is_code());
        }
        prop_assert!(state.rip != CODE || exit != Exit::Halt);
    }
}
