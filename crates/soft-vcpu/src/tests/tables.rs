// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Gates, descriptors and stacks for tests of control transfers.

use super::machine::{Machine, GDT, IDT, STACK, TSS};
use crate::segment::{CS, SS};

/// Handler of vector n: a HLT at `HANDLERS + 16 * n`.
pub const HANDLERS: u64 = 0x11_0000;
/// Stacks of the TSS.
pub const RSP0: u64 = 0x7000;
pub const IST1: u64 = 0x6000;

/// Type of a gate with P; DPL is added at bit 5.
pub const INTERRUPT: u8 = 0x8e;
pub const TRAP: u8 = 0x8f;
pub const INTERRUPT16: u8 = 0x86;
pub const DPL3: u8 = 0x60;

impl Machine {
    /// Fills every vector of a real-mode, protected-mode or IA-32e-mode table with a gate to its
    /// HLT.
    pub fn handlers(&mut self, selector: u16, kind: u8) {
        for vector in 0..=255u8 {
            let at = HANDLERS + 16 * u64::from(vector);
            self.write(at, &[0xf4]);
            self.gate(vector, selector, at, kind, 0);
        }
    }

    /// One gate of the IDT.
    pub fn gate(&mut self, vector: u8, selector: u16, offset: u64, kind: u8, ist: u8) {
        let low = gate(selector, offset, kind, ist);
        if self.vcpu.state().efer & crate::spec::efer::LMA != 0 {
            self.write(IDT + 16 * u64::from(vector), &low.to_le_bytes());
            self.write(IDT + 16 * u64::from(vector) + 8, &(offset >> 32).to_le_bytes());
        } else {
            self.write(IDT + 8 * u64::from(vector), &low.to_le_bytes());
        }
    }

    /// Eight bytes of the GDT.
    pub fn descriptor(&mut self, selector: u16, descriptor: u64) {
        self.write(GDT + u64::from(selector & !7), &descriptor.to_le_bytes());
    }

    /// RSP0 and IST1 of a 64-bit TSS.
    pub fn tss64(&mut self) {
        self.write(TSS + 4, &RSP0.to_le_bytes());
        self.write(TSS + 36, &IST1.to_le_bytes());
    }

    /// SS0:ESP0 of a 32-bit TSS.
    pub fn tss32(&mut self, ss: u16, esp: u32) {
        self.write(TSS + 4, &esp.to_le_bytes());
        self.write(TSS + 8, &ss.to_le_bytes());
    }

    /// Goes to a privilege level's segments, with the usual stack.
    pub fn at(&mut self, code: u16, stack: u16) {
        self.state(|state| {
            state.segments[usize::from(CS)] = super::machine::segment(code);
            state.segments[usize::from(SS)] = super::machine::segment(stack);
            state.gpr[4] = STACK;
        });
    }

    /// `count` items of `size` bytes from the top of stack.
    pub fn frame(&self, size: u64, count: u64) -> Vec<u64> {
        let state = self.vcpu.state();
        let base = state.segments[usize::from(SS)].base;
        let mask = u64::MAX >> (64 - 8 * size);
        (0..count).map(|n| self.read_u64(base + state.gpr[4] + size * n) & mask).collect()
    }

    /// The vector whose handler halted.
    pub fn handled(&self) -> u64 {
        (self.vcpu.state().rip - 1 - HANDLERS) / 16
    }

    /// CS or another selector.
    pub fn selector(&self, index: u8) -> u16 {
        self.vcpu.state().segments[usize::from(index)].selector
    }
}

/// The first eight bytes of a gate.
pub fn gate(selector: u16, offset: u64, kind: u8, third: u8) -> u64 {
    offset & 0xffff
        | u64::from(selector) << 16
        | u64::from(third) << 32
        | u64::from(kind) << 40
        | (offset & 0xffff_0000) << 32
}
