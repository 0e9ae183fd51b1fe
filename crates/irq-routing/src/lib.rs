// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vocabulary and the wiring of x86 interrupts: messages, GSIs, routes, source groups.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod delivery;
pub mod line;
pub mod message;
pub mod msi;
pub mod resample;
pub mod route;
pub mod router;

pub use delivery::Delivery;
pub use line::{Gsi, Line, LineChange, SourceId};
pub use message::{
    DeliveryMode, DestinationMode, InterruptMessage, MessageSink, ReservedDeliveryMode,
    TriggerMode, BROADCAST,
};
pub use msi::{InvalidMsi, Msi, MsiFormat};
pub use route::{Edit, Pin, Route, RouteError, RouteTable, Target};
pub use router::{ConnectError, Resample, Router, Targets};
