// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pins, messages and EOIs (82093AA, "Functional Description").

use alloc::boxed::Box;
use alloc::vec;

use irq_routing::{Delivery, Line, LineChange, SourceId};

use crate::counters::bump;
use crate::{Config, ConfigError, IoApicEvents, PinCounters, PinSet, Polarity, Rte};

/// An I/O APIC.
///
/// Interrupts leave it in [`set_irq`](Self::set_irq), [`service`](Self::service) and
/// [`advance`](Self::advance) only. [`eoi`](Self::eoi) and [`write`](Self::write) answer with the
/// pins that should be serviced, so that the sources can be asked in between, without a lock, whether
/// they still want something; see the [crate documentation](crate#eoi-in-two-steps).
#[derive(Clone, Debug)]
pub struct IoApic {
    pub(crate) config: Config,
    /// IOAPICID, 4 bits.
    pub(crate) id: u8,
    /// The selected register, within `Config::ioregsel_mask`.
    pub(crate) ioregsel: u16,
    pub(crate) pins: Box<[Pin]>,
    /// Pins with remote IRR set: a level interrupt that some local APIC accepted and did not EOI.
    pub(crate) remote_irr: PinSet,
    /// Pins between their EOI and the `service` that follows it. Not saved: `service(ALL)` after a
    /// restore stands for what was interrupted.
    resampling: PinSet,
    /// Pins that the storm guard holds back. Not saved: a restore ends the pause.
    pub(crate) paused: PinSet,
    counters: Box<[PinCounters]>,
    unmatched_eois: u64,
}

/// One pin: what is wired to it, its entry, and what an EOI needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pin {
    /// The entry's guest-writable bits; the read-only ones are computed.
    pub(crate) rte: Rte,
    pub(crate) line: Line,
    /// The vector under which remote IRR was set, while it is set: the guest may have written
    /// another one into the entry meanwhile.
    pub(crate) in_service_vector: u8,
    /// EOIs in a row that found the line asserted (storm guard). Not saved: host protection only.
    pub(crate) successive: u32,
    /// When the storm guard's pause ends, while the pin is in `paused`.
    pub(crate) paused_until: u64,
}

impl Pin {
    pub(crate) const RESET: Pin = Pin {
        rte: Rte::RESET,
        line: Line { sources: 0 },
        in_service_vector: 0,
        successive: 0,
        paused_until: 0,
    };

    /// Whether the input is active.
    pub(crate) fn is_active(&self, polarity: Polarity) -> bool {
        polarity.convert(self.rte, self.line.level())
    }
}

/// The IOAPIC has no such pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the IOAPIC has no pin {0}")]
pub struct InvalidPin(pub u8);

impl IoApic {
    /// An IOAPIC after reset: every entry masked, every line low. The only place that allocates,
    /// besides `clone`, [`state`](Self::state) and [`from_state`](Self::from_state).
    ///
    /// # Errors
    /// [`ConfigError`] where `config` is out of range.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let pins = usize::from(config.pins);
        Ok(IoApic {
            config,
            id: config.id,
            ioregsel: 0,
            pins: vec![Pin::RESET; pins].into_boxed_slice(),
            remote_irr: PinSet::EMPTY,
            resampling: PinSet::EMPTY,
            paused: PinSet::EMPTY,
            counters: vec![PinCounters::default(); pins].into_boxed_slice(),
            unmatched_eois: 0,
        })
    }

    /// Sets the level that `source` drives onto `pin`; the pin sees the OR of its sources.
    ///
    /// An edge pin sends one message when it becomes active while unmasked. An edge on a masked pin
    /// is lost (82093AA, "Interrupt Mask"; KVM instead keeps it while the line stays up). A level
    /// pin sends while it is active, unmasked and remote IRR is clear.
    ///
    /// `Coalesced` means that an earlier interrupt of this pin is still in service or held back, and
    /// that the level is seen again at its end.
    ///
    /// # Errors
    /// [`InvalidPin`], with nothing changed.
    pub fn set_irq(
        &mut self,
        pin: u8,
        source: SourceId,
        level: bool,
        events: &mut (impl IoApicEvents + ?Sized),
    ) -> Result<Delivery, InvalidPin> {
        let polarity = self.config.polarity;
        let wired = self.pins.get_mut(usize::from(pin)).ok_or(InvalidPin(pin))?;
        let change = wired.line.set(source, level);
        let active = wired.is_active(polarity);
        let became_active = active && change != LineChange::None;
        if !active {
            // What the storm guard waits for has happened.
            self.paused.remove(pin);
        }
        if became_active {
            bump(&mut self.counters[usize::from(pin)].raised);
        }
        Ok(if !active {
            Delivery::Ignored
        } else if self.pins[usize::from(pin)].rte.trigger_mode().is_level() {
            self.send_level(pin, became_active, events)
        } else if became_active {
            self.send_edge(pin, events)
        } else {
            Delivery::Ignored
        })
    }

    /// The EOI of `vector`, broadcast by a local APIC or written to the EOI register: clears remote
    /// IRR of the pins whose entry has this vector, or had it when their interrupt was sent.
    ///
    /// Returns those pins. Ask their sources whether they still assert the line, then call
    /// [`service`](Self::service) with the same set: until then these pins send nothing.
    #[must_use = "these pins stay silent until `service` is called with them"]
    pub fn eoi(&mut self, vector: u8, events: &mut (impl IoApicEvents + ?Sized)) -> PinSet {
        let mut ended = PinSet::EMPTY;
        let mut routes_changed = false;
        for pin in self.remote_irr {
            let wired = &self.pins[usize::from(pin)];
            if wired.in_service_vector != vector && wired.rte.vector() != vector {
                continue;
            }
            let before = self.level_vectors_of(pin);
            self.remote_irr.remove(pin);
            routes_changed |= before != self.level_vectors_of(pin);
            ended.insert(pin);
            bump(&mut self.counters[usize::from(pin)].eois);
        }
        if ended.is_empty() {
            bump(&mut self.unmatched_eois);
        }
        self.resampling |= ended;
        if routes_changed {
            events.routes_changed();
        }
        ended
    }

    /// Looks at `pins` again and sends what their levels ask for: the second step after
    /// [`eoi`](Self::eoi) and [`write`](Self::write).
    ///
    /// Harmless for pins that have nothing to send. Call it with [`PinSet::ALL`] after a restore and
    /// whenever a local APIC was enabled, since level interrupts that nobody took are sent again.
    /// `now` is in nanoseconds of the caller's monotonic clock, for the storm guard.
    pub fn service(
        &mut self,
        pins: PinSet,
        now: u64,
        events: &mut (impl IoApicEvents + ?Sized),
    ) -> Delivery {
        let existing = self.config.pins;
        let mut delivery = Delivery::Ignored;
        for pin in pins.iter().take_while(|pin| *pin < existing) {
            if self.resampling.remove(pin) {
                self.guard_against_storm(pin, now);
            }
            if self.is_asserted_level(pin) {
                delivery = delivery + self.send_level(pin, false, events);
            }
        }
        delivery
    }

    /// When [`advance`](Self::advance) is to be called next, in nanoseconds of the caller's clock;
    /// `None` while the storm guard holds nothing back.
    pub fn next_deadline(&self) -> Option<u64> {
        self.paused.iter().map(|pin| self.pins[usize::from(pin)].paused_until).min()
    }

    /// Ends the storm guard's pauses that are over at `now` and sends what is still asserted.
    pub fn advance(&mut self, now: u64, events: &mut (impl IoApicEvents + ?Sized)) -> Delivery {
        let over: PinSet = self
            .paused
            .iter()
            .filter(|pin| self.pins[usize::from(*pin)].paused_until <= now)
            .collect();
        for pin in over {
            self.paused.remove(pin);
        }
        self.service(over, now, events)
    }

    /// Lowers everything that `source` drives: a source that goes away takes its levels along.
    pub fn release(&mut self, source: SourceId, events: &mut (impl IoApicEvents + ?Sized)) {
        for pin in 0..self.config.pins {
            // The pin exists. Lowering sends nothing, but for an active-low pin under `Honour`.
            let _ = self.set_irq(pin, source, false, events);
        }
    }

    /// Hardware reset: every entry masked, IOREGSEL 0, the configured id. The lines stay as their
    /// sources drive them, the counters as they are.
    pub fn reset(&mut self, events: &mut (impl IoApicEvents + ?Sized)) {
        self.id = self.config.id;
        self.ioregsel = 0;
        self.remote_irr = PinSet::EMPTY;
        self.resampling = PinSet::EMPTY;
        self.paused = PinSet::EMPTY;
        for pin in self.pins.iter_mut() {
            *pin = Pin { line: pin.line, ..Pin::RESET };
        }
        events.routes_changed();
    }

    /// Sends a level pin's message if it is due. The pin is active and its mode is level.
    fn send_level(
        &mut self,
        pin: u8,
        became_active: bool,
        events: &mut (impl IoApicEvents + ?Sized),
    ) -> Delivery {
        if self.pins[usize::from(pin)].rte.masked() {
            if became_active {
                bump(&mut self.counters[usize::from(pin)].masked);
            }
            return Delivery::Ignored;
        }
        if self.remote_irr.contains(pin)
            || self.resampling.contains(pin)
            || self.paused.contains(pin)
        {
            if became_active {
                bump(&mut self.counters[usize::from(pin)].coalesced);
            }
            return Delivery::Coalesced;
        }
        let delivery = self.send(pin, events);
        if delivery != Delivery::Ignored {
            // 82093AA, "Remote IRR": set when local APICs accept the level interrupt.
            self.remote_irr.insert(pin);
            let wired = &mut self.pins[usize::from(pin)];
            wired.in_service_vector = wired.rte.vector();
        }
        delivery
    }

    /// Sends an edge pin's message, unless masked. The pin has just become active.
    fn send_edge(&mut self, pin: u8, events: &mut (impl IoApicEvents + ?Sized)) -> Delivery {
        if self.pins[usize::from(pin)].rte.masked() {
            bump(&mut self.counters[usize::from(pin)].masked);
            return Delivery::Ignored;
        }
        self.send(pin, events)
    }

    fn send(&mut self, pin: u8, events: &mut (impl IoApicEvents + ?Sized)) -> Delivery {
        let counters = &mut self.counters[usize::from(pin)];
        let rte = self.pins[usize::from(pin)].rte;
        let Some(message) = rte.message(self.config.extended_destination) else {
            bump(&mut counters.masked);
            return Delivery::Ignored;
        };
        let delivery = events.message(message);
        bump(match delivery {
            Delivery::Ignored => &mut counters.refused,
            _ => &mut counters.sent,
        });
        delivery
    }

    /// Counts the EOIs of `pin` that found the line asserted, and starts a pause after too many.
    fn guard_against_storm(&mut self, pin: u8, now: u64) {
        let guard = self.config.storm_guard;
        let again = self.is_asserted_level(pin) && !self.pins[usize::from(pin)].rte.masked();
        let wired = &mut self.pins[usize::from(pin)];
        wired.successive = if again { wired.successive.saturating_add(1) } else { 0 };
        if wired.successive >= guard.limit {
            wired.successive = 0;
            wired.paused_until = now.saturating_add(guard.pause_ns);
            self.paused.insert(pin);
            bump(&mut self.counters[usize::from(pin)].storm_pauses);
        }
    }

    pub(crate) fn is_asserted_level(&self, pin: u8) -> bool {
        let wired = &self.pins[usize::from(pin)];
        wired.rte.trigger_mode().is_level() && wired.is_active(self.config.polarity)
    }
}

/// Queries.
impl IoApic {
    /// What it was built from.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The vectors whose EOI this IOAPIC wants to hear about, bit n of word n / 64 for vector n:
    /// those of unmasked level entries, and those under which a level interrupt is in service even
    /// if the entry has changed since (the EOI-exit bitmap; Intel SDM vol. 3, "EOI Virtualization").
    pub fn level_vectors(&self) -> [u64; 4] {
        (0..self.config.pins).fold([0; 4], |all, pin| {
            let of_pin = self.level_vectors_of(pin);
            core::array::from_fn(|i| all[i] | of_pin[i])
        })
    }

    /// Whether `pin` is an unmasked ExtINT entry: the 8259A pair's INTR, wired to this pin, reaches
    /// the CPU through it (MultiProcessor Specification, "Virtual Wire Mode").
    pub fn extint_pin(&self, pin: u8) -> bool {
        self.entry(pin).is_some_and(|rte| {
            !rte.masked() && rte.delivery_mode() == Some(irq_routing::DeliveryMode::ExtInt)
        })
    }

    /// The entry of `pin` as the guest reads it, or `None` if there is no such pin.
    pub fn entry(&self, pin: u8) -> Option<Rte> {
        let wired = self.pins.get(usize::from(pin))?;
        let remote_irr = self.remote_irr.contains(pin);
        // Send pending: the interrupt is asserted and no local APIC has accepted it yet.
        let pending = self.is_asserted_level(pin) && !wired.rte.masked() && !remote_irr;
        Some(wired.rte.with_remote_irr(remote_irr).with_delivery_status(pending))
    }

    /// The sources that drive `pin` high, or `None` if there is no such pin: whom to ask after an
    /// EOI.
    pub fn line(&self, pin: u8) -> Option<Line> {
        self.pins.get(usize::from(pin)).map(|wired| wired.line)
    }

    /// What happened on `pin`, or `None` if there is no such pin.
    pub fn counters(&self, pin: u8) -> Option<&PinCounters> {
        self.counters.get(usize::from(pin))
    }

    /// EOIs that no pin was waiting for.
    pub const fn unmatched_eois(&self) -> u64 {
        self.unmatched_eois
    }

    /// What one pin adds to `level_vectors`.
    pub(crate) fn level_vectors_of(&self, pin: u8) -> [u64; 4] {
        let wired = &self.pins[usize::from(pin)];
        let mut vectors = [0; 4];
        let mut add = |vector: u8| vectors[usize::from(vector >> 6)] |= 1u64 << (vector & 63);
        if wired.rte.trigger_mode().is_level() && !wired.rte.masked() {
            add(wired.rte.vector());
        }
        if self.remote_irr.contains(pin) {
            add(wired.in_service_vector);
        }
        vectors
    }
}
