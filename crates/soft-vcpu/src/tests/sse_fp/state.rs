// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LDMXCSR, STMXCSR, FXSAVE, FXRSTOR.

use vcpu_events::Exception;
use vm_memory::{Bytes, GuestAddress};

use super::super::simd::registers::Rng;
use super::faults::{machine, raised};
use crate::spec::cr4;
use crate::tests::machine::{Machine, DATA, PAGE_TABLES};
use crate::{Exit, State};

// With the operand at RSI, or at [SI] in 16-bit and [ESI] in 32-bit code.
const FXSAVE: [u8; 3] = [0x0f, 0xae, 0x06];
const FXSAVE64: [u8; 4] = [0x48, 0x0f, 0xae, 0x06];
const FXRSTOR: [u8; 3] = [0x0f, 0xae, 0x0e];
const FXRSTOR64: [u8; 4] = [0x48, 0x0f, 0xae, 0x0e];
const LDMXCSR: [u8; 3] = [0x0f, 0xae, 0x16];
const STMXCSR: [u8; 3] = [0x0f, 0xae, 0x1e];

type Area = [u8; 512];

fn area(machine: &Machine, at: u64) -> Area {
    let mut area = [0; 512];
    machine.memory.read_slice(&mut area, GuestAddress(at)).unwrap();
    area
}

fn word<const N: usize>(area: &Area, at: usize) -> [u8; N] {
    area[at..at + N].try_into().unwrap()
}

/// A state in which every part of the area can be told from the others.
fn distinct(state: &mut State) {
    state.fcw = 0x27f;
    state.fsw = 3 << 11 | 0x4100;
    state.ftw = 0b0110_1001;
    state.fop = 0x5a5;
    state.fip = (0x1234, 0x1111_2222_3333_4444);
    state.fdp = (0x5678, 0x5555_6666_7777_8888);
    for n in 0..8 {
        state.x87[n] = (0x8000_0000_0000_0000 | n as u64, 0x4000 + n as u16);
    }
    for n in 0..16 {
        state.xmm[n] = u128::from_le_bytes([0xa0 + n as u8; 16]);
    }
    state.mxcsr = 0x5fa1;
}

#[test]
fn fxsave64_lays_the_state_out_as_the_manual_says() {
    let mut machine = machine();
    machine.state(distinct);
    machine.write(DATA, &[0xee; 512]);
    assert_eq!(raised(&mut machine, &FXSAVE64, DATA), None);
    let area = area(&machine, DATA);
    assert_eq!(word(&area, 0), 0x27f_u16.to_le_bytes());
    assert_eq!(word(&area, 2), 0x5900_u16.to_le_bytes());
    assert_eq!(word(&area, 4), [0b0110_1001, 0]);
    assert_eq!(word(&area, 6), 0x5a5_u16.to_le_bytes());
    assert_eq!(word(&area, 8), 0x1111_2222_3333_4444_u64.to_le_bytes());
    assert_eq!(word(&area, 16), 0x5555_6666_7777_8888_u64.to_le_bytes());
    assert_eq!(word(&area, 24), 0x5fa1_u32.to_le_bytes());
    assert_eq!(word(&area, 28), 0xffff_u32.to_le_bytes());
    for n in 0..8 {
        // TOP is 3.
        let physical = (n as u64 + 3) % 8;
        assert_eq!(word(&area, 32 + 16 * n), (0x8000_0000_0000_0000 | physical).to_le_bytes());
        assert_eq!(word(&area, 40 + 16 * n), (0x4000 + physical).to_le_bytes());
    }
    for n in 0..16 {
        assert_eq!(word(&area, 160 + 16 * n), [0xa0 + n as u8; 16]);
    }
    assert_eq!(area[416..], [0xee; 96]);
}

#[test]
fn fxsave_has_selectors_and_32_bits_of_the_pointers() {
    let mut machine = machine();
    machine.state(distinct);
    assert_eq!(raised(&mut machine, &FXSAVE, DATA), None);
    let area = area(&machine, DATA);
    assert_eq!(word(&area, 8), [0x44, 0x44, 0x33, 0x33, 0x34, 0x12, 0, 0]);
    assert_eq!(word(&area, 16), [0x88, 0x88, 0x77, 0x77, 0x78, 0x56, 0, 0]);
    assert_eq!(word(&area, 160 + 16 * 15), [0xaf; 16]);
}

#[test]
fn outside_of_64_bit_mode_there_are_eight_xmm_registers() {
    let mut machine = Machine::protected();
    machine.state(distinct);
    machine.state(|state| state.gpr[6] = DATA);
    machine.write(DATA, &[0xee; 512]);
    assert_eq!(machine.run_bytes(&[&FXSAVE[..], &[0xf4]].concat()), Exit::Halt);
    let saved = area(&machine, DATA);
    assert_eq!(word(&saved, 160 + 16 * 7), [0xa7; 16]);
    assert_eq!(saved[288..], [0xee; 224]);
    machine.write(DATA + 160, &[0x77; 256]);
    assert_eq!(machine.run_bytes(&[&FXRSTOR[..], &[0xf4]].concat()), Exit::Halt);
    let state = machine.vcpu.state();
    assert_eq!(state.xmm[7].to_le_bytes(), [0x77; 16]);
    assert_eq!(state.xmm[8].to_le_bytes(), [0xa8; 16]);
}

/// FXSAVE does not touch SSE's part where it does not exist.
#[test]
fn without_osfxsr_the_area_is_x87_only() {
    let mut machine = machine();
    machine.state(distinct);
    machine.state(|state| state.cr4 &= !cr4::OSFXSR);
    machine.write(DATA, &[0xee; 512]);
    assert_eq!(raised(&mut machine, &FXSAVE64, DATA), None);
    let saved = area(&machine, DATA);
    assert_eq!(word(&saved, 0), 0x27f_u16.to_le_bytes());
    assert_eq!(saved[24..32], [0xee; 8]);
    assert_eq!(saved[160..], [0xee; 352]);
    let xmm = machine.vcpu.state().xmm;
    assert_eq!(raised(&mut machine, &FXRSTOR64, DATA), None);
    assert_eq!(machine.vcpu.state().xmm, xmm);
    assert_eq!(machine.vcpu.state().mxcsr, 0x5fa1);
}

#[test]
fn fxrstor_brings_back_what_fxsave_took() {
    let mut machine = machine();
    machine.state(distinct);
    assert_eq!(raised(&mut machine, &FXSAVE64, DATA), None);
    let before = machine.vcpu.state();
    machine.state(|state| {
        (state.fcw, state.fsw, state.ftw, state.fop) = (0x37f, 0, 0, 0);
        (state.fip, state.fdp) = ((0, 0), (0, 0));
        (state.x87, state.xmm, state.mxcsr) = ([(0, 0); 8], [0; 16], 0x1f80);
    });
    assert_eq!(raised(&mut machine, &FXRSTOR64, DATA), None);
    let mut after = machine.vcpu.state();
    // The 64-bit form has no selectors.
    assert_eq!((after.fip.0, after.fdp.0), (0, 0));
    (after.fip.0, after.fdp.0) = (before.fip.0, before.fdp.0);
    assert_eq!(after, before);
}

/// Loads an area into this processor and saves it again: into `into`.
fn native(image: &Area, into: &Area) -> Area {
    #[repr(C, align(16))]
    struct Aligned(Area);
    let (host, image, mut saved) = (Aligned([0; 512]), Aligned(*image), Aligned(*into));
    // SAFETY: the areas are as large and aligned as they must be, the image's MXCSR is valid, and
    // what the compiler may have in these registers comes back at the end.
    unsafe {
        std::arch::asm!(
            "fxsave64 [{host}]",
            "fxrstor64 [{image}]",
            "fxsave64 [{saved}]",
            "fxrstor64 [{host}]",
            host = in(reg) &host,
            image = in(reg) &image,
            saved = in(reg) &mut saved,
            options(nostack)
        );
    }
    saved.0
}

#[test]
fn any_area_is_loaded_and_saved_as_the_processor_does() {
    let (mut machine, mut rng) = (machine(), Rng(8));
    for _ in 0..2000 {
        let mut image: Area = std::array::from_fn(|_| rng.next() as u8);
        // All of MXCSR but its reserved bits.
        image[26..28].fill(0);
        machine.write(DATA, &image);
        machine.write(DATA + 0x1000, &[0xee; 512]);
        assert_eq!(raised(&mut machine, &FXRSTOR64, DATA), None);
        assert_eq!(raised(&mut machine, &FXSAVE64, DATA + 0x1000), None);
        let (native, soft) = (native(&image, &[0xee; 512]), area(&machine, DATA + 0x1000));
        // Processors differ in when they save the last instruction and its pointers, and in the
        // bits of MXCSR that they have.
        assert_eq!(native[..6], soft[..6], "image {image:02x?}");
        assert_eq!(native[24..28], soft[24..28], "image {image:02x?}");
        assert_eq!(native[32..], soft[32..], "image {image:02x?}");
    }
}

#[test]
fn the_area_is_aligned_to_16() {
    let mut machine = machine();
    for instruction in [&FXSAVE[..], &FXSAVE64, &FXRSTOR, &FXRSTOR64] {
        for offset in [1, 4, 8, 15] {
            let exception = raised(&mut machine, instruction, DATA + offset);
            assert_eq!(exception, Some(Exception::gp(0)), "{instruction:02x?} at {offset}");
        }
    }
}

/// Of the area's two pages, the second is not there: nothing is saved, nothing is loaded.
#[test]
fn an_area_that_is_there_in_part_is_pf() {
    let mut machine = machine();
    let missing = DATA + (2 << 20);
    machine.write(PAGE_TABLES + 0x2000 + 8 * (missing >> 21), &[0; 8]);
    machine.state(distinct);
    let there = missing - 256;
    machine.write(there, &[0xee; 256]);
    for instruction in [&FXSAVE[..], &FXSAVE64, &FXRSTOR, &FXRSTOR64] {
        let exception = raised(&mut machine, instruction, there);
        assert_eq!(exception.map(|one| one.vector()), Some(14), "{instruction:02x?}");
        let words = (0..32).map(|n| machine.read_u64(there + 8 * n));
        assert!(words.into_iter().all(|word| word == u64::from_le_bytes([0xee; 8])));
    }
}

#[test]
fn reserved_bits_of_mxcsr_are_gp() {
    let mut machine = machine();
    for bit in 16..32 {
        machine.write(DATA, &[0; 512]);
        machine.write(DATA, &(1u32 << bit).to_le_bytes());
        assert_eq!(raised(&mut machine, &LDMXCSR, DATA), Some(Exception::gp(0)), "bit {bit}");
        machine.write(DATA, &[0; 4]);
        machine.write(DATA + 24, &(1u32 << bit).to_le_bytes());
        for instruction in [&FXRSTOR[..], &FXRSTOR64] {
            let exception = raised(&mut machine, instruction, DATA);
            assert_eq!(exception, Some(Exception::gp(0)), "bit {bit}");
        }
    }
}

#[test]
fn ldmxcsr_and_stmxcsr_move_all_sixteen_bits_of_any_address() {
    let mut machine = machine();
    for value in [0u32, 0xffff, 0x1f80, 0x8041, 0x6000] {
        machine.write(DATA + 3, &value.to_le_bytes());
        assert_eq!(raised(&mut machine, &LDMXCSR, DATA + 3), None);
        assert_eq!(machine.vcpu.state().mxcsr, value);
        assert_eq!(raised(&mut machine, &STMXCSR, DATA + 9), None);
        assert_eq!(machine.read_u64(DATA + 9) as u32, value);
    }
}
