// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Initramfs archives: cpio's "newc" format, as the kernel unpacks it.
//!
//! Format: Linux Documentation/driver-api/early-userspace/buffer-format.rst,
//! "initramfs buffer format": a 110-byte ASCII header of hexadecimal fields, the name with its
//! NUL padded to 4 bytes, the data padded to 4 bytes; a `TRAILER!!!` entry ends it.

use std::io;

/// File type bits of an inode's mode (inode(7)).
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFCHR: u32 = 0o020_000;

/// Collects entries of an archive in memory.
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// An archive without entries.
    pub fn new() -> Self {
        Self { bytes: Vec::new(), inode: 0 }
    }

    /// Adds a directory; its parents have to come first.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, S_IFDIR | 0o755, (0, 0), &[])
    }

    /// Adds a regular file with permission bits `mode`.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.entry(path, S_IFREG | (mode & 0o7777), (0, 0), data)
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(path, S_IFCHR | 0o600, (major, minor), &[])
    }

    /// Ends the archive and returns its bytes, whose length is a multiple of four.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        self.inode = 0;
        self.header("TRAILER!!!", 0, (0, 0), 0)?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let length = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{path} is too large for an initramfs")))?;
        self.header(path.trim_start_matches('/'), mode, device, length)?;
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn header(&mut self, name: &str, mode: u32, device: (u32, u32), size: u32) -> io::Result<()> {
        if name.is_empty() || name.contains('\0') {
            return Err(io::Error::other(format!("{name:?} cannot be a name in an initramfs")));
        }
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // ino, mode, uid, gid, nlink, mtime, filesize, major, minor, rmajor, rminor, namesize, chksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (name, mode, data), read back the way the kernel does it.
    fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&archive[6 + n * 8..14 + n * 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(archive[110..110 + name_size - 1].to_vec()).unwrap();
            assert_eq!(archive[110 + name_size - 1], 0);
            let start = (110 + name_size).next_multiple_of(4);
            let data = archive[start..start + size].to_vec();
            archive = &archive[(start + size).next_multiple_of(4)..];
            if name == "TRAILER!!!" {
                assert!(archive.is_empty());
                return entries;
            }
            entries.push((name, mode, data));
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut archive = Archive::new();
        archive.directory("/dev").unwrap();
        archive.device("dev/console", 5, 1).unwrap();
        archive.file("init", 0o755, b"#!/bin/sh\n").unwrap();
        archive.file("empty", 0o644, b"").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(
            entries(&bytes),
            [
                ("dev".into(), 0o040_755, vec![]),
                ("dev/console".into(), 0o020_600, vec![]),
                ("init".into(), 0o100_755, b"#!/bin/sh\n".to_vec()),
                ("empty".into(), 0o100_644, vec![]),
            ]
        );
    }

    #[test]
    fn device_numbers_are_in_rmajor_and_rminor() {
        let mut archive = Archive::new();
        archive.device("tty", 0x5, 0x41).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(&bytes[6 + 9 * 8..6 + 11 * 8], b"0000000500000041");
    }

    #[test]
    fn names_the_format_cannot_hold_are_refused() {
        assert!(Archive::new().file("/", 0o644, b"").is_err());
        assert!(Archive::new().file("a\0b", 0o644, b"").is_err());
    }
}
