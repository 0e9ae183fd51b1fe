// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Code that changes, and the edges of code.

use std::sync::Arc;

use iced_x86::code_asm::*;
use vcpu_events::Exception;

use super::machine::{Machine, CODE, DATA};
use super::paging::{Paged, Paging, LINEAR};
use crate::segment::{Segment, CS};
use crate::{Config, Cpuid, Exit, MsrTable, State, Vcpu};

fn eax_of(machine: &Machine) -> u64 {
    machine.vcpu.state().gpr[0]
}

#[test]
fn an_instruction_changes_the_next_one_of_its_block() {
    let mut machine = Machine::long();
    // mov byte [rip + 1], 2; mov al, 1 (whose immediate that is); hlt
    let code = [0xc6, 0x05, 1, 0, 0, 0, 2, 0xb0, 1, 0xf4];
    for _ in 0..3 {
        machine.state(|state| state.gpr[0] = 0);
        assert_eq!(machine.run_bytes(&code), Exit::Halt);
        assert_eq!(eax_of(&machine), 2);
    }
}

#[test]
fn an_instruction_changes_itself_and_others_behind_it() {
    let mut machine = Machine::long();
    machine.state(|state| (state.gpr[7], state.gpr[1]) = (CODE, 20));
    // rep stosb, of AL = 0x90 over itself and the NOPs' places; then hlt at 20.
    let mut code = vec![0xb0, 0x90, 0xf3, 0xaa];
    code.resize(20, 0xcc);
    code.push(0xf4);
    assert_eq!(machine.run_bytes(&code), Exit::Halt);
    assert_eq!(machine.vcpu.state().rip, CODE + 21);
}

#[test]
fn a_block_is_seen_new_after_a_jump() {
    let mut machine = Machine::long();
    let exit = machine.run(|a| {
        let mut function = a.create_label();
        let mut start = a.create_label();
        a.jmp(start)?;
        a.set_label(&mut function)?;
        a.db(&[0x83, 0xc0, 1])?; // add eax, 1
        a.ret()?;
        a.set_label(&mut start)?;
        a.xor(eax, eax)?;
        a.lea(rbx, ptr(function))?;
        a.mov(ecx, 5)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.call(function)?;
        a.add(byte_ptr(rbx + 2), 1)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    assert_eq!(exit, Exit::Halt);
    assert_eq!(eax_of(&machine), 1 + 2 + 3 + 4 + 5);
}

/// Calls [`LINEAR`] + `offset`, changes a byte there at linear address `change`, calls again; the
/// results in AL and AH.
fn called_twice(paged: &mut Paged, offset: u64, change: u64, value: u8) -> u64 {
    paged.state(|state| {
        (state.gpr[3], state.gpr[6], state.gpr[2]) = (LINEAR + offset, change, u64::from(value));
    });
    // call rbx; mov ah, al; mov [rsi], dl; call rbx; xchg al, ah; hlt
    let code = [0xff, 0xd3, 0x88, 0xc4, 0x88, 0x16, 0xff, 0xd3, 0x86, 0xc4, 0xf4];
    assert_eq!(paged.machine.run_bytes(&code), Exit::Halt);
    eax_of(&paged.machine) & 0xffff
}

#[test]
fn code_of_another_page_changes() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.machine.write(DATA, &[0xb0, 1, 0xc3]); // mov al, 1; ret
    assert_eq!(called_twice(&mut paged, 0, LINEAR + 1, 2), 0x201);
    // Through another linear address, of a page that has been written before.
    assert_eq!(called_twice(&mut paged, 0, DATA + 1, 3), 0x302);
}

#[test]
fn an_instruction_across_pages_changes_in_either() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.table(1, DATA + 0x1000 | 3);
    paged.machine.write(DATA + 0xffe, &[0xb8, 1, 2, 0, 0, 0xc3]); // mov eax, 0x201; ret
    paged.state(|state| {
        (state.gpr[3], state.gpr[6]) = (LINEAR + 0xffe, LINEAR + 0xfff);
    });
    // call rbx; mov ecx, eax; inc byte [rsi]; call rbx; mov edx, eax; inc byte [rsi+1]; call rbx
    let code = [
        0xff, 0xd3, 0x89, 0xc1, 0xfe, 0x06, 0xff, 0xd3, 0x89, 0xc2, 0xfe, 0x46, 0x01, 0xff, 0xd3,
        0xf4,
    ];
    assert_eq!(paged.machine.run_bytes(&code), Exit::Halt);
    let gpr = paged.machine.vcpu.state().gpr;
    assert_eq!((gpr[1], gpr[2], gpr[0]), (0x201, 0x202, 0x302));
}

#[test]
fn an_instruction_across_pages_is_looked_up_when_its_second_page_moves() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.machine.write(DATA + 0xffe, &[0xb0, 0x90, 0xc3]); // (nothing), nop, ret
    paged.machine.write(DATA + 0xfff, &[0xb0]); // mov al, ..
    paged.table(1, DATA + 0x1000 | 3);
    paged.machine.write(DATA + 0x1000, &[1, 0xc3]);
    paged.machine.write(DATA + 0x2000, &[2, 0xc3]);
    paged.state(|state| (state.gpr[3], state.gpr[0]) = (LINEAR + 0xfff, 0));
    // call rbx; out 0x80, al; mov rcx, cr3; mov cr3, rcx; call rbx; hlt
    let code = [0xff, 0xd3, 0xe6, 0x80, 0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9, 0xff, 0xd3, 0xf4];
    let exit = paged.machine.run_bytes(&code);
    assert_eq!(exit, Exit::PortWrite { port: 0x80, size: 1, value: 1 });
    paged.table(1, DATA + 0x2000 | 3);
    assert_eq!(paged.machine.vcpu.run(100), Exit::Halt);
    assert_eq!(eax_of(&paged.machine), 2);
    // And when it goes.
    paged.table(1, 0);
    paged.state(|state| state.rip = LINEAR + 0xfff);
    let fault = Exception::pf(1 << 4, LINEAR + 0x1000);
    assert_eq!(paged.machine.vcpu.run(100), Exit::Exception(fault));
    assert_eq!(paged.machine.vcpu.state().rip, LINEAR + 0xfff);
}

#[test]
fn an_instruction_that_no_longer_crosses_needs_no_second_page() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.table(1, DATA + 0x1000 | 3);
    paged.machine.write(DATA + 0xfff, &[0xb0, 1, 0xf4]); // mov al, 1; hlt
    paged.state(|state| state.rip = LINEAR + 0xfff);
    assert_eq!(paged.machine.vcpu.run(100), Exit::Halt);
    paged.machine.write(DATA + 0xfff, &[0xf4]);
    paged.table(1, 0);
    paged.state(|state| state.rip = LINEAR + 0xfff);
    assert_eq!(paged.machine.vcpu.run(100), Exit::Halt);
    assert_eq!(paged.machine.vcpu.state().rip, LINEAR + 0x1000);
}

#[test]
fn blocks_are_forgotten_before_they_are_too_many() {
    let mut machine = Machine::long();
    machine.write(CODE, &[0x90; 0x1_0000]);
    let most = crate::block::MAX_CACHED_OPS as u64;
    // Each begins one byte behind the last one.
    for n in 0..most / 48 + 100 {
        machine.state(|state| state.rip = CODE + n % 0xf000);
        assert_eq!(machine.vcpu.run(1), Exit::Budget);
    }
    let ops = machine.vcpu.cache.blocks.iter().map(|block| block.ops.len()).sum::<usize>();
    assert!(ops as u64 <= most, "{ops}");
}

#[test]
fn the_vmm_changes_code() {
    let mut machine = Machine::long();
    for value in 1..4 {
        machine.write(CODE, &[0xb0, value, 0xf4]);
        machine.state(|state| state.rip = CODE);
        assert_eq!(machine.vcpu.run(10), Exit::Halt);
        assert_eq!(eax_of(&machine), u64::from(value));
    }
}

#[test]
fn what_is_no_instruction_becomes_one() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    assert_eq!(machine.run_bytes(&[0x06, 0xf4]), Exit::Exception(Exception::ud()));
    assert_eq!(machine.run_bytes(&[0x90, 0xf4]), Exit::Halt);
    assert_eq!(machine.run_bytes(&[0x0f, 0xff]), Exit::Exception(Exception::ud()));
    assert_eq!(machine.run_bytes(&[0x0f, 0xa2, 0xf4]), Exit::Halt);
}

#[test]
fn the_same_bytes_mean_something_else_in_another_mode() {
    // 48 ff c0: inc rax, or dec eax and inc eax
    let code = [0x48, 0xff, 0xc0, 0xf4];
    let mut machine = Machine::long();
    for (selector, expected) in [(0x08, 8), (0x18, 7), (0x08, 8), (0x18, 7)] {
        machine.state(|state| {
            state.gpr[0] = 7;
            state.segments[usize::from(CS)] = super::machine::segment(selector);
        });
        assert_eq!(machine.run_bytes(&code), Exit::Halt);
        assert_eq!(eax_of(&machine), expected);
    }
}

#[test]
fn code_ends_at_the_limit() {
    let mut machine = Machine::protected();
    machine.vcpu.set_exception_exits(u32::MAX);
    // nop; nop; mov al, 1
    machine.write(CODE, &[0x90, 0x90, 0xb0, 0x01, 0xf4]);
    let run = |machine: &mut Machine, limit: u64| {
        machine.state(|state| {
            state.rip = CODE;
            state.segments[usize::from(CS)].limit = limit as u32;
        });
        let exit = machine.vcpu.run(10);
        (exit, machine.vcpu.state().rip - CODE)
    };
    let fault = Exit::Exception(Exception::gp(0));
    assert_eq!(run(&mut machine, CODE + 4), (Exit::Halt, 5));
    assert_eq!(run(&mut machine, CODE + 3), (fault, 4));
    assert_eq!(run(&mut machine, CODE + 2), (fault, 2));
    assert_eq!(run(&mut machine, CODE + 1), (fault, 2));
    assert_eq!(run(&mut machine, CODE), (fault, 1));
    assert_eq!(run(&mut machine, CODE - 1), (fault, 0));
    assert_eq!(run(&mut machine, CODE + 4), (Exit::Halt, 5));
}

#[test]
fn real_mode_code_ends_at_64_kib() {
    let mut machine = Machine::real();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.write(0xfffe, &[0x90, 0x90]);
    machine.state(|state| state.rip = 0xfffe);
    let Exit::Exception(exception) = machine.vcpu.run(10) else { panic!() };
    assert_eq!(exception.vector(), 13);
    assert_eq!((machine.vcpu.state().rip, machine.vcpu.executed()), (0x1_0000, 2));
}

#[test]
fn fifteen_bytes_are_an_instruction_sixteen_are_not() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    let prefixed = |prefixes| [vec![0x66; prefixes], vec![0x90, 0xf4]].concat();
    assert_eq!(machine.run_bytes(&prefixed(14)), Exit::Halt);
    let exit = machine.run_bytes(&prefixed(15));
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
    // The same across a page.
    machine.write(DATA + 0xff8, &prefixed(14));
    machine.state(|state| state.rip = DATA + 0xff8);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    machine.write(DATA + 0xff8, &prefixed(15));
    machine.state(|state| state.rip = DATA + 0xff8);
    assert_eq!(machine.vcpu.run(10), Exit::Exception(Exception::gp(0)));
}

#[test]
fn code_in_a_segment_with_a_base() {
    let mut machine = Machine::real();
    machine.write(0x1_2345, &[0xb8, 0x34, 0x12, 0xf4]); // mov ax, 0x1234
    machine.state(|state| {
        state.segments[usize::from(CS)] = Segment::real(0x1000, 0xb);
        state.rip = 0x2345;
    });
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!((eax_of(&machine), machine.vcpu.state().rip), (0x1234, 0x2349));
}

/// Another vCPU of the same memory, in the same state but for what `change` does.
fn second(machine: &Machine, change: impl FnOnce(&mut State)) -> Vcpu {
    let mut vcpu = Vcpu::new(Config {
        memory: Arc::clone(&machine.vcpu.cpu.memory),
        cpuid: Cpuid::new(),
        msrs: MsrTable::new(),
        tsc: Box::new(|executed| executed),
        physical_address_bits: 40,
    });
    let mut state = machine.vcpu.state();
    change(&mut state);
    vcpu.set_state(&state).unwrap();
    vcpu
}

#[test]
fn a_vcpu_that_wrote_to_a_page_before_it_was_code_is_seen_to_write_again() {
    let mut machine = Machine::long();
    // The writer: mov [rbx], al; jmp back to it.
    let writer = DATA + 0x3000;
    machine.write(writer, &[0x88, 0x03, 0xeb, 0xfc]);
    machine.write(DATA, &[0xb0, 0, 0xc3]); // mov al, ..; ret
    let mut other = second(&machine, |state| {
        (state.rip, state.gpr[3], state.gpr[0]) = (writer, DATA + 1, 5);
    });
    // It gets a translation that writes unseen, and keeps it.
    assert_eq!(other.run(2), Exit::Budget);
    machine.state(|state| state.gpr[3] = DATA);
    // call rbx; mov ah, al; out 0x80, al; call rbx; hlt
    let code = [0xff, 0xd3, 0x88, 0xc4, 0xe6, 0x80, 0xff, 0xd3, 0xf4];
    assert_eq!(machine.run_bytes(&code), Exit::PortWrite { port: 0x80, size: 1, value: 5 });
    // So that it writes something else without a new state, which would forget translations.
    other.cpu.gpr[0] = 6;
    assert_eq!(other.run(2), Exit::Budget);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
    assert_eq!(eax_of(&machine) & 0xffff, 0x506);
}

#[test]
fn nobody_waits_for_a_vcpu_whose_clock_panicked() {
    let mut machine = Machine::long();
    let writer = DATA + 0x3000;
    // mov [rbx], al; rdtsc
    machine.write(writer, &[0x88, 0x03, 0x0f, 0x31]);
    machine.write(DATA, &[0xf4]);
    let mut other = second(&machine, |state| (state.rip, state.gpr[3]) = (writer, DATA + 1));
    other.cpu.tsc.source = Box::new(|_| panic!("this clock is broken"));
    let run = std::panic::AssertUnwindSafe(|| other.run(10));
    assert!(std::panic::catch_unwind(run).is_err());
    // It has a translation by which it wrote here unseen.
    machine.state(|state| state.rip = DATA);
    assert_eq!(machine.vcpu.run(10), Exit::Halt);
}

#[test]
fn a_vcpu_executes_what_it_wrote_before_and_after() {
    let mut machine = Machine::long();
    machine.write(DATA, &[0xb0, 0, 0xc3]); // mov al, ..; ret
    machine.state(|state| (state.gpr[3], state.gpr[2]) = (DATA, 5));
    // mov [rbx+1], dl; call rbx; mov ah, al; inc edx; mov [rbx+1], dl; call rbx; hlt
    let code = [0x88, 0x53, 1, 0xff, 0xd3, 0x88, 0xc4, 0xff, 0xc2, 0x88, 0x53, 1, 0xff, 0xd3, 0xf4];
    assert_eq!(machine.run_bytes(&code), Exit::Halt);
    assert_eq!(eax_of(&machine) & 0xffff, 0x506);
}

/// One vCPU writes numbers 1, 2, ... into an instruction, then into a counter; the other reads the
/// counter, serializes and executes the instruction, which must not be older (SDM vol. 3,
/// "Handling Self- and Cross-Modifying Code").
#[test]
fn another_vcpu_modifies_code() {
    const LAST: u32 = 20_000;
    let mut machine = Machine::long();
    let (function, writer, counter) = (DATA, DATA + 0x3000, DATA + 0x4000);
    machine.write(function, &[0xb8, 0, 0, 0, 0, 0xc3]); // mov eax, 0; ret
    let assemble = |at, code: &dyn Fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>| {
        let mut a = CodeAssembler::new(64).unwrap();
        code(&mut a).unwrap();
        a.assemble(at).unwrap()
    };
    let code = assemble(writer, &|a| {
        let mut again = a.create_label();
        a.mov(eax, 0)?;
        a.set_label(&mut again)?;
        a.inc(eax)?;
        a.mov(dword_ptr(rbx + 1), eax)?;
        a.mov(dword_ptr(rsi), eax)?;
        a.cmp(eax, LAST as i32)?;
        a.jne(again)?;
        a.hlt()
    });
    machine.write(writer, &code);
    machine.state(|state| (state.gpr[3], state.gpr[6]) = (function, counter));
    let mut other = second(&machine, |state| state.rip = writer);
    let thread = std::thread::spawn(move || other.run(u64::MAX));
    let code = assemble(CODE, &|a| {
        let mut again = a.create_label();
        let mut stale = a.create_label();
        a.mov(rdi, rbx)?;
        a.set_label(&mut again)?;
        a.mov(ebp, dword_ptr(rsi))?;
        a.cpuid()?;
        a.call(rdi)?;
        a.cmp(eax, ebp)?;
        a.jb(stale)?;
        a.cmp(ebp, LAST as i32)?;
        a.jne(again)?;
        a.hlt()?;
        a.set_label(&mut stale)?;
        a.ud2()
    });
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.write(CODE, &code);
    machine.state(|state| state.rip = CODE);
    let exit = machine.vcpu.run(u64::MAX);
    assert_eq!(exit, Exit::Halt, "{:x?}", machine.vcpu.state().gpr);
    assert_eq!(thread.join().unwrap(), Exit::Halt);
}

#[test]
fn a_page_of_code_becomes_one_of_data_and_of_code_again() {
    let mut paged = Paged::new(Paging::Levels4);
    let page = |paged: &Paged| paged.machine.vcpu.cpu.memory.page(DATA).unwrap().1.has_code();
    for round in 1..5u8 {
        paged.machine.write(DATA, &[0xb0, round, 0xc3]); // mov al, ..; ret
        assert_eq!(called_twice(&mut paged, 0, LINEAR + 1, 0x80 | round), {
            u64::from(0x80 | round) << 8 | u64::from(round)
        });
        assert!(page(&paged));
        // mov rcx, 0x200; rep stosq; hlt
        paged.state(|state| (state.gpr[7], state.gpr[0]) = (LINEAR, 0x9090_9090_9090_9090));
        let code = [0xb9, 0, 2, 0, 0, 0xf3, 0x48, 0xab, 0xf4];
        assert_eq!(paged.machine.run_bytes(&code), Exit::Halt);
        // Byte by byte over the code: quick again in the end.
        paged.state(|state| (state.gpr[3], state.gpr[1]) = (LINEAR, 1 << 12));
        // mov [rbx], cl; dec ecx; jnz; hlt
        let code = [0x88, 0x0b, 0xff, 0xc9, 0x75, 0xfa, 0xf4];
        assert_eq!(paged.machine.run_bytes(&code), Exit::Halt);
        assert!(!page(&paged));
    }
}

#[test]
fn a_block_that_changes_on_the_way_back_to_itself_does_not_follow_what_it_was() {
    let mut machine = Machine::long();
    let at = CODE + 0x10e6;
    // `call at` makes its own bytes `jmp at + 18` by its return address: the jump is taken.
    machine.write(at, &[0xe8, 0xfb, 0xff, 0xff, 0xff]);
    machine.write(at + 0x12, &[0xf4]);
    assert_eq!((at + 5) & 0xffff, 0x10eb, "the return address is the jump");
    machine.state(|state| (state.rip, state.gpr[4]) = (at, at + 8));
    assert_eq!(machine.vcpu.run(100), Exit::Halt);
    assert_eq!(machine.vcpu.executed(), 3);
}

#[test]
fn old_code_is_not_believed_because_new_code_cannot_be_fetched() {
    let mut paged = Paged::new(Paging::Levels4);
    paged.machine.write(DATA + 0xffe, &[0x90, 0xf4]);
    paged.table(1, 0);
    let run = |paged: &mut Paged| {
        paged.machine.state(|state| (state.rip, state.gpr[0]) = (LINEAR + 0xffe, 0));
        paged.machine.vcpu.run(10)
    };
    assert_eq!(run(&mut paged), Exit::Halt);
    // mov eax, 0x201: of the next page, which is not there yet.
    paged.machine.write(DATA + 0xffe, &[0xb8, 0x01]);
    paged.machine.write(DATA + 0x1000, &[0x02, 0, 0, 0xf4]);
    let fault = run(&mut paged);
    assert!(matches!(fault, Exit::Exception(exception) if exception.vector() == 14), "{fault:?}");
    paged.table(1, (DATA + 0x1000) | 3);
    assert_eq!(run(&mut paged), Exit::Halt);
    assert_eq!(eax_of(&paged.machine), 0x201);
}

#[test]
fn code_beyond_the_limit_is_not_fetched() {
    let mut paged = Paged::new(Paging::Bits32);
    paged.table(1, 0);
    paged.machine.write(DATA + 0xfff, &[0x90]);
    paged.machine.state(|state| {
        let code = state.segments[usize::from(CS)];
        state.segments[usize::from(CS)] = Segment { limit: (LINEAR + 0xfff) as u32, ..code };
        state.rip = LINEAR + 0xfff;
    });
    assert_eq!(paged.machine.vcpu.run(10), Exit::Exception(Exception::gp(0)));
    assert_eq!(paged.machine.vcpu.state().rip, LINEAR + 0x1000);
}
