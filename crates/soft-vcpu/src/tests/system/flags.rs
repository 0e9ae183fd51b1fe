// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CLI, STI, PUSHF, POPF, CLAC, STAC.

use vcpu_events::Shadow;

use super::{Machine, GP, UD};
use crate::flags::bit;
use crate::tests::machine::{segment, STACK, USER_DATA};
use crate::tests::paging::{Access, Paged, Paging, LINEAR};
use crate::Exit;

/// What POPF may change: SDM vol. 2, "POPF/POPFD/POPFQ".
fn writable(cpl: u8, iopl: u8) -> u64 {
    let mut bits = bit::STATUS | bit::TF | bit::DF | bit::NT | bit::AC | bit::ID;
    bits |= if cpl == 0 { bit::IOPL } else { 0 };
    bits | if cpl <= iopl { bit::IF } else { 0 }
}

#[test]
fn popf_changes_what_it_may() {
    let all = bit::ALL & !(bit::TF | bit::VM);
    for n in 0..32u64 {
        let (user, iopl, ones) = (n & 1 != 0, (n >> 1 & 3) as u8, n & 8 != 0);
        let mut machine = Machine::long().exiting();
        if user {
            machine = machine.user();
        }
        let short = n & 16 != 0;
        let before = bit::FIXED | u64::from(iopl) << 12 | if ones { 0 } else { bit::AC | bit::IF };
        let image = if ones { !bit::TF } else { 0 };
        machine.state(|state| state.rflags = before);
        machine.write(STACK - 8, &image.to_le_bytes());
        machine.state(|state| state.gpr[4] = STACK - 8);
        // popf; ud2
        let code: &[u8] = if short { &[0x66, 0x9d, 0x0f, 0x0b] } else { &[0x9d, 0x0f, 0x0b] };
        assert_eq!(machine.run_bytes(code), UD);
        let mask = writable(if user { 3 } else { 0 }, iopl) & if short { 0xffff } else { !0 };
        let expected = before & !mask | image & mask & all;
        let state = machine.now();
        assert_eq!(state.rflags, expected, "user {user}, IOPL {iopl}, {ones}, {short}");
        assert_eq!(state.gpr[4], STACK - if short { 6 } else { 0 });
    }
}

#[test]
fn pushf_pushes_vm_and_rf_clear() {
    let flags = bit::ALL & !(bit::TF | bit::VM | bit::VIF | bit::VIP);
    for (machine, code, size) in [
        (Machine::long(), &[0x9c, 0xf4][..], 8),
        (Machine::long(), &[0x66, 0x9c, 0xf4][..], 2),
        (Machine::protected(), &[0x9c, 0xf4][..], 4),
        (Machine::real(), &[0x9c, 0xf4][..], 2),
        (Machine::real(), &[0x66, 0x9c, 0xf4][..], 4),
    ] {
        let mut machine = machine;
        machine.state(|state| state.rflags = flags);
        assert_eq!(machine.run_bytes(code), Exit::Halt);
        let state = machine.now();
        assert_eq!(state.gpr[4], STACK - size);
        let mask = u64::MAX >> (64 - 8 * size);
        assert_eq!(machine.read_u64(STACK - size) & mask, flags & !bit::RF & mask);
    }
}

#[test]
fn sti_casts_a_shadow_if_interrupts_were_off() {
    for (before, shadow) in [(0, true), (bit::IF, false)] {
        let mut machine = Machine::long().exiting();
        machine.state(|state| state.rflags |= before);
        machine.write(crate::tests::machine::CODE, &[0xfb, 0x90, 0xf4]);
        machine.state(|state| state.rip = crate::tests::machine::CODE);
        assert_eq!(machine.vcpu.run(1), Exit::Budget);
        let state = machine.now();
        assert_eq!(state.rflags & bit::IF, bit::IF);
        assert_eq!(state.shadow, Shadow { sti: shadow, mov_ss: false });
        assert_eq!(machine.vcpu.run(1), Exit::Budget);
        assert_eq!(machine.now().shadow, Shadow::NONE);
    }
}

#[test]
fn cli_and_sti_obey_iopl() {
    for cpl in 0..4u8 {
        for iopl in 0..4u8 {
            let mut machine = Machine::protected().exiting();
            machine.state(|state| {
                for (index, selector) in [(1, 0x18), (2, USER_DATA)] {
                    let mut segment = segment(selector);
                    segment.rights.set_dpl(cpl);
                    state.segments[index] = segment;
                }
                state.rflags |= u64::from(iopl) << 12;
            });
            // sti; ud2 and cli; ud2
            for (code, interrupts) in [([0xfb, 0x0f, 0x0b], bit::IF), ([0xfa, 0x0f, 0x0b], 0)] {
                let exit = machine.run_bytes(&code);
                assert_eq!(exit, if cpl <= iopl { UD } else { GP });
                let expected = if cpl <= iopl { interrupts } else { 0 };
                assert_eq!(machine.now().rflags & bit::IF, expected);
            }
        }
    }
}

#[test]
fn an_interrupt_comes_after_popf_at_once() {
    let mut machine = Machine::long();
    machine.vcpu.request_window(vcpu_events::Window { interrupt: true, nmi: false });
    machine.state(|state| state.gpr[0] = bit::IF);
    // push rax; popf; nop
    let code = [0x50, 0x9d, 0x90, 0xf4];
    assert_eq!(machine.run_bytes(&code), Exit::InterruptWindow);
    assert_eq!(machine.now().rip, crate::tests::machine::CODE + 2);
    // sti; nop; nop
    machine.state(|state| state.rflags &= !bit::IF);
    assert_eq!(machine.run_bytes(&[0xfb, 0x90, 0x90, 0xf4]), Exit::InterruptWindow);
    assert_eq!(machine.now().rip, crate::tests::machine::CODE + 2);
}

#[test]
fn stac_opens_user_pages_and_clac_closes_them() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.user(false);
    paged.state(|state| {
        state.cr4 |= crate::spec::cr4::SMAP;
        state.gpr[3] = LINEAR;
    });
    assert_eq!(paged.access(Access::Read, LINEAR), Err((1, LINEAR)));
    paged.machine = paged.machine.cpuid(7, 0, 1 << 20, 0, 0);
    // stac; mov al, [rbx]; clac; mov al, [rbx]
    let code = [0x0f, 0x01, 0xcb, 0x8a, 0x03, 0x0f, 0x01, 0xca, 0x8a, 0x03];
    let fault = vcpu_events::Exception::pf(1, LINEAR);
    assert_eq!(paged.machine.run_bytes(&code), Exit::Exception(fault));
    assert_eq!(paged.machine.now().rip, crate::tests::machine::CODE + 8);
    let mut user = Machine::long().exiting().cpuid(7, 0, 1 << 20, 0, 0).user();
    assert_eq!(user.run_bytes(&code), UD);
}
