// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8254 driven by the host's timers: deadlines out, pulses on IRQ0 in.
//!
//! `cargo run -p legacy-pit --example timer_wheel`

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use legacy_pic::PicPair;
use legacy_pit::Pit;

/// No more than one wake-up per this many nanoseconds for a guest that asks for megahertz.
const FLOOR: u64 = 100_000;

/// The host's timers and its clock. A real one sleeps in a timerfd or in `epoll_wait` until the
/// first of its deadlines; here time jumps there.
#[derive(Default)]
struct Timers {
    now: u64,
    armed: BinaryHeap<Reverse<u64>>,
}

impl Timers {
    /// Arms the PIT's timer, not before the floor. The one that was armed before need not be
    /// cancelled: a timer that fires too early finds no edge and arms the right one.
    fn arm(&mut self, pit: &Pit) {
        if let Some(deadline) = pit.next_deadline() {
            self.armed.push(Reverse(deadline.max(self.now + FLOOR)));
        }
    }

    fn sleep(&mut self, until: u64) -> bool {
        match self.armed.pop() {
            Some(Reverse(deadline)) if deadline <= until => {
                self.now = self.now.max(deadline);
                true
            }
            _ => false,
        }
    }
}

/// The board: what the lock around PIC and PIT protects.
struct Board {
    pic: PicPair,
    pit: Pit,
    timers: Timers,
    ticks: u64,
    merged: u64,
}

impl Board {
    /// Every write to the PIT may move its deadline: arm again.
    fn write(&mut self, port: u16, byte: u8) -> Result<(), Box<dyn std::error::Error>> {
        if matches!(port, 0x40..=0x43 | 0x61) {
            self.pit.write(port, &[byte], self.timers.now)?;
            self.timers.arm(&self.pit);
        } else {
            self.pic.write(port, &[byte])?;
        }
        Ok(())
    }

    /// The timer fired: one pulse for however many edges there were, then the level that the
    /// line has. A VMM that wants to give the guest each tick keeps `edges` and raises the next
    /// one at the EOI.
    fn timer_fired(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let irq0 = self.pit.advance(self.timers.now);
        if irq0.edges > 0 {
            let _ = self.pic.set_irq(0, false)?;
            let _ = self.pic.set_irq(0, true)?;
            self.merged += irq0.edges - 1;
        }
        let _ = self.pic.set_irq(0, irq0.level)?;
        self.timers.arm(&self.pit);
        Ok(())
    }

    /// The guest, which takes the interrupt and ends it.
    fn run_guest(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        while self.pic.intr() && self.pic.inta() == Some(0x30) {
            self.ticks += 1;
            self.write(0x20, 0x20)?;
        }
        Ok(())
    }

    fn run_until(&mut self, end: u64) -> Result<(), Box<dyn std::error::Error>> {
        while self.timers.sleep(end) {
            self.timer_fired()?;
            self.run_guest()?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut board = Board {
        pic: PicPair::new(),
        pit: Pit::new(0),
        timers: Timers::default(),
        ticks: 0,
        merged: 0,
    };
    for (port, byte) in [(0x20, 0x11), (0x21, 0x30), (0x21, 0x04), (0x21, 0x01)] {
        board.write(port, byte)?;
    }

    // Counter 0 as a rate generator, 11932 CLKs: 100 Hz, less a little.
    for (port, byte) in [(0x43, 0x34), (0x40, 0x9c), (0x40, 0x2e)] {
        board.write(port, byte)?;
    }
    board.run_until(1_000_000_000)?;
    println!("one second at 100 Hz: {} ticks", board.ticks);
    assert_eq!((board.ticks, board.merged), (99, 0));

    // Two CLKs, 596 591 Hz: the floor holds the host's timer back and loses no count.
    (board.ticks, board.timers.now) = (0, 1_000_000_000);
    for (port, byte) in [(0x43, 0x34), (0x40, 0x02), (0x40, 0x00)] {
        board.write(port, byte)?;
    }
    board.run_until(1_100_000_000)?;
    println!("0.1 s at 596 kHz: {} ticks for {} edges", board.ticks, board.ticks + board.merged);
    assert!(board.ticks <= 100_000_000 / FLOOR && board.ticks + board.merged > 59_000);

    println!("size_of Pit: {} bytes", size_of::<Pit>());
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
