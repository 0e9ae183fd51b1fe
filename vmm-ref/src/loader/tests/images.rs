// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Writers of synthetic kernels.

use std::io::Write;

/// Writes little-endian fields at fixed offsets.
pub struct Fields(pub Vec<u8>);

impl Fields {
    pub fn new(size: usize) -> Self {
        Fields(vec![0; size])
    }

    pub fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn u16(self, at: usize, value: u16) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }

    pub fn u32(self, at: usize, value: u32) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }

    pub fn u64(self, at: usize, value: u64) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }
}

pub const PT_LOAD: u32 = 1;
pub const PT_NOTE: u32 = 4;

/// A program header and its bytes.
pub struct Part {
    pub kind: u32,
    pub physical: u64,
    pub virtual_address: u64,
    pub bytes: Vec<u8>,
    pub memory_size: u64,
}

impl Part {
    pub fn load(physical: u64, bytes: &[u8], memory_size: u64) -> Self {
        let bytes = bytes.to_vec();
        Part { kind: PT_LOAD, physical, virtual_address: physical, bytes, memory_size }
    }

    pub fn note(bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Part { kind: PT_NOTE, physical: 0, virtual_address: 0, bytes, memory_size: 0 }
    }
}

/// A note with padded name and descriptor.
pub fn note(name: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let mut note = (name.len() as u32).to_le_bytes().to_vec();
    note.extend_from_slice(&(descriptor.len() as u32).to_le_bytes());
    note.extend_from_slice(&kind.to_le_bytes());
    note.extend_from_slice(&padded(name));
    note.extend_from_slice(&padded(descriptor));
    note
}

pub fn pvh_note(entry: u32) -> Part {
    let mut notes = note(b"Linux\0", 1, &[9; 5]);
    notes.extend_from_slice(&note(b"Xen\0", 18, &entry.to_le_bytes()));
    Part::note(&notes)
}

pub fn elf64(entry: u64, parts: &[Part]) -> Vec<u8> {
    let mut file = Fields::new(64 + 56 * parts.len())
        .bytes(0, b"\x7fELF\x02\x01\x01")
        .u16(16, 2)
        .u16(18, 62)
        .u64(24, entry)
        .u64(32, 64)
        .u16(54, 56)
        .u16(56, parts.len() as u16);
    for (index, part) in parts.iter().enumerate() {
        let (at, offset) = (64 + 56 * index, file.0.len() as u64);
        file = file
            .u32(at, part.kind)
            .u64(at + 8, offset)
            .u64(at + 16, part.virtual_address)
            .u64(at + 24, part.physical)
            .u64(at + 32, part.bytes.len() as u64)
            .u64(at + 40, part.memory_size);
        file.0.extend_from_slice(&part.bytes);
    }
    file.0
}

pub fn elf32(entry: u32, parts: &[Part]) -> Vec<u8> {
    let mut file = Fields::new(52 + 32 * parts.len())
        .bytes(0, b"\x7fELF\x01\x01\x01")
        .u16(16, 2)
        .u16(18, 3)
        .u32(24, entry)
        .u32(28, 52)
        .u16(42, 32)
        .u16(44, parts.len() as u16);
    for (index, part) in parts.iter().enumerate() {
        let (at, offset) = (52 + 32 * index, file.0.len() as u32);
        file = file
            .u32(at, part.kind)
            .u32(at + 4, offset)
            .u32(at + 8, part.virtual_address as u32)
            .u32(at + 12, part.physical as u32)
            .u32(at + 16, part.bytes.len() as u32)
            .u32(at + 20, part.memory_size as u32);
        file.0.extend_from_slice(&part.bytes);
    }
    file.0
}

/// A vmlinux with some text that repeats, so that it compresses, and bss.
pub fn vmlinux() -> Vec<u8> {
    let text: Vec<u8> = (0..40_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    elf64(0x100_0000, &[Part::load(0x100_0000, &text, 0x10_0000)])
}

/// A bzImage; every field has the value that a current kernel would give it.
pub struct Bz {
    pub version: u16,
    pub xloadflags: u16,
    pub payload: Vec<u8>,
    pub init_size: u32,
    pub cmdline_size: u32,
    pub initrd_addr_max: u32,
    pub relocatable: u8,
}

impl Default for Bz {
    fn default() -> Self {
        Bz {
            version: 0x20f,
            xloadflags: 1,
            payload: gzip(&vmlinux()),
            init_size: 0x20_0000,
            cmdline_size: 2047,
            initrd_addr_max: 0x7fff_ffff,
            relocatable: 1,
        }
    }
}

/// Bytes of decompressor code before the payload.
pub const STUB: usize = 0x400;
pub const SETUP_SECTORS: usize = 3;

impl Bz {
    pub fn with_payload(payload: Vec<u8>) -> Self {
        Bz { payload, ..Bz::default() }
    }

    pub fn image(&self) -> Vec<u8> {
        let mut code = vec![0xcc; STUB];
        code.extend_from_slice(&self.payload);
        code.resize(code.len().next_multiple_of(16), 0);
        let mut image = Fields::new(512 * (SETUP_SECTORS + 1))
            .bytes(0x1f1, &[SETUP_SECTORS as u8])
            .u32(0x1f4, (code.len() / 16) as u32)
            .u16(0x1fe, 0xaa55)
            .bytes(0x200, &[0xeb, 0x6a])
            .bytes(0x202, b"HdrS")
            .u16(0x206, self.version)
            .bytes(0x211, &[1])
            .u32(0x22c, self.initrd_addr_max)
            .u32(0x230, 0x20_0000)
            .bytes(0x234, &[self.relocatable])
            .u16(0x236, self.xloadflags)
            .u32(0x238, self.cmdline_size)
            .u32(0x248, STUB as u32)
            .u32(0x24c, self.payload.len() as u32)
            .u64(0x258, 0x100_0000)
            .u32(0x260, self.init_size)
            .0;
        image.extend_from_slice(&code);
        image
    }
}

/// Appends the unpacked size, as the kernel's `size_append` does.
pub fn with_size(mut packed: Vec<u8>, unpacked: &[u8]) -> Vec<u8> {
    packed.extend_from_slice(&(unpacked.len() as u32).to_le_bytes());
    packed
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn lz4(bytes: &[u8], block: usize) -> Vec<u8> {
    let mut packed = 0x184c_2102u32.to_le_bytes().to_vec();
    for chunk in bytes.chunks(block) {
        let chunk = lz4_flex::block::compress(chunk);
        packed.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        packed.extend_from_slice(&chunk);
    }
    with_size(packed, bytes)
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    use ruzstd::encoding::{compress_to_vec, CompressionLevel};
    with_size(compress_to_vec(bytes, CompressionLevel::Fastest), bytes)
}

/// With the filter that `scripts/xz_wrap.sh` asks for.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    use lzma_rust2::{CheckType, FilterType, XzOptions, XzWriter};
    let mut options = XzOptions::with_preset(0);
    options.set_check_sum_type(CheckType::Crc32);
    options.prepend_pre_filter(FilterType::BcjX86, 0);
    let mut writer = XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(bytes).unwrap();
    with_size(writer.finish().unwrap(), bytes)
}

/// A Multiboot header.
pub fn multiboot_header(flags: u32, addresses: &[u32]) -> Vec<u8> {
    let magic = 0x1bad_b002u32;
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    let fields = [magic, flags, checksum];
    fields.iter().chain(addresses).flat_map(|field| field.to_le_bytes()).collect()
}
