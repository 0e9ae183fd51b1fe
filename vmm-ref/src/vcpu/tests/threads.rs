// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every thread ends, wherever it is.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use super::*;
use crate::control::Ending;
use crate::devices::irq::Unconnected;
use crate::devices::serial::OutputStop;
use crate::devices::{Serial, SerialOutput};
use crate::layout;
use crate::vcpu::VcpuThreads;

/// The end of a pipe whose reader does not read.
fn full_pipe() -> (SerialOutput, UnixStream) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[0; 4096]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    (SerialOutput::to(File::from(OwnedFd::from(ours))), theirs)
}

#[test]
fn a_vcpu_that_waits_for_the_reader_of_its_output_ends() {
    let (output, _reader) = full_pipe();
    let stop = output.stop();
    let rig = Rig::with_bus(Topology::IoApic, 0, |interrupts| {
        let mut bus = bus(interrupts);
        let serial = Arc::new(Mutex::new(Serial::new(Arc::new(Unconnected), output)));
        bus.add_locked(layout::COM1, 8, &serial).unwrap();
        bus
    });
    for _ in 0..4 {
        rig.script.push(true, Back::Out(layout::COM1, b'x'));
    }
    let mut threads = VcpuThreads::new(rig.interrupts, stop);
    threads.start(rig.vcpu).unwrap();
    rig.script.wait_for(RUN);
    assert_eq!(threads.end().len(), 1);
}

#[test]
fn a_halted_vcpu_ends() {
    let rig = Rig::bsp();
    rig.script.push(true, Back::Halt);
    let mut threads = VcpuThreads::new(rig.interrupts, OutputStop::default());
    threads.start(rig.vcpu).unwrap();
    rig.script.wait_for(RUN);
    let counted = threads.end();
    assert!(counted[0].as_ref().is_ok_and(|stats| stats[0].exits == 1));
}

#[test]
fn dropped_threads_have_ended() {
    let rig = Rig::ap();
    let mut threads = VcpuThreads::new(rig.interrupts, OutputStop::default());
    threads.start(rig.vcpu).unwrap();
    let script = Arc::downgrade(&rig.script);
    drop(rig.script);
    drop(threads);
    assert!(script.upgrade().is_none(), "the backend went away with its thread");
}

#[test]
fn a_panic_in_a_vcpus_thread_ends_the_machine() {
    let rig = Rig::bsp();
    rig.script.push(true, Back::Panic);
    let mut threads = VcpuThreads::new(rig.interrupts, OutputStop::default());
    threads.start(rig.vcpu).unwrap();
    rig.script.wait_for(RUN);
    let counted = threads.end();
    assert!(counted[0].is_err());
    assert!(matches!(rig.control.ending(), Some(Ending::VcpuFailed { cpu: 0, .. })));
}
