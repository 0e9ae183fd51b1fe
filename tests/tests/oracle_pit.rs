// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8254: control words, counts, latches and status, KVM's and ours.
//!
//! KVM's counters run on the host's clock, so what depends on time (counts, OUT) is not
//! compared. What is, after each step: each counter's programming, initial count, GATE, what of
//! a count was written or read, what is latched; and the status bytes and port 0x61 as read.
//!
//! Where KVM deviates:
//! * `KeptLatches`: a control word leaves latched counts and statuses alone in KVM; on the 8254 it
//!   resets the counter's control logic ("Programming the 8254"). Asserted, then drained.
//! * `OldCount`: in KVM the old initial count stays until a new one is written. Not compared then.
//! * `Aliases`: modes 6 and 7 read back as 2 and 3; the status shows "the bits as programmed"
//!   ("Status Byte"). Asserted in a test of its own.
//! * NULL COUNT is always 0 in KVM, which says so itself. Not compared, as it passes with time.
//! * Before any control word KVM takes a byte for a count. Not sent.
//! * Bits 2 and 3 of port 0x61 are not there in KVM. Not sent.

use integration::oracle::ports::PortCpu;
use integration::oracle::{compare, kvm, machine, Random};
use kvm_bindings::{
    kvm_pit_channel_state, kvm_pit_config, kvm_pit_state2, KVM_PIT_FLAGS_SPEAKER_DATA_ON,
    KVM_PIT_SPEAKER_DUMMY,
};
use kvm_ioctls::VmFd;
use legacy_pit::Pit;

const CONTROL: u16 = 0x43;
const PORT_B: u16 = 0x61;
/// NULL COUNT and OUT.
const TIME_IN_STATUS: u8 = 0xc0;
/// A step takes 1 µs of our time.
const STEP_NS: u64 = 1000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Counter, RW (1..=3), mode, BCD.
    Control(u8, u8, u8, bool),
    Latch(u8),
    /// Read-back command.
    ReadBack(u8),
    /// A byte of a count.
    Write(u8, u8),
    Read(u8),
    WritePortB(u8),
    ReadPortB,
}

struct KvmPit {
    cpu: PortCpu,
    vm: VmFd,
}

impl KvmPit {
    fn new() -> Self {
        let vm = machine(&kvm());
        let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        vm.create_pit2(config).expect("KVM_CREATE_PIT2");
        KvmPit { cpu: PortCpu::new(&vm), vm }
    }

    fn state(&self) -> kvm_pit_state2 {
        self.vm.get_pit2().expect("KVM_GET_PIT2")
    }

    fn channel(&self, counter: u8) -> kvm_pit_channel_state {
        self.state().channels[usize::from(counter)]
    }
}

struct Pair<'a> {
    kvm: &'a mut KvmPit,
    ours: Pit,
    now: u64,
    kept_latches: &'a mut usize,
}

impl Pair<'_> {
    fn step(&mut self, step: Step) -> Result<(), String> {
        self.now += STEP_NS;
        match step {
            Step::Control(counter, rw, mode, bcd) => {
                self.write(CONTROL, counter << 6 | rw << 4 | mode << 1 | u8::from(bcd));
                self.drain_kept_latches(counter);
            }
            Step::Latch(counter) => self.write(CONTROL, counter << 6),
            Step::ReadBack(command) => self.write(CONTROL, 0xc0 | command),
            Step::Write(counter, byte) => self.write(0x40 + u16::from(counter), byte),
            Step::Read(counter) => self.read(counter)?,
            Step::WritePortB(value) => self.write(PORT_B, value),
            Step::ReadPortB => self.read_port_b()?,
        }
        self.check()
    }

    fn write(&mut self, port: u16, value: u8) {
        self.kvm.cpu.write(port, value);
        self.ours.write(port, &[value], self.now).expect("one of the PIT's ports");
    }

    fn read_both(&mut self, port: u16) -> (u8, u8) {
        let mut ours = [0];
        self.ours.read(port, &mut ours, self.now).expect("one of the PIT's ports");
        (self.kvm.cpu.read(port), ours[0])
    }

    /// Counts differ with time, statuses but for the bits of time must not.
    fn read(&mut self, counter: u8) -> Result<(), String> {
        let status = self.kvm.channel(counter).status_latched != 0;
        let (kvm, ours) = self.read_both(0x40 + u16::from(counter));
        match status && (kvm ^ ours) & !TIME_IN_STATUS != 0 {
            true => Err(format!("status of {counter}: KVM {kvm:#x}, ours {ours:#x}")),
            false => Ok(()),
        }
    }

    fn read_port_b(&mut self) -> Result<(), String> {
        let (kvm, ours) = self.read_both(PORT_B);
        match (kvm ^ ours) & 3 {
            0 => Ok(()),
            _ => Err(format!("port 0x61: KVM {kvm:#x}, ours {ours:#x}")),
        }
    }

    fn drain_kept_latches(&mut self, counter: u8) {
        let latched = |kvm: &KvmPit| {
            let channel = kvm.channel(counter);
            channel.status_latched != 0 || channel.count_latched != 0
        };
        while latched(self.kvm) {
            *self.kept_latches += 1;
            self.kvm.cpu.read(0x40 + u16::from(counter));
        }
    }

    fn check(&self) -> Result<(), String> {
        let (kvm, ours) = (self.kvm.state(), self.ours.kvm_state(self.now));
        if (kvm.flags ^ ours.flags) & KVM_PIT_FLAGS_SPEAKER_DATA_ON != 0 {
            return Err(format!("flags: KVM {:#x}, ours {:#x}", kvm.flags, ours.flags));
        }
        for (counter, (kvm, ours)) in kvm.channels.iter().zip(&ours.channels).enumerate() {
            if comparable(kvm, ours) != comparable(ours, ours) {
                return Err(format!("counter {counter}:\nKVM  {kvm:x?}\nours {ours:x?}"));
            }
        }
        Ok(())
    }
}

/// A counter's state without what depends on time, and without the leftovers of what is over.
fn comparable(channel: &kvm_pit_channel_state, ours: &kvm_pit_channel_state) -> impl PartialEq {
    let half_written = channel.write_state == 4;
    kvm_pit_channel_state {
        count: if ours.count == 0 { 0 } else { channel.count },
        latched_count: 0,
        status: if channel.status_latched != 0 { channel.status & !TIME_IN_STATUS } else { 0 },
        write_latch: if half_written { channel.write_latch } else { 0 },
        count_load_time: 0,
        ..*channel
    }
}

fn random_step(random: &mut Random) -> Step {
    let counter = random.below(3) as u8;
    match random.below(16) {
        0 | 1 => Step::Control(
            counter,
            1 + random.below(3) as u8,
            random.below(6) as u8,
            random.one_in(3),
        ),
        2 | 3 => Step::Latch(counter),
        4 | 5 => Step::ReadBack(random.bits() as u8 & 0x3e),
        // Digits, for BCD.
        6..=8 => Step::Write(counter, (random.below(10) << 4 | random.below(10)) as u8),
        9..=13 => Step::Read(counter),
        14 => Step::WritePortB(random.below(4) as u8),
        _ => Step::ReadPortB,
    }
}

/// Both with all counters programmed, nothing latched and port 0x61 clear.
fn start<'a>(kvm: &'a mut KvmPit, kept_latches: &'a mut usize) -> Pair<'a> {
    let mut pair = Pair { kvm, ours: Pit::new(0), now: 0, kept_latches };
    pair.write(PORT_B, 0);
    for counter in 0..3 {
        pair.write(CONTROL, counter << 6 | 0x34);
        pair.drain_kept_latches(counter);
    }
    *pair.kept_latches = 0;
    pair
}

#[test]
fn pit_9_programming_and_latches_match_kvm() {
    let seed = 0x8254;
    let (mut random, mut kvm) = (Random::new(seed), KvmPit::new());
    let mut kept_latches = 0;
    for round in 0..150 {
        let script: Vec<Step> = (0..150).map(|_| random_step(&mut random)).collect();
        let mut kept = 0;
        compare(&format!("seed {seed:#x} round {round}"), script, |script| {
            let mut pair = start(&mut kvm, &mut kept);
            pair.check()?;
            script.iter().try_for_each(|step| pair.step(*step))
        });
        kept_latches += kept;
    }
    assert!(kept_latches > 0);
}

#[test]
fn pit_9_status_shows_modes_as_programmed_unlike_in_kvm() {
    let (mut kvm, mut kept) = (KvmPit::new(), 0);
    let mut pair = start(&mut kvm, &mut kept);
    for (mode, alias) in [(6, 2), (7, 3)] {
        pair.write(CONTROL, 0x30 | mode << 1);
        pair.write(CONTROL, 0xe2);
        let (kvm, ours) = pair.read_both(0x40);
        assert_eq!((kvm & 0x3f, ours & 0x3f), (0x30 | alias << 1, 0x30 | mode << 1));
    }
}
