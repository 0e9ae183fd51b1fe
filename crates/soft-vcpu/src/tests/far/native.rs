// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The processor that the test runs on as the judge: what it tells of the selectors that the host's
//! kernel gives to programs.

use std::arch::asm;

use super::super::machine::Machine;
use super::{outcome, OWN};

/// LAR, LSL, VERR and VERW of a selector at level 3.
fn native(selector: u16) -> [(bool, u32); 4] {
    let selector = u32::from(selector);
    let (mut rights, mut limit) = (0u32, 0u32);
    let (lar, lsl, verr, verw): (u8, u8, u8, u8);
    // SAFETY: these instructions read descriptors and change registers that are named, and ZF.
    unsafe {
        asm!("lar {r:e}, {s:e}", "setz {z}", r = inout(reg) rights, s = in(reg) selector,
            z = out(reg_byte) lar, options(nomem, nostack));
        asm!("lsl {r:e}, {s:e}", "setz {z}", r = inout(reg) limit, s = in(reg) selector,
            z = out(reg_byte) lsl, options(nomem, nostack));
        asm!("verr {s:x}", "setz {z}", s = in(reg) selector, z = out(reg_byte) verr,
            options(nomem, nostack));
        asm!("verw {s:x}", "setz {z}", s = in(reg) selector, z = out(reg_byte) verw,
            options(nomem, nostack));
    }
    [(lar != 0, rights), (lsl != 0, limit), (verr != 0, 0), (verw != 0, 0)]
}

/// The same of a descriptor that has these rights and this limit.
fn emulated(rights: u32, limit: u32) -> [(bool, u32); 4] {
    let mut machine = Machine::long();
    let units = if rights & 1 << 23 != 0 { limit >> 12 } else { limit };
    let descriptor =
        u64::from(rights & 0xf0_ff00 | units & 0xf_0000) << 32 | u64::from(units & 0xffff);
    machine.descriptor(OWN, descriptor);
    let codes: [&[u8]; 4] =
        [&[0x0f, 0x02, 0xd0], &[0x0f, 0x03, 0xd0], &[0x0f, 0x00, 0xe0], &[0x0f, 0x00, 0xe8]];
    codes.map(|code| {
        machine.state(|state| (state.gpr[0], state.gpr[2]) = (u64::from(OWN | 3), 0));
        outcome(&mut machine, &[code, &[0xf4]].concat());
        let state = machine.vcpu.state();
        (state.rflags & 0x40 != 0, state.gpr[2] as u32)
    })
}

#[test]
fn descriptors_of_the_host_are_seen_alike() {
    let mut seen = 0;
    for index in 1..64u16 {
        let selector = index << 3 | 3;
        let [lar, lsl, verr, verw] = native(selector);
        if !lar.0 || !lsl.0 || lar.1 & 0x1000 == 0 {
            continue;
        }
        seen += 1;
        assert_eq!(emulated(lar.1, lsl.1), [lar, lsl, verr, verw], "{selector:#x}");
    }
    assert!(seen >= 2, "every process has code and a stack");
}
