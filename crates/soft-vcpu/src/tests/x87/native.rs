// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The real x87 beside the software one: the same instruction on the same registers.

use iced_x86::code_asm::{eax, rax, rbx, rcx, rdi, rdx, rsi, AsmRegister64, CodeAssembler};
use vm_memory::mmap::MmapRegion;

use super::super::machine::{Machine, CODE, DATA};
use crate::x87::{F80, X87};

/// FXSAVE's image.
#[repr(C, align(16))]
struct Image([u8; 512]);

/// What an instruction starts from, or leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    pub x87: X87,
    /// The memory operand, at [RDX].
    pub memory: [u8; 128],
    pub rax: u64,
    /// The status flags.
    pub flags: u64,
}

impl Side {
    pub fn new() -> Self {
        let x87 = X87 { control: 0x37f, used: 0, ..X87::default() };
        Side { x87, memory: [0x5a; 128], rax: 0, flags: 2 }
    }
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn to_image(x87: &X87) -> Image {
    let mut image = Image([0; 512]);
    let bytes = &mut image.0;
    put(bytes, 0, &x87.control.to_le_bytes());
    put(bytes, 2, &x87.status.to_le_bytes());
    put(bytes, 4, &[x87.used]);
    put(bytes, 6, &x87.fop.to_le_bytes());
    put(bytes, 8, &x87.fip.to_le_bytes());
    put(bytes, 16, &x87.fdp.to_le_bytes());
    put(bytes, 24, &0x1f80u32.to_le_bytes());
    for i in 0..8 {
        put(bytes, 32 + 16 * i, &x87.raw_st(i as u8).to_bits().to_le_bytes());
    }
    image
}

fn of_image(image: &Image) -> X87 {
    let word = |at: usize| u16::from_le_bytes(image.0[at..at + 2].try_into().unwrap());
    let quad = |at: usize| u64::from_le_bytes(image.0[at..at + 8].try_into().unwrap());
    let mut x87 = X87 {
        regs: [F80::default(); 8],
        control: word(0),
        status: word(2),
        used: image.0[4],
        fop: word(6),
        fip: quad(8),
        fcs: 0,
        fdp: quad(16),
        fds: 0,
    };
    let used = x87.used;
    for i in 0..8 {
        let at = 32 + 16 * i;
        x87.set_st(i as u8, F80 { mantissa: quad(at), sign_exponent: word(at + 8) });
    }
    x87.used = used;
    x87
}

type Run = extern "sysv64" fn(*const Image, *mut Image, *mut u8, *mut u64);

/// One instruction, to be executed by the processor and by the software.
pub struct Instruction {
    page: MmapRegion,
    machine: Machine,
    pub name: &'static str,
}

const RWX: i32 = 7;
const PRIVATE_ANONYMOUS: i32 = 0x22;

impl Instruction {
    /// The instruction's bytes; its memory operand is at [RDX], general results in RAX.
    pub fn new(name: &'static str, bytes: &[u8]) -> Self {
        let page = MmapRegion::build(None, 4096, RWX, PRIVATE_ANONYMOUS).unwrap();
        let code = surrounded(bytes, page.as_ptr() as u64);
        // SAFETY: the code is shorter than the page, and nobody executes it yet.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), page.as_ptr(), code.len()) };
        let mut machine = Machine::long();
        machine.write(CODE, bytes);
        machine.state(|state| state.gpr[2] = DATA);
        Instruction { page, machine, name }
    }

    /// What the processor makes of `start`.
    pub fn natively(&self, start: &Side) -> Side {
        let mut end = start.clone();
        let before = to_image(&start.x87);
        let mut after = Image([0; 512]);
        let mut general = [start.rax, start.flags];
        // SAFETY: the page holds a function of this signature, made by `surrounded`, which keeps
        // the calling convention: it leaves x87 as FNINIT does, and MXCSR as Rust has it. The
        // instruction writes within the 128 bytes of `memory` only.
        let run: Run = unsafe { std::mem::transmute(self.page.as_ptr()) };
        run(&before, &mut after, end.memory.as_mut_ptr(), general.as_mut_ptr());
        end.x87 = of_image(&after);
        (end.rax, end.flags) = (general[0], general[1] & crate::flags::bit::STATUS | 2);
        end
    }

    /// What the software makes of `start`.
    pub fn softly(&mut self, start: &Side) -> Side {
        let mut end = start.clone();
        self.machine.write(DATA, &start.memory);
        let vcpu = &mut self.machine.vcpu;
        vcpu.cpu.x87 = start.x87.clone();
        vcpu.cpu.gpr[0] = start.rax;
        vcpu.cpu.flags.set(start.flags);
        vcpu.cpu.rip = CODE;
        assert_eq!(vcpu.run(1), crate::Exit::Budget, "{}", self.name);
        end.x87 = vcpu.cpu.x87.clone();
        (end.rax, end.flags) = (vcpu.cpu.gpr[0], vcpu.cpu.flags.status() | 2);
        vm_memory::Bytes::read_slice(
            &self.machine.memory,
            &mut end.memory,
            vm_memory::GuestAddress(DATA),
        )
        .unwrap();
        end
    }
}

/// A function around an instruction: `(before, after, memory, [rax, flags])`.
fn surrounded(bytes: &[u8], at: u64) -> Vec<u8> {
    let mut a = CodeAssembler::new(64).unwrap();
    let general: AsmRegister64 = rbx;
    a.push(rbx).unwrap();
    a.mov(general, rcx).unwrap();
    a.fxrstor64(iced_x86::code_asm::ptr(rdi)).unwrap();
    a.mov(rax, iced_x86::code_asm::qword_ptr(general)).unwrap();
    a.push(iced_x86::code_asm::qword_ptr(general + 8)).unwrap();
    a.popfq().unwrap();
    a.db(bytes).unwrap();
    a.pushfq().unwrap();
    a.fxsave64(iced_x86::code_asm::ptr(rsi)).unwrap();
    a.fninit().unwrap();
    a.mov(iced_x86::code_asm::qword_ptr(general), rax).unwrap();
    a.pop(rax).unwrap();
    a.mov(iced_x86::code_asm::qword_ptr(general + 8), rax).unwrap();
    a.pop(rbx).unwrap();
    a.ret().unwrap();
    let _ = (eax, rdx);
    a.assemble(at).unwrap()
}
