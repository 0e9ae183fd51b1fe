// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The Linux bzImage: setup header, protected-mode part and compressed payload.
//!
//! Follows Linux's `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header" and "Details
//! of Header Fields".

use super::bytes::{part, slice, u16_at, u32_at, u64_at, u8_at};
use super::ImageError;

const BOOT_FLAG: u64 = 0x1fe;
const HEADER_MAGIC: u64 = 0x202;
/// Where `struct setup_header` starts, in the file and in the zero page.
pub(super) const SETUP_HEADER: u64 = 0x1f1;
/// No setup header reaches beyond this offset, where the zero page's next field starts.
const SETUP_HEADER_END: u64 = 0x290;
const SECTOR: u64 = 512;
const LOADED_HIGH: u8 = 1 << 0;
const XLF_KERNEL_64: u16 = 1 << 0;
/// Protocols before these have no such field.
const WITH_INITRD_MAX: u16 = 0x203;
const WITH_RELOCATABLE: u16 = 0x205;
const WITH_CMDLINE_SIZE: u16 = 0x206;
const WITH_PAYLOAD: u16 = 0x208;
const WITH_PREF_ADDRESS: u16 = 0x20a;
const WITH_XLOADFLAGS: u16 = 0x20c;
/// The oldest protocol whose command line is passed through `cmd_line_ptr`.
const OLDEST: u16 = 0x202;

/// Whether the file has a Linux boot sector and setup header.
pub(super) fn is_bzimage(bytes: &[u8]) -> bool {
    u16_at(bytes, BOOT_FLAG) == Some(0xaa55) && slice(bytes, HEADER_MAGIC, 4) == Some(b"HdrS")
}

/// A parsed bzImage. Addresses are guest-physical, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BzImage<'a> {
    /// Boot protocol version, major in the high byte.
    pub protocol: u16,
    /// The setup header as the zero page takes it, from offset 0x1f1 on.
    pub setup_header: &'a [u8],
    /// The part that is loaded at 1 MiB or above: the decompressor and its payload.
    pub protected_mode: &'a [u8],
    /// The compressed kernel with the 4 bytes of its unpacked size (protocol 2.08 and later).
    pub payload: Option<&'a [u8]>,
    /// The kernel has the 64-bit entry point at 0x200.
    pub has_64bit_entry: bool,
    /// The decompressor may be loaded elsewhere than at 1 MiB.
    pub relocatable: bool,
    /// Alignment of the running kernel.
    pub alignment: u64,
    /// Where the kernel prefers to run.
    pub preferred_address: u64,
    /// Memory it needs from there on until it reads the memory map; 0 if it does not say.
    pub init_size: u64,
    /// Highest address of the initramfs's last byte.
    pub initrd_max: u64,
    /// Longest command line without its NUL.
    pub cmdline_max: u64,
}

impl<'a> BzImage<'a> {
    /// Reads the setup header and finds the parts.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let protocol = u16_at(bytes, 0x206).unwrap_or(0);
        let since = |version, value: Option<u32>, before| match value {
            Some(value) if protocol >= version => u64::from(value),
            _ => before,
        };
        check_kind(bytes, protocol)?;
        let protected_mode = protected_mode(bytes)?;
        let xloadflags = since(WITH_XLOADFLAGS, u16_at(bytes, 0x236).map(u32::from), 0) as u16;
        let preferred = u64_at(bytes, 0x258).filter(|_| protocol >= WITH_PREF_ADDRESS);
        Ok(BzImage {
            protocol,
            setup_header: setup_header(bytes)?,
            payload: if protocol >= WITH_PAYLOAD { payload(bytes, protected_mode)? } else { None },
            protected_mode,
            has_64bit_entry: xloadflags & XLF_KERNEL_64 != 0,
            relocatable: since(WITH_RELOCATABLE, u8_at(bytes, 0x234).map(u32::from), 0) != 0,
            alignment: since(WITH_RELOCATABLE, u32_at(bytes, 0x230), 0x10_0000),
            preferred_address: preferred.unwrap_or(0x10_0000),
            init_size: since(WITH_PREF_ADDRESS, u32_at(bytes, 0x260), 0),
            initrd_max: since(WITH_INITRD_MAX, u32_at(bytes, 0x22c), 0x37ff_ffff),
            cmdline_max: since(WITH_CMDLINE_SIZE, u32_at(bytes, 0x238), 255),
        })
    }
}

fn check_kind(bytes: &[u8], protocol: u16) -> Result<(), ImageError> {
    if protocol < OLDEST {
        return Err(ImageError::Unsupported(format!(
            "Linux boot protocol {}.{:02}, older than 2.02",
            protocol >> 8,
            protocol & 0xff
        )));
    }
    match u8_at(bytes, 0x211) {
        Some(flags) if flags & LOADED_HIGH != 0 => Ok(()),
        _ => Err(ImageError::Unsupported("a zImage: a kernel that loads below 1 MiB".into())),
    }
}

fn setup_header(bytes: &[u8]) -> Result<&[u8], ImageError> {
    // The jump instruction at 0x200 spans the header: its displacement is the header's length.
    let end = HEADER_MAGIC + u64::from(u8_at(bytes, 0x201).unwrap_or(0));
    let len = end.min(SETUP_HEADER_END) - SETUP_HEADER;
    part(bytes, SETUP_HEADER, len, "the setup header")
}

fn protected_mode(bytes: &[u8]) -> Result<&[u8], ImageError> {
    // boot.rst: "If this field contains 0, the real value is 4."
    let setup_sectors = match u8_at(bytes, SETUP_HEADER) {
        Some(0) | None => 4,
        Some(sectors) => u64::from(sectors),
    };
    let start = (setup_sectors + 1) * SECTOR;
    let len = u64::from(u32_at(bytes, 0x1f4).unwrap_or(0)) * 16;
    if len == 0 {
        return Err(ImageError::Malformed("a bzImage without protected-mode code".into()));
    }
    part(bytes, start, len, "the protected-mode kernel")
}

fn payload<'a>(bytes: &[u8], protected_mode: &'a [u8]) -> Result<Option<&'a [u8]>, ImageError> {
    let offset = u64::from(u32_at(bytes, 0x248).unwrap_or(0));
    let len = u64::from(u32_at(bytes, 0x24c).unwrap_or(0));
    if len == 0 {
        return Ok(None);
    }
    match slice(protected_mode, offset, len) {
        Some(payload) => Ok(Some(payload)),
        None => Err(ImageError::Malformed(format!(
            "its payload, {len} bytes at {offset:#x}, is not within the protected-mode kernel"
        ))),
    }
}
