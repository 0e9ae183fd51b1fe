// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random cases: bytes in the shape of an instruction, kept if the decoder makes one of them that
//! belongs to x86-64-v2's user mode, with registers set so that its memory operand is in the
//! window.

use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind,
    Register,
};

use super::case::{Case, Registers, Undefined};
use super::layout::{CODE, DATA, MAX_CODE, STACK, WINDOW};
use super::rng::Rng;

/// Instructions of a case at most, besides those that set registers.
const MAX_INSTRUCTIONS: u64 = 6;

/// Makes the cases of one seed.
pub struct Generator {
    rng: Rng,
    code: Vec<u8>,
}

impl Generator {
    /// The generator of case `number`.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut mix = Rng::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        Generator { rng: Rng::new(mix.next()), code: Vec::new() }
    }

    /// The case.
    pub fn case(mut self) -> Case {
        let registers = self.registers();
        let mut undefined = Undefined::default();
        for _ in 0..1 + self.rng.below(MAX_INSTRUCTIONS) {
            let (instruction, bytes) = self.instruction();
            self.set_up(&instruction);
            // RIP-relative operands are aimed with some slack, so that it may move.
            self.code.extend(bytes);
            undefined = undefined_after(&instruction);
            if undefined != Undefined::default() || self.code.len() > MAX_CODE - 100 {
                break;
            }
        }
        Case { code: self.code, registers, memory: self.rng.next(), undefined }
    }

    fn registers(&mut self) -> Registers {
        let mut gpr: [u64; 16] = std::array::from_fn(|_| self.rng.operand());
        gpr[4] = STACK;
        // The status flags, and now and then DF.
        let mut rflags = 2 | self.rng.next() & 0x8d5;
        if self.rng.percent(10) {
            rflags |= 0x400;
        }
        Registers { gpr, rflags, fx: self.fx() }
    }

    /// An FXSAVE image: any MXCSR and FCW with all exceptions masked (mostly), registers that are
    /// numbers of all kinds.
    fn fx(&mut self) -> [u8; 512] {
        let mut fx = [0; 512];
        let precision = self.rng.pick(&[0u16, 2, 3, 3, 3]);
        let rounding = self.rng.pick(&[0u16, 0, 0, 1, 2, 3]);
        let fcw = 0x7f | precision << 8 | rounding << 10;
        let fsw = (self.rng.below(8) as u16) << 11 | self.rng.next() as u16 & 0x4700;
        fx[..2].copy_from_slice(&fcw.to_le_bytes());
        fx[2..4].copy_from_slice(&fsw.to_le_bytes());
        fx[4] = self.rng.next() as u8;
        let masks = if self.rng.percent(95) { 0x1f80 } else { self.rng.next() as u32 & 0x1f80 };
        let control = self.rng.pick(&[0u32, 0, 0, 0x2000, 0x4000, 0x6000, 0x8000, 0x40, 0x8040]);
        let mxcsr = masks | control | self.rng.pick(&[0, 0x20, 0x3f]);
        // A flag that is set while unmasked does no harm by itself.
        fx[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        for n in 0..8 {
            let (mantissa, exponent) = self.f80();
            fx[32 + 16 * n..40 + 16 * n].copy_from_slice(&mantissa.to_le_bytes());
            fx[40 + 16 * n..42 + 16 * n].copy_from_slice(&exponent.to_le_bytes());
        }
        for n in 0..16 {
            let value = self.xmm();
            fx[160 + 16 * n..176 + 16 * n].copy_from_slice(&value.to_le_bytes());
        }
        fx
    }

    fn f80(&mut self) -> (u64, u16) {
        let sign = (self.rng.next() as u16) & 0x8000;
        match self.rng.below(8) {
            0 => (0, sign),
            1 => (1 << 63, sign | 0x7fff),
            2 => (self.rng.next() | 3 << 62, sign | 0x7fff),
            3 => (self.rng.next() >> 1, sign),
            4 => ((1 + self.rng.below(1000)) << 54 | 1 << 63, sign | 0x3fff),
            _ => (self.rng.next() | 1 << 63, sign | (0x3fc0 + self.rng.below(0x80) as u16)),
        }
    }

    fn xmm(&mut self) -> u128 {
        let half = |rng: &mut Rng| match rng.below(8) {
            0 => (rng.below(2000) as f64 - 1000.0).to_bits(),
            1 => {
                let one = |rng: &mut Rng| u64::from((rng.below(2000) as f32 - 999.5).to_bits());
                one(rng) | one(rng) << 32
            }
            2 => rng.pick(&[0, 1 << 63, 0x7ff0 << 48, 0xfff8 << 48, 0x7ff4 << 48, 1, 0xf << 48]),
            3 => {
                let one = |rng: &mut Rng| {
                    rng.pick(&[0u64, 0x8000_0000, 0x7f80_0000, 0x7fc0_0001, 0x7fa0_0000, 1])
                };
                one(rng) | one(rng) << 32
            }
            4 => ((0x3f0 + rng.below(0x20)) << 52) | rng.next() >> 12,
            _ => rng.next(),
        };
        u128::from(half(&mut self.rng)) | u128::from(half(&mut self.rng)) << 64
    }

    /// An instruction that may be executed.
    fn instruction(&mut self) -> (Instruction, Vec<u8>) {
        loop {
            let bytes = self.bytes();
            let mut decoder = Decoder::with_ip(64, &bytes, CODE, DecoderOptions::NONE);
            let instruction = decoder.decode();
            if !instruction.is_invalid() && is_allowed(&instruction) {
                return (instruction, bytes[..instruction.len()].to_vec());
            }
        }
    }

    /// Prefixes, opcode map, opcode, ModRM, SIB, displacement, immediate.
    fn bytes(&mut self) -> Vec<u8> {
        let rng = &mut self.rng;
        let mut bytes = Vec::with_capacity(24);
        match rng.below(100) {
            0..=14 => bytes.push(0x66),
            15..=24 => bytes.push(0xf3),
            25..=34 => bytes.push(0xf2),
            35..=39 => bytes.push(0xf0),
            40..=41 => bytes.extend([0x66, 0xf2]),
            42..=43 => bytes.push(0x67),
            _ => {}
        }
        if rng.percent(50) {
            bytes.push(0x40 | rng.below(16) as u8);
        }
        match rng.below(100) {
            0..=39 => {}
            40..=74 => bytes.push(0x0f),
            75..=87 => bytes.extend([0x0f, 0x38]),
            _ => bytes.extend([0x0f, 0x3a]),
        }
        bytes.push(rng.next() as u8);
        let modrm = rng.next() as u8;
        bytes.push(modrm);
        let (mode, rm) = (modrm >> 6, modrm & 7);
        if mode != 3 {
            if rm == 4 {
                bytes.push(rng.next() as u8);
            }
            let target = rng.below(WINDOW.end - WINDOW.start) + WINDOW.start;
            let disp = match (mode, rm) {
                (0, 5) => (target as i64 - CODE as i64) as u32,
                (0, _) => target as u32,
                _ => rng.next() as u32,
            };
            match (mode, rm) {
                (1, _) => bytes.push(disp as u8),
                (2, _) | (0, 4 | 5) => bytes.extend(disp.to_le_bytes()),
                _ => {}
            }
        }
        bytes.extend(rng.operand().to_le_bytes());
        bytes
    }

    /// Sets the registers that the instruction's memory operands and counts need.
    fn set_up(&mut self, instruction: &Instruction) {
        let implicit = |n| {
            matches!(
                instruction.op_kind(n),
                OpKind::MemorySegSI
                    | OpKind::MemorySegESI
                    | OpKind::MemorySegRSI
                    | OpKind::MemorySegDI
                    | OpKind::MemorySegEDI
                    | OpKind::MemorySegRDI
                    | OpKind::MemoryESDI
                    | OpKind::MemoryESEDI
                    | OpKind::MemoryESRDI
            )
        };
        if (0..instruction.op_count()).any(implicit) {
            for register in [6, 7] {
                let at = self.target();
                self.mov(register, at);
            }
            let count = self.rng.below(40);
            self.mov(1, count);
        }
        match instruction.mnemonic() {
            Mnemonic::Leave | Mnemonic::Enter => {
                let at = STACK - 0x100 + 8 * self.rng.below(0x40);
                self.mov(5, at);
            }
            _ => {}
        }
        self.aim(instruction);
        if is_bit_string(instruction) {
            let register = instruction.op1_register().full_register();
            let value = self.rng.below(2048).wrapping_sub(1024);
            self.mov(register.number() as u8, value);
        }
    }

    /// Sets base and index so that the operand is in the window.
    fn aim(&mut self, instruction: &Instruction) {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let has_memory =
            (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
        if !has_memory || base == Register::RIP || base == Register::EIP {
            return;
        }
        let mut rest = self.target().wrapping_sub(instruction.memory_displacement64());
        if instruction.mnemonic() == Mnemonic::Xlatb {
            return self.mov(3, rest);
        }
        let scale = u64::from(instruction.memory_index_scale());
        if index != Register::None && base != Register::None {
            let value = self.rng.below(64);
            self.mov(index.number() as u8, value);
            rest = rest.wrapping_sub(value * scale);
        } else if index != Register::None {
            return self.mov(index.number() as u8, rest / scale);
        }
        if base != Register::None && base.full_register() != Register::RSP {
            self.mov(base.number() as u8, rest);
        }
    }

    fn target(&mut self) -> u64 {
        let at = WINDOW.start + self.rng.below(WINDOW.end - WINDOW.start);
        match self.rng.below(4) {
            0 => at,
            _ => at & !15,
        }
    }

    /// MOV r64, imm64.
    fn mov(&mut self, register: u8, value: u64) {
        self.code.extend([0x48 | register >> 3, 0xb8 | register & 7]);
        self.code.extend(value.to_le_bytes());
    }
}

/// BT and its like with a register: the offset reaches beyond the operand.
fn is_bit_string(instruction: &Instruction) -> bool {
    use Mnemonic::{Bt, Btc, Btr, Bts};
    matches!(instruction.mnemonic(), Bt | Btc | Btr | Bts)
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register
}

fn is_allowed(instruction: &Instruction) -> bool {
    instruction.flow_control() == FlowControl::Next
        && !instruction.is_privileged()
        && instruction.cpuid_features().iter().all(is_v2)
        && !is_excluded(instruction)
        && registers_are_fine(instruction)
        && !matches!(instruction.segment_prefix(), Register::FS | Register::GS)
        && memory_is_fine(instruction)
}

fn is_v2(feature: &CpuidFeature) -> bool {
    use CpuidFeature::*;
    matches!(
        feature,
        INTEL8086
            | INTEL186
            | INTEL286
            | INTEL386
            | INTEL486
            | X64
            | CMOV
            | CX8
            | CMPXCHG16B
            | FPU
            | FPU287
            | FPU387
            | MMX
            | SSE
            | SSE2
            | SSE3
            | SSSE3
            | SSE4_1
            | SSE4_2
            | POPCNT
            | MULTIBYTENOP
            | PAUSE
    )
}

/// What depends on more than the case, changes more than it, or is compared elsewhere.
fn is_excluded(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    if is_wide_shift_of_16(instruction) {
        return true;
    }
    let elsewhere = matches!(
        instruction.mnemonic(),
        // The machine's state.
        Popf | Popfd | Popfq | Pushf | Pushfd | Pushfq | Sldt | Str | Sgdt | Sidt | Smsw
            | Lar | Lsl | Verr | Verw | Cpuid | Rdpmc | Lfence | Mfence | Sfence | Monitor | Mwait
            | Lfs | Lgs | Lss | Lds | Les | In | Out | Cli | Sti | Insb | Insw | Insd | Outsb | Outsw | Outsd | Rdtsc | Rdtscp
            // x87 environments hold pointers; `soft-vcpu`'s own tests compare them.
            | Fldenv | Fnstenv | Fstenv | Frstor | Fnsave | Fsave | Wait
            // Not exact to the last bit on any two processors.
            | F2xm1 | Fyl2x | Fyl2xp1 | Fptan | Fpatan | Fsin | Fcos | Fsincos
            | Rcpps | Rcpss | Rsqrtps | Rsqrtss
            // AMD has a bit of MXCSR (17) that Intel refuses.
            | Ldmxcsr
    );
    // Undocumented aliases that processors treat each in their own way.
    let odd = matches!(
        instruction.code(),
        Code::Fstp_sti_DFD0
            | Code::Fstp_sti_DFD8
            | Code::Ffreep_sti
            | Code::Fstpnce_sti
            | Code::Fcom_st0_sti_DCD0
            | Code::Fcomp_st0_sti_DCD8
            | Code::Fcomp_st0_sti_DED0
            | Code::Fxch_st0_sti_DDC8
            | Code::Fxch_st0_sti_DFC8
            | Code::Reservednop_rm16_r16_0F0D
            | Code::Reservednop_rm32_r32_0F0D
            | Code::Reservednop_rm64_r64_0F0D
    );
    elsewhere || odd
}

/// SHLD and SHRD of 16 bits by more than 16 leave anything; their counts in CL too are left out.
fn is_wide_shift_of_16(instruction: &Instruction) -> bool {
    let double = matches!(instruction.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    let immediate = instruction.op_count() == 3 && instruction.op_kind(2) == OpKind::Immediate8;
    double
        && instruction.op1_register().size() == 2
        && !(immediate && instruction.immediate8() & 31 <= 16)
}

fn registers_are_fine(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).filter(|n| instruction.op_kind(*n) == OpKind::Register).all(|n| {
        let register = instruction.op_register(n);
        let special = register.is_segment_register() || register.is_cr() || register.is_dr();
        !special && register.full_register() != Register::RSP
    })
}

fn memory_is_fine(instruction: &Instruction) -> bool {
    let has_memory = (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
    if !has_memory || instruction.mnemonic() == Mnemonic::Lea {
        return true;
    }
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let disp = instruction.memory_displacement64();
    let clash = |register: Register| {
        register != Register::None
            && is_bit_string(instruction)
            && register.full_register() == instruction.op1_register().full_register()
    };
    if clash(base) || clash(index) || base != Register::None && base == index {
        return false;
    }
    match (base, index) {
        (Register::RIP | Register::EIP, _) => (WINDOW.start + 64..WINDOW.end - 64).contains(&disp),
        (Register::RSP | Register::ESP, Register::None) => {
            disp.wrapping_add(0x800) < 0x1000 && instruction.mnemonic() != Mnemonic::Pop
        }
        (Register::RSP | Register::ESP, _) => false,
        (Register::None, Register::None) => WINDOW.contains(&disp) && disp >= DATA,
        // The index alone, times more than 1, does not reach every address.
        _ => true,
    }
}

/// What is undefined after an instruction.
pub fn undefined_after(instruction: &Instruction) -> Undefined {
    use Mnemonic::{Fcomi, Fcomip, Fucomi, Fucomip};
    // C1: clear by Intel's manual, unchanged by AMD's.
    let compares = matches!(instruction.mnemonic(), Fcomi | Fcomip | Fucomi | Fucomip);
    Undefined { rflags: undefined_flags(instruction), fsw: if compares { 0x200 } else { 0 } }
}

/// Flags that are undefined afterwards, as bits of RFLAGS.
fn undefined_flags(instruction: &Instruction) -> u64 {
    use iced_x86::RflagsBits as Bits;
    // AF after logic is clear on every processor, whatever the manual says.
    if matches!(
        instruction.mnemonic(),
        Mnemonic::And | Mnemonic::Or | Mnemonic::Xor | Mnemonic::Test
    ) {
        return 0;
    }
    let undefined = instruction.rflags_undefined();
    let table = [
        (Bits::OF, 1 << 11),
        (Bits::SF, 1 << 7),
        (Bits::ZF, 1 << 6),
        (Bits::AF, 1 << 4),
        (Bits::CF, 1 << 0),
        (Bits::PF, 1 << 2),
    ];
    table.iter().filter(|(bit, _)| undefined & bit != 0).map(|(_, flag)| flag).sum()
}
