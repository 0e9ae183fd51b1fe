// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IN, OUT, and the I/O permission bit map (SDM vol. 1, "I/O Permission Bit Map").

use vcpu_events::Exception;

use super::{Machine, GP};
use crate::segment::TR;
use crate::tests::machine::TSS;
use crate::Exit;

#[test]
fn ports_exit_and_are_completed() {
    let mut machine = Machine::long();
    machine.state(|state| state.gpr[0] = u64::MAX);
    let code = [0xe4, 0xf0, 0x66, 0xef, 0xf4]; // in al, 0xf0; out dx, ax; hlt
    assert_eq!(machine.run_bytes(&code), Exit::PortRead { port: 0xf0, size: 1 });
    machine.vcpu.complete(0x1_23);
    assert_eq!(machine.vcpu.run(10), Exit::PortWrite { port: 0, size: 2, value: 0xff23 });
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(machine.now().gpr[0], !0xff | 0x23);
    assert_eq!(machine.vcpu.executed(), 3);
}

#[test]
fn every_form_has_its_port_and_size() {
    let reads: [(&[u8], u16, u8, u64); 6] = [
        (&[0xe4, 0x80], 0x80, 1, 0x1122_3344_5566_77ff),
        (&[0x66, 0xe5, 0x80], 0x80, 2, 0x1122_3344_5566_ffff),
        (&[0xe5, 0xff], 0xff, 4, 0xffff_ffff),
        (&[0xec], 0x1234, 1, 0x1122_3344_5566_77ff),
        (&[0x66, 0xed], 0x1234, 2, 0x1122_3344_5566_ffff),
        (&[0xed], 0x1234, 4, 0xffff_ffff),
    ];
    for (code, port, size, rax) in reads {
        let mut machine = Machine::long();
        let exit = machine.with(0x1122_3344_5566_7788, 0, 0xffff_1234, code);
        assert_eq!(exit, Exit::PortRead { port, size });
        machine.vcpu.complete(u64::MAX);
        assert_eq!(machine.vcpu.run(10), Exit::Halt);
        assert_eq!(machine.now().gpr[0], rax);
    }
    let writes: [(&[u8], u16, u8, u32); 6] = [
        (&[0xe6, 0x80], 0x80, 1, 0x88),
        (&[0x66, 0xe7, 0x80], 0x80, 2, 0x7788),
        (&[0xe7, 0xff], 0xff, 4, 0x5566_7788),
        (&[0xee], 0x1234, 1, 0x88),
        (&[0x66, 0xef], 0x1234, 2, 0x7788),
        (&[0xef], 0x1234, 4, 0x5566_7788),
    ];
    for (code, port, size, value) in writes {
        let mut machine = Machine::long();
        let exit = machine.with(0x1122_3344_5566_7788, 0, 0xffff_1234, code);
        assert_eq!(exit, Exit::PortWrite { port, size, value });
        assert_eq!(machine.vcpu.run(10), Exit::Halt);
    }
}

/// User code with a TSS whose bit map is at `map` and is `bits`, and which ends at `limit`.
fn mapped(map: u16, limit: u32, bits: &[u8]) -> Machine {
    let mut machine = Machine::long().exiting().user();
    machine.write(TSS + 0x66, &map.to_le_bytes());
    machine.write(TSS + u64::from(map), bits);
    machine.state(|state| state.segments[usize::from(TR)].limit = limit);
    machine
}

/// in al/ax/eax, dx
fn allowed(machine: &mut Machine, port: u16, size: u8) -> bool {
    let code: &[u8] = match size {
        1 => &[0xec],
        2 => &[0x66, 0xed],
        _ => &[0xed],
    };
    match machine.with(0, 0, port.into(), code) {
        Exit::PortRead { .. } => true,
        exit => {
            assert_eq!(exit, GP);
            false
        }
    }
}

#[test]
fn the_bit_map_has_a_bit_per_port() {
    // Ports 3, 8 and 15 to 17 are closed.
    let mut machine = mapped(0x68, 0x6b, &[0x08, 0x81, 0x03, 0xff]);
    let closed = |port: u16| matches!(port, 3 | 8 | 15..=17);
    for size in [1, 2, 4u8] {
        for port in 0..16 {
            let expected = !(port..port + u16::from(size)).any(closed);
            assert_eq!(allowed(&mut machine, port, size), expected, "{port:x} {size}");
        }
    }
}

#[test]
fn the_limit_ends_the_bit_map() {
    // One byte of map and one of ones: two bytes are read for every port.
    let mut machine = mapped(0x68, 0x69, &[0, 0xff]);
    assert!(allowed(&mut machine, 7, 1));
    assert!(!allowed(&mut machine, 7, 2));
    assert!(!allowed(&mut machine, 8, 1));
    machine.state(|state| state.segments[usize::from(TR)].limit = 0x68);
    assert!(!allowed(&mut machine, 0, 1));
    // A map beyond the limit, or none.
    assert!(!allowed(&mut mapped(0x6a, 0x69, &[0, 0]), 0, 1));
    assert!(!allowed(&mut mapped(0x68, 0x66, &[0, 0, 0, 0]), 0, 1));
    // The map's offset itself beyond the limit.
    assert!(!allowed(&mut mapped(0x10, 0x66, &[0, 0, 0, 0]), 0, 1));
    assert!(allowed(&mut mapped(0x10, 0x67, &[0, 0, 0, 0]), 0, 1));
    let mut no_tss = mapped(0x68, 0x80, &[0; 8]);
    no_tss.state(|state| state.segments[usize::from(TR)].rights.set_unusable(true));
    assert!(!allowed(&mut no_tss, 0, 1));
    let mut tss16 = mapped(0x68, 0x80, &[0; 8]);
    tss16.state(|state| state.segments[usize::from(TR)].rights.set_kind(3));
    assert!(!allowed(&mut tss16, 0, 1));
}

#[test]
fn the_whole_bit_map() {
    let mut machine = mapped(0x68, 0x68 + 0x2000, &[0; 0x2000]);
    machine.write(TSS + 0x68 + 0x2000, &[0xff]);
    assert!(allowed(&mut machine, 0xffff, 1));
    assert!(!allowed(&mut machine, 0xffff, 2));
    assert!(allowed(&mut machine, 0xfffc, 4));
}

#[test]
fn iopl_opens_all_ports() {
    let mut machine = mapped(0xffff, 0x67, &[]);
    assert!(!allowed(&mut machine, 0x80, 4));
    machine.state(|state| state.rflags |= 3 << 12);
    assert!(allowed(&mut machine, 0x80, 4));
}

#[test]
fn the_bit_map_is_a_supervisors_even_if_its_page_is_not_the_users() {
    let mut machine = mapped(0x68, 0x80, &[0; 8]);
    machine.state(|state| state.segments[usize::from(TR)].base = 1 << 40);
    // Where nothing is mapped: the fault is no user's.
    let exit = machine.with(0, 0, 0, &[0xec]);
    assert_eq!(exit, Exit::Exception(Exception::pf(0, (1 << 40) + 0x66)));
}
