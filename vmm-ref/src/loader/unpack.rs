// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Unpacks a bzImage's payload on the host, so that the guest need not.
//!
//! The formats are those of Linux's `arch/x86/boot/compressed/Makefile` that have a well-kept
//! decoder here. The payload ends with the unpacked size in 4 bytes, little-endian (for gzip they
//! are the stream's own trailer). Output never exceeds the limit and is never allocated ahead of
//! the data that fills it, whatever the headers promise.

use std::fmt;
use std::io::Read;

use super::bytes::{slice, u32_at, u64_at, u8_at};
use super::ImageError;

/// How a bzImage's payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadFormat {
    /// gzip (RFC 1952).
    Gzip,
    /// LZ4 "legacy frame": blocks of up to 8 MiB.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
    /// xz with the x86 branch filter.
    Xz,
    /// Not compressed: an ELF file.
    Uncompressed,
    /// Something else (bzip2, LZMA, LZO): the kernel unpacks itself.
    Other,
}

impl fmt::Display for PayloadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PayloadFormat::Gzip => "gzip",
            PayloadFormat::Lz4 => "LZ4",
            PayloadFormat::Zstd => "zstd",
            PayloadFormat::Xz => "xz",
            PayloadFormat::Uncompressed => "uncompressed",
            PayloadFormat::Other => "unknown",
        })
    }
}

const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// The block size of the LZ4 legacy frame, in bytes.
const LZ4_BLOCK: usize = 8 << 20;
/// The largest window that `zstd --ultra -22` uses without being asked for more.
const ZSTD_WINDOW_MAX: u64 = 128 << 20;
/// The kernel's xz dictionary is 32 MiB at most (`scripts/xz_wrap.sh`); leave room for overhead.
const XZ_MEMORY_KIB: u32 = 128 << 10;
const TRAILER: usize = 4;

impl PayloadFormat {
    /// Recognises a payload by its magic number.
    pub fn of(payload: &[u8]) -> Self {
        match payload {
            [0x1f, 0x8b, ..] => PayloadFormat::Gzip,
            [0x02, 0x21, 0x4c, 0x18, ..] => PayloadFormat::Lz4,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => PayloadFormat::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => PayloadFormat::Xz,
            [0x7f, b'E', b'L', b'F', ..] => PayloadFormat::Uncompressed,
            _ => PayloadFormat::Other,
        }
    }
}

/// Unpacks `payload` to at most `limit` bytes. Nothing for a format that only the kernel's own
/// decompressor knows.
pub fn unpack(payload: &[u8], limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let format = PayloadFormat::of(payload);
    if format == PayloadFormat::Other {
        return Ok(None);
    }
    let failed = |reason: String| ImageError::Payload { format, reason };
    let declared = match format {
        PayloadFormat::Uncompressed => Some(payload.len() as u64),
        _ => declared_size(payload),
    };
    if declared.is_some_and(|size| size > limit) {
        return Err(ImageError::PayloadTooLarge { format, limit });
    }
    let limit = declared.unwrap_or(limit);
    let body = &payload[..payload.len().saturating_sub(TRAILER)];
    let unpacked = match format {
        PayloadFormat::Uncompressed | PayloadFormat::Other => Ok(payload.to_vec()),
        PayloadFormat::Gzip => read_all(flate2::read::GzDecoder::new(payload), limit),
        PayloadFormat::Lz4 => lz4(body, limit),
        PayloadFormat::Zstd => zstd(body, limit),
        PayloadFormat::Xz => xz(body, limit),
    }
    .map_err(failed)?;
    match declared {
        Some(size) if size != unpacked.len() as u64 => {
            Err(failed(format!("it has {} bytes where its trailer says {size}", unpacked.len())))
        }
        _ => Ok(Some(unpacked)),
    }
}

fn declared_size(payload: &[u8]) -> Option<u64> {
    let at = payload.len().checked_sub(TRAILER)?;
    u32_at(payload, at as u64).map(u64::from)
}

/// Reads to the end. One byte beyond the limit is an error.
fn read_all(reader: impl Read, limit: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut out).map_err(|e| e.to_string())?;
    if out.len() as u64 > limit {
        return Err(format!("it has more than the {limit} bytes that its trailer says"));
    }
    Ok(out)
}

/// `lib/decompress_unlz4.c`: the magic, then blocks, each with its packed size in 4 bytes; the
/// magic may come again between blocks.
fn lz4(payload: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    // No block can be larger than the whole.
    let mut block = vec![0; LZ4_BLOCK.min(usize::try_from(limit).unwrap_or(LZ4_BLOCK))];
    let mut rest = payload;
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        rest = tail;
        if *head == LZ4_LEGACY {
            continue;
        }
        let size = u32::from_le_bytes(*head) as usize;
        let packed = rest.get(..size).ok_or("a block ends beyond the payload")?;
        let len =
            lz4_flex::block::decompress_into(packed, &mut block).map_err(|e| e.to_string())?;
        if out.len() as u64 + len as u64 > limit {
            return Err(format!("it has more than the {limit} bytes that its trailer says"));
        }
        out.extend_from_slice(&block[..len]);
        rest = &rest[size..];
    }
    Ok(out)
}

fn zstd(payload: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    // The decoder reserves the window that the header asks for, up to terabytes: look first.
    let window = zstd_window(payload).ok_or("its frame header is truncated")?;
    if window > ZSTD_WINDOW_MAX.max(limit) {
        return Err(format!("it needs a window of {window} bytes"));
    }
    let decoder = ruzstd::decoding::StreamingDecoder::new(payload).map_err(|e| e.to_string())?;
    read_all(decoder, limit)
}

/// The window size in bytes of a zstd frame: RFC 8878, 3.1.1.1 "Frame_Header".
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let descriptor = u8_at(frame, 4)?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let window = u8_at(frame, 5)?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // No window descriptor: the window is the content, whose size follows the dictionary id.
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
    match descriptor >> 6 {
        0 => u8_at(frame, at).map(u64::from),
        1 => slice(frame, at, 2).map(|b| 256 + u64::from(u16::from_le_bytes([b[0], b[1]]))),
        2 => u32_at(frame, at).map(u64::from),
        _ => u64_at(frame, at),
    }
}

fn xz(payload: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    read_all(lzma_rust2::XzReader::new_mem_limit(payload, false, XZ_MEMORY_KIB), limit)
}
