// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads and writes at linear addresses.

use vcpu_events::Exception;

use super::walk::Place;
use super::{Access, PAGE, PAGE_MASK};
use crate::cpu::Cpu;
use crate::flags::bit;
use crate::int::{Data, Int};
use crate::io::Request;
use crate::op::{Op, Trap};
use crate::segment::{FLAT_STACK, SS};
use crate::spec::{cr0, cr4};

impl Cpu {
    /// Reads the memory operand of `op`.
    #[inline(always)]
    pub fn load<T: Data>(&mut self, op: &Op) -> Result<T, Trap> {
        let at = self.read_address(op, T::BYTES)?;
        self.read(op.seg, at)
    }

    /// Writes the memory operand of `op`.
    #[inline(always)]
    pub fn store<T: Data>(&mut self, op: &Op, value: T) -> Result<(), Trap> {
        let at = self.write_address(op, T::BYTES)?;
        self.write(op.seg, at, value)
    }

    /// Replaces the memory operand of `op` by what `change` makes of it, atomically if there is
    /// LOCK; gives the old value. `change` may be called several times.
    #[inline(always)]
    pub fn modify<T: Int>(&mut self, op: &Op, change: impl Fn(T) -> T) -> Result<T, Trap> {
        let at = self.write_address(op, T::BYTES)?;
        self.modify_at(op.seg, at, op.lock(), change)
    }

    /// As [`Cpu::modify`], at a linear address.
    #[inline(always)]
    pub fn modify_at<T: Int>(
        &mut self,
        seg: u8,
        at: u64,
        lock: bool,
        change: impl Fn(T) -> T,
    ) -> Result<T, Trap> {
        let entry = self.tlb.entry(at);
        if entry.write == at & (PAGE_MASK | (T::BYTES - 1)) {
            let host = entry.addend.wrapping_add(at as usize) as *mut u8;
            // SAFETY: the entry's tag says that this page is the host's memory at `addend`, and
            // the access is aligned, so within the page.
            return Ok(unsafe { change_host(host, lock, change) });
        }
        self.modify_slow(seg, at, lock, change)
    }

    /// The host's memory at `at`, for a write that will be told by [`Cpu::wrote`], if the TLB knows
    /// the page as writable and having code.
    #[inline(always)]
    fn observed(&self, at: u64) -> Option<(u64, *mut u8)> {
        let entry = self.tlb.entry(at);
        if entry.read != at & PAGE_MASK || !self.tlb.is_observed(at) {
            return None;
        }
        let host = entry.addend.wrapping_add(at as usize) as *mut u8;
        Some((self.tlb.physical(at) | at % PAGE, host))
    }

    #[cold]
    #[inline(never)]
    fn modify_slow<T: Int>(
        &mut self,
        seg: u8,
        at: u64,
        lock: bool,
        change: impl Fn(T) -> T,
    ) -> Result<T, Trap> {
        if at % PAGE + T::BYTES <= PAGE {
            let entry = self.tlb.entry(at);
            if entry.write == at & PAGE_MASK {
                let host = entry.addend.wrapping_add(at as usize) as *mut u8;
                self.check_alignment(at, T::BYTES)?;
                // SAFETY: as for `modify_at`, and the access stays in the page.
                return Ok(unsafe { change_host(host, lock, change) });
            }
            if let Some((physical, host)) = self.observed(at) {
                self.check_alignment(at, T::BYTES)?;
                // SAFETY: `host` is the byte at `at`, and the access stays in its page.
                let old = unsafe { change_host(host, lock, change) };
                self.wrote_observed(at, physical, T::BYTES);
                return Ok(old);
            }
            self.check_access(seg, at, T::BYTES)?;
            let (physical, host) = self.translate(at, Access::Write)?;
            if let Some(host) = host {
                // SAFETY: `host` is the byte at `at`, and the access stays in its page.
                let old = unsafe { change_host(host, lock, change) };
                self.watch(at, T::BYTES, true);
                self.wrote(physical, T::BYTES);
                return Ok(old);
            }
        }
        // Across pages, or on a device: two accesses, as a bus without locked cycles makes them.
        self.check_access(seg, at, T::BYTES)?;
        self.probe_write(seg, at, T::BYTES)?;
        let old: T = self.read(seg, at)?;
        self.write(seg, at, change(old))?;
        Ok(old)
    }

    /// Reads at a linear address; `seg` tells #SS from #GP.
    #[inline(always)]
    pub fn read<T: Data>(&mut self, seg: u8, at: u64) -> Result<T, Trap> {
        let entry = self.tlb.entry(at);
        if entry.read == at & (PAGE_MASK | (T::BYTES - 1)) {
            let host = entry.addend.wrapping_add(at as usize) as *const u8;
            // SAFETY: the entry's tag says that this page is the host's memory at `addend`, and
            // the access is aligned, so within the page.
            return Ok(unsafe { T::load(host) });
        }
        self.read_slow(seg, at)
    }

    /// Writes at a linear address; `seg` tells #SS from #GP.
    #[inline(always)]
    pub fn write<T: Data>(&mut self, seg: u8, at: u64, value: T) -> Result<(), Trap> {
        let entry = self.tlb.entry(at);
        if entry.write == at & (PAGE_MASK | (T::BYTES - 1)) {
            let host = entry.addend.wrapping_add(at as usize) as *mut u8;
            // SAFETY: as for `read`.
            unsafe { T::store(host, value) };
            return Ok(());
        }
        self.write_slow(seg, at, value)
    }

    #[inline(never)]
    fn read_slow<T: Data>(&mut self, seg: u8, at: u64) -> Result<T, Trap> {
        if at % PAGE + T::BYTES <= PAGE {
            let entry = self.tlb.entry(at);
            if entry.read == at & PAGE_MASK {
                let host = entry.addend.wrapping_add(at as usize) as *const u8;
                self.check_alignment(at, T::BYTES)?;
                // SAFETY: as for `read`, and the access stays in the page.
                return Ok(unsafe { T::load(host) });
            }
            self.check_access(seg, at, T::BYTES)?;
            let (physical, host) = self.translate(at, Access::Read)?;
            self.watch(at, T::BYTES, false);
            return match host {
                // SAFETY: `host` is the byte at `at`, and the access stays in its page.
                Some(host) => Ok(unsafe { T::load(host) }),
                None => self.read_device(physical, T::BYTES).map(T::from_wide),
            };
        }
        self.check_access(seg, at, T::BYTES)?;
        let first = PAGE - at % PAGE;
        // Faults come before anything is asked of a device.
        let next = self.next_linear(at, first);
        let low = self.translate(at, Access::Read)?;
        let high = self.translate(next, Access::Read)?;
        let low = self.read_part(at, low, first)?;
        let high = self.read_part(next, high, T::BYTES - first)?;
        Ok(T::from_wide(low | high << (8 * first)))
    }

    /// `len` bytes (1 to 15) of one page, which was translated.
    fn read_part(&mut self, at: u64, place: Place, len: u64) -> Result<u128, Trap> {
        let (physical, host) = place;
        self.watch(at, len, false);
        let Some(host) = host else { return self.read_device(physical, len) };
        let byte = |n: u64| {
            // SAFETY: the part stays in the page of which `host` is a byte.
            u128::from(unsafe { u8::load(host.add(n as usize)) }) << (8 * n)
        };
        Ok((0..len).map(byte).sum())
    }

    fn read_device(&mut self, physical: u64, len: u64) -> Result<u128, Trap> {
        let mut value = 0u128;
        for at in (0..len).step_by(8) {
            let size = (len - at).min(8);
            let request = Request::MmioRead { address: physical + at, size: size as u8 };
            let answer = self.external(request)?.unwrap_or(u64::MAX);
            value |= u128::from(answer & (u64::MAX >> (64 - 8 * size))) << (8 * at);
        }
        Ok(value)
    }

    #[inline(never)]
    fn write_slow<T: Data>(&mut self, seg: u8, at: u64, value: T) -> Result<(), Trap> {
        if at % PAGE + T::BYTES <= PAGE {
            let entry = self.tlb.entry(at);
            if entry.write == at & PAGE_MASK {
                let host = entry.addend.wrapping_add(at as usize) as *mut u8;
                self.check_alignment(at, T::BYTES)?;
                // SAFETY: as for `write`, and the access stays in the page.
                unsafe { T::store(host, value) };
                return Ok(());
            }
            if let Some((physical, host)) = self.observed(at) {
                self.check_alignment(at, T::BYTES)?;
                // SAFETY: `host` is the byte at `at`, and the access stays in its page.
                unsafe { T::store(host, value) };
                self.wrote_observed(at, physical, T::BYTES);
                return Ok(());
            }
            self.check_access(seg, at, T::BYTES)?;
            let (physical, host) = self.translate(at, Access::Write)?;
            self.watch(at, T::BYTES, true);
            let Some(host) = host else {
                return self.write_device(physical, T::BYTES, value.wide());
            };
            // SAFETY: `host` is the byte at `at`, and the access stays in its page.
            unsafe { T::store(host, value) };
            self.wrote(physical, T::BYTES);
            return Ok(());
        }
        self.check_access(seg, at, T::BYTES)?;
        let first = PAGE - at % PAGE;
        // Both pages must be there before either is written (the one's bytes may be the other's
        // page table), and a device has to have its part before memory changes: an instruction
        // that reads what it writes starts again for it.
        let next = self.next_linear(at, first);
        let low = self.translate(at, Access::Write)?;
        let high = self.translate(next, Access::Write)?;
        let rest = T::BYTES - first;
        if low.1.is_some() && high.1.is_none() {
            self.write_part(next, high, rest, value.wide() >> (8 * first))?;
            return self.write_part(at, low, first, value.wide());
        }
        self.write_part(at, low, first, value.wide())?;
        self.write_part(next, high, rest, value.wide() >> (8 * first))
    }

    fn write_part(&mut self, at: u64, place: Place, len: u64, value: u128) -> Result<(), Trap> {
        let (physical, host) = place;
        self.watch(at, len, true);
        let Some(host) = host else { return self.write_device(physical, len, value) };
        for n in 0..len {
            // SAFETY: the part stays in the page of which `host` is a byte.
            unsafe { u8::store(host.add(n as usize), (value >> (8 * n)) as u8) };
        }
        self.wrote(physical, len);
        Ok(())
    }

    fn write_device(&mut self, physical: u64, len: u64, value: u128) -> Result<(), Trap> {
        for at in (0..len).step_by(8) {
            let size = (len - at).min(8);
            let value = (value >> (8 * at)) as u64 & (u64::MAX >> (64 - 8 * size));
            let address = physical + at;
            // A write has no answer that could matter.
            let _ = self.external(Request::MmioWrite { address, size: size as u8, value })?;
        }
        Ok(())
    }

    /// A write went the slow way: it may have hit decoded code, this block's own too.
    pub(super) fn wrote(&mut self, physical: u64, len: u64) {
        let memory = &self.memory;
        let Some((_, page)) = memory.page(physical) else { return };
        if page.written(physical, len) {
            self.end_block();
        }
    }

    /// The same after [`Cpu::observed`].
    fn wrote_observed(&mut self, at: u64, physical: u64, len: u64) {
        let memory = &self.memory;
        let Some((_, page)) = memory.page(physical) else { return };
        let hit = page.written(physical, len);
        if !page.has_code() {
            // The next write finds a quicker way.
            self.tlb.stop_observing(at);
        }
        if hit {
            self.end_block();
        }
    }

    /// #GP(0), or #SS(0) for the stack, where any byte of the access is not canonical.
    pub(super) fn check_canonical(&mut self, seg: u8, at: u64, len: u64) -> Result<(), Trap> {
        let last = at.wrapping_add(len - 1);
        if !self.long_mode() || self.is_canonical(at) && self.is_canonical(last) {
            return Ok(());
        }
        Err(match seg {
            SS | FLAT_STACK => self.raise(Exception::ss(0)),
            _ => self.gp(),
        })
    }

    /// [`Cpu::check_canonical`], then [`Cpu::check_alignment`].
    pub fn check_access(&mut self, seg: u8, at: u64, len: u64) -> Result<(), Trap> {
        self.check_canonical(seg, at, len)?;
        self.check_alignment(at, len)
    }

    /// #AC(0) where `len` bytes (a power of two) are not aligned and user code wants that to
    /// fault (SDM vol. 3, "Alignment Check Exception (#AC)").
    #[inline(always)]
    fn check_alignment(&mut self, at: u64, len: u64) -> Result<(), Trap> {
        match at & (len - 1) != 0 && self.alignment_counts() {
            true => Err(self.raise(Exception::ac())),
            false => Ok(()),
        }
    }

    /// Whether alignment checking is in force.
    #[inline(always)]
    fn alignment_counts(&self) -> bool {
        self.flags.has(bit::AC) && self.cr0 & cr0::AM != 0 && self.tlb.privilege().0
    }

    /// Whether `len` bytes (up to a page) at a linear address can be written: raises what a write
    /// would raise, writes nothing.
    pub fn probe_write(&mut self, seg: u8, at: u64, len: u64) -> Result<(), Trap> {
        self.check_canonical(seg, at, len)?;
        self.translate(at, Access::Write)?;
        let first = PAGE - at % PAGE;
        if len > first {
            self.translate(self.next_linear(at, first), Access::Write)?;
        }
        Ok(())
    }

    /// Whether a byte at a linear address can be read: raises what a read would raise.
    pub fn probe_read(&mut self, seg: u8, at: u64) -> Result<(), Trap> {
        self.check_canonical(seg, at, 1)?;
        self.translate(at, Access::Read)?;
        Ok(())
    }

    /// The host's memory behind `len` bytes at `at`, if they are in one page that may be accessed
    /// so and (for writing) holds no code: what bulk copies use.
    ///
    /// # Errors
    /// What the access would raise at its first byte.
    pub fn span(&mut self, seg: u8, at: u64, write: bool) -> Result<Option<(*mut u8, u64)>, Trap> {
        let hit = |entry: &super::tlb::Entry| {
            let tag = if write { entry.write } else { entry.read };
            tag == at & PAGE_MASK
        };
        if write && self.observed(at).is_some() || self.alignment_counts() {
            return Ok(None);
        }
        if !hit(self.tlb.entry(at)) {
            self.check_canonical(seg, at, 1)?;
            self.translate(at, if write { Access::Write } else { Access::Read })?;
        }
        let entry = self.tlb.entry(at);
        let host = entry.addend.wrapping_add(at as usize) as *mut u8;
        Ok(hit(entry).then_some((host, PAGE - at % PAGE)))
    }

    /// Reads a descriptor, a gate or a TSS field: a supervisor's access whatever CPL is.
    pub fn read_system<T: Data>(&mut self, at: u64) -> Result<T, Trap> {
        let before = self.tlb.select_implicit(self.cr4 & cr4::SMAP != 0);
        let value = self.read(crate::segment::FLAT, at);
        self.tlb.restore(before);
        value
    }

    /// Changes a descriptor (its accessed or busy bit) atomically; gives the old value.
    pub fn modify_system<T: Int>(&mut self, at: u64, change: impl Fn(T) -> T) -> Result<T, Trap> {
        let before = self.tlb.select_implicit(self.cr4 & cr4::SMAP != 0);
        let result = self.modify_at(crate::segment::FLAT, at, true, change);
        self.tlb.restore(before);
        result
    }
}

/// # Safety
/// `host` is valid for reads and writes of `T`.
#[inline(always)]
unsafe fn change_host<T: Int>(host: *mut u8, lock: bool, change: impl Fn(T) -> T) -> T {
    loop {
        // SAFETY: as the caller promises.
        let old = unsafe { T::load(host) };
        let new = change(old);
        if !lock {
            // SAFETY: as above.
            unsafe { T::store(host, new) };
            return old;
        }
        // SAFETY: as above.
        if unsafe { T::compare_exchange(host, old, new) } == old {
            return old;
        }
    }
}
