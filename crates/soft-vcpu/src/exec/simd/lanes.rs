// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! 128 bits as lanes of integers. MMX operands are the low half; what happens in the other one is
//! cut off in the end.
//!
//! Plain code on arrays. Since they come from and go into a vector type, the compiler makes vector
//! instructions of it; as 128-bit integers they would stay in general registers.

use std::arch::asm;
use std::arch::x86_64::__m128i;
use std::mem::transmute;
use std::ops::{BitAnd, BitOr, BitXor, Not, Shl, Shr};

use crate::int::Data;

/// 128 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Vector(pub __m128i);

/// The low 64 bits.
pub(super) const LOW: Vector = Vector::new(u64::MAX as u128);
/// The low 32 bits.
pub(super) const LOW32: Vector = Vector::new(u32::MAX as u128);

impl Vector {
    pub const ZERO: Vector = Vector::new(0);

    #[inline(always)]
    pub const fn new(bits: u128) -> Self {
        // SAFETY: both are 16 bytes for which every value is valid.
        Vector(unsafe { transmute::<u128, __m128i>(bits) })
    }

    #[inline(always)]
    pub fn bits(self) -> u128 {
        // SAFETY: as for `new`.
        unsafe { transmute::<__m128i, u128>(self.0) }
    }
}

impl Data for Vector {
    const BYTES: u64 = 16;
    #[inline(always)]
    fn from_wide(value: u128) -> Self {
        Vector::new(value)
    }
    #[inline(always)]
    fn wide(self) -> u128 {
        self.bits()
    }
    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        let value: __m128i;
        // SAFETY: the caller vouches for the memory. In assembly as `Data` for integers is.
        unsafe {
            asm!("movups {v}, xmmword ptr [{at}]", at = in(reg) at, v = out(xmm_reg) value,
                options(nostack, preserves_flags, readonly));
        }
        Vector(value)
    }
    #[inline(always)]
    unsafe fn store(at: *mut u8, value: Self) {
        // SAFETY: as for `load`.
        unsafe {
            asm!("movups xmmword ptr [{at}], {v}", at = in(reg) at, v = in(xmm_reg) value.0,
                options(nostack, preserves_flags));
        }
    }
}

macro_rules! bitwise {
    ($($trait:ident $method:ident)*) => {$(
        impl $trait for Vector {
            type Output = Vector;
            #[inline(always)]
            fn $method(self, other: Vector) -> Vector {
                Vector::new(self.bits().$method(other.bits()))
            }
        }
    )*};
}

bitwise!(BitAnd bitand BitOr bitor BitXor bitxor);

impl Not for Vector {
    type Output = Vector;
    #[inline(always)]
    fn not(self) -> Vector {
        Vector::new(!self.bits())
    }
}

/// Of all 128 bits.
impl Shl<usize> for Vector {
    type Output = Vector;
    #[inline(always)]
    fn shl(self, count: usize) -> Vector {
        Vector::new(self.bits() << (count & 127))
    }
}

/// Of all 128 bits.
impl Shr<usize> for Vector {
    type Output = Vector;
    #[inline(always)]
    fn shr(self, count: usize) -> Vector {
        Vector::new(self.bits() >> (count & 127))
    }
}

/// An integer of a lane.
pub(super) trait Lane: Copy + Default {
    /// `[Self; N]`, 128 bits.
    type Array: Copy + AsRef<[Self]> + AsMut<[Self]>;
    /// Bytes.
    const BYTES: usize = size_of::<Self>();
    /// Lane 0 is the lowest.
    fn split(value: Vector) -> Self::Array;
    /// The inverse of [`Lane::split`].
    fn join(lanes: Self::Array) -> Vector;
    /// Each lane from its number.
    fn build(lane: impl FnMut(usize) -> Self) -> Vector;
}

macro_rules! lane {
    ($($t:ty)*) => {$(
        impl Lane for $t {
            type Array = [$t; 16 / size_of::<$t>()];
            #[inline(always)]
            fn split(value: Vector) -> Self::Array {
                // SAFETY: both are 16 bytes without padding, for which every value is valid. The
                // host is little-endian, as x86-64 is, so that lane 0 is the lowest.
                unsafe { transmute::<__m128i, Self::Array>(value.0) }
            }
            #[inline(always)]
            fn join(lanes: Self::Array) -> Vector {
                // SAFETY: as for `split`.
                Vector(unsafe { transmute::<Self::Array, __m128i>(lanes) })
            }
            #[inline(always)]
            fn build(lane: impl FnMut(usize) -> Self) -> Vector {
                Self::join(std::array::from_fn(lane))
            }
        }
    )*};
}

lane!(u8 i8 u16 i16 u32 i32 u64 i64);

/// Lane by lane.
#[inline(always)]
pub(super) fn zip<T: Lane>(a: Vector, b: Vector, f: impl Fn(T, T) -> T) -> Vector {
    let (mut a, b) = (T::split(a), T::split(b));
    for (a, b) in a.as_mut().iter_mut().zip(b.as_ref()) {
        *a = f(*a, *b);
    }
    T::join(a)
}

/// Lane by lane.
#[inline(always)]
pub(super) fn map<T: Lane>(a: Vector, f: impl Fn(T) -> T) -> Vector {
    zip(a, Vector::ZERO, |a, _| f(a))
}

/// Reads lanes by number; beyond the end is 0.
#[inline(always)]
pub(super) fn at<T: Lane>(value: Vector) -> impl Fn(usize) -> T {
    let lanes = T::split(value);
    move |n| lanes.as_ref().get(n).copied().unwrap_or_default()
}

/// Replaces the lane of which the number is `n`, modulo their count.
#[inline(always)]
pub(super) fn with<T: Lane>(value: Vector, n: u8, lane: T) -> Vector {
    let mut lanes = T::split(value);
    let n = usize::from(n) % (16 / T::BYTES);
    if let Some(old) = lanes.as_mut().get_mut(n) {
        *old = lane;
    }
    T::join(lanes)
}

/// All ones for `true`.
#[inline(always)]
pub(super) fn compare<T: Lane + Ones>(a: Vector, b: Vector, f: impl Fn(T, T) -> bool) -> Vector {
    zip(a, b, |a: T, b: T| if f(a, b) { T::ONES } else { T::default() })
}

/// A lane of ones.
pub(super) trait Ones {
    const ONES: Self;
}

macro_rules! ones {
    ($($t:ty)*) => {$(impl Ones for $t { const ONES: Self = !0; })*};
}
ones!(i8 i16 i32 i64);

/// The sign bits of the bytes, byte 0's lowest.
#[inline(always)]
pub(super) fn sign_bits(value: Vector) -> u32 {
    // The product has bit 7 of byte n at bit 56 + n; no two terms meet, so nothing is carried.
    let eight =
        |half: u64| (half >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let halves = at::<u64>(value);
    (eight(halves(0)) | eight(halves(1)) << 8) as u32
}
