// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! To and from `kvm_pic_state`, the kernel's structure for one chip of its pair.
//!
//! Linux, `Documentation/virt/kvm/api.rst`, "KVM_GET_IRQCHIP", chips 0 (master) and 1 (slave).
//! The structure knows neither LTIM, single mode nor ICW3 (KVM's pair is always wired as a PC's),
//! nor whether the chip was ever initialized: a vector base of 0 outside an initialization is
//! taken for "never". What it does hold survives in both directions.

use kvm_bindings::kvm_pic_state;

use crate::spec::{Icw1, Icw4, CASCADE_PIN, MASTER_ELCR_MASK, SLAVE_ELCR_MASK};
use crate::state::{ChipState, InvalidState, PicState, Step};
use crate::PicPair;

/// Why a state does not cross over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvmStateError {
    /// The pair is in a mode that `kvm_pic_state` cannot express.
    #[error("kvm_pic_state cannot express {0}")]
    Inexpressible(&'static str),
    /// A field of `kvm_pic_state` that KVM never sets so, with its value.
    #[error("kvm_pic_state field {0} is {1:#04x}")]
    Field(&'static str, u8),
    /// The state that came out is not one of an 8259A pair.
    #[error(transparent)]
    State(#[from] InvalidState),
}

/// Master, then slave. [`PicState::ended`] has no place there: drain it before.
impl TryFrom<&PicState> for [kvm_pic_state; 2] {
    type Error = KvmStateError;

    fn try_from(state: &PicState) -> Result<Self, KvmStateError> {
        Ok([
            to_kvm(&state.master, 1 << CASCADE_PIN, MASTER_ELCR_MASK)?,
            to_kvm(&state.slave, CASCADE_PIN, SLAVE_ELCR_MASK)?,
        ])
    }
}

/// Master, then slave.
impl TryFrom<&[kvm_pic_state; 2]> for PicState {
    type Error = KvmStateError;

    fn try_from([master, slave]: &[kvm_pic_state; 2]) -> Result<Self, KvmStateError> {
        let state = PicState {
            master: from_kvm(master, 1 << CASCADE_PIN, MASTER_ELCR_MASK)?,
            slave: from_kvm(slave, CASCADE_PIN, SLAVE_ELCR_MASK)?,
            ended: 0,
        };
        PicPair::from_state(&state)?;
        Ok(state)
    }
}

fn to_kvm(chip: &ChipState, icw3: u8, elcr_mask: u8) -> Result<kvm_pic_state, KvmStateError> {
    let icw1 = Icw1::from_bits(chip.icw1);
    let icw4 = Icw4::from_bits(chip.icw4);
    let obstacles = [
        (icw1.ltim(), "LTIM"),
        (icw1.sngl(), "single mode"),
        (matches!(chip.step, Step::Icw4 | Step::Ready) && chip.icw3 != icw3, "this ICW3"),
        (chip.step == Step::Ready && chip.icw2 == 0, "an initialized chip with vector base 0"),
    ];
    if let Some((_, what)) = obstacles.into_iter().find(|(present, _)| *present) {
        return Err(KvmStateError::Inexpressible(what));
    }
    Ok(kvm_pic_state {
        last_irr: chip.lines,
        irr: chip.irr,
        imr: chip.imr,
        isr: chip.isr,
        priority_add: chip.lowest_priority.wrapping_add(1) & 7,
        irq_base: chip.icw2,
        read_reg_select: chip.read_isr.into(),
        poll: chip.poll.into(),
        special_mask: chip.special_mask.into(),
        init_state: match chip.step {
            Step::PowerOn | Step::Ready => 0,
            Step::Icw2 => 1,
            Step::Icw3 => 2,
            Step::Icw4 => 3,
        },
        auto_eoi: icw4.aeoi().into(),
        rotate_on_auto_eoi: chip.rotate_on_auto_eoi.into(),
        special_fully_nested_mode: icw4.sfnm().into(),
        init4: icw1.ic4().into(),
        elcr: chip.elcr,
        elcr_mask,
    })
}

fn from_kvm(kvm: &kvm_pic_state, icw3: u8, elcr_mask: u8) -> Result<ChipState, KvmStateError> {
    if kvm.elcr_mask != elcr_mask {
        return Err(KvmStateError::Field("elcr_mask", kvm.elcr_mask));
    }
    let step = match (kvm.init_state, kvm.irq_base) {
        (0, 0) => Step::PowerOn,
        (0, _) => Step::Ready,
        (1, _) => Step::Icw2,
        (2, _) => Step::Icw3,
        (3, _) => Step::Icw4,
        (other, _) => return Err(KvmStateError::Field("init_state", other)),
    };
    let icw1 = Icw1::new().with_is_icw1(true).with_ic4(flag("init4", kvm.init4)?);
    let icw4 = Icw4::new()
        .with_upm(icw1.ic4())
        .with_aeoi(flag("auto_eoi", kvm.auto_eoi)?)
        .with_sfnm(flag("special_fully_nested_mode", kvm.special_fully_nested_mode)?);
    let initialized = |word: u8| if step == Step::PowerOn { 0 } else { word };
    Ok(ChipState {
        irr: kvm.irr,
        isr: kvm.isr,
        imr: kvm.imr,
        lines: kvm.last_irr,
        elcr: kvm.elcr,
        lowest_priority: level("priority_add", kvm.priority_add)?.wrapping_sub(1) & 7,
        step,
        icw1: initialized(icw1.into_bits()),
        icw2: kvm.irq_base,
        icw3: initialized(icw3),
        icw4: initialized(icw4.into_bits()),
        rotate_on_auto_eoi: flag("rotate_on_auto_eoi", kvm.rotate_on_auto_eoi)?,
        special_mask: flag("special_mask", kvm.special_mask)?,
        read_isr: flag("read_reg_select", kvm.read_reg_select)?,
        poll: flag("poll", kvm.poll)?,
    })
}

fn flag(name: &'static str, value: u8) -> Result<bool, KvmStateError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(KvmStateError::Field(name, other)),
    }
}

fn level(name: &'static str, value: u8) -> Result<u8, KvmStateError> {
    if value < 8 {
        Ok(value)
    } else {
        Err(KvmStateError::Field(name, value))
    }
}
