// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Small images made by hand, and what the loader makes of them.

mod elf;
mod entry;
mod files;
mod images;
mod linux;
mod multiboot;
mod totality;
mod unpack;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{load_images, Boot, ImageError, Images, MachineInfo, Module};
use crate::layout;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const RSDP: u64 = 0xe_0000;

/// Guest memory of `size` bytes, as the machine lays it out.
pub(super) fn memory(size: u64) -> GuestMemoryMmap {
    let regions: Vec<_> = layout::ram_regions(size)
        .into_iter()
        .map(|(start, len)| (GuestAddress(start), len as usize))
        .collect();
    GuestMemoryMmap::from_ranges(&regions).unwrap()
}

pub(super) fn read(mem: &GuestMemoryMmap, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    mem.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

pub(super) fn u32_in(mem: &GuestMemoryMmap, at: u64) -> u32 {
    mem.read_obj(GuestAddress(at)).unwrap()
}

pub(super) fn u64_in(mem: &GuestMemoryMmap, at: u64) -> u64 {
    mem.read_obj(GuestAddress(at)).unwrap()
}

/// The C string at an address, without its NUL.
pub(super) fn c_string(mem: &GuestMemoryMmap, at: u64) -> String {
    let bytes = read(mem, at, 4096);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

/// Loads a kernel with what a typical guest gets.
pub(super) fn load(
    mem: &GuestMemoryMmap,
    kernel: &[u8],
    initramfs: Option<&[u8]>,
    cmdline: &str,
) -> Result<Boot, ImageError> {
    let module = |bytes| Module { name: "initrd.img", bytes };
    let images =
        Images { kernel_name: "kernel.bin", kernel, initramfs: initramfs.map(module), cmdline };
    load_images(mem, &images, &MachineInfo { rsdp: Some(RSDP) })
}
