// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A small machine: 4 MiB of memory, one vCPU, code from an assembler.

use std::sync::Arc;

use iced_x86::code_asm::CodeAssembler;
use iced_x86::IcedError;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::segment::{AccessRights, Segment, CS, TR};
use crate::spec::{cr0, cr4, efer};
use crate::{Config, Cpuid, Exit, Memory, MsrTable, State, Table, Vcpu};

/// Bytes of memory, from guest-physical address 0.
pub const MEMORY: u64 = 4 << 20;
/// Where code goes.
pub const CODE: u64 = 0x10_0000;
/// Where code goes in real mode.
pub const REAL_CODE: u64 = 0x1000;
/// Where the stack starts, growing down.
pub const STACK: u64 = 0x8000;
/// Where tests put data; nothing else is there.
pub const DATA: u64 = 0x20_0000;
/// Descriptor tables and the TSS.
pub const GDT: u64 = 0x2000;
pub const IDT: u64 = 0x3000;
pub const TSS: u64 = 0x4000;
/// PML4; the low 1 GiB is mapped to itself with 2 MiB pages, for everybody.
pub const PAGE_TABLES: u64 = 0x30_0000;

/// Selectors of the GDT: 64-bit and 32-bit segments of the supervisor, then of user code.
pub const CODE64: u16 = 0x08;
pub const DATA0: u16 = 0x10;
pub const CODE32: u16 = 0x18;
pub const USER_CODE32: u16 = 0x23;
pub const USER_DATA: u16 = 0x2b;
pub const USER_CODE64: u16 = 0x33;
pub const TSS_SELECTOR: u16 = 0x40;

const DESCRIPTORS: [u64; 7] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_9b00_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];

/// A vCPU and its memory.
pub struct Machine {
    pub vcpu: Vcpu,
    pub memory: GuestMemoryMmap,
    bits: u32,
    code: u64,
}

impl Machine {
    /// 64-bit mode, CPL 0, paging on, SSE enabled, a GDT, an empty IDT and a TSS.
    pub fn long() -> Self {
        let mut machine = Self::new(64, CODE);
        machine.write_tables();
        machine.state(|state| {
            state.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::NE | cr0::ET | cr0::MP;
            state.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT;
            state.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
            state.cr3 = PAGE_TABLES;
            protected(state, CODE64);
        });
        machine
    }

    /// 32-bit protected mode, CPL 0, flat, paging off.
    pub fn protected() -> Self {
        let mut machine = Self::new(32, CODE);
        machine.write_tables();
        machine.state(|state| {
            state.cr0 = cr0::PE | cr0::NE | cr0::ET | cr0::MP;
            state.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT;
            protected(state, CODE32);
        });
        machine
    }

    /// Real mode, all segments 0.
    pub fn real() -> Self {
        let mut machine = Self::new(16, REAL_CODE);
        machine.state(|state| {
            state.segments[usize::from(CS)] = Segment::real(0, 0xb);
            state.gpr[4] = STACK;
        });
        machine
    }

    fn new(bits: u32, code: u64) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap();
        let shared = Memory::new(memory.clone()).unwrap();
        let vcpu = Vcpu::new(Self::config(shared));
        Machine { vcpu, memory, bits, code }
    }

    fn config(memory: Arc<Memory>) -> Config {
        Config {
            memory,
            cpuid: Cpuid::new(),
            msrs: MsrTable::new(),
            tsc: Box::new(|executed| executed),
            physical_address_bits: 40,
        }
    }

    /// Bytes of a near branch's displacement.
    pub fn word(&self) -> usize {
        if self.bits == 16 {
            2
        } else {
            4
        }
    }

    /// Changes the state.
    pub fn state(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.vcpu.state();
        change(&mut state);
        self.vcpu.set_state(&state).unwrap();
    }

    /// Assembles code, puts it at the code address and runs it from there.
    pub fn run(&mut self, code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Exit {
        let mut assembler = CodeAssembler::new(self.bits).unwrap();
        code(&mut assembler).unwrap();
        let bytes = assembler.assemble(self.code).unwrap();
        self.run_bytes(&bytes)
    }

    /// Puts bytes at the code address and runs them from there.
    pub fn run_bytes(&mut self, bytes: &[u8]) -> Exit {
        self.write(self.code, bytes);
        let code = self.code;
        self.state(|state| state.rip = code);
        self.vcpu.run(100_000)
    }

    /// Writes memory as the VMM.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
        self.vcpu.cpu.memory.invalidate(at, bytes.len() as u64);
    }

    /// Reads a little-endian number of memory.
    pub fn read_u64(&self, at: u64) -> u64 {
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    fn write_tables(&mut self) {
        for (n, descriptor) in (0..).zip(DESCRIPTORS) {
            self.write(GDT + 8 * n, &descriptor.to_le_bytes());
        }
        let tss = 0x0000_8b00_0000_0067 | TSS << 16;
        self.write(GDT + u64::from(TSS_SELECTOR), &tss.to_le_bytes());
        let table = |n: u64| PAGE_TABLES + 0x1000 * n;
        self.write(table(0), &(table(1) | 7).to_le_bytes());
        self.write(table(1), &(table(2) | 7).to_le_bytes());
        for n in 0..512u64 {
            self.write(table(2) + 8 * n, &(n << 21 | 0x87).to_le_bytes());
        }
    }
}

/// Segments and tables of protected mode.
fn protected(state: &mut State, code: u16) {
    state.gdtr = Table { base: GDT, limit: 0xff };
    state.idtr = Table { base: IDT, limit: 0xfff };
    let data = segment(DATA0);
    state.segments[..6].fill(data);
    state.segments[usize::from(CS)] = segment(code);
    state.segments[usize::from(TR)] = Segment {
        selector: TSS_SELECTOR,
        base: TSS,
        limit: 0x67,
        rights: AccessRights::new().with_kind(0xb).with_present(true),
    };
    state.gpr[4] = STACK;
}

/// A segment of the GDT, as loading its selector makes it.
pub fn segment(selector: u16) -> Segment {
    let descriptor = DESCRIPTORS[usize::from(selector >> 3)];
    let rights = AccessRights::from((descriptor >> 40) as u32 & 0xf0ff);
    Segment { selector, base: 0, limit: u32::MAX, rights }
}
