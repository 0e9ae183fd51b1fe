// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Shared pieces of the integration tests: the bare-metal guests, and `vmm-ref` as a person runs
//! it.

pub mod guests;
pub mod native;
pub mod oracle;
pub mod pty;
pub mod vmm;

pub use guests::{Guest, Topology};
pub use vmm::{Finished, Vmm};

/// A `vmm-ref` to run, in a test of this package.
#[macro_export]
macro_rules! vmm_ref {
    () => {
        $crate::Vmm::at(env!("CARGO_BIN_EXE_vmm-ref-under-test"))
    };
}
