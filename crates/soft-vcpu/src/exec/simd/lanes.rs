// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! 128 bits as lanes of integers. MMX operands are the low half; what happens in the other one is
//! cut off in the end.
//!
//! Plain code on arrays, which the compiler turns into vector instructions.

/// An integer of a lane.
pub(super) trait Lane: Copy + Default {
    /// `[Self; N]`, 128 bits.
    type Array: Copy + AsRef<[Self]> + AsMut<[Self]>;
    /// Bytes.
    const BYTES: usize = size_of::<Self>();
    /// Lane 0 is the lowest.
    fn split(value: u128) -> Self::Array;
    /// The inverse of [`Lane::split`].
    fn join(lanes: Self::Array) -> u128;
    /// Each lane from its number.
    fn build(lane: impl FnMut(usize) -> Self) -> u128;
}

macro_rules! lane {
    ($t:ty, $split:expr, $join:expr) => {
        impl Lane for $t {
            type Array = [$t; 16 / size_of::<$t>()];
            #[inline(always)]
            fn split(value: u128) -> Self::Array {
                $split(value)
            }
            #[inline(always)]
            fn join(lanes: Self::Array) -> u128 {
                $join(lanes)
            }
            #[inline(always)]
            fn build(lane: impl FnMut(usize) -> Self) -> u128 {
                Self::join(std::array::from_fn(lane))
            }
        }
    };
    ($($t:ty)*) => {$(lane!(
        $t,
        // SAFETY: both are 16 bytes without padding, for which every value is valid. The host is
        // little-endian, as x86-64 is, so that lane 0 is the lowest.
        |value| unsafe { std::mem::transmute::<u128, Self::Array>(value) },
        // SAFETY: as above.
        |lanes| unsafe { std::mem::transmute::<Self::Array, u128>(lanes) }
    );)*};
}

lane!(u8, u128::to_le_bytes, u128::from_le_bytes);
lane!(i8 u16 i16 u32 i32 u64 i64);

/// The low 64 bits.
pub(super) const LOW: u128 = u64::MAX as u128;

/// Lane by lane.
#[inline(always)]
pub(super) fn zip<T: Lane>(a: u128, b: u128, f: impl Fn(T, T) -> T) -> u128 {
    let (mut a, b) = (T::split(a), T::split(b));
    for (a, b) in a.as_mut().iter_mut().zip(b.as_ref()) {
        *a = f(*a, *b);
    }
    T::join(a)
}

/// Lane by lane.
#[inline(always)]
pub(super) fn map<T: Lane>(a: u128, f: impl Fn(T) -> T) -> u128 {
    zip(a, 0, |a, _| f(a))
}

/// Reads lanes by number; beyond the end is 0.
#[inline(always)]
pub(super) fn at<T: Lane>(value: u128) -> impl Fn(usize) -> T {
    let lanes = T::split(value);
    move |n| lanes.as_ref().get(n).copied().unwrap_or_default()
}

/// Replaces the lane of which the number is `n`, modulo their count.
#[inline(always)]
pub(super) fn with<T: Lane>(value: u128, n: u8, lane: T) -> u128 {
    let mut lanes = T::split(value);
    let n = usize::from(n) % (16 / T::BYTES);
    if let Some(old) = lanes.as_mut().get_mut(n) {
        *old = lane;
    }
    T::join(lanes)
}

/// All ones for `true`.
#[inline(always)]
pub(super) fn compare<T: Lane + Ones>(a: u128, b: u128, f: impl Fn(T, T) -> bool) -> u128 {
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
pub(super) fn sign_bits(value: u128) -> u128 {
    // The product has bit 7 of byte n at bit 56 + n; no two terms meet, so nothing is carried.
    let eight =
        |half: u64| (half >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    u128::from(eight(value as u64) | eight((value >> 64) as u64) << 8)
}
