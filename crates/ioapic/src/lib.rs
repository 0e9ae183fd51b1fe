// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 82093AA I/O APIC and its successors, as a plain state machine.
#![no_std]
#![forbid(unsafe_code)]
