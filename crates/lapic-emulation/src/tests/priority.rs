// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! LAP-3, LAP-4: acceptance and priorities.

use irq_routing::TriggerMode::{Edge, Level};
use proptest::prelude::*;

use super::Rig;
use crate::spec::{esr, reg};

#[test]
fn lap_3_every_legal_vector_is_delivered() {
    for vector in 16..=255 {
        let mut rig = Rig::xapic();
        rig.edge(vector);
        assert_eq!(rig.take(), Some(vector));
        assert_eq!(rig.lapic.pending(), None);
        assert_eq!(rig.lapic.svi(), vector);
    }
}

#[test]
fn lap_3_vectors_below_16_set_esr_and_never_irr() {
    for vector in 0..16 {
        for trigger in [Edge, Level] {
            let mut rig = Rig::xapic();
            rig.receive(vector, trigger);
            assert_eq!((rig.lapic.irr(), rig.lapic.tmr()), ([0; 4], [0; 4]));
            rig.write(reg::ESR, 0);
            assert_eq!(rig.read(reg::ESR), esr::RECEIVE_ILLEGAL_VECTOR);
        }
    }
}

#[test]
fn lap_3_tmr_follows_acceptance_not_eoi() {
    let mut rig = Rig::xapic();
    rig.level(0x51);
    assert_eq!(rig.read(reg::TMR + 0x20), 1 << 17);
    assert_eq!(rig.take(), Some(0x51));
    assert_eq!(rig.eoi(), Some(0x51));
    assert_eq!(rig.read(reg::TMR + 0x20), 1 << 17, "EOI leaves TMR");
    rig.edge(0x51);
    assert_eq!(rig.read(reg::TMR + 0x20), 0, "the next acceptance sets it anew");
}

#[test]
fn lap_3_an_edge_that_merges_with_a_level_request_leaves_it_level() {
    for (first, second) in [(Edge, Level), (Level, Edge)] {
        // Merged in the descriptor, and merged in IRR.
        let mut rig = Rig::xapic();
        let _ = rig.posted.post_vector(0x60, first);
        rig.receive(0x60, second);
        assert_eq!((rig.take(), rig.eoi()), (Some(0x60), Some(0x60)));
        let mut rig = Rig::xapic();
        rig.receive(0x60, first);
        rig.receive(0x60, second);
        assert_eq!((rig.take(), rig.eoi()), (Some(0x60), Some(0x60)));
    }
    // The edge may be a self-IPI, which goes straight to IRR.
    let mut rig = Rig::xapic();
    rig.level(0x60);
    rig.write(reg::ICR, 0x4_0060);
    assert_eq!((rig.take(), rig.eoi()), (Some(0x60), Some(0x60)));
}

#[test]
fn lap_3_one_vector_in_irr_and_isr_at_once() {
    let mut rig = Rig::xapic();
    rig.edge(0x42);
    assert_eq!(rig.take(), Some(0x42));
    rig.edge(0x42);
    assert_eq!(rig.lapic.pending(), None, "its own class is in service");
    rig.eoi();
    assert_eq!(rig.take(), Some(0x42));
}

#[test]
fn lap_4_only_a_higher_class_interrupts() {
    let mut rig = Rig::xapic();
    rig.edge(0x52);
    assert_eq!(rig.take(), Some(0x52));
    rig.edge(0x5f);
    assert_eq!(rig.lapic.pending(), None);
    rig.edge(0x60);
    assert_eq!(rig.take(), Some(0x60));
    rig.eoi();
    assert_eq!(rig.lapic.pending(), None);
    rig.eoi();
    assert_eq!(rig.take(), Some(0x5f));
}

#[test]
fn lap_4_tpr_holds_back_its_class_and_below() {
    for vector in 16..=255u8 {
        for tpr in [0x00, 0x0f, 0x10, 0x1f, 0x7f, 0x80, 0xf0, 0xff] {
            let mut rig = Rig::xapic();
            rig.write(reg::TPR, tpr);
            rig.edge(vector);
            let open = u32::from(vector) >> 4 > tpr >> 4;
            assert_eq!(rig.lapic.pending(), open.then_some(vector), "{vector:#x} {tpr:#x}");
        }
    }
}

#[test]
fn lap_4_cr8_is_the_upper_half_of_tpr() {
    let mut rig = Rig::xapic();
    for cr8 in 0..=15u8 {
        rig.write(reg::TPR, 0xff);
        rig.lapic.set_cr8(cr8);
        assert_eq!(rig.read(reg::TPR), u32::from(cr8) << 4, "bits 3:0 are cleared");
        rig.write(reg::TPR, u32::from(cr8) << 4 | 5);
        assert_eq!(rig.lapic.cr8(), cr8);
    }
}

#[test]
fn lap_4_ppr_is_the_whole_tpr_from_its_class_on() {
    let mut rig = Rig::xapic();
    rig.edge(0x53);
    assert_eq!(rig.take(), Some(0x53));
    for (tpr, ppr) in [(0x00, 0x50), (0x4f, 0x50), (0x50, 0x50), (0x57, 0x57), (0x6a, 0x6a)] {
        rig.write(reg::TPR, tpr);
        assert_eq!(rig.read(reg::PPR), ppr, "TPR {tpr:#x}");
    }
}

#[test]
fn lap_4_apr_follows_the_sdms_formula() {
    // (TPR, IRRV, ISRV) -> APR
    for (tpr, irrv, isrv, apr) in [
        (0x00, None, None, 0x00),
        (0x35, Some(0x31), None, 0x35),
        (0x35, Some(0x41), None, 0x40),
        (0x35, None, Some(0x51), 0x10),
        (0x35, None, Some(0x31), 0x30),
        (0x65, Some(0x61), Some(0x51), 0x65),
        (0x15, Some(0x71), Some(0x51), 0x70),
    ] {
        let mut rig = Rig::xapic();
        if let Some(vector) = isrv {
            rig.edge(vector);
            assert_eq!(rig.take(), isrv);
        }
        irrv.into_iter().for_each(|vector| rig.edge(vector));
        rig.write(reg::TPR, tpr);
        assert_eq!(rig.read(reg::APR), apr, "{tpr:#x} {irrv:?} {isrv:?}");
    }
}

/// The SDM's text, one vector at a time, without a bit trick.
#[derive(Default)]
struct Model {
    irr: std::collections::BTreeSet<u8>,
    isr: std::collections::BTreeSet<u8>,
    level: std::collections::BTreeSet<u8>,
    tpr: u8,
}

impl Model {
    fn receive(&mut self, vector: u8, level: bool) {
        if vector < 16 {
            return;
        }
        if self.irr.insert(vector) {
            self.level.remove(&vector);
        }
        if level {
            self.level.insert(vector);
        }
    }

    fn ppr(&self) -> u8 {
        let isrv = self.isr.last().copied().unwrap_or(0);
        if self.tpr / 16 >= isrv / 16 {
            self.tpr
        } else {
            isrv / 16 * 16
        }
    }

    fn take(&mut self) -> Option<u8> {
        let vector = *self.irr.last()?;
        if vector / 16 <= self.ppr() / 16 {
            return None;
        }
        self.irr.remove(&vector);
        self.isr.insert(vector);
        Some(vector)
    }

    fn eoi(&mut self) -> Option<u8> {
        let vector = self.isr.pop_last()?;
        self.level.contains(&vector).then_some(vector)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Receive(u8, bool),
    Take,
    Eoi,
    Tpr(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), any::<bool>()).prop_map(|(v, level)| Step::Receive(v, level)),
        3 => Just(Step::Take),
        2 => Just(Step::Eoi),
        1 => any::<u8>().prop_map(Step::Tpr),
    ]
}

fn vectors(words: [u64; 4]) -> Vec<u8> {
    (0..=255u8).filter(|v| words[usize::from(*v) / 64] >> (v % 64) & 1 == 1).collect()
}

use std::vec::Vec;

proptest! {
    #[test]
    fn lap_4_irr_isr_tmr_and_ppr_agree_with_the_text(steps in prop::collection::vec(step(), 1..200)) {
        let (mut rig, mut model) = (Rig::xapic(), Model::default());
        for step in steps {
            match step {
                Step::Receive(vector, level) => {
                    rig.receive(vector, irq_routing::TriggerMode::from_bit(level));
                    model.receive(vector, level);
                }
                Step::Take => prop_assert_eq!(rig.take(), model.take()),
                Step::Eoi => prop_assert_eq!(rig.eoi(), model.eoi()),
                Step::Tpr(tpr) => {
                    rig.write(reg::TPR, tpr.into());
                    model.tpr = tpr;
                }
            }
            prop_assert_eq!(rig.lapic.ppr(), model.ppr());
            prop_assert_eq!(vectors(rig.lapic.irr()), model.irr.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(vectors(rig.lapic.isr()), model.isr.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(vectors(rig.lapic.tmr()), model.level.iter().copied().collect::<Vec<_>>());
        }
    }
}
