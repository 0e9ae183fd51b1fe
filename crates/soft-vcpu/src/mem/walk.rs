// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Page tables: none, 32-bit, PAE and 4-level paging (SDM vol. 3, "Paging").

use vcpu_events::Exception;

use super::tlb::Translation;
use super::{PAGE, PAGE_MASK};
use crate::cpu::Cpu;
use crate::int::Int;
use crate::op::Trap;
use crate::spec::{cr0, cr4, efer, pf};

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Fetch,
}

/// A guest-physical address and, if there is memory, the host's.
pub(super) type Place = (u64, Option<*mut u8>);

/// Bits of a paging-structure entry.
mod entry {
    pub const PRESENT: u64 = 1 << 0;
    pub const WRITABLE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const LARGE: u64 = 1 << 7;
    pub const GLOBAL: u64 = 1 << 8;
    pub const NX: u64 = 1 << 63;
    /// Bits that 4-level paging leaves to software.
    pub const IGNORED: u64 = 0x7ff0_0000_0000_0000;
    /// Address bits of a 64-bit entry.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// A page as the tables map it.
struct Mapping {
    physical: u64,
    writable: bool,
    user: bool,
    no_execute: bool,
    global: bool,
    /// log2 of its size.
    shift: u32,
    /// The entries that were used, the page's own first.
    entries: [Entry; 4],
    /// Entries have 64 bits.
    wide: bool,
}

/// An entry as it was read.
#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    found: u64,
}

/// Nothing of it is ever set.
const NO_ENTRY: Entry = Entry { at: 0, found: u64::MAX };

/// Why there is no mapping: bits of the page-fault error code.
struct NotMapped(u32);

impl Cpu {
    /// Where `linear` is. Fills the TLB.
    ///
    /// # Errors
    /// #PF.
    #[cold]
    #[inline(never)]
    pub(super) fn translate(&mut self, linear: u64, access: Access) -> Result<Place, Trap> {
        let mapping = loop {
            let mapping = match self.map(linear) {
                Ok(mapping) => mapping,
                Err(NotMapped(code)) => return Err(self.page_fault(linear, access, code)),
            };
            if !self.allows(&mapping, access) {
                return Err(self.page_fault(linear, access, pf::PRESENT));
            }
            if self.mark_used(&mapping, access) {
                break mapping;
            }
        };
        let physical = mapping.physical;
        let memory = self.memory.clone();
        let Some((host, page)) = memory.page(physical) else { return Ok((physical, None)) };
        // Only after the page's writers are told may the entry be made, and only if it has no code.
        let (reads_watched, writes_watched) = self.watched(linear);
        let may_write = access == Access::Write && !writes_watched;
        let write = may_write && page.add_writer(self.member_index);
        self.tlb.fill(&Translation {
            linear,
            physical,
            host,
            read: !reads_watched && self.allows(&mapping, Access::Read),
            write,
            fetch: self.allows(&mapping, Access::Fetch),
            global: mapping.global && self.cr4 & cr4::PGE != 0,
            observed: may_write && !write,
            shift: mapping.shift,
        });
        // SAFETY: the offset is within the page that `host` points to.
        Ok((physical, Some(unsafe { host.add((physical % PAGE) as usize) })))
    }

    fn page_fault(&mut self, linear: u64, access: Access, code: u32) -> Trap {
        let (user, _) = self.tlb.privilege();
        let mut code = code;
        if access == Access::Write {
            code |= pf::WRITE;
        }
        if user {
            code |= pf::USER;
        }
        let no_execute = self.efer & efer::NXE != 0 && self.cr4 & cr4::PAE != 0;
        let fetch_told = no_execute || self.cr4 & cr4::SMEP != 0;
        if access == Access::Fetch && fetch_told {
            code |= pf::FETCH;
        }
        self.raise(Exception::pf(code, linear))
    }

    /// SDM vol. 3, "Determination of Access Rights".
    fn allows(&self, mapping: &Mapping, access: Access) -> bool {
        if self.cr0 & cr0::PG == 0 {
            return true;
        }
        let (user, smap) = self.tlb.privilege();
        if user {
            return mapping.user
                && match access {
                    Access::Read => true,
                    Access::Write => mapping.writable,
                    Access::Fetch => !mapping.no_execute,
                };
        }
        let hidden = mapping.user && smap;
        match access {
            Access::Read => !hidden,
            Access::Write => !hidden && (mapping.writable || self.cr0 & cr0::WP == 0),
            Access::Fetch => {
                let forbidden = mapping.user && self.cr4 & cr4::SMEP != 0;
                !forbidden && !mapping.no_execute
            }
        }
    }

    fn map(&mut self, linear: u64) -> Result<Mapping, NotMapped> {
        if self.cr0 & cr0::PG == 0 {
            return Ok(Mapping {
                physical: linear & 0xffff_ffff,
                writable: true,
                user: true,
                no_execute: false,
                global: false,
                shift: 12,
                entries: [NO_ENTRY; 4],
                wide: false,
            });
        }
        match (self.efer & efer::LMA != 0, self.cr4 & cr4::PAE != 0) {
            (true, _) => self.walk(linear, self.cr3 & entry::ADDRESS, 4, 0),
            (false, true) => self.walk_pae(linear),
            (false, false) => self.walk_32(linear),
        }
    }

    /// SDM vol. 3, "PAE Paging": the four PDPTEs have no rights and no A bit.
    fn walk_pae(&mut self, linear: u64) -> Result<Mapping, NotMapped> {
        let linear = linear & 0xffff_ffff;
        let at = (self.cr3 & 0xffff_ffe0) + (linear >> 30) * 8;
        let pdpte = self.read_entry::<u64>(at);
        if pdpte & entry::PRESENT == 0 {
            return Err(NotMapped(0));
        }
        if pdpte & self.reserved_pdpte() != 0 {
            return Err(NotMapped(pf::PRESENT | pf::RESERVED));
        }
        // In PAE paging bits 62:52 of every entry are reserved.
        self.walk(linear, pdpte & entry::ADDRESS, 2, entry::IGNORED)
    }

    /// #GP(0) if a PDPTE has reserved bits, as at a write to CR3 under PAE paging (SDM vol. 3,
    /// "PDPTE Registers").
    pub fn check_pdptes(&mut self, cr3: u64) -> Result<(), Trap> {
        for n in 0..4 {
            let pdpte = self.read_entry::<u64>((cr3 & 0xffff_ffe0) + n * 8);
            if pdpte & entry::PRESENT != 0 && pdpte & self.reserved_pdpte() != 0 {
                return Err(self.gp());
            }
        }
        Ok(())
    }

    fn reserved_pdpte(&self) -> u64 {
        self.reserved_address() | 0x1e6 | entry::IGNORED | entry::NX
    }

    /// 64-bit entries, `levels` of them below `table`; `reserved` bits beyond the usual ones.
    fn walk(
        &mut self,
        linear: u64,
        table: u64,
        levels: u32,
        reserved: u64,
    ) -> Result<Mapping, NotMapped> {
        let reserved = reserved | self.reserved_address() | self.reserved_nx();
        let (mut table, mut writable, mut user, mut no_execute) = (table, true, true, false);
        let mut entries = [NO_ENTRY; 4];
        for level in (0..levels).rev() {
            let shift = 12 + 9 * level;
            let at = table + (linear >> shift & 0x1ff) * 8;
            let found = self.read_entry::<u64>(at);
            if found & entry::PRESENT == 0 {
                return Err(NotMapped(0));
            }
            let large = level > 0 && found & entry::LARGE != 0;
            // A large page's address is aligned, but for the PAT bit; PML4Es are never large.
            let low = match large {
                true => (1u64 << shift) - 1 & !0x1fff,
                false => 0,
            };
            if found & (reserved | low) != 0 || large && level == 3 {
                return Err(NotMapped(pf::PRESENT | pf::RESERVED));
            }
            writable &= found & entry::WRITABLE != 0;
            user &= found & entry::USER != 0;
            no_execute |= found & entry::NX != 0;
            entries = [Entry { at, found }, entries[0], entries[1], entries[2]];
            if level == 0 || large {
                let offset = (1u64 << shift) - 1;
                return Ok(Mapping {
                    physical: found & entry::ADDRESS & !offset | linear & offset,
                    writable,
                    user,
                    no_execute,
                    global: found & entry::GLOBAL != 0,
                    shift,
                    entries,
                    wide: true,
                });
            }
            table = found & entry::ADDRESS;
        }
        Err(NotMapped(0))
    }

    /// SDM vol. 3, "32-Bit Paging", with 4-MByte pages (PSE-36 up to 40 bits).
    fn walk_32(&mut self, linear: u64) -> Result<Mapping, NotMapped> {
        let linear = linear & 0xffff_ffff;
        let directory_at = (self.cr3 & 0xffff_f000) + (linear >> 22) * 4;
        let directory = u64::from(self.read_entry::<u32>(directory_at));
        if directory & entry::PRESENT == 0 {
            return Err(NotMapped(0));
        }
        let large = directory & entry::LARGE != 0 && self.cr4 & cr4::PSE != 0;
        let physical_large = directory & 0xffc0_0000 | (directory >> 13 & 0xff) << 32;
        if large && (directory & 1 << 21 | physical_large & self.reserved_address()) != 0 {
            return Err(NotMapped(pf::PRESENT | pf::RESERVED));
        }
        let (at, leaf) = match large {
            true => (directory_at, directory),
            false => {
                let at = (directory & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4;
                (at, u64::from(self.read_entry::<u32>(at)))
            }
        };
        if leaf & entry::PRESENT == 0 {
            return Err(NotMapped(0));
        }
        let physical = match large {
            true => physical_large | linear & 0x3f_ffff,
            false => leaf & 0xffff_f000 | linear & 0xfff,
        };
        let upper = match large {
            true => NO_ENTRY,
            false => Entry { at: directory_at, found: directory },
        };
        Ok(Mapping {
            physical,
            writable: directory & leaf & entry::WRITABLE != 0,
            user: directory & leaf & entry::USER != 0,
            no_execute: false,
            global: leaf & entry::GLOBAL != 0,
            shift: if large { 22 } else { 12 },
            entries: [Entry { at, found: leaf }, upper, NO_ENTRY, NO_ENTRY],
            wide: false,
        })
    }

    /// Sets A in all entries of a translation, and D for a write. Of one that faulted no entry
    /// is changed. `false`: an entry is not what it was any more, and the walk has to be repeated.
    fn mark_used(&mut self, mapping: &Mapping, access: Access) -> bool {
        for (n, Entry { at, found }) in mapping.entries.into_iter().enumerate() {
            let dirty = if n == 0 && access == Access::Write { entry::DIRTY } else { 0 };
            let missing = (entry::ACCESSED | dirty) & !found;
            let done = missing == 0
                || match mapping.wide {
                    true => self.replace_entry::<u64>(at, found, found | missing),
                    false => self.replace_entry::<u32>(at, found, found | missing),
                };
            if !done {
                return false;
            }
        }
        true
    }

    /// Address bits that this processor does not have.
    fn reserved_address(&self) -> u64 {
        entry::ADDRESS & !((1 << self.physical_bits) - 1)
    }

    fn reserved_nx(&self) -> u64 {
        match self.efer & efer::NXE {
            0 => entry::NX,
            _ => 0,
        }
    }

    /// An entry of a table; where no memory is, all ones, as from a bus that nobody answers on.
    fn read_entry<T: Int>(&mut self, at: u64) -> T {
        match self.memory.page(at) {
            // SAFETY: entries are aligned, so within the page.
            Some((host, _)) => unsafe { T::load(host.add((at % PAGE & !(T::BYTES - 1)) as usize)) },
            None => T::from_u64(u64::MAX),
        }
    }

    /// Replaces an entry if it still is `found`: another processor may have taken the mapping back
    /// since, and must not find A or D set in what it made of the entry, nor a page written that it
    /// saw clean.
    fn replace_entry<T: Int>(&mut self, at: u64, found: u64, new: u64) -> bool {
        let Some((host, page)) = self.memory.page(at) else { return true };
        let (found, new) = (T::from_u64(found), T::from_u64(new));
        // SAFETY: entries are aligned, so within the page.
        let before = unsafe {
            let entry = host.add((at % PAGE & !(T::BYTES - 1)) as usize);
            T::compare_exchange(entry, found, new)
        };
        if page.written(at, T::BYTES) {
            self.end_block();
        }
        before == found
    }

    /// Whether `linear` can be an address at all in the mode in force.
    pub fn is_canonical(&self, linear: u64) -> bool {
        (linear as i64) << 16 >> 16 == linear as i64
    }

    /// The page of code at `linear`: host address and guest-physical address.
    ///
    /// # Errors
    /// #PF, or #GP(0) where the address is not canonical.
    pub fn fetch_page(&mut self, linear: u64) -> Result<(Option<*mut u8>, u64), Trap> {
        let entry = self.tlb.entry(linear);
        if entry.fetch == linear & PAGE_MASK {
            let host = entry.addend.wrapping_add((linear & PAGE_MASK) as usize) as *mut u8;
            return Ok((Some(host), self.tlb.physical(linear)));
        }
        if !self.is_canonical(linear) {
            return Err(self.gp());
        }
        let (physical, host) = self.translate(linear, Access::Fetch)?;
        let offset = (linear % PAGE) as usize;
        Ok((host.map(|host| host.wrapping_sub(offset)), physical & PAGE_MASK))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::{Config, Cpuid, Memory, MsrTable};

    const DIRECTORY: u64 = 0x1000;
    const TABLE: u64 = 0x2000;
    const P_W_U: u32 = 7;

    /// 32-bit paging, page 0 mapped to itself.
    fn cpu() -> (Cpu, GuestMemoryMmap) {
        let guest = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let config = Config {
            memory: Memory::new(guest.clone()).unwrap(),
            cpuid: Cpuid::new(),
            msrs: MsrTable::new(),
            tsc: Box::new(|executed| executed),
            physical_address_bits: 40,
        };
        let mut cpu = Cpu::new(config, 0);
        (cpu.cr0, cpu.cr3) = (cr0::PE | cr0::PG, DIRECTORY);
        guest.write_obj(TABLE as u32 | P_W_U, GuestAddress(DIRECTORY)).unwrap();
        guest.write_obj(P_W_U, GuestAddress(TABLE)).unwrap();
        (cpu, guest)
    }

    fn entries(guest: &GuestMemoryMmap) -> (u32, u32) {
        let read = |at| guest.read_obj::<u32>(GuestAddress(at)).unwrap();
        (read(DIRECTORY) & 0xfff, read(TABLE) & 0xfff)
    }

    #[test]
    fn a_walk_sets_a_and_d() {
        let (mut cpu, guest) = cpu();
        assert!(cpu.translate(0, Access::Read).is_ok());
        assert_eq!(entries(&guest), (0x27, 0x27));
        assert!(cpu.translate(0, Access::Write).is_ok());
        assert_eq!(entries(&guest), (0x27, 0x67));
    }

    #[test]
    fn an_entry_that_changed_since_it_was_read_is_left_alone() {
        let (mut cpu, guest) = cpu();
        let Ok(mapping) = cpu.map(0) else { panic!("page 0 is mapped") };
        // Another processor takes the page away.
        guest.write_obj(0u32, GuestAddress(TABLE)).unwrap();
        assert!(!cpu.mark_used(&mapping, Access::Write));
        assert_eq!(entries(&guest).1, 0);
        assert!(cpu.translate(0, Access::Write).is_err());
    }

    #[test]
    fn a_directory_that_is_its_own_table_is_marked_at_last() {
        let (mut cpu, guest) = cpu();
        guest.write_obj(DIRECTORY as u32 | P_W_U, GuestAddress(DIRECTORY)).unwrap();
        assert!(cpu.translate(0, Access::Write).is_ok());
        assert_eq!(entries(&guest).0, 0x67);
    }
}
