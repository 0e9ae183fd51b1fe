// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The terminal that the guest's serial port is on: raw while the machine runs, and as it was
//! before on every way out.
//!
//! The ways out are: the [`RawMode`] guard's drop, [`std::process::exit`], a panic in any thread,
//! SIGINT, SIGTERM, SIGHUP and SIGQUIT ([`on_termination`]), and the signals of a crash. Only SIGKILL
//! leaves a raw terminal behind.

mod input;
mod signals;
#[cfg(test)]
mod tests;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::Once;

use libc::termios;

pub use input::{InputFilter, Quit, Requests, HELP};
pub use signals::{on_termination, received};

/// The terminal is in raw mode as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it restores the terminal"]
pub struct RawMode(());

/// What to restore. It is read by signal handlers, so it is never freed.
struct Saved {
    fd: OwnedFd,
    mode: termios,
}

/// The terminal to restore; null when there is none.
static SAVED: AtomicPtr<Saved> = AtomicPtr::new(null_mut());

impl RawMode {
    /// Puts `input` into raw mode: each key comes at once, without echo, and no key is a signal.
    /// Output is still post-processed, so that a line feed of our own messages starts a new line.
    ///
    /// `None` if `input` is no terminal, or one that another process group has in the foreground:
    /// a job in the background must leave it alone.
    ///
    /// # Errors
    /// The system's, or `AlreadyExists` while another guard lives.
    pub fn enter(input: impl AsFd) -> io::Result<Option<Self>> {
        let fd = input.as_fd();
        let Some(mode) = mode(fd.as_raw_fd()) else { return Ok(None) };
        if !in_foreground(fd.as_raw_fd()) {
            return Ok(None);
        }
        // A duplicate of our own: whoever closes standard input can't break the way back.
        let saved = Box::into_raw(Box::new(Saved { fd: fd.try_clone_to_owned()?, mode }));
        let previous =
            SAVED.compare_exchange(null_mut(), saved, Ordering::SeqCst, Ordering::SeqCst);
        if previous.is_err() {
            // SAFETY: the pointer is the box's, and nobody else has it.
            drop(unsafe { Box::from_raw(saved) });
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // From here on every way out restores, also the errors below.
        let guard = Self(());
        restore_on_every_way_out()?;
        set_mode(fd.as_raw_fd(), &raw(mode))?;
        Ok(Some(guard))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Brings the terminal back to the mode before [`RawMode::enter`]. Does nothing the second time.
/// Safe in a signal handler.
pub fn restore() {
    let saved = SAVED.swap(null_mut(), Ordering::SeqCst);
    // SAFETY: the pointer is null or from `Box::into_raw` in `enter`, and is never freed.
    if let Some(saved) = unsafe { saved.as_ref() } {
        // A shell has restored its own mode when it took the foreground back.
        if in_foreground(saved.fd.as_raw_fd()) {
            let _ = set_mode(saved.fd.as_raw_fd(), &saved.mode);
        }
    }
}

fn restore_on_every_way_out() -> io::Result<()> {
    extern "C" fn at_exit() {
        restore();
    }
    static HOOKS: Once = Once::new();
    HOOKS.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            previous(info);
        }));
        // SAFETY: `at_exit` is a function without arguments that does not unwind. Without room for
        // another handler the guard's drop still restores.
        let _ = unsafe { libc::atexit(at_exit) };
    });
    signals::on_fatal()
}

/// The mode of a terminal; `None` for anything else.
fn mode(fd: RawFd) -> Option<termios> {
    let mut mode = MaybeUninit::uninit();
    // SAFETY: the call fills `mode` in or fails.
    let result = unsafe { libc::tcgetattr(fd, mode.as_mut_ptr()) };
    // SAFETY: it was filled in if the call succeeded.
    (result == 0).then(|| unsafe { mode.assume_init() })
}

fn set_mode(fd: RawFd, mode: &termios) -> io::Result<()> {
    // SAFETY: `mode` is a valid termios, which the call only reads.
    match unsafe { libc::tcsetattr(fd, libc::TCSANOW, mode) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The raw form of `mode`.
fn raw(mut mode: termios) -> termios {
    // SAFETY: the call changes fields of a valid termios.
    unsafe { libc::cfmakeraw(&mut mode) };
    mode.c_oflag |= libc::OPOST;
    mode
}

/// Whether this process may change the terminal: a background process would be stopped for it. A
/// terminal that doesn't control this session has no foreground.
fn in_foreground(fd: RawFd) -> bool {
    // SAFETY: both calls take and return plain numbers.
    let (group, own) = unsafe { (libc::tcgetpgrp(fd), libc::getpgrp()) };
    group == -1 || group == own
}
