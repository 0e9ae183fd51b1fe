// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8259A interrupt controller pair with ELCR, as a plain state machine.
#![no_std]
#![forbid(unsafe_code)]
