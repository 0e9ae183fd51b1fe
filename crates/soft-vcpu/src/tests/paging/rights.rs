// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every combination of rights: what is allowed, error codes, A and D.

use super::Access::{self, Fetch, Read, Write};
use super::Paging::{self, Bits32, Levels4, Pae};
use super::{Paged, A, AC, DATA, LINEAR, NX, P, TABLE, U, W};
use crate::spec::{cr0, cr4, efer, pf};

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
