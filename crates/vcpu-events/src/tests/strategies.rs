// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Generated states and events.

use proptest::option;
use proptest::prelude::*;

use crate::state::any_mode;
use crate::{
    Activity, Event, EventsState, Exception, ExceptionState, InterruptState, Interruptibility,
    Origin, Shadow, SoftwareInterrupt,
};

/// A CPU that executes or halts, with any mixture of blocking.
pub fn running() -> impl Strategy<Value = Interruptibility> {
    any::<[bool; 7]>().prop_map(|[a, b, c, d, e, f, g]| Interruptibility {
        interrupt_flag: a,
        shadow: Shadow { sti: b, mov_ss: c },
        nmi_blocked: d,
        smm: false,
        pending_debug: e,
        held: f,
        slot_busy: g,
        activity: Activity::Active,
    })
}

pub fn any_cpu() -> impl Strategy<Value = Interruptibility> {
    let activity = prop_oneof![
        Just(Activity::Active),
        Just(Activity::Halted),
        Just(Activity::Shutdown),
        Just(Activity::WaitForSipi)
    ];
    (running(), any::<bool>(), activity).prop_map(|(cpu, smm, activity)| Interruptibility {
        smm,
        activity,
        ..cpu
    })
}

pub fn exception() -> impl Strategy<Value = Exception> {
    let hardware = (0u8..32, option::of(any::<u32>()), option::of(any::<u64>())).prop_filter_map(
        "no such exception",
        |(vector, error_code, payload)| {
            let exception = any_mode(vector, error_code).ok()?;
            match payload {
                Some(payload) => exception.with_payload(payload).ok(),
                None => Some(exception),
            }
        },
    );
    let software = (prop_oneof![Just(3u8), Just(4u8)], 0u8..16).prop_map(|(vector, length)| {
        let exception = any_mode(vector, None).unwrap();
        exception.from_instruction(Origin::Software { length }).unwrap()
    });
    let int1 = (0u8..16).prop_map(|length| {
        let exception = any_mode(1, None).unwrap();
        exception.from_instruction(Origin::PrivilegedSoftware { length }).unwrap()
    });
    prop_oneof![4 => hardware, 1 => software, 1 => int1]
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<u8>().prop_map(Event::Interrupt),
        Just(Event::Nmi),
        exception().prop_map(Event::Exception),
        (any::<u8>(), 0u8..16).prop_map(|(vector, length)| {
            Event::SoftwareInterrupt(SoftwareInterrupt::new(vector, length).unwrap())
        }),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        4 => Just(Origin::Hardware),
        1 => any::<u8>().prop_map(|length| Origin::Software { length }),
        1 => any::<u8>().prop_map(|length| Origin::PrivilegedSoftware { length }),
    ]
}

/// Any values at all: mostly no valid exception.
fn wild_exception() -> impl Strategy<Value = ExceptionState> {
    let numbers = (any::<u8>(), option::of(any::<u32>()), option::of(any::<u64>()));
    (numbers, origin(), any::<bool>()).prop_map(
        |((vector, error_code, payload), origin, injected)| ExceptionState {
            vector,
            error_code,
            payload,
            origin,
            injected,
        },
    )
}

fn valid_exception() -> impl Strategy<Value = ExceptionState> {
    (exception(), any::<bool>()).prop_map(|(exception, injected)| ExceptionState {
        vector: exception.vector(),
        error_code: exception.error_code(),
        payload: exception.payload(),
        origin: exception.origin(),
        injected,
    })
}

fn state(
    exception: impl Strategy<Value = ExceptionState>,
    nmis: impl Strategy<Value = u8>,
    lengths: impl Strategy<Value = u8>,
) -> impl Strategy<Value = EventsState> {
    let interrupt = (any::<u8>(), option::of(lengths))
        .prop_map(|(vector, software)| InterruptState { vector, software });
    let parts = (any::<[bool; 7]>(), option::of(any::<u8>()), nmis);
    (parts, option::of(exception), option::of(interrupt)).prop_map(
        |((bits, sipi, nmi_pending), exception, interrupt)| EventsState {
            triple_fault: bits[0],
            init: bits[1],
            sipi,
            exception,
            interrupt,
            nmi_injected: bits[2],
            nmi_pending,
            nmi_masked: bits[3],
            smi_pending: bits[4],
            smm: bits[5],
            smm_inside_nmi: bits[6],
        },
    )
}

/// Any state whatever, most of them impossible.
pub fn wild_state() -> impl Strategy<Value = EventsState> {
    state(wild_exception(), any::<u8>(), any::<u8>())
}

/// A state that a vCPU can be in.
pub fn valid_state() -> impl Strategy<Value = EventsState> {
    state(valid_exception(), 0u8..3, 0u8..16).prop_map(|state| EventsState {
        nmi_pending: state.nmi_pending.min(2 - u8::from(state.nmi_injected)),
        smm_inside_nmi: state.smm && state.smm_inside_nmi,
        ..state
    })
}
