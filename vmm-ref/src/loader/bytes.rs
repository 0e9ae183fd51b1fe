// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Checked little-endian reads from a file that nobody has vouched for.

use super::ImageError;

/// The bytes `offset..offset + len`, or nothing if they are not all there.
pub(super) fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(start..end)
}

/// Like [`slice`], with an error that names what is missing.
pub(super) fn part<'a>(
    bytes: &'a [u8],
    offset: u64,
    len: u64,
    what: &'static str,
) -> Result<&'a [u8], ImageError> {
    slice(bytes, offset, len).ok_or(ImageError::Truncated {
        what,
        needs: offset.saturating_add(len),
        has: bytes.len() as u64,
    })
}

fn array<const N: usize>(bytes: &[u8], offset: u64) -> Option<[u8; N]> {
    slice(bytes, offset, N as u64)?.try_into().ok()
}

pub(super) fn u8_at(bytes: &[u8], offset: u64) -> Option<u8> {
    array::<1>(bytes, offset).map(|[byte]| byte)
}

pub(super) fn u16_at(bytes: &[u8], offset: u64) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], offset: u64) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], offset: u64) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}
