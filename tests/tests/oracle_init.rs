// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! INIT and start-up IPIs in every order, KVM's and ours: who runs, from where, and what an INIT
//! leaves of the local APIC.
//!
//! Where KVM deviates:
//! * `LastStartUp`: of several start-up IPIs that the CPU has not handled yet KVM takes the last,
//!   ours the first, as a CPU that is in wait-for-SIPI starts with the first. Asserted.

use integration::oracle::apics::{random_state, KvmApics, OurApics, NOW};
use integration::oracle::{compare, Random};
use irq_routing::MsiFormat;
use lapic_emulation::spec::{reg, MSR_X2APIC_FIRST};
use lapic_emulation::{deliver_ipi, ApicMode, Ipi, LapicEvents, StartState};

const IDS: [u32; 3] = [0, 1, 17];
const ICR: u32 = MSR_X2APIC_FIRST + (reg::ICR as u32 >> 4);

#[derive(Clone, Copy, Debug)]
enum Step {
    /// CPU 0 sends this to the AP.
    Send(usize, u32),
    /// The AP handles what came.
    Handle(usize),
}

const INIT: u32 = 0x4500;
const START_UP: u32 = 0x4600;
const FIXED: u32 = 0x4000;

#[derive(Default)]
struct Sent(Vec<Ipi>);

impl LapicEvents for Sent {
    fn ipi(&mut self, ipi: Ipi) {
        self.0.push(ipi);
    }

    fn eoi_broadcast(&mut self, _vector: u8) {}

    fn map_changed(&mut self) {}
}

struct Pair<'a> {
    kvm: &'a KvmApics,
    ours: OurApics,
    /// The last start-up IPI that each AP has not handled yet.
    last_start_up: [Option<u8>; 3],
    last_wins: &'a mut usize,
}

impl Pair<'_> {
    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Send(cpu, icr) => self.send(cpu, icr),
            Step::Handle(cpu) => self.handle(cpu)?,
        }
        Ok(())
    }

    fn send(&mut self, cpu: usize, icr: u32) {
        let value = u64::from(IDS[cpu]) << 32 | u64::from(icr);
        assert!(self.kvm.write_msr(0, ICR, value));
        let mut sent = Sent::default();
        self.ours.lapics[0].msr_write(ICR, value, NOW, &mut sent).expect("no reserved bit");
        for ipi in sent.0 {
            let _ = deliver_ipi(&self.ours.map, &self.ours.posted, 0, &ipi, |_| {});
        }
        match icr & 0x700 {
            0x600 => self.last_start_up[cpu] = Some(icr as u8),
            0x500 => self.last_start_up[cpu] = None,
            _ => {}
        }
    }

    fn handle(&mut self, cpu: usize) -> Result<(), String> {
        self.ours.sync(cpu);
        let lapic = &mut self.ours.lapics[cpu];
        let initialized = lapic.take_init(&mut ());
        let started = lapic.take_sipi();
        // KVM looks at pending vectors of a CPU only after it has handled INIT.
        let (kvm, selector) = self.kvm.start_state(cpu);
        let ours = self.ours.lapics[cpu].start_state();
        if kvm != ours {
            return Err(format!("CPU {cpu}: KVM {kvm:?}, ours {ours:?}"));
        }
        let last = self.last_start_up[cpu].take();
        if let (Some(first), StartState::Running) = (started, kvm) {
            let found = (selector >> 8) as u8;
            *self.last_wins += usize::from(found != first);
            if Some(found) != last {
                return Err(format!("CPU {cpu} starts at {found:#x}, ours at {first:#x}"));
            }
        }
        if initialized {
            self.ours.rebuild_map();
        }
        let differences = self.ours.differences(cpu, &self.kvm.page(cpu));
        match differences.is_empty() {
            true => Ok(()),
            false => Err(format!("CPU {cpu}: registers (offset, ours, KVM's) {differences:x?}")),
        }
    }
}

fn random_step(random: &mut Random) -> Step {
    let cpu = random.pick(&[1, 2]);
    let vector = 16 + random.below(0x90) as u32;
    match random.below(8) {
        0 | 1 => Step::Send(cpu, INIT),
        2..=4 => Step::Send(cpu, START_UP | vector),
        5 => Step::Send(cpu, FIXED | vector),
        _ => Step::Handle(cpu),
    }
}

#[test]
fn lap_9_init_and_start_up_match_kvm() {
    let seed = 0x519;
    let (mut random, kvm) = (Random::new(seed), KvmApics::new(&IDS, MsiFormat::X2apic32));
    let mut last_wins = 0;
    for round in 0..200 {
        let states: Vec<_> =
            IDS.iter().map(|id| random_state(&mut random, *id, ApicMode::X2apic)).collect();
        let script: Vec<Step> = (0..60).map(|_| random_step(&mut random)).collect();
        compare(&format!("seed {seed:#x} round {round}"), script, |script| {
            let ours = OurApics::new(&states, MsiFormat::X2apic32);
            kvm.load(&ours.lapics);
            let mut pair =
                Pair { kvm: &kvm, ours, last_start_up: [None; 3], last_wins: &mut last_wins };
            script.iter().try_for_each(|step| pair.step(*step))
        });
    }
    assert!(last_wins > 0);
}
