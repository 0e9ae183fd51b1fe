// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What reaches a CPU beside vectors: NMI, SMI, INIT, SIPI, ExtINT, local interrupts.

/// Requests that are not vectors and wait for their CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Signals {
    /// NMIs, 0..=2.
    pub nmi: u8,
    /// A system management interrupt.
    pub smi: bool,
    /// An ExtINT message (from an IOAPIC pin in virtual wire mode): the CPU asks the PIC.
    pub extint: bool,
    /// An INIT.
    pub init: bool,
    /// A start-up IPI and its vector (the start address is `vector << 12`).
    pub sipi: Option<u8>,
    /// Bit n: entry n of the local vector table fires, see [`LvtIndex`](crate::LvtIndex).
    pub local: u8,
}

const NMI: u64 = 0x3;
const SMI: u64 = 1 << 2;
const EXTINT: u64 = 1 << 3;
const INIT: u64 = 1 << 4;
const SIPI: u64 = 1 << 5;
const SIPI_VECTOR_SHIFT: u32 = 8;
const LOCAL_SHIFT: u32 = 16;

impl Signals {
    /// After an INIT: a start-up IPI that came before it is void (Intel SDM vol. 3, "MP
    /// Initialization Protocol Algorithm": a SIPI is not latched outside wait-for-SIPI).
    pub(crate) fn with_init(self) -> Self {
        Signals { init: true, sipi: None, ..self }
    }

    /// After a start-up IPI: the first one counts, as it would have started the CPU.
    pub(crate) fn with_sipi(self, vector: u8) -> Self {
        Signals { sipi: self.sipi.or(Some(vector)), ..self }
    }

    /// What is left when `later` came after `self`.
    pub(crate) fn then(self, later: Signals) -> Self {
        Signals {
            nmi: self.nmi.saturating_add(later.nmi).min(2),
            smi: self.smi | later.smi,
            extint: self.extint | later.extint,
            init: self.init | later.init,
            sipi: if later.init { later.sipi } else { self.sipi.or(later.sipi) },
            local: self.local | later.local,
        }
    }

    pub(crate) fn bits(self) -> u64 {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        u64::from(self.nmi.min(2))
            | flag(self.smi, SMI)
            | flag(self.extint, EXTINT)
            | flag(self.init, INIT)
            | self.sipi.map_or(0, |vector| SIPI | u64::from(vector) << SIPI_VECTOR_SHIFT)
            | u64::from(self.local) << LOCAL_SHIFT
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Signals {
            nmi: (bits & NMI) as u8,
            smi: bits & SMI != 0,
            extint: bits & EXTINT != 0,
            init: bits & INIT != 0,
            sipi: (bits & SIPI != 0).then_some((bits >> SIPI_VECTOR_SHIFT) as u8),
            local: (bits >> LOCAL_SHIFT) as u8,
        }
    }
}
