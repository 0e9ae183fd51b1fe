// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every instruction of the family, from the decoder's own list.

use iced_x86::{
    Code, CpuidFeature, Encoder, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind, OpKind,
    Register,
};

use super::registers::Rng;

/// All encodings of MMX and SSE to SSE4.2 in 64-bit mode.
pub fn codes() -> impl Iterator<Item = Code> {
    use CpuidFeature::{MMX, SSE, SSE2, SSE3, SSE4_1, SSE4_2, SSSE3};
    let features = [MMX, SSE, SSE2, SSE3, SSSE3, SSE4_1, SSE4_2];
    Code::values().filter(move |code| {
        code.op_code().encoding() == EncodingKind::Legacy
            && code.op_code().mode64()
            && code.cpuid_features().iter().any(|feature| features.contains(feature))
    })
}

/// Whether an instruction is another family's: arithmetic in floating point, control, hints.
pub fn is_elsewhere(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Addpd
            | Addps
            | Addsd
            | Addss
            | Addsubpd
            | Addsubps
            | Subpd
            | Subps
            | Subsd
            | Subss
            | Mulpd
            | Mulps
            | Mulsd
            | Mulss
            | Divpd
            | Divps
            | Divsd
            | Divss
            | Sqrtpd
            | Sqrtps
            | Sqrtsd
            | Sqrtss
            | Rcpps
            | Rcpss
            | Rsqrtps
            | Rsqrtss
            | Minpd
            | Minps
            | Minsd
            | Minss
            | Maxpd
            | Maxps
            | Maxsd
            | Maxss
            | Haddpd
            | Haddps
            | Hsubpd
            | Hsubps
            | Dppd
            | Dpps
            | Roundpd
            | Roundps
            | Roundsd
            | Roundss
            | Cmppd
            | Cmpps
            | Cmpsd
            | Cmpss
            | Comisd
            | Comiss
            | Ucomisd
            | Ucomiss
            | Cvtdq2pd
            | Cvtdq2ps
            | Cvtpd2dq
            | Cvtpd2pi
            | Cvtpd2ps
            | Cvtpi2pd
            | Cvtpi2ps
            | Cvtps2dq
            | Cvtps2pd
            | Cvtps2pi
            | Cvtsd2si
            | Cvtsd2ss
            | Cvtsi2sd
            | Cvtsi2ss
            | Cvtss2sd
            | Cvtss2si
            | Cvttpd2dq
            | Cvttpd2pi
            | Cvttps2dq
            | Cvttps2pi
            | Cvttsd2si
            | Cvttss2si
            | Ldmxcsr
            | Stmxcsr
            | Fisttp
            | Crc32
            | Movnti
            | Lfence
            | Mfence
            | Sfence
            | Prefetchnta
            | Prefetcht0
            | Prefetcht1
            | Prefetcht2
    )
}

/// Bytes of the memory operand; 0 if there is no such form.
pub fn memory_size(code: Code) -> usize {
    let has = |n| {
        use OpCodeOperandKind::*;
        matches!(
            code.op_code().op_kind(n),
            mem | xmm_or_mem | mm_or_mem | r32_or_mem | r64_or_mem | seg_rDI
        )
    };
    match (0..code.op_code().op_count()).any(has) {
        true => code.op_code().memory_size().size(),
        false => 0,
    }
}

/// Whether an operand can be a register instead of memory.
pub fn has_register_form(code: Code) -> bool {
    let op_code = code.op_code();
    (0..op_code.op_count()).all(|n| op_code.op_kind(n) != OpCodeOperandKind::mem)
}

/// Whether the instruction has an immediate.
pub fn has_immediate(code: Code) -> bool {
    let op_code = code.op_code();
    (0..op_code.op_count()).any(|n| op_code.op_kind(n) == OpCodeOperandKind::imm8)
}

/// An instruction with random registers; its memory operand, if `memory`, is at RSI (or RDI).
pub fn instruction(code: Code, memory: bool, immediate: u8, rng: &mut Rng) -> Vec<u8> {
    use OpCodeOperandKind::*;
    // RSP, RSI, RDI and R14 have other tasks.
    const GENERAL: [u32; 12] = [0, 1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 15];
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let op_code = code.op_code();
    for n in 0..op_code.op_count() {
        let general = GENERAL[rng.below(12) as usize];
        let register = match op_code.op_kind(n) {
            xmm_or_mem | mm_or_mem | r32_or_mem | r64_or_mem if memory => Register::None,
            xmm_reg | xmm_rm | xmm_or_mem => Register::XMM0 + rng.below(16) as u32,
            mm_reg | mm_rm | mm_or_mem => Register::MM0 + rng.below(8) as u32,
            r32_reg | r32_rm | r32_or_mem => Register::EAX + general,
            r64_reg | r64_rm | r64_or_mem => Register::RAX + general,
            mem => Register::None,
            imm8 => {
                instruction.set_op_kind(n, OpKind::Immediate8);
                instruction.set_immediate8(immediate);
                continue;
            }
            seg_rDI => {
                instruction.set_op_kind(n, OpKind::MemorySegRDI);
                continue;
            }
            other => panic!("{code:?} has an operand {other:?}"),
        };
        match register {
            Register::None => {
                instruction.set_op_kind(n, OpKind::Memory);
                instruction.set_memory_base(Register::RSI);
            }
            register => {
                instruction.set_op_kind(n, OpKind::Register);
                instruction.set_op_register(n, register);
            }
        }
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, 0).unwrap();
    encoder.take_buffer()
}
