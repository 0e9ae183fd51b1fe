// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Puts things into guest memory and remembers where, so that nothing overwrites anything.

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::elf::Segment;
use super::memory_map::{memory_map, MapEntry, MapKind};
use super::ImageError;
use crate::layout::{ACPI_END, LEGACY_HOLE, MMIO_HOLE};

const PAGE: u64 = 0x1000;

/// Guest memory and what has been put there so far.
pub(super) struct Placer<'m> {
    mem: &'m GuestMemoryMmap,
    map: Vec<MapEntry>,
    taken: Vec<(Range<u64>, &'static str)>,
}

impl<'m> Placer<'m> {
    pub(super) fn new(mem: &'m GuestMemoryMmap) -> Result<Self, ImageError> {
        let map = memory_map(mem);
        match map.iter().any(|entry| entry.kind == MapKind::Ram) {
            true => Ok(Placer { mem, map, taken: Vec::new() }),
            false => Err(ImageError::MemoryMap("it has no RAM")),
        }
    }

    /// The guest's memory map.
    pub(super) fn map(&self) -> &[MapEntry] {
        &self.map
    }

    /// Claims a range: all of it must be RAM and free.
    pub(super) fn reserve(
        &mut self,
        start: u64,
        size: u64,
        what: &'static str,
    ) -> Result<Range<u64>, ImageError> {
        let end = start.saturating_add(size);
        if !self.is_ram(start, end) {
            return Err(ImageError::OutsideRam { what, start, end });
        }
        self.take(start..end, what)
    }

    fn take(&mut self, range: Range<u64>, what: &'static str) -> Result<Range<u64>, ImageError> {
        let Range { start, end } = range;
        if let Some((_, other)) = self.taken.iter().find(|(t, _)| t.start < end && start < t.end) {
            return Err(ImageError::Overlap { what, start, end, other });
        }
        self.taken.push((start..end, what));
        Ok(start..end)
    }

    fn is_ram(&self, start: u64, end: u64) -> bool {
        let holds = |e: &MapEntry| e.start <= start && end <= e.start + e.size;
        self.map.iter().any(|entry| entry.kind == MapKind::Ram && holds(entry))
    }

    /// Claims a kernel segment's range. It may reach below 1 MiB into reserved memory, down to the
    /// firmware's: what the kernel was linked for, it knows of.
    fn reserve_segment(&mut self, start: u64, size: u64) -> Result<Range<u64>, ImageError> {
        let (end, what) = (start.saturating_add(size), "a kernel segment");
        let backed =
            usize::try_from(size).is_ok_and(|size| self.mem.check_range(GuestAddress(start), size));
        if !backed || (start < ACPI_END && end > LEGACY_HOLE) {
            return Err(ImageError::OutsideRam { what, start, end });
        }
        self.take(start..end, what)
    }

    /// Writes into a range that was reserved before.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), ImageError> {
        Ok(self.mem.write_slice(bytes, GuestAddress(address))?)
    }

    /// Writes a string and its NUL; returns the address after them.
    pub(super) fn write_c_string(&self, address: u64, text: &str) -> Result<u64, ImageError> {
        if text.contains('\0') {
            return Err(ImageError::CmdlineNul);
        }
        self.write(address, text.as_bytes())?;
        self.write(address + text.len() as u64, &[0])?;
        Ok(address + text.len() as u64 + 1)
    }

    /// Loads a kernel's segments; returns the range they span.
    pub(super) fn segments(&mut self, segments: &[Segment<'_>]) -> Result<Range<u64>, ImageError> {
        let (mut start, mut end) = (u64::MAX, 0);
        for segment in segments {
            let range = self.reserve_segment(segment.address, segment.size)?;
            self.write(range.start, segment.bytes)?;
            self.zero(range.start + segment.bytes.len() as u64..range.end)?;
            (start, end) = (start.min(range.start), end.max(range.end));
        }
        Ok(start..end)
    }

    fn zero(&self, range: Range<u64>) -> Result<(), ImageError> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(ZEROS.len() as u64);
            self.write(at, &ZEROS[..len as usize])?;
            at += len;
        }
        Ok(())
    }

    /// Puts `bytes` as high as possible into a free page-aligned range of `within`.
    pub(super) fn place_high(
        &mut self,
        bytes: &[u8],
        within: Range<u64>,
        what: &'static str,
    ) -> Result<Range<u64>, ImageError> {
        let size = bytes.len() as u64;
        let gaps = self.gaps(&within);
        let fits = |gap: &&Range<u64>| gap.end - gap.start >= size;
        let Some(gap) = gaps.iter().rev().find(fits) else {
            return Err(no_room(&gaps, size, what));
        };
        self.put((gap.end - size) & !(PAGE - 1), bytes, what)
    }

    /// Puts `bytes` into the first free page-aligned range from `from` on, below the MMIO hole.
    pub(super) fn place_above(
        &mut self,
        from: u64,
        bytes: &[u8],
        what: &'static str,
    ) -> Result<Range<u64>, ImageError> {
        let size = bytes.len() as u64;
        let gaps = self.gaps(&(from..MMIO_HOLE));
        let Some(gap) = gaps.iter().find(|gap| gap.end - gap.start >= size) else {
            return Err(no_room(&gaps, size, what));
        };
        self.put(gap.start, bytes, what)
    }

    fn put(&mut self, at: u64, bytes: &[u8], what: &'static str) -> Result<Range<u64>, ImageError> {
        let range = self.reserve(at, bytes.len() as u64, what)?;
        self.write(range.start, bytes)?;
        Ok(range)
    }

    /// Free RAM within a range, sorted; every gap starts and ends on a page boundary.
    fn gaps(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        let mut taken: Vec<_> = self.taken.iter().map(|(range, _)| range.clone()).collect();
        taken.sort_by_key(|range| range.start);
        let mut gaps = Vec::new();
        for entry in self.map.iter().filter(|entry| entry.kind == MapKind::Ram) {
            let end = (entry.start + entry.size).min(within.end);
            let mut at = entry.start.max(within.start);
            for range in taken.iter().filter(|range| range.start < end) {
                gaps.push(at..range.start.max(at));
                at = at.max(range.end);
            }
            gaps.push(at..end.max(at));
        }
        gaps.iter_mut().for_each(shrink_to_pages);
        gaps.retain(|gap| gap.start < gap.end);
        gaps
    }
}

fn shrink_to_pages(gap: &mut Range<u64>) {
    gap.start = gap.start.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    gap.end &= !(PAGE - 1);
}

fn no_room(gaps: &[Range<u64>], size: u64, what: &'static str) -> ImageError {
    let room = gaps.iter().map(|gap| gap.end - gap.start).max().unwrap_or(0);
    ImageError::NoRoom { what, size, room }
}
