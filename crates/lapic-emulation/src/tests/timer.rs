// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-7: the timer.

use proptest::prelude::*;

use super::{config, Rig, TSC_HZ};
use crate::spec::{reg, MSR_TSC_DEADLINE};
use crate::{Config, GeneralProtection, Now};

const ONE_SHOT: u32 = 0x40;
const PERIODIC: u32 = 0x2_0040;
const DEADLINE: u32 = 0x4_0040;
const DIVIDE_BY_1: u32 = 0xb;

/// Bus cycles of 1 ns, divisor 1.
fn timer(lvt: u32, initial: u32) -> Rig {
    let mut rig = Rig::xapic();
    rig.write(reg::TDCR, DIVIDE_BY_1);
    rig.write(reg::LVT_TIMER, lvt);
    rig.write(reg::TMICT, initial);
    rig
}

#[test]
fn lap_7_one_shot_fires_once() {
    let mut rig = timer(ONE_SHOT, 500);
    assert_eq!(rig.lapic.next_deadline(), Some(1_500));
    assert_eq!((rig.pass(499), rig.read(reg::TMCCT)), (0, 1));
    assert_eq!(rig.lapic.pending(), None);
    assert_eq!((rig.pass(1), rig.read(reg::TMCCT)), (1, 0));
    assert_eq!(rig.take(), Some(0x40));
    assert_eq!(rig.lapic.next_deadline(), None);
    rig.eoi();
    assert_eq!((rig.pass(10_000), rig.lapic.pending()), (0, None));
}

#[test]
fn lap_7_periodic_reloads() {
    let mut rig = timer(PERIODIC, 500);
    for period in 1..=5 {
        assert_eq!(rig.lapic.next_deadline(), Some(1_000 + period * 500));
        assert_eq!(rig.pass(499), 0);
        assert_eq!(rig.pass(1), 1);
        assert_eq!(rig.read(reg::TMCCT), 500);
        assert_eq!(rig.take(), Some(0x40));
        rig.eoi();
    }
}

#[test]
fn lap_7_missed_periods_make_one_interrupt_and_keep_the_phase() {
    let mut rig = timer(PERIODIC, 1);
    // An hour of missed nanoseconds takes no longer than one.
    assert_eq!(rig.pass(3_600_000_000_000), 3_600_000_000_000);
    assert_eq!(rig.take(), Some(0x40));
    assert_eq!(rig.lapic.irr(), [0; 4]);
    let mut rig = timer(PERIODIC, 500);
    assert_eq!(rig.pass(1_750), 3);
    assert_eq!(rig.lapic.next_deadline(), Some(1_000 + 2_000));
    assert_eq!(rig.read(reg::TMCCT), 250);
}

#[test]
fn lap_7_divide_values() {
    let table = [(0x0, 2), (0x1, 4), (0x2, 8), (0x3, 16), (0x8, 32), (0x9, 64), (0xa, 128)];
    for (tdcr, divisor) in table.into_iter().chain([(DIVIDE_BY_1, 1)]) {
        let mut rig = Rig::xapic();
        rig.write(reg::TDCR, tdcr);
        rig.write(reg::LVT_TIMER, ONE_SHOT);
        rig.write(reg::TMICT, 10);
        assert_eq!(rig.lapic.next_deadline(), Some(1_000 + 10 * divisor), "{tdcr:#x}");
        rig.pass(3 * divisor);
        assert_eq!(rig.read(reg::TMCCT), 7);
        assert_eq!(rig.pass(7 * divisor), 1);
    }
}

#[test]
fn lap_7_a_new_divisor_keeps_the_count_and_changes_the_rate() {
    let mut rig = timer(ONE_SHOT, 100);
    rig.pass(40);
    rig.write(reg::TDCR, 0x0); // by 2
    assert_eq!(rig.read(reg::TMCCT), 60);
    assert_eq!(rig.lapic.next_deadline(), Some(1_000 + 40 + 120));
    rig.pass(119);
    assert_eq!((rig.read(reg::TMCCT), rig.pass(1)), (1, 1));
}

#[test]
fn lap_7_initial_count_0_stops() {
    let mut rig = timer(PERIODIC, 500);
    rig.pass(100);
    rig.write(reg::TMICT, 0);
    assert_eq!((rig.lapic.next_deadline(), rig.read(reg::TMCCT)), (None, 0));
    assert_eq!(rig.pass(10_000), 0);
}

#[test]
fn lap_7_writing_the_initial_count_restarts() {
    let mut rig = timer(ONE_SHOT, 500);
    rig.pass(499);
    rig.write(reg::TMICT, 500);
    assert_eq!(rig.lapic.next_deadline(), Some(1_999));
    assert_eq!((rig.pass(499), rig.pass(1)), (0, 1));
}

/// As KVM's unit test `test_apic_change_mode`, which also passes on hardware.
#[test]
fn lap_7_one_shot_and_periodic_share_the_counter() {
    let mut rig = timer(PERIODIC, 1_000);
    assert_eq!(rig.read(reg::TMICT), 1_000);
    rig.write(reg::LVT_TIMER, ONE_SHOT);
    rig.write(reg::TMICT, 1_000);
    rig.pass(600);
    rig.write(reg::LVT_TIMER, PERIODIC);
    assert_eq!(rig.read(reg::TMCCT), 400, "not reset");
    assert_eq!((rig.pass(500), rig.read(reg::TMCCT)), (1, 900), "wrapped");
    rig.pass(500);
    rig.write(reg::LVT_TIMER, ONE_SHOT);
    assert_eq!(rig.read(reg::TMCCT), 400, "not reset");
    assert_eq!((rig.pass(400), rig.read(reg::TMCCT)), (1, 0));
    rig.write(reg::LVT_TIMER, PERIODIC);
    assert_eq!((rig.pass(5_000), rig.read(reg::TMCCT)), (0, 0), "stays at zero");
}

#[test]
fn lap_7_a_masked_timer_counts_in_silence() {
    let mut rig = timer(PERIODIC | 0x1_0000, 500);
    assert_eq!(rig.lapic.next_deadline(), None);
    rig.now.ns += 700;
    assert_eq!(rig.read(reg::TMCCT), 300);
    rig.write(reg::LVT_TIMER, PERIODIC);
    assert_eq!(rig.lapic.pending(), None, "what expired masked is gone");
    assert_eq!(rig.lapic.next_deadline(), Some(2_000));
    rig.pass(300);
    assert_eq!(rig.take(), Some(0x40));
}

#[test]
fn lap_7_an_expiry_before_a_register_write_is_not_lost() {
    let changes: [fn(&mut Rig); 4] = [
        |rig| rig.write(reg::TMICT, 900),
        |rig| rig.write(reg::TDCR, 0),
        |rig| rig.write(reg::LVT_TIMER, 0x1_0040),
        |rig| rig.write(reg::SVR, 0xff),
    ];
    for change in changes {
        let mut rig = timer(ONE_SHOT, 500);
        rig.now.ns += 600;
        change(&mut rig);
        assert_eq!(rig.take(), Some(0x40));
    }
}

#[test]
fn lap_7_tsc_deadline_fires_when_the_tsc_is_there() {
    let mut rig = timer(DEADLINE, 0);
    let deadline = rig.now.tsc + 3_001;
    rig.wrmsr(MSR_TSC_DEADLINE, deadline).expect("arm");
    assert_eq!(rig.rdmsr(MSR_TSC_DEADLINE), Ok(deadline));
    // 3001 ticks of 1/3 ns: the nanosecond after.
    assert_eq!(rig.lapic.next_deadline(), Some(1_000 + 1_001));
    assert_eq!((rig.pass(1_000), rig.pass(1)), (0, 1));
    assert_eq!(rig.rdmsr(MSR_TSC_DEADLINE), Ok(0), "disarmed by expiry");
    assert_eq!(rig.take(), Some(0x40));
    assert_eq!(rig.lapic.next_deadline(), None);
}

#[test]
fn lap_7_a_past_deadline_fires_at_once_and_0_disarms() {
    let mut rig = timer(DEADLINE, 0);
    rig.wrmsr(MSR_TSC_DEADLINE, 1).expect("past");
    assert_eq!(rig.take(), Some(0x40));
    rig.eoi();
    rig.wrmsr(MSR_TSC_DEADLINE, rig.now.tsc + 3_000).expect("arm");
    rig.wrmsr(MSR_TSC_DEADLINE, 0).expect("disarm");
    assert_eq!((rig.lapic.next_deadline(), rig.pass(5_000)), (None, 0));
}

#[test]
fn lap_7_the_tsc_decides_when_the_clocks_disagree() {
    let mut rig = timer(DEADLINE, 0);
    rig.wrmsr(MSR_TSC_DEADLINE, rig.now.tsc + 3_000).expect("arm");
    // The clock ran ahead of the TSC: nothing fires, and the rest is waited for.
    let late = Now { ns: rig.now.ns + 1_000, tsc: rig.now.tsc + 1_500 };
    assert_eq!(rig.lapic.advance(late), 0);
    assert_eq!(rig.lapic.next_deadline(), Some(late.ns + 500));
    // The guest set its TSC forward.
    let jumped = Now { ns: late.ns + 1, tsc: late.tsc + 1_200 };
    rig.lapic.tsc_changed(jumped);
    assert_eq!(rig.lapic.next_deadline(), Some(jumped.ns + 100));
    let due = Now { ns: jumped.ns + 100, tsc: jumped.tsc + 300 };
    assert_eq!(rig.lapic.advance(due), 1);
}

#[test]
fn lap_7_deadline_msr_and_initial_count_exclude_each_other() {
    let mut rig = timer(PERIODIC, 500);
    rig.wrmsr(MSR_TSC_DEADLINE, rig.now.tsc + 3).expect("ignored, not refused");
    assert_eq!(rig.rdmsr(MSR_TSC_DEADLINE), Ok(0));
    assert_eq!(rig.lapic.next_deadline(), Some(1_500));
    let mut rig = timer(DEADLINE, 0);
    rig.write(reg::TMICT, 500);
    assert_eq!((rig.read(reg::TMICT), rig.read(reg::TMCCT)), (0, 0));
    assert_eq!(rig.lapic.next_deadline(), None);
}

#[test]
fn lap_7_changing_to_or_from_deadline_mode_disarms() {
    let mut rig = timer(PERIODIC, 500);
    rig.write(reg::LVT_TIMER, DEADLINE);
    assert_eq!((rig.read(reg::TMICT), rig.lapic.next_deadline()), (0, None));
    rig.wrmsr(MSR_TSC_DEADLINE, rig.now.tsc + 3_000).expect("arm");
    rig.write(reg::LVT_TIMER, DEADLINE | 0x1_0000);
    assert_ne!(rig.rdmsr(MSR_TSC_DEADLINE), Ok(0), "masking does not disarm");
    rig.write(reg::LVT_TIMER, ONE_SHOT);
    rig.write(reg::LVT_TIMER, DEADLINE);
    assert_eq!(rig.rdmsr(MSR_TSC_DEADLINE), Ok(0));
    rig.write(reg::LVT_TIMER, 0x6_0040); // reserved mode: nothing counts
    rig.write(reg::TMICT, 5);
    assert_eq!(rig.pass(100), 0);
}

#[test]
fn lap_7_without_deadline_mode_there_is_no_msr_and_no_bit() {
    let mut rig = Rig::with(Config { tsc_deadline: false, ..config() });
    rig.write(reg::SVR, 0x1ff);
    assert_eq!(rig.wrmsr(MSR_TSC_DEADLINE, 1), Err(GeneralProtection));
    rig.write(reg::LVT_TIMER, DEADLINE);
    assert_eq!(rig.read(reg::LVT_TIMER), ONE_SHOT);
}

#[test]
fn lap_7_a_clock_that_steps_back_stands_still() {
    let mut rig = timer(PERIODIC, 500);
    rig.pass(200);
    rig.now.ns = 0;
    assert_eq!(rig.lapic.advance(rig.now), 0);
    assert_eq!(rig.read(reg::TMCCT), 500);
}

#[test]
fn lap_7_the_longest_times_do_not_overflow() {
    for bus_hz in [1, 1_000_000_000, 1 << 37] {
        let mut rig = Rig::with(Config { bus_hz, tsc_hz: 1, ..config() });
        rig.write(reg::SVR, 0x1ff);
        rig.write(reg::TDCR, 0xa);
        rig.write(reg::LVT_TIMER, PERIODIC);
        rig.write(reg::TMICT, u32::MAX);
        assert!(rig.lapic.next_deadline().is_some());
        rig.lapic.advance(Now { ns: u64::MAX, tsc: u64::MAX });
        rig.now = Now { ns: u64::MAX, tsc: 0 };
        rig.read(reg::TMCCT);
        rig.write(reg::TDCR, 0x3);
        rig.write(reg::LVT_TIMER, DEADLINE);
        rig.wrmsr(MSR_TSC_DEADLINE, u64::MAX).expect("arm");
        assert_eq!(rig.lapic.next_deadline(), Some(u64::MAX));
    }
}

proptest! {
    /// However the time is cut up, the periods add up to exact arithmetic: no drift.
    #[test]
    fn lap_7_periods_add_up_over_any_advances(
        bus_hz in prop_oneof![Just(1_000_000_000u64), Just(66_666_667), 1_000_000u64..=10_000_000_000],
        tdcr in 0u32..16,
        initial in 1u32..=1_000_000,
        steps in prop::collection::vec(0u64..=50_000_000, 1..60),
    ) {
        let mut rig = Rig::with(Config { bus_hz, ..config() });
        rig.write(reg::SVR, 0x1ff);
        rig.write(reg::TDCR, tdcr);
        rig.write(reg::LVT_TIMER, PERIODIC);
        rig.write(reg::TMICT, initial);
        let divisor = [2u128, 4, 8, 16, 32, 64, 128, 1][(tdcr & 3 | tdcr >> 1 & 4) as usize];
        let period = u128::from(initial) * divisor * 1_000_000_000;
        let (mut elapsed, mut fired) = (0u64, 0u128);
        for step in steps {
            elapsed += step;
            fired += u128::from(rig.pass(step));
            prop_assert_eq!(fired, u128::from(elapsed) * u128::from(bus_hz) / period);
            // The deadline is the first nanosecond at which the next period is over.
            let next = ((fired + 1) * period).div_ceil(u128::from(bus_hz)) as u64;
            prop_assert_eq!(rig.lapic.next_deadline(), Some(1_000 + next));
            let count = u128::from(elapsed) * u128::from(bus_hz) % period / (divisor * 1_000_000_000);
            prop_assert_eq!(u128::from(rig.read(reg::TMCCT)), u128::from(initial) - count);
        }
    }

    /// Advancing at the announced deadline fires, one nanosecond before it does not.
    #[test]
    fn lap_7_tsc_deadline_is_announced_to_the_nanosecond(ticks in 1u64..=1 << 40) {
        let mut rig = timer(DEADLINE, 0);
        rig.wrmsr(MSR_TSC_DEADLINE, rig.now.tsc + ticks).expect("arm");
        let at = rig.lapic.next_deadline().expect("armed");
        let now = |ns: u64| Now { ns, tsc: 3_000 + (ns - 1_000) * (TSC_HZ / 1_000_000_000) };
        prop_assert_eq!(rig.lapic.advance(now(at - 1)), 0);
        prop_assert_eq!(rig.lapic.advance(now(at)), 1);
    }
}
