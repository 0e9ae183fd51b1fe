// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One way to take a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, also after a thread panicked with it held: what these locks protect are plain
/// models and values, whole after each of their methods.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
