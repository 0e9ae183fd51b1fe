// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! ALL-2, ALL-3: whatever the guest does and whatever state is restored.

use irq_routing::{DeliveryMode, TriggerMode};
use proptest::prelude::*;
use std::vec; // what prop_oneof! with many arms expands to
use std::vec::Vec;

use super::{message, Rig, TSC_HZ};
use crate::spec::{MSR_APIC_BASE, MSR_TSC_DEADLINE};
use crate::{
    Config, Lapic, LapicState, Lint, LvtIndex, Now, PostedInterrupts, PostedState, Signals,
    StartState, TimerState,
};

/// Anything that can happen to a local APIC.
#[derive(Clone, Debug)]
enum Act {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Rdmsr(u32),
    Wrmsr(u32, u64),
    Post(u8, u8, bool),
    Local(usize),
    Lint(bool, bool),
    Sync,
    Take,
    Cr8(u8),
    HostIcr(u32),
    Init,
    Sipi,
    ExtIntAck,
    Pass(u64),
    Jump(u64, u64),
}

fn register() -> impl Strategy<Value = u64> {
    prop_oneof![8 => (0u64..0x40).prop_map(|n| n << 4), 1 => 0u64..0x1000, 1 => any::<u64>()]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        0u64..0x10_0000,
        (0u32..64).prop_map(|bit| 1 << bit),
        Just(0x1ff)
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let msr = prop_oneof![
        6 => 0x800u32..0x840,
        1 => any::<u32>(),
        2 => Just(MSR_TSC_DEADLINE),
    ];
    let mode_switch =
        prop_oneof![Just(0xfee0_0900u64), Just(0xfee0_0d00), Just(0xfee0_0100), any::<u64>()];
    prop_oneof![
        4 => (register(), 0usize..20).prop_map(|(o, len)| Act::Read(o, len)),
        8 => (register(), value()).prop_map(|(o, v)| Act::Write(o, v.to_le_bytes()[..4].to_vec())),
        1 => (register(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(o, d)| Act::Write(o, d)),
        2 => msr.clone().prop_map(Act::Rdmsr),
        8 => (msr, value()).prop_map(|(m, v)| Act::Wrmsr(m, v)),
        1 => mode_switch.prop_map(|v| Act::Wrmsr(MSR_APIC_BASE, v)),
        4 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(m, v, l)| Act::Post(m, v, l)),
        1 => (0usize..7).prop_map(Act::Local),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(l, v)| Act::Lint(l, v)),
        4 => Just(Act::Sync),
        4 => Just(Act::Take),
        1 => any::<u8>().prop_map(Act::Cr8),
        1 => any::<u32>().prop_map(Act::HostIcr),
        1 => Just(Act::Init),
        1 => Just(Act::Sipi),
        1 => Just(Act::ExtIntAck),
        4 => (0u64..1_000_000).prop_map(Act::Pass),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(ns, tsc)| Act::Jump(ns, tsc)),
    ]
}

fn apply(rig: &mut Rig, act: &Act) {
    match act {
        Act::Read(offset, len) => {
            let mut data = std::vec![0; *len];
            rig.lapic.mmio_read(*offset, &mut data, rig.now);
        }
        Act::Write(offset, data) => {
            rig.lapic.mmio_write(*offset, data, rig.now, &mut rig.events);
        }
        Act::Rdmsr(msr) => drop(rig.rdmsr(*msr)),
        Act::Wrmsr(msr, value) => drop(rig.wrmsr(*msr, *value)),
        Act::Post(mode, vector, level) => {
            let delivery_mode = DeliveryMode::from_bits(*mode).unwrap_or(DeliveryMode::Fixed);
            let trigger_mode = TriggerMode::from_bit(*level);
            rig.post(irq_routing::InterruptMessage {
                trigger_mode,
                ..message(delivery_mode, 0, *vector)
            });
        }
        Act::Local(lvt) => drop(rig.posted.post_local(LvtIndex::ALL[*lvt])),
        Act::Lint(lint1, level) => {
            let lint = if *lint1 { Lint::Lint1 } else { Lint::Lint0 };
            let _ = rig.lapic.set_lint(lint, *level);
        }
        Act::Sync => drop(rig.sync()),
        Act::Take => drop(rig.take()),
        Act::Cr8(cr8) => rig.lapic.set_cr8(*cr8),
        Act::HostIcr(icr) => drop(rig.lapic.host_icr(*icr)),
        Act::Init => drop(rig.lapic.take_init(&mut rig.events)),
        Act::Sipi => drop(rig.lapic.take_sipi()),
        Act::ExtIntAck => rig.lapic.accept_extint(),
        Act::Pass(ns) => {
            rig.now.ns = rig.now.ns.saturating_add(*ns);
            rig.now.tsc = rig.now.tsc.saturating_add(ns * (TSC_HZ / 1_000_000_000));
            rig.lapic.advance(rig.now);
        }
        Act::Jump(ns, tsc) => rig.now = Now { ns: *ns, tsc: *tsc },
    }
}

/// What holds at every moment.
fn check(rig: &mut Rig) {
    let lapic = &rig.lapic;
    for set in [lapic.irr(), lapic.isr(), lapic.tmr()] {
        assert_eq!(set[0] & 0xffff, 0, "vectors below 16");
    }
    if let Some(vector) = lapic.pending() {
        assert!(vector >= 16 && vector >> 4 > lapic.ppr() >> 4 && lapic.apic_enabled());
    }
    assert!(lapic.ppr() >> 4 >= lapic.cr8());
    let state = lapic.state(rig.now);
    // Any reachable state can be restored, and is then the same.
    let restored = Lapic::from_state(*lapic.config(), &state, rig.now).expect("reachable");
    assert_eq!(restored.state(rig.now), state);
    let elsewhere = Now { ns: 42, tsc: rig.now.tsc };
    let moved = Lapic::from_state(*lapic.config(), &state, elsewhere).expect("reachable");
    assert_eq!(moved.state(elsewhere), state);
    let posted = rig.posted.state();
    assert_eq!(PostedInterrupts::from_state(&posted).state(), posted);
}

fn any_state() -> impl Strategy<Value = LapicState> {
    let bits = || any::<u32>().prop_flat_map(|m| any::<u32>().prop_map(move |v| v & m));
    let vectors = || prop::array::uniform4(any::<u64>());
    let legal = prop::bool::weighted(0.7);
    let timer = prop_oneof![
        Just(TimerState::Stopped),
        (any::<u64>(), any::<u64>())
            .prop_map(|(counts, nanocycles)| TimerState::Counting { counts, nanocycles }),
        (0u64..1 << 33, 0u64..128_000_000_000)
            .prop_map(|(counts, nanocycles)| TimerState::Counting { counts, nanocycles }),
        any::<u64>().prop_map(TimerState::Deadline),
    ];
    (
        (legal, any::<u8>(), bits(), bits(), any::<u64>(), prop::array::uniform7(bits())),
        (vectors(), vectors(), vectors(), bits(), 0u32..16, timer),
        (0u8..4, any::<u8>(), any::<bool>(), any::<u8>(), bits()),
    )
        .prop_map(
            |(
                (legal, tpr, ldr, svr, icr, lvt),
                (irr, isr, tmr, initial, divide, timer),
                (nmi, flags, waits, lines, esr),
            )| {
                let mut state = LapicState {
                    tpr,
                    ldr,
                    svr,
                    icr,
                    lvt,
                    irr,
                    isr,
                    tmr,
                    esr,
                    initial_count: initial,
                    divide,
                    timer,
                    lines,
                    signals: Signals {
                        nmi,
                        smi: flags & 1 != 0,
                        init: flags & 2 != 0,
                        extint: flags & 8 != 0,
                        sipi: (flags & 4 != 0).then_some(flags),
                        local: 0,
                    },
                    start: if waits { StartState::WaitForSipi } else { StartState::Running },
                    ..LapicState::default()
                };
                if legal {
                    state.mask();
                }
                state
            },
        )
}

impl LapicState {
    /// Drops what can't be, so that a good part of the random states is accepted.
    fn mask(&mut self) {
        self.ldr &= 0xff00_0000;
        self.svr &= 0x13ff;
        self.icr &= 0xff00_0000_000c_cfff;
        for lvt in LvtIndex::ALL {
            self.lvt[lvt as usize] &= lvt.defined_bits(true) & !0x5000;
        }
        self.esr &= 0xe0;
        self.divide &= 0xb;
        self.lines &= 3;
        self.signals.nmi %= 3;
        self.signals.init |= self.signals.sipi.is_some();
        for set in [&mut self.irr, &mut self.isr, &mut self.tmr] {
            set[0] &= !0xffff;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn all_2_no_sequence_of_accesses_breaks_anything(
        acts in prop::collection::vec(act(), 1..120),
        x2apic in any::<bool>(),
    ) {
        let mut rig = if x2apic { Rig::x2apic() } else { Rig::xapic() };
        for act in &acts {
            apply(&mut rig, act);
            check(&mut rig);
        }
    }

    #[test]
    fn all_2_no_restored_state_breaks_anything(
        state in any_state(),
        acts in prop::collection::vec(act(), 1..40),
        now in (any::<u64>(), any::<u64>()),
        bus_hz in prop_oneof![Just(1u64), Just(1_000_000_000), Just(1 << 37)],
    ) {
        let now = Now { ns: now.0, tsc: now.1 };
        let config = Config { bus_hz, ..super::config() };
        if let Ok(lapic) = Lapic::from_state(config, &state, now) {
            prop_assert_eq!(lapic.state(now), state.clone(), "save, restore, save");
            let mut rig = Rig { lapic, now, ..Rig::with(config) };
            for act in &acts {
                apply(&mut rig, act);
                check(&mut rig);
            }
        }
    }

    #[test]
    fn all_2_no_posted_state_breaks_anything(
        edge in prop::array::uniform4(any::<u64>()),
        level in prop::array::uniform4(any::<u64>()),
        word in any::<u64>(),
        nmi in any::<u8>(),
    ) {
        let signals = Signals { nmi, ..Signals::from_bits(word) };
        let state = PostedState { edge, level, signals, outstanding: false };
        let mut rig = Rig::xapic();
        rig.posted = PostedInterrupts::from_state(&state);
        prop_assert!(rig.sync().nmi <= 2);
        check(&mut rig);
    }

    /// Two local APICs that saw the same go on alike, wherever one was restored. (The clock is
    /// monotonic here: one that steps back stands still until it is where it was.)
    #[test]
    fn all_3_a_restored_apic_behaves_as_the_original(
        before in prop::collection::vec(act(), 1..60),
        after in prop::collection::vec(act(), 1..60),
    ) {
        let mut rig = Rig::xapic();
        let forward = |act: &Act| !matches!(act, Act::Jump(..));
        before.iter().filter(|act| forward(act)).for_each(|act| apply(&mut rig, act));
        let _ = rig.sync();
        rig.take_events();
        let state = rig.lapic.state(rig.now);
        let lapic = Lapic::from_state(*rig.lapic.config(), &state, rig.now).expect("reachable");
        let mut twin = Rig { lapic, now: rig.now, ..Rig::with(super::config()) };
        for act in &after {
            apply(&mut rig, act);
            apply(&mut twin, act);
            prop_assert_eq!(rig.lapic.state(rig.now), twin.lapic.state(twin.now));
            prop_assert_eq!(rig.lapic.pending(), twin.lapic.pending());
            prop_assert_eq!(rig.take_events(), twin.take_events());
        }
    }
}
