// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8259A pair: guest accesses, lines, acknowledges, saved states.

use legacy_pic::spec::{self, Icw1, Icw4};
use legacy_pic::{ChipState, PicPair, PicState, Source, Step};

use crate::code::{at, pick, Data, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

const PORTS: [u16; 6] = [
    spec::MASTER_COMMAND,
    spec::MASTER_DATA,
    spec::SLAVE_COMMAND,
    spec::SLAVE_DATA,
    spec::MASTER_ELCR,
    spec::SLAVE_ELCR,
];

const STEPS: [Step; 5] = [Step::Ready, Step::PowerOn, Step::Icw2, Step::Icw3, Step::Icw4];

fields! {
    /// A pair out of power-on.
    pub struct Setup {}
}

fields! {
    /// A chip's saved state, mostly an impossible one.
    pub struct AnyChip {
        registers: [u8; 6],
        step: u8,
        icws: [u8; 4],
        flags: u8,
    }
}

ops! {
    /// What can happen to a pair.
    pub enum Op {
        Write { port: u8, value: u8 },
        Read { port: u8 },
        RawWrite { port: u16, data: Data },
        RawRead { port: u16, data: Data },
        /// A whole initialization of both chips, vectors at `base` and `base + 8`.
        Init { icw1: u8, base: u8, icw4: u8 },
        Line { pin: u8, high: bool },
        Pulse { pin: u8 },
        Inta,
        DrainEoi,
        SaveRestore,
        Reset,
        Restore { master: AnyChip, slave: AnyChip, ended: u16 },
    }
}

/// Runs the operations and checks the pair after each.
pub fn run(input: &Input) {
    let mut pair = PicPair::new();
    for op in &input.ops {
        let before = pair.state();
        apply(&mut pair, op);
        check(&pair);
        if !matches!(op, Op::Restore { .. }) {
            check_ends(&before, &pair.state(), op);
        }
    }
}

fn apply(pair: &mut PicPair, op: &Op) {
    match op {
        Op::Write { port, value } => {
            pair.write(pick(&PORTS, *port), &[*value]).expect("a byte at a port of its own");
        }
        Op::Read { port } => {
            pair.read(pick(&PORTS, *port), &mut [0]).expect("a byte at a port of its own");
        }
        Op::RawWrite { port, data } => raw_write(pair, *port, &data.0),
        Op::RawRead { port, data } => raw_read(pair, *port, data.0.clone()),
        Op::Init { icw1, base, icw4 } => init(pair, *icw1, *base, *icw4),
        Op::Line { pin, high } => line(pair, *pin, *high),
        Op::Pulse { pin } => {
            line(pair, *pin, true);
            line(pair, *pin, false);
        }
        Op::Inta => inta(pair),
        Op::DrainEoi => {
            let ended = pair.drain_eoi();
            assert_eq!(ended & 4, 0, "the cascade is no device's pin");
            assert_eq!(pair.drain_eoi(), 0, "told once");
        }
        Op::SaveRestore => *pair = restored(pair),
        Op::Reset => pair.reset(),
        Op::Restore { master, slave, ended } => {
            let state = PicState { master: master.state(), slave: slave.state(), ended: *ended };
            if let Ok(restored) = PicPair::from_state(&state) {
                assert_eq!(restored.state(), state, "save, restore, save");
                *pair = restored;
            }
        }
    }
}

/// An access of the wrong width or port changes nothing and touches no data.
fn raw_write(pair: &mut PicPair, port: u16, data: &[u8]) {
    let before = pair.clone();
    let legal = PORTS.contains(&port) && data.len() == 1;
    assert_eq!(pair.write(port, data).is_ok(), legal);
    assert!(legal || *pair == before);
}

fn raw_read(pair: &mut PicPair, port: u16, mut data: Vec<u8>) {
    let (before, old) = (pair.clone(), data.clone());
    let legal = PORTS.contains(&port) && data.len() == 1;
    assert_eq!(pair.read(port, &mut data).is_ok(), legal);
    assert!(legal || (*pair == before && data == old));
}

fn init(pair: &mut PicPair, icw1: u8, base: u8, icw4: u8) {
    let icw1 = icw1 | 0x11;
    let chips = [
        (spec::MASTER_COMMAND, spec::MASTER_DATA, base, 4),
        (spec::SLAVE_COMMAND, spec::SLAVE_DATA, base.wrapping_add(8), 2),
    ];
    for (command, data, base, icw3) in chips {
        pair.write(command, &[icw1]).expect("ICW1");
        pair.write(data, &[base]).expect("ICW2");
        if !Icw1::from_bits(icw1).sngl() {
            pair.write(data, &[icw3]).expect("ICW3");
        }
        pair.write(data, &[icw4]).expect("ICW4");
    }
    let state = pair.state();
    assert_eq!((state.master.step, state.slave.step), (Step::Ready, Step::Ready));
    assert_eq!((state.master.imr, state.master.isr, state.slave.isr), (0, 0, 0));
}

fn line(pair: &mut PicPair, pin: u8, high: bool) {
    let before = pair.clone();
    let answer = pair.set_irq(pin, high);
    assert_eq!(answer.is_ok(), pin < spec::PINS);
    if pin >= spec::PINS || pin == spec::CASCADE_PIN {
        assert_eq!(*pair, before, "nobody drives that pin");
        return;
    }
    let (lines, _) = registers(&pair.state());
    assert_eq!(lines >> pin & 1 != 0, high);
    if before.state() == pair.state() {
        assert_eq!(answer, Ok(irq_routing::Delivery::Ignored), "nothing happened");
    }
}

/// Lines and ISR, bit n for pin n.
fn registers(state: &PicState) -> (u16, u16) {
    let both = |master, slave| u16::from_le_bytes([master, slave]);
    (both(state.master.lines, state.slave.lines), both(state.master.isr, state.slave.isr))
}

fn inta(pair: &mut PicPair) {
    let before = pair.state();
    let peeked = pair.peek();
    let acknowledge = pair.acknowledge();
    assert_eq!(acknowledge.is_some(), before.master.step == Step::Ready);
    let Some(acknowledge) = acknowledge else {
        assert_eq!(pair.state(), before);
        return;
    };
    if let Some(vector) = peeked {
        assert_eq!(acknowledge.vector, vector, "what was peeked");
    }
    assert_eq!(
        peeked.is_some(),
        matches!(acknowledge.source, Source::Pin(_) | Source::Nobody),
        "INT was up for a request and for nothing else"
    );
    if let Source::Pin(pin) = acknowledge.source {
        check_acknowledged(&before, &pair.state(), pin, acknowledge.vector);
    }
}

fn check_acknowledged(before: &PicState, after: &PicState, pin: u8, vector: u8) {
    let side = |state: &PicState| if pin < 8 { state.master } else { state.slave };
    let (before, after) = (side(before), side(after));
    let bit = 1 << (pin & 7);
    assert_eq!(before.imr & bit, 0, "pin {pin} is masked");
    assert_eq!(vector, before.icw2 & 0xf8 | pin & 7);
    let level = Icw1::from_bits(before.icw1).ltim() || before.elcr & bit != 0;
    let requested = if level { before.lines } else { before.irr };
    assert_ne!(requested & bit, 0, "pin {pin} had no request");
    assert!(level || after.irr & bit == 0, "an edge is acknowledged once");
    let in_service = after.isr & bit != 0;
    assert_eq!(in_service, !Icw4::from_bits(before.icw4).aeoi(), "ISR unless AEOI");
}

/// Whatever leaves service is told, and nothing enters it but by an acknowledge.
fn check_ends(before: &PicState, after: &PicState, op: &Op) {
    let (_, was) = registers(before);
    let (_, is) = registers(after);
    let cascade = 1 << spec::CASCADE_PIN;
    assert_eq!(was & !is & !cascade & !after.ended, 0, "{op:?} ended a pin and told nobody");
    let polls = matches!(op, Op::Read { .. } | Op::RawRead { .. });
    assert!(is & !was == 0 || polls || matches!(op, Op::Inta), "{op:?} is no acknowledge");
}

fn check(pair: &PicPair) {
    let state = pair.state();
    assert_eq!(pair.intr(), pair.peek().is_some());
    if state.master.step != Step::Ready {
        assert!(!pair.intr(), "an uninitialized pair never delivers");
        assert_eq!(pair.clone().inta(), None);
    }
    assert_eq!(state.master.elcr & !spec::MASTER_ELCR_MASK, 0);
    assert_eq!(state.slave.elcr & !spec::SLAVE_ELCR_MASK, 0);
    assert_eq!(restored(pair), *pair, "a restored pair is the same");
}

fn restored(pair: &PicPair) -> PicPair {
    PicPair::from_state(&pair.state()).expect("a state that can be reached can be restored")
}

impl AnyChip {
    fn state(&self) -> ChipState {
        let [irr, isr, imr, lines, elcr, lowest_priority] = self.registers;
        let [icw1, icw2, icw3, icw4] = self.icws;
        let flag = |bit: u8| self.flags >> bit & 1 != 0;
        ChipState {
            irr,
            isr,
            imr,
            lines,
            elcr,
            lowest_priority,
            step: pick(&STEPS, self.step),
            icw1,
            icw2,
            icw3,
            icw4,
            rotate_on_auto_eoi: flag(0),
            special_mask: flag(1),
            read_isr: flag(2),
            poll: flag(3),
        }
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let write = |port, value| Op::Write { port: at(&PORTS, port), value };
    let pc = Op::Init { icw1: 0x11, base: 0x30, icw4: 1 };
    let eoi = |port| write(port, 0x20);
    let seed = |ops: Vec<Op>| Input { setup: Setup {}, ops };
    let cascade = vec![
        pc.clone(),
        Op::Pulse { pin: 12 },
        Op::Pulse { pin: 4 },
        Op::Inta,
        Op::SaveRestore,
        Op::Inta,
        eoi(0xa0),
        eoi(0x20),
        Op::DrainEoi,
    ];
    let spurious = vec![
        pc.clone(),
        write(0x4d0, 0xf8),
        write(0x4d1, 0xde),
        Op::Line { pin: 10, high: true },
        Op::Line { pin: 10, high: false },
        Op::Inta,
        Op::Line { pin: 5, high: true },
        Op::Inta,
        eoi(0x20),
        Op::Inta,
    ];
    let modes = vec![
        Op::Init { icw1: 0x19, base: 0x20, icw4: 0x13 },
        Op::Line { pin: 3, high: true },
        write(0x20, 0x80),
        Op::Inta,
        write(0x20, 0x68),
        write(0x21, 0x08),
        write(0x20, 0x0c),
        Op::Read { port: 0 },
        write(0x20, 0xc2),
        write(0x20, 0xe3),
        write(0x20, 0x0b),
        Op::Read { port: 0 },
    ];
    let restore = vec![
        Op::Restore {
            master: AnyChip {
                registers: [0x04, 0x04, 0, 0x04, 0, 7],
                step: 0,
                icws: [0x11, 0x30, 4, 1],
                flags: 0,
            },
            slave: AnyChip {
                registers: [0x10, 0x20, 0, 0x10, 0x10, 7],
                step: 0,
                icws: [0x11, 0x38, 2, 1],
                flags: 0,
            },
            ended: 0,
        },
        Op::Inta,
        Op::Reset,
    ];
    vec![
        ("cascade", seed(cascade)),
        ("spurious", seed(spurious)),
        ("modes", seed(modes)),
        ("restore", seed(restore)),
    ]
}
