// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest images: bzImage, ELF, PVH and Multiboot.
//!
//! [`load`] recognises a kernel by its content, puts it with its initramfs and command line into
//! guest memory and says how the boot CPU starts:
//!
//! | image | entered through |
//! |---|---|
//! | Multiboot 1 header in the first 8 KiB (ELF32, or any file with load addresses) | 32-bit, EAX = 0x2badb002, EBX = information block |
//! | ELF with a PVH note | 32-bit, EBX = `hvm_start_info` |
//! | ELF64 (vmlinux) | 64-bit boot protocol, RSI = zero page |
//! | bzImage, payload gzip, LZ4, zstd, xz or plain | unpacked here, then as vmlinux (a PVH note in it is not used: the setup header says more) |
//! | bzImage with another payload, or a 32-bit kernel | its own decompressor at 1 MiB, 64-bit entry if it has one, else 32-bit |
//!
//! The first line that fits wins. **Not supported**: 64-bit ELF Multiboot kernels without load
//! addresses, Multiboot 2, zImage, EFI images. A kernel that is unpacked here runs at the address
//! it was linked for: no KASLR.
//!
//! Nothing in a file can make this module panic, allocate more than the guest's memory (and a
//! decoder's window), or write outside of guest RAM. [`parse`] is the entry for a fuzzer that
//! wants the headers only, [`load_images`] for one that wants everything.

mod bytes;
mod bzimage;
mod elf;
mod entry;
mod error;
mod linux;
mod memory_map;
mod multiboot;
mod placement;
mod pvh;
#[cfg(test)]
mod tests;
mod unpack;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use vm_memory::GuestMemoryMmap;

pub use bzimage::BzImage;
pub use elf::{Class, ElfImage, Segment as ElfSegment};
pub use entry::{Entry, Mode, Registers, Segment, SystemRegisters, Table};
pub use error::{ImageError, LoadError};
pub use memory_map::{memory_map, MapEntry, MapKind};
pub use multiboot::Multiboot;
pub use unpack::{unpack, PayloadFormat};

/// No kernel file is read beyond this many bytes; the largest vmlinux files, with all their debug
/// information, have half of it.
const KERNEL_FILE_MAX: u64 = 2 << 30;

/// What the loader must know of the machine, besides its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineInfo {
    /// Guest-physical address of the ACPI RSDP, if the machine has ACPI.
    pub rsdp: Option<u64>,
}

/// A loaded guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The image's format.
    pub kind: ImageKind,
    /// How the boot CPU starts.
    pub entry: Entry,
    /// Guest-physical range that the kernel's segments span.
    pub kernel: Range<u64>,
    /// Guest-physical range of the initramfs.
    pub initramfs: Option<Range<u64>>,
    /// The compression of the payload that was unpacked here (bzImage only). Without it the
    /// kernel's own decompressor runs in the guest.
    pub unpacked: Option<PayloadFormat>,
}

/// Formats of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// Linux bzImage.
    BzImage,
    /// 64-bit ELF for the Linux 64-bit boot protocol.
    Vmlinux,
    /// ELF with a PVH entry point.
    Pvh,
    /// Multiboot 1.
    Multiboot,
}

/// A recognised kernel, its parts checked to be in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image<'a> {
    /// Linux bzImage.
    BzImage(BzImage<'a>),
    /// 64-bit ELF for the Linux 64-bit boot protocol.
    Vmlinux(ElfImage<'a>),
    /// ELF with a PVH entry point at this physical address.
    Pvh(ElfImage<'a>, u32),
    /// Multiboot 1.
    Multiboot(Multiboot<'a>),
}

/// A kernel and what goes with it, as bytes.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// The kernel's file name, which Multiboot puts before the command line.
    pub kernel_name: &'a str,
    /// The kernel's file content.
    pub kernel: &'a [u8],
    /// The initramfs: a Multiboot kernel's first module.
    pub initramfs: Option<Module<'a>>,
    /// The command line.
    pub cmdline: &'a str,
}

/// A file that is loaded beside the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// Its file name: a Multiboot module's string.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// What every protocol passes on.
struct Payload<'a> {
    kernel_name: &'a str,
    initramfs: Option<Module<'a>>,
    cmdline: &'a str,
    rsdp: Option<u64>,
}

/// Reads the kernel and the initramfs and loads them into guest memory.
///
/// The memory is expected to be zero apart from the ACPI tables, and laid out as
/// [`crate::layout::ram_regions`] says.
pub fn load(
    mem: &GuestMemoryMmap,
    kernel: &Path,
    initramfs: Option<&Path>,
    cmdline: &str,
    info: &MachineInfo,
) -> Result<Boot, LoadError> {
    let kernel_bytes = read("kernel", kernel, KERNEL_FILE_MAX)?;
    let ram = memory_map(mem).iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    let initramfs_bytes = match initramfs {
        Some(path) => Some(read("initramfs", path, ram)?),
        None => None,
    };
    let name = |path: &Path| path.to_string_lossy().into_owned();
    let (kernel_name, initramfs_name) = (name(kernel), initramfs.map_or(String::new(), name));
    let module = |bytes| Module { name: &initramfs_name, bytes };
    let images = Images {
        kernel_name: &kernel_name,
        kernel: &kernel_bytes,
        initramfs: initramfs_bytes.as_deref().map(module),
        cmdline,
    };
    load_images(mem, &images, info).map_err(|source| match (&source, initramfs) {
        (ImageError::NoRoom { .. }, Some(path)) => {
            LoadError::Initramfs { path: path.into(), source }
        }
        _ => LoadError::Kernel { path: kernel.into(), source },
    })
}

/// Loads a kernel that is already in memory.
pub fn load_images(
    mem: &GuestMemoryMmap,
    images: &Images<'_>,
    info: &MachineInfo,
) -> Result<Boot, ImageError> {
    let payload = Payload {
        kernel_name: images.kernel_name,
        initramfs: images.initramfs,
        cmdline: images.cmdline,
        rsdp: info.rsdp,
    };
    let boot = match parse(images.kernel)? {
        Image::BzImage(image) => linux::place_bzimage(&image, mem, &payload),
        Image::Vmlinux(elf) => linux::place_vmlinux(&elf, mem, &payload),
        Image::Pvh(elf, entry) => pvh::place(&elf, entry, mem, &payload),
        Image::Multiboot(image) => image.place(mem, &payload),
    }?;
    entry::write_boot_cpu(mem, &boot.entry)?;
    Ok(boot)
}

/// Recognises a kernel and checks its headers against the file's length.
pub fn parse(bytes: &[u8]) -> Result<Image<'_>, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bzimage::is_bzimage(bytes) {
        return BzImage::parse(bytes).map(Image::BzImage);
    }
    let elf = if elf::is_elf(bytes) { Some(ElfImage::parse(bytes)?) } else { None };
    match (multiboot::find_header(bytes), elf) {
        // A 64-bit kernel may offer Multiboot to loaders that take it, and PVH to this one.
        (Some(header), Some(elf)) if !header.fits(&elf) && elf.pvh_entry.is_some() => from_elf(elf),
        (Some(header), elf) => Multiboot::parse(bytes, &header, elf).map(Image::Multiboot),
        (None, Some(elf)) => from_elf(elf),
        (None, None) => Err(ImageError::UnknownFormat),
    }
}

fn from_elf(elf: ElfImage<'_>) -> Result<Image<'_>, ImageError> {
    match (elf.pvh_entry, elf.class) {
        (Some(entry), _) => Ok(Image::Pvh(elf, entry)),
        (None, Class::Elf64) => Ok(Image::Vmlinux(elf)),
        (None, Class::Elf32) => Err(ImageError::Unsupported(
            "a 32-bit ELF file with neither a Multiboot header nor a PVH note".into(),
        )),
    }
}

impl Payload<'_> {
    fn check_cmdline(&self, max: u64) -> Result<(), ImageError> {
        match self.cmdline.len() as u64 {
            len if len > max => Err(ImageError::CmdlineTooLong { len, max }),
            _ => Ok(()),
        }
    }
}

fn read(what: &'static str, path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { what, path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > limit {
        true => Err(LoadError::FileTooLarge { what, path: path.into(), limit }),
        false => Ok(bytes),
    }
}
