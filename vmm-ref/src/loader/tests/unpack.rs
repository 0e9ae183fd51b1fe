// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Payload formats.

use super::images::{gzip, lz4, vmlinux, with_size, xz, zstd};
use crate::loader::{unpack, ImageError, PayloadFormat};

const ROOM: u64 = 1 << 30;

#[test]
fn every_format_unpacks_to_what_was_packed() {
    let kernel = vmlinux();
    let payloads = [
        (PayloadFormat::Gzip, gzip(&kernel)),
        (PayloadFormat::Lz4, lz4(&kernel, 8 << 20)),
        (PayloadFormat::Lz4, lz4(&kernel, 10_000)),
        (PayloadFormat::Zstd, zstd(&kernel)),
        (PayloadFormat::Xz, xz(&kernel)),
        (PayloadFormat::Uncompressed, kernel.clone()),
    ];
    for (format, payload) in payloads {
        assert_eq!(PayloadFormat::of(&payload), format);
        let unpacked = unpack(&payload, ROOM).unwrap().unwrap();
        assert!(unpacked == kernel, "{format}");
    }
}

#[test]
fn xz_undoes_the_x86_branch_filter() {
    // Calls to one place from many: the filter turns them into the same bytes, so that undoing
    // it wrongly would show.
    let mut code = Vec::new();
    for n in 0..2000u32 {
        code.push(0xe8);
        code.extend_from_slice(&(0x1_0000u32.wrapping_sub(n * 5)).to_le_bytes());
    }
    assert!(unpack(&xz(&code), ROOM).unwrap().unwrap() == code);
}

#[test]
fn lz4_frames_may_follow_each_other() {
    let mut two = lz4(b"first half, ", 100);
    two.truncate(two.len() - 4);
    two.extend_from_slice(&lz4(b"second half", 100));
    two.truncate(two.len() - 4);
    let both = b"first half, second half";
    assert_eq!(unpack(&with_size(two, both), ROOM).unwrap().unwrap(), both);
}

#[test]
fn a_foreign_format_is_left_to_the_kernel() {
    assert_eq!(unpack(b"BZh91AY&SY....", ROOM).unwrap(), None);
    assert_eq!(unpack(b"", ROOM).unwrap(), None);
}

#[test]
fn an_unpacked_size_beyond_memory_is_refused_before_unpacking() {
    let kernel = vmlinux();
    let packed = [gzip(&kernel), lz4(&kernel, 8 << 20), zstd(&kernel), xz(&kernel), kernel.clone()];
    for payload in packed {
        let limit = kernel.len() as u64 - 1;
        let error = unpack(&payload, limit).unwrap_err();
        assert!(matches!(error, ImageError::PayloadTooLarge { limit: l, .. } if l == limit));
    }
}

#[test]
fn a_wrong_unpacked_size_is_an_error_whichever_way_it_is_wrong() {
    for mut payload in [lz4(&vmlinux(), 9999), zstd(&vmlinux()), xz(&vmlinux()), gzip(&vmlinux())] {
        let at = payload.len() - 4;
        for wrong in [vmlinux().len() as u32 - 1, vmlinux().len() as u32 + 1, 0] {
            payload[at..].copy_from_slice(&wrong.to_le_bytes());
            assert!(matches!(unpack(&payload, ROOM), Err(ImageError::Payload { .. })));
        }
    }
}

#[test]
fn a_truncated_payload_is_an_error() {
    for payload in [lz4(&vmlinux(), 8 << 20), zstd(&vmlinux()), xz(&vmlinux()), gzip(&vmlinux())] {
        let (head, size) = (&payload[..payload.len() / 2], &payload[payload.len() - 4..]);
        let error = unpack(&[head, size].concat(), ROOM).unwrap_err();
        assert!(matches!(error, ImageError::Payload { .. }), "{error}");
    }
}

#[test]
fn a_zstd_window_of_terabytes_is_refused_before_it_is_reserved() {
    let frame = |descriptor: u8, rest: &[u8]| {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, descriptor];
        frame.extend_from_slice(rest);
        with_size(frame, &[0; 100])
    };
    // Window_Descriptor 0xff; a single segment of 2^40 bytes.
    for hostile in [frame(0, &[0xff, 0, 0, 0]), frame(0xe0, &(1u64 << 40).to_le_bytes())] {
        let error = unpack(&hostile, ROOM).unwrap_err().to_string();
        assert!(error.contains("window of "), "{error}");
    }
}

#[test]
fn an_xz_dictionary_of_gigabytes_is_refused() {
    use lzma_rust2::{LzmaOptions, XzOptions, XzWriter};
    let mut lzma = LzmaOptions::with_preset(0);
    lzma.dict_size = 1 << 20;
    let options = XzOptions { lzma_options: lzma, ..XzOptions::with_preset(0) };
    let writer = XzWriter::new(Vec::new(), options).unwrap();
    let mut stream = writer.finish().unwrap();
    // Stream header (12 bytes), then a block header that asks for 4 GiB - 1: size 8, no optional
    // sizes, LZMA2 with a property of 1 byte, its CRC-32.
    stream.truncate(12);
    let header = [0x02, 0x00, 0x21, 0x01, 40, 0, 0, 0];
    stream.extend_from_slice(&header);
    stream.extend_from_slice(&crc32(&header).to_le_bytes());
    let error = unpack(&with_size(stream, &[0; 100]), ROOM).unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
