// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The memory map that every boot protocol hands to the guest, in E820 terms.

use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::layout::{HIGH_MEMORY, LEGACY_HOLE};

/// What a range is for, with the value that E820, PVH and Multiboot share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// Usable RAM.
    Ram = 1,
    /// Not for general use.
    Reserved = 2,
}

/// A range of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// First address.
    pub start: u64,
    /// Size in bytes, never 0.
    pub size: u64,
    /// What it is for.
    pub kind: MapKind,
}

/// Describes the guest's memory: what lies between 640 KiB and 1 MiB is reserved, the rest is RAM.
/// Sorted by address, without
/// overlap; neighbours of one kind are one entry.
pub fn memory_map(mem: &GuestMemoryMmap) -> Vec<MapEntry> {
    let bands = [
        (0, LEGACY_HOLE, MapKind::Ram),
        (LEGACY_HOLE, HIGH_MEMORY, MapKind::Reserved),
        (HIGH_MEMORY, u64::MAX, MapKind::Ram),
    ];
    let mut map: Vec<MapEntry> = Vec::new();
    for region in mem.iter() {
        let (start, end) = (region.start_addr().raw_value(), region_end(region));
        for (from, to, kind) in bands {
            let (from, to) = (start.max(from), end.min(to));
            match map.last_mut() {
                _ if from >= to => {}
                Some(last) if last.kind == kind && last.start + last.size == from => {
                    last.size += to - from;
                }
                _ => map.push(MapEntry { start: from, size: to - from, kind }),
            }
        }
    }
    map
}

/// The address after a region's last byte.
pub(super) fn region_end(region: &impl GuestMemoryRegion) -> u64 {
    region.start_addr().raw_value().saturating_add(region.len())
}
