// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One small valid kernel of each kind, for the loader target to damage.

use std::io::Write;
use std::sync::LazyLock;

/// Where the kernels are linked to: 2 MiB.
const LOAD: u32 = 0x20_0000;

/// The valid kernels.
pub static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let kernel = vmlinux(&[]);
    vec![
        bzimage(&gzip(&kernel)),
        bzimage(&lz4(&kernel)),
        bzimage(&zstd(&kernel)),
        bzimage(&xz(&kernel)),
        bzimage(b"a payload that only the guest can unpack"),
        kernel,
        vmlinux(&pvh_note()),
        multiboot_elf(),
        multiboot_flat(),
        bzimage(&vmlinux(&[])),
    ]
});

/// Writes `bytes` at `at`.
fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A 64-bit ELF file with one segment, and the notes if there are any.
fn vmlinux(notes: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = (0..500u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
    let headers = 1 + u16::from(!notes.is_empty());
    let mut file = vec![0; 64 + 56 * usize::from(headers)];
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &2u16.to_le_bytes());
    put(&mut file, 18, &62u16.to_le_bytes());
    put(&mut file, 24, &u64::from(LOAD).to_le_bytes());
    put(&mut file, 32, &64u64.to_le_bytes());
    put(&mut file, 54, &56u16.to_le_bytes());
    put(&mut file, 56, &headers.to_le_bytes());
    segment64(&mut file, 64, 1, &text, 0x2000);
    if !notes.is_empty() {
        segment64(&mut file, 64 + 56, 4, notes, 0);
    }
    file
}

fn segment64(file: &mut Vec<u8>, at: usize, kind: u32, bytes: &[u8], memory: u64) {
    let (address, len) = (u64::from(LOAD), bytes.len() as u64);
    let fields = [file.len() as u64, address, address, len, memory.max(len)];
    put(file, at, &kind.to_le_bytes());
    for (field, n) in fields.iter().zip(1..) {
        put(file, at + 8 * n, &field.to_le_bytes());
    }
    file.extend_from_slice(bytes);
}

/// `XEN_ELFNOTE_PHYS32_ENTRY`.
fn pvh_note() -> Vec<u8> {
    [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), LOAD].iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn multiboot_header(flags: u32, addresses: &[u32]) -> Vec<u8> {
    let magic = 0x1bad_b002u32;
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    [magic, flags, checksum].iter().chain(addresses).flat_map(|n| n.to_le_bytes()).collect()
}

/// A 32-bit ELF file with a Multiboot header in its segment.
fn multiboot_elf() -> Vec<u8> {
    let text = multiboot_header(3, &[]);
    let mut file = vec![0; 52 + 32];
    put(&mut file, 0, b"\x7fELF\x01\x01\x01");
    put(&mut file, 16, &2u16.to_le_bytes());
    put(&mut file, 18, &3u16.to_le_bytes());
    put(&mut file, 24, &LOAD.to_le_bytes());
    put(&mut file, 28, &52u32.to_le_bytes());
    put(&mut file, 42, &32u16.to_le_bytes());
    put(&mut file, 44, &1u16.to_le_bytes());
    let fields = [1, 84, LOAD, LOAD, text.len() as u32, 0x1000];
    for (field, n) in fields.iter().zip(0..) {
        put(&mut file, 52 + 4 * n, &field.to_le_bytes());
    }
    file.extend_from_slice(&text);
    file
}

/// Anything with load addresses.
fn multiboot_flat() -> Vec<u8> {
    multiboot_header(1 << 16, &[LOAD, LOAD, 0, LOAD + 0x1000, LOAD + 0x20])
}

/// A bzImage of protocol 2.15.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    const STUB: usize = 0x400;
    let mut code = vec![0xcc; STUB];
    code.extend_from_slice(payload);
    code.resize(code.len().next_multiple_of(16), 0);
    let mut image = vec![0; 512 * 4];
    put(&mut image, 0x1f1, &[3]);
    put(&mut image, 0x1f4, &(code.len() as u32 / 16).to_le_bytes());
    put(&mut image, 0x1fe, &0xaa55u16.to_le_bytes());
    put(&mut image, 0x200, b"\xeb\x6aHdrS");
    put(&mut image, 0x206, &0x20fu16.to_le_bytes());
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(&mut image, 0x230, &LOAD.to_le_bytes());
    put(&mut image, 0x234, &[1]);
    put(&mut image, 0x236, &1u16.to_le_bytes());
    put(&mut image, 0x238, &2047u32.to_le_bytes());
    put(&mut image, 0x248, &(STUB as u32).to_le_bytes());
    put(&mut image, 0x24c, &(payload.len() as u32).to_le_bytes());
    put(&mut image, 0x258, &u64::from(LOAD).to_le_bytes());
    put(&mut image, 0x260, &0x8_0000u32.to_le_bytes());
    image.extend_from_slice(&code);
    image
}

/// The kernel's build appends the unpacked size to formats that do not hold it.
fn with_size(mut packed: Vec<u8>, unpacked: &[u8]) -> Vec<u8> {
    packed.extend_from_slice(&(unpacked.len() as u32).to_le_bytes());
    packed
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut packed = 0x184c_2102u32.to_le_bytes().to_vec();
    for chunk in bytes.chunks(600) {
        let chunk = lz4_flex::block::compress(chunk);
        packed.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        packed.extend_from_slice(&chunk);
    }
    with_size(packed, bytes)
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    use ruzstd::encoding::{compress_to_vec, CompressionLevel};
    with_size(compress_to_vec(bytes, CompressionLevel::Fastest), bytes)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    use lzma_rust2::{CheckType, FilterType, XzOptions, XzWriter};
    let mut options = XzOptions::with_preset(0);
    options.set_check_sum_type(CheckType::Crc32);
    options.prepend_pre_filter(FilterType::BcjX86, 0);
    let mut writer = XzWriter::new(Vec::new(), options).expect("options");
    writer.write_all(bytes).expect("a vector takes all");
    with_size(writer.finish().expect("a vector takes all"), bytes)
}
