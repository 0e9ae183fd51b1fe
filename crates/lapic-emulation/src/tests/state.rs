// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-17: saved state.

use irq_routing::DeliveryMode;

use super::{config, message, Rig};
use crate::spec::{reg, MSR_APIC_BASE, MSR_TSC_DEADLINE};
use crate::{
    Config, Lapic, LapicState, LvtIndex, Now, Signals, StartState, StateError, TimerState,
};

/// Restores onto a host whose clocks show something else.
fn migrate(rig: &Rig, to: Now) -> Lapic {
    Lapic::from_state(*rig.lapic.config(), &rig.lapic.state(rig.now), to).expect("a real state")
}

#[test]
fn lap_17_vectors_in_flight_survive() {
    let mut rig = Rig::xapic();
    rig.level(0x31);
    assert_eq!(rig.take(), Some(0x31));
    rig.edge(0x55);
    rig.edge(0x05);
    let later = Now { ns: 5, tsc: 9 };
    let mut moved = migrate(&rig, later);
    assert_eq!(moved.state(later), rig.lapic.state(rig.now));
    assert_eq!(moved.pending(), Some(0x55));
    assert_eq!(moved.eoi(&mut rig.events), Some(0x31));
}

#[test]
fn lap_17_a_running_counter_keeps_its_phase_to_the_nanocycle() {
    let mut rig = Rig::with(Config { bus_hz: 66_666_667, ..config() });
    rig.write(reg::SVR, 0x1ff);
    rig.write(reg::TDCR, 0x1);
    rig.write(reg::LVT_TIMER, 0x2_0040);
    rig.write(reg::TMICT, 1_001);
    rig.pass(123_456_789);
    rig.now.ns += 7;
    for host in [0u64, 1 << 40] {
        let mut moved = migrate(&rig, Now { ns: host, tsc: 0 });
        let mut stayed = rig.lapic.clone();
        for ns in (0..1_000_000).step_by(997) {
            let here = Now { ns: rig.now.ns + ns, tsc: 0 };
            let there = Now { ns: host + ns, tsc: 0 };
            assert_eq!(moved.advance(there), stayed.advance(here), "{ns} ns on");
            assert_eq!(moved.state(there), stayed.state(here));
        }
    }
}

#[test]
fn lap_17_an_expiry_that_was_due_fires_after_the_restore() {
    for lvt in [0x40, 0x2_0040] {
        let mut rig = Rig::xapic();
        rig.write(reg::LVT_TIMER, lvt);
        rig.write(reg::TMICT, 100);
        rig.now.ns += 1_050; // 5 periods of 200 ns, none seen
        let to = Now { ns: 77, tsc: 0 };
        let mut moved = migrate(&rig, to);
        assert_eq!(moved.state(to), rig.lapic.state(rig.now));
        assert!(moved.next_deadline() <= Some(to.ns), "at once");
        assert_eq!(moved.advance(to), 1);
        assert_eq!(moved.pending(), Some(0x40));
    }
}

#[test]
fn lap_17_a_deadline_survives_and_is_placed_on_the_new_clock() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_TIMER, 0x4_0040);
    rig.wrmsr(MSR_TSC_DEADLINE, rig.now.tsc + 3_000).expect("arm");
    let to = Now { ns: 10, tsc: rig.now.tsc + 1_500 };
    let mut moved = migrate(&rig, to);
    assert_eq!(moved.msr_read(MSR_TSC_DEADLINE, to), Ok(rig.now.tsc + 3_000));
    assert_eq!(moved.next_deadline(), Some(10 + 500));
    assert_eq!(moved.advance(Now { ns: 510, tsc: rig.now.tsc + 3_000 }), 1);
}

#[test]
fn lap_17_pending_init_and_sipi_survive() {
    let mut rig = Rig::with(Config { bsp: false, ..config() });
    rig.post(message(DeliveryMode::Init, 0, 0));
    rig.post(message(DeliveryMode::StartUp, 0, 0x77));
    let _ = rig.sync();
    let mut moved = migrate(&rig, Now::default());
    assert_eq!(moved.start_state(), StartState::WaitForSipi);
    assert!(moved.take_init(&mut rig.events));
    assert_eq!(moved.take_sipi(), Some(0x77));
}

#[test]
fn lap_17_local_signals_and_lines_survive() {
    let mut rig = Rig::xapic();
    rig.write(reg::LVT_LINT0, 0x8045);
    rig.write(reg::LVT_LINT1, 0x400);
    let _ = rig.lapic.set_lint(crate::Lint::Lint0, true);
    let _ = rig.lapic.set_lint(crate::Lint::Lint1, true);
    let mut moved = migrate(&rig, rig.now);
    assert_eq!(moved.sync(&rig.posted).nmi, 1);
    assert!(moved.accept(0x45));
    moved.eoi(&mut rig.events);
    assert_eq!(moved.pending(), Some(0x45), "LINT0 is still asserted");
}

#[test]
fn lap_17_default_is_power_up() {
    let lapic = Lapic::new(Config::default()).expect("default");
    assert_eq!(lapic.state(Now::default()), LapicState::default());
}

#[test]
fn lap_17_impossible_states_are_refused() {
    type Change = fn(&mut LapicState);
    let changes: [(&str, Change); 25] = [
        ("id", |s| s.id = 1),
        ("mode", |s| s.apic_base = 0xfee0_0500),
        ("reserved base", |s| s.apic_base |= 1),
        ("LDR", |s| s.ldr = 1),
        ("DFR", |s| s.dfr = 0xf000_0000),
        ("SVR", |s| s.svr = 0x400),
        ("ICR", |s| s.icr = 1 << 13),
        ("ICR high", |s| s.icr = 1 << 32),
        ("LVT", |s| s.lvt[LvtIndex::Error as usize] = 0x400),
        ("LVT delivery status", |s| s.lvt[0] = 0x1000),
        ("LINT1 remote IRR", |s| s.lvt[LvtIndex::Lint1 as usize] = 0x4000),
        ("ESR", |s| s.esr = 1),
        ("pending ESR", |s| s.esr_pending = 1 << 31),
        ("IRR", |s| s.irr[0] = 1),
        ("ISR", |s| s.isr[0] = 1 << 15),
        ("TMR", |s| s.tmr[0] = 2),
        ("TDCR", |s| s.divide = 4),
        ("lines", |s| s.lines = 4),
        ("NMIs", |s| s.signals.nmi = 3),
        ("local", |s| s.signals.local = 1),
        ("SIPI while running", |s| s.signals.sipi = Some(1)),
        ("stopped count", |s| s.timer = TimerState::Counting { counts: 0, nanocycles: 0 }),
        ("fraction", |s| {
            s.initial_count = 5;
            s.timer = TimerState::Counting { counts: 0, nanocycles: 2_000_000_000 };
        }),
        ("too old", |s| {
            s.initial_count = 5;
            s.timer = TimerState::Counting { counts: 10, nanocycles: 0 };
        }),
        ("deadline in another mode", |s| s.timer = TimerState::Deadline(1)),
    ];
    let good = LapicState::default();
    assert!(Lapic::from_state(config(), &good, Now::default()).is_ok());
    for (name, change) in changes {
        let mut state = good.clone();
        change(&mut state);
        assert!(Lapic::from_state(config(), &state, Now::default()).is_err(), "{name}");
    }
    let other = Config { bus_hz: 0, ..config() };
    let error = Lapic::from_state(other, &good, Now::default()).err();
    assert!(matches!(error, Some(StateError::Config(_))));
}

#[test]
fn lap_17_features_that_the_config_lacks_are_refused() {
    let mut rig = Rig::x2apic();
    let _ = rig.wrmsr(0x832, 0x4_0040);
    let state = rig.lapic.state(rig.now);
    for config in [Config { x2apic: false, ..config() }, Config { tsc_deadline: false, ..config() }]
    {
        assert!(Lapic::from_state(config, &state, rig.now).is_err());
    }
    assert_eq!(rig.rdmsr(MSR_APIC_BASE), Ok(0xfee0_0d00));
}

#[test]
fn lap_17_signals_fit_their_word() {
    for nmi in 0..=2 {
        for sipi in [None, Some(0), Some(0xff)] {
            for flags in 0..16 {
                let flag = |n: u8| flags >> n & 1 != 0;
                let signals = Signals {
                    nmi,
                    sipi,
                    smi: flag(0),
                    extint: flag(1),
                    init: flag(2),
                    local: if flag(3) { 0x7f } else { 0 },
                };
                assert_eq!(Signals::from_bits(signals.bits()), signals);
            }
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn lap_17_state_survives_text() {
    let mut rig = Rig::with(Config { bsp: false, ..config() });
    rig.write(reg::SVR, 0x1ff);
    rig.write(reg::LVT_TIMER, 0x2_0040);
    rig.write(reg::TMICT, 1_000);
    rig.pass(333);
    rig.level(0x99);
    rig.post(message(DeliveryMode::StartUp, 0, 0x77));
    let _ = rig.sync();
    let state = rig.lapic.state(rig.now);
    let text = serde_json::to_string(&state).expect("plain data");
    assert_eq!(serde_json::from_str::<LapicState>(&text).expect("the same"), state);
    let _ = rig.posted.post_vector(0xfe, irq_routing::TriggerMode::Level);
    let posted = rig.posted.state();
    let text = serde_json::to_string(&posted).expect("plain data");
    assert_eq!(serde_json::from_str::<crate::PostedState>(&text).expect("the same"), posted);
}
