// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The one clock of the machine.

/// Nanoseconds of CLOCK_MONOTONIC, the clock that the timers are armed with.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live local; CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
