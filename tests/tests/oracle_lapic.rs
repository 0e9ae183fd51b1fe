// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Local APICs: what a message does to each of several, KVM's and ours.
//!
//! After each message every register of every APIC's page is compared, and the NMIs, SMIs and
//! INITs that are pending.
//!
//! Where KVM deviates, and what is done about it here:
//! * `LowestPriority`: KVM takes the candidate that the vector's number points at ("vector
//!   hashing"), ours one of the lowest priority class (Intel SDM vol. 3, "Lowest Priority
//!   Delivery Mode"). Compared: that it is exactly one, and a candidate of ours.
//! * `LowestPriorityBroadcast`: a physical broadcast with delivery mode lowest priority reaches
//!   everyone in KVM, one in ours. Asserted. (With the redirection hint it reaches one in both.)
//! * `MergedTrigger`: an edge request that finds a level request for the same vector pending
//!   makes it an edge in KVM, whose EOI then leaves the IOAPIC's remote IRR set; in ours it stays
//!   level. Asserted.
//! * `LowestPriorityHole`: where a logical destination has bits of nobody's, vector hashing may
//!   point at one of those and KVM drops the message; ours goes to one of those that are there.
//!   Asserted.
//! * `Wide`: what an xAPIC makes of a destination above 0xff. KVM compares 32 bits of it in the
//!   cluster model and physically, 8 in the flat model; to ours it means none of the xAPICs, but
//!   for 0xffffffff, which is everyone. (xAPICs beside wide destinations are no configuration of
//!   the SDM's.) Not sent here where there are xAPICs; asserted in a test of its own.
//! * `ReservedModel`: the SDM knows the models 0xf (flat) and 0 (cluster) of DFR; with others ours
//!   has no logical address, KVM at times that of the cluster model. Asserted in a test of its own.
//! * `HiddenBroadcast`: with 32-bit ids KVM takes 0xff for an xAPIC broadcast only while some xAPIC
//!   is software-enabled, so that an NMI to 0xff misses xAPICs that are not. Not sent then.
//! * `HiddenLogical`: its table of logical destinations leaves out software-disabled APICs, or takes
//!   them for what they are not, so that NMI, SMI and INIT to a logical destination may miss or
//!   hit them. (Intel SDM vol. 3, "Local APIC State After It Has Been Software Disabled": it
//!   responds normally to them.) Not sent while there is one.
//! * A kernel without SMM (`KVM_CAP_X86_SMM`) drops SMIs: asserted there, compared elsewhere.

use integration::oracle::apics::{random_state, register, Arrived, KvmApics, OurApics, NOW};
use integration::oracle::{compare, Random};
use irq_routing::{
    Delivery, DeliveryMode, DestinationMode, InterruptMessage, Msi, MsiFormat, BROADCAST,
};
use lapic_emulation::spec::{esr, reg, svr};
use lapic_emulation::{deliver_msi, ApicMode, Lapic, LapicState};

/// How often each deviation was met.
#[derive(Debug, Default)]
struct Deviations {
    lowest_priority: usize,
    lowest_priority_broadcast: usize,
    lowest_priority_hole: usize,
    merged_trigger: usize,
}

struct Pair<'a> {
    kvm: &'a KvmApics,
    ours: OurApics,
    format: MsiFormat,
    deviations: &'a mut Deviations,
}

impl<'a> Pair<'a> {
    fn new(
        kvm: &'a KvmApics,
        states: &[LapicState],
        format: MsiFormat,
        deviations: &'a mut Deviations,
    ) -> Self {
        let ours = OurApics::new(states, format);
        kvm.load(&ours.lapics);
        Pair { kvm, ours, format, deviations }
    }

    fn send(&mut self, msi: Msi) -> Result<(), String> {
        let count = self.kvm.signal(msi);
        let message = msi.decode(self.format).expect("a message");
        let candidates: Vec<usize> = self.ours.map.targets(&message).collect();
        if message.delivery_mode == DeliveryMode::Smi && !self.kvm.has_smm() {
            return if count > 0 { Err(format!("an SMI reached {count}")) } else { Ok(()) };
        }
        let physical = message.destination_mode == DestinationMode::Physical;
        if message.delivery_mode != DeliveryMode::LowestPriority {
            let delivery = deliver_msi(&self.ours.map, &self.ours.posted, msi, self.format, |_| {});
            self.check_count(count, delivery.expect("a message"), candidates.len())?;
            return self.take(&message, &candidates);
        }
        let broadcast = (msi.address >> 12) & 0xff == 0xff && msi.address >> 32 == 0;
        if physical && broadcast && msi.address & HINT == 0 {
            self.deviations.lowest_priority_broadcast += 1;
            return self.take(&self.post(&message, &candidates), &candidates);
        }
        self.send_lowest(&message, &candidates, count)
    }

    /// KVM's choice must be one that ours could have made.
    fn send_lowest(
        &mut self,
        message: &InterruptMessage,
        candidates: &[usize],
        count: i32,
    ) -> Result<(), String> {
        let chosen = self.ours.map.arbitrate(self.ours.map.targets(message), |_| 0);
        if self.is_hole(message, candidates, count) {
            self.deviations.lowest_priority_hole += 1;
            return self.take(message, &[]);
        }
        if chosen.is_some() != (count > 0) {
            return Err(format!("lowest priority: KVM counts {count}, candidates {candidates:?}"));
        }
        let Some(ours) = chosen else { return self.take(message, &[]) };
        // KVM's choice shows in its page, unless the same request was pending there.
        let changed: Vec<usize> = (0..self.ours.lapics.len())
            .filter(|index| !self.ours.differences(*index, &self.kvm.page(*index)).is_empty())
            .collect();
        let target = match changed[..] {
            [] => candidates.iter().copied().find(|index| self.pending(*index, message)),
            [one] if candidates.contains(&one) => Some(one),
            _ => None,
        };
        let Some(target) = target else {
            return Err(format!("lowest priority: of {candidates:?} KVM chose {changed:?}"));
        };
        self.deviations.lowest_priority += usize::from(target != ours);
        self.take(&self.post(message, &[target]), &[target])
    }

    fn is_hole(&self, message: &InterruptMessage, candidates: &[usize], count: i32) -> bool {
        let bits = (message.destination & 0xffff).count_ones() as usize;
        let logical = message.destination_mode == DestinationMode::Logical;
        count <= 0 && logical && !candidates.is_empty() && bits > candidates.len()
    }

    /// Whether this very request is pending.
    fn pending(&self, index: usize, message: &InterruptMessage) -> bool {
        let (word, bit) = (usize::from(message.vector) / 64, 1u64 << (message.vector % 64));
        let lapic = &self.ours.lapics[index];
        let level = lapic.tmr()[word] & bit != 0;
        lapic.irr()[word] & bit != 0 && level == message.trigger_mode.is_level()
    }

    fn post(&self, message: &InterruptMessage, targets: &[usize]) -> InterruptMessage {
        for index in targets {
            let _ = self.ours.posted[*index].post(message);
        }
        *message
    }

    fn check_count(&self, kvm: i32, ours: Delivery, candidates: usize) -> Result<(), String> {
        let kvm = usize::try_from(kvm).unwrap_or(0);
        let agree = match ours {
            Delivery::Ignored => kvm == 0,
            Delivery::Coalesced => kvm > 0,
            Delivery::Delivered(n) => kvm == n as usize && n as usize == candidates,
        };
        match agree {
            true => Ok(()),
            false => Err(format!("KVM counts {kvm}, ours says {ours:?}")),
        }
    }

    /// Each takes what was posted, and all are compared.
    fn take(&mut self, message: &InterruptMessage, targets: &[usize]) -> Result<(), String> {
        for index in 0..self.ours.lapics.len() {
            let arrived = self.ours.sync(index);
            if targets.contains(&index) {
                self.merged_trigger(index, message);
            }
            let kvm = self.kvm.arrived(index);
            if kvm != arrived {
                return Err(format!("vCPU {index}: KVM has {kvm:x?} pending, ours {arrived:x?}"));
            }
            if arrived != Arrived::default() {
                self.kvm.forget_events(index);
                self.ours.edit(index, |state| state.signals = Default::default());
            }
        }
        self.check_pages()
    }

    fn merged_trigger(&mut self, index: usize, message: &InterruptMessage) {
        let (word, bit) = (usize::from(message.vector) / 64, 1u64 << (message.vector % 64));
        let fixed =
            matches!(message.delivery_mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        if !fixed
            || message.trigger_mode.is_level()
            || self.ours.lapics[index].tmr()[word] & bit == 0
        {
            return;
        }
        self.deviations.merged_trigger += 1;
        self.ours.edit(index, |state| state.tmr[word] &= !bit);
    }

    fn check_pages(&self) -> Result<(), String> {
        for index in 0..self.ours.lapics.len() {
            let differences = self.ours.differences(index, &self.kvm.page(index));
            if !differences.is_empty() {
                let entry = self.ours.lapics[index].destination_entry();
                return Err(format!(
                    "vCPU {index} {entry:x?}: registers (offset, ours, KVM's) {differences:x?}"
                ));
            }
        }
        Ok(())
    }
}

/// A mixture of modes that a machine can be in.
fn random_states(random: &mut Random, ids: &[u32]) -> Vec<LapicState> {
    let family = random.below(4);
    let mode = |random: &mut Random, id: u32| match family {
        _ if random.one_in(12) => ApicMode::Disabled,
        // An xAPIC cannot have such an id.
        _ if id >= 0xff => ApicMode::X2apic,
        0 => ApicMode::X2apic,
        1 | 2 => ApicMode::Xapic,
        _ => random.pick(&[ApicMode::Xapic, ApicMode::X2apic]),
    };
    let states: Vec<_> = ids
        .iter()
        .map(|id| {
            let mode = mode(random, *id);
            random_state(random, *id, mode)
        })
        .collect();
    match family {
        // All alike: the case in which KVM has a table to look targets up in.
        1 => {
            let dfr = states[0].dfr;
            states.into_iter().map(|state| LapicState { dfr, ..state }).collect()
        }
        _ => states,
    }
}

fn random_destination(random: &mut Random, ids: &[u32]) -> u32 {
    let id = random.pick(ids);
    match random.below(6) {
        0 => 0xff,
        1 => BROADCAST,
        2 | 3 => id,
        4 => random.bits() as u32 & 0xff,
        _ => {
            (id >> 4) << 16
                | (1 << (id & 15))
                | random.bits() as u32 & 0xffff & random.bits() as u32
        }
    }
}

/// See `Wide`, `HiddenBroadcast` and `HiddenLogical` above.
fn is_comparable(msi: &Msi, states: &[LapicState], format: MsiFormat) -> bool {
    let destination = msi.address >> 32 | (msi.address >> 12) & 0xff;
    let logical = msi.address & 4 != 0;
    let in_mode = |mode| move |state: &&LapicState| ApicMode::of(state.apic_base) == Some(mode);
    let disabled = |state: &LapicState| state.svr & svr::ENABLE == 0;
    let vector = matches!((msi.data >> 8) & 7, 0 | 1);
    let hidden_logical = logical
        && !vector
        && states.iter().any(|state| !in_mode(ApicMode::Disabled)(&state) && disabled(state));
    let mut xapics = states.iter().filter(in_mode(ApicMode::Xapic));
    if hidden_logical || format != MsiFormat::X2apic32 || xapics.clone().next().is_none() {
        return !hidden_logical;
    }
    let wide = destination > 0xff && (logical || destination == u64::from(BROADCAST));
    let hidden_broadcast = destination == 0xff && xapics.all(disabled);
    !wide && !hidden_broadcast
}

/// Redirection hint, address bit 3.
const HINT: u64 = 8;

fn random_msi(random: &mut Random, ids: &[u32], format: MsiFormat) -> Msi {
    let destination = u64::from(random_destination(random, ids));
    let high = if format == MsiFormat::X2apic32 { (destination >> 8) << 40 } else { 0 };
    let logical = random.below(2) << 2;
    let mode = random.pick(&[0, 0, 0, 0, 0, 1, 1, 1, 2, 4, 5]);
    let vector = if random.one_in(2) { 16 + random.below(240) } else { random.pick(&[0x31, 0xb4]) };
    let hint = if mode < 2 && random.one_in(4) { HINT } else { 0 };
    let trigger = random.pick(&[0, 0, 0xc000, 0x8000, 0x4000]);
    Msi {
        address: 0xfee0_0000 | high | (destination & 0xff) << 12 | logical | hint,
        data: vector as u32 | mode << 8 | trigger,
    }
}

fn destinations(seed: u64, ids: &[u32], format: MsiFormat, rounds: usize) {
    let kvm = KvmApics::new(ids, format);
    let mut random = Random::new(seed);
    let mut deviations = Deviations::default();
    for round in 0..rounds {
        let states = random_states(&mut random, ids);
        let script: Vec<Msi> = (0..24)
            .map(|_| random_msi(&mut random, ids, format))
            .filter(|msi| is_comparable(msi, &states, format))
            .collect();
        let entries = OurApics::new(&states, format).entries();
        let name = format!("seed {seed:#x} round {round}, {entries:#x?}");
        compare(&name, script, |script| {
            let mut pair = Pair::new(&kvm, &states, format, &mut deviations);
            pair.check_pages()?;
            script.iter().try_for_each(|msi| pair.send(*msi))
        });
    }
    assert!(deviations.lowest_priority > 0, "{deviations:?}");
    assert!(deviations.lowest_priority_broadcast > 0, "{deviations:?}");
    assert!(deviations.lowest_priority_hole > 0, "{deviations:?}");
    assert!(deviations.merged_trigger > 0, "{deviations:?}");
}

#[test]
fn lap_16_destinations_match_kvm() {
    destinations(0x1a9, &[0, 1, 2, 3, 5, 17, 18, 33], MsiFormat::Xapic, 250);
}

#[test]
fn lap_16_destinations_match_kvm_with_32_bit_ids() {
    destinations(0x2a9, &[0, 1, 2, 15, 17, 255, 256, 0x123], MsiFormat::X2apic32, 250);
}

/// One message to a single APIC in this state; KVM's page and our local APIC after it.
fn single(state: LapicState, msi: Msi) -> (u32, Lapic, [u32; 8]) {
    let format = MsiFormat::X2apic32;
    let kvm = KvmApics::new(&[state.id], format);
    let mut ours = OurApics::new(&[state], format);
    kvm.load(&ours.lapics);
    let count = kvm.signal(msi).max(0) as u32;
    let _ = deliver_msi(&ours.map, &ours.posted, msi, format, |_| {});
    ours.sync(0);
    let page = kvm.page(0);
    let irr = std::array::from_fn(|word| register(&page, reg::IRR + 16 * word as u16));
    (count, ours.lapics.remove(0), irr)
}

const ENABLED: u32 = svr::RESET | svr::ENABLE;
const NOTHING: [u64; 4] = [0; 4];

#[test]
fn lap_3_illegal_vectors_are_errors_unlike_in_kvm() {
    let state = LapicState { svr: ENABLED, ..LapicState::default() };
    for vector in 0..16 {
        let msi = Msi { address: 0xfee0_0000, data: vector };
        let (count, ours, kvm) = single(state.clone(), msi);
        assert_eq!((count, kvm[0]), (1, 1 << vector), "KVM takes it into IRR");
        assert_eq!(ours.irr(), NOTHING);
        assert_eq!(ours.state(NOW).esr_pending, esr::RECEIVE_ILLEGAL_VECTOR);
    }
}

#[test]
fn lap_16_wide_logical_destinations_mean_no_xapic_unlike_in_kvm() {
    let state = LapicState { svr: ENABLED, ldr: 1 << 24, ..LapicState::default() };
    let msi = Msi { address: 0x0000_0100_fee0_1004, data: 0x31 };
    let (count, ours, kvm) = single(state, msi);
    assert_eq!((count, kvm[1]), (1, 1 << 17), "KVM looks at the low 8 bits in the flat model");
    assert_eq!(ours.irr(), NOTHING);
}

#[test]
fn lap_16_everyone_includes_xapics_unlike_in_kvm() {
    let state = LapicState { svr: ENABLED, ..LapicState::default() };
    let msi = Msi { address: 0xffff_ff00_feef_f000, data: 0x31 };
    let (count, ours, kvm) = single(state, msi);
    assert_eq!((count, kvm), (0, [0; 8]), "KVM compares 32 bits with 0xff");
    assert_eq!(ours.irr(), [1 << 0x31, 0, 0, 0]);
}

#[test]
fn lap_16_reserved_models_have_no_logical_address_unlike_in_kvm() {
    let state =
        LapicState { svr: ENABLED, ldr: 0x21 << 24, dfr: 0x5fff_ffff, ..LapicState::default() };
    let msi = Msi { address: 0xfee2_1004, data: 0x31 };
    let (count, ours, kvm) = single(state, msi);
    assert_eq!((count, kvm[1]), (1, 1 << 17), "KVM takes it for the cluster model");
    assert_eq!(ours.irr(), NOTHING);
}
