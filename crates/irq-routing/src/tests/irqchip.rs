// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RTE-7: the matrix itself. That KVM answers so is shown by the integration test
//! `irqchip_modes`.

use std::string::ToString;
use std::vec::Vec;

use crate::irqchip::{Answer, Errno, Harm, Why};
use crate::{Call, IrqchipMode};

#[test]
fn rte_7_wrong_calls_are_typed_errors() {
    let error = IrqchipMode::Kernel.check(Call::Interrupt).unwrap_err();
    assert_eq!((error.mode, error.call), (IrqchipMode::Kernel, Call::Interrupt));
    assert_eq!(error.why, Why::Refused(Errno::Enxio));
    assert_eq!(
        error.to_string(),
        "Interrupt is illegal with the irqchip mode Kernel: KVM answers Enxio"
    );
    let error = IrqchipMode::User.check(Call::InterruptWhilePending).unwrap_err();
    assert_eq!(error.why, Why::Harmful(Harm::Overwrites));
    assert!(error.to_string().ends_with("KVM accepts it, but the interrupt queued before is lost"));
}

#[test]
fn rte_7_check_follows_from_the_answer() {
    for mode in IrqchipMode::ALL {
        for call in Call::ALL {
            let works = mode.answer(call) == Answer::Works;
            assert_eq!(mode.check(call).is_ok(), works, "{mode:?} {call:?}");
        }
    }
}

#[test]
fn rte_7_every_call_is_listed_once_and_legal_somewhere_or_never() {
    let all: std::collections::HashSet<_> = Call::ALL.into_iter().collect();
    assert_eq!(all.len(), Call::ALL.len());
    let never: Vec<_> = Call::ALL
        .into_iter()
        .filter(|call| IrqchipMode::ALL.iter().all(|mode| mode.check(*call).is_err()))
        .collect();
    let settled = [Call::InterruptWhilePending, Call::CreateIrqchip, Call::EnableSplitIrqchip];
    assert_eq!(never, settled, "no mode allows these");
}

#[test]
fn rte_7_each_mode_has_its_way_to_inject() {
    use Call::{GetLapic, Interrupt, IrqLine, RequestInterruptWindow, SignalMsi};
    let legal = |mode: IrqchipMode| {
        [Interrupt, RequestInterruptWindow, IrqLine, SignalMsi, GetLapic]
            .map(|call| mode.check(call).is_ok())
    };
    assert_eq!(legal(IrqchipMode::User), [true, true, false, false, false]);
    assert_eq!(legal(IrqchipMode::Split), [true, true, false, true, true]);
    assert_eq!(legal(IrqchipMode::Kernel), [false, false, true, true, true]);
}

#[test]
fn rte_7_who_owns_what() {
    let owned = IrqchipMode::ALL.map(|mode| (mode.lapic_in_kernel(), mode.pins_in_kernel()));
    assert_eq!(owned, [(false, false), (true, false), (true, true)]);
    assert_eq!(Errno::Einval.raw(), 22);
}
