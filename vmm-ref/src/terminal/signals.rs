// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals that end the process: the terminal is restored before anything else happens.

use std::io;
use std::mem::{zeroed, MaybeUninit};
use std::os::fd::IntoRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::OnceLock;

use libc::{c_int, c_void, sigaction, siginfo_t};
use vmm_sys_util::eventfd::EventFd;

use super::restore;

/// A person or the system asks the process to end.
const TERMINATION: [c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
/// The process is about to die.
const FATAL: [c_int; 6] =
    [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGSYS];

/// The event descriptor to write to; -1 before [`on_termination`].
static EVENT: AtomicI32 = AtomicI32::new(-1);
/// The first termination signal that came; 0 for none.
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// What the fatal signals did before.
static PREVIOUS: [OnceLock<sigaction>; FATAL.len()] = [const { OnceLock::new() }; FATAL.len()];

/// From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT restore the terminal and write to `event`, for
/// the main loop to end the machine. A second one ends the process at once, with exit status
/// 128 + its number.
///
/// # Errors
/// The system's, or `AlreadyExists` when it has been called before.
pub fn on_termination(event: EventFd) -> io::Result<()> {
    let fd = event.into_raw_fd();
    if EVENT.compare_exchange(-1, fd, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    for signal in TERMINATION {
        // Whoever started the process with nohup wants it to outlive the terminal.
        let nohup = signal == libc::SIGHUP && current(signal)?.sa_sigaction == libc::SIG_IGN;
        if !nohup {
            install(signal, terminate, libc::SA_RESTART)?;
        }
    }
    Ok(())
}

/// The termination signal that came first, if one came.
pub fn received() -> Option<i32> {
    Some(RECEIVED.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// From now on signals that kill the process restore the terminal first.
pub(super) fn on_fatal() -> io::Result<()> {
    for (signal, previous) in FATAL.into_iter().zip(&PREVIOUS) {
        if previous.get().is_none() {
            // The handler looks for the previous action, so it must be there before the handler.
            let _ = previous.set(current(signal)?);
            install(signal, die, libc::SA_ONSTACK)?;
        }
    }
    Ok(())
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn install(signal: c_int, handler: Handler, flags: c_int) -> io::Result<()> {
    // SAFETY: a sigaction of zeros is valid: no flags, an empty mask, the default handler.
    let mut action: sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    // SAFETY: `action` is initialised, and its handler has the signature that SA_SIGINFO asks for
    // and calls only functions that are safe in a signal handler.
    match unsafe { libc::sigaction(signal, &action, null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn current(signal: c_int) -> io::Result<sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: without a new action the call only fills in the current one.
    match unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } {
        // SAFETY: the call succeeded, so it filled `action` in.
        0 => Ok(unsafe { action.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn terminate(signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {
    restore();
    if RECEIVED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        // SAFETY: _exit is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + signal) };
    }
    let one = 1_u64;
    let saved_errno = errno();
    // SAFETY: write is async-signal-safe, and the 8 bytes are those of `one`. A full counter means
    // that the event is already signalled, so the result does not matter.
    let _ = unsafe { libc::write(EVENT.load(Ordering::SeqCst), (&raw const one).cast(), 8) };
    set_errno(saved_errno);
}

extern "C" fn die(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    restore();
    // SAFETY: the kernel passes a valid siginfo with SA_SIGINFO.
    let sent = unsafe { (*info).si_code } <= 0 || signal == libc::SIGSYS;
    let known = FATAL.iter().zip(&PREVIOUS).find(|(fatal, _)| **fatal == signal);
    match known.and_then(|(_, previous)| previous.get()) {
        // A fault comes again when this handler returns, and the previous handler says what it
        // has to say about it (a stack overflow, for one).
        // SAFETY: sigaction is async-signal-safe, `previous` came from the same call.
        Some(previous) if !sent => unsafe {
            libc::sigaction(signal, previous, null_mut());
        },
        // What somebody sent does not come again by itself.
        // SAFETY: both are async-signal-safe; the signal is blocked until this handler returns.
        _ => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        },
    }
}

fn errno() -> c_int {
    // SAFETY: the location of this thread's errno is valid as long as the thread runs.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value };
}
