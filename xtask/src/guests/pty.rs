// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A program on a terminal of its own, the way a person runs it.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The side of a terminal from which a person types and reads.
pub struct Pty {
    master: File,
    slave: OwnedFd,
}

impl Pty {
    /// A new terminal; reads and writes of the master side do not block.
    pub fn open() -> io::Result<Self> {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: posix_openpt has no memory arguments.
        let master = owned(unsafe { libc::posix_openpt(flags) })?;
        let master = File::from(master);
        let raw = std::os::fd::AsRawFd::as_raw_fd(&master);
        // SAFETY: unlockpt works on a descriptor that `master` keeps open.
        if unsafe { libc::unlockpt(raw) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let peer_flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: TIOCGPTPEER takes flags by value and returns a new descriptor.
        let slave = owned(unsafe { libc::ioctl(raw, libc::TIOCGPTPEER, peer_flags) })?;
        Ok(Self { master, slave })
    }

    /// Starts a program whose standard input and output are the terminal, which also controls
    /// it; returns the program and the master side.
    pub fn spawn(self, command: &mut Command) -> io::Result<(Child, File)> {
        command.stdin(Stdio::from(self.slave.try_clone()?)).stdout(Stdio::from(self.slave));
        // SAFETY: setsid and ioctl are async-signal-safe and have no memory arguments.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn()?;
        // The command holds copies of the slave side; without them the master sees the end.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok((child, self.master))
    }
}

fn owned(raw: libc::c_int) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call that returned `raw` just opened it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
