// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The differentiated system description table: processors, ISA devices, soft-off.
//!
//! Plug-and-play ids are those of the *Plug and Play ID list* that the ACPI specification refers
//! to in 6.1.5 "_HID (Hardware ID)".

use acpi_tables::aml::{Device, EISAName, Name, Package, Path, ResourceTemplate, Scope, IO};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

use super::fixed::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, SDT_HEADER};
use super::AcpiConfig;
use crate::layout;

/// Three hexadecimal digits name a processor.
pub(super) const MAX_CPUS: u32 = 0x1000;
/// Integers are 64 bits wide from this revision on.
const REVISION: u8 = 2;

pub(super) fn dsdt(config: &AcpiConfig) -> Vec<u8> {
    let mut aml = Vec::new();
    soft_off(&mut aml);
    let mut children = Vec::new();
    (0..config.cpus).for_each(|uid| processor(uid, &mut children));
    for device in ISA_DEVICES.iter().filter(|device| device.is_present(config)) {
        device.to_aml_bytes(&mut children);
    }
    aml.extend_from_slice(&Scope::raw(Path::new("\\_SB_"), children));
    let mut dsdt = Sdt::new(*b"DSDT", SDT_HEADER, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&aml);
    dsdt.as_slice().to_vec()
}

/// 7.4.2 "System \_Sx states": what to write to `SLP_TYP` of PM1a and PM1b control, two reserved.
fn soft_off(aml: &mut Vec<u8>) {
    let sleep_type = layout::S5_SLEEP_TYPE;
    let package = Package::new(vec![&sleep_type, &sleep_type, &0u8, &0u8]);
    Name::new(Path::new("_S5_"), &package).to_aml_bytes(aml);
}

/// 8.4 "Declaring Processors": the UID ties the device to its MADT entry.
fn processor(uid: u32, sink: &mut Vec<u8>) {
    let id = Name::new(Path::new("_HID"), &"ACPI0007");
    let uid_name = Name::new(Path::new("_UID"), &uid);
    Device::new(Path::new(&format!("C{uid:03X}")), vec![&id, &uid_name]).to_aml_bytes(sink);
}

/// A device on the ISA bus.
struct IsaDevice {
    name: &'static str,
    id: &'static str,
    /// First port and number of ports.
    ports: &'static [(u16, u8)],
    irq: Option<u8>,
}

const SERIAL: &str = "COM1";
const KEYBOARD: &str = "KBD_";

const ISA_DEVICES: [IsaDevice; 7] = [
    IsaDevice {
        name: "PIC_",
        id: "PNP0000",
        ports: &[(0x20, 2), (0xa0, 2), (0x4d0, 2)],
        irq: Some(2),
    },
    IsaDevice { name: "TIMR", id: "PNP0100", ports: &[(0x40, 4)], irq: Some(0) },
    IsaDevice { name: "SPKR", id: "PNP0800", ports: &[(0x61, 1)], irq: None },
    IsaDevice {
        name: "RTC_",
        id: "PNP0B00",
        ports: &[(layout::CMOS, 2)],
        irq: Some(layout::RTC_IRQ),
    },
    IsaDevice {
        name: KEYBOARD,
        id: "PNP0303",
        ports: &[(layout::I8042_DATA, 1), (layout::I8042_COMMAND, 1)],
        irq: Some(layout::I8042_IRQ),
    },
    IsaDevice {
        name: SERIAL,
        id: "PNP0501",
        ports: &[(layout::COM1, 8)],
        irq: Some(layout::COM1_IRQ),
    },
    // Motherboard resources: nobody else may take these ports.
    IsaDevice {
        name: "MBRD",
        id: "PNP0C02",
        ports: &[(layout::PM1A_EVENT, 0x10), (layout::RESET_PORT, 1)],
        irq: None,
    },
];

impl IsaDevice {
    fn is_present(&self, config: &AcpiConfig) -> bool {
        match self.name {
            SERIAL => config.serial,
            KEYBOARD => config.i8042,
            _ => true,
        }
    }
}

impl Aml for IsaDevice {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let ports: Vec<IO> =
            self.ports.iter().map(|&(port, count)| IO::new(port, port, 1, count)).collect();
        let irq = self.irq.map(IrqNoFlags);
        let mut resources: Vec<&dyn Aml> = ports.iter().map(|port| port as &dyn Aml).collect();
        resources.extend(irq.iter().map(|irq| irq as &dyn Aml));
        let id = Name::new(Path::new("_HID"), &EISAName::new(self.id));
        let uid = Name::new(Path::new("_UID"), &0u8);
        let resources = Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources));
        Device::new(Path::new(self.name), vec![&id, &uid, &resources]).to_aml_bytes(sink);
    }
}

/// 6.4.2.1 "IRQ Descriptor" in its short form: an edge-triggered, active-high ISA interrupt. It
/// follows the MADT's source overrides, which an extended interrupt descriptor (a GSI) does not.
struct IrqNoFlags(u8);

impl Aml for IrqNoFlags {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1u16.checked_shl(self.0.into()).unwrap_or(0));
    }
}
