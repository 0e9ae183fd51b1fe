// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a message to its targets: look up, post, tell whom to notify. No lock, no allocation;
//! any thread.

use core::borrow::Borrow;

use irq_routing::msi::MsiFormat;
use irq_routing::{Delivery, DeliveryMode, InterruptMessage, InvalidMsi, Msi};

use crate::destination::{DestinationMap, Targets};
use crate::icr::{Ipi, Shorthand};
use crate::posted::{Posted, PostedInterrupts};
use crate::spec::LvtIndex;

/// Delivers a message to everyone it addresses; `posted[n]` is vCPU n's. `notify(n)` is called for
/// each vCPU that must be woken or kicked.
pub fn deliver<P: Borrow<PostedInterrupts>>(
    map: &DestinationMap,
    posted: &[P],
    message: &InterruptMessage,
    notify: impl FnMut(usize),
) -> Delivery {
    post_to(map, posted, map.targets(message), message, notify)
}

/// Delivers an IPI that vCPU `source` sent.
pub fn deliver_ipi<P: Borrow<PostedInterrupts>>(
    map: &DestinationMap,
    posted: &[P],
    source: usize,
    ipi: &Ipi,
    notify: impl FnMut(usize),
) -> Delivery {
    let mode = ipi.message.delivery_mode;
    let targets = match ipi.shorthand {
        Shorthand::None => map.targets(&ipi.message),
        Shorthand::SelfOnly => map.only(source, mode),
        Shorthand::AllIncludingSelf => map.all(mode, None),
        Shorthand::AllExcludingSelf => map.all(mode, Some(source)),
    };
    post_to(map, posted, targets, &ipi.message, notify)
}

/// Delivers an MSI.
///
/// # Errors
/// [`InvalidMsi`] where it lies outside the interrupt window 0xfee00000..0xfef00000 or has a
/// delivery mode that no device may use.
pub fn deliver_msi<P: Borrow<PostedInterrupts>>(
    map: &DestinationMap,
    posted: &[P],
    msi: Msi,
    format: MsiFormat,
    notify: impl FnMut(usize),
) -> Result<Delivery, InvalidMsi> {
    Ok(deliver(map, posted, &msi.decode(format)?, notify))
}

/// [`set_local_intr`] names what does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocalIntr {
    /// There is no such vCPU.
    #[error("there is no vCPU {0}")]
    Vcpu(usize),
    /// There is no such local vector table entry, see [`LvtIndex`].
    #[error("there is no local vector table entry {0}")]
    Lvt(u32),
}

/// Makes entry `lvt` (0..=6, see [`LvtIndex`]) of one vCPU's, or of every vCPU's, local vector
/// table fire once (LAP-13).
///
/// # Errors
/// [`InvalidLocalIntr`], and nothing fires.
pub fn set_local_intr<P: Borrow<PostedInterrupts>>(
    posted: &[P],
    vcpu: Option<usize>,
    lvt: u32,
    mut notify: impl FnMut(usize),
) -> Result<Delivery, InvalidLocalIntr> {
    let index = usize::try_from(lvt).ok().and_then(|lvt| LvtIndex::ALL.get(lvt));
    let lvt = *index.ok_or(InvalidLocalIntr::Lvt(lvt))?;
    let mut post = |index: usize, target: &P| -> Delivery {
        told(index, target.borrow().post_local(lvt), &mut notify)
    };
    match vcpu {
        Some(index) => {
            posted.get(index).map(|p| post(index, p)).ok_or(InvalidLocalIntr::Vcpu(index))
        }
        None => Ok(posted
            .iter()
            .enumerate()
            .fold(Delivery::Ignored, |sum, (index, p)| sum + post(index, p))),
    }
}

fn post_to<P: Borrow<PostedInterrupts>>(
    map: &DestinationMap,
    posted: &[P],
    targets: Targets<'_>,
    message: &InterruptMessage,
    mut notify: impl FnMut(usize),
) -> Delivery {
    let mut post = |index: usize| match posted.get(index) {
        Some(target) => told(index, target.borrow().post(message), &mut notify),
        None => Delivery::Ignored,
    };
    if message.delivery_mode == DeliveryMode::LowestPriority {
        let priority = |index: usize| posted.get(index).map_or(0xff, |p| p.borrow().priority());
        return map.arbitrate(targets, priority).map_or(Delivery::Ignored, post);
    }
    targets.fold(Delivery::Ignored, |sum, index| sum + post(index))
}

fn told(index: usize, posted: Posted, notify: &mut impl FnMut(usize)) -> Delivery {
    if posted.notify {
        notify(index);
    }
    posted.delivery
}
