// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! SSE floating point, MXCSR, FXSAVE.
//!
//! [`native`] has the host's processor do the arithmetic; the other modules bring operands there
//! and results back. SSE3 and SSE4.1 need a host that has them: elsewhere they raise #UD.

mod approximate;
mod compare;
mod convert;
mod dot;
mod lanes;
mod mmx;
mod native;
mod packed;
mod state;

use std::arch::is_x86_feature_detected;

use iced_x86::{Code, Instruction, Mnemonic};

use crate::decode::{Chosen, Form, Kind};
use crate::op::Handler;

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let source = form.kinds[1];
    let handler = arithmetic(instruction, source)
        .or_else(|| vector_conversion(instruction, source))
        .or_else(|| to_flags(instruction, source))
        .or_else(|| integer_conversion(instruction, source))
        .or_else(|| sse3(instruction, source))
        .or_else(|| sse4(instruction, source))
        .or_else(|| of_state(instruction));
    handler.map(Chosen::plain)
}

/// `module::{rr, rm}` for an operation, as its second operand wants.
macro_rules! form {
    ($source:expr, $module:ident, $operation:ty) => {
        match $source {
            Kind::Mem => Some($module::rm::<$operation> as Handler),
            _ => Some($module::rr::<$operation> as Handler),
        }
    };
}

/// The same for `packed`, with the low bits of the immediate operand in the type.
macro_rules! with_immediate {
    ($source:expr, $operation:ident, $imm:expr, $($value:literal)*) => {
        match $imm {
            $($value => form!($source, packed, packed::$operation<$value>),)*
            _ => None,
        }
    };
}

fn arithmetic(instruction: &Instruction, source: Kind) -> Option<Handler> {
    macro_rules! table {
        ($($name:ident)*) => {
            match instruction.mnemonic() {
                $(Mnemonic::$name => form!(source, packed, packed::$name),)*
                _ => comparison(instruction, source)
                    .or_else(|| approximation(instruction.mnemonic(), source)),
            }
        };
    }
    table! {
        Addps Addpd Addss Addsd Subps Subpd Subss Subsd Mulps Mulpd Mulss Mulsd
        Divps Divpd Divss Divsd Sqrtps Sqrtpd Sqrtss Sqrtsd Minps Minpd Minss Minsd
        Maxps Maxpd Maxss Maxsd
    }
}

fn approximation(mnemonic: Mnemonic, source: Kind) -> Option<Handler> {
    match mnemonic {
        Mnemonic::Rcpps => form!(source, approximate, approximate::Rcpps),
        Mnemonic::Rcpss => form!(source, approximate, approximate::Rcpss),
        Mnemonic::Rsqrtps => form!(source, approximate, approximate::Rsqrtps),
        Mnemonic::Rsqrtss => form!(source, approximate, approximate::Rsqrtss),
        _ => None,
    }
}

/// CMPPS and so on: eight predicates; the other bits of the immediate do not count.
fn comparison(instruction: &Instruction, source: Kind) -> Option<Handler> {
    macro_rules! table {
        ($($code:ident: $name:ident,)*) => {
            match instruction.code() {
                $(Code::$code => {
                    with_immediate!(source, $name, instruction.immediate8() & 7, 0 1 2 3 4 5 6 7)
                })*
                _ => None,
            }
        };
    }
    // By code: CMPSD is a string instruction too.
    table! {
        Cmpps_xmm_xmmm128_imm8: Cmpps,
        Cmppd_xmm_xmmm128_imm8: Cmppd,
        Cmpss_xmm_xmmm32_imm8: Cmpss,
        Cmpsd_xmm_xmmm64_imm8: Cmpsd,
    }
}

fn vector_conversion(instruction: &Instruction, source: Kind) -> Option<Handler> {
    macro_rules! table {
        ($($name:ident)*) => {
            match instruction.mnemonic() {
                $(Mnemonic::$name => form!(source, packed, packed::$name),)*
                _ => None,
            }
        };
    }
    table! {
        Cvtps2pd Cvtpd2ps Cvtss2sd Cvtsd2ss Cvtdq2ps Cvtdq2pd
        Cvtps2dq Cvttps2dq Cvtpd2dq Cvttpd2dq
    }
    .or_else(|| with_mmx(instruction.mnemonic(), source))
}

fn with_mmx(mnemonic: Mnemonic, source: Kind) -> Option<Handler> {
    use packed::{Cvtdq2pd, Cvtdq2ps, Cvtpd2dq, Cvtps2dq, Cvttpd2dq, Cvttps2dq};
    macro_rules! to_register {
        ($operation:ty, $source:ty) => {
            match source {
                Kind::Mem => mmx::to_register_from_memory::<$operation, $source> as Handler,
                _ => mmx::to_register::<$operation, $source>,
            }
        };
    }
    let memory = source == Kind::Mem;
    Some(match mnemonic {
        Mnemonic::Cvtpi2ps if memory => mmx::from_memory::<Cvtdq2ps, true>,
        Mnemonic::Cvtpi2ps => mmx::from_register::<Cvtdq2ps, true>,
        Mnemonic::Cvtpi2pd if memory => mmx::from_memory::<Cvtdq2pd, false>,
        Mnemonic::Cvtpi2pd => mmx::from_register::<Cvtdq2pd, false>,
        Mnemonic::Cvtps2pi => to_register!(Cvtps2dq, u64),
        Mnemonic::Cvttps2pi => to_register!(Cvttps2dq, u64),
        Mnemonic::Cvtpd2pi => to_register!(Cvtpd2dq, u128),
        Mnemonic::Cvttpd2pi => to_register!(Cvttpd2dq, u128),
        _ => return None,
    })
}

fn to_flags(instruction: &Instruction, source: Kind) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Comiss => form!(source, compare, compare::Comiss),
        Mnemonic::Comisd => form!(source, compare, compare::Comisd),
        Mnemonic::Ucomiss => form!(source, compare, compare::Ucomiss),
        Mnemonic::Ucomisd => form!(source, compare, compare::Ucomisd),
        _ => None,
    }
}

fn integer_conversion(instruction: &Instruction, source: Kind) -> Option<Handler> {
    use convert::*;
    macro_rules! from {
        ($operation:ty) => {
            match source {
                Kind::Mem => from_memory::<$operation> as Handler,
                _ => from_register::<$operation>,
            }
        };
    }
    macro_rules! to {
        ($operation:ty) => {
            match source {
                Kind::Mem => to_register_from_memory::<$operation> as Handler,
                _ => to_register::<$operation>,
            }
        };
    }
    Some(match instruction.code() {
        Code::Cvtsi2ss_xmm_rm32 => from!(Cvtsi2ss32),
        Code::Cvtsi2ss_xmm_rm64 => from!(Cvtsi2ss64),
        Code::Cvtsi2sd_xmm_rm32 => from!(Cvtsi2sd32),
        Code::Cvtsi2sd_xmm_rm64 => from!(Cvtsi2sd64),
        Code::Cvtss2si_r32_xmmm32 => to!(Cvtss2si32),
        Code::Cvtss2si_r64_xmmm32 => to!(Cvtss2si64),
        Code::Cvttss2si_r32_xmmm32 => to!(Cvttss2si32),
        Code::Cvttss2si_r64_xmmm32 => to!(Cvttss2si64),
        Code::Cvtsd2si_r32_xmmm64 => to!(Cvtsd2si32),
        Code::Cvtsd2si_r64_xmmm64 => to!(Cvtsd2si64),
        Code::Cvttsd2si_r32_xmmm64 => to!(Cvttsd2si32),
        Code::Cvttsd2si_r64_xmmm64 => to!(Cvttsd2si64),
        _ => return None,
    })
}

fn sse3(instruction: &Instruction, source: Kind) -> Option<Handler> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Haddps => form!(source, packed, packed::Haddps),
        Mnemonic::Haddpd => form!(source, packed, packed::Haddpd),
        Mnemonic::Hsubps => form!(source, packed, packed::Hsubps),
        Mnemonic::Hsubpd => form!(source, packed, packed::Hsubpd),
        Mnemonic::Addsubps => form!(source, packed, packed::Addsubps),
        Mnemonic::Addsubpd => form!(source, packed, packed::Addsubpd),
        Mnemonic::Dpps => form!(source, dot, dot::Single),
        Mnemonic::Dppd => form!(source, dot, dot::Double),
        _ => None,
    };
    handler.filter(|_| is_x86_feature_detected!("sse3"))
}

fn sse4(instruction: &Instruction, source: Kind) -> Option<Handler> {
    let imm = match instruction.op_count() {
        3 => rounding(instruction.immediate8()),
        _ => return None,
    };
    macro_rules! rounds {
        ($operation:ident) => {
            with_immediate!(source, $operation, imm, 0 1 2 3 4 8 9 10 11 12)
        };
    }
    let handler = match instruction.mnemonic() {
        Mnemonic::Roundps => rounds!(Roundps),
        Mnemonic::Roundpd => rounds!(Roundpd),
        Mnemonic::Roundss => rounds!(Roundss),
        Mnemonic::Roundsd => rounds!(Roundsd),
        _ => None,
    };
    handler.filter(|_| is_x86_feature_detected!("sse4.1"))
}

/// ROUNDPS's immediate without what does not count: bits 7:4, and bits 1:0 where bit 2 says that
/// MXCSR has the rounding mode.
fn rounding(imm: u8) -> u8 {
    match imm & 4 {
        0 => imm & 11,
        _ => imm & 12,
    }
}

fn of_state(instruction: &Instruction) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Ldmxcsr => Some(state::ldmxcsr),
        Mnemonic::Stmxcsr => Some(state::stmxcsr),
        Mnemonic::Fxsave => Some(state::fxsave::<false>),
        Mnemonic::Fxsave64 => Some(state::fxsave::<true>),
        Mnemonic::Fxrstor => Some(state::fxrstor::<false>),
        Mnemonic::Fxrstor64 => Some(state::fxrstor::<true>),
        _ => None,
    }
}
