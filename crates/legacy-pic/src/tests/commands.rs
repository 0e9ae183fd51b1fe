// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIC-3, PIC-4 and PIC-5: operation command words, special mask mode, poll.

use super::*;

/// Levels in the order in which the master serves them when all ask at once.
fn order(bench: &mut Bench) -> [u8; 7] {
    for pin in [0, 1, 3, 4, 5, 6, 7] {
        let _ = bench.pulse(pin);
    }
    let mut order = [0; 7];
    for level in &mut order {
        *level = bench.cpu().unwrap() & 7;
        bench.out(M, 0x60 | *level);
    }
    order
}

#[test]
fn pic_3_ocw1_masks_and_the_latch_waits() {
    let mut bench = Bench::linux();
    bench.out(MD, 0x20);
    assert_eq!(bench.pulse(5), Delivery::Ignored);
    assert_eq!(bench.pulse(3), Delivery::Delivered(1));
    assert_eq!(bench.drain(), [0x33]);
    bench.out(MD, 0);
    assert_eq!(bench.drain(), [0x35]);
}

#[test]
fn pic_3_ocw1_of_the_cascade_masks_the_slave() {
    let mut bench = Bench::linux();
    bench.out(MD, 0x04);
    assert_eq!(bench.raise(9), Delivery::Ignored);
    assert_eq!(bench.cpu(), None);
    bench.out(MD, 0);
    assert_eq!(bench.drain(), [0x39]);
}

#[test]
fn pic_3_non_specific_eoi_ends_the_highest_in_service() {
    let mut bench = Bench::linux();
    for (pin, vector) in [(6, 0x36), (3, 0x33), (1, 0x31)] {
        let _ = bench.raise(pin);
        assert_eq!(bench.cpu(), Some(vector));
    }
    for isr in [0x48, 0x40, 0x00, 0x00] {
        bench.out(M, 0x20);
        assert_eq!(bench.isr(M), isr);
    }
    assert_eq!(bench.0.drain_eoi(), 1 << 6 | 1 << 3 | 1 << 1);
}

#[test]
fn pic_3_specific_eoi_ends_its_level_only() {
    let mut bench = Bench::linux();
    for pin in [6, 3, 1] {
        let _ = bench.raise(pin);
        assert!(bench.cpu().is_some());
    }
    bench.out(M, 0x63);
    assert_eq!(bench.isr(M), 0x42);
    bench.out(M, 0x64);
    assert_eq!(bench.isr(M), 0x42, "nothing of level 4 in service");
    assert_eq!(bench.0.drain_eoi(), 1 << 3);
}

#[test]
fn pic_3_set_priority_names_the_lowest() {
    for lowest in 0..8 {
        let mut bench = Bench::linux();
        bench.out(M, 0xc0 | lowest);
        let mut expected = (1..=8).map(|n| (lowest + n) % 8).filter(|level| *level != 2);
        assert_eq!(order(&mut bench), core::array::from_fn(|_| expected.next().unwrap()));
    }
}

#[test]
fn pic_3_rotate_on_non_specific_eoi_makes_the_ended_level_lowest() {
    // 8259A, "Automatic Rotation": IS6 and IS4 in service, IS4 ends and becomes the lowest.
    let mut bench = Bench::linux();
    for pin in [6, 4] {
        let _ = bench.pulse(pin);
        assert_eq!(bench.cpu(), Some(0x30 + pin));
    }
    bench.out(M, 0xa0);
    assert_eq!(bench.isr(M), 0x40);
    assert_eq!(bench.0.state().master.lowest_priority, 4);
    bench.out(M, 0x66);
    assert_eq!(order(&mut bench), [5, 6, 7, 0, 1, 3, 4]);
}

#[test]
fn pic_3_rotate_on_non_specific_eoi_with_nothing_in_service_is_nothing() {
    let mut bench = Bench::linux();
    bench.out(M, 0xa0);
    assert_eq!(order(&mut bench), [0, 1, 3, 4, 5, 6, 7]);
}

#[test]
fn pic_3_rotate_on_specific_eoi() {
    let mut bench = Bench::linux();
    for pin in [6, 4] {
        let _ = bench.pulse(pin);
        assert_eq!(bench.cpu(), Some(0x30 + pin));
    }
    bench.out(M, 0xe6);
    assert_eq!(bench.isr(M), 0x10);
    bench.out(M, 0x64);
    assert_eq!(order(&mut bench), [7, 0, 1, 3, 4, 5, 6]);
}

#[test]
fn pic_3_rotation_in_automatic_eoi_is_set_and_cleared() {
    let mut bench = Bench::with_icw4(0x03, 0x01);
    bench.out(M, 0x80);
    let _ = bench.pulse(3);
    assert_eq!(bench.cpu(), Some(0x33));
    assert_eq!(bench.0.state().master.lowest_priority, 3);
    bench.out(M, 0x00);
    let _ = bench.pulse(5);
    assert_eq!(bench.cpu(), Some(0x35));
    assert_eq!(bench.0.state().master.lowest_priority, 3, "cleared");
}

#[test]
fn pic_3_rotation_in_automatic_eoi_needs_automatic_eoi() {
    let mut bench = Bench::linux();
    bench.out(M, 0x80);
    let _ = bench.pulse(3);
    assert_eq!(bench.drain(), [0x33]);
    assert_eq!(bench.0.state().master.lowest_priority, 7);
}

#[test]
fn pic_3_nop_changes_nothing() {
    let mut bench = Bench::linux();
    let _ = bench.raise(3);
    assert!(bench.cpu().is_some());
    let before = bench.0.clone();
    for level in 0..8 {
        bench.out(M, 0x40 | level);
    }
    assert_eq!(bench.0, before);
}

#[test]
fn pic_3_ocw3_selects_irr_or_isr_until_told_otherwise() {
    let mut bench = Bench::linux();
    let _ = bench.pulse(6);
    assert!(bench.cpu().is_some());
    let _ = bench.pulse(7);
    assert_eq!(bench.inb(M), 0x80, "IRR after initialization");
    bench.out(M, 0x0b);
    assert_eq!([bench.inb(M), bench.inb(M)], [0x40, 0x40]);
    bench.out(M, 0x09).out(M, 0x08);
    assert_eq!(bench.inb(M), 0x40, "RR clear: RIS does not count");
    bench.out(M, 0x0a);
    assert_eq!(bench.inb(M), 0x80);
}

#[test]
fn pic_3_rotated_priorities_decide_who_interrupts_whom() {
    let mut bench = Bench::linux();
    bench.out(M, 0xc4);
    let _ = bench.raise(0);
    assert_eq!(bench.cpu(), Some(0x30));
    let _ = bench.raise(1);
    assert_eq!(bench.cpu(), None, "1 is below 0");
    let _ = bench.raise(6);
    assert_eq!(bench.cpu(), Some(0x36), "6 is above 0");
}

#[test]
fn pic_4_masking_the_level_in_service_opens_the_lower_ones() {
    for (smm, then) in [(false, None), (true, Some(0x36))] {
        let mut bench = Bench::linux();
        let _ = bench.raise(3);
        assert_eq!(bench.cpu(), Some(0x33));
        let _ = bench.raise(6);
        assert_eq!(bench.cpu(), None, "blocked by level 3");
        bench.out(MD, 0x08);
        if smm {
            bench.out(M, 0x68);
        }
        assert_eq!(bench.cpu(), then);
    }
}

#[test]
fn pic_4_unmasked_levels_in_service_still_block() {
    let mut bench = Bench::linux();
    for pin in [5, 3] {
        let _ = bench.raise(pin);
        assert!(bench.cpu().is_some());
    }
    bench.out(MD, 0x08).out(M, 0x68);
    let _ = bench.raise(6);
    assert_eq!(bench.cpu(), None, "5 is in service and not masked");
    let _ = bench.raise(4);
    assert_eq!(bench.cpu(), Some(0x34), "3 is masked");
}

#[test]
fn pic_4_resetting_the_mode_blocks_again() {
    let mut bench = Bench::linux();
    let _ = bench.raise(3);
    assert!(bench.cpu().is_some());
    let _ = bench.raise(6);
    bench.out(MD, 0x08).out(M, 0x68);
    assert!(bench.0.intr());
    bench.out(M, 0x28);
    assert!(bench.0.intr(), "ESMM clear: SMM does not count");
    bench.out(M, 0x48);
    assert!(!bench.0.intr());
}

#[test]
fn pic_5_poll_returns_the_level_and_puts_it_in_service() {
    let mut bench = Bench::linux();
    let _ = bench.pulse(6);
    let _ = bench.pulse(3);
    assert_eq!(bench.poll(M), 0x83);
    assert_eq!([bench.isr(M), bench.irr(M)], [0x08, 0x40]);
    assert_eq!(bench.poll(M), 0, "6 is below what is in service");
    bench.out(M, EOI);
    assert_eq!(bench.poll(M), 0x86);
}

#[test]
fn pic_5_nothing_pending_reads_bit_7_clear_and_changes_nothing() {
    let mut bench = Bench::linux();
    let before = bench.0.clone();
    assert_eq!([bench.poll(M) & 0x80, bench.poll(S) & 0x80], [0, 0]);
    assert_eq!(bench.0, before);
}

#[test]
fn pic_5_the_next_read_polls_whichever_port_it_is() {
    let mut bench = Bench::linux();
    bench.out(MD, 0x80);
    let _ = bench.pulse(3);
    bench.out(M, 0x0c);
    assert_eq!([bench.inb(MD), bench.inb(MD)], [0x83, 0x80], "the poll word, then IMR");
    // Poll overrides a register select in the same OCW3, which counts from the next read on.
    bench.out(M, 0x0f);
    assert_eq!([bench.inb(M), bench.inb(M)], [0x00, 0x08], "no poll result, then ISR");
}

#[test]
fn pic_5_polling_both_chips_serves_a_slave_request() {
    let mut bench = Bench::linux();
    let _ = bench.pulse(11);
    assert_eq!(bench.poll(M), 0x82, "the slave asks");
    assert_eq!(bench.poll(S), 0x83);
    assert_eq!([bench.isr(M), bench.isr(S)], [0x04, 0x08]);
    assert_eq!(bench.cpu(), None);
    bench.out(S, EOI).out(M, EOI);
    assert_eq!((bench.cpu(), bench.0.drain_eoi()), (None, 1 << 11));
}

#[test]
fn pic_5_polling_the_slave_alone_withdraws_its_request() {
    let mut bench = Bench::linux();
    let _ = bench.pulse(11);
    assert_eq!(bench.poll(S), 0x83);
    assert_eq!(bench.cpu(), None);
    assert_eq!([bench.irr(M), bench.isr(M), bench.isr(S)], [0, 0, 0x08]);
    assert_eq!(bench.0.inta(), Some(0x37), "no phantom of the slave's in the master");
    // Another request of the slave's is another edge, also while one is polled.
    let _ = bench.pulse(9);
    assert_eq!(bench.cpu(), Some(0x39));
}

#[test]
fn pic_5_polling_the_slave_does_not_end_the_masters_service() {
    let mut bench = Bench::linux();
    let _ = bench.pulse(12);
    assert_eq!(bench.cpu(), Some(0x3c));
    let _ = bench.pulse(9);
    assert_eq!(bench.poll(S), 0x81);
    assert_eq!(bench.isr(M), 0x04, "only an EOI ends it");
}
