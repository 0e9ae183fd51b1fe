// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which fault tells of an address that is not canonical: by the segment, which prefixes other
//! than FS and GS do not change in 64-bit mode (AMD APM vol. 3, "Segment-Override Prefixes"; an
//! AMD EPYC does so).

use vcpu_events::Exception;

use super::{Machine, GP};
use crate::Exit;

const SS: Exit = Exit::Exception(Exception::ss(0));
const NOT_CANONICAL: u64 = 1 << 60;

#[test]
fn prefixes_do_not_choose_between_ss_and_gp_in_64_bit_mode() {
    let by_rbp = [0x48, 0x8b, 0x45, 0];
    let by_rax = [0x48, 0x8b, 0x00];
    let by_rsp = [0x48, 0x8b, 0x04, 0x24];
    let lodsq = [0x48, 0xad];
    let cases: [(&[u8], Exit, Exit); 4] =
        [(&by_rbp, SS, GP), (&by_rsp, SS, GP), (&by_rax, GP, GP), (&lodsq, GP, GP)];
    for (code, expected, with_fs) in cases {
        let prefixes: [&[u8]; 7] = [&[], &[0x26], &[0x2e], &[0x36], &[0x3e], &[0x64], &[0x65]];
        for prefix in prefixes {
            let mut machine = Machine::long().exiting();
            for register in [0, 4, 5, 6] {
                machine.state(|state| state.gpr[register] = NOT_CANONICAL);
            }
            let expected = if matches!(prefix, [0x64 | 0x65]) { with_fs } else { expected };
            let exit = machine.run_bytes(&[prefix, code].concat());
            assert_eq!(exit, expected, "{prefix:x?} {code:x?}");
        }
    }
}
