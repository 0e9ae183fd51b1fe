// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! x87.

mod arith;
mod compare;
mod compute;
mod control;
mod convert;
mod env;
mod exact;
mod form;
mod image;
mod logarithm;
mod num;
mod partial;
mod quad;
mod round;
mod series;
mod transfer;
mod trigonometry;

use iced_x86::{Instruction, MemorySize, Mnemonic};

use crate::decode::{Chosen, Form, Kind};
use crate::op::Handler;
use arith::{Add, Binary, Div, DivReversed, Mul, Sub, SubReversed};
use compute::{binary, binary_memory, compare_flags, compare_memory, unary};
use convert::{Double, Single};
use transfer::{load, load_constant, move_if, store, store_chopped, store_int, store_st};

pub(crate) fn select(instruction: &Instruction, form: &Form) -> Option<Chosen> {
    let memory = form.kinds[0] == Kind::Mem;
    let size = instruction.memory_size();
    let handler = match memory {
        true => of_memory(instruction.mnemonic(), size)
            .or_else(|| of_state(instruction.mnemonic(), size))
            .or_else(|| of_control(instruction)),
        false => of_registers(instruction.mnemonic()).or_else(|| of_control(instruction)),
    };
    handler.map(Chosen::plain)
}

/// A handler that is generic over a floating-point or integer memory operand.
macro_rules! source {
    ($size:expr, $handler:ident $(, $before:ty)* ; $($after:expr),*) => {
        match $size {
            MemorySize::Float32 => Some($handler::<$($before,)* Single $(, $after)*> as Handler),
            MemorySize::Float64 => Some($handler::<$($before,)* Double $(, $after)*> as Handler),
            MemorySize::Int16 => Some($handler::<$($before,)* u16 $(, $after)*> as Handler),
            MemorySize::Int32 => Some($handler::<$($before,)* u32 $(, $after)*> as Handler),
            MemorySize::Int64 => Some($handler::<$($before,)* u64 $(, $after)*> as Handler),
            _ => None,
        }
    };
}

fn of_memory(mnemonic: Mnemonic, size: MemorySize) -> Option<Handler> {
    match (mnemonic, size) {
        (Mnemonic::Fld, MemorySize::Float80) => Some(transfer::load80),
        (Mnemonic::Fbld, _) => Some(transfer::load_bcd),
        (Mnemonic::Fld | Mnemonic::Fild, _) => source!(size, load;),
        (Mnemonic::Fst, MemorySize::Float32) => Some(store::<Single, false>),
        (Mnemonic::Fst, MemorySize::Float64) => Some(store::<Double, false>),
        (Mnemonic::Fstp, MemorySize::Float32) => Some(store::<Single, true>),
        (Mnemonic::Fstp, MemorySize::Float64) => Some(store::<Double, true>),
        (Mnemonic::Fstp, MemorySize::Float80) => Some(transfer::store80),
        (Mnemonic::Fbstp, _) => Some(transfer::store_bcd),
        (Mnemonic::Fist, MemorySize::Int16) => Some(store_int::<u16, false>),
        (Mnemonic::Fist, MemorySize::Int32) => Some(store_int::<u32, false>),
        (Mnemonic::Fistp, MemorySize::Int16) => Some(store_int::<u16, true>),
        (Mnemonic::Fistp, MemorySize::Int32) => Some(store_int::<u32, true>),
        (Mnemonic::Fistp, MemorySize::Int64) => Some(store_int::<u64, true>),
        (Mnemonic::Fisttp, MemorySize::Int16) => Some(store_chopped::<u16>),
        (Mnemonic::Fisttp, MemorySize::Int32) => Some(store_chopped::<u32>),
        (Mnemonic::Fisttp, MemorySize::Int64) => Some(store_chopped::<u64>),
        (Mnemonic::Fadd | Mnemonic::Fiadd, _) => source!(size, binary_memory, Add;),
        (Mnemonic::Fsub | Mnemonic::Fisub, _) => source!(size, binary_memory, Sub;),
        (Mnemonic::Fsubr | Mnemonic::Fisubr, _) => source!(size, binary_memory, SubReversed;),
        (Mnemonic::Fmul | Mnemonic::Fimul, _) => source!(size, binary_memory, Mul;),
        (Mnemonic::Fdiv | Mnemonic::Fidiv, _) => source!(size, binary_memory, Div;),
        (Mnemonic::Fdivr | Mnemonic::Fidivr, _) => source!(size, binary_memory, DivReversed;),
        (Mnemonic::Fcom | Mnemonic::Ficom, _) => source!(size, compare_memory; 0),
        (Mnemonic::Fcomp | Mnemonic::Ficomp, _) => source!(size, compare_memory; 1),
        _ => None,
    }
}

fn both<O: Binary>(pops: bool) -> Option<Handler> {
    Some(if pops { binary::<O, true> } else { binary::<O, false> })
}

fn of_registers(mnemonic: Mnemonic) -> Option<Handler> {
    match mnemonic {
        Mnemonic::Fadd => both::<Add>(false),
        Mnemonic::Faddp => both::<Add>(true),
        Mnemonic::Fsub => both::<Sub>(false),
        Mnemonic::Fsubp => both::<Sub>(true),
        Mnemonic::Fsubr => both::<SubReversed>(false),
        Mnemonic::Fsubrp => both::<SubReversed>(true),
        Mnemonic::Fmul => both::<Mul>(false),
        Mnemonic::Fmulp => both::<Mul>(true),
        Mnemonic::Fdiv => both::<Div>(false),
        Mnemonic::Fdivp => both::<Div>(true),
        Mnemonic::Fdivr => both::<DivReversed>(false),
        Mnemonic::Fdivrp => both::<DivReversed>(true),
        Mnemonic::Fsqrt => Some(unary::<compute::Sqrt>),
        Mnemonic::Frndint => Some(unary::<compute::Round>),
        Mnemonic::Fprem => Some(partial::remainder::<false>),
        Mnemonic::Fprem1 => Some(partial::remainder::<true>),
        Mnemonic::Fscale => Some(partial::scale),
        Mnemonic::Fxtract => Some(partial::extract),
        Mnemonic::Fsin => Some(trigonometry::sine_or_cosine::<false>),
        Mnemonic::Fcos => Some(trigonometry::sine_or_cosine::<true>),
        Mnemonic::Fsincos => Some(trigonometry::sine_and_cosine),
        Mnemonic::Fptan => Some(trigonometry::partial_tangent),
        Mnemonic::Fpatan => Some(trigonometry::arc_tangent),
        Mnemonic::F2xm1 => Some(logarithm::power),
        Mnemonic::Fyl2x => Some(logarithm::logarithm::<false>),
        Mnemonic::Fyl2xp1 => Some(logarithm::logarithm::<true>),
        Mnemonic::Fchs => Some(transfer::sign::<true>),
        Mnemonic::Fabs => Some(transfer::sign::<false>),
        Mnemonic::Fld => Some(transfer::load_st),
        Mnemonic::Fst => Some(store_st::<false>),
        Mnemonic::Fstp => Some(store_st::<true>),
        Mnemonic::Fstpnce => Some(transfer::store_st_unchecked),
        Mnemonic::Fxch => Some(transfer::exchange),
        Mnemonic::Fld1 => Some(transfer::load_one),
        Mnemonic::Fldz => Some(transfer::load_zero),
        Mnemonic::Fldl2t => Some(load_constant::<0>),
        Mnemonic::Fldl2e => Some(load_constant::<1>),
        Mnemonic::Fldpi => Some(load_constant::<2>),
        Mnemonic::Fldlg2 => Some(load_constant::<3>),
        Mnemonic::Fldln2 => Some(load_constant::<4>),
        Mnemonic::Fcmovb => Some(move_if::<2>),
        Mnemonic::Fcmovnb => Some(move_if::<3>),
        Mnemonic::Fcmove => Some(move_if::<4>),
        Mnemonic::Fcmovne => Some(move_if::<5>),
        Mnemonic::Fcmovbe => Some(move_if::<6>),
        Mnemonic::Fcmovnbe => Some(move_if::<7>),
        Mnemonic::Fcmovu => Some(move_if::<10>),
        Mnemonic::Fcmovnu => Some(move_if::<11>),
        Mnemonic::Fcom => Some(compute::compare::<false, 0>),
        Mnemonic::Fcomp => Some(compute::compare::<false, 1>),
        Mnemonic::Fcompp => Some(compute::compare::<false, 2>),
        Mnemonic::Fucom => Some(compute::compare::<true, 0>),
        Mnemonic::Fucomp => Some(compute::compare::<true, 1>),
        Mnemonic::Fucompp => Some(compute::compare::<true, 2>),
        Mnemonic::Fcomi => Some(compare_flags::<false, false>),
        Mnemonic::Fcomip => Some(compare_flags::<false, true>),
        Mnemonic::Fucomi => Some(compare_flags::<true, false>),
        Mnemonic::Fucomip => Some(compare_flags::<true, true>),
        Mnemonic::Ftst => Some(compute::test),
        Mnemonic::Fxam => Some(compute::examine),
        _ => None,
    }
}

/// FNSTENV, FLDENV, FNSAVE, FRSTOR, by the size of what they store.
fn of_state(mnemonic: Mnemonic, size: MemorySize) -> Option<Handler> {
    match (mnemonic, size) {
        (Mnemonic::Fnstenv, MemorySize::FpuEnv14) => Some(image::store_environment::<false>),
        (Mnemonic::Fnstenv, MemorySize::FpuEnv28) => Some(image::store_environment::<true>),
        (Mnemonic::Fldenv, MemorySize::FpuEnv14) => Some(image::load_environment::<false>),
        (Mnemonic::Fldenv, MemorySize::FpuEnv28) => Some(image::load_environment::<true>),
        (Mnemonic::Fnsave, MemorySize::FpuState94) => Some(image::save::<false>),
        (Mnemonic::Fnsave, MemorySize::FpuState108) => Some(image::save::<true>),
        (Mnemonic::Frstor, MemorySize::FpuState94) => Some(image::restore::<false>),
        (Mnemonic::Frstor, MemorySize::FpuState108) => Some(image::restore::<true>),
        _ => None,
    }
}

fn of_control(instruction: &Instruction) -> Option<Handler> {
    match instruction.mnemonic() {
        Mnemonic::Wait => Some(control::wait),
        Mnemonic::Fninit => Some(control::init),
        Mnemonic::Fnclex => Some(control::clear_exceptions),
        Mnemonic::Fldcw => Some(control::load_control),
        Mnemonic::Fnstcw => Some(control::store_control),
        Mnemonic::Fnstsw if instruction.memory_size() == MemorySize::Unknown => {
            Some(control::store_status_ax)
        }
        Mnemonic::Fnstsw => Some(control::store_status),
        Mnemonic::Fnop => Some(control::nop),
        // What they did on an 8087 or 80287 was done away with.
        Mnemonic::Fneni | Mnemonic::Fndisi | Mnemonic::Fnsetpm => Some(crate::decode::nothing),
        Mnemonic::Ffree => Some(control::free::<false>),
        Mnemonic::Ffreep => Some(control::free::<true>),
        Mnemonic::Fincstp => Some(control::rotate::<1>),
        Mnemonic::Fdecstp => Some(control::rotate::<7>),
        _ => None,
    }
}
