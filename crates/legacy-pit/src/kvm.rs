// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! To and from `kvm_pit_state2`.
//!
//! Linux, `Documentation/virt/kvm/api.rst`, "KVM_GET_PIT2". The structure holds, for each
//! counter, the time at which its count was loaded and what the port is in the middle of. It
//! lacks what KVM's own model lacks: a count that waits for its load (NULL COUNT) or that a GATE
//! has stopped, bits 2 and 3 of port 0x61, and edges that were not collected. So
//! * a count that replaces a running one is saved so that OUT rises next when it would have,
//! * a stopped count is saved where it stands; with GATE low it is taken for stopped again,
//! * an untriggered one-shot or strobe is saved as one that is over,
//! * what is left of a count in BCD and what its initial count was survive.
//!
//! Note that `KVM_SET_PIT2` itself ignores `count_load_time`: KVM starts all counts over.

use kvm_bindings::{kvm_pit_channel_state, kvm_pit_state2, KVM_PIT_FLAGS_SPEAKER_DATA_ON};

use crate::clock::PHASE_LIMIT;
use crate::counter::Counter;
use crate::port::{LatchedBytes, LatchedCount};
use crate::spec::{ControlWord, Mode, PortB, BINARY_COUNTS, FREQUENCY_HZ};
use crate::state::{CounterState, InvalidState, PitState, RunState};
use crate::Pit;

/// Why a `kvm_pit_state2` is none of an 8254.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvmStateError {
    /// The HPET has taken IRQ0 (`KVM_PIT_FLAGS_HPET_LEGACY`), or an unknown flag is set.
    #[error("kvm_pit_state2 flags {0:#x} are not supported")]
    Flags(u32),
    /// A field of a counter that KVM never sets so, with its value.
    #[error("kvm_pit_channel_state field {0} is {1:#x}")]
    Field(&'static str, u32),
    /// A count that starts later than at the next CLK, in ns from now.
    #[error("count_load_time lies {0} ns in the future")]
    LoadTime(u64),
    /// The state that came out is not one of an 8254.
    #[error(transparent)]
    State(#[from] InvalidState),
}

/// `mode` before any control word, as KVM resets its PIT.
const MODE_UNPROGRAMMED: u8 = 0xff;

/// `read_state`, `write_state` and `count_latched` (Linux, `arch/x86/kvm/i8254.h`).
const RW_STATE_LSB: u8 = 1;
const RW_STATE_MSB: u8 = 2;
const RW_STATE_WORD0: u8 = 3;
const RW_STATE_WORD1: u8 = 4;

const NS_PER_S: i128 = PHASE_LIMIT as i128;
const HZ: i128 = FREQUENCY_HZ as i128;

impl Pit {
    /// The state at `now`, on whose clock `count_load_time` is.
    pub fn kvm_state(&self, now: u64) -> kvm_pit_state2 {
        let mut pit = self.clone();
        // Let time pass; uncollected edges have no place in the structure.
        let _ = pit.advance(now);
        let flags = if pit.port_b.speaker_data() { KVM_PIT_FLAGS_SPEAKER_DATA_ON } else { 0 };
        let [counter_0, counter_1, counter_2] = &pit.counters;
        kvm_pit_state2 {
            channels: [counter_0.kvm(pit.now), counter_1.kvm(pit.now), counter_2.kvm(pit.now)],
            flags,
            ..Default::default()
        }
    }

    /// The PIT that `state` describes, going on at `now`, on whose clock `count_load_time` is.
    ///
    /// # Errors
    /// [`KvmStateError`] for what KVM never saves, and for the HPET's legacy routing.
    pub fn from_kvm_state(state: &kvm_pit_state2, now: u64) -> Result<Self, KvmStateError> {
        if state.flags & !KVM_PIT_FLAGS_SPEAKER_DATA_ON != 0 {
            return Err(KvmStateError::Flags(state.flags));
        }
        let speaker = state.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON != 0;
        let [channel_0, channel_1, channel_2] = &state.channels;
        let state = PitState {
            counters: [
                from_kvm(channel_0, now)?,
                from_kvm(channel_1, now)?,
                from_kvm(channel_2, now)?,
            ],
            port_b: PortB::new().with_speaker_data(speaker).into_bits(),
            edges: 0,
            refresh: 0,
        };
        Ok(Pit::from_state(&state, now)?)
    }
}

impl Counter {
    fn kvm(&self, now: u64) -> kvm_pit_channel_state {
        let control = self.control.unwrap_or_default();
        let word = |high: bool| match (control.rw(), high) {
            (3, false) => RW_STATE_WORD0,
            (3, true) => RW_STATE_WORD1,
            (one, _) => one,
        };
        let mode = self.control.map_or(MODE_UNPROGRAMMED, |control| match control.mode() {
            alias @ 6.. => alias - 4,
            mode => mode,
        });
        kvm_pit_channel_state {
            count: self.kvm_count(),
            latched_count: self.port.count.map_or(0, |latched| latched.value),
            count_latched: self.port.count.map_or(0, |latched| match latched.next {
                LatchedBytes::Low => RW_STATE_LSB,
                LatchedBytes::High => RW_STATE_MSB,
                LatchedBytes::Both => RW_STATE_WORD0,
            }),
            status_latched: self.port.status.is_some().into(),
            status: self.port.status.unwrap_or(0),
            read_state: word(self.port.read_high),
            write_state: word(self.port.write_low.is_some()),
            write_latch: self.port.write_low.unwrap_or(0),
            rw_mode: control.rw(),
            mode,
            bcd: control.bcd().into(),
            gate: self.gate.into(),
            count_load_time: self.kvm_load_time(now),
        }
    }

    /// The initial count as written, 1..=65536; 0: none since the control word.
    fn kvm_count(&self) -> u32 {
        match (self.initial.or(self.run.map(|run| run.count)), self.modulus()) {
            (None, _) => 0,
            (Some(count), modulus) if count == modulus => BINARY_COUNTS,
            (Some(count), _) => self.encode(count as u16).into(),
        }
    }

    /// `now` less what was counted.
    fn kvm_load_time(&self, now: u64) -> i64 {
        let ticks = i128::from(self.kvm_counted());
        let exact = ticks * NS_PER_S + i128::from(self.clock.phase(now));
        // To the nanosecond before, unless that lay before the load.
        let floor = exact.div_euclid(HZ);
        let ns = if floor * HZ < ticks * NS_PER_S { floor + 1 } else { floor };
        let time = i128::from(now) - ns;
        time.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Ticks since the load, -1 where it is yet to come.
    fn kvm_counted(&self) -> i64 {
        let replaces = self.run.is_some() && self.halted.is_none() && self.load_at.is_some();
        match (self.run, self.load_at, self.initial, self.next_rise()) {
            (_, Some(_), Some(count), Some(rise)) if replaces && self.is_periodic() => {
                (i64::from(count) - (rise - self.seen)).max(0)
            }
            (_, Some(_), _, _) => -1,
            (Some(run), None, _, _) => self.counted(run),
            (None, None, Some(count), _) => i64::from(count) + 1,
            (None, None, None, _) => 0,
        }
    }

    fn is_periodic(&self) -> bool {
        self.mode().is_some_and(Mode::periodic)
    }
}

fn from_kvm(kvm: &kvm_pit_channel_state, now: u64) -> Result<CounterState, KvmStateError> {
    let control = control(kvm)?;
    let two_bytes = kvm.rw_mode == 3;
    let elapsed = (i128::from(now) - i128::from(kvm.count_load_time)) * HZ;
    let early = elapsed < 0;
    if elapsed < -(NS_PER_S + HZ) {
        return Err(KvmStateError::LoadTime((elapsed / -HZ) as u64));
    }
    let counted = (elapsed.max(0) / NS_PER_S) as u64;
    let phase = if early { (elapsed + NS_PER_S).max(0) } else { elapsed % NS_PER_S } as u32;
    let initial = count(kvm, control)?;
    let gate = flag("gate", kvm.gate)?;
    let stops = control.is_some_and(|control| Mode::from_bits(control.mode()).gate_stops());
    let run = initial.filter(|_| !early).map(|count| RunState {
        count,
        counted,
        halted_for: (stops && !gate).then_some(0),
    });
    Ok(CounterState {
        control: control.map(ControlWord::into_bits),
        gate,
        initial_count: initial.filter(|_| control.is_some()),
        null_count: control.is_some() && run.is_none(),
        load_in: initial.filter(|_| early).map(|_| 1),
        run,
        rest: 0,
        phase,
        write_low: half("write_state", kvm.write_state, two_bytes)?.then_some(kvm.write_latch),
        read_high: half("read_state", kvm.read_state, two_bytes)?,
        latched_count: latched_count(kvm)?,
        latched_status: flag("status_latched", kvm.status_latched)?.then_some(kvm.status),
    })
}

fn control(kvm: &kvm_pit_channel_state) -> Result<Option<ControlWord>, KvmStateError> {
    match (kvm.mode, kvm.rw_mode) {
        (MODE_UNPROGRAMMED, _) => Ok(None),
        (6.., _) => Err(KvmStateError::Field("mode", kvm.mode.into())),
        (_, 1..=3) => Ok(Some(
            ControlWord::new()
                .with_bcd(flag("bcd", kvm.bcd)?)
                .with_mode(kvm.mode)
                .with_rw(kvm.rw_mode),
        )),
        (_, rw) => Err(KvmStateError::Field("rw_mode", rw.into())),
    }
}

fn count(
    kvm: &kvm_pit_channel_state,
    control: Option<ControlWord>,
) -> Result<Option<u32>, KvmStateError> {
    if kvm.count > BINARY_COUNTS {
        return Err(KvmStateError::Field("count", kvm.count));
    }
    // 65536 was written as 0.
    let written = (kvm.count % BINARY_COUNTS) as u16;
    let counter = Counter { control, ..Counter::new(0, true) };
    Ok((kvm.count != 0).then(|| counter.decode(written)))
}

fn latched_count(kvm: &kvm_pit_channel_state) -> Result<Option<LatchedCount>, KvmStateError> {
    let next = match kvm.count_latched {
        0 => return Ok(None),
        RW_STATE_LSB => LatchedBytes::Low,
        RW_STATE_MSB => LatchedBytes::High,
        RW_STATE_WORD0 => LatchedBytes::Both,
        other => return Err(KvmStateError::Field("count_latched", other.into())),
    };
    Ok(Some(LatchedCount { value: kvm.latched_count, next }))
}

/// Whether the first of two bytes has passed.
fn half(name: &'static str, state: u8, two_bytes: bool) -> Result<bool, KvmStateError> {
    match (state, two_bytes) {
        (RW_STATE_WORD1, true) => Ok(true),
        (0..=RW_STATE_WORD0, _) => Ok(false),
        _ => Err(KvmStateError::Field(name, state.into())),
    }
}

fn flag(name: &'static str, value: u8) -> Result<bool, KvmStateError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(KvmStateError::Field(name, other.into())),
    }
}
