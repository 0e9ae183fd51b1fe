// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-3.

use super::{events, step, CLI};
use crate::{Exception, Injection, InvalidException, Merged, Origin};

/// Rows of the table by the class of the first exception; columns are the second one's vector,
/// 0..=31: `.` one after the other, `D` double fault, `T` triple fault, `x` no exception.
const BENIGN: &str = "..x.............................";
const CONTRIBUTORY: &str = "D.x.......DDDD.......D..........";
const PAGE_FAULT: &str = "D.x.......DDDDD.....DD..........";
const DOUBLE_FAULT: &str = "T.x.....T.TTTTT.....TT..........";
const NONE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Intel SDM vol. 3, tables "Interrupt and Exception Classes" and "Conditions for Generating a
/// Double Fault", a row per vector.
#[rustfmt::skip]
const TABLE: [&str; 32] = [
    /* DE */ CONTRIBUTORY, /* DB */ BENIGN, /* NMI */ NONE, /* BP */ BENIGN,
    /* OF */ BENIGN, /* BR */ BENIGN, /* UD */ BENIGN, /* NM */ BENIGN,
    /* DF */ DOUBLE_FAULT, /* 9 */ BENIGN, /* TS */ CONTRIBUTORY, /* NP */ CONTRIBUTORY,
    /* SS */ CONTRIBUTORY, /* GP */ CONTRIBUTORY, /* PF */ PAGE_FAULT, /* 15 */ BENIGN,
    /* MF */ BENIGN, /* AC */ BENIGN, /* MC */ BENIGN, /* XM */ BENIGN,
    /* VE */ PAGE_FAULT, /* CP */ CONTRIBUTORY, /* 22 */ BENIGN, /* 23 */ BENIGN,
    /* 24 */ BENIGN, /* 25 */ BENIGN, /* 26 */ BENIGN, /* 27 */ BENIGN,
    /* HV */ BENIGN, /* VC */ BENIGN, /* SX */ BENIGN, /* 31 */ BENIGN,
];

/// Vectors that push an error code: Intel's, then AMD's #VC and #SX.
const WITH_ERROR_CODE: [u8; 10] = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];

fn exception(vector: u8) -> Exception {
    let error_code = WITH_ERROR_CODE.contains(&vector).then_some(0x18);
    Exception::new(vector, error_code).unwrap()
}

#[test]
fn evt_3_two_exceptions_merge_as_the_table_says_for_all_32_by_32() {
    for first in 0..32u8 {
        for second in 0..32u8 {
            let expected = TABLE[usize::from(first)].as_bytes()[usize::from(second)];
            if expected == b'x' || first == 2 {
                assert!(first == 2 || second == 2);
                continue;
            }
            let (a, b) = (exception(first), exception(second));
            for interrupted in [false, true] {
                let mut events = events();
                match interrupted {
                    true => events.interrupted(crate::Event::Exception(a)),
                    false => assert_eq!(events.queue_exception(a), Merged::Serial),
                }
                let merged = events.queue_exception(b);
                let next = step(&mut events, &CLI);
                let (how, what) = match expected {
                    b'D' => (Merged::DoubleFault, Injection::Exception(Exception::df())),
                    b'T' => (Merged::TripleFault, Injection::TripleFault),
                    _ => (Merged::Serial, Injection::Exception(b)),
                };
                assert_eq!(merged, how, "{first} then {second}");
                assert_eq!(next, Some(what), "{first} then {second}");
                assert!(events.is_empty(), "{first} then {second} leaves nothing behind");
            }
        }
    }
}

#[test]
fn evt_3_a_third_fault_on_a_double_fault_is_a_triple_fault() {
    let mut events = events();
    events.queue_exception(Exception::pf(0, 0x1000));
    assert_eq!(events.queue_exception(Exception::np(8)), Merged::DoubleFault);
    assert_eq!(events.queue_exception(Exception::pf(2, 0x2000)), Merged::TripleFault);
    assert_eq!(step(&mut events, &CLI), Some(Injection::TripleFault));
}

#[test]
fn evt_3_the_double_fault_has_error_code_0_and_no_payload() {
    let mut events = events();
    events.queue_exception(Exception::pf(7, 0xdead_b000));
    events.queue_exception(Exception::gp(0x50));
    let Some(Injection::Exception(df)) = step(&mut events, &CLI) else { panic!("no exception") };
    assert_eq!((df.vector(), df.error_code(), df.payload()), (8, Some(0), None));
}

#[test]
fn evt_3_vector_2_and_from_32_on_are_errors() {
    assert_eq!(Exception::new(2, None), Err(InvalidException::Vector(2)));
    for vector in 32..=255 {
        assert_eq!(Exception::new(vector, None), Err(InvalidException::Vector(vector)));
    }
}

#[test]
fn evt_3_error_codes_exist_where_the_manual_has_them() {
    for vector in (0..32).filter(|v| *v != 2) {
        let (with, without) = (Exception::new(vector, Some(4)), Exception::new(vector, None));
        if WITH_ERROR_CODE.contains(&vector) {
            assert_eq!(with.map(|e| e.error_code()), Ok(Some(4)));
            assert_eq!(without, Err(InvalidException::MissingErrorCode(vector)));
            assert_eq!(with.map(|e| e.in_real_mode().error_code()), Ok(None));
        } else {
            assert_eq!(without.map(|e| e.error_code()), Ok(None));
            assert_eq!(with, Err(InvalidException::UnexpectedErrorCode(vector)));
        }
    }
}

#[test]
fn evt_3_named_exceptions_carry_what_they_should() {
    #[rustfmt::skip]
    let expected = [
        (Exception::de(), 0, None, None), (Exception::db(0x4000), 1, None, Some(0x4000)),
        (Exception::ud(), 6, None, None), (Exception::nm(), 7, None, None),
        (Exception::df(), 8, Some(0), None), (Exception::ts(0x10), 10, Some(0x10), None),
        (Exception::np(0x18), 11, Some(0x18), None), (Exception::ss(0), 12, Some(0), None),
        (Exception::gp(0x20), 13, Some(0x20), None), (Exception::mf(), 16, None, None),
        (Exception::pf(6, 0xffff_8000_0000_1000), 14, Some(6), Some(0xffff_8000_0000_1000)),
        (Exception::ac(), 17, Some(0), None), (Exception::mc(), 18, None, None),
    ];
    for (exception, vector, error_code, payload) in expected {
        assert_eq!(exception.vector(), vector);
        assert_eq!(exception.error_code(), error_code, "{vector}");
        assert_eq!(exception.payload(), payload, "{vector}");
    }
}

#[test]
fn evt_3_only_page_faults_and_debug_exceptions_carry_a_payload() {
    for vector in (0..32).filter(|v| *v != 2) {
        let with = exception(vector).with_payload(5);
        match vector {
            1 | 14 => assert_eq!(with.map(|e| e.payload()), Ok(Some(5))),
            _ => assert_eq!(with, Err(InvalidException::UnexpectedPayload(vector))),
        }
    }
}

#[test]
fn evt_3_faults_set_rf_in_the_saved_flags_and_traps_and_aborts_do_not() {
    for vector in (0..32).filter(|v| *v != 2) {
        let set = exception(vector).saved_rflags(0x202);
        let fault = !matches!(vector, 1 | 3 | 4 | 8 | 18);
        assert_eq!(set, if fault { 0x1_0202 } else { 0x202 }, "vector {vector}");
        assert_eq!(exception(vector).saved_rflags(0x1_0202), 0x1_0202, "never cleared");
    }
}

#[test]
fn evt_3_instructions_raise_their_own_exceptions_only() {
    let of = |vector, origin| exception(vector).from_instruction(origin).map(|e| e.origin());
    let (software, int1) =
        (Origin::Software { length: 1 }, Origin::PrivilegedSoftware { length: 1 });
    for vector in (0..32).filter(|v| *v != 2) {
        assert_eq!(of(vector, software).is_ok(), matches!(vector, 3 | 4));
        assert_eq!(of(vector, int1).is_ok(), vector == 1);
        assert_eq!(of(vector, Origin::Hardware), Ok(Origin::Hardware));
    }
    assert_eq!(of(3, Origin::Software { length: 15 }), Ok(Origin::Software { length: 15 }));
    assert_eq!(of(3, Origin::Software { length: 16 }), Err(InvalidException::Origin(3)));
}
