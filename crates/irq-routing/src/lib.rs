// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod delivery;
pub mod group;
pub mod gsi;
pub mod irqchip;
pub mod isa;
#[cfg(feature = "kvm")]
pub mod kvm;
pub mod legacy;
pub mod line;
pub mod message;
pub mod msi;
pub mod msi_group;
pub mod msix;
mod notify;
mod packed;
pub mod resample;
pub mod route;
pub mod router;
pub mod state;
mod sync;
pub mod wire;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub use delivery::Delivery;
pub use group::{
    GroupError, GroupKind, InterruptSourceGroup, LineBackend, MsiBackend, RouteChange, SendMsi,
    SourceConfig,
};
pub use gsi::GsiPool;
pub use irqchip::{Call, IllegalCall, IrqchipMode};
pub use isa::{IsaAllocator, IsaError};
#[cfg(feature = "kvm")]
pub use kvm::KvmRouteError;
pub use legacy::LegacyGroup;
pub use line::{Gsi, InvalidSource, Line, LineChange, SourceId};
pub use message::{
    DeliveryMode, DestinationMode, InterruptMessage, MessageSink, ReservedDeliveryMode,
    TriggerMode, BROADCAST,
};
pub use msi::{InvalidMsi, Msi, MsiFormat, Unencodable};
pub use msi_group::MsiGroup;
pub use msix::MsixGroup;
pub use route::{Edit, Pin, Route, RouteError, RouteTable, Target};
pub use router::{ConnectError, Resample, Router, Targets};
pub use state::{LegacyState, MsiState, MsixState, RouterState, RouterStateError, WireState};
pub use wire::{OpenWires, Wire, WireChange, WireMode};
