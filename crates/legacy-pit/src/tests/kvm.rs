// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PIT-12: `kvm_pit_state2`.

use kvm_bindings::{kvm_pit_channel_state, kvm_pit_state2};
use proptest::prelude::*;

use super::*;
use crate::kvm::KvmStateError;

/// As KVM resets its PIT.
fn kvm_reset(now: i64) -> kvm_pit_state2 {
    let channel = |gate| kvm_pit_channel_state {
        count: 65536,
        mode: 0xff,
        gate,
        count_load_time: now,
        ..Default::default()
    };
    kvm_pit_state2 { channels: [channel(1), channel(1), channel(0)], ..Default::default() }
}

/// A channel in a state that KVM can be in, with what it holds no more left at 0.
fn channel(gate: core::ops::RangeInclusive<u8>) -> impl Strategy<Value = kvm_pit_channel_state> {
    (
        (1..=65536u32, 0..6u8, 1..4u8, any::<bool>(), gate),
        (any::<u16>(), any::<bool>(), any::<bool>(), any::<u8>()),
        (any::<bool>(), any::<bool>(), any::<u8>(), any::<u32>()),
    )
        .prop_map(
            |((count, mode, rw, bcd, gate), (latched, has_count, second, status), rest)| {
                let (read_high, write_high, write_latch, age) = rest;
                let word = |high: bool| if rw == 3 && high { 4 } else { rw };
                let bcd_digits = format_bcd(count);
                kvm_pit_channel_state {
                    count: if bcd { bcd_digits } else { count },
                    latched_count: if has_count { latched } else { 0 },
                    count_latched: match (has_count, rw, second) {
                        (false, ..) => 0,
                        (true, 3, true) => 2,
                        (true, rw, _) => rw,
                    },
                    status_latched: second.into(),
                    status: if second { status } else { 0 },
                    read_state: word(read_high),
                    write_state: word(write_high),
                    write_latch: if rw == 3 && write_high { write_latch } else { 0 },
                    rw_mode: rw,
                    mode,
                    bcd: bcd.into(),
                    gate,
                    count_load_time: NOW - i64::from(age),
                }
            },
        )
}

fn format_bcd(count: u32) -> u32 {
    match count % 10000 {
        0 => 65536,
        count => u32::from_str_radix(&std::format!("{count}"), 16).unwrap(),
    }
}

const NOW: i64 = 5_000_000_000;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pit_12_what_kvm_holds_survives_both_ways(
        channels in [channel(1..=1), channel(1..=1), channel(0..=1)],
        speaker: bool,
    ) {
        let flags = if speaker { 2 } else { 0 };
        let kvm = kvm_pit_state2 { channels, flags, ..Default::default() };
        let pit = Pit::from_kvm_state(&kvm, NOW as u64).unwrap();
        prop_assert_eq!(pit.kvm_state(NOW as u64), kvm);
    }

    #[test]
    fn pit_12_load_times_stay_while_time_passes(
        channels in [channel(1..=1), channel(1..=1), channel(1..=1)],
        later: u32,
    ) {
        let mut kvm = kvm_pit_state2 { channels, ..Default::default() };
        // Half a count in mode 0 stands still, which the structure cannot say.
        kvm.channels.iter_mut().for_each(|channel| channel.write_state = channel.rw_mode);
        kvm.channels.iter_mut().for_each(|channel| channel.write_latch = 0);
        let pit = Pit::from_kvm_state(&kvm, NOW as u64).unwrap();
        prop_assert_eq!(pit.kvm_state(NOW as u64 + u64::from(later)), kvm);
    }

    #[test]
    fn pit_12_a_running_timer_goes_on_in_time(
        mode in 2..4u8, count in 2..=65536u32, ran in 2..10_000_000u64, ns_into: u16,
    ) {
        let mut bench = Bench::new();
        bench.out(0x43, 0x30 | mode << 1).count(0x40, count as u16).clk(ran);
        let now = ns(bench.tick) + u64::from(ns_into);
        let _ = bench.pit.advance(now);
        let mut moved = Pit::from_kvm_state(&bench.pit.kvm_state(now), now).unwrap();
        let (here, there) = (bench.pit.next_deadline().unwrap(), moved.next_deadline().unwrap());
        prop_assert!(here.abs_diff(there) <= 1, "a nanosecond of rounding: {here} {there}");
        let end = now + 1_000_000_000;
        let (here, there) = (bench.pit.advance(end).edges, moved.advance(end).edges);
        prop_assert!(here.abs_diff(there) <= 1);
    }

    #[test]
    fn all_2_any_kvm_state_is_taken_or_refused(
        bytes in any::<[[u8; 10]; 3]>(), counts in any::<[u16; 3]>(),
        times in any::<[i64; 3]>(), flags in 0..4u32, now: u64, later: u64,
    ) {
        let mut channels = [kvm_pit_channel_state::default(); 3];
        for (n, channel) in channels.iter_mut().enumerate() {
            let b = bytes[n];
            *channel = kvm_pit_channel_state {
                count: u32::from(counts[n]) * (u32::from(b[0]) % 3), latched_count: counts[n],
                count_latched: b[1] % 5, status_latched: b[2] % 2, status: b[2],
                read_state: b[3] % 5, write_state: b[4] % 5, write_latch: b[4],
                rw_mode: b[5] % 4, mode: if b[6] % 8 == 7 { 0xff } else { b[6] % 7 },
                bcd: b[7] % 2, gate: u8::from(b[8] % 8 > 0), count_load_time: times[n],
            };
        }
        let kvm = kvm_pit_state2 { channels, flags, ..Default::default() };
        if let Ok(mut pit) = Pit::from_kvm_state(&kvm, now) {
            let _ = pit.advance(now.max(later));
            pit.next_deadline();
            pit.kvm_state(now.max(later));
        }
    }
}

#[test]
fn pit_12_kvms_reset_state_is_unprogrammed_and_comes_back() {
    let kvm = kvm_reset(NOW);
    let pit = Pit::from_kvm_state(&kvm, NOW as u64 + 77).unwrap();
    assert_eq!(pit.next_deadline(), None);
    assert_eq!(pit.kvm_state(NOW as u64 + 1_000_000), kvm);
    let ours = Pit::new(NOW as u64).kvm_state(NOW as u64);
    assert_eq!(ours, kvm);
}

#[test]
fn pit_12_fields_mean_what_kvm_means_by_them() {
    let mut bench = Bench::new();
    bench.out(0x43, 0x34).count(0x40, 1000);
    bench.out(0x61, 0x03).out(0x43, 0xb6).count(0x42, 0).clk(1001);
    bench.out(0x43, 0xc8).inb(0x42);
    bench.inb(0x42);
    bench.out(0x42, 0x55).out(0x43, 0x00).inb(0x40);
    let now = ns(bench.tick);
    let kvm = bench.pit.kvm_state(now);
    let [timer, _, speaker] = kvm.channels;
    assert_eq!((timer.count, timer.mode, timer.rw_mode, timer.gate), (1000, 2, 3, 1));
    let load = ns(1) as i64;
    assert!([load - 1, load].contains(&timer.count_load_time), "the CLK after the write");
    assert_eq!((timer.latched_count, timer.count_latched), (1000, 2), "MSB to come");
    assert_eq!((speaker.count, speaker.mode), (65536, 3));
    assert_eq!((speaker.count_latched, speaker.status_latched), (2, 0));
    assert_eq!((speaker.write_state, speaker.write_latch), (4, 0x55));
    assert_eq!((speaker.read_state, kvm.flags), (3, 2));
}

#[test]
fn pit_12_kvm_would_count_as_many_clks_from_the_load_time() {
    // KVM's model: CLKs are (now - count_load_time) * 1193182 / 10^9, rounded down.
    let mut bench = Bench::new();
    bench.out(0x43, 0x34).count(0x40, 0);
    for ticks in 1..2000u64 {
        bench.clk(ticks % 7 + 1);
        let now = ns(bench.tick);
        let channel = bench.pit.kvm_state(now).channels[0];
        let passed = now as i128 - i128::from(channel.count_load_time);
        let clks = passed * 1_193_182 / 1_000_000_000;
        assert_eq!(clks, i128::from(bench.tick) - 1, "CLK {}", bench.tick);
    }
}

#[test]
fn pit_12_an_untriggered_one_shot_is_saved_as_over() {
    for (control, idle) in [(0xb2, 0xb2), (0xba, 0xba)] {
        let mut bench = Bench::new();
        bench.out(0x43, control).count(0x42, 500).clk(5);
        let now = ns(bench.tick);
        let kvm = bench.pit.kvm_state(now);
        bench.pit = Pit::from_kvm_state(&kvm, now).unwrap();
        assert_eq!(bench.status(2), idle, "OUT is high");
        bench.gate(true).clk(1 + 499);
        assert_eq!(bench.in16(0x42), 1, "and GATE still triggers it");
    }
}

#[test]
fn pit_12_a_load_still_to_come_is_still_to_come() {
    let mut bench = Bench::new();
    bench.clk(10).out(0x43, 0x30).count(0x40, 500);
    let now = ns(10);
    let kvm = bench.pit.kvm_state(now);
    assert!(kvm.channels[0].count_load_time > now as i64);
    let moved = Pit::from_kvm_state(&kvm, now).unwrap();
    let (here, there) = (bench.pit.next_deadline().unwrap(), moved.next_deadline().unwrap());
    assert!(here.abs_diff(there) <= 1);
}

#[test]
fn pit_12_a_count_that_replaces_another_rises_when_it_would_have() {
    for control in [0x34, 0x36] {
        let mut bench = Bench::new();
        bench.out(0x43, control).count(0x40, 1000).clk(900).count(0x40, 5000);
        let now = ns(bench.tick);
        let moved = Pit::from_kvm_state(&bench.pit.kvm_state(now), now).unwrap();
        let (here, there) = (bench.pit.next_deadline().unwrap(), moved.next_deadline().unwrap());
        assert!(here.abs_diff(there) <= 1, "{here} {there}");
    }
}

#[test]
fn pit_12_what_no_8254_is_is_refused() {
    let mut good = kvm_reset(NOW);
    (good.channels[0].mode, good.channels[0].rw_mode) = (2, 3);
    type Spoil = fn(&mut kvm_pit_channel_state);
    let cases: [(&str, Spoil); 8] = [
        ("mode", |c| c.mode = 6),
        ("rw_mode", |c| c.rw_mode = 0),
        ("count", |c| c.count = 65537),
        ("count_latched", |c| c.count_latched = 4),
        ("read_state", |c| c.read_state = 5),
        ("write_state", |c| (c.rw_mode, c.write_state) = (1, 4)),
        ("gate", |c| c.gate = 2),
        ("bcd", |c| c.bcd = 2),
    ];
    for (name, spoil) in cases {
        let mut kvm = good;
        spoil(&mut kvm.channels[0]);
        let error = Pit::from_kvm_state(&kvm, NOW as u64).unwrap_err();
        assert!(matches!(error, KvmStateError::Field(field, _) if field == name), "{error}");
    }
    let mut kvm = good;
    kvm.flags = 1;
    assert_eq!(Pit::from_kvm_state(&kvm, NOW as u64), Err(KvmStateError::Flags(1)));
    let early = Pit::from_kvm_state(&good, NOW as u64 - 1_000_000);
    assert_eq!(early, Err(KvmStateError::LoadTime(1_000_000)));
    let mut kvm = good;
    kvm.channels[0].gate = 0;
    assert!(matches!(Pit::from_kvm_state(&kvm, NOW as u64), Err(KvmStateError::State(_))));
}
