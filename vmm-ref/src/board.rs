// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The board: which device sits where, on which line.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use irq_routing::Gsi;

use crate::alarm::Alarm;
use crate::bus::Bus;
use crate::cli::{SerialMode, Topology, VmConfig};
use crate::clock::TimeSource;
use crate::console::Console;
use crate::control::Control;
use crate::devices::serial::OutputStop;
use crate::devices::{
    acpi_pm, reset, serial, testdev, AcpiPmDevice, CmosConfig, CmosDevice, ResetControl, Serial,
    SerialOutput, SharedClock, SharedIrqLine, TestDevice, I8042,
};
use crate::interrupts::{DeviceLine, Interrupts, IoApicPage, PicPorts};
use crate::layout;
use crate::main_loop::Timed;
use crate::pit::PitDevice;
use crate::sync::lock;

/// GSI of the 8254's channel 0.
const PIT_GSI: u32 = 0;

/// The devices, where the rest of the machine needs them.
pub struct Board {
    /// Everything that answers an address.
    pub bus: Arc<Bus>,
    /// Everything that waits for a time.
    pub timed: Vec<Timed>,
    /// Ends a wait for the reader of the serial port's output.
    pub serial_stop: OutputStop,
}

/// What the devices are made with.
struct Builder<'a> {
    config: &'a VmConfig,
    interrupts: &'a Arc<Interrupts>,
    control: &'a Arc<Control>,
    time: &'a TimeSource,
    clock: SharedClock,
    bus: Bus,
    timed: Vec<Timed>,
}

/// Builds every device that `config` asks for.
///
/// # Errors
/// If a file for the serial port cannot be opened or the host has no descriptors left.
pub fn build(
    config: &VmConfig,
    interrupts: &Arc<Interrupts>,
    control: &Arc<Control>,
    console: &Console,
    time: &TimeSource,
) -> Result<Board> {
    let (clock, bus, timed) = (time.clock(), Bus::default(), Vec::new());
    let mut builder = Builder { config, interrupts, control, time, clock, bus, timed };
    builder.add_controllers()?;
    builder.add_pit()?;
    builder.add_cmos()?;
    builder.add_power()?;
    let serial_stop = builder.add_serial(console)?;
    if config.testdev {
        builder.add_testdev()?;
    }
    Ok(Board { bus: Arc::new(builder.bus), timed: builder.timed, serial_stop })
}

impl Builder<'_> {
    fn line(&self, gsi: u32) -> Result<SharedIrqLine> {
        let line = DeviceLine::connect(self.interrupts, Gsi(gsi))
            .with_context(|| format!("cannot connect a device to GSI {gsi}"))?;
        Ok(Arc::new(line))
    }

    fn add_controllers(&mut self) -> Result<()> {
        for (first, count) in [(0x20, 2), (0xa0, 2), (0x4d0, 2)] {
            self.bus.add_ports(first, count, Arc::new(PicPorts(self.interrupts.clone())))?;
        }
        if self.config.topology == Topology::IoApic {
            let page = IoApicPage(self.interrupts.clone());
            self.bus.add_mmio(layout::IOAPIC, 0x1000, Arc::new(page))?;
            let interrupts = self.interrupts.clone();
            let alarm = Alarm::new(self.time)?;
            self.interrupts.set_alarm(alarm.clone());
            let expired = Box::new(move |now| interrupts.advance(now));
            self.timed.push(Timed { alarm, expired });
        }
        Ok(())
    }

    fn add_pit(&mut self) -> Result<()> {
        let alarm = Alarm::new(self.time)?;
        let pit = PitDevice::new(self.clock.clone(), self.line(PIT_GSI)?, alarm.clone());
        let pit = Arc::new(Mutex::new(pit));
        self.bus.add_locked(0x40, 4, &pit)?;
        self.bus.add_locked(0x61, 1, &pit)?;
        let expired = Box::new(move |now| lock(&pit).advance(now));
        self.timed.push(Timed { alarm, expired });
        Ok(())
    }

    fn add_cmos(&mut self) -> Result<()> {
        let memory = self.config.memory_bytes;
        let config = CmosConfig {
            memory_below_4g: memory.min(layout::MMIO_HOLE),
            memory_above_4g: memory.saturating_sub(layout::MMIO_HOLE),
            wall_ns: self.time.wall_ns(),
        };
        let line = self.line(layout::RTC_IRQ.into())?;
        let mut cmos = CmosDevice::new(&config, self.clock.clone(), line);
        let alarm = Alarm::new(self.time)?;
        cmos.notify_deadline(notifier(&alarm));
        let cmos = Arc::new(Mutex::new(cmos));
        self.bus.add_locked(layout::CMOS, 2, &cmos)?;
        let expired = Box::new(move |now| lock(&cmos).advance(now));
        self.timed.push(Timed { alarm, expired });
        Ok(())
    }

    /// ACPI power management, and the three ways to a reset.
    fn add_power(&mut self) -> Result<()> {
        let line = self.line(layout::SCI_IRQ.into())?;
        let mut pm = AcpiPmDevice::new(self.clock.clone(), line, self.control.clone());
        let alarm = Alarm::new(self.time)?;
        pm.notify_deadline(notifier(&alarm));
        let pm = Arc::new(Mutex::new(pm));
        for (first, count) in acpi_pm::PORT_RANGES {
            self.bus.add_locked(first, count, &pm)?;
        }
        let expired = Box::new(move |now| lock(&pm).advance(now));
        self.timed.push(Timed { alarm, expired });
        let reset = Arc::new(Mutex::new(ResetControl::new(self.control.clone())));
        self.bus.add_locked(layout::RESET_PORT, 1, &reset)?;
        self.bus.add_locked(reset::SYSTEM_CONTROL_PORT_A, 1, &reset)?;
        let i8042 = Arc::new(Mutex::new(I8042::new(self.control.clone())));
        self.bus.add_locked(layout::I8042_DATA, 1, &i8042)?;
        self.bus.add_locked(layout::I8042_COMMAND, 1, &i8042)?;
        Ok(())
    }

    fn add_serial(&mut self, console: &Console) -> Result<OutputStop> {
        let output = match &self.config.serial {
            SerialMode::Off => return Ok(OutputStop::default()),
            SerialMode::Null => SerialOutput::null(),
            SerialMode::Tty => SerialOutput::stdout().context("--serial tty: standard output")?,
            SerialMode::File(path) => console
                .file(path)
                .map(SerialOutput::to)
                .with_context(|| format!("--serial: cannot open {}", path.display()))?,
        };
        let stop = output.stop();
        let line = self.line(layout::COM1_IRQ.into())?;
        let serial = Arc::new(Mutex::new(Serial::new(line, output)));
        if self.config.serial == SerialMode::Tty {
            console.connect(&serial, self.control);
        }
        self.bus.add_locked(layout::COM1, serial::PORT_COUNT, &serial)?;
        Ok(stop)
    }

    fn add_testdev(&mut self) -> Result<()> {
        let lines =
            (0..u32::from(testdev::LINE_COUNT)).map(|gsi| self.line(gsi)).collect::<Result<_>>()?;
        let device = Arc::new(Mutex::new(TestDevice::new(lines, self.control.clone())));
        for (first, count) in testdev::PORT_RANGES {
            self.bus.add_locked(first, count, &device)?;
        }
        Ok(())
    }
}

fn notifier(alarm: &Arc<Alarm>) -> Box<dyn Fn(Option<u64>) + Send> {
    let alarm = alarm.clone();
    Box::new(move |deadline| alarm.set(deadline))
}
