// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Accesses that the VMM carries out.
//!
//! An instruction that needs one stops with an exit, and is executed again from its beginning when
//! the answer is there; then the access is answered from this log and not made a second time. One
//! instruction may need several (MOVS between devices, an access across two pages).

/// What the VMM is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// IN: `size` bytes (1, 2, 4).
    PortRead { port: u16, size: u8 },
    /// OUT.
    PortWrite { port: u16, size: u8, value: u32 },
    /// `size` bytes (1 to 8) at a guest-physical address.
    MmioRead { address: u64, size: u8 },
    /// The same, written.
    MmioWrite { address: u64, size: u8, value: u64 },
    /// RDMSR.
    MsrRead { index: u32 },
    /// WRMSR.
    MsrWrite { index: u32, value: u64 },
}

impl Request {
    /// The access without the value. A write that was made stays made, whatever an instruction
    /// that starts again finds in its source: another vCPU may have changed that.
    fn place(self) -> Self {
        match self {
            Request::PortWrite { port, size, .. } => Request::PortWrite { port, size, value: 0 },
            Request::MmioWrite { address, size, .. } => {
                Request::MmioWrite { address, size, value: 0 }
            }
            Request::MsrWrite { index, .. } => Request::MsrWrite { index, value: 0 },
            read => read,
        }
    }
}

/// An MSR does not exist, or not with this value: the instruction raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// What the VMM answered: the value read (0 for a write), or #GP for an MSR.
pub(crate) type Answer = Result<u64, GeneralProtection>;

/// The accesses of the instruction under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct IoLog {
    done: Vec<(Request, Answer)>,
    /// How many of them this execution has used.
    used: usize,
    /// Asked, not answered.
    asked: Option<Request>,
}

impl IoLog {
    /// The answer, if this access was made already; otherwise it is asked for, and the instruction
    /// has to stop.
    pub fn access(&mut self, request: Request) -> Option<Answer> {
        if let Some((made, answer)) = self.done.get(self.used) {
            if made.place() == request.place() {
                let answer = *answer;
                self.used += 1;
                return Some(answer);
            }
            // The instruction takes another way this time (a page table changed under it).
            self.done.truncate(self.used);
        }
        self.asked = Some(request);
        None
    }

    /// Whether an instruction is under way.
    pub fn is_active(&self) -> bool {
        !self.done.is_empty() || self.asked.is_some()
    }

    /// What was asked for.
    pub fn asked(&self) -> Option<Request> {
        self.asked
    }

    /// Takes the answer down; without a question there is none.
    pub fn answer(&mut self, answer: Answer) {
        if let Some(request) = self.asked.take() {
            self.done.push((request, answer));
        }
    }

    /// The instruction starts again.
    pub fn restart(&mut self) {
        self.used = 0;
    }

    /// The instruction, or an iteration of it, is complete.
    pub fn clear(&mut self) {
        self.done.clear();
        self.used = 0;
        self.asked = None;
    }
}
