// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can be wrong with a kernel, an initramfs or the room for them.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vm_memory::GuestMemoryError;

use super::PayloadFormat;

/// Why a guest could not be loaded. Names the file; the source says what is wrong with it.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read the {what} '{}'", path.display())]
    Read {
        /// What the file was to be: "kernel" or "initramfs".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is larger than any guest could hold.
    #[error("the {what} '{}' is larger than {limit} bytes, the most this guest can take", path.display())]
    FileTooLarge {
        /// What the file was to be: "kernel" or "initramfs".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The kernel is not usable, or something it needs does not fit.
    #[error("cannot load the kernel '{}'", path.display())]
    Kernel {
        /// The kernel's file.
        path: PathBuf,
        /// What is wrong.
        source: ImageError,
    },
    /// The initramfs does not fit.
    #[error("cannot load the initramfs '{}'", path.display())]
    Initramfs {
        /// The initramfs's file.
        path: PathBuf,
        /// What is wrong.
        source: ImageError,
    },
}

/// What is wrong with an image or with the room for it.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file ends too early.
    #[error("the file is truncated: {what} ends at byte {needs}, the file at byte {has}")]
    Truncated {
        /// The part that is not complete.
        what: &'static str,
        /// Where it ends, in bytes from the start of the file.
        needs: u64,
        /// The file's length in bytes.
        has: u64,
    },
    /// No known format.
    #[error("unknown format: neither a bzImage nor an ELF nor a Multiboot kernel")]
    UnknownFormat,
    /// A known format, in a form that this machine does not start.
    #[error("unsupported image: {0}")]
    Unsupported(String),
    /// The headers contradict themselves.
    #[error("malformed image: {0}")]
    Malformed(String),
    /// The compressed kernel inside a bzImage does not unpack.
    #[error("its {format} payload does not unpack: {reason}")]
    Payload {
        /// How the payload is compressed.
        format: PayloadFormat,
        /// The decoder's reason.
        reason: String,
    },
    /// The compressed kernel unpacks to more than the guest's memory.
    #[error("its {format} payload unpacks to more than {limit} bytes, the memory of this guest")]
    PayloadTooLarge {
        /// How the payload is compressed.
        format: PayloadFormat,
        /// The limit in bytes.
        limit: u64,
    },
    /// Something would lie outside RAM.
    #[error("{what} at {start:#x}..{end:#x} lies outside of the guest's RAM")]
    OutsideRam {
        /// What it is.
        what: &'static str,
        /// First guest-physical address.
        start: u64,
        /// Address after the last one.
        end: u64,
    },
    /// Two things would lie in the same place.
    #[error("{what} at {start:#x}..{end:#x} overlaps {other}")]
    Overlap {
        /// What it is.
        what: &'static str,
        /// First guest-physical address.
        start: u64,
        /// Address after the last one.
        end: u64,
        /// What is there already.
        other: &'static str,
    },
    /// No free range of RAM is large enough.
    #[error("no room for {size} bytes: the largest free range of RAM for {what} has {room} bytes; give the guest more memory")]
    NoRoom {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The largest free range in bytes.
        room: u64,
    },
    /// The command line does not fit.
    #[error("the command line has {len} bytes, this kernel takes at most {max}")]
    CmdlineTooLong {
        /// Its length in bytes.
        len: u64,
        /// The most this kernel takes, in bytes.
        max: u64,
    },
    /// The command line cannot be passed as a C string.
    #[error("the command line contains a NUL byte")]
    CmdlineNul,
    /// The guest has no memory, or too many separate pieces of it to describe.
    #[error("the guest's memory cannot be described: {0}")]
    MemoryMap(&'static str),
    /// Guest memory refused a write that was checked before: a fault of the VMM.
    #[error("cannot write guest memory")]
    Memory(#[from] GuestMemoryError),
}
