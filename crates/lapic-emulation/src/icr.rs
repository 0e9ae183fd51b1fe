// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interprocessor interrupts (Intel SDM vol. 3, "Issuing Interprocessor Interrupts").

use irq_routing::{DeliveryMode, DestinationMode, InterruptMessage, TriggerMode, BROADCAST};

use crate::lapic::{Lapic, LapicEvents};
use crate::signals::Signals;
use crate::spec::{esr, Icr, FIRST_LEGAL_VECTOR};
use crate::ApicMode;

/// Destination shorthand, ICR bits 19:18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Shorthand {
    /// The message's destination counts.
    None = 0,
    /// The sender.
    SelfOnly = 1,
    /// Everyone.
    AllIncludingSelf = 2,
    /// Everyone but the sender.
    AllExcludingSelf = 3,
}

impl Shorthand {
    /// Decodes the low 2 bits of `bits`.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Shorthand::None,
            1 => Shorthand::SelfOnly,
            2 => Shorthand::AllIncludingSelf,
            _ => Shorthand::AllExcludingSelf,
        }
    }
}

/// An IPI on its way to [`deliver_ipi`](crate::deliver_ipi).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// Who gets it. A [`Lapic`] keeps "self" to itself and never hands it out.
    pub shorthand: Shorthand,
    /// What they get. With a shorthand the destination means nothing.
    pub message: InterruptMessage,
}

/// A value that [`Lapic::host_icr`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostIcrError {
    /// Bits 19:18 are not 01 (self).
    #[error("ICR {0:#x}: the destination shorthand must be self")]
    Shorthand(u32),
    /// The delivery mode is reserved.
    #[error("ICR {0:#x}: the delivery mode is reserved")]
    DeliveryMode(u32),
    /// A fixed or lowest-priority interrupt with a vector below 16.
    #[error("ICR {0:#x}: the vector is below 16")]
    Vector(u32),
}

/// Decodes an ICR value that the VMM, not the guest, sends to one vCPU (LAP-12), for
/// [`PostedInterrupts::post`](crate::PostedInterrupts::post) from any thread.
///
/// # Errors
/// [`HostIcrError`] where the shorthand is not self, the mode is reserved or the vector illegal.
pub fn decode_host_icr(icr: u32) -> Result<InterruptMessage, HostIcrError> {
    let fields = Icr::from_bits(icr.into());
    if Shorthand::from_bits(fields.shorthand()) != Shorthand::SelfOnly {
        return Err(HostIcrError::Shorthand(icr));
    }
    let mode = DeliveryMode::from_bits(fields.delivery_mode())
        .map_err(|_| HostIcrError::DeliveryMode(icr))?;
    if carries_vector(mode) && fields.vector() < FIRST_LEGAL_VECTOR {
        return Err(HostIcrError::Vector(icr));
    }
    Ok(message(fields, mode, 0))
}

impl Lapic {
    /// Sends this vCPU an interrupt on the VMM's behalf, as an ICR write with shorthand self
    /// would; the guest's ICR and ESR do not show it. Unlike the guest, the VMM may send INIT and
    /// start-up. INIT de-assert does nothing.
    ///
    /// # Errors
    /// [`HostIcrError`], and nothing is sent.
    pub fn host_icr(&mut self, icr: u32) -> Result<(), HostIcrError> {
        let message = decode_host_icr(icr)?;
        if !is_init_deassert(Icr::from_bits(icr.into())) {
            self.accept_message(&message);
        }
        Ok(())
    }

    /// What the ICR holds goes out.
    pub(crate) fn send_icr(&mut self, events: &mut impl LapicEvents) {
        let icr = Icr::from_bits(self.regs.icr);
        // 3 is reserved and 7 cannot come from an ICR: nothing is sent.
        let mode = match DeliveryMode::from_bits(icr.delivery_mode()) {
            Ok(mode) if mode != DeliveryMode::ExtInt && !is_init_deassert(icr) => mode,
            _ => return,
        };
        if carries_vector(mode) && icr.vector() < FIRST_LEGAL_VECTOR {
            self.log_error(esr::SEND_ILLEGAL_VECTOR);
            return;
        }
        let shorthand = Shorthand::from_bits(icr.shorthand());
        let message = message(icr, mode, self.icr_destination(icr));
        let starts = matches!(mode, DeliveryMode::Init | DeliveryMode::StartUp);
        match shorthand {
            // "Valid Combinations for the Local APIC's Interrupt Command Register": no CPU can
            // INIT or start itself.
            Shorthand::SelfOnly | Shorthand::AllIncludingSelf if starts => {}
            Shorthand::SelfOnly => self.accept_message(&message),
            _ => events.ipi(Ipi { shorthand, message }),
        }
    }

    fn icr_destination(&self, icr: Icr) -> u32 {
        match self.mode() {
            ApicMode::X2apic => icr.destination(),
            _ => match icr.destination() >> 24 {
                0xff => BROADCAST,
                id => id,
            },
        }
    }

    fn accept_message(&mut self, message: &InterruptMessage) {
        match message.delivery_mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                if self.software_enabled() && self.mode() != ApicMode::Disabled {
                    self.accept_vector(message.vector, message.trigger_mode);
                }
            }
            DeliveryMode::StartUp => {
                self.receive(Signals { sipi: Some(message.vector), ..Signals::default() });
            }
            mode => {
                let _ = self.local_signal(mode);
            }
        }
    }
}

/// IPIs are edge-triggered: the trigger bit means INIT de-assert and nothing else.
fn message(icr: Icr, delivery_mode: DeliveryMode, destination: u32) -> InterruptMessage {
    InterruptMessage {
        destination,
        destination_mode: DestinationMode::from_bit(icr.logical()),
        delivery_mode,
        trigger_mode: TriggerMode::Edge,
        vector: icr.vector(),
    }
}

const fn carries_vector(mode: DeliveryMode) -> bool {
    matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority)
}

fn is_init_deassert(icr: Icr) -> bool {
    icr.delivery_mode() == DeliveryMode::Init.bits() && icr.level() && !icr.assert()
}
