// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An instruction executed by this very processor.

use iced_x86::code_asm::*;
use iced_x86::IcedError;

use super::registers::Registers;
use super::PAGE;
use crate::sse::MXCSR_RESET;

/// What the prologue loads and the epilogue saves.
#[repr(C, align(16))]
struct Image {
    fx: [u8; 512],
    gpr: [u64; 16],
    rflags: u64,
}

const GPR: usize = std::mem::offset_of!(Image, gpr);
const RFLAGS: usize = std::mem::offset_of!(Image, rflags);
/// R14 points to the image. RSP and R14 are no operands.
const SAVED: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];
const LOADED: [(usize, AsmRegister64); 14] = [
    (0, rax),
    (1, rcx),
    (2, rdx),
    (3, rbx),
    (5, rbp),
    (6, rsi),
    (7, rdi),
    (8, r8),
    (9, r9),
    (10, r10),
    (11, r11),
    (12, r12),
    (13, r13),
    (15, r15),
];

/// A page of data, one that cannot be accessed, one of code.
pub struct Host {
    base: *mut u8,
    prologue: Vec<u8>,
    epilogue: Vec<u8>,
}

impl Host {
    pub fn new() -> Self {
        assert!(std::is_x86_feature_detected!("sse4.2"), "the oracle is no x86-64-v2");
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let rwx = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        // SAFETY: a new anonymous mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), 3 * PAGE, rwx, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        // SAFETY: the second page of the mapping just made.
        let result = unsafe { libc::mprotect(base.add(PAGE), PAGE, libc::PROT_NONE) };
        assert_eq!(result, 0);
        let base = base.cast();
        Host { base, prologue: assemble(prologue), epilogue: assemble(epilogue) }
    }

    /// The instruction to execute. It must not fault: memory operands are in the data page.
    pub fn load(&mut self, instruction: &[u8]) {
        let code = [&self.prologue, instruction, &self.epilogue].concat();
        assert!(code.len() <= PAGE);
        // SAFETY: the third page is ours and long enough.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), self.base.add(2 * PAGE), code.len())
        };
    }

    /// Executes it: the registers after; `memory`, the end of the data page, is changed.
    pub fn run(&mut self, registers: &Registers, memory: &mut [u8]) -> Registers {
        let base = self.base as u64;
        let mut image = image(registers);
        image.gpr[6] += base;
        image.gpr[7] += base;
        // SAFETY: `memory` is no longer than a page, of which this is the end.
        let end = unsafe { self.base.add(PAGE - memory.len()) };
        // SAFETY: as above. The code was written by `load`: it keeps the ABI's registers.
        unsafe {
            std::ptr::copy_nonoverlapping(memory.as_ptr(), end, memory.len());
            let code: extern "C" fn(*mut Image) = std::mem::transmute(self.base.add(2 * PAGE));
            code(&mut image);
            std::ptr::copy_nonoverlapping(end, memory.as_mut_ptr(), memory.len());
        }
        image.gpr[6] -= base;
        image.gpr[7] -= base;
        registers_of(&image)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        unsafe { libc::munmap(self.base.cast(), 3 * PAGE) };
    }
}

fn assemble(code: fn(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    code(&mut assembler).unwrap();
    assembler.assemble(0).unwrap()
}

fn prologue(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for register in SAVED {
        a.push(register)?;
    }
    a.mov(r14, rdi)?;
    a.fxrstor64(ptr(r14))?;
    a.push(qword_ptr(r14 + RFLAGS))?;
    a.popfq()?;
    for (n, register) in LOADED {
        a.mov(register, qword_ptr(r14 + GPR + 8 * n))?;
    }
    Ok(())
}

fn epilogue(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for (n, register) in LOADED {
        a.mov(qword_ptr(r14 + GPR + 8 * n), register)?;
    }
    a.pushfq()?;
    a.pop(qword_ptr(r14 + RFLAGS))?;
    a.fxsave64(ptr(r14))?;
    // The ABI's state: x87 empty, MXCSR's default.
    a.fninit()?;
    a.push(MXCSR_RESET as i32)?;
    a.ldmxcsr(dword_ptr(rsp))?;
    a.pop(rax)?;
    for register in SAVED.into_iter().rev() {
        a.pop(register)?;
    }
    a.ret()
}

/// FXSAVE's registers are numbered from TOP.
fn top(fsw: u16) -> usize {
    usize::from(fsw >> 11 & 7)
}

fn image(registers: &Registers) -> Image {
    let mut fx = [0; 512];
    // All exceptions masked.
    fx[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    fx[2..4].copy_from_slice(&registers.fsw.to_le_bytes());
    fx[4] = registers.ftw;
    fx[24..28].copy_from_slice(&registers.mxcsr.to_le_bytes());
    for n in 0..8 {
        let (mantissa, exponent) = registers.x87[(top(registers.fsw) + n) % 8];
        fx[32 + 16 * n..][..8].copy_from_slice(&mantissa.to_le_bytes());
        fx[40 + 16 * n..][..2].copy_from_slice(&exponent.to_le_bytes());
    }
    for (n, xmm) in registers.xmm.iter().enumerate() {
        fx[160 + 16 * n..][..16].copy_from_slice(&xmm.to_le_bytes());
    }
    Image { fx, gpr: registers.gpr, rflags: registers.flags | 2 }
}

fn registers_of(image: &Image) -> Registers {
    fn bytes<const N: usize>(image: &Image, at: usize) -> [u8; N] {
        image.fx[at..at + N].try_into().unwrap()
    }
    let fsw = u16::from_le_bytes(bytes(image, 2));
    Registers {
        gpr: image.gpr,
        flags: image.rflags & 0x8d5,
        fsw,
        ftw: image.fx[4],
        x87: std::array::from_fn(|physical| {
            let at = 32 + 16 * ((physical + 8 - top(fsw)) % 8);
            (u64::from_le_bytes(bytes(image, at)), u16::from_le_bytes(bytes(image, at + 8)))
        }),
        xmm: std::array::from_fn(|n| u128::from_le_bytes(bytes(image, 160 + 16 * n))),
        mxcsr: u32::from_le_bytes(bytes(image, 24)),
    }
}
