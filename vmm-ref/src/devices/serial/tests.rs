// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port as drivers see it through an edge-triggered interrupt input.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::super::irq::{IrqLine, RecordedLine};
use super::*;

const LSR: u8 = 5;
const SCRATCH: u8 = 7;
const LSR_DATA_READY: u8 = 1;

const RECEIVED: u8 = 0x01;
const TRANSMITTER_EMPTY: u8 = 0x02;

/// The host end of the transmit line.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u8>>>);

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn port() -> (Serial, Arc<RecordedLine>) {
    let line = RecordedLine::new();
    (Serial::new(line.clone(), io::sink()), line)
}

// --- The data sheet's registers ---

#[test]
fn intr_follows_a_received_character_until_it_is_read() {
    let (mut port, line) = port();
    port.write(IER, RECEIVED);
    assert_eq!(port.enqueue(b"k"), 1);
    assert!(line.level());
    assert_eq!(port.read(IIR_FCR), 0x04);
    assert!(line.level(), "identifying does not acknowledge received data");
    assert_eq!(port.read(IIR_FCR), 0x04);
    assert_eq!(port.read(DATA), b'k');
    assert!(!line.level());
    assert_eq!(port.read(IIR_FCR), 0x01);
}

#[test]
fn nothing_is_asserted_while_its_interrupt_is_disabled() {
    let (mut port, line) = port();
    assert_eq!(port.enqueue(b"k"), 1);
    port.write(DATA, b'x');
    assert_eq!((port.read(IIR_FCR), line.edges()), (0x01, 0));
    // What waited is asserted with the enable.
    port.write(IER, RECEIVED);
    assert_eq!((port.read(IIR_FCR), line.level()), (0x04, true));
    port.write(IER, 0);
    assert_eq!((port.read(IIR_FCR), line.level()), (0x01, false));
}

#[test]
fn enabling_the_transmitter_interrupt_raises_it_and_reading_iir_acknowledges_it() {
    let (mut port, line) = port();
    for round in 1..=2 {
        port.write(IER, TRANSMITTER_EMPTY);
        assert_eq!((line.level(), line.edges()), (true, round));
        assert_eq!(port.read(IIR_FCR), 0x02);
        assert_eq!((line.level(), port.read(IIR_FCR)), (false, 0x01));
        // Without a change of its bit the write of the register raises nothing.
        port.write(IER, TRANSMITTER_EMPTY);
        assert!(!line.level());
        port.write(IER, 0);
    }
}

#[test]
fn a_transmitted_character_raises_the_transmitter_interrupt_again() {
    let (mut port, line) = port();
    port.write(IER, TRANSMITTER_EMPTY);
    port.read(IIR_FCR);
    port.write(DATA, b'x');
    assert_eq!((line.level(), port.read(IIR_FCR)), (true, 0x02));
}

#[test]
fn received_data_comes_before_the_transmitter_and_neither_hides_the_other() {
    let (mut port, line) = port();
    port.write(IER, RECEIVED | TRANSMITTER_EMPTY);
    assert_eq!(port.enqueue(b"k"), 1);
    assert_eq!(port.read(IIR_FCR), 0x04);
    port.read(DATA);
    assert!(line.level());
    assert_eq!(port.read(IIR_FCR), 0x02);
    assert_eq!((port.read(IIR_FCR), line.level()), (0x01, false));
}

#[test]
fn fifo_mode_shows_in_iir_and_its_trigger_level_tells_data_from_timeout() {
    let (mut port, _) = port();
    port.write(IER, RECEIVED);
    port.write(IIR_FCR, 0b1000_0001);
    assert_eq!(port.read(IIR_FCR), 0xc1);
    assert_eq!(port.enqueue(b"1234567"), 7);
    assert_eq!(port.read(IIR_FCR), 0xcc, "7 characters are below the trigger level 8");
    assert_eq!(port.enqueue(b"8"), 1);
    assert_eq!(port.read(IIR_FCR), 0xc4);
    port.write(IIR_FCR, 0);
    assert_eq!(port.read(IIR_FCR), 0x01);
}

#[test]
fn trigger_levels_are_those_of_the_data_sheet() {
    for (bits, level) in [(0, 1), (1, 4), (2, 8), (3, 14)] {
        let mut interrupts = Interrupts::default();
        interrupts.write_enable(RECEIVED);
        let _ = interrupts.write_fifo_control(bits << 6 | 1);
        assert_eq!(interrupts.read_identification(level), 0xc4);
        if level > 1 {
            assert_eq!(interrupts.read_identification(level - 1), 0xcc);
        }
    }
}

#[test]
fn clearing_the_receive_fifo_drops_it_and_the_backlog_follows() {
    let (mut port, line) = port();
    port.write(IER, RECEIVED);
    port.write(IIR_FCR, 1);
    assert_eq!(port.enqueue(b"0123456789abcdefREST"), 20);
    port.write(LCR, LCR_DLAB);
    port.write(IIR_FCR, 0b0000_0011);
    assert_eq!((port.read(LCR), port.counters().cleared), (LCR_DLAB, 16));
    port.write(LCR, 0);
    let rest: Vec<u8> = (0..4).map(|_| port.read(DATA)).collect();
    assert_eq!((rest.as_slice(), line.level()), (&b"REST"[..], false));
}

#[test]
fn fifo_control_bits_count_only_with_the_enable_bit() {
    let (mut port, _) = port();
    assert_eq!(port.enqueue(b"k"), 1);
    port.write(IIR_FCR, 0b1100_0010);
    assert_eq!((port.read(IIR_FCR), port.read(DATA)), (0x01, b'k'));
}

#[test]
fn the_divisor_latch_hides_data_and_enable_registers() {
    let (mut port, line) = port();
    assert_eq!(port.enqueue(b"k"), 1);
    port.write(LCR, LCR_DLAB);
    port.write(DATA, 0x01);
    port.write(IER, 0x03);
    assert_eq!((port.read(DATA), port.read(IER)), (0x01, 0x03));
    assert_eq!((line.edges(), port.counters().transmitted), (0, 0));
    port.write(LCR, 0x03);
    assert_eq!((port.read(IER), port.read(DATA)), (0, b'k'));
}

#[test]
fn loopback_returns_what_is_sent_and_input_waits_outside() {
    let sent = Sent::default();
    let mut port = Serial::new(RecordedLine::new(), sent.clone());
    port.write(MCR, MCR_LOOPBACK);
    assert_eq!(port.enqueue(b"host"), 4);
    port.write(DATA, 0xae);
    assert_eq!((port.read(LSR) & LSR_DATA_READY, port.read(DATA)), (LSR_DATA_READY, 0xae));
    assert_eq!(port.read(LSR) & LSR_DATA_READY, 0);
    port.write(MCR, 0);
    assert_eq!((port.read(DATA), sent.bytes()), (b'h', vec![]));
}

#[test]
fn unimplemented_bits_read_zero_and_scratch_keeps_all() {
    // What Linux's probe looks at: IER bits 7:4 tell other UARTs apart.
    let (mut port, _) = port();
    port.write(IER, 0xff);
    port.write(MCR, 0xff);
    port.write(SCRATCH, 0xa5);
    assert_eq!([port.read(IER), port.read(MCR), port.read(SCRATCH)], [0x0f, 0x1f, 0xa5]);
}

#[test]
fn a_machine_reset_keeps_the_host_side() {
    let (line, sent) = (RecordedLine::new(), Sent::default());
    let mut port = Serial::new(line.clone(), sent.clone());
    port.write(IER, RECEIVED);
    port.write(DATA, b'1');
    assert_eq!(port.enqueue(b"abc"), 3);
    port.reset();
    assert_eq!((port.read(IER), line.level()), (0, false));
    port.write(DATA, b'2');
    assert_eq!(sent.bytes(), b"12");
    // What was in the receiver is gone, what waited outside follows.
    assert_eq!([port.read(DATA), port.read(DATA)], *b"bc");
    let counters = port.counters();
    assert_eq!((counters.transmitted, counters.consumed, counters.cleared), (2, 3, 1));
}

// --- The host side ---

#[test]
fn input_beyond_the_backlog_is_refused_and_room_is_told_once() {
    let (mut port, _) = port();
    let told = Arc::new(AtomicUsize::new(0));
    port.notify_room(Box::new({
        let told = told.clone();
        move || {
            told.fetch_add(1, Ordering::SeqCst);
        }
    }));
    // One character waits in the receiver, not in the backlog.
    let flood = vec![b'x'; 2 * BACKLOG_LIMIT];
    let mut taken = port.enqueue(&flood);
    taken += port.enqueue(&flood[taken..]);
    assert_eq!((taken, port.wants_input()), (BACKLOG_LIMIT + 1, false));
    assert_eq!(port.enqueue(&flood), 0);
    port.read(DATA);
    assert!(port.wants_input());
    for _ in 0..BACKLOG_LIMIT {
        port.read(DATA);
    }
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert_eq!(port.counters().consumed, (BACKLOG_LIMIT + 1) as u64);
}

#[test]
fn counters_tell_what_the_guest_has_read() {
    let (mut port, _) = port();
    port.write(IIR_FCR, 1);
    assert_eq!(port.enqueue(&[7; 40]), 40);
    assert_eq!(port.counters().consumed, 0);
    port.read(DATA);
    let counters = port.counters();
    assert_eq!((counters.enqueued, counters.consumed, counters.cleared), (40, 1, 0));
}

#[test]
fn output_that_the_host_does_not_take_is_counted_and_stops_nothing() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let line = RecordedLine::new();
    let mut port = Serial::new(line.clone(), Broken);
    port.write(IER, TRANSMITTER_EMPTY);
    port.read(IIR_FCR);
    port.write(DATA, b'x');
    assert_eq!((port.counters().lost_output, line.level()), (1, true));
}

// --- Drivers behind an edge-triggered input ---

/// An interrupt input that latches rising edges, as the 8259A's and an IOAPIC's edge pins do.
#[derive(Default)]
struct EdgeInput {
    level: AtomicBool,
    latched: AtomicBool,
}

impl IrqLine for EdgeInput {
    fn set(&self, level: bool) {
        if level && !self.level.swap(level, Ordering::SeqCst) {
            self.latched.store(true, Ordering::SeqCst);
        }
        self.level.store(level, Ordering::SeqCst);
    }
}

struct Machine {
    port: Serial,
    input: Arc<EdgeInput>,
    sent: Sent,
}

impl Machine {
    fn new() -> Self {
        let (input, sent) = (Arc::new(EdgeInput::default()), Sent::default());
        Self { port: Serial::new(input.clone(), sent.clone()), input, sent }
    }

    /// Types `text` as fast as the port takes it; runs `handler` once for each interrupt, which is
    /// acknowledged before. Ends when nothing is left to type and no interrupt is pending.
    fn type_in(&mut self, mut text: &[u8], mut handler: impl FnMut(&mut Serial)) {
        loop {
            let taken = self.port.enqueue(text);
            text = &text[taken..];
            if !self.input.latched.swap(false, Ordering::SeqCst) {
                assert_eq!(text.len(), 0, "the guest sleeps and the port is full");
                return;
            }
            handler(&mut self.port);
        }
    }
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// A driver in the manner of Linux's 8250: loops until IIR says "nothing", receives as long as
/// there is data (at most 256 at a time), sends FIFO by FIFO, stops the transmitter interrupt when
/// there is nothing to send.
#[derive(Default)]
struct LoopingDriver {
    to_send: VecDeque<u8>,
    received: usize,
}

impl LoopingDriver {
    fn interrupt(&mut self, port: &mut Serial) {
        while port.read(IIR_FCR) & 1 == 0 {
            for _ in 0..256 {
                if port.read(LSR) & LSR_DATA_READY == 0 {
                    break;
                }
                self.to_send.push_back(port.read(DATA));
                self.received += 1;
            }
            if !self.to_send.is_empty() {
                port.write(IER, RECEIVED | TRANSMITTER_EMPTY);
            }
            for byte in self.to_send.drain(..self.to_send.len().min(16)) {
                port.write(DATA, byte);
            }
            if self.to_send.is_empty() {
                port.write(IER, RECEIVED);
            }
        }
    }
}

#[test]
fn a_looping_driver_echoes_256_kib_without_loss() {
    for fifo_control in [0, 0x01, 0x41, 0x81, 0xc1] {
        let mut machine = Machine::new();
        machine.port.write(IIR_FCR, fifo_control);
        machine.port.write(IER, RECEIVED);
        let (typed, mut driver) = (text(256 << 10), LoopingDriver::default());
        machine.type_in(&typed, |port| driver.interrupt(port));
        assert_eq!(driver.received, typed.len());
        assert!(machine.sent.bytes() == typed, "FCR {fifo_control:#x}");
    }
}

#[test]
fn a_driver_that_takes_one_character_per_interrupt_loses_none() {
    for fifo_control in [0, 0x01, 0x81] {
        let mut machine = Machine::new();
        machine.port.write(IIR_FCR, fifo_control);
        machine.port.write(IER, RECEIVED);
        let (typed, mut received) = (text(64 << 10), Vec::new());
        machine.type_in(&typed, |port| {
            if port.read(LSR) & LSR_DATA_READY != 0 {
                received.push(port.read(DATA));
            }
        });
        assert!(received == typed, "FCR {fifo_control:#x}");
    }
}

#[test]
fn a_driver_that_sends_one_character_per_interrupt_sends_all() {
    // It has no other interrupt enabled, so it does not look at IIR.
    let mut machine = Machine::new();
    machine.port.write(IER, TRANSMITTER_EMPTY);
    let (to_send, mut next) = (text(1000), 0);
    machine.type_in(&[], |port| {
        if let Some(byte) = to_send.get(next) {
            port.write(DATA, *byte);
            next += 1;
        }
    });
    assert!(machine.sent.bytes() == to_send);
}

#[test]
fn a_driver_that_serves_one_cause_per_interrupt_loses_none() {
    let mut machine = Machine::new();
    machine.port.write(IIR_FCR, 0x81);
    machine.port.write(IER, RECEIVED | TRANSMITTER_EMPTY);
    let (typed, mut waiting) = (text(64 << 10), VecDeque::new());
    machine.type_in(&typed, |port| match port.read(IIR_FCR) & 0x0f {
        0x04 | 0x0c => {
            waiting.push_back(port.read(DATA));
            // Nothing is sent from here: the transmitter's own interrupt has to come.
            port.write(IER, RECEIVED);
            port.write(IER, RECEIVED | TRANSMITTER_EMPTY);
        }
        0x02 => {
            if let Some(byte) = waiting.pop_front() {
                port.write(DATA, byte);
            }
        }
        _ => {}
    });
    assert!(machine.sent.bytes() == typed);
}

#[test]
fn input_that_came_while_a_console_had_the_interrupts_off_is_received() {
    // Linux's console masks IER while it prints, with the receiver's interrupt pending or not.
    let mut machine = Machine::new();
    machine.port.write(IER, RECEIVED);
    let mut driver = LoopingDriver::default();
    for (i, key) in text(1000).into_iter().enumerate() {
        machine.port.write(IER, 0);
        if i % 2 == 0 {
            assert_eq!(machine.port.enqueue(&[key]), 1);
        }
        machine.port.write(DATA, b'#');
        machine.port.write(IER, RECEIVED);
        machine.type_in(&[], |port| driver.interrupt(port));
        assert_eq!(driver.received, i / 2 + 1);
    }
}

#[test]
fn a_guest_that_missed_an_edge_is_woken_by_the_next_key() {
    // The edge of the first key went to a masked IOAPIC pin, which forgets it.
    let mut machine = Machine::new();
    machine.port.write(IER, RECEIVED);
    assert_eq!(machine.port.enqueue(b"a"), 1);
    machine.input.latched.store(false, Ordering::SeqCst);
    let mut driver = LoopingDriver::default();
    machine.type_in(b"b", |port| driver.interrupt(port));
    assert_eq!(machine.sent.bytes(), b"ab");
}

// --- Why vm-superio's own interrupts are not used ---

mod vm_superio_alone {
    use super::*;

    #[derive(Clone, Default)]
    struct Events(Arc<AtomicUsize>);

    impl Trigger for Events {
        type E = Infallible;
        fn trigger(&self) -> Result<(), Infallible> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[test]
    fn two_causes_are_reported_as_a_line_error() {
        let mut uart = vm_superio::Serial::new(Events::default(), io::sink());
        uart.write(IER, RECEIVED | TRANSMITTER_EMPTY).unwrap();
        uart.enqueue_raw_bytes(b"k").unwrap();
        // 0b0110 is "receiver line status" in the data sheet's table.
        assert_eq!(uart.read(IIR_FCR) & 0x0f, 0b0110);
    }

    #[test]
    fn a_driver_that_takes_one_character_per_interrupt_stalls() {
        let events = Events::default();
        let mut uart = vm_superio::Serial::new(events.clone(), io::sink());
        uart.write(IER, RECEIVED).unwrap();
        uart.enqueue_raw_bytes(b"two").unwrap();
        let mut handled = 0;
        while handled < events.0.load(Ordering::SeqCst) {
            handled += 1;
            uart.read(DATA);
        }
        // Two characters wait, no interrupt is to come, and IIR says that nothing is pending.
        assert_eq!((handled, uart.read(LSR) & LSR_DATA_READY), (1, LSR_DATA_READY));
        assert_eq!(uart.read(IIR_FCR) & 0x0f, 0x01);
    }
}

// --- Any access ---

#[derive(Clone, Debug)]
enum Step {
    Read(u16, usize),
    Write(u16, Vec<u8>),
    Enqueue(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![9 => 0..8_u16, 1 => any::<u16>()];
    prop_oneof![
        4 => (offset.clone(), 0..9_usize).prop_map(|(at, len)| Step::Read(at, len)),
        4 => (offset, prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(at, data)| Step::Write(at, data)),
        1 => (0..200_usize).prop_map(Step::Enqueue),
    ]
}

proptest! {
    #[test]
    fn any_access_has_a_result_and_the_line_is_intr_after_it(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let (mut port, line) = port();
        let base = PioAddress(0x3f8);
        for step in steps {
            match step {
                Step::Read(at, len) => port.pio_read(base, at, &mut vec![0; len]),
                Step::Write(at, data) => port.pio_write(base, at, &data),
                Step::Enqueue(len) => prop_assert_eq!(port.enqueue(&vec![1; len]), len),
            }
            prop_assert_eq!(line.level(), port.interrupts.intr(port.received()));
            prop_assert!(port.received() <= VM_SUPERIO_FIFO);
        }
    }
}
