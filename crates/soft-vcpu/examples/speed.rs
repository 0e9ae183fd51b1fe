// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest instructions per second of a few loops.
//!
//!     cargo run --release -p soft-vcpu --example speed

use std::time::Instant;

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

/// Runs code until it halts, and says how fast.
fn run(name: &str, code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
    let (mut vcpu, memory) = machine();
    let mut a = CodeAssembler::new(64).unwrap();
    code(&mut a).unwrap();
    memory.write_slice(&a.assemble(CODE).unwrap(), GuestAddress(CODE)).unwrap();
    let start = Instant::now();
    let exit = vcpu.run(u64::MAX / 2);
    let time = start.elapsed().as_secs_f64();
    assert_eq!(exit, Exit::Halt);
    println!("{name:20} {:7.1} M instructions/s", vcpu.executed() as f64 / time / 1e6);
}

fn main() {
    run("alu", |a| {
        let mut again = a.create_label();
        a.mov(ecx, 10_000_000)?;
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
    run("memory", |a| {
        let mut again = a.create_label();
        a.mov(ecx, 10_000_000)?;
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
    run("call", |a| {
        let (mut again, mut function) = (a.create_label(), a.create_label());
        a.mov(ecx, 10_000_000)?;
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
    run("branches", |a| {
        let mut again = a.create_label();
        let mut skip = a.create_label();
        let mut skip2 = a.create_label();
        a.mov(ecx, 10_000_000)?;
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
}
