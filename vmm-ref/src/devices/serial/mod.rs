// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The serial port: a 16550A at 0x3f8 on IRQ 4.
//!
//! [`vm_superio::Serial`] keeps the registers, the receive buffer and the transmitter. On top of it
//! this module has what an edge-triggered interrupt input and a host that types fast need:
//!
//! * INTR follows the data sheet (the `interrupts` module), and every access that serves a cause
//!   while another is left gives the line a new edge. A driver never waits for an edge that was
//!   before its time, whether it loops over the causes or takes one character per interrupt.
//! * Input that does not fit into the FIFO waits in a bounded backlog and follows as the guest
//!   reads. Nothing is dropped: [`Serial::enqueue`] says how much it took, and a [`RoomNotifier`]
//!   says when there is room again.
//!
//! **Not** supported: line errors and break, modem status changes, the effect of the baud rate (the
//! transmitter is always empty), RTS/DTR flow control towards the host, OUT2 as an interrupt gate.

mod interrupts;
mod output;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;
use vm_superio::serial::NoEvents;
use vm_superio::Trigger;

use interrupts::Interrupts;
pub use output::{OutputStop, SerialOutput};

use super::irq::SharedIrqLine;

/// Number of ports.
pub const PORT_COUNT: u16 = 8;
/// Bytes of input that wait for the guest at most.
pub const BACKLOG_LIMIT: usize = 64 * 1024;
/// The backlog at which a [`RoomNotifier`] is called, after it was full.
const BACKLOG_LOW: usize = BACKLOG_LIMIT / 2;

/// Receiver buffer (read), transmitter holding register (write), divisor latch low.
const DATA: u8 = 0;
/// Interrupt enable, divisor latch high.
const IER: u8 = 1;
/// Interrupt identification (read), FIFO control (write).
const IIR_FCR: u8 = 2;
/// Line control.
const LCR: u8 = 3;
/// Modem control.
const MCR: u8 = 4;

/// LCR bit 7: offsets 0 and 1 are the divisor latch.
const LCR_DLAB: u8 = 1 << 7;
/// MCR bit 4: what is transmitted is received, the line is cut off.
const MCR_LOOPBACK: u8 = 1 << 4;
/// MCR bits of a 16550A; the others read 0.
const MCR_WRITABLE: u8 = 0b0001_1111;
/// IER bits of a 16550A; the others read 0.
const IER_WRITABLE: u8 = 0b0000_1111;

/// Called on the vCPU's thread, under the port's lock, when the backlog has room again after it was
/// full. It must not call the port, nor take a lock under which anybody calls the port: an event
/// descriptor's write is what it is for.
pub type RoomNotifier = Box<dyn Fn() + Send>;

/// The serial port.
pub struct Serial {
    uart: vm_superio::Serial<NoTrigger, NoEvents, CountedOutput>,
    interrupts: Interrupts,
    line: SharedIrqLine,
    asserted: bool,
    backlog: VecDeque<u8>,
    /// An enqueue was cut short and the notifier has not been called since.
    was_full: bool,
    room: Option<RoomNotifier>,
    counters: SerialCounters,
}

/// How many bytes went through a [`Serial`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SerialCounters {
    /// Bytes the host gave.
    pub enqueued: u64,
    /// Bytes of them that are no longer waiting: the guest read them or cleared its FIFO.
    pub consumed: u64,
    /// Bytes of them that were lost because the guest cleared its FIFO.
    pub cleared: u64,
    /// Bytes the guest sent.
    pub transmitted: u64,
    /// Bytes of them that the host end did not take.
    pub lost_output: u64,
}

impl Serial {
    /// A port as after reset, with an empty backlog.
    pub fn new(line: SharedIrqLine, output: impl Write + Send + 'static) -> Self {
        let output = CountedOutput::new(output);
        Self {
            uart: vm_superio::Serial::new(NoTrigger, output),
            interrupts: Interrupts::default(),
            line,
            asserted: false,
            backlog: VecDeque::new(),
            was_full: false,
            room: None,
            counters: SerialCounters::default(),
        }
    }

    /// Calls `notifier` whenever there is room for input after an [`enqueue`](Self::enqueue) did
    /// not take all.
    pub fn notify_room(&mut self, notifier: RoomNotifier) {
        self.room = Some(notifier);
    }

    /// The machine is reset: the registers are as after power-on, the receiver is empty. The host
    /// side (output, backlog, counters) stays.
    pub fn reset(&mut self) {
        self.counters.cleared += self.received() as u64;
        let fresh = vm_superio::Serial::new(NoTrigger, CountedOutput::new(io::sink()));
        let output = std::mem::replace(&mut self.uart, fresh).into_writer();
        *self.uart.writer_mut() = output;
        self.interrupts = Interrupts::default();
        self.feed();
        self.update_line();
        self.tell_room();
    }

    /// Gives input to the guest. Returns how many bytes were taken, from the front; the caller
    /// keeps the rest and waits for [`wants_input`](Self::wants_input).
    #[must_use = "what was not taken must be given again"]
    pub fn enqueue(&mut self, input: &[u8]) -> usize {
        let taken = input.len().min(BACKLOG_LIMIT.saturating_sub(self.backlog.len()));
        self.was_full |= taken < input.len();
        self.backlog.extend(input.iter().take(taken));
        self.counters.enqueued += taken as u64;
        if taken != 0 {
            self.feed();
            // A fresh edge even if INTR was asserted: a guest that missed one is woken by typing.
            self.renew_line();
        }
        taken
    }

    /// Whether [`enqueue`](Self::enqueue) would take anything.
    pub fn wants_input(&self) -> bool {
        self.backlog.len() < BACKLOG_LIMIT
    }

    /// Whether the guest has a driver that waits for input: received characters interrupt it.
    pub fn listens(&self) -> bool {
        self.interrupts.receiver_enabled()
    }

    /// The byte counters.
    pub fn counters(&self) -> SerialCounters {
        let output = self.uart.writer();
        let waiting = self.backlog.len() + self.received();
        SerialCounters {
            consumed: self.counters.enqueued.saturating_sub(waiting as u64),
            transmitted: output.written + output.lost,
            lost_output: output.lost,
            ..self.counters
        }
    }

    /// Reads the register at `offset` (0..=7) from the first port; 0xff beyond.
    pub fn read(&mut self, offset: u8) -> u8 {
        match offset {
            DATA if !self.divisor_latch() => self.read_receiver(),
            IIR_FCR => {
                let received = self.received();
                let id = self.interrupts.read_identification(received);
                self.update_line();
                id
            }
            0..=7 => self.uart.read(offset),
            _ => 0xff,
        }
    }

    /// Writes the register at `offset` (0..=7) from the first port; ignored beyond.
    pub fn write(&mut self, offset: u8, value: u8) {
        match offset {
            DATA if !self.divisor_latch() => {
                self.uart_write(DATA, value);
                self.interrupts.transmitted();
                self.renew_line();
            }
            IER if !self.divisor_latch() => {
                self.uart_write(IER, value & IER_WRITABLE);
                self.interrupts.write_enable(value & IER_WRITABLE);
                self.update_line();
            }
            IIR_FCR => self.write_fifo_control(value),
            MCR => {
                self.uart_write(MCR, value & MCR_WRITABLE);
                // Input that waited for the end of loopback.
                self.feed();
                self.update_line();
            }
            _ => self.uart_write(offset, value),
        }
    }

    fn read_receiver(&mut self) -> u8 {
        let byte = self.uart.read(DATA);
        self.feed();
        self.renew_line();
        self.tell_room();
        byte
    }

    fn write_fifo_control(&mut self, value: u8) {
        if self.interrupts.write_fifo_control(value) {
            self.clear_receiver();
        }
        self.feed();
        self.update_line();
        self.tell_room();
    }

    /// Moves input from the backlog to the receiver, as far as it has room.
    fn feed(&mut self) {
        if self.loopback() {
            return;
        }
        let room = self.interrupts.receiver_depth().saturating_sub(self.received());
        for _ in 0..room {
            let Some(byte) = self.backlog.pop_front() else { return };
            // The depth is below vm-superio's own, so the byte is taken.
            let _ = self.uart.enqueue_raw_bytes(&[byte]);
        }
    }

    /// Drops what the receiver holds.
    fn clear_receiver(&mut self) {
        self.counters.cleared += self.received() as u64;
        let line_control = self.uart.read(LCR);
        self.uart_write(LCR, line_control & !LCR_DLAB);
        while self.received() != 0 {
            self.uart.read(DATA);
        }
        self.uart_write(LCR, line_control);
    }

    /// Says once that there is room, some time after an enqueue was cut short.
    fn tell_room(&mut self) {
        if self.was_full && self.backlog.len() <= BACKLOG_LOW {
            self.was_full = false;
            if let Some(notify) = &self.room {
                notify();
            }
        }
    }

    /// Brings the line to INTR.
    fn update_line(&mut self) {
        let intr = self.interrupts.intr(self.received());
        if intr != self.asserted {
            self.asserted = intr;
            self.line.set(intr);
        }
    }

    /// Brings the line to INTR through "not asserted", so that what is pending makes an edge.
    fn renew_line(&mut self) {
        if self.asserted {
            self.asserted = false;
            self.line.set(false);
        }
        self.update_line();
    }

    /// Characters in the receiver.
    fn received(&self) -> usize {
        VM_SUPERIO_FIFO.saturating_sub(self.uart.fifo_capacity())
    }

    fn divisor_latch(&mut self) -> bool {
        self.uart.read(LCR) & LCR_DLAB != 0
    }

    fn loopback(&mut self) -> bool {
        self.uart.read(MCR) & MCR_LOOPBACK != 0
    }

    fn uart_write(&mut self, offset: u8, value: u8) {
        // The only error is the output's, which `CountedOutput` has counted; the trigger has none.
        let _ = self.uart.write(offset, value);
    }
}

impl MutDevicePio for Serial {
    fn pio_read(&mut self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        for (byte, offset) in data.iter_mut().zip(u32::from(offset)..) {
            *byte = u8::try_from(offset).map_or(0xff, |offset| self.read(offset));
        }
    }

    fn pio_write(&mut self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        for (byte, offset) in data.iter().zip(u32::from(offset)..) {
            if let Ok(offset @ 0..=7) = u8::try_from(offset) {
                self.write(offset, *byte);
            }
        }
    }
}

/// vm-superio's receive buffer, in characters.
const VM_SUPERIO_FIFO: usize = 64;

/// vm-superio's own interrupt events are not used: see the `interrupts` module.
struct NoTrigger;

impl Trigger for NoTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl CountedOutput {
    fn new(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to), written: 0, lost: 0 }
    }
}

/// The host end, counted.
struct CountedOutput {
    to: Box<dyn Write + Send>,
    written: u64,
    lost: u64,
}

impl Write for CountedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.to.write_all(bytes);
        match result {
            Ok(()) => self.written += bytes.len() as u64,
            Err(_) => self.lost += bytes.len() as u64,
        }
        result.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
