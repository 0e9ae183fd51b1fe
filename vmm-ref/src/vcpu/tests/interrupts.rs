// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Maskable interrupts: injected when the guest can take them, at its window otherwise, never lost.

use lapic_emulation::{ApicMode, DestinationEntry};
use vm_device::bus::MmioAddress;
use vm_device::DeviceMmio;

use super::*;
use crate::backend::Outcome;
use crate::interrupts::IoApicPage;

#[test]
fn evt_9_nothing_is_injected_before_the_first_exit_says_that_it_can_be() {
    let mut rig = Rig::bsp();
    rig.send_vector(0x40);
    assert_eq!(rig.exit_open(Back::Window), [RUN_FOR_WINDOW]);
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN]);
}

#[test]
fn evt_9_an_open_guest_takes_an_interrupt_at_the_next_entry() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    rig.send_vector(0x40);
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN]);
}

#[test]
fn evt_5_a_closed_guest_is_asked_for_its_window() {
    let mut rig = Rig::bsp();
    rig.exit_closed(Back::Kicked);
    rig.send_vector(0x40);
    assert_eq!(rig.exit_closed(Back::Kicked), [RUN_FOR_WINDOW]);
    assert_eq!(rig.exit_open(Back::Window), [RUN_FOR_WINDOW]);
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN]);
    assert_eq!(rig.vcpu.local.stats.windows, 1, "one window, however many entries it took");
}

#[test]
fn evt_9_the_second_of_two_interrupts_waits_for_the_first_ones_eoi() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    rig.send_vector(0x40);
    rig.send_vector(0x60);
    assert_eq!(rig.exit_open(Back::Kicked), [Call::Interrupt(0x60), RUN]);
    assert_eq!(rig.exit_open(Back::Store(0xfee0_00b0, 0)), [RUN], "0x40 is of a lower class");
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN]);
    assert_eq!(rig.vcpu.local.stats.eoi[0x60], 1);
}

#[test]
fn evt_9_a_refused_injection_loses_nothing() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    rig.send_vector(0x40);
    rig.script.refuse(1);
    let (result, calls) = rig.try_step();
    assert!(result.is_err() && calls.is_empty());
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN], "it was still requested");
    assert_eq!(rig.vcpu.local.stats.injected[0x40], 1);
}

#[test]
fn evt_9_a_slot_that_is_not_free_yet_is_not_overwritten() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    rig.send_vector(0x40);
    assert_eq!(rig.exit_closed(Back::Kicked), [Call::Interrupt(0x40), RUN]);
    rig.send_vector(0x80);
    assert_eq!(rig.exit_open(Back::Window), [RUN_FOR_WINDOW]);
    assert_eq!(rig.step(), [Call::Interrupt(0x80), RUN]);
}

#[test]
fn lap_4_cr8_goes_both_ways_and_holds_interrupts_back() {
    let mut rig = Rig::bsp();
    let open = Outcome { interrupt_flag: true, window_open: true, ..Outcome::default() };
    let outcome = |cr8| Outcome { cr8, ..open };
    rig.script.push_outcome(outcome(5), Back::Kicked);
    rig.step();
    rig.send_vector(0x40);
    rig.script.push_outcome(outcome(3), Back::Kicked);
    assert_eq!(rig.step(), [Call::Run { window: false, cr8: 5 }], "class 4 is not above CR8");
    assert_eq!(rig.step(), [Call::Interrupt(0x40), Call::Run { window: false, cr8: 3 }]);
}

#[test]
fn lap_4_a_write_to_the_tpr_counts_after_what_cr8_was() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Store(0xfee0_0080, 0x70));
    assert_eq!(rig.step(), [Call::Run { window: false, cr8: 7 }]);
}

#[test]
fn lap_1_the_backend_hears_of_each_change_of_ia32_apic_base() {
    let mut rig = Rig::bsp();
    let calls = rig.exit_open(Back::WriteMsr(0x1b, 0xfee0_0d00));
    assert_eq!(calls, [RUN, Call::Msr(true), Call::Base(0xfee0_0d00)]);
    let calls = rig.exit_open(Back::WriteMsr(0x1b, 0xfee0_0900));
    assert_eq!(calls, [RUN, Call::Msr(false)], "x2APIC mode is left by disabling only");
}

#[test]
fn evt_4_the_pair_is_acknowledged_when_its_interrupt_is_taken_and_no_earlier() {
    let mut rig = Rig::pic_only();
    rig.init_pic(1);
    rig.exit_closed(Back::Kicked);
    rig.pulse(1);
    assert_eq!(rig.exit_closed(Back::Kicked), [RUN_FOR_WINDOW]);
    rig.pulse(0);
    assert_eq!(rig.exit_open(Back::Window), [RUN_FOR_WINDOW]);
    assert_eq!(rig.step(), [Call::Interrupt(0x20), RUN], "the later one is more important");
    assert_eq!(rig.exit_open(Back::Out(0x20, 0x20)), [RUN]);
    assert_eq!(rig.step(), [Call::Interrupt(0x21), RUN]);
}

#[test]
fn evt_5_a_request_that_is_left_after_the_acknowledge_cycle_has_its_window() {
    let mut rig = Rig::pic_only();
    rig.init_pic(3);
    rig.exit_open(Back::Kicked);
    rig.pulse(1);
    rig.pulse(3);
    // Automatic EOI: the guest will write none, so nothing but the window shows IRQ 3.
    assert_eq!(rig.exit_open(Back::Window), [Call::Interrupt(0x21), RUN_FOR_WINDOW]);
    assert_eq!(rig.step(), [Call::Interrupt(0x23), RUN]);
}

#[test]
fn rte_6_masking_lint0_keeps_intr_from_the_cpu() {
    let mut rig = Rig::bsp();
    rig.init_pic(1);
    rig.exit_open(Back::Store(0xfee0_0350, 0x1_0700));
    rig.pulse(1);
    assert_eq!(rig.exit_open(Back::Store(0xfee0_0350, 0x700)), [RUN], "masked");
    assert_eq!(rig.step_to_entry(), [Call::Interrupt(0x21), RUN]);
}

/// IOAPIC pin 0 as an unmasked, edge-triggered ExtINT entry for this CPU.
fn open_virtual_wire(rig: &Rig, cpu: u32) {
    let page = IoApicPage(rig.interrupts.clone());
    for (register, value) in [(0x11_u32, cpu << 24), (0x10, 0x700)] {
        page.mmio_write(MmioAddress(0), 0, &register.to_le_bytes());
        page.mmio_write(MmioAddress(0), 0x10, &value.to_le_bytes());
    }
}

#[test]
fn rte_6_intr_has_one_owner_although_lint0_and_the_ioapic_are_open() {
    let mut rig = Rig::bsp();
    let other =
        DestinationEntry { id: 1, mode: ApicMode::Xapic, ldr: 0, dfr: !0, software_enabled: true };
    rig.interrupts.update_map(1, other);
    rig.init_pic(1);
    rig.exit_open(Back::Kicked);
    open_virtual_wire(&rig, 1);
    rig.pulse(1);
    assert_eq!(rig.exit_open(Back::Kicked), [Call::Interrupt(0x21), RUN]);
    let other = rig.interrupts.vcpus().port(1).unwrap();
    assert!(!other.posted.outstanding(), "the other CPU's acknowledge cycle would be spurious");
}

#[test]
fn rte_6_a_high_intr_moves_to_the_ioapic_when_lint0_closes() {
    let mut rig = Rig::bsp();
    rig.init_pic(1);
    rig.exit_closed(Back::Kicked);
    open_virtual_wire(&rig, 0);
    rig.pulse(1);
    assert_eq!(rig.exit_open(Back::Store(0xfee0_0350, 0x1_0700)), [RUN_FOR_WINDOW]);
    assert_eq!(rig.step_to_entry(), [Call::Interrupt(0x21), RUN], "an ExtINT message");
}

#[test]
fn rte_6_a_disabled_apic_of_the_boot_processor_passes_intr_on() {
    let mut rig = Rig::bsp();
    rig.init_pic(1);
    rig.exit_open(Back::WriteMsr(0x1b, 0xfee0_0100));
    rig.pulse(1);
    assert_eq!(rig.step_to_entry(), [Call::Interrupt(0x21), RUN]);
}
