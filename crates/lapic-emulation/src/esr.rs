// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Errors (Intel SDM vol. 3, "Error Handling").

use crate::lapic::Lapic;
use crate::spec::LvtIndex;

impl Lapic {
    /// Logs an error until ESR is written, and fires LVT error for the first one. An illegal
    /// vector in LVT error itself logs a bit but finds the log open already, so nothing recurs.
    pub(crate) fn log_error(&mut self, bit: u32) {
        let armed = self.regs.esr_pending == 0;
        self.regs.esr_pending |= bit;
        if armed {
            let _ = self.fire(LvtIndex::Error);
        }
    }

    /// A write latches the log into ESR, empties it and rearms LVT error.
    pub(crate) fn write_esr(&mut self) {
        self.regs.esr = core::mem::take(&mut self.regs.esr_pending);
    }
}
