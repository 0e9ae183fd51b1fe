// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8259A pair: commands, reads, lines and acknowledges, KVM's and ours.
//!
//! After each step both chips' registers are compared, and what was read or acknowledged.
//!
//! Where KVM deviates, it is asserted that it does, and KVM then gets our state:
//! * `Icw1`: KVM keeps ISR, the rotation in AEOI mode and a pending poll over ICW1, forgets
//!   the lines' levels, and interrupts also in the middle of the ICWs (8259A, "Initialization
//!   Command Words 1 and 2": the chip starts in the fully nested mode, the edge sense circuit is
//!   reset so that an input, IR2 among them, needs a new edge).
//! * `Poll`: KVM's poll puts nothing in service, drops level requests, and reads 7 where nothing
//!   is pending ("Poll Command": the read is an acknowledge, and sets the ISR bit).
//! * `Elcr`: in KVM a request outlives the change of its input's trigger mode.
//! * `StaleCascade`: the master's IR2 latch outlives the slave's request (as every edge latch
//!   does), and KVM's INT follows the latch: a spurious interrupt before lower requests. In ours
//!   INT follows the slave's INT.
//! * `SpecialFullyNested`: KVM takes the slave's service for none at all; on the 8259A only
//!   the slave's own requests pass it ("The Special Fully Nested Mode").
//! * `SpecialMask`: KVM stores the mode and ignores it: in a test of its own.
//! * Not expressible in `kvm_pic_state` and not sent: LTIM, single mode, ICW3 other than a PC's,
//!   vector base 0.

use integration::oracle::pics::KvmPics;
use integration::oracle::{compare, Random};
use irq_routing::Delivery;
use kvm_bindings::kvm_pic_state;
use legacy_pic::PicPair;

const PORTS: [u16; 2] = [0x20, 0xa0];
const ELCRS: [u16; 2] = [0x4d0, 0x4d1];
const CASCADE: u8 = 1 << 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Chip; IC4, ICW2 and ICW4.
    Initialize(usize, bool, u8, u8),
    /// OCW1.
    Mask(usize, u8),
    /// OCW2.
    Command(usize, u8),
    /// OCW3: read IRR or ISR.
    Select(usize, bool),
    /// Poll command and the read after it, at the command or the data port.
    Poll(usize, u16),
    /// Read at the command or the data port.
    Read(usize, u16),
    Elcr(usize, u8),
    Toggle(u8),
    /// The CPU takes an interrupt, if there is one.
    Acknowledge,
}

#[derive(Debug, Default)]
struct Deviations {
    icw1: usize,
    poll: usize,
    elcr: usize,
    stale_cascade: usize,
    special_fully_nested: usize,
    acknowledged: usize,
}

struct Pair<'a> {
    kvm: &'a mut KvmPics,
    ours: PicPair,
    deviations: &'a mut Deviations,
}

impl Pair<'_> {
    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Initialize(chip, ic4, icw2, icw4) => self.initialize(chip, ic4, icw2, icw4),
            Step::Mask(chip, mask) => self.write(PORTS[chip] + 1, mask),
            Step::Command(chip, command) => self.write(PORTS[chip], command),
            Step::Select(chip, isr) => self.write(PORTS[chip], 0x0a | u8::from(isr)),
            Step::Poll(chip, offset) => self.poll(chip, offset),
            Step::Read(chip, offset) => self.read(PORTS[chip] + offset),
            Step::Elcr(chip, value) => self.elcr(chip, value),
            Step::Toggle(pin) => self.toggle(pin),
            Step::Acknowledge => self.acknowledge(),
        }
    }

    fn write(&mut self, port: u16, value: u8) -> Result<(), String> {
        self.kvm.cpu.write(port, value);
        self.ours.write(port, &[value]).map_err(|error| error.to_string())?;
        self.check()
    }

    fn read_ours(&mut self, port: u16) -> u8 {
        let mut byte = [0];
        self.ours.read(port, &mut byte).expect("one of the pair's ports");
        byte[0]
    }

    fn read(&mut self, port: u16) -> Result<(), String> {
        let (kvm, ours) = (self.kvm.cpu.read(port), self.read_ours(port));
        if kvm != ours {
            return Err(format!("port {port:#x} reads {kvm:#x} from KVM, {ours:#x} from ours"));
        }
        self.check()
    }

    /// `Icw1`. After the master the slave, as all firmware does: a slave that has its INT up by then
    /// needs a new edge, which KVM does not ask for. In between, the chip is compared but for what ICW1 did not do.
    fn initialize(&mut self, chip: usize, ic4: bool, icw2: u8, icw4: u8) -> Result<(), String> {
        let before = self.kvm.state()[chip];
        let port = PORTS[chip];
        let sequence = [(port, 0x10 | u8::from(ic4)), (port + 1, icw2), (port + 1, [4, 2][chip])];
        for (port, value) in sequence.into_iter().chain(ic4.then_some((port + 1, icw4))) {
            self.kvm.cpu.write(port, value);
            self.ours.write(port, &[value]).map_err(|error| error.to_string())?;
            let (kvm, ours) = (self.kvm.state()[chip], self.ours_for_kvm()[chip]);
            let known = kvm_pic_state {
                last_irr: kvm.last_irr,
                isr: kvm.isr,
                irr: kvm.irr,
                rotate_on_auto_eoi: kvm.rotate_on_auto_eoi,
                poll: kvm.poll,
                ..ours
            };
            // A slave's pending request shows in the IRR of a master that has not been told yet.
            if kvm != known || (kvm.irr ^ ours.irr) & !CASCADE != 0 {
                return Err(format!("ICWs of chip {chip}: KVM {kvm:x?}, ours {ours:x?}"));
            }
        }
        let kvm = self.kvm.state()[chip];
        self.deviations.icw1 += usize::from(before.isr != 0 && kvm.isr != 0);
        if chip == 0 {
            return self.initialize(1, ic4, icw2 ^ 8, icw4 & !0x10);
        }
        self.adopt();
        self.check()
    }

    /// `Poll`. Where the master says that it is the slave, the slave is polled too.
    fn poll(&mut self, chip: usize, offset: u16) -> Result<(), String> {
        let answer = self.poll_chip(chip, offset)?;
        if chip == 0 && answer == 0x82 {
            self.poll_chip(1, offset)?;
        }
        self.adopt();
        self.check()
    }

    fn poll_chip(&mut self, chip: usize, offset: u16) -> Result<u8, String> {
        let port = PORTS[chip];
        self.kvm.cpu.write(port, 0x0c);
        self.ours.write(port, &[0x0c]).map_err(|error| error.to_string())?;
        let nested = chip == 0 && self.slave_is_nested();
        let (kvm, ours) = (self.kvm.cpu.read(port + offset), self.read_ours(port + offset));
        if nested && kvm & 0x80 != 0 && ours & 0x80 == 0 {
            self.deviations.special_fully_nested += 1;
            return Ok(ours);
        }
        if (kvm | ours) & 0x80 != 0 && kvm != ours {
            return Err(format!("poll of chip {chip}: KVM {kvm:#x}, ours {ours:#x}"));
        }
        if ours & 0x80 != 0 {
            let in_service = self.kvm.state()[chip].isr & 1 << (ours & 7) != 0;
            self.deviations.poll += usize::from(!in_service);
        }
        Ok(ours)
    }

    /// `Elcr`.
    fn elcr(&mut self, chip: usize, value: u8) -> Result<(), String> {
        self.kvm.cpu.write(ELCRS[chip], value);
        let before = self.ours.state();
        self.ours.write(ELCRS[chip], &[value]).map_err(|error| error.to_string())?;
        let (kvm, ours) = (self.kvm.state()[chip], self.ours_for_kvm()[chip]);
        let changed = [before.master.elcr, before.slave.elcr][chip] ^ ours.elcr;
        if kvm.elcr != ours.elcr || (kvm.irr ^ ours.irr) & !changed & !CASCADE != 0 {
            return Err(format!("ELCR of chip {chip}: KVM {kvm:x?}, ours {ours:x?}"));
        }
        self.deviations.elcr += usize::from(kvm.irr != ours.irr);
        self.adopt();
        self.read(ELCRS[chip])
    }

    fn toggle(&mut self, pin: u8) -> Result<(), String> {
        let state = self.ours.state();
        let lines = u16::from_le_bytes([state.master.lines, state.slave.lines]);
        let high = lines & 1 << pin == 0;
        let kvm = self.kvm.line(pin, high);
        let ours = self.ours.set_irq(pin, high).expect("a pin");
        // KVM does not see that the cascade is masked, and says 1 for a line that falls.
        let comparable = high && (pin < 8 || state.master.imr & CASCADE == 0);
        let agree = match ours {
            Delivery::Ignored => kvm < 0,
            Delivery::Coalesced => kvm == 0,
            Delivery::Delivered(_) => kvm == 1,
        };
        if comparable && !agree {
            return Err(format!("line {pin}: KVM says {kvm}, ours {ours:?}"));
        }
        self.check()
    }

    fn acknowledge(&mut self) -> Result<(), String> {
        let expected = self.ours.peek();
        let nested = self.slave_is_nested();
        let base = self.ours.state().master.icw2;
        let kvm = self.kvm.cpu.take_interrupt();
        if kvm == expected {
            let ours = if expected.is_some() { self.ours.inta() } else { None };
            self.deviations.acknowledged += usize::from(kvm.is_some());
            return if ours == expected { self.check() } else { Err(format!("{ours:?}")) };
        }
        // KVM's winner is one that the slave's service should hold back.
        if expected.is_none() && nested && kvm.is_some_and(|v| v & 0xf8 == base) {
            self.deviations.special_fully_nested += 1;
            self.adopt();
            return self.check();
        }
        Err(format!("the CPU gets {kvm:x?} from KVM, {expected:x?} from ours"))
    }

    /// `SpecialFullyNested` is possible.
    fn slave_is_nested(&self) -> bool {
        let master = self.ours.state().master;
        master.icw4 & 0x10 != 0 && master.isr & CASCADE != 0
    }

    /// Ours, in KVM's form. KVM pulses the cascade, so it never holds its level.
    fn ours_for_kvm(&self) -> [kvm_pic_state; 2] {
        let mut state: [kvm_pic_state; 2] =
            (&self.ours.state()).try_into().expect("a state that KVM can hold");
        state[0].last_irr &= !CASCADE;
        state
    }

    /// KVM gets our state.
    fn adopt(&mut self) {
        self.kvm.set_state(self.ours_for_kvm());
    }

    fn check(&mut self) -> Result<(), String> {
        let (kvm, ours) = (self.kvm.state(), self.ours_for_kvm());
        if kvm != ours {
            return Err(format!("registers:\nKVM  {kvm:x?}\nours {ours:x?}"));
        }
        // `StaleCascade`: withdrawn on both sides before it comes out.
        let mut state = self.ours.state();
        if state.master.irr & CASCADE != 0 && state.master.lines & CASCADE == 0 {
            self.deviations.stale_cascade += 1;
            state.master.irr &= !CASCADE;
            self.ours = PicPair::from_state(&state).map_err(|error| error.to_string())?;
            self.adopt();
        }
        Ok(())
    }
}

fn random_step(random: &mut Random) -> Step {
    let chip = random.below(2) as usize;
    let byte = random.bits() as u8;
    match random.below(32) {
        0 => {
            let icw4 = random.pick(&[0x01, 0x01, 0x03, 0x11, 0x13, 0x0d]);
            Step::Initialize(chip, !random.one_in(4), byte & 0xf8 | 0x10, icw4)
        }
        1..=3 => Step::Mask(chip, byte & random.bits() as u8 & random.bits() as u8),
        // OCW2 has bits 4:3 clear.
        4..=9 => Step::Command(chip, byte & 0xe7),
        10 | 11 => Step::Select(chip, byte & 1 != 0),
        12 | 13 => Step::Poll(chip, u16::from(byte & 1)),
        14..=17 => Step::Read(chip, u16::from(byte & 1)),
        18 => Step::Elcr(chip, byte),
        19..=26 => Step::Toggle(random.pick(&[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])),
        _ => Step::Acknowledge,
    }
}

/// Both pairs with all lines low, initialized as a PC's firmware does.
fn start<'a>(kvm: &'a mut KvmPics, deviations: &'a mut Deviations) -> Pair<'a> {
    (0..16).filter(|pin| *pin != 2).for_each(|pin| {
        kvm.line(pin, false);
    });
    let mut ours = PicPair::new();
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x20),
        (0x21, 4),
        (0x21, 1),
        (0xa0, 0x11),
        (0xa1, 0x28),
        (0xa1, 2),
        (0xa1, 1),
    ] {
        ours.write(port, &[value]).expect("one of the pair's ports");
    }
    let mut pair = Pair { kvm, ours, deviations };
    pair.adopt();
    pair
}

#[test]
fn pic_3_commands_match_kvm() {
    let seed = 0x8259;
    let (mut random, mut kvm) = (Random::new(seed), KvmPics::new());
    let mut deviations = Deviations::default();
    for round in 0..200 {
        let script: Vec<Step> = (0..150).map(|_| random_step(&mut random)).collect();
        compare(&format!("seed {seed:#x} round {round}"), script, |script| {
            let mut pair = start(&mut kvm, &mut deviations);
            pair.check()?;
            script.iter().try_for_each(|step| pair.step(*step))
        });
    }
    let Deviations { icw1, poll, elcr, stale_cascade, special_fully_nested, acknowledged } =
        deviations;
    for met in [icw1, poll, elcr, stale_cascade, special_fully_nested, acknowledged] {
        assert!(met > 0, "{deviations:?}");
    }
}

#[test]
fn pic_4_special_mask_mode_works_unlike_in_kvm() {
    let (mut kvm, mut deviations) = (KvmPics::new(), Deviations::default());
    let mut pair = start(&mut kvm, &mut deviations);
    let in_service = [Step::Toggle(3), Step::Acknowledge, Step::Mask(0, 1 << 3), Step::Toggle(5)];
    in_service.into_iter().try_for_each(|step| pair.step(step)).expect("no difference");
    assert_eq!(pair.ours.peek(), None, "3 is in service");
    // The mode's bit is stored by both: the registers still agree.
    pair.write(PORTS[0], 0x68).expect("no difference");
    assert_eq!(pair.ours.peek(), Some(0x25), "but masked, and the mode is on");
    assert_eq!(pair.kvm.cpu.take_interrupt(), None, "KVM ignores the mode");
}
