// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIC-1 and PIC-8: ports, widths, ELCR.

use super::*;
use crate::{AccessError, InvalidPin};

#[test]
fn pic_1_six_ports_answer_and_no_other() {
    let mut pic = PicPair::new();
    for port in 0..=u16::MAX {
        let answers = matches!(port, 0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1);
        let expected = if answers { Ok(()) } else { Err(AccessError::Port(port)) };
        assert_eq!(pic.clone().write(port, &[0x11]), expected);
        assert_eq!(pic.read(port, &mut [0]), expected);
    }
}

#[test]
fn pic_1_wide_accesses_are_errors_and_change_nothing() {
    let mut bench = Bench::linux();
    let _ = bench.raise(3);
    // A pending poll would be consumed by a read.
    bench.out(M, 0x0c);
    let before = bench.0.clone();
    for port in [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1] {
        for width in [0, 2, 4, 8] {
            let mut data = [0x5a; 8];
            let refused = Err(AccessError::Width(width));
            assert_eq!(bench.0.read(port, &mut data[..width]), refused);
            assert_eq!(data, [0x5a; 8]);
            assert_eq!(bench.0.write(port, &[0x11; 8][..width]), refused);
            assert_eq!(bench.0, before);
        }
    }
}

#[test]
fn pic_1_each_port_reaches_its_own_register() {
    let mut bench = Bench::linux();
    bench.out(MD, 0x12).out(SD, 0x34).out(0x4d0, 0x08).out(0x4d1, 0x02);
    assert_eq!([bench.inb(MD), bench.inb(SD)], [0x12, 0x34]);
    assert_eq!([bench.inb(0x4d0), bench.inb(0x4d1)], [0x08, 0x02]);
    bench.out(MD, 0).out(SD, 0);
    let _ = bench.raise(7);
    let _ = bench.raise(12);
    assert_eq!([bench.irr(M), bench.irr(S)], [0x84, 0x10]);
    assert_eq!(bench.cpu(), Some(0x3c));
    assert_eq!([bench.isr(M), bench.isr(S)], [0x04, 0x10]);
}

#[test]
fn pic_8_only_the_bits_that_exist_can_be_written() {
    let mut bench = Bench::linux();
    for value in 0..=0xff {
        bench.out(0x4d0, value).out(0x4d1, value);
        assert_eq!([bench.inb(0x4d0), bench.inb(0x4d1)], [value & 0xf8, value & 0xde]);
    }
}

#[test]
fn pic_8_irqs_0_1_2_8_and_13_stay_edge_triggered() {
    for pin in [0, 1, 8, 13] {
        let mut bench = Bench::linux();
        bench.out(0x4d0, 0xff).out(0x4d1, 0xff);
        let _ = bench.raise(pin);
        assert_eq!(bench.drain().len(), 1, "IRQ{pin} held high is one edge");
        assert_eq!(bench.pulse(pin), Delivery::Ignored, "no rise while high");
        assert_eq!(bench.pulse(pin), Delivery::Delivered(1));
        assert_eq!(bench.drain().len(), 1);
    }
    // IRQ2 is the cascade: one level request of the slave is one request, held or not.
    let mut bench = Bench::linux();
    bench.out(0x4d0, 0xff).out(0x4d1, 0xff);
    let _ = bench.raise(10);
    assert_eq!(bench.cpu(), Some(0x3a));
    assert_eq!(bench.irr(M) & 4, 0, "the edge is used up");
}

#[test]
fn pic_8_a_level_pin_asks_until_it_goes_low() {
    let mut bench = Bench::linux();
    bench.out(0x4d0, 0x20).out(0x4d1, 0x04);
    for pin in [5, 10] {
        let _ = bench.raise(pin);
        for _ in 0..3 {
            assert_eq!(bench.cpu(), Some(0x30 + pin));
            assert_eq!(bench.cpu(), None, "in service");
            if pin >= 8 {
                bench.out(S, EOI);
            }
            bench.out(M, EOI);
        }
        let _ = bench.lower(pin);
        assert_eq!(bench.cpu(), None);
    }
}

#[test]
fn pic_8_changing_the_trigger_mode_makes_the_request_follow() {
    let mut bench = Bench::linux();
    // A latched pulse on a pin that becomes level-triggered and is low: no request.
    let _ = bench.pulse(5);
    assert!(bench.0.intr());
    bench.out(0x4d0, 0x20);
    assert!(!bench.0.intr());
    // High while level, then edge: a new rising edge is needed.
    let _ = bench.raise(5);
    assert!(bench.0.intr());
    bench.out(0x4d0, 0);
    assert!(!bench.0.intr());
    let _ = bench.pulse(5);
    assert!(!bench.0.intr());
    let _ = bench.raise(5);
    assert!(bench.0.intr());
    // High while edge and served, then level: it asks at once.
    assert_eq!(bench.drain(), [0x35]);
    bench.out(0x4d0, 0x20);
    assert_eq!(bench.cpu(), Some(0x35));
}

#[test]
fn pic_9_pins_beyond_15_are_errors() {
    let mut pic = Bench::linux().0;
    let before = pic.clone();
    for pin in 16..=u8::MAX {
        assert_eq!(pic.set_irq(pin, true), Err(InvalidPin(pin)));
    }
    assert_eq!(pic.set_irq(2, true), Ok(Delivery::Ignored), "the cascade is the slave's");
    assert_eq!(pic, before);
}
