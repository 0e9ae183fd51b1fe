// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Debug registers and breakpoints (SDM vol. 3, "Debug Registers").

use iced_x86::{Code, Instruction};
use vcpu_events::Exception;

use crate::cpu::Cpu;
use crate::decode::Chosen;
use crate::flags::bit;
use crate::int::Int;
use crate::mem::{PAGE, PAGE_MASK};
use crate::op::{Flow, Op, Step, Trap};
use crate::segment::CS;
use crate::spec::{cr4, dr};

pub(super) fn select_mov(instruction: &Instruction) -> Option<Chosen> {
    match instruction.code() {
        Code::Mov_r32_dr => Some(Chosen::plain(store::<u32>)),
        Code::Mov_r64_dr => Some(Chosen::plain(store::<u64>)),
        Code::Mov_dr_r32 => Some(Chosen::ends(load::<u32>)),
        Code::Mov_dr_r64 => Some(Chosen::ends(load::<u64>)),
        _ => None,
    }
}

/// MOV from a debug register.
fn store<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let number = cpu.debug_register(op.src)?;
    let value = match number {
        0..=3 => cpu.dr[usize::from(number)],
        6 => cpu.dr6,
        _ => cpu.dr7,
    };
    T::set(&mut cpu.gpr, op.dst, T::from_u64(value));
    Ok(Flow::Next)
}

/// MOV to a debug register.
fn load<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let number = cpu.debug_register(op.dst)?;
    let value = T::get(&cpu.gpr, op.src).zx();
    if number >= 6 && value >> 32 != 0 {
        return Err(cpu.gp());
    }
    match number {
        0..=3 => cpu.dr[usize::from(number)] = value,
        6 => cpu.dr6 = value & dr::DR6_WRITABLE | dr::DR6_FIXED,
        _ => cpu.dr7 = value & dr::DR7_WRITABLE | dr::DR7_FIXED,
    }
    // Which accesses must be looked at has changed.
    cpu.tlb.flush_all();
    Ok(Flow::Sync)
}

impl Cpu {
    /// The number of a debug register that may be used now, DR4 and DR5 being DR6 and DR7.
    fn debug_register(&mut self, number: u8) -> Result<u8, Trap> {
        let number = match number {
            4 | 5 if self.cr4 & cr4::DE == 0 => number + 2,
            0..=3 | 6 | 7 => number,
            _ => return Err(self.ud()),
        };
        self.privileged()?;
        if self.dr7 & dr::DR7_GD != 0 {
            return Err(self.raise(Exception::db(dr::DR6_BD)));
        }
        Ok(number)
    }

    /// #DB for an instruction breakpoint at `rip`, unless RFLAGS.RF holds it back.
    pub fn instruction_breakpoint(&mut self) -> Result<(), Trap> {
        if !self.debugging() || self.flags.has(bit::RF) {
            return Ok(());
        }
        let linear = match self.code64() {
            true => self.rip,
            false => self.segment(CS).base.wrapping_add(self.rip) & 0xffff_ffff,
        };
        match self.breakpoints(linear, 1, |kind| kind == EXECUTE) {
            0 => Ok(()),
            hit => Err(self.raise(Exception::db(hit))),
        }
    }

    /// An access of the instruction under way: a data breakpoint on it is a trap behind the
    /// instruction.
    #[inline(always)]
    pub fn watch(&mut self, linear: u64, len: u64, write: bool) {
        if self.debugging() {
            self.pending_debug |= self.breakpoints(linear, len, |kind| data(kind, write));
        }
    }

    /// The same for a port.
    pub(super) fn watch_port(&mut self, port: u16, size: u8) {
        if self.debugging() && self.cr4 & cr4::DE != 0 {
            let hit = self.breakpoints(u64::from(port), u64::from(size), |kind| kind == PORT);
            self.pending_debug |= hit;
        }
    }

    /// Whether reads, and writes, of the page at `linear` have to be looked at one by one.
    pub fn watched(&self, linear: u64) -> (bool, bool) {
        let page = linear & PAGE_MASK;
        let watched = |write| self.breakpoints(page, PAGE, |kind| data(kind, write)) != 0;
        match self.debugging() {
            true => (watched(false), watched(true)),
            false => (false, false),
        }
    }

    /// Whether any breakpoint is enabled.
    #[inline(always)]
    fn debugging(&self) -> bool {
        self.dr7 & dr::DR7_ENABLED != 0
    }

    /// DR6's bits B0 to B3 for the enabled breakpoints of these kinds that overlap `len` bytes at
    /// an address (SDM vol. 3, "Debug Control Register (DR7)" and "Breakpoint Field Recognition").
    fn breakpoints(&self, at: u64, len: u64, kinds: impl Fn(u64) -> bool) -> u64 {
        let mut hit = 0;
        for (n, address) in (0u32..).zip(self.dr) {
            let enabled = self.dr7 >> (2 * n) & 3 != 0;
            let kind = self.dr7 >> (16 + 4 * n) & 3;
            let watched = match self.dr7 >> (18 + 4 * n) & 3 {
                // An instruction's first byte counts, whatever LEN says.
                _ if kind == EXECUTE => 1,
                0 => 1,
                1 => 2,
                2 => 8,
                _ => 4,
            };
            let start = address & !(watched - 1);
            // The last bytes, since an end may be 2^64.
            let (last, watched_last) = (at.wrapping_add(len - 1), start + (watched - 1));
            if enabled && kinds(kind) && start <= last && at <= watched_last {
                hit |= 1 << n;
            }
        }
        hit
    }
}

/// Kinds of breakpoints, R/Wn in DR7.
const EXECUTE: u64 = 0;
const WRITE: u64 = 1;
const PORT: u64 = 2;
const ACCESS: u64 = 3;

fn data(kind: u64, write: bool) -> bool {
    kind == ACCESS || write && kind == WRITE
}
