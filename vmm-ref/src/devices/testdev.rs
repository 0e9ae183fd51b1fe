// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What bare-metal test kernels expect of a test machine (`--platform testdev=on`).
//!
//! The ports of QEMU's `isa-debug-exit` (as those kernels configure it, `iobase=0xf4,iosize=0x4`)
//! and `pc-testdev`:
//!
//! | ports | what |
//! |---|---|
//! | 0xf4..=0xf7 | write of any width: end with status `(value << 1) \| 1` |
//! | 0x2000..=0x2017 | byte write: line 0..=23 is asserted if the value is not 0 |
//! | 0xe0..=0xe3 | 32 bits of storage, for string and width tests of port I/O |
//! | 0xe8..=0xeb | the same 32 bits |
//!
//! **Not** supported: the page-flush port 0xe4 and the memory window at 0xff00_0000.

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;

use super::event::{MachineEvent, SharedEventSink};
use super::irq::SharedIrqLine;

/// First of the 4 debug exit ports.
pub const DEBUG_EXIT: u16 = 0xf4;
/// First of the line ports.
pub const LINES: u16 = 0x2000;
/// Number of line ports: one for each ISA line and IOAPIC pin.
pub const LINE_COUNT: u16 = 24;
/// First of the 4 storage ports.
pub const STORAGE: u16 = 0xe0;
/// First of the 4 ports that reach the same storage byte by byte.
pub const STORAGE_BYTES: u16 = 0xe8;

/// The port ranges (first port, number of ports) at which to register a [`TestDevice`].
pub const PORT_RANGES: [(u16, u16); 4] =
    [(DEBUG_EXIT, 4), (LINES, LINE_COUNT), (STORAGE, 4), (STORAGE_BYTES, 4)];

const LAST_DEBUG_EXIT: u16 = DEBUG_EXIT + 3;
const LAST_LINE: u16 = LINES + LINE_COUNT - 1;
const LAST_STORAGE: u16 = STORAGE + 3;
const LAST_STORAGE_BYTE: u16 = STORAGE_BYTES + 3;

/// The test machine's extra ports.
pub struct TestDevice {
    lines: Vec<SharedIrqLine>,
    storage: [u8; 4],
    events: SharedEventSink,
}

impl TestDevice {
    /// A device that drives `lines[n]` from port 0x2000 + n. With fewer than 24 lines the ports
    /// beyond are ignored, with more the lines beyond are never driven.
    pub fn new(lines: Vec<SharedIrqLine>, events: SharedEventSink) -> Self {
        Self { lines, storage: [0; 4], events }
    }

    /// The machine is reset: every line is low, the storage is empty.
    pub fn reset(&mut self) {
        self.storage = [0; 4];
        for line in &self.lines {
            line.set(false);
        }
    }

    fn set_line(&self, number: u16, level: bool) {
        if let Some(line) = self.lines.get(usize::from(number)) {
            line.set(level);
        }
    }

    fn storage(&mut self, port: u16) -> Option<&mut u8> {
        match port {
            STORAGE..=LAST_STORAGE | STORAGE_BYTES..=LAST_STORAGE_BYTE => {
                self.storage.get_mut(usize::from(port & 3))
            }
            _ => None,
        }
    }
}

impl MutDevicePio for TestDevice {
    fn pio_read(&mut self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        for (i, byte) in (0..=u16::MAX).zip(data.iter_mut()) {
            let port = base.0.wrapping_add(offset).wrapping_add(i);
            // The debug exit reads 0, as a probe for it expects; a line port has nothing to read.
            *byte = match (port, self.storage(port)) {
                (_, Some(stored)) => *stored,
                (DEBUG_EXIT..=LAST_DEBUG_EXIT, None) => 0,
                _ => 0xff,
            };
        }
    }

    fn pio_write(&mut self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let first = base.0.wrapping_add(offset);
        if (DEBUG_EXIT..=LAST_DEBUG_EXIT).contains(&first) {
            let status = little_endian(data).wrapping_shl(1) | 1;
            self.events.event(MachineEvent::DebugExit(status));
            return;
        }
        for (byte, i) in data.iter().zip(0..=u16::MAX) {
            let port = first.wrapping_add(i);
            if let Some(stored) = self.storage(port) {
                *stored = *byte;
            } else if (LINES..=LAST_LINE).contains(&port) {
                self.set_line(port - LINES, *byte != 0);
            }
        }
    }
}

/// The value of a port write, at most its low 8 bytes.
fn little_endian(data: &[u8]) -> u64 {
    data.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::event::RecordedEvents;
    use super::super::irq::RecordedLine;
    use super::*;

    struct Rig {
        device: TestDevice,
        lines: Vec<Arc<RecordedLine>>,
        events: Arc<RecordedEvents>,
    }

    fn rig() -> Rig {
        let lines: Vec<_> = (0..LINE_COUNT).map(|_| RecordedLine::new()).collect();
        let events = RecordedEvents::new();
        let shared = lines.iter().map(|line| line.clone() as SharedIrqLine).collect();
        Rig { device: TestDevice::new(shared, events.clone()), lines, events }
    }

    impl Rig {
        fn out(&mut self, port: u16, data: &[u8]) {
            let (base, _) =
                PORT_RANGES.into_iter().find(|(b, n)| (*b..b + n).contains(&port)).unwrap();
            self.device.pio_write(PioAddress(base), port - base, data);
        }

        fn inp<const N: usize>(&mut self, port: u16) -> [u8; N] {
            let mut data = [0x55; N];
            self.device.pio_read(PioAddress(port), 0, &mut data);
            data
        }
    }

    #[test]
    fn debug_exit_status_is_the_value_times_two_plus_one_at_every_width() {
        let mut rig = rig();
        rig.out(0xf4, &[0]);
        rig.out(0xf4, &[0x10, 0]);
        rig.out(0xf4, &[0x34, 0x12, 0, 0x80]);
        rig.out(0xf4, &[0, 0, 0, 0, 1, 0, 0, 0]);
        rig.out(0xf7, &[3]);
        let statuses: Vec<_> =
            [1, 0x21, 0x1_0000_2469, 0x2_0000_0001, 7].map(MachineEvent::DebugExit).into();
        assert_eq!(rig.events.take(), statuses);
    }

    #[test]
    fn a_port_drives_its_line_by_level() {
        let mut rig = rig();
        for n in 0..24 {
            rig.out(0x2000 + n, &[1]);
            rig.out(0x2000 + n, &[0x80]);
            rig.out(0x2000 + n, &[0]);
        }
        for line in &rig.lines {
            assert_eq!(line.levels(), [true, true, false]);
        }
    }

    #[test]
    fn a_wide_write_drives_one_line_for_each_byte() {
        let mut rig = rig();
        rig.out(0x2016, &[1, 1, 1, 1]);
        let high: Vec<_> = (0..24).filter(|n| rig.lines[*n].level()).collect();
        assert_eq!(high, [22, 23]);
    }

    #[test]
    fn storage_keeps_bytes_words_and_dwords_and_is_seen_at_both_places() {
        let mut rig = rig();
        rig.out(0xe0, &[1, 2, 3, 4]);
        rig.out(0xe9, &[0x22]);
        assert_eq!(rig.inp::<4>(0xe0), [1, 0x22, 3, 4]);
        assert_eq!(rig.inp::<2>(0xea), [3, 4]);
    }

    #[test]
    fn a_machine_reset_lowers_the_lines() {
        let mut rig = rig();
        rig.out(0x2005, &[1]);
        rig.out(0xe0, &[1]);
        rig.device.reset();
        assert!(rig.lines.iter().all(|line| !line.level()));
        assert_eq!(rig.inp::<1>(0xe0), [0]);
    }

    #[test]
    fn a_machine_with_fewer_lines_ignores_the_other_ports() {
        let events = RecordedEvents::new();
        let line = RecordedLine::new();
        let mut device = TestDevice::new(vec![line.clone()], events);
        device.pio_write(PioAddress(LINES), 0, &[1, 1, 1]);
        assert_eq!(line.levels(), [true]);
    }
}
