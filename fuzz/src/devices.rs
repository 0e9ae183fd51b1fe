// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The reference VMM's devices on the port bus: any port, any width, at any time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use vm_device::bus::PioAddress;
use vm_device::MutDevicePio;
use vmm_ref::devices::clock::ManualClock;
use vmm_ref::devices::event::RecordedEvents;
use vmm_ref::devices::irq::RecordedLine;
use vmm_ref::devices::{reset, serial, testdev};
use vmm_ref::devices::{
    AcpiPm, AcpiPmDevice, Clock, Cmos, CmosConfig, CmosDevice, MachineEvent, ResetCause,
    ResetControl, Serial, SharedIrqLine, TestDevice, I8042,
};
use vmm_ref::layout;

use crate::code::{Data, Num, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// When and how large the machine is.
    pub struct Setup {
        now: Num,
        wall: Num,
        memory: Num,
    }
}

ops! {
    /// What guest and host can do.
    pub enum Op {
        /// The n-th port that a device has.
        Out { port: u8, data: Data },
        In { port: u8, data: Data },
        OutByte { port: u8, value: u8 },
        InByte { port: u8 },
        /// Straight to a device, wherever its ports are.
        RawOut { device: u8, port: u16, data: Data },
        RawIn { device: u8, port: u16, data: Data },
        /// A CMOS register, through index and data.
        Cmos { register: u8, value: Option<u8> },
        Pass { ns: Num },
        PassToDeadline,
        Type { bytes: Data },
        PowerButton,
        MachineReset,
    }
}

/// A range of ports with the device that answers there.
const PORTS: [(u16, u16, usize); 11] = [
    (layout::COM1, serial::PORT_COUNT, SERIAL),
    (layout::CMOS, 2, CMOS),
    (layout::PM1A_EVENT, 6, PM),
    (layout::PM_TIMER, 4, PM),
    (layout::RESET_PORT, 1, RESET),
    (reset::SYSTEM_CONTROL_PORT_A, 1, RESET),
    (layout::I8042_DATA, 1, I8042_),
    (layout::I8042_COMMAND, 1, I8042_),
    (testdev::DEBUG_EXIT, 4, TEST),
    (testdev::LINES, testdev::LINE_COUNT, TEST),
    (testdev::STORAGE, 4, TEST),
];
const SERIAL: usize = 0;
const CMOS: usize = 1;
const PM: usize = 2;
const RESET: usize = 3;
const I8042_: usize = 4;
const TEST: usize = 5;

/// A notifier's last word, and whether there was one.
type Told = Arc<Mutex<Option<u64>>>;

struct Rig {
    clock: Arc<ManualClock>,
    events: Arc<RecordedEvents>,
    serial: Serial,
    serial_line: Arc<RecordedLine>,
    cmos: CmosDevice,
    cmos_line: Arc<RecordedLine>,
    cmos_told: Told,
    /// The same chip, without a bus.
    cmos_model: Cmos,
    pm: AcpiPmDevice,
    pm_line: Arc<RecordedLine>,
    pm_told: Told,
    pm_model: AcpiPm,
    reset: ResetControl,
    i8042: I8042,
    test: TestDevice,
    test_lines: Vec<Arc<RecordedLine>>,
    /// What was typed and not read.
    typed: VecDeque<u8>,
    /// Loopback mixes other bytes into the receiver.
    looped: bool,
}

/// Runs the operations and checks every device after each.
pub fn run(input: &Input) {
    let mut rig = Rig::new(&input.setup);
    for op in &input.ops {
        let expected = rig.apply(op);
        assert_eq!(rig.events.take(), expected, "{op:?}");
        rig.check();
    }
}

/// The n-th port of all: its number, the base that the bus hands down, and its device.
fn nth_port(n: u8) -> (u16, u16, usize) {
    let total: u16 = PORTS.iter().map(|(_, len, _)| len).sum();
    let mut n = u16::from(n) % total;
    for (base, len, device) in PORTS {
        if n < len {
            return (base, n, device);
        }
        n -= len;
    }
    (layout::COM1, 0, SERIAL)
}

/// Where [`nth_port`] finds `port`.
fn index_of(port: u16) -> u8 {
    let port_of = |n: &u8| {
        let (base, offset, _) = nth_port(*n);
        base + offset
    };
    (0..=u8::MAX).find(|n| port_of(n) == port).expect("a port of a device")
}

impl Rig {
    fn new(setup: &Setup) -> Self {
        let (clock, events) = (ManualClock::at(setup.now.0), RecordedEvents::new());
        let lines = [(); 3].map(|()| RecordedLine::new());
        let [serial_line, cmos_line, pm_line] = lines;
        let test_lines: Vec<_> = (0..testdev::LINE_COUNT).map(|_| RecordedLine::new()).collect();
        let config = CmosConfig {
            memory_below_4g: setup.memory.0,
            memory_above_4g: setup.memory.0,
            wall_ns: setup.wall.0,
        };
        let mut cmos = CmosDevice::new(&config, clock.clone(), cmos_line.clone());
        let mut pm = AcpiPmDevice::new(clock.clone(), pm_line.clone(), events.clone());
        let (cmos_told, pm_told) = (Told::default(), Told::default());
        let tell = |told: &Told| {
            let told = told.clone();
            Box::new(move |deadline| *told.lock().expect("a lock") = deadline)
        };
        cmos.notify_deadline(tell(&cmos_told));
        pm.notify_deadline(tell(&pm_told));
        let shared = test_lines.iter().map(|line| line.clone() as SharedIrqLine).collect();
        Rig {
            serial: Serial::new(serial_line.clone(), std::io::sink()),
            serial_line,
            cmos,
            cmos_line,
            cmos_told,
            cmos_model: Cmos::new(&config, setup.now.0),
            pm,
            pm_line,
            pm_told,
            pm_model: AcpiPm::new(setup.now.0),
            reset: ResetControl::new(events.clone()),
            i8042: I8042::new(events.clone()),
            test: TestDevice::new(shared, events.clone()),
            test_lines,
            typed: VecDeque::new(),
            looped: false,
            clock,
            events,
        }
    }

    /// Performs the operation; returns what the machine must be asked for.
    fn apply(&mut self, op: &Op) -> Vec<MachineEvent> {
        match op {
            Op::Out { port, data } => return self.out(nth_port(*port), &data.0),
            Op::OutByte { port, value } => return self.out(nth_port(*port), &[*value]),
            Op::RawOut { device, port, data } => {
                return self.out((*port, 0, usize::from(*device) % 6), &data.0)
            }
            Op::In { port, data } => self.read(nth_port(*port), data.0.clone()),
            Op::InByte { port } => self.read(nth_port(*port), vec![0]),
            Op::RawIn { device, port, data } => {
                self.read((*port, 0, usize::from(*device) % 6), data.0.clone());
            }
            Op::Cmos { register, value } => {
                let _ = self.out((layout::CMOS, 0, CMOS), &[*register]);
                match value {
                    Some(value) => drop(self.out((layout::CMOS, 1, CMOS), &[*value])),
                    None => self.read((layout::CMOS, 1, CMOS), vec![0]),
                }
            }
            Op::Pass { ns } => {
                let left = u64::MAX - self.clock.now();
                self.clock.advance(ns.0.min(left));
                self.advance();
            }
            Op::PassToDeadline => {
                let deadlines = [self.cmos.next_deadline(), self.pm.next_deadline()];
                if let Some(deadline) = deadlines.into_iter().flatten().min() {
                    self.clock.advance(deadline.saturating_sub(self.clock.now()));
                    self.advance();
                }
            }
            Op::Type { bytes } => {
                let taken = self.serial.enqueue(&bytes.0);
                assert!(taken == bytes.0.len() || !self.serial.wants_input());
                self.typed.extend(&bytes.0[..taken]);
            }
            Op::PowerButton => {
                self.pm.press_power_button();
                self.pm_model.press_power_button();
            }
            Op::MachineReset => {
                let cleared = self.serial.counters().cleared;
                self.serial.reset();
                self.forget_cleared(cleared);
                self.cmos.reset();
                self.cmos_model.reset();
                self.pm.reset();
                self.pm_model.reset();
                self.reset.reset();
                self.test.reset();
                assert!(self.test_lines.iter().all(|line| !line.level()));
            }
        }
        Vec::new()
    }

    fn advance(&mut self) {
        let now = self.clock.now();
        self.cmos.advance(now);
        self.cmos_model.advance(now);
        self.pm.advance(now);
        self.pm_model.advance(now);
        for deadline in [self.cmos.next_deadline(), self.pm.next_deadline()] {
            assert!(deadline.is_none_or(|at| at > now), "a deadline {deadline:?} before {now}");
        }
    }

    fn device(&mut self, device: usize) -> &mut dyn MutDevicePio {
        match device {
            SERIAL => &mut self.serial,
            CMOS => &mut self.cmos,
            PM => &mut self.pm,
            RESET => &mut self.reset,
            I8042_ => &mut self.i8042,
            _ => &mut self.test,
        }
    }

    fn out(&mut self, (base, offset, device): (u16, u16, usize), data: &[u8]) -> Vec<MachineEvent> {
        let cleared = self.serial.counters().cleared;
        let now = self.clock.now();
        self.device(device).pio_write(PioAddress(base), offset, data);
        let first = base.wrapping_add(offset);
        let bytes = (0..).zip(data).map(|(n, byte)| (first.wrapping_add(n), *byte));
        match device {
            SERIAL => {
                let at_mcr =
                    |(n, byte): (u16, &u8)| offset.checked_add(n) == Some(4) && byte & 0x10 != 0;
                self.looped |= (0..).zip(data).any(at_mcr);
                self.forget_cleared(cleared);
                Vec::new()
            }
            CMOS => {
                for (port, byte) in bytes {
                    match port {
                        layout::CMOS => self.cmos_model.select(byte),
                        _ if port == layout::CMOS + 1 => self.cmos_model.write(byte, now),
                        _ => {}
                    }
                }
                Vec::new()
            }
            PM => {
                let mut off = false;
                for (port, byte) in bytes {
                    off |= self.pm_model.write(port, byte, now);
                    let status = (layout::PM1A_EVENT..layout::PM1A_EVENT + 2).contains(&port);
                    let left = self.pm_model.read(port, now) & byte;
                    assert!(!status || left == 0, "a one clears its status bit");
                }
                Vec::from_iter(off.then_some(MachineEvent::Shutdown))
            }
            RESET => bytes.filter_map(|(port, byte)| reset_event(port, byte)).collect(),
            I8042_ => bytes
                .filter(|access| *access == (layout::I8042_COMMAND, 0xfe))
                .map(|_| MachineEvent::Reset(ResetCause::KeyboardController))
                .collect(),
            _ => Vec::from_iter(debug_exit(first, data)),
        }
    }

    fn read(&mut self, (base, offset, device): (u16, u16, usize), mut data: Vec<u8>) {
        let now = self.clock.now();
        let first = base.wrapping_add(offset);
        let receives = device == SERIAL && offset == 0 && data.len() == 1;
        let byte = receives.then(|| self.next_typed()).flatten();
        let before = self.serial.counters().consumed;
        self.device(device).pio_read(PioAddress(base), offset, &mut data);
        if let Some(byte) = byte {
            assert_eq!(data, [byte], "typed bytes arrive in order");
        }
        let read = self.serial.counters().consumed - before;
        self.typed.drain(..(read as usize).min(self.typed.len()));
        for (byte, n) in data.iter().zip(0..) {
            let port = first.wrapping_add(n);
            let expected = match device {
                PM => self.pm_model.read(port, now),
                CMOS if port == layout::CMOS + 1 => self.cmos_model.read(now),
                CMOS => 0xff,
                _ => continue,
            };
            assert_eq!(*byte, expected, "port {port:#x}");
        }
    }

    /// The byte that a read of the receiver must give now, where that is known.
    fn next_typed(&mut self) -> Option<u8> {
        let (line_status, line_control) = (self.serial.read(5), self.serial.read(3));
        let ready = line_status & 1 != 0 && line_control & 0x80 == 0;
        (ready && !self.looped).then(|| self.typed.front().copied()).flatten()
    }

    /// The receiver was emptied: the oldest bytes are gone.
    fn forget_cleared(&mut self, before: u64) {
        let cleared = (self.serial.counters().cleared - before) as usize;
        self.typed.drain(..cleared.min(self.typed.len()));
    }

    fn check(&mut self) {
        self.check_serial();
        assert_eq!(self.cmos_line.level(), self.cmos_model.irq());
        assert_eq!(self.pm_line.level(), self.pm_model.sci());
        assert_eq!(*self.cmos_told.lock().expect("a lock"), self.cmos.next_deadline());
        assert_eq!(*self.pm_told.lock().expect("a lock"), self.pm.next_deadline());
        for line in [&self.serial_line, &self.cmos_line, &self.pm_line] {
            let levels = line.levels();
            let alternates = |(n, level): (usize, &bool)| *level == (n % 2 == 0);
            assert!(levels.iter().enumerate().all(alternates), "changes only: {levels:?}");
        }
        self.check_cmos_deadline();
        self.check_pm_deadline();
    }

    /// INTR is up when the guest waits for something that is there, and down when it does not.
    fn check_serial(&mut self) {
        let counters = self.serial.counters();
        assert!(counters.consumed <= counters.enqueued);
        if !self.looped {
            assert!(counters.cleared <= counters.consumed);
            let ready = self.serial.read(5) & 1 != 0;
            assert_eq!(ready, !self.typed.is_empty(), "the guest sees all that was typed");
            assert_eq!(self.typed.len() as u64, counters.enqueued - counters.consumed);
        }
        if self.serial.read(3) & 0x80 != 0 {
            return; // The divisor latch hides IER.
        }
        let (enabled, status) = (self.serial.read(1), self.serial.read(5));
        if enabled & status & 1 != 0 {
            assert!(self.serial_line.level(), "received data, and no interrupt");
        }
        assert!(enabled & 3 != 0 || !self.serial_line.level(), "an interrupt that is not enabled");
    }

    /// The alarm clock rings at its deadline and not before.
    fn check_cmos_deadline(&self) {
        let mut chip = self.cmos_model.clone();
        chip.advance(self.clock.now());
        let irq = chip.irq();
        if let Some(deadline) = chip.next_deadline() {
            chip.advance(deadline - 1);
            assert_eq!(chip.irq(), irq, "before the deadline");
            chip.advance(deadline);
            assert_ne!(chip.irq(), irq, "nothing at the deadline");
        }
    }

    fn check_pm_deadline(&self) {
        let mut chip = self.pm_model.clone();
        chip.advance(self.clock.now());
        let sci = chip.sci();
        if let Some(deadline) = chip.next_deadline() {
            chip.advance(deadline - 1);
            assert_eq!(chip.sci(), sci, "before the deadline");
            chip.advance(deadline);
            assert_ne!(chip.sci(), sci, "nothing at the deadline");
        }
    }
}

fn reset_event(port: u16, value: u8) -> Option<MachineEvent> {
    let cause = match port {
        layout::RESET_PORT if value & 4 != 0 => ResetCause::ResetRegister,
        reset::SYSTEM_CONTROL_PORT_A if value & 1 != 0 => ResetCause::SystemControlPortA,
        _ => return None,
    };
    Some(MachineEvent::Reset(cause))
}

fn debug_exit(port: u16, data: &[u8]) -> Option<MachineEvent> {
    let value = data.iter().take(8).rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let hit = (testdev::DEBUG_EXIT..testdev::DEBUG_EXIT + 4).contains(&port);
    hit.then_some(MachineEvent::DebugExit(value << 1 | 1))
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let byte = |port: u16, value| Op::OutByte { port: index_of(port), value };
    let wide = |port: u16, data: &[u8]| Op::Out { port: index_of(port), data: Data(data.to_vec()) };
    let read = |port: u16| Op::InByte { port: index_of(port) };
    let setup = Setup { now: Num(1000), wall: Num(1_700_000_000 << 30), memory: Num(512 << 20) };
    let seed = |ops| Input { setup: setup.clone(), ops };
    let com1 = layout::COM1;
    let serial = vec![
        byte(com1 + 2, 0xc7),
        byte(com1 + 1, 3),
        Op::Type { bytes: Data(b"root\n".to_vec()) },
        Op::Type { bytes: Data(b"more than fits in".to_vec()[..16].to_vec()) },
        read(com1 + 2),
        byte(com1 + 2, 1),
        read(com1),
        read(com1),
        byte(com1, b'x'),
        read(com1 + 2),
        byte(com1 + 4, 0x10),
        byte(com1, b'l'),
        read(com1),
        byte(com1 + 4, 0x0b),
        byte(com1 + 3, 0x83),
        byte(com1, 1),
        byte(com1 + 3, 3),
        byte(com1 + 2, 0x07),
        Op::MachineReset,
    ];
    let clock = vec![
        Op::Cmos { register: 0x0a, value: Some(0x26) },
        Op::Cmos { register: 0x0b, value: Some(0x72) },
        Op::PassToDeadline,
        Op::Cmos { register: 0x0c, value: None },
        Op::PassToDeadline,
        Op::Cmos { register: 0x01, value: Some(0xff) },
        Op::Cmos { register: 0x0b, value: Some(0x22) },
        Op::Pass { ns: Num(1 << 45) },
        Op::Cmos { register: 0x0c, value: None },
        Op::Cmos { register: 0x0b, value: Some(0x86) },
        Op::Cmos { register: 0x08, value: Some(0x99) },
        Op::Cmos { register: 0x0b, value: Some(0x06) },
        Op::Cmos { register: 0x07, value: None },
    ];
    let power = vec![
        wide(layout::PM1A_EVENT + 2, &[1, 1]),
        Op::PassToDeadline,
        wide(layout::PM1A_EVENT, &[0xff, 0xff]),
        Op::PowerButton,
        wide(layout::PM1A_EVENT, &[0, 1, 0, 0, 0, 0x20]),
        wide(layout::PM1A_CONTROL, &[0, 0x20]),
        Op::In { port: index_of(layout::PM_TIMER), data: Data(vec![0; 4]) },
    ];
    let ends = vec![
        byte(layout::I8042_COMMAND, 0xfe),
        wide(layout::I8042_DATA, &[0xfe; 8]),
        byte(layout::RESET_PORT, 6),
        byte(reset::SYSTEM_CONTROL_PORT_A, 3),
        wide(testdev::DEBUG_EXIT, &[0x10, 0, 0, 0]),
        wide(testdev::LINES + 20, &[1; 8]),
        wide(testdev::STORAGE + 2, &[1; 16]),
        Op::RawOut { device: 5, port: u16::MAX, data: Data(vec![1; 16]) },
    ];
    vec![
        ("serial", seed(serial)),
        ("clock", seed(clock)),
        ("power", seed(power)),
        ("ends", seed(ends)),
    ]
}
