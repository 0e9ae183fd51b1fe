// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A case executed by a soft vCPU in 64-bit mode at privilege level 3, the same linear addresses
//! mapped.

use std::sync::Arc;

use anyhow::Result;
use soft_vcpu::segment::{CS, SS};
use soft_vcpu::spec::{cr0, cr4, efer};
use soft_vcpu::{AccessRights, Config, Cpuid, Exit, Memory, MsrTable, Segment, State, Vcpu};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::case::{Case, Outcome, Registers};
use super::layout::{CODE, CODE_LEN, DATA, DATA_LEN};
use super::rng::Rng;

/// Guest-physical: page tables, then code, then data.
const TABLES: u64 = 0x1000;
const CODE_AT: u64 = 0x1_0000;
const DATA_AT: u64 = 0x2_0000;
const MEMORY: usize = 0x3_0000;
/// More than any case has, string iterations included.
const BUDGET: u64 = 10_000;

/// The soft side.
pub struct Soft {
    vcpu: Vcpu,
    guest: GuestMemoryMmap,
    memory: Arc<Memory>,
}

/// The contents of memory for a seed.
pub fn fill(seed: u64, memory: &mut [u8]) {
    let mut rng = Rng::new(seed);
    for word in memory.chunks_mut(8) {
        let value = rng.operand().to_le_bytes();
        word.copy_from_slice(&value[..word.len()]);
    }
}

impl Soft {
    /// A vCPU with its page tables.
    pub fn new() -> Result<Self> {
        let guest = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)])?;
        let memory = Memory::new(guest.clone())?;
        let vcpu = Vcpu::new(Config {
            memory: memory.clone(),
            cpuid: Cpuid::new(),
            msrs: MsrTable::new(),
            tsc: Box::new(|executed| executed),
            physical_address_bits: 40,
        });
        let soft = Soft { vcpu, guest, memory };
        soft.write_tables()?;
        Ok(soft)
    }

    /// Code and data are in one 2 MiB region each: a PML4, a PDPT, a PD, two PTs.
    fn write_tables(&self) -> Result<()> {
        let table = |n: u64| TABLES + 0x1000 * n;
        let entry = |table: u64, index: u64, value: u64| {
            self.guest.write_obj(value | 7, GuestAddress(table + 8 * (index & 0x1ff)))
        };
        entry(table(0), 0, table(1))?;
        entry(table(1), 0, table(2))?;
        for (n, linear, physical, len) in
            [(3, CODE, CODE_AT, CODE_LEN), (4, DATA, DATA_AT, DATA_LEN)]
        {
            entry(table(2), linear >> 21, table(n))?;
            for page in 0..len >> 12 {
                entry(table(n), (linear >> 12) + page, physical + (page << 12))?;
            }
        }
        Ok(())
    }

    /// Executes a case.
    pub fn run(&mut self, case: &Case) -> Outcome {
        let mut data = vec![0; DATA_LEN as usize];
        fill(case.memory, &mut data);
        let mut code = case.code.clone();
        // HLT ends the case: a #GP at a place that no instruction of it has.
        code.push(0xf4);
        let end = CODE + case.code.len() as u64;
        self.write(DATA_AT, &data);
        self.write(CODE_AT, &code);
        let state = self.start(&case.registers);
        self.vcpu.set_state(&state).expect("a case's state is possible");
        self.vcpu.set_exception_exits(u32::MAX);
        let exit = self.vcpu.run(BUDGET);
        let state = self.vcpu.state();
        let exception = match exit {
            Exit::Exception(_) if state.rip == end => None,
            Exit::Exception(exception) => Some((exception.vector(), state.rip)),
            // Nothing else is expected: a vector that no native side has.
            other => {
                log::debug!("the case ended with {other:?}");
                Some((0xff, state.rip))
            }
        };
        self.guest.read_slice(&mut data, GuestAddress(DATA_AT)).expect("memory is there");
        Outcome { registers: registers(&state), memory: data, exception }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.guest.write_slice(bytes, GuestAddress(at)).expect("memory is there");
        self.memory.invalidate(at, bytes.len() as u64);
    }

    fn start(&self, registers: &Registers) -> State {
        let mut state = self.vcpu.state();
        state.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::NE | cr0::ET | cr0::MP;
        state.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT;
        state.efer = efer::LME | efer::LMA | efer::NXE;
        state.cr3 = TABLES;
        let rights = AccessRights::new().with_s(true).with_dpl(3).with_present(true);
        let data = Segment {
            selector: 0x2b,
            base: 0,
            limit: u32::MAX,
            rights: rights.with_kind(3).with_db(true).with_granularity(true),
        };
        state.segments[..6].fill(data);
        state.segments[usize::from(CS)] = Segment {
            selector: 0x33,
            rights: rights.with_kind(0xb).with_long(true).with_granularity(true),
            ..data
        };
        state.segments[usize::from(SS)] = data;
        state.gpr = registers.gpr;
        state.rip = CODE;
        state.rflags = registers.rflags | 0x200;
        load_fx(&mut state, &registers.fx);
        state
    }
}

fn word<const N: usize>(fx: &[u8; 512], at: usize) -> [u8; N] {
    std::array::from_fn(|n| fx[at + n])
}

fn load_fx(state: &mut State, fx: &[u8; 512]) {
    state.fcw = u16::from_le_bytes(word(fx, 0));
    state.fsw = u16::from_le_bytes(word(fx, 2));
    state.ftw = fx[4];
    state.mxcsr = u32::from_le_bytes(word(fx, 24));
    let top = usize::from(state.fsw >> 11 & 7);
    for n in 0..8 {
        let mantissa = u64::from_le_bytes(word(fx, 32 + 16 * n));
        let exponent = u16::from_le_bytes(word(fx, 40 + 16 * n));
        state.x87[(top + n) % 8] = (mantissa, exponent);
    }
    for n in 0..16 {
        state.xmm[n] = u128::from_le_bytes(word(fx, 160 + 16 * n));
    }
}

fn registers(state: &State) -> Registers {
    let mut fx = [0; 512];
    fx[..2].copy_from_slice(&state.fcw.to_le_bytes());
    fx[2..4].copy_from_slice(&state.fsw.to_le_bytes());
    fx[4] = state.ftw;
    fx[24..28].copy_from_slice(&state.mxcsr.to_le_bytes());
    let top = usize::from(state.fsw >> 11 & 7);
    for n in 0..8 {
        let (mantissa, exponent) = state.x87[(top + n) % 8];
        fx[32 + 16 * n..40 + 16 * n].copy_from_slice(&mantissa.to_le_bytes());
        fx[40 + 16 * n..42 + 16 * n].copy_from_slice(&exponent.to_le_bytes());
    }
    for n in 0..16 {
        fx[160 + 16 * n..176 + 16 * n].copy_from_slice(&state.xmm[n].to_le_bytes());
    }
    Registers { gpr: state.gpr, rflags: state.rflags, fx }
}
