// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Segment registers with their hidden parts.

use bitfield_struct::bitfield;

/// Index of a segment register in [`crate::State::segments`] and inside the CPU; the first six are
/// the encoding's numbers.
pub const ES: u8 = 0;
/// Code segment.
pub const CS: u8 = 1;
/// Stack segment.
pub const SS: u8 = 2;
/// Data segment.
pub const DS: u8 = 3;
/// FS.
pub const FS: u8 = 4;
/// GS.
pub const GS: u8 = 5;
/// Local descriptor table register.
pub const LDTR: u8 = 6;
/// Task register.
pub const TR: u8 = 7;
/// In 64-bit mode, a segment whose base does not count. A bad address is #GP.
pub(crate) const FLAT: u8 = 8;
/// As [`FLAT`], for the stack: a bad address is #SS.
pub(crate) const FLAT_STACK: u8 = 9;

/// A segment register: what software sees, and the descriptor's content behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Visible part, 16 bits.
    pub selector: u16,
    /// Linear base address, 64 bits for FS, GS, LDTR and TR, 32 for the others.
    pub base: u64,
    /// Limit in bytes, granularity already applied.
    pub limit: u32,
    /// Access rights.
    pub rights: AccessRights,
}

/// Access rights in the layout of a VMCS (Intel SDM vol. 3, "Guest Register State", table
/// "Format of Access Rights").
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AccessRights {
    /// Bits 3:0: segment type.
    #[bits(4)]
    pub kind: u8,
    /// Bit 4: S, code or data (otherwise a system descriptor).
    pub s: bool,
    /// Bits 6:5: descriptor privilege level.
    #[bits(2)]
    pub dpl: u8,
    /// Bit 7: present.
    pub present: bool,
    #[bits(4)]
    __: u8,
    /// Bit 12: for system software.
    pub avl: bool,
    /// Bit 13: 64-bit code.
    pub long: bool,
    /// Bit 14: D/B, default operation size, stack size or upper bound.
    pub db: bool,
    /// Bit 15: granularity.
    pub granularity: bool,
    /// Bit 16: unusable: a null selector was loaded.
    pub unusable: bool,
    #[bits(15)]
    __: u32,
}

impl AccessRights {
    /// Executable.
    pub const fn is_code(&self) -> bool {
        self.s() && self.kind() & 8 != 0
    }

    /// Conforming code.
    pub const fn is_conforming(&self) -> bool {
        self.s() && self.kind() & 12 == 12
    }

    /// A writable data segment.
    pub const fn is_writable(&self) -> bool {
        self.s() && self.kind() & 10 == 2
    }

    /// Data, or code that may be read.
    pub const fn is_readable(&self) -> bool {
        self.s() && (self.kind() & 8 == 0 || self.kind() & 2 != 0)
    }

    /// A data segment that grows down: offsets above the limit are valid.
    pub const fn is_expand_down(&self) -> bool {
        self.s() && self.kind() & 12 == 4
    }
}

impl Segment {
    /// Unusable, as after a null selector.
    pub fn null(selector: u16) -> Self {
        Segment { selector, rights: AccessRights::new().with_unusable(true), ..Segment::default() }
    }

    /// A real-mode segment with the limit and rights of reset: base `selector << 4`.
    pub fn real(selector: u16, kind: u8) -> Self {
        Segment {
            selector,
            base: u64::from(selector) << 4,
            limit: 0xffff,
            rights: AccessRights::new().with_kind(kind).with_s(true).with_present(true),
        }
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Linear base address.
    pub base: u64,
    /// Offset of the last byte.
    pub limit: u16,
}
