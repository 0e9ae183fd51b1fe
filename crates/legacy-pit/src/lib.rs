// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8254 interval timer with port 0x61, as a plain state machine.
#![no_std]
#![forbid(unsafe_code)]
