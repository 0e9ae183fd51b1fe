// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where everything is, in this process and in the soft vCPU's linear address space alike: below
//! 2 GiB, so that 32-bit displacements reach it.

/// What memory operands touch.
pub const DATA: u64 = 0x2000_0000;
/// Bytes of it.
pub const DATA_LEN: u64 = 0x4000;
/// Memory operands are aimed at this part of it: the widest access stays inside.
pub const WINDOW: std::ops::Range<u64> = DATA + 0x1000..DATA + 0x3000;
/// RSP at the start.
pub const STACK: u64 = DATA + 0x2000;
/// The native side's registers; the soft vCPU has no such page.
pub const STATE: u64 = 0x2010_0000;
/// A case's code.
pub const CODE: u64 = 0x2020_0000;
/// Bytes of the code's page.
pub const CODE_LEN: u64 = 0x1000;
/// Code of a case at most.
pub const MAX_CODE: usize = 0x400;
/// Where the native side enters and leaves; not part of a case.
pub const PROLOGUE: u64 = CODE + 0x800;
/// See [`PROLOGUE`].
pub const EPILOGUE: u64 = CODE + 0xc00;
