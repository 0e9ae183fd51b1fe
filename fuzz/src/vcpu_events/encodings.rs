// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events in the fields of VMX and SVM.

use vcpu_events::svm::EventInjection;
use vcpu_events::vmx::{EventFields, InterruptionInfo};
use vcpu_events::Event;

/// An event survives both encodings; SVM keeps no instruction length.
pub(super) fn round_trip(event: Event) {
    let fields = EventFields::from(event);
    assert!(fields.info.valid());
    assert_eq!(fields.info.into_bits() & 0x7fff_f000, 0, "bits 30:12");
    let without_payload = |event| match event {
        Event::Exception(e) => (e.vector(), e.error_code(), Some(e.origin())),
        other => (other.vector(), None, None),
    };
    let decoded = fields.event().expect("its own encoding").expect("valid");
    assert_eq!(without_payload(decoded), without_payload(event));
    let decoded = EventInjection::from(event).event().expect("its own encoding").expect("valid");
    assert_eq!(decoded.vector(), event.vector());
    assert_eq!(without_payload(decoded).1, without_payload(event).1);
}

pub(super) fn decode_vmx(info: u32, error_code: u32, instruction_length: u32) {
    let info = InterruptionInfo::from_bits(info);
    let fields = EventFields { info, error_code, instruction_length };
    match fields.event() {
        Ok(None) => assert!(!info.valid()),
        Ok(Some(event)) => {
            let again = EventFields::from(event);
            assert_eq!(again.info.vector(), info.vector());
            assert_eq!(again.info.event_type(), info.event_type());
            round_trip(event);
        }
        Err(_) => assert!(info.valid()),
    }
}

pub(super) fn decode_svm(field: u64) {
    let field = EventInjection::from_bits(field);
    match field.event() {
        Ok(None) => assert!(!field.valid()),
        Ok(Some(event)) => {
            let again = EventInjection::from(event);
            assert_eq!(again.event_type(), field.event_type());
            assert!(again.vector() == field.vector() || event == Event::Nmi);
            assert_eq!(again.event(), Ok(Some(event)));
        }
        Err(_) => assert!(field.valid()),
    }
}
