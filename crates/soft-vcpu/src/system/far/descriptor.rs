// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Segment and system descriptors: finding, checking and loading them (SDM vol. 3, "Segment
//! Descriptors", "System Descriptor Types").

use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::op::Trap;
use crate::segment::{AccessRights, Segment, CS, LDTR};

/// Types of system descriptors and gates (SDM vol. 3, table "System-Segment and Gate-Descriptor
/// Types"). In IA-32e mode those of 32 bits are of 64 bits.
pub(crate) mod kind {
    pub const TSS16: u8 = 1;
    pub const LDT: u8 = 2;
    pub const TSS16_BUSY: u8 = 3;
    pub const CALL16: u8 = 4;
    pub const TASK_GATE: u8 = 5;
    pub const INTERRUPT16: u8 = 6;
    pub const TRAP16: u8 = 7;
    pub const TSS: u8 = 9;
    pub const TSS_BUSY: u8 = 11;
    pub const CALL: u8 = 12;
    pub const INTERRUPT: u8 = 14;
    pub const TRAP: u8 = 15;
}

/// The exception that a bad selector raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Gp,
    Np,
    Ss,
    Ts,
}

/// A descriptor as memory holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub selector: u16,
    /// Its linear address.
    at: u64,
    /// The first 8 bytes.
    low: u64,
    /// The second 8 bytes of a system descriptor in IA-32e mode.
    high: u64,
}

/// A call, interrupt or trap gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// Code segment.
    pub selector: u16,
    /// Entry point.
    pub offset: u64,
    /// Bytes of what is pushed: 2, 4 or 8.
    pub size: u8,
    /// Parameters of a call gate.
    pub parameters: u8,
    /// Interrupt stack table entry, 1 to 7, or 0.
    pub ist: u8,
    /// An interrupt gate: clears IF.
    pub interrupt: bool,
}

/// Whether nothing but the index is missing: selectors 0 to 3.
pub(crate) fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Requested privilege level.
pub(crate) fn rpl(selector: u16) -> u8 {
    selector as u8 & 3
}

/// Whether an address has 48 bits, sign-extended.
pub(crate) fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

impl Descriptor {
    /// Type, DPL, P and the rest.
    pub fn rights(&self) -> AccessRights {
        AccessRights::from((self.low >> 40) as u32 & 0xf0ff)
    }

    /// As the hidden part of a segment register holds it.
    pub fn segment(&self) -> Segment {
        let rights = self.rights();
        let limit = (self.low & 0xffff | self.low >> 32 & 0xf_0000) as u32;
        Segment {
            selector: self.selector,
            base: self.low >> 16 & 0xff_ffff | self.low >> 32 & 0xff00_0000,
            limit: if rights.granularity() { limit << 12 | 0xfff } else { limit },
            rights,
        }
    }

    /// An LDT or a TSS, whose base has 64 bits in IA-32e mode.
    pub fn system_segment(&self) -> Segment {
        let segment = self.segment();
        Segment { base: segment.base | self.high << 32, ..segment }
    }

    /// Bits 12:8 of the last doubleword, where the type of another descriptor would be.
    pub fn extended_type(&self) -> u64 {
        self.high >> 40 & 0x1f
    }

    /// A gate of `size` bytes a slot.
    pub fn gate(&self, size: u8) -> Gate {
        let offset = self.low & 0xffff;
        Gate {
            selector: (self.low >> 16) as u16,
            offset: match size {
                2 => offset,
                4 => offset | self.low >> 32 & 0xffff_0000,
                _ => offset | self.low >> 32 & 0xffff_0000 | self.high << 32,
            },
            size,
            parameters: (self.low >> 32) as u8 & 31,
            ist: (self.low >> 32) as u8 & 7,
            interrupt: self.rights().kind() & 1 == 0,
        }
    }

    /// The limit's bits and all others of the second doubleword, as LAR reads them.
    pub fn second_doubleword(&self) -> u32 {
        (self.low >> 32) as u32
    }
}

impl Cpu {
    /// An exception whose error code is a selector; `ext` is bit 0: it occurred while an event
    /// from outside of the program was delivered.
    #[cold]
    pub(crate) fn selector_fault(&mut self, fault: Fault, selector: u16, ext: u32) -> Trap {
        let code = u32::from(selector & !3) | ext;
        self.raise(match fault {
            Fault::Gp => Exception::gp(code),
            Fault::Np => Exception::np(code),
            Fault::Ss => Exception::ss(code),
            Fault::Ts => Exception::ts(code),
        })
    }

    /// Where the descriptor of a selector is, if all its `len` bytes are inside its table.
    fn descriptor_address(&self, selector: u16, len: u64) -> Option<u64> {
        let (base, limit) = match selector & 4 {
            0 => (self.gdtr.base, u64::from(self.gdtr.limit)),
            _ => {
                let table = self.segment(LDTR);
                if table.rights.unusable() {
                    return None;
                }
                (table.base, u64::from(table.limit))
            }
        };
        let offset = u64::from(selector & !7);
        (offset + (len - 1) <= limit).then(|| self.table_address(base, offset))
    }

    /// A linear address in a system table: 32 bits outside of IA-32e mode.
    pub(crate) fn table_address(&self, base: u64, offset: u64) -> u64 {
        let at = base.wrapping_add(offset);
        if self.long_mode() {
            at
        } else {
            at & 0xffff_ffff
        }
    }

    /// The descriptor of a selector, 8 bytes of it; `None` if it is outside of its table. A null
    /// selector is the caller's business.
    pub(crate) fn find_descriptor(&mut self, selector: u16) -> Result<Option<Descriptor>, Trap> {
        let Some(at) = self.descriptor_address(selector, 8) else { return Ok(None) };
        let low = self.read_system(at)?;
        Ok(Some(Descriptor { selector, at, low, high: 0 }))
    }

    /// The descriptor of a selector, or `fault`.
    pub(crate) fn descriptor(
        &mut self,
        selector: u16,
        fault: Fault,
        ext: u32,
    ) -> Result<Descriptor, Trap> {
        match self.find_descriptor(selector)? {
            Some(descriptor) => Ok(descriptor),
            None => Err(self.selector_fault(fault, selector, ext)),
        }
    }

    /// The second half of a system descriptor, which it has in IA-32e mode only.
    pub(crate) fn widen(&mut self, descriptor: Descriptor) -> Result<Descriptor, Trap> {
        if !self.long_mode() {
            return Ok(descriptor);
        }
        let selector = descriptor.selector;
        match self.descriptor_address(selector, 16) {
            Some(at) => {
                let high = self.read_system(at.wrapping_add(8))?;
                Ok(Descriptor { high, ..descriptor })
            }
            None => Err(self.selector_fault(Fault::Gp, selector, 0)),
        }
    }

    /// A gate of the IDT at a linear address.
    pub(crate) fn idt_descriptor(&mut self, at: u64) -> Result<Descriptor, Trap> {
        let low = self.read_system(at)?;
        let high = if self.long_mode() { self.read_system(at.wrapping_add(8))? } else { 0 };
        Ok(Descriptor { selector: 0, at, low, high })
    }

    /// The segment of a checked descriptor. Sets the accessed bit.
    pub(crate) fn accessed(&mut self, descriptor: &Descriptor) -> Result<Segment, Trap> {
        let segment = descriptor.segment();
        let kind = segment.rights.kind();
        if kind & 1 == 0 {
            self.modify_system(descriptor.at.wrapping_add(5), |rights: u8| rights | 1)?;
        }
        Ok(Segment { rights: segment.rights.with_kind(kind | 1), ..segment })
    }

    /// Makes an available TSS busy.
    pub(crate) fn make_busy(&mut self, descriptor: &Descriptor) -> Result<(), Trap> {
        self.modify_system(descriptor.at.wrapping_add(5), |rights: u8| rights | 2)?;
        Ok(())
    }

    /// Whether a code segment is one that IA-32e mode refuses: L and D are both set.
    pub(crate) fn is_long_and_default(&self, rights: AccessRights) -> bool {
        self.long_mode() && rights.long() && rights.db()
    }

    /// Whether code of a segment is 64-bit code.
    pub(crate) fn is_code64(&self, code: &Segment) -> bool {
        self.long_mode() && code.rights.long()
    }

    /// #GP(`ext`) unless `rip` can be executed in `code`.
    pub(crate) fn check_target(&mut self, code: &Segment, rip: u64, ext: u32) -> Result<(), Trap> {
        let good = match self.is_code64(code) {
            true => is_canonical(rip),
            false => rip <= u64::from(code.limit),
        };
        match good {
            true => Ok(()),
            false => Err(self.selector_fault(Fault::Gp, 0, ext)),
        }
    }

    /// Goes to `rip` in `code` at a privilege level, which becomes CS's RPL.
    pub(crate) fn enter(&mut self, code: Segment, cpl: u8, rip: u64) {
        let selector = code.selector & !3 | u16::from(cpl);
        self.set_cpl(cpl);
        self.set_segment(CS, Segment { selector, ..code });
        self.rip = rip;
    }

    /// A segment register as a load in real mode leaves it: limit and size stay.
    pub(crate) fn real_segment(&self, index: u8, selector: u16) -> Segment {
        let old = self.segment(index);
        let kind = if index == CS { 0xb } else { 3 };
        let rights = old
            .rights
            .with_unusable(false)
            .with_present(true)
            .with_s(true)
            .with_dpl(0)
            .with_kind(kind);
        Segment { selector, base: u64::from(selector) << 4, limit: old.limit, rights }
    }
}
