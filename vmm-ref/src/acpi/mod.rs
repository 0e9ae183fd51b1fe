// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ACPI tables from a description of the machine.
//!
//! [`build`] makes RSDP, RSDT, XSDT, FADT, FACS, DSDT and, where there are APICs, the MADT; they go
//! into the BIOS area below 1 MiB, where the classic search finds the RSDP, and boot protocols
//! that can say so hand over its address. Follows the *ACPI specification 6.5*, chapter 5 "ACPI
//! Software Programming Model".
//!
//! The devices in the DSDT: the processors (`\_SB.C000`...), serial port COM1, RTC, PIT, PIC,
//! speaker, i8042 keyboard controller, the port ranges of power management. No PCI, no processor
//! states, no hot-plug. Power management is fixed hardware: S5 through PM1a control, a power
//! button in PM1a status, the PM timer, the reset register. There is no SMI command port: the
//! machine is in ACPI mode from the start, `SCI_EN` always reads 1.

mod dsdt;
mod fixed;
mod madt;
#[cfg(test)]
mod tests;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout;

/// What the tables say about the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcpiConfig {
    /// The interrupt controllers.
    pub topology: Topology,
    /// Processors, with APIC ids `0..cpus`, all enabled. At least 1.
    pub cpus: u32,
    /// There is a serial port COM1.
    pub serial: bool,
    /// There is an i8042 keyboard controller.
    pub i8042: bool,
}

/// The interrupt controllers that the tables announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// A pair of 8259As and nothing else: no MADT, one processor.
    Pic,
    /// Local APICs and one I/O APIC beside the 8259As.
    IoApic(IoApic),
}

/// The I/O APIC's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its id register's value.
    pub id: u8,
    /// Its page.
    pub address: u32,
    /// The GSI of its pin 0.
    pub gsi_base: u32,
}

impl Default for IoApic {
    fn default() -> Self {
        IoApic { id: 0, address: layout::IOAPIC as u32, gsi_base: 0 }
    }
}

impl Default for AcpiConfig {
    /// One processor, an I/O APIC and all devices.
    fn default() -> Self {
        let topology = Topology::IoApic(IoApic::default());
        AcpiConfig { topology, cpus: 1, serial: true, i8042: true }
    }
}

/// Why there are no tables.
#[derive(Debug, Error)]
pub enum AcpiError {
    /// The processors do not suit the interrupt controllers.
    #[error("{0} CPUs cannot be described: this topology takes 1 to {1}")]
    Cpus(u32, u32),
    /// The tables are larger than their part of the BIOS area.
    #[error("the ACPI tables take {size} bytes, there is room for {room}")]
    TooLarge {
        /// What the tables take, in bytes.
        size: u64,
        /// The size of that part in bytes.
        room: u64,
    },
    /// The BIOS area is not in guest memory.
    #[error("cannot write the ACPI tables to guest memory")]
    Memory(#[from] GuestMemoryError),
}

/// The tables as they lie in guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    base: u64,
    bytes: Vec<u8>,
}

impl Tables {
    /// Guest-physical address of the RSDP: 16-byte aligned, within the BIOS area.
    pub fn rsdp(&self) -> u64 {
        self.base
    }

    /// Guest-physical address of [`Self::bytes`].
    pub fn base(&self) -> u64 {
        self.base
    }

    /// All tables, with their padding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the tables; returns the RSDP's address.
    pub fn write(&self, mem: &GuestMemoryMmap) -> Result<u64, AcpiError> {
        mem.write_slice(&self.bytes, GuestAddress(self.base))?;
        Ok(self.rsdp())
    }
}

/// Builds all tables.
pub fn build(config: &AcpiConfig) -> Result<Tables, AcpiError> {
    let most = match config.topology {
        Topology::Pic => 1,
        Topology::IoApic(_) => dsdt::MAX_CPUS,
    };
    if config.cpus == 0 || config.cpus > most {
        return Err(AcpiError::Cpus(config.cpus, most));
    }
    let mut area = Area::new(layout::BIOS_AREA, fixed::RSDP_SIZE);
    let facs = area.add(&fixed::facs());
    let dsdt = area.add(&dsdt::dsdt(config));
    let mut roots = vec![area.add(&fixed::fadt(config, facs, dsdt))];
    if let Topology::IoApic(ioapic) = config.topology {
        roots.push(area.add(&madt::madt(config.cpus, &ioapic)));
    }
    let rsdt = area.add(&fixed::rsdt(&roots));
    let xsdt = area.add(&fixed::xsdt(&roots));
    area.finish(&fixed::rsdp(rsdt, xsdt))
}

/// Lays tables out one after another.
struct Area {
    base: u64,
    bytes: Vec<u8>,
}

/// What the FACS needs (5.2.10 "Firmware ACPI Control Structure"); the others take it too.
const ALIGNMENT: usize = 64;

impl Area {
    /// The first `reserved` bytes are filled in at the end.
    fn new(base: u64, reserved: usize) -> Self {
        Area { base, bytes: vec![0; reserved] }
    }

    /// Appends a table; returns its guest-physical address. All lie below 4 GiB: [`Self::finish`]
    /// refuses what grows beyond the BIOS area.
    fn add(&mut self, table: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let address = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(table);
        address as u32
    }

    fn finish(mut self, first: &[u8]) -> Result<Tables, AcpiError> {
        let (size, room) = (self.bytes.len() as u64, layout::ACPI_END - self.base);
        if size > room {
            return Err(AcpiError::TooLarge { size, room });
        }
        self.bytes[..first.len()].copy_from_slice(first);
        Ok(Tables { base: self.base, bytes: self.bytes })
    }
}
