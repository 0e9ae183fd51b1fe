// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Arithmetic by the host's own instructions, under the guest's MXCSR.
//!
//! An instruction runs on the host with all exceptions masked. What it says in MXCSR tells whether
//! the guest's masks let its result stand.

use std::arch::x86_64::__m128i;

use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::op::Trap;
use crate::spec::cr4;
use crate::sse::mxcsr::{BEFORE, FLAGS, MASKS, MASK_SHIFT, OE, PE, UE};
use crate::sse::MXCSR_RESET;

/// The vector of #XM.
const XM: u8 = 19;

/// One of the host's instructions.
pub(super) trait Operation {
    /// The first operand.
    type A: Copy;
    /// The second.
    type B: Copy;
    /// The result.
    type R: Copy;
    /// Runs it under the host's MXCSR; gives that register's content afterwards.
    fn quick(a: Self::A, b: Self::B) -> (Self::R, u32);
    /// Runs it under `mxcsr`, which masks all exceptions and has no flag set; gives the register's
    /// content afterwards. The host's own is then as before, but without flags.
    fn exact(a: Self::A, b: Self::B, mxcsr: u32) -> (Self::R, u32);
    /// Whether the result is tiny, or a lane of it: an underflow, where that is not masked.
    fn is_tiny(_: Self::R) -> bool {
        false
    }
    /// Whether the inexact flag stands in spite of an underflow or overflow that `mxcsr` does not
    /// mask.
    fn is_inexact(_: Self::A, _: Self::B, _: Self::R, _mxcsr: u32) -> bool {
        true
    }
}

/// Carries out an operation for the guest.
///
/// # Errors
/// #XM, or #UD where CR4.OSXMMEXCPT is clear: an exception that is not masked. Its flag is set.
#[inline(always)]
pub(super) fn run<O: Operation>(cpu: &mut Cpu, a: O::A, b: O::B) -> Result<O::R, Trap> {
    let guest = cpu.sse.mxcsr;
    // Most guests keep what Rust code runs with, and have the inexact flag set sooner or later.
    // The host's flags are sticky: as long as the guest has them all, this raised nothing new.
    if guest & !FLAGS == MXCSR_RESET {
        let (result, after) = O::quick(a, b);
        if (after ^ guest) & !(guest & FLAGS) == 0 {
            return Ok(result);
        }
    }
    run_exact::<O>(cpu, a, b)
}

#[inline(never)]
fn run_exact<O: Operation>(cpu: &mut Cpu, a: O::A, b: O::B) -> Result<O::R, Trap> {
    let guest = cpu.sse.mxcsr;
    let unmasked = !guest >> MASK_SHIFT & FLAGS;
    let (result, after) = O::exact(a, b, guest & !FLAGS | MASKS);
    let mut raised = after & FLAGS;
    // Under FTZ the host has said so already.
    if unmasked & UE != 0 && O::is_tiny(result) {
        raised |= UE;
    }
    if raised & unmasked & (OE | UE) != 0 && !O::is_inexact(a, b, result, guest) {
        raised &= !PE;
    }
    raise(cpu, raised, unmasked).map(|()| result)
}

/// Sets flags, and raises their exceptions (SDM vol. 1, "Priority Between SIMD Floating-Point
/// Exceptions").
fn raise(cpu: &mut Cpu, mut raised: u32, unmasked: u32) -> Result<(), Trap> {
    if raised & unmasked & BEFORE != 0 {
        raised &= BEFORE;
    }
    cpu.sse.mxcsr |= raised;
    match raised & unmasked {
        0 => Ok(()),
        _ => Err(simd_exception(cpu)),
    }
}

#[cold]
fn simd_exception(cpu: &mut Cpu) -> Trap {
    match Exception::new(XM, None) {
        Ok(exception) if cpu.cr4 & cr4::OSXMMEXCPT != 0 => cpu.raise(exception),
        _ => cpu.ud(),
    }
}

/// A value for the host's registers.
#[inline(always)]
pub(super) fn to_host(value: u128) -> __m128i {
    // SAFETY: both are 16 bytes of which every pattern is a value.
    unsafe { std::mem::transmute(value) }
}

/// A value from the host's registers.
#[inline(always)]
pub(super) fn from_host(value: __m128i) -> u128 {
    // SAFETY: as for `to_host`.
    unsafe { std::mem::transmute(value) }
}

/// The two ways to run an instruction: `native!(quick; "template", operands)` gives MXCSR after it,
/// `native!(exact mxcsr; "template", operands)` too, having run it under `mxcsr`.
macro_rules! native {
    (quick; $($operands:tt)*) => {
        native!(@ [0u32; 2]; @quick; $($operands)*)
    };
    (exact $mxcsr:expr; $($operands:tt)*) => {
        native!(@ [0u32, $mxcsr]; @exact; $($operands)*)
    };
    (@ $state:expr; @quick; $template:expr, $($operands:tt)*) => {{
        let mut state: [u32; 2] = $state;
        // SAFETY: an instruction from registers to registers, and STMXCSR to a local variable. All
        // exceptions are masked in the host's MXCSR. Its flags change, as those of an `asm!` may.
        unsafe {
            std::arch::asm!(
                $template,
                "stmxcsr [{state} + 4]",
                state = in(reg) state.as_mut_ptr(),
                $($operands)*
                options(nostack)
            );
        }
        state[1]
    }};
    (@ $state:expr; @exact; $template:expr, $($operands:tt)*) => {{
        let mut state: [u32; 2] = $state;
        // SAFETY: as above; `mxcsr` masks all exceptions and has no reserved bit, and the host's
        // control bits are back before the end.
        unsafe {
            std::arch::asm!(
                "stmxcsr [{state}]",
                "and dword ptr [{state}], 0xffffffc0",
                "ldmxcsr [{state} + 4]",
                $template,
                "stmxcsr [{state} + 4]",
                "ldmxcsr [{state}]",
                state = in(reg) state.as_mut_ptr(),
                $($operands)*
                options(nostack)
            );
        }
        state[1]
    }};
}
pub(super) use native;
