// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Control registers and CPUID.

use vcpu_events::Exception;

use super::{Machine, GP, UD};
use crate::spec::{cr0, cr4, efer};
use crate::tests::machine::{CODE, DATA, PAGE_TABLES};
use crate::Exit;

/// mov crN, rax
fn to(number: u8) -> Vec<u8> {
    match number {
        8 => vec![0x44, 0x0f, 0x22, 0xc0],
        _ => vec![0x0f, 0x22, 0xc0 | number << 3],
    }
}

/// mov rax, crN
fn from(number: u8) -> Vec<u8> {
    match number {
        8 => vec![0x44, 0x0f, 0x20, 0xc0],
        _ => vec![0x0f, 0x20, 0xc0 | number << 3],
    }
}

#[test]
fn control_registers_read_what_was_written() {
    let mut machine = Machine::long().exiting();
    let before = machine.now();
    let cases = [
        (0, before.cr0 | cr0::AM | cr0::EM),
        (2, 0x8765_4321_1234_5678),
        (3, PAGE_TABLES | 0x18),
        (4, before.cr4 | cr4::PSE | cr4::DE | cr4::TSD),
        (8, 9),
    ];
    for (number, value) in cases {
        assert_eq!(machine.with(value, 0, 0, &to(number)), Exit::Halt);
        assert_eq!(machine.with(0, 0, 0, &from(number)), Exit::Halt);
        assert_eq!(machine.now().gpr[0], value, "CR{number}");
    }
    let state = machine.now();
    let found = [state.cr0, state.cr2, state.cr3, state.cr4, u64::from(state.cr8)];
    assert_eq!(found, cases.map(|(_, value)| value));
    assert_eq!(state.efer & efer::LMA, efer::LMA);
}

#[test]
fn control_registers_have_32_bits_outside_of_64_bit_mode() {
    let mut machine = Machine::protected().exiting();
    assert_eq!(machine.with(u64::MAX, 0, 0, &to(2)), Exit::Halt);
    assert_eq!(machine.now().cr2, 0xffff_ffff);
    machine.state(|state| state.cr2 = u64::MAX);
    assert_eq!(machine.with(u64::MAX, 0, 0, &from(2)), Exit::Halt);
    assert_eq!(machine.now().gpr[0], 0xffff_ffff);
}

#[test]
fn bad_values_raise_gp() {
    let mut machine = Machine::long().exiting();
    let before = machine.now();
    let cases = [
        (0, before.cr0 | 1 << 32),
        (0, before.cr0 & !cr0::PE),
        (0, before.cr0 | cr0::NW),
        (3, 1 << 40),
        (3, 1 << 63 | PAGE_TABLES),
        (4, before.cr4 | 1 << 13),
        (4, before.cr4 | 1 << 18),
        (4, before.cr4 | 1 << 22),
        (4, before.cr4 | 1 << 32),
        (4, before.cr4 & !cr4::PAE),
        (8, 16),
    ];
    for (number, value) in cases {
        assert_eq!(machine.with(value, 0, 0, &to(number)), GP, "CR{number} = {value:x}");
    }
    let state = machine.now();
    assert_eq!((state.cr0, state.cr3, state.cr4), (before.cr0, before.cr3, before.cr4));
}

#[test]
fn reserved_bits_of_the_lower_half_of_cr0_are_ignored() {
    let mut machine = Machine::long().exiting();
    let before = machine.now().cr0;
    let value = (before | 1 << 6 | 1 << 17 | 1 << 28) & !cr0::ET;
    assert_eq!(machine.with(value, 0, 0, &to(0)), Exit::Halt);
    assert_eq!(machine.now().cr0, before);
}

#[test]
fn bits_of_cr4_follow_cpuid() {
    let features = [
        (cr4::FSGSBASE, 1, 0),
        (cr4::SMEP, 1 << 7, 0),
        (cr4::SMAP, 1 << 20, 0),
        (cr4::UMIP, 0, 1 << 2),
    ];
    for (bit, ebx, ecx) in features {
        let mut without = Machine::long().exiting().cpuid(7, 0, !ebx, !ecx, 0);
        let value = without.now().cr4 | bit;
        assert_eq!(without.with(value, 0, 0, &to(4)), GP);
        // SMEP and SMAP would stop the code, which is in a page of the user's.
        let mut with = Machine::long().exiting().cpuid(7, 0, ebx, ecx, 0);
        with.write(PAGE_TABLES + 0x2000, &0x83u64.to_le_bytes());
        assert_eq!(with.with(value, 0, 0, &to(4)), Exit::Halt);
        assert_eq!(with.now().cr4, value);
    }
}

#[test]
fn other_numbers_are_no_registers() {
    for number in [1, 5, 6, 7] {
        let mut machine = Machine::long().exiting();
        assert_eq!(machine.with(0, 0, 0, &to(number)), UD);
        assert_eq!(machine.with(0, 0, 0, &from(number)), UD);
        let mut user = Machine::long().exiting().user();
        assert_eq!(user.with(0, 0, 0, &from(number)), UD);
    }
}

#[test]
fn cr8_exits_when_it_is_lowered() {
    let mut machine = Machine::long().exiting();
    assert_eq!(machine.with(9, 0, 0, &to(8)), Exit::Halt);
    assert_eq!(machine.vcpu.cr8(), 9);
    assert_eq!(machine.with(9, 0, 0, &to(8)), Exit::Halt);
    let executed = machine.vcpu.executed();
    assert_eq!(machine.with(8, 0, 0, &to(8)), Exit::Cr8Lowered);
    assert_eq!((machine.now().rip, machine.vcpu.cr8()), (CODE + 4, 8));
    assert_eq!(machine.vcpu.executed(), executed + 1);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
}

#[test]
fn privileged_instructions_are_not_the_users() {
    let instructions: [&[u8]; 21] = [
        &to(0),
        &to(8),
        &from(0),
        &from(8),
        &[0x0f, 0x21, 0xf8], // mov rax, dr7
        &[0x0f, 0x23, 0xf8], // mov dr7, rax
        &[0x0f, 0x06],       // clts
        &[0x0f, 0x01, 0xf0], // lmsw ax
        &[0x0f, 0x01, 0x10], // lgdt [rax]
        &[0x0f, 0x01, 0x18], // lidt [rax]
        &[0x0f, 0x01, 0x38], // invlpg [rax]
        &[0x0f, 0x08],       // invd
        &[0x0f, 0x09],       // wbinvd
        &[0x0f, 0x30],       // wrmsr
        &[0x0f, 0x32],       // rdmsr
        &[0x0f, 0x33],       // rdpmc
        &[0xf4],             // hlt
        &[0xfa],             // cli
        &[0xfb],             // sti
        &[0xe4, 0x80],       // in al, 0x80
        &[0xee],             // out dx, al
    ];
    for code in instructions {
        let mut machine = Machine::long().exiting().user();
        assert_eq!(machine.with(DATA, 0, 0, code), GP, "{code:x?}");
        assert_eq!(machine.now().rip, CODE);
    }
}

#[test]
fn what_this_processor_does_not_have_is_ud() {
    let instructions: [&[u8]; 18] = [
        &[0x0f, 0x01, 0xc8],             // monitor
        &[0x0f, 0x01, 0xc9],             // mwait
        &[0x0f, 0x01, 0xd0],             // xgetbv
        &[0x0f, 0x01, 0xd1],             // xsetbv
        &[0x0f, 0x01, 0xe8],             // serialize
        &[0x0f, 0x01, 0xca],             // clac, without SMAP
        &[0x0f, 0x01, 0xf9],             // rdtscp, without it in CPUID
        &[0x0f, 0x01, 0xc1],             // vmcall
        &[0x0f, 0x01, 0xd9],             // vmmcall
        &[0x0f, 0xaa],                   // rsm
        &[0x66, 0x0f, 0x38, 0x82, 0x08], // invpcid rcx, [rax]
        &[0xf3, 0x0f, 0xae, 0xc0],       // rdfsbase eax, without CR4.FSGSBASE
        &[0x66, 0x0f, 0xae, 0x38],       // clflushopt [rax]
        &[0xf3, 0x0f, 0xc7, 0xf8],       // rdpid rax
        &[0x0f, 0xff, 0xc0],             // ud0
        &[0x0f, 0xb9, 0xc0],             // ud1
        &[0x0f, 0x0b],                   // ud2
        &[0x0f, 0x01, 0xee],             // rdpkru
    ];
    for code in instructions {
        let mut machine = Machine::long().exiting();
        assert_eq!(machine.with(DATA, 0, 0, code), UD, "{code:x?}");
        assert_eq!(machine.now().rip, CODE);
    }
}

#[test]
fn caches_and_fences() {
    let mut machine = Machine::long().exiting();
    // invd; wbinvd; the same with an idle REP (WBNOINVD elsewhere); lfence; mfence; sfence;
    // clflush [rax]
    let code = [
        0x0f, 0x08, 0x0f, 0x09, 0xf3, 0x0f, 0x09, 0x0f, 0xae, 0xe8, 0x0f, 0xae, 0xf0, 0x0f, 0xae,
        0xf8, 0x0f, 0xae, 0x38,
    ];
    assert_eq!(machine.with(DATA, 0, 0, &code), Exit::Halt);
    // CLFLUSH asks no device, and faults like a read.
    assert_eq!(machine.with(0x50_0000, 0, 0, &code), Exit::Halt);
    assert_eq!(machine.with(1 << 63, 0, 0, &code), GP);
    let fault = Exception::pf(0, 1 << 32);
    assert_eq!(machine.with(1 << 32, 0, 0, &code), Exit::Exception(fault));
}

#[test]
fn clts_and_the_machine_status_word() {
    let mut machine = Machine::long().exiting();
    machine.state(|state| state.cr0 |= cr0::TS);
    let before = machine.now().cr0;
    assert_eq!(machine.with(0, 0, 0, &[0x0f, 0x06]), Exit::Halt);
    assert_eq!(machine.now().cr0, before & !cr0::TS);
    // lmsw ax: four bits; PE stays.
    assert_eq!(machine.with(!1, 0, 0, &[0x0f, 0x01, 0xf0]), Exit::Halt);
    assert_eq!(machine.now().cr0, before | cr0::TS | cr0::EM | cr0::MP);
    assert_eq!(machine.with(0, 0, 0, &[0x0f, 0x01, 0xf0]), Exit::Halt);
    assert_eq!(machine.now().cr0, before & !(cr0::TS | cr0::EM | cr0::MP));
    // smsw ax; smsw ecx; smsw rdx
    let all = [0x66, 0x0f, 0x01, 0xe0, 0x0f, 0x01, 0xe1, 0x48, 0x0f, 0x01, 0xe2];
    let cr0 = machine.now().cr0;
    assert_eq!(machine.with(u64::MAX, u64::MAX, u64::MAX, &all), Exit::Halt);
    let gpr = machine.now().gpr;
    assert_eq!((gpr[0], gpr[1], gpr[2]), (u64::MAX << 16 | cr0 & 0xffff, cr0, cr0));
    // smsw [rax] is two bytes.
    machine.write(DATA, &[0xff; 4]);
    assert_eq!(machine.with(DATA, 0, 0, &[0x48, 0x0f, 0x01, 0x20]), Exit::Halt);
    assert_eq!(machine.read_u64(DATA) & 0xffff_ffff, 0xffff_0000 | cr0 & 0xffff);
}

#[test]
fn lmsw_enters_protected_mode() {
    let mut machine = Machine::real();
    machine.state(|state| state.gpr[0] = 1);
    assert_eq!(machine.run_bytes(&[0x0f, 0x01, 0xf0, 0xf4]), Exit::Halt);
    assert_eq!(machine.now().cr0 & cr0::PE, cr0::PE);
}

#[test]
fn cpuid_tells_the_apic_as_its_base_says() {
    let mut machine = Machine::long().cpuid(1, 0x1234, 1, 1 << 27 | 2, 1 << 9 | 4);
    for (base, features) in [(0xfee0_0000, 4), (0xfee0_0800, 0x204)] {
        machine.vcpu.set_apic_base(base);
        machine.state(|state| state.gpr[..4].fill(u64::MAX << 32 | 1));
        assert_eq!(machine.run_bytes(&[0x0f, 0xa2, 0xf4]), Exit::Halt);
        let gpr = machine.now().gpr;
        assert_eq!([gpr[0], gpr[3], gpr[1], gpr[2]], [0x1234, 1, 2, features]);
    }
    // What the table does not offer does not appear.
    let mut machine = Machine::long().cpuid(1, 0, 0, 0, 4);
    machine.vcpu.set_apic_base(0xfee0_0800);
    assert_eq!(machine.with(1, 0, 0, &[0x0f, 0xa2]), Exit::Halt);
    assert_eq!(machine.now().gpr[2], 4);
}
