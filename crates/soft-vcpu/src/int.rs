// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Integers of the four operand sizes, so that an instruction is written once for all of them.

/// General registers and a place that always reads 0, for operands that have no base or index. Any
/// number of a register is inside, so that none is checked.
pub(crate) type Gpr = [u64; 256];

/// The register number that always reads 0.
pub(crate) const ZERO: u8 = 16;
/// Set in the number of AH, CH, DH and BH; the low bits then are 0 to 3.
pub(crate) const HIGH_BYTE: u8 = 0x20;

/// Numbers of the general registers in encodings.
pub(crate) mod reg {
    pub const RAX: u8 = 0;
    pub const RCX: u8 = 1;
    pub const RDX: u8 = 2;
    pub const RBX: u8 = 3;
    pub const RSP: u8 = 4;
    pub const RBP: u8 = 5;
    pub const RSI: u8 = 6;
    pub const RDI: u8 = 7;
}

/// What memory holds: 1 to 16 bytes.
pub(crate) trait Data: Copy + 'static {
    /// Bytes.
    const BYTES: u64;
    /// From the low bytes of `value`.
    fn from_wide(value: u128) -> Self;
    /// Zero-extended.
    fn wide(self) -> u128;
    /// Loads from host memory that other threads may write.
    ///
    /// # Safety
    /// `at` is valid for reads of [`Data::BYTES`]; any alignment.
    unsafe fn load(at: *const u8) -> Self;
    /// Stores to host memory that other threads may read.
    ///
    /// # Safety
    /// `at` is valid for writes of [`Data::BYTES`]; any alignment.
    unsafe fn store(at: *mut u8, value: Self);
}

/// An operand of 8, 16, 32 or 64 bits.
pub(crate) trait Int: Data + Eq + Ord + std::fmt::Debug {
    /// Bits.
    const BITS: u32;
    /// All ones.
    const MASK: u64;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::BITS - 1);
    /// Truncated.
    fn from_u64(value: u64) -> Self;
    /// Zero-extended.
    fn zx(self) -> u64;
    /// Sign-extended.
    fn sx(self) -> u64;
    /// A register's value. Bytes know AH to BH.
    fn get(gpr: &Gpr, register: u8) -> Self;
    /// Writes a register: 32 bits clear the upper half, 8 and 16 leave the rest alone.
    fn set(gpr: &mut Gpr, register: u8, value: Self);
    /// `lock cmpxchg` on host memory of any alignment: the value found; it was replaced if that
    /// is `expected`.
    ///
    /// # Safety
    /// `at` is valid for reads and writes of [`Data::BYTES`].
    unsafe fn compare_exchange(at: *mut u8, expected: Self, new: Self) -> Self;
}

macro_rules! int {
    ($t:ty, $signed:ty, $reg:ident, $ptr:literal, $r:literal, $acc:tt) => {
        impl Data for $t {
            const BYTES: u64 = (<$t>::BITS / 8) as u64;
            #[inline(always)]
            fn from_wide(value: u128) -> Self {
                value as $t
            }
            #[inline(always)]
            fn wide(self) -> u128 {
                self as u128
            }
            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                let value: $t;
                // SAFETY: a plain MOV from memory that the caller vouches for. In assembly since
                // it may be unaligned, and another processor may write there: the guest's race is
                // then the host processor's, which defines it.
                unsafe {
                    std::arch::asm!(
                        concat!("mov {v", $r, "}, ", $ptr, " ptr [{at}]"),
                        at = in(reg) at, v = out($reg) value,
                        options(nostack, preserves_flags, readonly)
                    );
                }
                value
            }
            #[inline(always)]
            unsafe fn store(at: *mut u8, value: Self) {
                // SAFETY: as for `load`, a plain MOV to memory.
                unsafe {
                    std::arch::asm!(
                        concat!("mov ", $ptr, " ptr [{at}], {v", $r, "}"),
                        at = in(reg) at, v = in($reg) value,
                        options(nostack, preserves_flags)
                    );
                }
            }
        }
        impl Int for $t {
            const BITS: u32 = <$t>::BITS;
            const MASK: u64 = <$t>::MAX as u64;
            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn zx(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn sx(self) -> u64 {
                self as $signed as i64 as u64
            }
            #[inline(always)]
            fn get(gpr: &Gpr, register: u8) -> Self {
                register_get::<$t>(gpr, register)
            }
            #[inline(always)]
            fn set(gpr: &mut Gpr, register: u8, value: Self) {
                register_set::<$t>(gpr, register, value)
            }
            #[inline(always)]
            unsafe fn compare_exchange(at: *mut u8, expected: Self, new: Self) -> Self {
                let found: $t;
                // SAFETY: LOCK CMPXCHG on memory that the caller vouches for; any alignment is
                // atomic to the processor.
                unsafe {
                    std::arch::asm!(
                        concat!("lock cmpxchg ", $ptr, " ptr [{at}], {n", $r, "}"),
                        at = in(reg) at, n = in($reg) new,
                        inout($acc) expected => found,
                        options(nostack)
                    );
                }
                found
            }
        }
    };
}

int!(u8, i8, reg_byte, "byte", "", "al");
int!(u16, i16, reg, "word", ":x", "ax");
int!(u32, i32, reg, "dword", ":e", "eax");
int!(u64, i64, reg, "qword", ":r", "rax");

impl Data for u128 {
    const BYTES: u64 = 16;
    #[inline(always)]
    fn from_wide(value: u128) -> Self {
        value
    }
    #[inline(always)]
    fn wide(self) -> u128 {
        self
    }
    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        // SAFETY: both halves are within the caller's 16 bytes. No instruction promises 16 bytes
        // to be one access (SDM vol. 3, "Guaranteed Atomic Operations").
        let (low, high) = unsafe { (u64::load(at), u64::load(at.add(8))) };
        u128::from(low) | u128::from(high) << 64
    }
    #[inline(always)]
    unsafe fn store(at: *mut u8, value: Self) {
        // SAFETY: as for `load`.
        unsafe {
            u64::store(at, value as u64);
            u64::store(at.add(8), (value >> 64) as u64);
        }
    }
}

#[inline(always)]
fn register_get<T: Int>(gpr: &Gpr, register: u8) -> T {
    match T::BITS {
        // HIGH_BYTE becomes a shift by 8.
        8 => T::from_u64(gpr[usize::from(register & 31)] >> (register >> 2 & 8)),
        _ => T::from_u64(gpr[usize::from(register)]),
    }
}

#[inline(always)]
fn register_set<T: Int>(gpr: &mut Gpr, register: u8, value: T) {
    let number = if T::BITS == 8 { register & 31 } else { register };
    let slot = &mut gpr[usize::from(number)];
    match T::BITS {
        8 => {
            let shift = register >> 2 & 8;
            *slot = *slot & !(0xff << shift) | value.zx() << shift;
        }
        16 => *slot = *slot & !0xffff | value.zx(),
        _ => *slot = value.zx(),
    }
}
