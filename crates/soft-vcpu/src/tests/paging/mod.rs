// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Address translation (SDM vol. 3, "Paging").

mod faults;
mod rights;

use vcpu_events::Exception;

use super::machine::{segment, Machine, DATA, PAGE_TABLES, USER_CODE32, USER_CODE64, USER_DATA};
use crate::segment::{CS, SS};
use crate::spec::{cr0, cr4, efer};
use crate::{Exit, State};

/// The linear address that tests map to [`DATA`].
pub const LINEAR: u64 = 0x4000_0000;
const UPPER: u64 = PAGE_TABLES + 0x4000;
const DIRECTORY: u64 = PAGE_TABLES + 0x5000;
const TABLE: u64 = PAGE_TABLES + 0x6000;
const AC: u64 = 1 << 18;

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

/// The three ways to translate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Paging {
    Bits32,
    Pae,
    Levels4,
}

use Paging::{Bits32, Levels4, Pae};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Access {
    Read,
    Write,
    Fetch,
}

use Access::{Fetch, Read, Write};

/// A machine with code in a large page, and [`LINEAR`] mapped by a page table.
pub struct Paged {
    pub machine: Machine,
    pub paging: Paging,
}

impl Paged {
    pub fn new(paging: Paging) -> Self {
        let mut machine = match paging {
            Levels4 => Machine::long(),
            Bits32 | Pae => Machine::protected(),
        };
        machine.vcpu.set_exception_exits(u32::MAX);
        machine.state(|state| match paging {
            Levels4 => {}
            Bits32 => {
                state.cr4 |= cr4::PSE;
                state.cr0 |= cr0::PG;
                state.cr3 = DIRECTORY;
            }
            Pae => {
                state.cr4 |= cr4::PAE;
                state.cr0 |= cr0::PG;
                state.efer = efer::NXE;
                state.cr3 = UPPER;
            }
        });
        // A read of the data is no branch: HLT.
        machine.write(DATA, &[0xf4; 0x2000]);
        let mut paged = Paged { machine, paging };
        paged.low_user(true);
        match paging {
            Bits32 => {}
            Pae => {
                paged.put(UPPER, (DIRECTORY + 0x2000) | P);
                paged.put(UPPER + 8, DIRECTORY | P);
            }
            Levels4 => paged.put(PAGE_TABLES + 0x1008, DIRECTORY | P | W | U),
        }
        paged.directory(TABLE | P | W | U);
        paged.table(0, DATA | P | W | U);
        paged
    }

    /// Whether the code's page, and all others of the low 4 MiB, are the user's.
    fn low_user(&mut self, user: bool) {
        let bits = P | W | PS | A | D | if user { U } else { 0 };
        match self.paging {
            Bits32 => self.put(DIRECTORY, bits),
            Pae => {
                self.put(DIRECTORY + 0x2000, bits);
                self.put(DIRECTORY + 0x2008, 0x20_0000 | bits);
            }
            Levels4 => {
                self.put(PAGE_TABLES + 0x2000, bits);
                self.put(PAGE_TABLES + 0x2008, 0x20_0000 | bits);
            }
        }
    }

    fn put(&mut self, at: u64, entry: u64) {
        match self.paging {
            Bits32 => self.machine.write(at, &(entry as u32).to_le_bytes()),
            _ => self.machine.write(at, &entry.to_le_bytes()),
        }
    }

    fn entry(&self, at: u64) -> u64 {
        match self.paging {
            Bits32 => self.machine.read_u64(at) & 0xffff_ffff,
            _ => self.machine.read_u64(at),
        }
    }

    fn directory_at(&self) -> u64 {
        // Bits 31:22 of LINEAR; for the others it is the directory's first.
        if self.paging == Bits32 {
            DIRECTORY + 4 * (LINEAR >> 22)
        } else {
            DIRECTORY
        }
    }

    fn table_at(&self, n: u64) -> u64 {
        TABLE + n * if self.paging == Bits32 { 4 } else { 8 }
    }

    /// Sets the directory entry of [`LINEAR`].
    pub fn directory(&mut self, entry: u64) {
        self.put(self.directory_at(), entry);
    }

    /// Sets the table entry of the `n`th page from [`LINEAR`].
    pub fn table(&mut self, n: u64, entry: u64) {
        self.put(self.table_at(n), entry);
    }

    /// Chooses the privilege level, for code and its page.
    pub fn user(&mut self, user: bool) {
        self.low_user(user);
        let (code, code32) = match self.paging {
            Levels4 => (super::machine::CODE64, USER_CODE64),
            _ => (super::machine::CODE32, USER_CODE32),
        };
        self.machine.state(|state| {
            let (code, stack) = match user {
                true => (code32, USER_DATA),
                false => (code, super::machine::DATA0),
            };
            state.segments[usize::from(CS)] = segment(code);
            state.segments[usize::from(SS)] = segment(stack);
        });
    }

    pub fn state(&mut self, change: impl FnOnce(&mut State)) {
        self.machine.state(change);
    }

    /// Accesses a byte, then halts; the page fault's error code and address if there is one.
    pub fn access(&mut self, access: Access, at: u64) -> Result<(), (u32, u64)> {
        self.state(|state| state.gpr[3] = at);
        let exit = self.machine.run_bytes(match access {
            Read => &[0x8a, 0x03, 0xf4],  // mov al, [rbx]
            Write => &[0x88, 0x03, 0xf4], // mov [rbx], al
            Fetch => &[0xff, 0xe3],       // jmp rbx
        });
        outcome(exit)
    }
}

/// HLT is reached, in user code as #GP.
fn outcome(exit: Exit) -> Result<(), (u32, u64)> {
    match exit {
        Exit::Halt => Ok(()),
        Exit::Exception(exception) if exception == Exception::gp(0) => Ok(()),
        Exit::Exception(exception) if exception.vector() == 14 => {
            Err((exception.error_code().unwrap(), exception.payload().unwrap()))
        }
        other => panic!("{other:?}"),
    }
}
