// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Segments, limits, and 16- and 32-bit addresses outside of 64-bit mode.

use vcpu_events::Exception;

use super::*;
use crate::segment::{AccessRights, Segment, DS, ES, FS, SS};
use crate::tests::machine::{Machine, DATA, REAL_CODE};

#[test]
fn in_16_bit_code_only_the_low_halves_change() {
    let mut machine = Machine::real();
    machine.write(0x2_0000, &pattern(0x100));
    machine.state(|state| {
        state.segments[usize::from(DS)] = Segment::real(0x2000, 3);
        state.segments[usize::from(ES)] = Segment::real(0x3000, 3);
    });
    let high = 0x1234_0000;
    set_registers(&mut machine, high | 0x80, high, high | 0x10);
    // rep movsw
    run(&mut machine, &[REP, MOVS + 1]);
    assert_eq!(registers(&machine), (high, high | 0x100, high | 0x110));
    assert_eq!(read(&machine, 0x3_0010, 0x100), pattern(0x100));
}

#[test]
fn si_and_di_wrap_at_64_kib() {
    let mut machine = Machine::real();
    let bytes = pattern(0x40);
    machine.write(0x2_fff0, &bytes[..0x10]);
    machine.write(0x2_0000, &bytes[0x10..]);
    machine.write(0x3_0000, &[0xee; 0x40]);
    machine.state(|state| {
        state.segments[usize::from(DS)] = Segment::real(0x2000, 3);
        state.segments[usize::from(ES)] = Segment::real(0x4000, 3);
    });
    set_registers(&mut machine, 0x40, 0xfff0, 0xffe0);
    run(&mut machine, &[REP, MOVS]);
    assert_eq!(registers(&machine), (0, 0x30, 0x20));
    assert_eq!(read(&machine, 0x4_ffe0, 0x20), bytes[..0x20]);
    assert_eq!(read(&machine, 0x4_0000, 0x20), bytes[0x20..]);
    // And downwards.
    machine.state(|state| state.rflags = 2 | DF);
    machine.write(0x4_0000, &[0; 0x40]);
    set_registers(&mut machine, 0x40, 0x2f, 0x1f);
    run(&mut machine, &[REP, MOVS]);
    assert_eq!(registers(&machine), (0, 0xffef, 0xffdf));
    assert_eq!(read(&machine, 0x4_ffe0, 0x20), bytes[..0x20]);
    assert_eq!(read(&machine, 0x4_0000, 0x20), bytes[0x20..]);
}

#[test]
fn a_word_at_the_last_byte_of_64_kib_is_beyond_the_limit() {
    let mut machine = Machine::real();
    machine.vcpu.set_exception_exits(1 << 13);
    set_registers(&mut machine, 0x10, 0x2000, 0xfffd);
    // rep stosw
    let exit = machine.run_bytes(&[REP, STOS + 1]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
    assert_eq!(registers(&machine), (0xf, 0x2000, 0xffff));
    assert_eq!(machine.vcpu.state().rip, REAL_CODE);
}

#[test]
fn an_address_size_prefix_takes_esi_edi_ecx() {
    let mut machine = Machine::protected();
    machine.write(DATA, &pattern(0x40));
    let high = 0x20_0000;
    // 16 bits in 32-bit code: SI, DI, CX. DATA is 200000h, so that the low halves are 0.
    machine.state(|state| {
        for index in [DS, ES] {
            state.segments[usize::from(index)].base = DATA;
        }
    });
    set_registers(&mut machine, high | 0x40, high, high | 0x1000);
    run(&mut machine, &[0x67, REP, MOVS]);
    assert_eq!(registers(&machine), (high, high | 0x40, high | 0x1040));
    assert_eq!(read(&machine, DATA + 0x1000, 0x40), pattern(0x40));
    // 32 bits in 16-bit code, in what a real-mode limit allows.
    let mut machine = Machine::real();
    machine.write(0x8000, &pattern(0x40));
    set_registers(&mut machine, 0x40, 0x8000, 0x9000);
    run(&mut machine, &[0x67, REP, MOVS]);
    assert_eq!(registers(&machine), (0, 0x8040, 0x9040));
    assert_eq!(read(&machine, 0x9000, 0x40), pattern(0x40));
    machine.vcpu.set_exception_exits(1 << 13);
    set_registers(&mut machine, 1, 0x1_0000, 0x9000);
    let exit = machine.run_bytes(&[0x67, REP, MOVS]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
}

#[test]
fn the_segment_limit_stops_a_repetition_at_its_element() {
    let mut machine = Machine::protected();
    machine.vcpu.set_exception_exits(1 << 12 | 1 << 13);
    machine.write(DATA, &pattern(0x2000));
    machine.state(|state| {
        state.segments[usize::from(FS)].base = DATA;
        state.segments[usize::from(FS)].limit = 0x10ff;
        state.segments[usize::from(SS)].limit = 0xff;
        state.segments[usize::from(SS)].base = DATA;
    });
    for (prefix, bytes, exception) in
        [(0x64, 0x1100, Exception::gp(0)), (0x36, 0x100, Exception::ss(0))]
    {
        set_registers(&mut machine, 0x800, 0, 0x28_0000);
        let exit = machine.run_bytes(&[prefix, REP, MOVS + 1, HLT]);
        assert_eq!(exit, Exit::Exception(exception));
        let expected = (0x800 - bytes / 4, bytes, 0x28_0000 + bytes);
        assert_eq!(registers(&machine), expected);
        assert_eq!(read(&machine, 0x28_0000, bytes as usize), pattern(bytes as usize));
    }
}

#[test]
fn the_destination_has_to_be_writable() {
    let mut machine = Machine::protected();
    machine.vcpu.set_exception_exits(1 << 13);
    machine.state(|state| {
        let rights = AccessRights::new().with_kind(1).with_s(true).with_present(true);
        state.segments[usize::from(ES)].rights = rights.with_db(true);
    });
    for (opcode, allowed) in [(MOVS, false), (STOS, false), (SCAS, true), (CMPS, true)] {
        set_registers(&mut machine, 1, DATA, DATA);
        let exit = machine.run_bytes(&[REP, opcode, HLT]);
        let refused = Exit::Exception(Exception::gp(0));
        assert_eq!(exit, if allowed { Exit::Halt } else { refused });
    }
}
