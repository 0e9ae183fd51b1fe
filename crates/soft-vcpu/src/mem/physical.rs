// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest-physical memory, and which of it has been decoded as code.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::members::{Member, Members};
use super::PAGE;
use crate::sync::{fence, AtomicU32, AtomicU64};

/// The memory of a machine, shared by its vCPUs.
///
/// Each page knows which of its 64-byte lines some vCPU has decoded. Writes to a page with such
/// lines take a slow way, which tells the page's *generation* on: a decoded block whose page has
/// another generation looks at its bytes again.
pub struct Memory {
    slots: Vec<Slot>,
    pages: Box<[Page]>,
    members: Members,
    /// Keeps the slots' host memory mapped.
    _owner: Box<dyn Any + Send + Sync>,
}

/// A region of guest-physical memory.
struct Slot {
    start: u64,
    len: u64,
    host: *mut u8,
    first_page: usize,
}

// SAFETY: `host` points to memory that `Memory::_owner` keeps mapped, and that is only accessed
// in ways that allow other threads to access it too (`Data::load`, `Data::store`,
// `Int::compare_exchange`).
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// What is known of one page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Bit n: line n (64 bytes) was decoded.
    lines: AtomicU64,
    /// Counts writes to decoded lines.
    generation: AtomicU32,
    /// The same, since lines were last forgotten (bits 23:0), and how often that was (31:24).
    hits: AtomicU32,
    /// Bit n: vCPU n (modulo 32) may have a translation that writes without looking here.
    /// [`FORGETTING`], and above it how often lines were forgotten.
    writers: AtomicU64,
}

/// In [`Page::writers`]: lines are being forgotten.
const FORGETTING: u64 = 1 << 32;

/// The vCPUs with a translation that writes to a page unseen, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writers(u64);

impl Writers {
    /// Bit n: vCPU n (modulo 32).
    pub fn vcpus(self) -> u32 {
        self.0 as u32
    }
}

/// Writes to a page's code after which it is no code, the first time.
const FIRST_PATIENCE: u32 = 8;

/// Why guest memory cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// A region does not start or end at a page, here or in the guest.
    #[error("guest memory region at {0:#x}, {1:#x} bytes, is not made of whole pages")]
    Unaligned(u64, u64),
    /// A region has no address in this process.
    #[error("guest memory region at {0:#x} has no host address")]
    NoHostAddress(u64),
}

impl Memory {
    /// All regions of `memory`, which stays mapped as long as this.
    ///
    /// Each region has to be readable and writable memory of this process (there is no ROM), and no
    /// byte of it may be in another region as well: code that is written through one of two names is
    /// not noticed through the other. The addresses that `memory` gives are believed.
    ///
    /// # Errors
    /// [`MemoryError`]: a region is not made of whole pages, or is not mapped.
    pub fn new<M>(memory: M) -> Result<Arc<Self>, MemoryError>
    where
        M: GuestMemoryBackend + Send + Sync + 'static,
    {
        let mut slots = Vec::new();
        let mut pages = 0;
        for region in memory.iter() {
            let (start, len) = (region.start_addr().0, region.len());
            if start % PAGE != 0 || len % PAGE != 0 {
                return Err(MemoryError::Unaligned(start, len));
            }
            let host = memory
                .get_host_address(GuestAddress(start))
                .map_err(|_| MemoryError::NoHostAddress(start))?;
            // What the guest aligns is to be aligned for the host too.
            if host as u64 % PAGE != 0 {
                return Err(MemoryError::Unaligned(start, len));
            }
            slots.push(Slot { start, len, host, first_page: pages });
            pages += (len / PAGE) as usize;
        }
        let pages = (0..pages).map(|_| Page::default()).collect();
        let members = Members::default();
        Ok(Arc::new(Memory { slots, pages, members, _owner: Box::new(memory) }))
    }

    /// The host's address of the page that holds `address`, if there is memory.
    pub(crate) fn page(&self, address: u64) -> Option<(*mut u8, &Page)> {
        for slot in &self.slots {
            let offset = address.wrapping_sub(slot.start);
            if offset < slot.len {
                let page = offset / PAGE;
                // SAFETY: the offset is within the slot, which is mapped as long as `self`.
                let host = unsafe { slot.host.add((page * PAGE) as usize) };
                return Some((host, &self.pages[slot.first_page + page as usize]));
            }
        }
        None
    }

    /// Adds a vCPU: its number, and how the others see it.
    pub(crate) fn join(&self) -> (u32, Arc<Member>) {
        self.members.join()
    }

    /// Makes vCPUs forget their unseen ways to write to pages with code; see
    /// [`Members::forget_writes`].
    pub(crate) fn forget_writes(&self, writers: u32, own: u32, at_boundary: impl FnMut()) {
        self.members.forget_writes(writers, own, at_boundary);
    }

    /// Tells that somebody other than a vCPU wrote `len` bytes at guest-physical `address`: code
    /// that was decoded from there is looked at again.
    pub fn invalidate(&self, address: u64, len: u64) {
        let mut at = address;
        let end = address.saturating_add(len);
        while at < end {
            let next = (at & super::PAGE_MASK).saturating_add(PAGE);
            if let Some((_, page)) = self.page(at) {
                page.written(at, next.min(end) - at);
            }
            at = next;
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("pages", &self.pages.len()).finish_non_exhaustive()
    }
}

/// The lines that `len` bytes (at least one) at an address touch within its page.
fn lines(address: u64, len: u64) -> u64 {
    let first = (address % PAGE) / 64;
    let last = ((address % PAGE + len.max(1) - 1) / 64).min(63);
    (u64::MAX >> (63 - last)) & (u64::MAX << first)
}

impl Page {
    /// A page without code.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Page {
            lines: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            hits: AtomicU32::new(0),
            writers: AtomicU64::new(0),
        }
    }

    /// Whether any of it was decoded.
    pub fn has_code(&self) -> bool {
        self.lines.load(Ordering::SeqCst) != 0
    }

    /// Marks `len` bytes at `address` as decoded.
    pub fn mark_code(&self, address: u64, len: u64) {
        self.lines.fetch_or(lines(address, len), Ordering::SeqCst);
    }

    /// Whether `len` bytes at `address` are marked.
    pub fn is_marked(&self, address: u64, len: u64) -> bool {
        !self.lines.load(Ordering::SeqCst) & lines(address, len) == 0
    }

    /// The generation now; a block decoded at another one may be stale.
    #[inline(always)]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a write of `len` bytes at `address` hit code; tells the generation on if so.
    pub fn written(&self, address: u64, len: u64) -> bool {
        // Who decodes marks the lines, then reads the bytes; who writes stores the bytes, then
        // looks at the marks. One of them must see the other.
        fence(Ordering::SeqCst);
        // While lines are forgotten, a block that was decoded from them may still be believed.
        let hit = self.lines.load(Ordering::SeqCst) & lines(address, len) != 0
            || self.writers.load(Ordering::SeqCst) & FORGETTING != 0;
        if hit {
            let forgets = self.is_data_by_now()
                && self.writers.fetch_or(FORGETTING, Ordering::SeqCst) & FORGETTING == 0;
            if forgets {
                self.lines.store(0, Ordering::SeqCst);
            }
            self.generation.fetch_add(1, Ordering::SeqCst);
            if forgets {
                // Carries into the count.
                self.writers.fetch_add(FORGETTING, Ordering::SeqCst);
            }
        }
        hit
    }

    /// Whether so many writes hit code that the page is taken to be used for something else: its
    /// lines are forgotten then, and writes are quick again. Every time it takes more.
    fn is_data_by_now(&self) -> bool {
        let hits = self.hits.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let times = hits >> 24;
        if hits & 0xff_ffff < FIRST_PATIENCE << times.min(16) {
            return false;
        }
        self.hits.store((times + 1).min(16) << 24, Ordering::Relaxed);
        true
    }

    /// vCPU `index` gets a translation that writes here unseen; whether it may: it must not if
    /// there is code. Both sides first tell, then look, so that one of them sees the other.
    pub fn add_writer(&self, index: u32) -> bool {
        if self.has_code() {
            return false;
        }
        let before = self.writers.fetch_or(1 << (index % 32), Ordering::SeqCst);
        before & FORGETTING == 0 && !self.has_code()
    }

    /// The vCPUs with such a translation; `None` while lines are forgotten.
    pub fn writers(&self) -> Option<Writers> {
        let writers = self.writers.load(Ordering::SeqCst);
        (writers & FORGETTING == 0).then_some(Writers(writers))
    }

    /// These vCPUs have no such translation any more; `false` if others may have one, or the same
    /// ones again since lines were forgotten meanwhile. Only after this may code be believed, so
    /// that whoever decodes from the page meanwhile waits for them too.
    pub fn remove_writers(&self, writers: Writers) -> bool {
        let none = writers.0 & !u64::from(u32::MAX);
        let order = Ordering::SeqCst;
        self.writers.compare_exchange(writers.0, none, order, order).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_range() {
        assert_eq!(lines(0x1000, 1), 1);
        assert_eq!(lines(0x103f, 2), 3);
        assert_eq!(lines(0x1fff, 1), 1 << 63);
        assert_eq!(lines(0x1000, 0x1000), u64::MAX);
    }

    #[test]
    fn a_page_that_is_written_often_has_no_code() {
        let page = Page::default();
        for patience in [8, 16, 32] {
            page.mark_code(0, 1);
            for _ in 1..patience {
                assert!(page.written(0, 1));
            }
            assert!(page.is_marked(0, 1));
            assert!(page.written(0, 1));
            assert!(!page.is_marked(0, 1));
            assert!(!page.written(0, 1));
        }
        assert_eq!(page.generation(), 8 + 16 + 32);
    }

    #[test]
    fn a_write_beside_code_changes_no_generation() {
        let page = Page::default();
        page.mark_code(0x40, 64);
        page.mark_code(0x80, 1);
        assert!(!page.written(0, 64));
        assert!(!page.written(0xc0, 8));
        assert_eq!(page.generation(), 0);
        assert!(page.written(0x7f, 1));
        assert_eq!(page.generation(), 1);
    }

    #[test]
    fn writers_are_removed_unless_others_came() {
        let page = Page::default();
        assert!(page.add_writer(1));
        page.mark_code(0, 1);
        let writers = page.writers().unwrap();
        assert_eq!(writers.vcpus(), 2);
        // It has looked before there was code, and tells of itself after.
        assert!(!page.add_writer(2));
        page.writers.fetch_or(1 << 2, Ordering::SeqCst);
        assert!(!page.remove_writers(writers));
        let writers = page.writers().unwrap();
        assert_eq!(writers.vcpus(), 6);
        assert!(page.remove_writers(writers));
        assert_eq!(page.writers().unwrap().vcpus(), 0);
    }

    #[test]
    fn a_writer_stays_for_which_a_page_became_data_meanwhile() {
        let page = Page::default();
        assert!(page.add_writer(3));
        page.mark_code(0, 1);
        let writers = page.writers().unwrap();
        // Before that vCPU is asked to forget, the page has no code, and then has some again.
        while page.has_code() {
            page.written(0, 1);
        }
        assert!(page.add_writer(3));
        page.mark_code(0, 1);
        assert!(!page.remove_writers(writers));
        assert_eq!(page.writers().unwrap().vcpus(), 1 << 3);
    }

    #[test]
    fn while_lines_are_forgotten_no_write_is_unseen() {
        let page = Page::default();
        page.writers.fetch_or(FORGETTING, Ordering::SeqCst);
        assert!(!page.add_writer(0));
        assert!(page.written(0x40, 1));
        assert_eq!(page.generation(), 1);
        assert!(page.writers().is_none());
    }
}
