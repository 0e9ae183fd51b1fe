// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! HLT, NMI, INIT and SIPI, timers, the end.

use std::thread;

use super::*;
use crate::backend::Outcome;
use crate::control::Ending;
use vcpu_events::{Activity, Request};

/// Takes in what was posted, as a step does that would then sleep.
fn collect(rig: &mut Rig) -> Vec<Call> {
    let cpu = rig.vcpu.local.cpu();
    let interrupts = rig.interrupts.clone();
    let port = interrupts.vcpus().port(cpu).unwrap();
    rig.vcpu.local.collect(&mut rig.vcpu.backend, &interrupts, port).unwrap();
    rig.script.take()
}

#[test]
fn evt_1_a_halted_vcpu_is_woken_by_an_interrupt() {
    let rig = Rig::bsp();
    let Rig { vcpu, script, interrupts, .. } = rig;
    script.push(true, Back::Halt);
    let message = message_to(0, DeliveryMode::Fixed, 0x40);
    let thread = thread::spawn(move || vcpu.run());
    script.wait_for(RUN);
    let _ = interrupts.send(message);
    script.wait_for(Call::Interrupt(0x40));
    interrupts.vcpus().port(0).unwrap().request(Request::VmDead);
    let stats = thread.join().unwrap();
    assert_eq!((stats.halts, stats.injected[0x40]), (1, 1));
}

#[test]
fn evt_5_hlt_with_interrupts_off_does_not_end_for_an_interrupt() {
    let mut rig = Rig::bsp();
    rig.exit_closed(Back::Halt);
    rig.send_vector(0x40);
    collect(&mut rig);
    let window = rig.vcpu.inject().unwrap();
    rig.vcpu.local.resume_for(window);
    assert_eq!(rig.vcpu.local.activity(), Activity::Halted);
    assert_eq!(rig.script.take(), []);
}

#[test]
fn evt_5_hlt_ends_for_an_interrupt_that_needs_its_window_first() {
    let mut rig = Rig::bsp();
    let shadow = Outcome { interrupt_flag: true, ..Outcome::default() };
    rig.script.push_outcome(shadow, Back::Halt);
    rig.step();
    rig.send_vector(0x40);
    assert_eq!(rig.exit_open(Back::Window), [RUN_FOR_WINDOW]);
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN]);
}

#[test]
fn evt_6_an_nmi_ends_hlt_with_interrupts_off() {
    let mut rig = Rig::bsp();
    rig.exit_closed(Back::Halt);
    rig.send(rig.message(DeliveryMode::Nmi, 0));
    assert_eq!(rig.step(), [Call::Nmi, RUN]);
    assert_eq!(rig.vcpu.local.stats.nmi, 1);
}

#[test]
fn evt_6_an_nmi_that_is_blocked_does_not_end_hlt() {
    let mut rig = Rig::bsp();
    let in_handler = Outcome { nmi_blocked: true, interrupt_flag: true, window_open: true, cr8: 0 };
    rig.script.push_outcome(in_handler, Back::Halt);
    rig.step();
    rig.send(rig.message(DeliveryMode::Nmi, 0));
    assert_eq!(rig.step(), [Call::Nmi], "it waits in the backend");
    assert_eq!(rig.vcpu.local.activity(), Activity::Halted);
    rig.send_vector(0x40);
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN]);
}

#[test]
fn evt_4_an_nmi_goes_before_an_interrupt() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    rig.send_vector(0x40);
    rig.send(rig.message(DeliveryMode::Nmi, 0));
    assert_eq!(rig.exit_open(Back::Window), [Call::Nmi, RUN_FOR_WINDOW]);
    assert_eq!(rig.step(), [Call::Interrupt(0x40), RUN]);
}

#[test]
fn evt_6_the_second_of_two_nmis_does_not_wait_for_an_exit() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    for _ in 0..3 {
        rig.send(rig.message(DeliveryMode::Nmi, 0));
    }
    assert_eq!(rig.exit_open(Back::Kicked), [Call::Nmi, Call::Nmi, RUN], "two at most");
    assert_eq!(rig.step(), [RUN]);
}

#[test]
fn evt_9_a_refused_nmi_is_not_lost() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    rig.send(rig.message(DeliveryMode::Nmi, 0));
    rig.script.refuse(1);
    assert!(rig.try_step().0.is_err());
    assert_eq!(rig.step(), [Call::Nmi, RUN]);
}

#[test]
fn lap_9_an_ap_starts_at_its_sipi_and_at_the_first_only() {
    let mut rig = Rig::ap();
    assert_eq!(rig.vcpu.local.activity(), Activity::WaitForSipi);
    rig.send_vector(0x40);
    assert_eq!(collect(&mut rig), [], "a fixed IPI never starts it");
    rig.send(rig.message(DeliveryMode::StartUp, 0x9a));
    rig.send(rig.message(DeliveryMode::StartUp, 0x9b));
    assert_eq!(rig.step(), [Call::StartUp(0x9a), RUN]);
    rig.send(rig.message(DeliveryMode::StartUp, 0x9c));
    assert_eq!(rig.step(), [RUN]);
}

#[test]
fn lap_9_init_stops_a_running_ap_and_the_sipi_right_behind_it_is_latched() {
    let mut rig = Rig::ap();
    rig.send(rig.message(DeliveryMode::StartUp, 1));
    rig.exit_open(Back::Halt);
    rig.send(rig.message(DeliveryMode::Init, 0));
    assert_eq!(collect(&mut rig), [Call::Init]);
    assert_eq!(rig.vcpu.local.activity(), Activity::WaitForSipi);
    rig.send(rig.message(DeliveryMode::Init, 0));
    rig.send(rig.message(DeliveryMode::StartUp, 2));
    assert_eq!(rig.step(), [Call::Init, Call::StartUp(2), RUN]);
}

#[test]
fn lap_9_init_drops_what_was_queued() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Kicked);
    rig.send_vector(0x40);
    rig.send(rig.message(DeliveryMode::Nmi, 0));
    rig.send(rig.message(DeliveryMode::Init, 0));
    assert_eq!(rig.step(), [Call::Init, RUN]);
}

#[test]
fn lap_7_the_timer_interrupts_a_halted_cpu_by_itself() {
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Store(0xfee0_0320, 0xec));
    rig.exit_open(Back::Store(0xfee0_0380, 1000));
    rig.exit_open(Back::Halt);
    let mut calls = Vec::new();
    while calls.is_empty() {
        calls = rig.step(); // Sleeps until the deadline, no longer.
    }
    assert_eq!(calls, [Call::Interrupt(0xec), RUN]);
}

#[test]
fn lap_7_a_deadline_comes_although_the_hypervisor_holds_the_tsc() {
    const TSC_DEADLINE: u32 = 0x6e0;
    let mut rig = Rig::bsp();
    rig.exit_open(Back::Store(0xfee0_0320, 0x4_00ec));
    rig.script.hold_tsc(1_000_000);
    rig.exit_open(Back::WriteMsr(TSC_DEADLINE, 1_000_000 + 5_000));
    rig.exit_open(Back::Halt);
    let mut sleeps = 0;
    while rig.vcpu.local.activity() == Activity::Halted {
        rig.step();
        sleeps += 1;
        assert!(sleeps < 1000, "5 us are long over");
    }
    assert_eq!(rig.vcpu.local.stats.injected[0xec], 1);
}

#[test]
fn a_triple_fault_ends_the_machine() {
    let mut rig = Rig::bsp();
    rig.script.push(false, Back::TripleFault);
    assert!(matches!(rig.try_step().0, Ok(Step::Stop)));
    assert!(matches!(rig.control.ending(), Some(Ending::TripleFault { cpu: 0, .. })));
}

#[test]
fn a_dead_machine_is_not_entered() {
    let mut rig = Rig::bsp();
    rig.interrupts.vcpus().port(0).unwrap().request(Request::VmDead);
    let (step, calls) = rig.try_step();
    assert!(matches!(step, Ok(Step::Stop)) && calls.is_empty());
}

#[test]
fn a_backend_that_fails_ends_the_machine_with_its_registers() {
    let Rig { vcpu, script, control, interrupts, .. } = Rig::bsp();
    script.push(true, Back::Kicked);
    script.refuse(1);
    let _ = interrupts.send(message_to(0, DeliveryMode::Fixed, 0x40));
    thread::spawn(move || vcpu.run()).join().unwrap();
    let Some(Ending::VcpuFailed { cpu, registers, .. }) = control.ending() else { panic!() };
    assert_eq!((cpu, registers.as_str()), (0, "a fake"));
}
