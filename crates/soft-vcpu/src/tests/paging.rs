// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Address translation: rights, A and D, error codes, page sizes, reserved bits (SDM vol. 3,
//! "Paging").

use vcpu_events::Exception;

use super::machine::{segment, Machine, DATA, PAGE_TABLES, USER_CODE32, USER_CODE64, USER_DATA};
use crate::segment::{CS, SS};
use crate::spec::{cr0, cr4, efer, pf};
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

/// What decides an access.
#[derive(Clone, Copy, Debug)]
struct Case {
    paging: Paging,
    access: Access,
    user: bool,
    directory: u64,
    table: u64,
    wp: bool,
    smep: bool,
    smap: bool,
    ac: bool,
    nxe: bool,
}

impl Case {
    /// SDM vol. 3, "Determination of Access Rights" and "Page-Fault Exceptions".
    fn expected(&self) -> Result<(), u32> {
        let mut code = 0;
        code |= if self.access == Write { pf::WRITE } else { 0 };
        code |= if self.user { pf::USER } else { 0 };
        let pae = self.paging != Bits32;
        let tells_fetch = self.smep || self.nxe && pae;
        code |= if self.access == Fetch && tells_fetch { pf::FETCH } else { 0 };
        for entry in [self.directory, self.table] {
            if entry & P == 0 {
                return Err(code);
            }
            if pae && entry & NX != 0 && !self.nxe {
                return Err(code | pf::PRESENT | pf::RESERVED);
            }
        }
        let both = self.directory & self.table;
        let user_page = both & U != 0;
        let execute = (self.directory | self.table) & NX == 0 || !pae;
        let allowed = match (self.user, self.access) {
            (true, Read) => user_page,
            (true, Write) => user_page && both & W != 0,
            (true, Fetch) => user_page && execute,
            (false, Fetch) => execute && !(user_page && self.smep),
            (false, access) => {
                let writable = access == Read || both & W != 0 || !self.wp;
                writable && !(user_page && self.smap && !self.ac)
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(code | pf::PRESENT)
        }
    }
}

/// Every combination of rights.
fn all_rights(paging: Paging) {
    let mut paged = Paged::new(paging);
    let flags = if paging == Bits32 { 3 } else { 4 };
    let bits = |n: u64| n & 7 | (n & 8) << 60;
    for n in 0..1 << (flags + 8) {
        let bit = |shift: u32| n >> (flags + shift) & 1 != 0;
        let access = match (bit(0), bit(1)) {
            (false, false) => Read,
            (true, false) => Write,
            _ => Fetch,
        };
        let directory = [P | W | U, P | W, P | U, P | W | U | NX];
        let case = Case {
            paging,
            access,
            user: bit(2),
            directory: TABLE | directory[(n >> (flags + 3) & 3) as usize],
            table: DATA | bits(n & ((1 << flags) - 1)),
            wp: bit(5),
            smep: bit(6),
            smap: bit(7),
            ac: n % 3 == 0,
            nxe: n % 5 != 0,
        };
        if paging == Bits32 && case.directory & NX != 0 {
            continue;
        }
        check(&mut paged, &case);
    }
}

fn check(paged: &mut Paged, case: &Case) {
    paged.user(case.user);
    paged.directory(case.directory);
    paged.table(0, case.table);
    paged.state(|state| {
        let choose = |value: u64, bit: u64, on: bool| if on { value | bit } else { value & !bit };
        state.cr0 = choose(state.cr0, cr0::WP, case.wp);
        state.cr4 = choose(state.cr4, cr4::SMEP, case.smep);
        state.cr4 = choose(state.cr4, cr4::SMAP, case.smap);
        state.efer = choose(state.efer, efer::NXE, case.nxe);
        state.rflags = choose(state.rflags, AC, case.ac);
    });
    let found = paged.access(case.access, LINEAR);
    let expected = case.expected();
    assert_eq!(found, expected.map_err(|code| (code, LINEAR)), "{case:x?}");
    let used = if expected.is_ok() { A } else { 0 };
    let written = if case.access == Write { used << 1 } else { 0 };
    assert_eq!(paged.entry(paged.directory_at()), case.directory | used, "{case:x?}");
    assert_eq!(paged.entry(paged.table_at(0)), case.table | used | written, "{case:x?}");
}

#[test]
fn rights_in_4_level_paging() {
    all_rights(Levels4);
}

#[test]
fn rights_in_pae_paging() {
    all_rights(Pae);
}

#[test]
fn rights_in_32_bit_paging() {
    all_rights(Bits32);
}

#[test]
fn large_pages_reach_all_of_their_bytes() {
    // Paging, an offset in the page, and what is there.
    for (paging, size) in [(Bits32, 22), (Pae, 21), (Levels4, 21)] {
        let mut paged = Paged::new(paging);
        paged.directory(P | W | PS | G);
        let at = LINEAR + DATA % (1 << size) + if size == 21 { 0x1000 } else { 0 };
        // 2 MiB pages at 0: only what is below 2 MiB is seen.
        let physical = at - LINEAR;
        paged.machine.write(physical, &[0x77]);
        paged.state(|state| state.gpr[0] = 0);
        assert_eq!(paged.access(Read, at), Ok(()));
        assert_eq!(paged.machine.vcpu.state().gpr[0], 0x77, "{paging:?}");
        assert_eq!(paged.entry(paged.directory_at()), P | W | PS | G | A);
        assert_eq!(paged.access(Write, at), Ok(()));
        assert_eq!(paged.entry(paged.directory_at()), P | W | PS | G | A | D);
    }
}

#[test]
fn a_1_gib_page_reaches_all_of_its_bytes() {
    let mut paged = Paged::new(Levels4);
    paged.put(PAGE_TABLES + 0x1008, P | W | PS);
    paged.machine.write(DATA + 0x1234, &[0x66]);
    assert_eq!(paged.access(Read, LINEAR + DATA + 0x1234), Ok(()));
    assert_eq!(paged.machine.vcpu.state().gpr[0] & 0xff, 0x66);
    assert_eq!(paged.entry(PAGE_TABLES + 0x1008), P | W | PS | A);
}

#[test]
fn pse36_gives_large_pages_more_address_bits() {
    let mut paged = Paged::new(Bits32);
    // Bits 20:13 are the physical address's bits 39:32: no memory is there, but a device may be.
    paged.directory(P | W | PS | 5 << 13);
    paged.state(|state| state.gpr[3] = LINEAR + 0x1234);
    let exit = paged.machine.run_bytes(&[0x8a, 0x03, 0xf4]);
    assert_eq!(exit, Exit::MmioRead { address: 0x5_0000_1234, size: 1 });
}

#[test]
fn reserved_bits_fault() {
    let table = TABLE | P | W | U;
    let page = DATA | P | W | U;
    let reserved = pf::PRESENT | pf::RESERVED;
    // Paging, directory entry, table entry. The machine has 40 physical address bits.
    let cases = [
        (Levels4, table | 1 << 40, page),
        (Levels4, table, page | 1 << 51),
        (Levels4, P | W | PS | 1 << 13, 0),
        (Levels4, P | W | PS | 1 << 20, 0),
        (Pae, table | 1 << 40, page),
        (Pae, table, page | 1 << 52),
        (Pae, table, page | 1 << 62),
        (Pae, P | PS | 1 << 13, 0),
        (Bits32, P | W | PS | 1 << 21, 0),
    ];
    for (paging, directory, entry) in cases {
        let mut paged = Paged::new(paging);
        paged.directory(directory);
        paged.table(0, entry);
        let found = paged.access(Read, LINEAR + 8);
        assert_eq!(found, Err((reserved, LINEAR + 8)), "{paging:?} {directory:x} {entry:x}");
        assert_eq!(paged.entry(paged.directory_at()), directory);
    }
}

#[test]
fn bits_that_are_not_reserved_do_not_fault() {
    let cases = [
        (Levels4, TABLE | P | 1 << 9 | 1 << 52, DATA | P | 0x7ff << 52 | 7 << 9),
        (Levels4, P | PS | 1 << 12, 0),
        (Pae, TABLE | P | 7 << 9 | 1 << 8, DATA | P | PS | 7 << 9),
        (Bits32, TABLE | P | 7 << 9 | 1 << 8, DATA | P | 7 << 9 | PS),
        (Bits32, P | PS | 1 << 12, 0),
    ];
    for (paging, directory, entry) in cases {
        let mut paged = Paged::new(paging);
        paged.directory(directory);
        paged.table(0, entry);
        assert_eq!(paged.access(Read, LINEAR), Ok(()), "{paging:?} {directory:x} {entry:x}");
    }
}

#[test]
fn without_pse_a_32_bit_directory_has_tables_only() {
    let mut paged = Paged::new(Bits32);
    paged.state(|state| state.cr4 &= !cr4::PSE);
    // The code's own mapping is large: map that by a table too.
    let code_table = TABLE + 0x1000;
    paged.put(DIRECTORY, code_table | P | W);
    paged.put(code_table + 4 * 0x100, super::machine::CODE | P | W);
    paged.directory(TABLE | P | PS);
    assert_eq!(paged.access(Read, LINEAR), Ok(()));
    assert_eq!(paged.entry(paged.table_at(0)), DATA | P | W | U | A);
}

#[test]
fn tables_outside_of_memory_read_as_ones() {
    // All ones: a reserved bit, or a page that is far away.
    let mut paged = Paged::new(Levels4);
    paged.directory(0x8_0000_0000 | P | W | U);
    assert_eq!(paged.access(Read, LINEAR), Err((pf::PRESENT | pf::RESERVED, LINEAR)));
    paged.state(|state| state.cr3 = 0x8_0000_0000);
    let exit = paged.machine.run_bytes(&[0xf4]);
    let code = pf::PRESENT | pf::RESERVED | pf::FETCH;
    assert_eq!(exit, Exit::Exception(Exception::pf(code, super::machine::CODE)));
}

#[test]
fn a_faulting_second_page_leaves_nothing_written() {
    for paging in [Bits32, Pae, Levels4] {
        let mut paged = Paged::new(paging);
        paged.table(1, 0);
        let at = LINEAR + 0xffe;
        paged.state(|state| (state.gpr[3], state.gpr[0]) = (at, 0x1122_3344));
        // mov [rbx], eax; add [rbx], eax; mov eax, [rbx]
        for (code, error) in [([0x89, 3], pf::WRITE), ([1, 3], pf::WRITE), ([0x8b, 3], 0)] {
            let exit = paged.machine.run_bytes(&code);
            let fault = Exception::pf(error, LINEAR + 0x1000);
            assert_eq!(exit, Exit::Exception(fault), "{paging:?} {code:x?}");
            assert_eq!(paged.machine.read_u64(DATA + 0xff8), 0xf4f4_f4f4_f4f4_f4f4);
            assert_eq!(paged.machine.vcpu.state().rip, super::machine::CODE);
        }
        // The first page's fault comes first.
        paged.table(0, 0);
        let exit = paged.machine.run_bytes(&[0x89, 3]);
        assert_eq!(exit, Exit::Exception(Exception::pf(pf::WRITE, at)));
    }
}

#[test]
fn accesses_across_pages_that_are_not_neighbours() {
    for paging in [Bits32, Pae, Levels4] {
        let mut paged = Paged::new(paging);
        // The second page lies physically before the first.
        paged.table(0, DATA + 0x1000 | P | W);
        paged.table(1, DATA | P | W);
        paged.state(|state| {
            (state.gpr[3], state.gpr[0], state.gpr[1]) = (LINEAR + 0xffd, 0x4433_2211, 1);
        });
        // mov [rbx], eax; lock add [rbx], ecx; mov edx, [rbx]; hlt
        let code = [0x89, 0x03, 0xf0, 0x01, 0x0b, 0x8b, 0x13, 0xf4];
        assert_eq!(paged.machine.run_bytes(&code), Exit::Halt);
        assert_eq!(paged.machine.vcpu.state().gpr[2], 0x4433_2212);
        assert_eq!(paged.machine.read_u64(DATA + 0x1ff8) >> 40, 0x33_2212);
        assert_eq!(paged.machine.read_u64(DATA) & 0xffff, 0xf444);
        assert_eq!(paged.entry(paged.table_at(1)), DATA | P | W | A | D);
    }
}

#[test]
fn addresses_that_are_not_canonical_raise_gp_or_ss() {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    let at = 0x7fff_ffff_fffc;
    machine.state(|state| (state.gpr[3], state.gpr[5]) = (at, at));
    // mov rax, [rbx]: its last bytes are beyond the hole's edge; the same through RBP is #SS.
    let exit = machine.run_bytes(&[0x48, 0x8b, 0x03]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
    let exit = machine.run_bytes(&[0x48, 0x8b, 0x45, 0x00]);
    assert_eq!(exit, Exit::Exception(Exception::ss(0)));
    // jmp rbx
    machine.state(|state| state.gpr[3] = 1 << 47);
    let exit = machine.run_bytes(&[0xff, 0xe3]);
    assert_eq!(exit, Exit::Exception(Exception::gp(0)));
}

#[test]
fn smep_and_smap_mean_nothing_without_paging() {
    let mut machine = Machine::protected();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine.state(|state| {
        state.cr4 |= cr4::SMEP | cr4::SMAP;
        state.gpr[3] = DATA;
    });
    assert_eq!(machine.run_bytes(&[0x88, 0x03, 0xf4]), Exit::Halt);
}
