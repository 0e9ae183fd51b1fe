// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The local APIC: registers in both modes, posted interrupts, the timer, INIT and start-up.

mod seeds;

use irq_routing::{DeliveryMode, DestinationMode, InterruptMessage, TriggerMode};
use lapic_emulation::spec::{self, svr, timer_mode, Lvt, MSR_APIC_BASE, MSR_TSC_DEADLINE};
use lapic_emulation::{
    ApicMode, Config, Ipi, Lapic, LapicEvents, LapicState, Lint, LvtIndex, Now, PostedInterrupts,
    Shorthand, StartState, TimerState,
};

use crate::code::{pick, Data, Num, Scenario};
pub use seeds::seeds;

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// The configuration.
    pub struct Setup {
        /// BSP, x2APIC, TSC deadline, directed EOI, CMCI: a bit each; bit 5: start in x2APIC mode
        /// and software-enabled.
        flags: u8,
        rates: u8,
        id: u8,
        now: Num,
        tsc: Num,
    }
}

ops! {
    /// What can happen to a local APIC.
    pub enum Op {
        /// 32-bit access to a register of whatever mode it is in.
        Write { register: u8, value: Num },
        Read { register: u8 },
        RawWrite { offset: Num, data: Data },
        RawRead { offset: Num, data: Data },
        WriteMsr { msr: u32, value: Num },
        ReadMsr { msr: u32 },
        /// Disabled, xAPIC, x2APIC, invalid; relocated or not.
        Mode { bits: u8 },
        Deadline { after: Num },
        Post { mode: u8, vector: u8, level: bool },
        PostLocal { lvt: u8 },
        Lint { lint1: bool, level: bool },
        LocalIntr { lvt: u8 },
        Sync,
        Accept,
        AcceptAny { vector: u8 },
        Eoi,
        Cr8 { value: u8 },
        HostIcr { icr: u32 },
        TakeInit,
        TakeSipi,
        AcceptExtInt,
        Pass { ns: Num },
        PassToDeadline,
        /// The guest's TSC is written.
        Tsc { tsc: Num },
        VirtualApic { irr: u64, isr: u64 },
        EoiInduced { vector: u8 },
        VirtualWire,
        Reset,
        SaveRestore { ns: Num },
        /// One field of a saved state is overwritten.
        Restore { field: u8, value: Num },
        /// All of the timer's registers.
        Timer { mode: u8, vector: u8, divide: u8, count: Num },
    }
}

const RATES: [u64; 4] = [1_000_000_000, 1, 1 << 37, 24_000_000];
const BASE: u64 = 0xfee0_0000;
const EN: u64 = 1 << 11;
const EXTD: u64 = 1 << 10;

#[derive(Default)]
struct Events {
    ipis: Vec<Ipi>,
    eois: Vec<u8>,
    map_changed: bool,
}

impl LapicEvents for Events {
    fn ipi(&mut self, ipi: Ipi) {
        self.ipis.push(ipi);
    }

    fn eoi_broadcast(&mut self, vector: u8) {
        self.eois.push(vector);
    }

    fn map_changed(&mut self) {
        self.map_changed = true;
    }
}

struct Rig {
    lapic: Lapic,
    posted: PostedInterrupts,
    events: Events,
    now: Now,
    /// The TSC at nanosecond 0, wrapping.
    tsc_base: u64,
    /// Vectors from 16 on that were posted and not synced: edge, level.
    expected: [[u64; 4]; 2],
}

type Bits = [u64; 4];

/// Runs the operations and checks the APIC after each.
pub fn run(input: &Input) {
    let mut rig = Rig::new(&input.setup);
    for op in &input.ops {
        rig.step(op);
    }
}

fn highest(bits: Bits) -> Option<u8> {
    (0..=u8::MAX).rev().find(|vector| contains(bits, *vector))
}

fn contains(bits: Bits, vector: u8) -> bool {
    bits[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
}

fn with(mut bits: Bits, vector: u8, set: bool) -> Bits {
    let bit = 1 << (vector & 63);
    let word = &mut bits[usize::from(vector >> 6)];
    *word = if set { *word | bit } else { *word & !bit };
    bits
}

impl Rig {
    fn new(setup: &Setup) -> Self {
        let flag = |bit: u8| setup.flags >> bit & 1 != 0;
        let config = Config {
            id: setup.id.min(254).into(),
            bsp: flag(0),
            bus_hz: pick(&RATES, setup.rates),
            tsc_hz: pick(&RATES, setup.rates >> 2),
            x2apic: flag(1),
            tsc_deadline: flag(2),
            directed_eoi: flag(3),
            cmci: flag(4),
            ..Config::default()
        };
        let mut rig = Rig {
            lapic: Lapic::new(config).expect("a configuration in range"),
            posted: PostedInterrupts::new(),
            events: Events::default(),
            now: Now { ns: setup.now.0, tsc: 0 },
            tsc_base: 0,
            expected: [[0; 4]; 2],
        };
        rig.set_tsc(setup.tsc.0);
        if flag(5) {
            let base = rig.lapic.apic_base();
            let _ = rig.wrmsr(MSR_APIC_BASE, base | EXTD);
            rig.write(spec::reg::SVR, 0x1ff);
        }
        rig
    }

    /// Ticks that `ns` nanoseconds have, since nanosecond 0.
    fn ticks(&self, ns: u64) -> u128 {
        u128::from(ns) * u128::from(self.lapic.config().tsc_hz) / 1_000_000_000
    }

    fn at(&self, ns: u64) -> Now {
        Now { ns, tsc: self.tsc_base.wrapping_add(self.ticks(ns) as u64) }
    }

    /// Whether the TSC wraps round by then.
    fn wraps_until(&self, ns: u64) -> bool {
        let elapsed = self.ticks(ns).saturating_sub(self.ticks(self.now.ns));
        u128::from(self.now.tsc) + elapsed > u128::from(u64::MAX)
    }

    fn set_tsc(&mut self, tsc: u64) {
        self.tsc_base = tsc.wrapping_sub(self.ticks(self.now.ns) as u64);
        self.now.tsc = tsc;
        self.lapic.tsc_changed(self.now);
    }

    fn set_time(&mut self, ns: u64) {
        let now = self.at(ns);
        // A TSC that wraps is a TSC that somebody wrote.
        let wrapped = self.wraps_until(ns);
        self.now = now;
        if wrapped {
            self.lapic.tsc_changed(now);
        }
    }

    fn step(&mut self, op: &Op) {
        self.events = Events::default();
        let before = self.lapic.destination_entry();
        self.apply(op);
        let changed = before != self.lapic.destination_entry();
        let own = matches!(op, Op::VirtualWire | Op::Restore { .. });
        assert!(!changed || self.events.map_changed || own, "{op:?} changed the map unnoticed");
        for ipi in &self.events.ipis {
            assert_ne!(ipi.shorthand, Shorthand::SelfOnly, "what is for itself stays inside");
        }
        self.check();
    }

    fn apply(&mut self, op: &Op) {
        let now = self.now;
        match op {
            Op::Write { register, value } => self.write(offset(*register), value.0),
            Op::Read { register } => self.read(offset(*register)),
            Op::RawWrite { offset, data } => self.raw_write(offset.0, &data.0),
            Op::RawRead { offset, data } => {
                let mut data = data.0.clone();
                self.lapic.mmio_read(offset.0, &mut data, now);
            }
            Op::WriteMsr { msr, value } => drop(self.wrmsr(*msr, value.0)),
            Op::ReadMsr { msr } => drop(self.lapic.msr_read(*msr, now)),
            Op::Mode { bits } => self.set_mode(*bits),
            Op::Deadline { after } => {
                let _ = self.wrmsr(MSR_TSC_DEADLINE, now.tsc.saturating_add(after.0));
            }
            Op::Post { mode, vector, level } => self.post(*mode, *vector, *level),
            Op::PostLocal { lvt } => drop(self.posted.post_local(pick(&LvtIndex::ALL, *lvt))),
            Op::Lint { lint1, level } => {
                let lint = if *lint1 { Lint::Lint1 } else { Lint::Lint0 };
                let _ = self.lapic.set_lint(lint, *level);
            }
            Op::LocalIntr { lvt } => {
                let _ = self.lapic.set_local_intr(pick(&LvtIndex::ALL, *lvt));
            }
            Op::Sync => self.sync(),
            Op::Accept => {
                if let Some(vector) = self.lapic.pending() {
                    self.accept(vector);
                }
            }
            Op::AcceptAny { vector } => self.accept(*vector),
            Op::Eoi => self.eoi(),
            Op::Cr8 { value } => {
                self.lapic.set_cr8(*value);
                assert_eq!(self.lapic.cr8(), value & 0xf);
            }
            Op::HostIcr { icr } => {
                let before = self.lapic.state(now);
                let refused = self.lapic.host_icr(*icr).is_err();
                let after = self.lapic.state(now);
                assert!(!refused || after == before);
                assert_eq!((after.icr, after.esr), (before.icr, before.esr), "not the guest's");
            }
            Op::TakeInit => self.take_init(),
            Op::TakeSipi => {
                let waits = self.lapic.start_state() == StartState::WaitForSipi;
                if self.lapic.take_sipi().is_some() {
                    assert!(waits, "a start-up IPI starts what waits for it");
                    assert_eq!(self.lapic.start_state(), StartState::Running);
                }
            }
            Op::AcceptExtInt => self.lapic.accept_extint(),
            Op::Pass { ns } => self.pass(now.ns.saturating_add(ns.0)),
            Op::PassToDeadline => {
                if let Some(deadline) = self.lapic.next_deadline() {
                    self.pass(deadline.max(now.ns));
                }
            }
            Op::Tsc { tsc } => self.set_tsc(tsc.0),
            Op::VirtualApic { irr, isr } => {
                self.lapic.load_virtual_apic([*irr, 0, *irr, 0], [*isr, *isr, 0, 0]);
            }
            Op::EoiInduced { vector } => {
                let _ = self.lapic.eoi_induced(*vector, &mut self.events);
            }
            Op::VirtualWire => self.lapic.set_virtual_wire(),
            Op::Reset => self.lapic.reset(&mut self.events),
            Op::SaveRestore { ns } => {
                let (state, tsc) = (self.lapic.state(now), self.now.tsc);
                self.now.ns = ns.0;
                self.set_tsc(tsc);
                self.restore(&state).expect("a state that can be reached can be restored");
            }
            Op::Restore { field, value } => {
                let mut state = self.lapic.state(now);
                overwrite(&mut state, *field, value.0);
                let _ = self.restore(&state);
            }
            Op::Timer { mode, vector, divide, count } => {
                let lvt = Lvt::new().with_vector(*vector).with_timer_mode(mode & 3);
                self.write(spec::reg::LVT_TIMER, lvt.into_bits().into());
                self.write(spec::reg::TDCR, (divide & 0xb).into());
                self.write(spec::reg::TMICT, count.0 & 0xffff_ffff);
            }
        }
    }

    fn restore(&mut self, state: &LapicState) -> Result<(), lapic_emulation::StateError> {
        let lapic = Lapic::from_state(*self.lapic.config(), state, self.now)?;
        assert_eq!(lapic.state(self.now), *state, "save, restore, save");
        self.lapic = lapic;
        Ok(())
    }

    fn wrmsr(&mut self, msr: u32, value: u64) -> bool {
        let before = self.lapic.state(self.now);
        let result = self.lapic.msr_write(msr, value, self.now, &mut self.events);
        assert!(Lapic::owns_msr(msr) || result.is_err());
        if result.is_err() {
            assert_eq!(self.lapic.state(self.now), before, "#GP changes nothing");
        }
        result.is_ok()
    }

    fn write(&mut self, offset: u16, value: u64) {
        match self.lapic.mode() {
            ApicMode::X2apic => {
                let _ = self.wrmsr(spec::MSR_X2APIC_FIRST + u32::from(offset >> 4), value);
            }
            _ => self.raw_write(offset.into(), &(value as u32).to_le_bytes()),
        }
    }

    fn read(&mut self, offset: u16) {
        let msr = spec::MSR_X2APIC_FIRST + u32::from(offset >> 4);
        assert!(
            self.lapic.mode() == ApicMode::X2apic || self.lapic.msr_read(msr, self.now).is_err()
        );
        self.lapic.mmio_read(offset.into(), &mut [0; 4], self.now);
    }

    fn raw_write(&mut self, offset: u64, data: &[u8]) {
        let before = self.lapic.state(self.now);
        self.lapic.mmio_write(offset, data, self.now, &mut self.events);
        let effective =
            self.lapic.mode() == ApicMode::Xapic && offset & 0xf == 0 && data.len() == 4;
        assert!(effective || self.lapic.state(self.now) == before, "not a register access");
    }

    fn set_mode(&mut self, bits: u8) {
        let relocated = if bits & 4 != 0 { 0x1000 } else { 0 };
        let mode = if bits & 1 != 0 { EN } else { 0 } | if bits & 2 != 0 { EXTD } else { 0 };
        let from = self.lapic.mode();
        let legal = self.wrmsr(MSR_APIC_BASE, BASE + relocated | mode | 0x100);
        if legal {
            assert_ne!((from, self.lapic.mode()), (ApicMode::X2apic, ApicMode::Xapic));
            assert_ne!((from, self.lapic.mode()), (ApicMode::Disabled, ApicMode::X2apic));
            assert_eq!(Some(self.lapic.mode()), ApicMode::of(mode));
        }
    }

    fn post(&mut self, mode: u8, vector: u8, level: bool) {
        let delivery_mode = DeliveryMode::from_bits(mode).unwrap_or(DeliveryMode::Fixed);
        let message = InterruptMessage {
            destination: 0,
            destination_mode: DestinationMode::Physical,
            delivery_mode,
            trigger_mode: TriggerMode::from_bit(level),
            vector,
        };
        let was_outstanding = self.posted.outstanding();
        let posted = self.posted.post(&message);
        assert!(self.posted.outstanding(), "posted, and nobody would look");
        assert!(!posted.notify || !was_outstanding, "one notification is enough");
        let fixed = matches!(delivery_mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        if fixed && vector >= 16 {
            let map = &mut self.expected[usize::from(level)];
            *map = with(*map, vector, true);
        }
    }

    /// Everything posted arrives, with its trigger mode, unless the APIC is off.
    fn sync(&mut self) {
        let [edge, level] = std::mem::take(&mut self.expected);
        let (irr, tmr) = (self.lapic.irr(), self.lapic.tmr());
        let fires = self.posted.state().signals.local != 0;
        let waits = self.lapic.start_state() == StartState::WaitForSipi;
        let synced = self.lapic.sync(&self.posted);
        assert!(!self.posted.outstanding());
        assert!(synced.nmi <= 2);
        assert_eq!(self.posted.priority(), self.lapic.ppr());
        if self.lapic.mode() == ApicMode::Disabled || waits {
            assert!(fires || self.lapic.irr() == irr, "an APIC that is off takes no vectors");
            return;
        }
        for vector in 16..=u8::MAX {
            let (as_edge, as_level) = (contains(edge, vector), contains(level, vector));
            if as_edge || as_level {
                assert!(contains(self.lapic.irr(), vector), "vector {vector:#x} is lost");
            }
            let level = as_level || contains(irr, vector) && contains(tmr, vector);
            assert!(!level || contains(self.lapic.tmr(), vector), "its EOI would be lost");
        }
    }

    fn accept(&mut self, vector: u8) {
        let (irr, isr) = (self.lapic.irr(), self.lapic.isr());
        let requested = contains(irr, vector);
        assert_eq!(self.lapic.accept(vector), requested);
        assert_eq!(self.lapic.irr(), with(irr, vector, false));
        assert_eq!(self.lapic.isr(), if requested { with(isr, vector, true) } else { isr });
    }

    fn eoi(&mut self) {
        let before = self.lapic.state(self.now);
        let broadcast = self.lapic.eoi(&mut self.events);
        let Some(vector) = highest(before.isr) else {
            assert_eq!(broadcast, None);
            assert_eq!(self.lapic.state(self.now), before, "nothing was in service");
            return;
        };
        assert_eq!(self.lapic.isr(), with(before.isr, vector, false));
        let suppressed = before.svr & svr::SUPPRESS_EOI_BROADCAST != 0;
        let expected = (contains(before.tmr, vector) && !suppressed).then_some(vector);
        assert_eq!(broadcast, expected);
        assert_eq!(self.events.eois, Vec::from_iter(expected));
    }

    fn take_init(&mut self) {
        let base = self.lapic.apic_base();
        if !self.lapic.take_init(&mut self.events) {
            return;
        }
        let (lapic, none) = (&self.lapic, [0; 4]);
        assert_eq!((lapic.irr(), lapic.isr(), lapic.tmr()), (none, none, none));
        assert_eq!(lapic.apic_base(), base);
        let waits = lapic.start_state() == StartState::WaitForSipi;
        assert_eq!(waits, !lapic.is_bsp());
    }

    fn pass(&mut self, ns: u64) {
        self.set_time(ns);
        let _ = self.lapic.advance(self.now);
        assert_eq!(self.lapic.advance(self.now), 0, "each expiry once");
        let deadline = self.lapic.next_deadline();
        let future = |at: u64| at > ns || at == u64::MAX;
        assert!(deadline.is_none_or(future), "a deadline {deadline:?} in the past of {ns}");
    }

    fn check(&self) {
        self.check_priorities();
        self.check_timer();
        let state = self.lapic.state(self.now);
        let restored = Lapic::from_state(*self.lapic.config(), &state, self.now);
        let restored = restored.expect("a state that can be reached can be restored");
        assert_eq!(restored.state(self.now), state, "save, restore, save");
        assert_eq!(restored.pending(), self.lapic.pending());
        let posted = self.posted.state();
        assert_eq!(PostedInterrupts::from_state(&posted).state(), posted);
    }

    /// Intel SDM vol. 3, "Task and Processor Priorities".
    fn check_priorities(&self) {
        let lapic = &self.lapic;
        for bits in [lapic.irr(), lapic.isr(), lapic.tmr()] {
            assert_eq!(bits[0] & 0xffff, 0, "a vector below 16");
        }
        let isrv = highest(lapic.isr()).unwrap_or(0);
        let ppr = if lapic.tpr() >> 4 >= isrv >> 4 { lapic.tpr() } else { isrv & 0xf0 };
        assert_eq!(lapic.ppr(), ppr);
        let deliverable = highest(lapic.irr())
            .filter(|vector| vector >> 4 > ppr >> 4)
            .filter(|_| lapic.mode() != ApicMode::Disabled);
        assert_eq!(lapic.pending(), deliverable);
        assert_eq!(lapic.pending(), deliverable, "a look changes nothing");
        assert_eq!(lapic.mmio_base().is_some(), lapic.mode() == ApicMode::Xapic);
        assert_eq!(lapic.apic_enabled(), lapic.mode() != ApicMode::Disabled);
    }

    /// The timer expires at its deadline, and a counter not before.
    fn check_timer(&self) {
        let mut lapic = self.lapic.clone();
        let _ = lapic.advance(self.now);
        let state = lapic.state(self.now);
        let lvt = Lvt::from_bits(state.lvt[LvtIndex::Timer as usize]);
        let Some(deadline) = lapic.next_deadline() else {
            assert!(lvt.masked() || state.timer == TimerState::Stopped, "no deadline");
            return;
        };
        if deadline == u64::MAX {
            return;
        }
        let (early, due) = (self.at(deadline - 1), self.at(deadline));
        if lvt.timer_mode() != timer_mode::TSC_DEADLINE {
            assert_eq!(lapic.clone().advance(early), 0, "before the deadline");
        }
        assert!(self.wraps_until(deadline) || lapic.advance(due) > 0, "nothing at the deadline");
    }
}

/// Every register of the page, and some that do not exist.
fn offset(register: u8) -> u16 {
    u16::from(register % 0x44) << 4
}

fn overwrite(state: &mut LapicState, field: u8, value: u64) {
    let low = value as u32;
    match field % 20 {
        0 => state.apic_base = value,
        1 => state.tpr = low as u8,
        2 => state.ldr = low,
        3 => state.dfr = low,
        4 => state.svr = low,
        5 => state.icr = value,
        6 => state.lvt[usize::from(field / 20) % LvtIndex::COUNT] = low,
        7 => state.esr = low,
        8 => state.esr_pending = low,
        9 => state.irr[usize::from(field / 20) % 4] = value,
        10 => state.isr[usize::from(field / 20) % 4] = value,
        11 => state.tmr[usize::from(field / 20) % 4] = value,
        12 => state.initial_count = low,
        13 => state.divide = low,
        14 => state.timer = TimerState::Deadline(value),
        15 => state.timer = TimerState::Counting { counts: value, nanocycles: value >> 32 },
        16 => state.signals.nmi = low as u8,
        17 => state.signals.sipi = Some(low as u8),
        18 => state.start = StartState::WaitForSipi,
        _ => state.lines = low as u8,
    }
}
