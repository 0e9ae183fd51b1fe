// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Delivering an event through the IDT or the real-mode vector table (SDM vol. 3, "Interrupt and
//! Exception Handling"; vol. 2, INT n).

mod gate;
mod real;

use vcpu_events::{Event, Exception, Origin};

use crate::cpu::Cpu;
use crate::flags::bit;
use crate::op::Trap;
use crate::spec::dr;

/// DR6.B3 to B0: a debug exception tells those of its own cause only.
const BREAKPOINTS: u64 = 0xf;
/// IDT, bit 1 of an error code: its index is a vector.
const IDT: u32 = 2;
const VECTOR_DB: u8 = 1;

/// What an event's delivery depends on.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    vector: u8,
    error_code: Option<u32>,
    /// INT n, INT3 or INTO: the gate's DPL counts.
    checks_dpl: bool,
    /// EXT, bit 0 of the error codes of what delivery raises.
    ext: u32,
    /// The return address.
    rip: u64,
    /// The image of RFLAGS that is pushed.
    flags: u64,
}

impl Cpu {
    /// Delivers `event`: pushes its frame and goes to its handler. `rip` is where the event
    /// interrupts; an instruction's own event (INT n, INT3, INTO, INT1) has its length added.
    ///
    /// # Errors
    /// [`Trap`]: delivery raised an exception or stopped; nothing was changed but memory, and what
    /// the exception tells in CR2 or DR6, which is there before its handler.
    pub fn deliver(&mut self, event: &Event) -> Result<(), Trap> {
        if let Event::Exception(exception) = event {
            self.tell(exception);
        }
        let delivery = self.delivery(event);
        match self.real_mode() {
            true => self.deliver_real(&delivery)?,
            false => self.deliver_protected(&delivery)?,
        }
        if *event == Event::Nmi {
            self.nmi_blocked = true;
        }
        Ok(())
    }

    /// Writes what an exception tells outside of its frame: the address to CR2, the causes of a
    /// debug exception to DR6.
    pub fn tell(&mut self, exception: &Exception) {
        if exception.vector() == VECTOR_DB {
            self.dr7 &= !dr::DR7_GD;
        }
        match (exception.payload(), exception.origin()) {
            (Some(causes), Origin::Hardware) if exception.vector() == VECTOR_DB => {
                let causes = causes & dr::DR6_WRITABLE;
                self.dr6 = self.dr6 & !BREAKPOINTS | causes | dr::DR6_FIXED;
            }
            // INT1 tells nothing.
            (None, _) | (_, Origin::Software { .. } | Origin::PrivilegedSoftware { .. }) => {}
            (Some(address), Origin::Hardware) => self.cr2 = address,
        }
    }

    fn delivery(&self, event: &Event) -> Delivery {
        let (mut flags, mut error_code) = (self.flags.get(), None);
        let (length, checks_dpl, ext) = match event {
            Event::Interrupt(_) | Event::Nmi => (0, false, 1),
            Event::SoftwareInterrupt(interrupt) => {
                flags &= !bit::RF;
                (interrupt.length(), true, 0)
            }
            Event::Exception(exception) => {
                error_code = exception.error_code();
                match exception.origin() {
                    Origin::Hardware => {
                        flags = exception.saved_rflags(flags);
                        (0, false, 1)
                    }
                    // Behind the instruction, where RF no longer holds.
                    Origin::Software { length } => {
                        flags &= !bit::RF;
                        (length, true, 0)
                    }
                    Origin::PrivilegedSoftware { length } => {
                        flags &= !bit::RF;
                        (length, false, 1)
                    }
                }
            }
        };
        let rip = self.rip.wrapping_add(u64::from(length));
        let rip = if self.code64() { rip } else { rip & 0xffff_ffff };
        Delivery { vector: event.vector(), error_code, checks_dpl, ext, rip, flags }
    }

    /// RFLAGS as a handler finds it.
    fn enter_handler_flags(&mut self, interrupt_gate: bool) {
        self.flags.put(bit::TF | bit::NT | bit::RF | bit::VM, false);
        if interrupt_gate {
            self.flags.put(bit::IF, false);
        }
    }
}
