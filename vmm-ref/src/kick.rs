// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Getting a vCPU thread's attention: out of the guest by a signal, out of its sleep by unpark,
//! and by a timer of its own.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::ptr;
use std::thread::{self, Thread};
use std::time::Duration;

use vmm_sys_util::signal::{register_signal_handler, unblock_signal, SIGRTMIN};

use crate::clock::monotonic_ns;

thread_local! {
    /// The kick flag of this thread's vCPU ([`Vcpu::kick_flag`](crate::backend::Vcpu::kick_flag)),
    /// for the signal handler.
    static KICK_FLAG: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

/// Installs the handler of the kick signal; once per process, before any vCPU thread.
///
/// # Errors
/// What sigaction reports.
pub fn install_handler() -> io::Result<()> {
    register_signal_handler(SIGRTMIN(), on_kick)
        .map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
    // Whoever started the process may have blocked it, and threads inherit that.
    unblock_signal(SIGRTMIN()).map_err(|error| io::Error::other(error.to_string()))
}

/// A signal interrupts KVM_RUN, but not the software CPU, and one that comes just before KVM_RUN
/// would be lost: so it also sets the backend's flag (for KVM `immediate_exit`), which makes the
/// run under way on the software CPU, or the next one on either, return at once.
extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let flag = KICK_FLAG.with(Cell::get);
    if !flag.is_null() {
        // SAFETY: `Binding` keeps the pointer valid while it is set, and only this thread (whose
        // signal handler this is) sets it.
        unsafe { flag.write_volatile(1) };
    }
}

/// Binds this thread to a vCPU for as long as it lives: kicks reach that vCPU.
pub struct Binding {
    // The thread-local belongs to the thread that made it.
    _not_send: PhantomData<*const ()>,
}

impl Binding {
    /// # Safety
    /// `flag` must stay valid until the binding is dropped.
    pub unsafe fn new(flag: *mut u8) -> Self {
        KICK_FLAG.with(|cell| cell.set(flag));
        Binding { _not_send: PhantomData }
    }

    /// Forgets kicks that came so far: to be called out of the guest, before whatever they were
    /// for is looked at. One that found the vCPU out already would only cost it an entry.
    pub fn forget_kicks(&self) {
        let flag = KICK_FLAG.with(Cell::get);
        // SAFETY: the pointer is the one given to `new`, valid as long as `self`; nobody else but
        // this thread's signal handler and its backend write there.
        unsafe { flag.write_volatile(0) };
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        KICK_FLAG.with(|cell| cell.set(ptr::null_mut()));
    }
}

/// A vCPU thread, as others see it.
#[derive(Debug)]
pub struct Target {
    thread: Thread,
    tid: libc::pid_t,
}

impl Target {
    /// The calling thread.
    pub fn current() -> Self {
        // SAFETY: gettid has no preconditions.
        Target { thread: thread::current(), tid: unsafe { libc::gettid() } }
    }

    /// Brings the thread out of the guest.
    pub fn kick(&self) {
        // SAFETY: tgkill takes plain numbers; a thread that is gone gives ESRCH, which is fine:
        // there is nobody left to kick.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.tid, SIGRTMIN()) };
    }

    /// Ends [`sleep`] of the thread, also one that has yet to begin.
    pub fn wake(&self) {
        self.thread.unpark();
    }
}

/// Sleeps until woken or `limit` has passed; may return early.
pub fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => thread::park_timeout(limit),
        None => thread::park(),
    }
}

/// Brings a vCPU out of the guest when its own deadline has come.
pub trait ExitTimer {
    /// Sets the timer to `deadline` (ns of the machine's clock), or switches it off.
    ///
    /// # Errors
    /// What the host reports.
    fn set(&mut self, deadline: Option<u64>) -> io::Result<()>;
}

/// A timer that kicks the thread which made it.
pub struct KickTimer {
    id: libc::timer_t,
    armed: Option<u64>,
    _not_send: PhantomData<*const ()>,
}

impl KickTimer {
    /// A disarmed timer for the calling thread.
    ///
    /// # Errors
    /// What timer_create reports.
    pub fn new() -> io::Result<Self> {
        // SAFETY: all-zero is a valid sigevent; the fields that matter are set below.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGRTMIN();
        // SAFETY: gettid has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut id: libc::timer_t = ptr::null_mut();
        // SAFETY: both pointers are to live locals.
        let result = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut id) };
        match result {
            0 => Ok(KickTimer { id, armed: None, _not_send: PhantomData }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl ExitTimer for KickTimer {
    /// One that is armed already and still to come costs nothing.
    fn set(&mut self, deadline: Option<u64>) -> io::Result<()> {
        let to_come = deadline.is_none_or(|at| at > monotonic_ns());
        if deadline == self.armed && to_come {
            return Ok(());
        }
        // An all-zero value would disarm.
        let ns = deadline.map_or(0, |ns| ns.max(1));
        let value = libc::timespec {
            tv_sec: (ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: never, it_value: value };
        // SAFETY: `id` is a live timer of this process and `spec` a live local.
        let result =
            unsafe { libc::timer_settime(self.id, libc::TIMER_ABSTIME, &spec, ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        self.armed = deadline;
        Ok(())
    }
}

impl Drop for KickTimer {
    fn drop(&mut self) {
        // SAFETY: `id` is a live timer, not used after this.
        unsafe { libc::timer_delete(self.id) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evt_9_a_kick_asks_for_an_immediate_exit_until_it_is_forgotten() {
        install_handler().unwrap();
        let mut flag = 0u8;
        let flag = &raw mut flag;
        // SAFETY: `flag` outlives the binding, which is dropped first.
        let read = || unsafe { flag.read_volatile() };
        // SAFETY: as above.
        let binding = unsafe { Binding::new(flag) };
        Target::current().kick();
        assert_eq!(read(), 1);
        binding.forget_kicks();
        assert_eq!(read(), 0);
        drop(binding);
        Target::current().kick();
        assert_eq!(read(), 0, "nobody is bound");
    }

    #[test]
    fn evt_9_a_deadline_that_is_over_kicks_at_once() {
        install_handler().unwrap();
        let mut flag = 0u8;
        let flag = &raw mut flag;
        // SAFETY: `flag` outlives the binding.
        let _binding = unsafe { Binding::new(flag) };
        let mut timer = KickTimer::new().unwrap();
        timer.set(Some(monotonic_ns())).unwrap();
        // SAFETY: as above.
        while unsafe { flag.read_volatile() } == 0 {
            thread::yield_now();
        }
    }
}
