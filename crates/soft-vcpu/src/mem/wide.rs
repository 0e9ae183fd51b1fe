// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! 16 bytes as one, for CMPXCHG16B.

use super::{Access, PAGE_MASK};
use crate::cpu::Cpu;
use crate::op::Trap;

impl Cpu {
    /// Replaces the 16 bytes at a linear address by `new` if they are `expected`; gives what they
    /// were. `at` is aligned to 16 bytes. Atomic with LOCK and without, as it is allowed to be.
    pub fn compare_exchange_16(
        &mut self,
        seg: u8,
        at: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, Trap> {
        let at = at & !15;
        let entry = self.tlb.entry(at);
        if entry.write == at & PAGE_MASK {
            let host = entry.addend.wrapping_add(at as usize) as *mut u8;
            // SAFETY: the entry's tag says that this page is the host's memory at `addend`; guest
            // pages are host pages, so `host` is aligned as `at` is.
            return Ok(unsafe { compare_exchange(host, expected, new) });
        }
        self.check_canonical(seg, at, 16)?;
        let (physical, host) = self.translate(at, Access::Write)?;
        if let Some(host) = host {
            // SAFETY: `host` is the byte at `at`, aligned as that is.
            let found = unsafe { compare_exchange(host, expected, new) };
            self.watch(at, 16, true);
            self.wrote(physical, 16);
            return Ok(found);
        }
        // On a device: two accesses, as a bus without locked cycles makes them.
        let found: u128 = self.read(seg, at)?;
        self.write(seg, at, if found == expected { new } else { found })?;
        Ok(found)
    }
}

/// # Safety
/// `at` is valid for reads and writes of 16 bytes, and aligned to 16.
unsafe fn compare_exchange(at: *mut u8, expected: u128, new: u128) -> u128 {
    let (low, high): (u64, u64);
    // SAFETY: as the caller promises. RBX, which the compiler keeps for itself, is put back. Every
    // x86-64 processor that runs this has the instruction: x86-64-v2, which it emulates, is older
    // than it is.
    unsafe {
        std::arch::asm!(
            "xchg {new_low}, rbx",
            "lock cmpxchg16b [rdi]",
            "mov rbx, {new_low}",
            // Not any register: that might be RBX.
            in("rdi") at,
            new_low = inout(reg) new as u64 => _,
            in("rcx") (new >> 64) as u64,
            inout("rax") expected as u64 => low,
            inout("rdx") (expected >> 64) as u64 => high,
            options(nostack)
        );
    }
    u128::from(low) | u128::from(high) << 64
}
