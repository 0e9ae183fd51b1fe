// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Devices on the machine that are not interrupt controllers.
//!
//! | device | ports | line |
//! |---|---|---|
//! | [`serial`] 16550A | 0x3f8..=0x3ff | IRQ 4 |
//! | [`i8042`] (reset only) | 0x60, 0x64 | |
//! | [`cmos`] real-time clock and CMOS RAM | 0x70, 0x71 | IRQ 8 |
//! | [`acpi_pm`] power management | 0x600..=0x605, 0x608..=0x60b | SCI (IRQ 9) |
//! | [`reset`] reset control, system control port A | 0xcf9, 0x92 | |
//! | [`testdev`] debug exit, line driver, echo ports | 0xf4..=0xf7, 0x2000..=0x2017, 0xe0..=0xe3, 0xe8..=0xeb | any |
//!
//! Each one is a [`vm_device::MutDevicePio`]: every offset and width has a defined result, and the
//! width may be anything. A device drives its line through [`irq::IrqLine`] and asks for the end of
//! the machine through [`event::EventSink`]. Models that need time take it as an argument; their
//! bus adapters get it from [`clock::Clock`].

pub mod acpi_pm;
pub mod clock;
pub mod cmos;
pub mod event;
pub mod i8042;
pub mod irq;
pub mod reset;
pub mod serial;
pub mod testdev;
#[cfg(test)]
mod tests;

pub use acpi_pm::{AcpiPm, AcpiPmDevice};
pub use clock::{Clock, SharedClock};
pub use cmos::{Cmos, CmosConfig, CmosDevice};
pub use event::{EventSink, MachineEvent, ResetCause, SharedEventSink};
pub use i8042::I8042;
pub use irq::{IrqLine, SharedIrqLine};
pub use reset::ResetControl;
pub use serial::{Serial, SerialOutput};
pub use testdev::TestDevice;

use vm_device::bus::{PioAddress, PioAddressOffset};

/// The ports of an access, byte by byte, lowest first; a port number wraps as the bus does.
fn ports(base: PioAddress, offset: PioAddressOffset) -> impl Iterator<Item = u16> {
    let first = base.0.wrapping_add(offset);
    (0..=u16::MAX).map(move |i| first.wrapping_add(i))
}
