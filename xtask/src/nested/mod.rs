// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The nested rig: a full KVM where the machine itself has none.
//!
//! A machine inside QEMU (`rig`) has a KVM of its own; in it an agent (`agent`) runs vmm-ref for
//! each case and sends everything that happens to the host (`record`), where it is judged and
//! reported (`crate::guests`).

pub mod agent;
pub mod image;
pub mod record;
pub mod rig;
