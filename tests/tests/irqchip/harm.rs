// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What goes wrong where KVM accepts a call that it should not.

use irq_routing::irqchip::Harm;
use irq_routing::{Call, IrqchipMode};

use super::calls::{attempt, set_tsc_deadline, tsc_deadline};
use super::rig::Rig;

/// Offset of the LVT timer entry in the LAPIC's page; TSC-deadline mode, masked.
const LVT_TIMER: usize = 0x320;
const LVT_TIMER_TSC_DEADLINE: u32 = 0x5_0040;

/// Makes the call and looks whether it does this harm.
pub fn shown(mode: IrqchipMode, call: Call, harm: Harm) -> bool {
    let mut rig = Rig::new(mode);
    match (call, harm) {
        (Call::InterruptWhilePending, Harm::Overwrites) => {
            attempt(&mut rig, call).expect("KVM accepts it");
            rig.delivered_vector() != Some(Rig::VECTOR)
        }
        (Call::RequestInterruptWindow, Harm::NoExit) => {
            attempt(&mut rig, call).expect("KVM accepts it");
            !rig.window_opens()
        }
        (Call::RunCr8, Harm::NoEffect) => {
            attempt(&mut rig, call).expect("KVM accepts it");
            rig.vcpu.get_kvm_run().cr8 != 5
        }
        (Call::IrqLine, Harm::Lost) => {
            let status = rig.irq_line_status(5, true).expect("KVM accepts it");
            status < 0
        }
        (Call::SetTscDeadline, Harm::NoEffect) => {
            offer_tsc_deadline(&rig);
            let deadline = u64::MAX / 2;
            set_tsc_deadline(&rig, deadline).expect("KVM accepts it");
            tsc_deadline(&rig) != deadline
        }
        other => panic!("no way to see {other:?}"),
    }
}

/// Puts the kernel's LAPIC timer, if there is one, into TSC-deadline mode.
fn offer_tsc_deadline(rig: &Rig) {
    let Ok(mut lapic) = rig.vcpu.get_lapic() else { return };
    for (offset, value) in [(0xf0, 0x1ff), (LVT_TIMER, LVT_TIMER_TSC_DEADLINE)] {
        let bytes = u32::to_le_bytes(value).map(|byte| byte as i8);
        lapic.regs[offset..offset + 4].copy_from_slice(&bytes);
    }
    rig.vcpu.set_lapic(&lapic).expect("KVM_SET_LAPIC");
}
