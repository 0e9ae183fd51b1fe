// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Faults that have nothing to do with numbers, and that nothing has happened before them.

use iced_x86::Code;
use vcpu_events::Exception;

use super::super::simd::registers::Rng;
use super::super::simd::{forms, forms_of};
use super::ours;
use crate::spec::{cr0, cr4};
use crate::tests::machine::{Machine, CODE, DATA, PAGE_TABLES};
use crate::{Exit, State};

/// A machine of which exceptions exit.
pub fn machine() -> Machine {
    let mut machine = Machine::long();
    machine.vcpu.set_exception_exits(u32::MAX);
    machine
}

/// Executes an instruction with RSI at an address: what it raises; then nothing else has changed.
pub fn raised(machine: &mut Machine, instruction: &[u8], at: u64) -> Option<Exception> {
    let code = [instruction, &[0xf4]].concat();
    machine.state(|state| (state.gpr[6], state.rip) = (at, CODE));
    let before = machine.vcpu.state();
    match machine.run_bytes(&code) {
        Exit::Halt => None,
        Exit::Exception(exception) => {
            assert_eq!(State { cr2: before.cr2, ..machine.vcpu.state() }, before);
            Some(exception)
        }
        other => panic!("{other:?}"),
    }
}

fn with_memory() -> impl Iterator<Item = Code> {
    ours(|code| forms_of(code).any(|memory| memory))
}

#[test]
fn sixteen_bytes_must_be_aligned_and_fewer_need_not_be() {
    let (mut machine, mut rng) = (machine(), Rng(3));
    for code in with_memory() {
        let bytes = forms::instruction(code, true, 3, &mut rng);
        let wanted = (forms::memory_size(code) == 16).then_some(Exception::gp(0));
        for offset in [1, 2, 4, 8, 12, 15] {
            assert_eq!(raised(&mut machine, &bytes, DATA + offset), wanted, "{code:?} at {offset}");
        }
        assert_eq!(raised(&mut machine, &bytes, DATA + 16), None, "{code:?}");
    }
}

#[test]
fn a_page_that_is_not_there_is_pf() {
    let (mut machine, mut rng) = (machine(), Rng(4));
    let missing = DATA + (2 << 20);
    machine.write(PAGE_TABLES + 0x2000 + 8 * (missing >> 21), &[0; 8]);
    for code in with_memory() {
        let bytes = forms::instruction(code, true, 3, &mut rng);
        let at = match forms::memory_size(code) {
            16 => missing,
            size => missing - size as u64 + 1,
        };
        let exception = raised(&mut machine, &bytes, at);
        assert_eq!(exception.map(|one| one.vector()), Some(14), "{code:?}");
        assert_eq!(exception.and_then(|one| one.payload()), Some(missing), "{code:?}");
    }
}

/// SDM vol. 3, "Control Registers": CR0.EM, CR0.TS, CR4.OSFXSR.
#[test]
fn control_registers_forbid_every_form() {
    let ud = Some(Exception::ud());
    for (cr0_bits, osfxsr, wanted) in [
        (cr0::EM, true, ud),
        (cr0::EM | cr0::TS, true, ud),
        (0, false, ud),
        (cr0::TS, false, ud),
        (cr0::TS, true, Some(Exception::nm())),
        (0, true, None),
    ] {
        let (mut machine, mut rng) = (machine(), Rng(5));
        machine.state(|state| {
            state.cr0 |= cr0_bits;
            state.cr4 = state.cr4 & !cr4::OSFXSR | if osfxsr { cr4::OSFXSR } else { 0 };
        });
        let all = ours(|_| true).chain([Code::Ldmxcsr_m32, Code::Stmxcsr_m32]);
        for code in all {
            for memory in forms_of(code) {
                let bytes = forms::instruction(code, memory, 3, &mut rng);
                assert_eq!(raised(&mut machine, &bytes, DATA), wanted, "{code:?}");
            }
        }
    }
}

#[test]
fn mmx_registers_wait_for_x87_errors() {
    let mut rng = Rng(6);
    for code in ours(|code| format!("{code:?}").contains("_mm")) {
        if !format!("{code:?}").contains("_mm_") && !format!("{code:?}").contains("_mmm64") {
            continue;
        }
        for memory in forms_of(code) {
            let mut machine = machine();
            // Division by zero, not masked.
            machine.state(|state| (state.fcw, state.fsw) = (0x37b, 0x8084));
            let bytes = forms::instruction(code, memory, 0, &mut rng);
            let from_memory = memory && format!("{code:?}").starts_with("Cvtpi2");
            let wanted = (!from_memory).then_some(Exception::mf());
            assert_eq!(raised(&mut machine, &bytes, DATA), wanted, "{code:?}");
        }
    }
}
