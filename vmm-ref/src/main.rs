// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The `vmm-ref` command.
fn main() {}
