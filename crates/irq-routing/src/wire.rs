// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The wire from the 8259A's INTR output to a CPU, and who owns it.
//!
//! A PC has three ways from INTR to a CPU (MultiProcessor Specification 1.4, "PIC Mode",
//! "Virtual Wire Mode"): the CPU's own INTR pin, LINT0 of a local APIC programmed as ExtINT, and
//! an IOAPIC pin programmed as ExtINT. Hardware drives all that are open; a guest that leaves
//! two open at once, while it moves from one to the next, would take interrupts twice. Here the
//! wire has one owner at a time: the one that was first, until it closes.

/// Which way INTR takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum WireMode {
    /// None is open: the PIC's requests wait.
    #[default]
    Closed,
    /// Straight to the INTR pin of this CPU: it has no local APIC, or it is hardware-disabled.
    Intr {
        /// CPU index.
        cpu: u32,
    },
    /// LINT0 of this CPU's local APIC, unmasked, as ExtINT.
    Lint0 {
        /// CPU index.
        cpu: u32,
    },
    /// This IOAPIC pin, unmasked, as ExtINT.
    IoApic {
        /// Pin number.
        pin: u8,
    },
}

/// The ways that the controllers' registers leave open at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpenWires {
    /// The first CPU whose INTR pin is connected straight through: it has no APIC, or
    /// IA32_APIC_BASE.EN is clear (Intel SDM vol. 3, "Local APIC Status and Location").
    pub intr: Option<u32>,
    /// The first CPU whose LVT LINT0 is an unmasked ExtINT entry.
    pub lint0: Option<u32>,
    /// The IOAPIC pin behind INTR, when it is an unmasked ExtINT entry.
    pub ioapic: Option<u8>,
}

/// What a change did to the ends of the wire. Lower first, then raise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct WireChange {
    /// This end saw INTR high and now sees it low.
    pub lowered: Option<WireMode>,
    /// This end now sees INTR high.
    pub raised: Option<WireMode>,
}

/// The wire with its owner and level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Wire {
    mode: WireMode,
    intr: bool,
}

impl Wire {
    /// INTR low and the wire as `open` has it.
    pub fn new(open: OpenWires) -> Self {
        Wire { mode: WireMode::Closed.next(open), intr: false }
    }

    /// Who owns the wire.
    pub fn mode(self) -> WireMode {
        self.mode
    }

    /// The level of INTR.
    pub fn intr(self) -> bool {
        self.intr
    }

    /// The way on which INTR is high now, if it is high and one is open.
    pub fn asserted(self) -> Option<WireMode> {
        (self.intr && self.mode != WireMode::Closed).then_some(self.mode)
    }

    /// The 8259A's INTR output changed.
    pub fn set_intr(&mut self, level: bool) -> WireChange {
        self.change(|wire| wire.intr = level)
    }

    /// A register that opens or closes a way changed: LINT0, the IOAPIC's pin, an APIC's enable
    /// bit. The owner keeps the wire while its way is open; then the first open one of INTR
    /// pin, LINT0 and IOAPIC pin gets it. An asserted INTR moves along.
    pub fn update(&mut self, open: OpenWires) -> WireChange {
        self.change(|wire| wire.mode = wire.mode.next(open))
    }

    fn change(&mut self, f: impl FnOnce(&mut Self)) -> WireChange {
        let before = self.asserted();
        f(self);
        let after = self.asserted();
        if before == after {
            return WireChange::default();
        }
        WireChange { lowered: before, raised: after }
    }
}

impl WireMode {
    /// Whether this way is among the open ones.
    pub fn is_open(self, open: OpenWires) -> bool {
        match self {
            WireMode::Closed => false,
            WireMode::Intr { cpu } => open.intr == Some(cpu),
            WireMode::Lint0 { cpu } => open.lint0 == Some(cpu),
            WireMode::IoApic { pin } => open.ioapic == Some(pin),
        }
    }

    fn next(self, open: OpenWires) -> WireMode {
        if self.is_open(open) {
            return self;
        }
        let intr = open.intr.map(|cpu| WireMode::Intr { cpu });
        let lint0 = open.lint0.map(|cpu| WireMode::Lint0 { cpu });
        let ioapic = open.ioapic.map(|pin| WireMode::IoApic { pin });
        intr.or(lint0).or(ioapic).unwrap_or(WireMode::Closed)
    }
}
