// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSRs, the time-stamp counter, FS and GS bases.

use super::{Machine, GP, UD};
use crate::spec::{cr4, efer, msr};
use crate::{Exit, GeneralProtection, Msr};

const RDMSR: [u8; 2] = [0x0f, 0x32];
const WRMSR: [u8; 2] = [0x0f, 0x30];
const CANONICAL: u64 = 0xffff_8765_4321_1234;

fn write(machine: &mut Machine, index: u32, value: u64) -> Exit {
    machine.with(value | 0xabcd << 32, index.into(), value >> 32, &WRMSR)
}

fn read(machine: &mut Machine, index: u32) -> Result<u64, Exit> {
    match machine.with(u64::MAX, index.into(), u64::MAX, &RDMSR) {
        Exit::Halt => {
            let gpr = machine.now().gpr;
            assert_eq!((gpr[0] | gpr[2]) >> 32, 0);
            Ok(gpr[2] << 32 | gpr[0])
        }
        exit => Err(exit),
    }
}

#[test]
fn msrs_read_what_was_written() {
    let cases = [
        (msr::SYSENTER_CS, 0x1234),
        (msr::SYSENTER_ESP, CANONICAL),
        (msr::SYSENTER_EIP, CANONICAL),
        (msr::PAT, 0x0706_0504_0100_0007),
        (msr::STAR, 0x0123_4567_89ab_cdef),
        (msr::LSTAR, CANONICAL),
        (msr::CSTAR, CANONICAL),
        (msr::SFMASK, 0x4_7700),
        (msr::FS_BASE, CANONICAL),
        (msr::GS_BASE, CANONICAL),
        (msr::KERNEL_GS_BASE, CANONICAL),
        (msr::TSC_AUX, 0x8000_0001),
        (msr::TSC_ADJUST, u64::MAX),
    ];
    for (index, value) in cases {
        let mut machine = Machine::long().exiting();
        assert_eq!(write(&mut machine, index, value), Exit::Halt, "{index:x}");
        assert_eq!(read(&mut machine, index), Ok(value), "{index:x}");
    }
}

#[test]
fn values_that_cannot_be_raise_gp() {
    let cases = [
        (msr::SYSENTER_ESP, 1 << 47),
        (msr::SYSENTER_EIP, 1 << 63),
        (msr::LSTAR, 1 << 47),
        (msr::CSTAR, 1 << 47),
        (msr::FS_BASE, 1 << 47),
        (msr::GS_BASE, 1 << 47),
        (msr::KERNEL_GS_BASE, 1 << 47),
        (msr::PAT, 2),
        (msr::PAT, 3 << 56),
        (msr::PAT, 8),
        (msr::TSC_AUX, 1 << 32),
        (msr::EFER, efer::LME | efer::SCE | 2),
        (msr::EFER, efer::SCE | efer::NXE), // LME with paging on
        (0x1234, 0),
    ];
    for (index, value) in cases {
        let mut machine = Machine::long().exiting();
        let before = machine.now();
        assert_eq!(write(&mut machine, index, value), GP, "{index:x} = {value:x}");
        let after = machine.now();
        assert_eq!((after.efer, after.pat, after.lstar), (before.efer, before.pat, before.lstar));
    }
    assert_eq!(read(&mut Machine::long().exiting(), 0x1234), Err(GP));
}

#[test]
fn lma_is_not_written() {
    let mut machine = Machine::long().exiting();
    assert_eq!(write(&mut machine, msr::EFER, efer::LME | efer::NXE), Exit::Halt);
    assert_eq!(read(&mut machine, msr::EFER), Ok(efer::LME | efer::LMA | efer::NXE));
    let mut machine = Machine::protected().exiting();
    let all = efer::LME | efer::LMA | efer::NXE | efer::SCE;
    assert_eq!(write(&mut machine, msr::EFER, all), Exit::Halt);
    assert_eq!(read(&mut machine, msr::EFER), Ok(all & !efer::LMA));
}

#[test]
fn bases_are_used_at_once() {
    let mut machine = Machine::long().exiting();
    machine.write(crate::tests::machine::DATA, &[0x42]);
    // wrmsr; mov al, fs:[0]
    let code = [0x0f, 0x30, 0x64, 0x8a, 0x04, 0x25, 0, 0, 0, 0];
    let base = crate::tests::machine::DATA;
    assert_eq!(machine.with(base, msr::FS_BASE.into(), 0, &code), Exit::Halt);
    assert_eq!(machine.now().gpr[0] & 0xff, 0x42);
}

#[test]
fn the_table_decides_on_the_others() {
    let mut machine = Machine::long().exiting();
    let table = &mut machine.vcpu.cpu.msr_table;
    table.set(0x10_0000, Msr::Constant(5));
    table.set(0x10_0001, Msr::Ignored(6));
    table.set(0x10_0002, Msr::Stored(7));
    assert_eq!(write(&mut machine, 0x10_0000, 1), GP);
    assert_eq!(write(&mut machine, 0x10_0001, 1), Exit::Halt);
    assert_eq!(write(&mut machine, 0x10_0002, 1 << 40), Exit::Halt);
    assert_eq!(read(&mut machine, 0x10_0000), Ok(5));
    assert_eq!(read(&mut machine, 0x10_0001), Ok(6));
    assert_eq!(read(&mut machine, 0x10_0002), Ok(1 << 40));
}

#[test]
fn the_vmm_decides_on_some() {
    let mut machine = Machine::long().exiting();
    machine.vcpu.cpu.msr_table.set(msr::APIC_BASE, Msr::Exit);
    let index = msr::APIC_BASE;
    assert_eq!(read(&mut machine, index), Err(Exit::MsrRead { index }));
    machine.vcpu.complete_msr(Ok(0xf_fee0_0900));
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!((machine.now().gpr[0], machine.now().gpr[2]), (0xfee0_0900, 0xf));
    assert_eq!(read(&mut machine, index), Err(Exit::MsrRead { index }));
    machine.vcpu.complete_msr(Err(GeneralProtection));
    assert_eq!(machine.vcpu.run(10), GP);
    let value = 0x1_fee0_0800;
    assert_eq!(write(&mut machine, index, value), Exit::MsrWrite { index, value });
    machine.vcpu.complete_msr(Ok(0));
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(write(&mut machine, index, value), Exit::MsrWrite { index, value });
    machine.vcpu.complete_msr(Err(GeneralProtection));
    assert_eq!(machine.vcpu.run(10), GP);
}

#[test]
fn the_time_stamp_counter_counts_every_instruction_here() {
    let mut machine = Machine::long().exiting();
    // nop; nop; rdtsc; mov rbx, rax; nop; rdtsc
    let code = [0x90, 0x90, 0x0f, 0x31, 0x48, 0x89, 0xc3, 0x90, 0x0f, 0x31];
    assert_eq!(machine.with(u64::MAX, 0, u64::MAX, &code), Exit::Halt);
    let gpr = machine.now().gpr;
    assert_eq!((gpr[3], gpr[0], gpr[2]), (2, 5, 0));
}

#[test]
fn writing_the_counter_moves_the_adjustment_too() {
    let mut machine = Machine::long().exiting();
    // wrmsr; rdtsc: the write is at 0, the read one later.
    let code = [0x0f, 0x30, 0x0f, 0x31];
    assert_eq!(machine.with(1000, msr::TSC.into(), 1, &code), Exit::Halt);
    let gpr = machine.now().gpr;
    assert_eq!((gpr[2], gpr[0]), (1, 1001));
    let at = machine.vcpu.executed();
    assert_eq!(read(&mut machine, msr::TSC_ADJUST), Ok(0x1_0000_03e8));
    assert_eq!(write(&mut machine, msr::TSC_ADJUST, 0), Exit::Halt);
    assert_eq!(machine.vcpu.tsc(), machine.vcpu.executed());
    assert!(machine.vcpu.executed() > at);
}

#[test]
fn rdtsc_and_rdtscp_obey_tsd() {
    for (user, tsd, allowed) in
        [(false, false, true), (false, true, true), (true, false, true), (true, true, false)]
    {
        let mut machine = Machine::long().exiting().cpuid(0x8000_0001, 0, 0, 0, 1 << 27);
        machine.state(|state| {
            state.tsc_aux = 77;
            state.cr4 |= if tsd { cr4::TSD } else { 0 };
        });
        if user {
            machine = machine.user();
        }
        // rdtsc; rdtscp; ud2
        let exit = machine.with(0, u64::MAX, 0, &[0x0f, 0x31, 0x0f, 0x01, 0xf9, 0x0f, 0x0b]);
        assert_eq!(exit, if allowed { UD } else { GP });
        assert_eq!(machine.now().gpr[1], if allowed { 77 } else { u64::MAX });
    }
}

#[test]
fn fsgsbase() {
    let mut machine = Machine::long().exiting().user();
    machine.state(|state| {
        state.cr4 |= cr4::FSGSBASE;
        state.gpr[7] = CANONICAL;
    });
    // wrfsbase rdi; rdfsbase rax; wrgsbase edi; rdgsbase rcx; rdfsbase edx; ud2
    let code = [
        0xf3, 0x48, 0x0f, 0xae, 0xd7, 0xf3, 0x48, 0x0f, 0xae, 0xc0, 0xf3, 0x0f, 0xae, 0xdf, 0xf3,
        0x48, 0x0f, 0xae, 0xc9, 0xf3, 0x0f, 0xae, 0xc2, 0x0f, 0x0b,
    ];
    assert_eq!(machine.with(0, 0, u64::MAX, &code), UD);
    let low = CANONICAL & 0xffff_ffff;
    let state = machine.now();
    assert_eq!((state.gpr[0], state.gpr[1], state.gpr[2]), (CANONICAL, low, low));
    assert_eq!((state.segments[4].base, state.segments[5].base), (CANONICAL, low));
    // wrfsbase rdi
    machine.state(|state| state.gpr[7] = 1 << 47);
    assert_eq!(machine.with(0, 0, 0, &[0xf3, 0x48, 0x0f, 0xae, 0xd7]), GP);
}
