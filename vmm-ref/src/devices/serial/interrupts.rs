// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! When a 16550A's INTR output is asserted, and what it says about it.
//!
//! Follows the National Semiconductor PC16550D data sheet, 8.4 "Interrupt Identification Register",
//! 8.5 "Interrupt Enable Register" and 8.6 "FIFO Control Register". vm-superio keeps the other
//! registers and the receive buffer; its own identification register forgets every pending cause
//! when it is read and reports two causes at once as a third one, which loses interrupts.

/// IER bit 0, ERBFI: received data available.
const IER_RECEIVED: u8 = 1 << 0;
/// IER bit 1, ETBEI: transmitter holding register empty.
const IER_TRANSMITTER_EMPTY: u8 = 1 << 1;

/// IIR: nothing is pending.
const IIR_NONE: u8 = 0b0001;
/// IIR: transmitter holding register empty.
const IIR_TRANSMITTER_EMPTY: u8 = 0b0010;
/// IIR: received data available, the FIFO's trigger level is reached.
const IIR_RECEIVED: u8 = 0b0100;
/// IIR: character timeout, there is data below the trigger level.
const IIR_TIMEOUT: u8 = 0b1100;
/// IIR bits 7:6: the FIFOs are enabled.
const IIR_FIFOS: u8 = 0b1100_0000;

/// FCR bit 0: FIFO enable.
const FCR_ENABLE: u8 = 1 << 0;
/// FCR bit 1: clear the receive FIFO.
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;

/// Characters in a 16550A's receive FIFO.
const FIFO_DEPTH: usize = 16;

/// The interrupt side of the UART: IER, FCR and the transmitter-empty latch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interrupts {
    enable: u8,
    fifo_control: u8,
    transmitter_empty: bool,
}

impl Interrupts {
    /// INTR, with `received` characters waiting.
    pub(super) fn intr(&self, received: usize) -> bool {
        self.identify(received) != IIR_NONE
    }

    /// A read of the IIR. Acknowledges the transmitter interrupt if it is the one reported.
    pub(super) fn read_identification(&mut self, received: usize) -> u8 {
        let id = self.identify(received);
        if id == IIR_TRANSMITTER_EMPTY {
            self.transmitter_empty = false;
        }
        id | if self.fifos_enabled() { IIR_FIFOS } else { 0 }
    }

    /// Whether a received character interrupts.
    pub(super) fn receiver_enabled(&self) -> bool {
        self.enable & IER_RECEIVED != 0
    }

    /// A write of the IER. Enabling the transmitter interrupt raises it at once: the transmitter
    /// of this model is always empty.
    pub(super) fn write_enable(&mut self, value: u8) {
        if (self.enable ^ value) & IER_TRANSMITTER_EMPTY != 0 {
            self.transmitter_empty = value & IER_TRANSMITTER_EMPTY != 0;
        }
        self.enable = value;
    }

    /// A write of the FCR; whether it clears the receive FIFO. The other bits count only together
    /// with the enable bit, and a change of that bit clears the FIFOs.
    #[must_use]
    pub(super) fn write_fifo_control(&mut self, value: u8) -> bool {
        let enabled = value & FCR_ENABLE != 0;
        let clear = enabled != self.fifos_enabled() || enabled && value & FCR_CLEAR_RECEIVER != 0;
        self.fifo_control = if enabled { value } else { 0 };
        clear
    }

    /// A character was written to the transmitter and is already gone.
    pub(super) fn transmitted(&mut self) {
        self.transmitter_empty = true;
    }

    /// How many characters the receiver holds at most: one without the FIFO.
    pub(super) fn receiver_depth(&self) -> usize {
        if self.fifos_enabled() {
            FIFO_DEPTH
        } else {
            1
        }
    }

    /// The cause of highest priority. Line status and modem status never change in this model.
    fn identify(&self, received: usize) -> u8 {
        if self.enable & IER_RECEIVED != 0 && received != 0 {
            if received >= self.trigger_level() {
                IIR_RECEIVED
            } else {
                IIR_TIMEOUT
            }
        } else if self.enable & IER_TRANSMITTER_EMPTY != 0 && self.transmitter_empty {
            IIR_TRANSMITTER_EMPTY
        } else {
            IIR_NONE
        }
    }

    fn fifos_enabled(&self) -> bool {
        self.fifo_control & FCR_ENABLE != 0
    }

    /// FCR bits 7:6.
    fn trigger_level(&self) -> usize {
        match (self.fifos_enabled(), self.fifo_control >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        }
    }
}
