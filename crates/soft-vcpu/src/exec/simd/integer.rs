// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Arithmetic, comparisons and logic, lane by lane.

use iced_x86::Instruction;

use super::lanes::{compare, map, zip};
use super::operands::{both, table, xmm};
use crate::op::Handler;

pub(super) fn select(instruction: &Instruction) -> Option<Handler> {
    arithmetic(instruction).or_else(|| compares(instruction)).or_else(|| products(instruction))
}

fn arithmetic(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        both {
            Pxor: |a, b| a ^ b,
            Por: |a, b| a | b,
            Pand: |a, b| a & b,
            Pandn: |a, b| !a & b,
            Paddb: |a, b| zip(a, b, u8::wrapping_add),
            Paddw: |a, b| zip(a, b, u16::wrapping_add),
            Paddd: |a, b| zip(a, b, u32::wrapping_add),
            Paddq: |a, b| zip(a, b, u64::wrapping_add),
            Paddsb: |a, b| zip(a, b, i8::saturating_add),
            Paddsw: |a, b| zip(a, b, i16::saturating_add),
            Paddusb: |a, b| zip(a, b, u8::saturating_add),
            Paddusw: |a, b| zip(a, b, u16::saturating_add),
            Psubb: |a, b| zip(a, b, u8::wrapping_sub),
            Psubw: |a, b| zip(a, b, u16::wrapping_sub),
            Psubd: |a, b| zip(a, b, u32::wrapping_sub),
            Psubq: |a, b| zip(a, b, u64::wrapping_sub),
            Psubsb: |a, b| zip(a, b, i8::saturating_sub),
            Psubsw: |a, b| zip(a, b, i16::saturating_sub),
            Psubusb: |a, b| zip(a, b, u8::saturating_sub),
            Psubusw: |a, b| zip(a, b, u16::saturating_sub),
            Pavgb: |a, b| zip(a, b, |a: u8, b| (u16::from(a) + u16::from(b) + 1 >> 1) as u8),
            Pavgw: |a, b| zip(a, b, |a: u16, b| (u32::from(a) + u32::from(b) + 1 >> 1) as u16),
            Pabsb: |_, b| map(b, i8::wrapping_abs),
            Pabsw: |_, b| map(b, i16::wrapping_abs),
            Pabsd: |_, b| map(b, i32::wrapping_abs),
            Psignb: |a, b| zip(a, b, |a: i8, b| a.wrapping_mul(b.signum())),
            Psignw: |a, b| zip(a, b, |a: i16, b| a.wrapping_mul(b.signum())),
            Psignd: |a, b| zip(a, b, |a: i32, b| a.wrapping_mul(b.signum())),
        }
        xmm {
            Xorps: |a, b| a ^ b,
            Xorpd: |a, b| a ^ b,
            Orps: |a, b| a | b,
            Orpd: |a, b| a | b,
            Andps: |a, b| a & b,
            Andpd: |a, b| a & b,
            Andnps: |a, b| !a & b,
            Andnpd: |a, b| !a & b,
        }
    }
}

fn compares(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        both {
            Pcmpeqb: |a, b| compare(a, b, |a: i8, b| a == b),
            Pcmpeqw: |a, b| compare(a, b, |a: i16, b| a == b),
            Pcmpeqd: |a, b| compare(a, b, |a: i32, b| a == b),
            Pcmpgtb: |a, b| compare(a, b, |a: i8, b| a > b),
            Pcmpgtw: |a, b| compare(a, b, |a: i16, b| a > b),
            Pcmpgtd: |a, b| compare(a, b, |a: i32, b| a > b),
            Pminub: |a, b| zip(a, b, u8::min),
            Pminsw: |a, b| zip(a, b, i16::min),
            Pmaxub: |a, b| zip(a, b, u8::max),
            Pmaxsw: |a, b| zip(a, b, i16::max),
        }
        xmm {
            Pcmpeqq: |a, b| compare(a, b, |a: i64, b| a == b),
            Pcmpgtq: |a, b| compare(a, b, |a: i64, b| a > b),
            Pminsb: |a, b| zip(a, b, i8::min),
            Pminuw: |a, b| zip(a, b, u16::min),
            Pminsd: |a, b| zip(a, b, i32::min),
            Pminud: |a, b| zip(a, b, u32::min),
            Pmaxsb: |a, b| zip(a, b, i8::max),
            Pmaxuw: |a, b| zip(a, b, u16::max),
            Pmaxsd: |a, b| zip(a, b, i32::max),
            Pmaxud: |a, b| zip(a, b, u32::max),
        }
    }
}

fn products(instruction: &Instruction) -> Option<Handler> {
    table! { instruction;
        both {
            Pmullw: |a, b| zip(a, b, i16::wrapping_mul),
            Pmulhw: |a, b| zip(a, b, |a: i16, b| (wide(a, b) >> 16) as i16),
            Pmulhuw: |a, b| zip(a, b, |a: u16, b| (u32::from(a) * u32::from(b) >> 16) as u16),
            Pmulhrsw: |a, b| zip(a, b, |a: i16, b| ((wide(a, b) >> 14) + 1 >> 1) as i16),
            Pmuludq: |a, b| zip(a, b, |a: u64, b| u64::from(a as u32) * u64::from(b as u32)),
        }
        xmm {
            Pmulld: |a, b| zip(a, b, i32::wrapping_mul),
            Pmuldq: |a, b| zip(a, b, |a: i64, b| i64::from(a as i32) * i64::from(b as i32)),
        }
    }
}

/// The whole product.
#[inline(always)]
fn wide(a: i16, b: i16) -> i32 {
    i32::from(a) * i32::from(b)
}
