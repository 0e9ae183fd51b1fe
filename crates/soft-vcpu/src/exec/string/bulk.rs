// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Host memory behind a row of elements, and the host's own string instructions on it.

use crate::cpu::{Cause, Cpu};
use crate::flags::bit;
use crate::int::{Data, Int};
use crate::mem::PAGE;
use crate::op::{Op, ADDRESS_MASK};

/// Elements in host memory, all in one page: the first, from which they go up or down.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// The first element.
    pub host: *mut u8,
    /// How many there are, at least 1.
    pub elements: u64,
    /// To lower addresses.
    pub down: bool,
}

/// The row of at most `most` elements that starts at `offset` of `seg`; `None` if not even one
/// element is within a page of plain memory that may be accessed so.
#[inline(always)]
pub(super) fn row<T: Int>(
    cpu: &mut Cpu,
    op: &Op,
    seg: u8,
    offset: u64,
    most: u64,
    write: bool,
) -> Option<Row> {
    let found = find::<T>(cpu, op, seg, offset, most, write);
    if found.is_none() {
        // Whatever the attempt raised, it was only one.
        cpu.trap = Cause::None;
    }
    found
}

#[inline(always)]
fn find<T: Int>(
    cpu: &mut Cpu,
    op: &Op,
    seg: u8,
    offset: u64,
    most: u64,
    write: bool,
) -> Option<Row> {
    let down = cpu.flags.has(bit::DF);
    let at = cpu.linear(seg, offset, T::BYTES, write).ok()?;
    let (host, left) = cpu.span(seg, at, write).ok()??;
    if left < T::BYTES {
        return None;
    }
    // Neither beyond the page nor past the end of what an address can tell.
    let (in_page, in_range) = match down {
        true => ((PAGE - left) / T::BYTES, offset / T::BYTES),
        false => {
            let top = ADDRESS_MASK[usize::from(op.asize & 3)];
            (left / T::BYTES - 1, top.wrapping_sub(offset) / T::BYTES)
        }
    };
    let elements = most.min(in_page.min(in_range) + 1);
    if !cpu.code64() {
        let len = elements.wrapping_mul(T::BYTES);
        let low = match down {
            true => offset.wrapping_sub(len - T::BYTES),
            false => offset,
        };
        cpu.linear(seg, low, len, write).ok()?;
    }
    Some(Row { host, elements, down })
}

impl Row {
    /// Element `n`, which must be less than [`Row::elements`].
    ///
    /// # Safety
    /// The row was found by this instruction, by which its page stays what it is.
    #[inline(always)]
    pub unsafe fn get<T: Data>(&self, n: u64) -> T {
        let bytes = (n * T::BYTES) as usize;
        let at = match self.down {
            true => self.host.wrapping_sub(bytes),
            false => self.host.wrapping_add(bytes),
        };
        // SAFETY: the row's elements are all in the page that `host` points into.
        unsafe { T::load(at) }
    }
}

/// The host's instruction, with DF as the guest has it.
macro_rules! repeated {
    ($mnemonic:literal, $down:expr, $($operand:tt)*) => {
        match $down {
            false => std::arch::asm!(
                concat!("rep ", $mnemonic),
                $($operand)*, options(nostack, preserves_flags)
            ),
            true => std::arch::asm!(
                concat!("std\n rep ", $mnemonic, "\n cld"),
                $($operand)*, options(nostack)
            ),
        }
    };
}

/// Copies `elements` from one row to another, one after the other as MOVS does: where the rows
/// overlap, elements are read that were written before.
///
/// # Safety
/// Both rows have that many elements and were found by this instruction, `to` for writing.
pub(super) unsafe fn copy<T: Int>(to: &Row, from: &Row, elements: u64) {
    macro_rules! movs {
        ($mnemonic:literal) => {
            repeated!($mnemonic, to.down,
                inout("rdi") to.host => _, inout("rsi") from.host => _,
                inout("rcx") elements => _)
        };
    }
    // SAFETY: the memory is the guest's, and stays mapped. In assembly since other processors may
    // write there, and the rows may overlap: the host's MOVS is the guest's.
    unsafe {
        match T::BYTES {
            1 => movs!("movsb"),
            2 => movs!("movsw"),
            4 => movs!("movsd"),
            _ => movs!("movsq"),
        }
    }
}

/// Fills `elements` of a row.
///
/// # Safety
/// The row has that many elements and was found by this instruction, for writing.
pub(super) unsafe fn fill<T: Int>(to: &Row, elements: u64, value: T) {
    macro_rules! stos {
        ($mnemonic:literal) => {
            repeated!($mnemonic, to.down,
                inout("rdi") to.host => _, in("rax") value.zx(),
                inout("rcx") elements => _)
        };
    }
    // SAFETY: as for `copy`.
    unsafe {
        match T::BYTES {
            1 => stos!("stosb"),
            2 => stos!("stosw"),
            4 => stos!("stosd"),
            _ => stos!("stosq"),
        }
    }
}
