// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device's end of a wire.

use std::sync::Arc;

use irq_routing::{ConnectError, Gsi, SourceId};

use super::Interrupts;
use crate::devices::IrqLine;

/// One source of a GSI; its level goes away with it.
pub struct DeviceLine {
    interrupts: Arc<Interrupts>,
    gsi: Gsi,
    source: SourceId,
}

impl DeviceLine {
    /// Connects a new source to `gsi`.
    ///
    /// # Errors
    /// [`ConnectError`] where the GSI does not exist or has no source left.
    pub fn connect(interrupts: &Arc<Interrupts>, gsi: Gsi) -> Result<Self, ConnectError> {
        let source = interrupts.connect(gsi)?;
        Ok(DeviceLine { interrupts: interrupts.clone(), gsi, source })
    }
}

impl IrqLine for DeviceLine {
    fn set(&self, level: bool) {
        let _ = self.interrupts.set_irq(self.source, self.gsi, level);
    }

    fn pulse(&self) {
        let _ = self.interrupts.pulse(self.source, self.gsi);
    }
}

impl Drop for DeviceLine {
    fn drop(&mut self) {
        self.interrupts.disconnect(self.source, self.gsi);
    }
}
