// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The local APIC (xAPIC and x2APIC), its timer, IPIs and posted interrupts.
#![no_std]
#![forbid(unsafe_code)]
