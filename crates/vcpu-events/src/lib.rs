// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! vCPU request mailbox, exception queue and the decision what to inject next.
#![no_std]
#![forbid(unsafe_code)]
