// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest instructions per second of processor time, in a few loops.
//!
//!     cargo run --release -p soft-vcpu --example speed [NAME [ITERATIONS]]
//!
//! With few iterations, for an instruction count by callgrind: of two runs the difference, divided
//! by the difference in guest instructions, is what one of these costs.

use iced_x86::code_asm::*;
use iced_x86::IcedError;
use soft_vcpu::{spec::*, AccessRights, Config, Cpuid, Exit, Memory, MsrTable, Segment, Vcpu};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const CODE: u64 = 0x10_0000;

/// 64-bit mode at [`CODE`], with the low 1 GiB mapped to itself.
fn machine() -> (Vcpu, GuestMemoryMmap) {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 << 20)]).unwrap();
    let mut vcpu = Vcpu::new(Config {
        memory: Memory::new(memory.clone()).unwrap(),
        cpuid: Cpuid::new(),
        msrs: MsrTable::new(),
        tsc: Box::new(|executed| executed),
        physical_address_bits: 40,
    });
    let table = |n: u64| 0x30_0000 + 0x1000 * n;
    memory.write_obj(table(1) | 7, GuestAddress(table(0))).unwrap();
    memory.write_obj(table(2) | 7, GuestAddress(table(1))).unwrap();
    for n in 0..512u64 {
        memory.write_obj(n << 21 | 0x87, GuestAddress(table(2) + 8 * n)).unwrap();
    }
    let mut state = vcpu.state();
    state.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::NE | cr0::ET | cr0::MP;
    state.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    state.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
    state.cr3 = table(0);
    let segment = |selector, value| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        rights: AccessRights::from(value),
    };
    state.segments[..6].fill(segment(0x10, 0xc093));
    state.segments[1] = segment(8, 0xa09b);
    state.rip = CODE;
    state.gpr[4] = 0x8_0000;
    state.gpr[3] = 0x20_0000;
    vcpu.set_state(&state).unwrap();
    (vcpu, memory)
}

/// Seconds of processor time that this thread has had.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs code until it halts, and says how fast, if it was asked for.
fn run(name: &str, code: impl FnOnce(&mut CodeAssembler, u32) -> Result<(), IcedError>) {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|wanted| wanted != name) {
        return;
    }
    let iterations = arguments.next().map_or(10_000_000, |n| n.parse().unwrap());
    let (mut vcpu, memory) = machine();
    let mut a = CodeAssembler::new(64).unwrap();
    code(&mut a, iterations).unwrap();
    memory.write_slice(&a.assemble(CODE).unwrap(), GuestAddress(CODE)).unwrap();
    let start = processor_time();
    let exit = vcpu.run(u64::MAX / 2);
    let time = processor_time() - start;
    assert_eq!(exit, Exit::Halt);
    let executed = vcpu.executed();
    let rate = executed as f64 / time / 1e6;
    println!("{name:10} {executed:11} instructions {rate:7.1} M/s");
}

fn main() {
    run("alu", |a, iterations| {
        let mut again = a.create_label();
        a.mov(ecx, iterations)?;
        a.set_label(&mut again)?;
        a.add(rax, rcx)?;
        a.xor(rdx, rax)?;
        a.lea(rsi, ptr(rax + rdx * 2 + 5))?;
        a.and(esi, 0xffff)?;
        a.sub(rdi, rsi)?;
        a.mov(r8, rdi)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    run("memory", |a, iterations| {
        let mut again = a.create_label();
        a.mov(ecx, iterations)?;
        a.set_label(&mut again)?;
        a.mov(eax, ecx)?;
        a.and(eax, 0xfff8)?;
        a.mov(rdx, qword_ptr(rbx + rax))?;
        a.add(rdx, rcx)?;
        a.mov(qword_ptr(rbx + rax), rdx)?;
        a.movzx(esi, byte_ptr(rbx + rax + 1))?;
        a.add(dword_ptr(rbx), esi)?;
        a.cmp(ecx, 0)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    run("call", |a, iterations| {
        let (mut again, mut function) = (a.create_label(), a.create_label());
        a.mov(ecx, iterations)?;
        a.set_label(&mut again)?;
        a.call(function)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.push(rbp)?;
        a.mov(rbp, rsp)?;
        a.mov(eax, dword_ptr(rbp + 16))?;
        a.test(eax, eax)?;
        a.pop(rbp)?;
        a.ret()
    });
    run("branches", |a, iterations| {
        let mut again = a.create_label();
        let mut skip = a.create_label();
        let mut skip2 = a.create_label();
        a.mov(ecx, iterations)?;
        a.set_label(&mut again)?;
        a.test(ecx, 1)?;
        a.jz(skip)?;
        a.inc(eax)?;
        a.set_label(&mut skip)?;
        a.test(ecx, 2)?;
        a.jz(skip2)?;
        a.inc(eax)?;
        a.set_label(&mut skip2)?;
        a.sub(ecx, 1)?;
        a.jne(again)?;
        a.hlt()
    });
    // Through a table of functions, as virtual methods and system calls go.
    run("indirect", |a, iterations| {
        let (mut again, mut function) = (a.create_label(), a.create_label());
        a.mov(ecx, iterations)?;
        a.lea(rsi, ptr(function))?;
        a.mov(qword_ptr(rbx), rsi)?;
        a.set_label(&mut again)?;
        a.call(qword_ptr(rbx))?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.mov(eax, dword_ptr(rsp))?;
        a.ret()
    });
    // A spin lock that saves RFLAGS, and a user access.
    run("system", |a, iterations| {
        let mut again = a.create_label();
        a.mov(ecx, iterations)?;
        a.set_label(&mut again)?;
        a.pushfq()?;
        a.cli()?;
        a.lock().xadd(dword_ptr(rbx), eax)?;
        a.popfq()?;
        a.sti()?;
        a.nop()?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    // 4 KiB at a time.
    run("copy", |a, iterations| {
        let mut again = a.create_label();
        a.mov(ebp, iterations / 100)?;
        a.set_label(&mut again)?;
        a.mov(rsi, rbx)?;
        a.lea(rdi, ptr(rbx + 0x1_0000))?;
        a.mov(ecx, 512)?;
        a.rep().movsq()?;
        a.dec(ebp)?;
        a.jnz(again)?;
        a.hlt()
    });
}
