// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The software CPU through the backend's eyes: a few instructions in real mode, and what comes
//! out of them.

use std::thread;
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::backend::{Entry, Exit, GeneralProtection, Outcome};

/// Where the code starts: SIPI's vector, and the address.
const PAGE: u8 = 0x10;
const CODE: u64 = 0x1_0000;
/// Where the handler of each vector is.
const HANDLERS: u64 = 0x8000;
const HANDLER_SIZE: u64 = 0x10;
/// The first byte after memory, and its segment.
const END: u64 = 0x8_0000;

const OPEN: Outcome =
    Outcome { interrupt_flag: true, window_open: true, cr8: 0, nmi_blocked: false };
const CLOSED: Outcome = Outcome { interrupt_flag: false, window_open: false, ..OPEN };
/// Right behind STI.
const SHADOWED: Outcome = Outcome { window_open: false, ..OPEN };
/// In the handler of an NMI.
const IN_NMI: Outcome = Outcome { nmi_blocked: true, ..CLOSED };

/// One vCPU in real mode, with memory below [`END`].
struct Rig {
    memory: GuestMemoryMmap,
    vcpu: Box<dyn Vcpu>,
}

/// An exit without its borrow.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    In(u16, u8),
    Out(u16, Vec<u8>),
    Load(u64, usize),
    Store(u64, Vec<u8>),
    ReadMsr(u32),
    WriteMsr(u32, u64),
    Halt,
    Window,
    Kicked,
    TripleFault,
    Other(String),
}

impl Rig {
    /// Starts `code` as a start-up IPI does.
    fn new(code: &[u8]) -> Self {
        Self::timed(code, &TimeSource::Host)
    }

    fn timed(code: &[u8], time: &TimeSource) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), END as usize)]).unwrap();
        memory.write_slice(code, GuestAddress(CODE)).unwrap();
        let vm = SoftVm::new(&memory, time).unwrap();
        let mut vcpu = vm.create_vcpu(CpuidFacts { apic_id: 0, cpus: 1, apic: true }).unwrap();
        vcpu.init().unwrap();
        vcpu.start_up(PAGE).unwrap();
        let rig = Rig { memory, vcpu };
        for vector in 0..=255 {
            // `mov al, vector; out 0x80, al; iret`
            rig.handler(vector, &[0xb0, vector, 0xe6, 0x80, 0xcf]);
        }
        rig
    }

    fn handler(&self, vector: u8, code: &[u8]) {
        let at = HANDLERS + u64::from(vector) * HANDLER_SIZE;
        self.memory.write_slice(code, GuestAddress(at)).unwrap();
        self.memory.write_obj(at as u32, GuestAddress(u64::from(vector) * 4)).unwrap();
    }

    fn run(&mut self) -> (Outcome, Seen) {
        self.enter(Entry::default(), 0)
    }

    fn run_for_window(&mut self) -> (Outcome, Seen) {
        self.enter(Entry { interrupt_window: true, cr8: 0 }, 0)
    }

    /// Runs; a read is answered with `answer`.
    fn enter(&mut self, entry: Entry, answer: u64) -> (Outcome, Seen) {
        let (outcome, exit) = self.vcpu.run(entry).unwrap();
        let answer = answer.to_le_bytes();
        let seen = match exit {
            Exit::PortRead { port, size, data } => {
                let len = data.len();
                data.copy_from_slice(&answer[..len]);
                Seen::In(port, size)
            }
            Exit::PortWrite { port, data, .. } => Seen::Out(port, data.to_vec()),
            Exit::MmioRead(address, data) => {
                let len = data.len();
                data.copy_from_slice(&answer[..len]);
                Seen::Load(address, len)
            }
            Exit::MmioWrite(address, data) => Seen::Store(address, data.to_vec()),
            Exit::ReadMsr(index) => Seen::ReadMsr(index),
            Exit::WriteMsr(index, value) => Seen::WriteMsr(index, value),
            Exit::Halt => Seen::Halt,
            Exit::InterruptWindow => Seen::Window,
            Exit::Kicked => Seen::Kicked,
            Exit::TripleFault => Seen::TripleFault,
            other => Seen::Other(format!("{other:?}")),
        };
        (outcome, seen)
    }

    /// Runs to a handler, which says its vector.
    fn expect_vector(&mut self, vector: u8) {
        let outcome = if vector == 2 { IN_NMI } else { CLOSED };
        assert_eq!(self.run(), (outcome, Seen::Out(0x80, vec![vector])));
    }
}

#[test]
fn ports_are_read_and_written() {
    // in ax, 0x60; out 0x80, al; mov dx, 0x1234; mov eax, 0x11223344; out dx, eax; hlt
    let mut rig = Rig::new(&[
        0xe5, 0x60, 0xe6, 0x80, 0xba, 0x34, 0x12, 0x66, 0xb8, 0x44, 0x33, 0x22, 0x11, 0x66, 0xef,
        0xf4,
    ]);
    assert_eq!(rig.enter(Entry::default(), 0x5678), (CLOSED, Seen::In(0x60, 2)));
    assert_eq!(rig.run(), (CLOSED, Seen::Out(0x80, vec![0x78])));
    assert_eq!(rig.run(), (CLOSED, Seen::Out(0x1234, vec![0x44, 0x33, 0x22, 0x11])));
    assert_eq!(rig.run(), (CLOSED, Seen::Halt));
}

#[test]
fn addresses_without_memory_are_devices() {
    // mov ax, 0x8000; mov ds, ax; mov bx, [4]; mov [6], bx; hlt
    let mut rig = Rig::new(&[
        0xb8, 0x00, 0x80, 0x8e, 0xd8, 0x8b, 0x1e, 0x04, 0x00, 0x89, 0x1e, 0x06, 0x00, 0xf4,
    ]);
    assert_eq!(rig.enter(Entry::default(), 0xbeef), (CLOSED, Seen::Load(END + 4, 2)));
    assert_eq!(rig.run(), (CLOSED, Seen::Store(END + 6, vec![0xef, 0xbe])));
    assert_eq!(rig.run(), (CLOSED, Seen::Halt));
}

#[test]
fn an_interrupt_ends_hlt() {
    // sti; hlt; hlt
    let mut rig = Rig::new(&[0xfb, 0xf4, 0xf4]);
    assert_eq!(rig.run(), (OPEN, Seen::Halt));
    rig.vcpu.inject_interrupt(0x40).unwrap();
    rig.expect_vector(0x40);
    assert_eq!(rig.run(), (OPEN, Seen::Halt), "the second one");
}

#[test]
fn the_window_opens_behind_the_shadow_of_sti() {
    // out 0x80, al; sti; out 0x81, al; out 0x82, al
    let mut rig = Rig::new(&[0xe6, 0x80, 0xfb, 0xe6, 0x81, 0xe6, 0x82]);
    assert_eq!(rig.run_for_window(), (CLOSED, Seen::Out(0x80, vec![0])));
    let shadow = Outcome { interrupt_flag: true, ..CLOSED };
    assert_eq!(rig.run_for_window(), (shadow, Seen::Out(0x81, vec![0])));
    assert_eq!(rig.run_for_window(), (OPEN, Seen::Window));
    assert_eq!(rig.run(), (OPEN, Seen::Out(0x82, vec![0])), "nobody asks any more");
}

#[test]
fn an_interrupt_waits_until_a_device_was_read() {
    // sti; nop; in al, 0x60; out 0x81, al
    let mut rig = Rig::new(&[0xfb, 0x90, 0xe4, 0x60, 0xe6, 0x81]);
    assert_eq!(rig.enter(Entry::default(), 0x77), (OPEN, Seen::In(0x60, 1)));
    rig.vcpu.inject_interrupt(0x41).unwrap();
    rig.expect_vector(0x41);
    // iret; the handler has changed AL.
    assert_eq!(rig.run(), (OPEN, Seen::Out(0x81, vec![0x41])));
}

#[test]
fn evt_6_the_second_nmi_comes_after_iret() {
    // cli; nop; hlt
    let mut rig = Rig::new(&[0xfa, 0x90, 0xf4]);
    rig.vcpu.inject_nmi().unwrap();
    rig.vcpu.inject_nmi().unwrap();
    rig.vcpu.inject_nmi().unwrap();
    rig.expect_vector(2);
    rig.vcpu.inject_nmi().unwrap();
    rig.expect_vector(2);
    assert_eq!(rig.run(), (CLOSED, Seen::Halt), "all that came meanwhile were one");
}

#[test]
fn evt_6_an_nmi_between_sti_and_hlt_ends_the_halt() {
    // The vCPU comes out after one instruction.
    let time = TimeSource::new_virtual();
    let TimeSource::Virtual(clock) = &time else { unreachable!() };
    // sti; hlt; out 0x81, al
    let mut rig = Rig::timed(&[0xfb, 0xf4, 0xe6, 0x81], &time);
    clock.set_limit(1);
    assert_eq!(rig.run(), (SHADOWED, Seen::Kicked));
    rig.vcpu.inject_nmi().unwrap();
    clock.set_limit(1000);
    rig.expect_vector(2);
}

#[test]
fn evt_6_an_interrupt_gets_through_while_an_nmi_is_blocked() {
    // nop; hlt
    let mut rig = Rig::new(&[0x90, 0xf4]);
    // sti; nop; hlt; iret
    rig.handler(2, &[0xfb, 0x90, 0xf4, 0xcf]);
    rig.vcpu.inject_nmi().unwrap();
    rig.vcpu.inject_nmi().unwrap();
    let open_in_nmi = Outcome { nmi_blocked: true, ..OPEN };
    assert_eq!(rig.run(), (open_in_nmi, Seen::Halt), "in the handler");
    rig.vcpu.inject_interrupt(0x42).unwrap();
    assert_eq!(rig.run(), (IN_NMI, Seen::Out(0x80, vec![0x42])));
    // That handler's IRET unblocks NMIs.
    assert_eq!(rig.run(), (open_in_nmi, Seen::Halt), "in the handler of the second one");
}

#[test]
fn init_drops_what_was_under_way() {
    // in al, 0x60
    let mut rig = Rig::new(&[0xe4, 0x60]);
    assert_eq!(rig.run(), (CLOSED, Seen::In(0x60, 1)));
    rig.vcpu.inject_nmi().unwrap();
    rig.vcpu.init().unwrap();
    rig.memory.write_slice(&[0xe6, 0x83, 0xf4], GuestAddress(0x2_0000)).unwrap();
    rig.vcpu.start_up(0x20).unwrap();
    assert_eq!(rig.run(), (CLOSED, Seen::Out(0x83, vec![0])));
    assert_eq!(rig.run(), (CLOSED, Seen::Halt));
}

#[test]
fn evt_9_a_kick_ends_the_run_under_way_or_the_next() {
    // jmp $
    let mut rig = Rig::new(&[0xeb, 0xfe]);
    let flag = rig.vcpu.kick_flag();
    // SAFETY: the byte lives as long as the vCPU; nobody else writes it now.
    unsafe { flag.write_volatile(1) };
    assert_eq!(rig.run(), (CLOSED, Seen::Kicked));
    // SAFETY: as above.
    assert_eq!(unsafe { flag.read_volatile() }, 0);
    let address = flag as usize;
    let kicker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        // SAFETY: as above: the test waits for this thread before the vCPU goes away.
        unsafe { (address as *mut u8).write_volatile(1) };
    });
    assert_eq!(rig.run(), (CLOSED, Seen::Kicked));
    kicker.join().unwrap();
}

#[test]
fn lap_1_the_local_apics_msrs_are_the_vmms() {
    // mov ecx, 0x1b; rdmsr; out 0x80, al; mov ecx, 0x6e0; wrmsr; mov ecx, 0x808; rdmsr
    let mut rig = Rig::new(&[
        0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0xe6, 0x80, 0x66, 0xb9, 0xe0, 0x06, 0, 0, 0x0f,
        0x30, 0x66, 0xb9, 0x08, 0x08, 0, 0, 0x0f, 0x32,
    ]);
    assert_eq!(rig.run(), (CLOSED, Seen::ReadMsr(0x1b)));
    rig.vcpu.finish_read_msr(Ok(0x1_0000_0055));
    assert_eq!(rig.run(), (CLOSED, Seen::Out(0x80, vec![0x55])));
    assert_eq!(rig.run(), (CLOSED, Seen::WriteMsr(0x6e0, 0x1_0000_0055)));
    rig.vcpu.finish_write_msr(Ok(()));
    assert_eq!(rig.run(), (CLOSED, Seen::ReadMsr(0x808)));
    rig.vcpu.finish_read_msr(Err(GeneralProtection));
    rig.expect_vector(13);
}

#[test]
fn lap_1_cpuid_says_whether_the_local_apic_is_on() {
    // mov eax, 1; cpuid; mov eax, edx; out 0x80, eax; jmp 0
    let code = [0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x66, 0x89, 0xd0, 0x66, 0xe7, 0x80, 0xeb, 0xf0];
    let mut rig = Rig::new(&code);
    for (base, on) in [(0xfee0_0000, false), (0xfee0_0800, true)] {
        rig.vcpu.set_apic_base(base).unwrap();
        let (_, Seen::Out(0x80, data)) = rig.run() else { panic!("no output") };
        assert_eq!(data[1] & 2 != 0, on);
    }
}

#[test]
fn the_tsc_counts_nanoseconds() {
    let rig = Rig::new(&[]);
    assert_eq!(rig.vcpu.tsc_hz(), 1_000_000_000);
    let first = rig.vcpu.tsc();
    thread::sleep(Duration::from_millis(2));
    assert!(rig.vcpu.tsc() >= first + 2_000_000);
}

#[test]
fn a_triple_fault_is_one_and_registers_are_told() {
    // lidt [empty]; ud2; empty: dw 0, 0, 0
    let mut rig = Rig::new(&[0x2e, 0x0f, 0x01, 0x1e, 0x08, 0x00, 0x0f, 0x0b, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rig.run(), (CLOSED, Seen::TripleFault));
    assert!(rig.vcpu.describe().contains("cs.base=0x10000"), "{}", rig.vcpu.describe());
}
