// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Software CPUs in turn on a virtual clock: what happens, and when.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_device::MutDevicePio;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::alarm::Alarm;
use crate::backend::{self, CpuidFacts, Kind, Vcpu};
use crate::clock::{TimeSource, VirtualClock};
use crate::console::Console;
use crate::control::Ending;
use crate::devices::irq::Unconnected;
use crate::devices::serial::OutputStop;
use crate::devices::{Clock, MachineEvent, Serial};
use crate::main_loop::Timed;
use crate::stats::VcpuStats;
use crate::vcpu::{RoundRobin, VcpuThreads};

/// Where vCPU n starts: page `PAGE + n`.
const PAGE: u8 = 0x10;
/// The handler of every vector: `mov al, 0xff; out 0x80, al; iret`.
const HANDLER: u64 = 0x8000;
/// What a port access takes.
const ACCESS: u64 = 1000;
/// Virtual time of a turn.
const TURN: u64 = 20_000;

/// Port 0x80 notes when it was written by whom; the machine ends with the last one.
struct Notes {
    clock: Arc<VirtualClock>,
    control: Arc<Control>,
    taken: Arc<Mutex<Vec<(u64, u8)>>>,
    room: usize,
}

impl MutDevicePio for Notes {
    fn pio_read(&mut self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}

    fn pio_write(&mut self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        let mut taken = self.taken.lock().unwrap();
        taken.push((self.clock.now(), data[0]));
        if taken.len() == self.room {
            self.control.end(Ending::Guest(MachineEvent::Shutdown));
        }
    }
}

/// A machine of several vCPUs with APICs, in real mode.
struct Machine {
    all: RoundRobin<Box<dyn Vcpu>>,
    time: TimeSource,
    console: Console,
    taken: Arc<Mutex<Vec<(u64, u8)>>>,
}

impl Machine {
    /// A vCPU for each of `codes`; ends when port 0x80 was written `room` times.
    fn new(codes: &[&[u8]], room: usize) -> Self {
        let clock = Arc::new(VirtualClock::default());
        let time = TimeSource::Virtual(clock.clone());
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        memory.write_slice(&[0xb0, 0xff, 0xe6, 0x80, 0xcf], GuestAddress(HANDLER)).unwrap();
        for vector in 0..256 {
            memory.write_obj(HANDLER as u32, GuestAddress(4 * vector)).unwrap();
        }
        let vm = backend::create(Kind::Soft, &memory, &time).unwrap();
        let cpus = codes.len() as u32;
        let interrupts = Interrupts::new(Topology::IoApic, cpus, time.clock());
        let control = Control::new().unwrap();
        let taken = Arc::default();
        let notes = Notes {
            clock: clock.clone(),
            control: control.clone(),
            taken: Arc::clone(&taken),
            room,
        };
        let mut bus = Bus::default();
        bus.add_locked(0x80, 1, &Arc::new(Mutex::new(notes))).unwrap();
        let bus = Arc::new(bus);
        let vcpus = (0..cpus).zip(codes).map(|(cpu, code)| {
            let page = PAGE + cpu as u8;
            memory.write_slice(code, GuestAddress(u64::from(page) << 12)).unwrap();
            // Each one is the bootstrap processor of its own: none waits for a SIPI.
            let lapic = Some(lapic_emulation::Config { id: cpu, bsp: true, ..Default::default() });
            let config = LocalConfig { cpu: cpu as usize, lapic, clock: time.clock(), trace: None };
            let local = Local::new(config).unwrap();
            interrupts.update_map(cpu as usize, local.destination_entry().unwrap());
            let facts = CpuidFacts { apic_id: cpu, cpus, apic: true };
            let mut backend = vm.create_vcpu(facts).unwrap();
            backend.start_up(page).unwrap();
            VcpuThread::new(backend, local, interrupts.clone(), bus.clone(), control.clone())
        });
        let vcpus = vcpus.collect();
        let console = Console::new();
        let input = console.input().unwrap();
        let all = RoundRobin { vcpus, clock, interrupts, control, timed: Vec::new(), input };
        Machine { all, time, console, taken }
    }

    /// A device that does something at a time.
    fn at(&mut self, time: u64, mut act: impl FnMut(u64, &Interrupts) + Send + 'static) {
        let alarm = Alarm::new(&self.time).unwrap();
        alarm.set(Some(time));
        let interrupts = self.all.interrupts.clone();
        let expired = Box::new(move |now| act(now, &interrupts));
        self.all.timed.push(Timed { alarm, expired });
    }

    /// What port 0x80 was written, and when.
    fn run(self) -> Vec<(u64, u8)> {
        self.all.run();
        Arc::into_inner(self.taken).unwrap().into_inner().unwrap()
    }
}

/// `mov al, name; out 0x80, al; jmp $ - 2`
fn writer(name: u8) -> [u8; 6] {
    [0xb0, name, 0xe6, 0x80, 0xeb, 0xfc]
}

/// `sti; hlt; jmp $ - 1`
const SLEEPER: &[u8] = &[0xfb, 0xf4, 0xeb, 0xfd];
/// `sti; jmp $`
const SPINNER: &[u8] = &[0xfb, 0xeb, 0xfe];

/// `mov ecx, index; mov eax, value; mov edx, value >> 32; wrmsr`
fn wrmsr(index: u32, value: u64) -> Vec<u8> {
    let halves = [(0xb9, index), (0xb8, value as u32), (0xba, (value >> 32) as u32)];
    let moves = halves.map(|(mov, half)| [&[0x66, mov], &half.to_le_bytes()[..]].concat());
    [&moves.concat()[..], &[0x0f, 0x30]].concat()
}

/// Sets the local APIC's timer to a TSC deadline, in x2APIC mode.
fn set_deadline(tsc: u64) -> Vec<u8> {
    let x2apic = wrmsr(0x1b, 0xfee0_0d00);
    let enabled = wrmsr(0x80f, 0x1ff);
    let in_tsc = wrmsr(0x832, 0x4_0040);
    [x2apic, enabled, in_tsc, wrmsr(0x6e0, tsc)].concat()
}

#[test]
fn time_goes_on_with_instructions_and_port_accesses() {
    let taken = Machine::new(&[&writer(1)], 3).run();
    // Before the first OUT there is MOV; before each other one there are OUT itself and JMP.
    let times = [1 + ACCESS, 3 + 2 * ACCESS, 5 + 3 * ACCESS];
    assert_eq!(taken, times.map(|time| (time, 1)));
}

#[test]
fn vcpus_take_turns() {
    let taken = Machine::new(&[&writer(0), &writer(1), &writer(2)], 100).run();
    let per_turn = (TURN / (ACCESS + 2) + 1) as usize;
    let names: Vec<u8> = taken.iter().map(|(_, name)| *name).collect();
    let expected = [0, 1, 2].into_iter().cycle().flat_map(|name| vec![name; per_turn]);
    assert_eq!(names, expected.take(100).collect::<Vec<_>>());
    assert!(taken.windows(2).all(|pair| pair[0].0 < pair[1].0), "one clock for all");
}

#[test]
fn while_all_sleep_time_goes_to_the_next_deadline() {
    const HOUR: u64 = 3_600_000_000_000;
    let mut machine = Machine::new(&[SLEEPER, SLEEPER], 2);
    for (hours, cpu) in [(1, 1), (2, 0)] {
        machine.at(hours * HOUR, move |now, interrupts| {
            assert_eq!(now, hours * HOUR);
            let _ = interrupts.send(message_to(cpu, DeliveryMode::Fixed, 0x40));
        });
    }
    let taken = machine.run();
    // The interrupt's delivery, MOV, OUT.
    assert_eq!(taken, [(HOUR + 2 + ACCESS, 0xff), (2 * HOUR + 2 + ACCESS, 0xff)]);
}

#[test]
fn a_deadline_interrupts_a_turn_to_the_instruction() {
    let mut machine = Machine::new(&[SPINNER, SLEEPER], 2);
    for (time, cpu) in [(31_417, 0), (50_003, 1)] {
        machine.at(time, move |now, interrupts| {
            assert_eq!(now, time);
            let _ = interrupts.send(message_to(cpu, DeliveryMode::Fixed, 0x40));
        });
    }
    let taken = machine.run();
    assert_eq!(taken[0], (31_417 + 2 + ACCESS, 0xff));
    assert!((50_003..50_003 + TURN + ACCESS).contains(&taken[1].0), "{taken:?}");
}

#[test]
fn lap_7_a_tsc_deadline_moves_with_the_tsc() {
    const IA32_TSC_ADJUST: u32 = 0x3b;
    const S: u64 = 1_000_000_000;
    let adjust = |s| wrmsr(IA32_TSC_ADJUST, s * S);
    for (deadline, adjusted, due) in [(11, 10, 1), (11, 5, 6), (21, 20, 1)] {
        let armed = set_deadline(deadline * S);
        let code = [&adjust(10)[..], &armed, &adjust(adjusted), SLEEPER].concat();
        let taken = Machine::new(&[&code], 1).run();
        assert_eq!(taken, [(due * S + 2 + ACCESS, 0xff)], "{deadline} {adjusted}");
    }
}

#[test]
fn lap_7_a_tsc_that_was_set_back_counts_at_a_register_write_too() {
    const S: u64 = 1_000_000_000;
    let adjust = |s| wrmsr(0x3b, s * S);
    let armed = [adjust(10), set_deadline(11 * S), adjust(5)].concat();
    let eoi_and_timer = [wrmsr(0x80b, 0), wrmsr(0x832, 0x4_0040)].concat();
    let code = [&armed, &[0xfb, 0xf4][..], &eoi_and_timer, SLEEPER].concat();
    let mut machine = Machine::new(&[&code], 2);
    machine.at(2 * S, |_, interrupts| {
        let _ = interrupts.send(message_to(0, DeliveryMode::Fixed, 0x50));
    });
    assert_eq!(machine.run(), [2, 6].map(|due| (due * S + 2 + ACCESS, 0xff)));
}

/// Runs on a thread of its own, as long as each of `keys` brings it out of its sleep.
fn run_and_type(machine: Machine, keys: usize) -> (u64, std::thread::Result<Vec<VcpuStats>>) {
    kick::install_handler().unwrap();
    let Machine { mut all, time, console, .. } = machine;
    let serial = Arc::new(Mutex::new(Serial::new(Arc::new(Unconnected), std::io::sink())));
    let control = all.control.clone();
    console.connect(&serial, &control);
    let (ours, mut typist) = UnixStream::pair().unwrap();
    all.input = console.input_from(OwnedFd::from(ours).into());
    let mut threads = VcpuThreads::new(all.interrupts.clone(), OutputStop::default());
    threads.start_all(all).unwrap();
    for typed in 1..=keys {
        typist.write_all(b"x").unwrap();
        let taken = || serial.lock().unwrap().counters().enqueued == typed as u64;
        while !taken() && !control.has_ended() {
            std::thread::yield_now();
        }
    }
    (time.clock().now(), threads.end().remove(0))
}

#[test]
fn a_deadline_that_never_comes_leaves_time_alone() {
    let code = [&set_deadline(!0)[..], SLEEPER].concat();
    // Each key is a round: one for the code, one for HLT.
    let (now, counted) = run_and_type(Machine::new(&[&code], 1), 4);
    assert_eq!(counted.expect("no panic")[0].halts, 1);
    assert!(now < TURN, "{now}");
    const LAST: u64 = (1 << 63) - 1;
    let code = [&set_deadline(LAST)[..], SLEEPER].concat();
    assert_eq!(Machine::new(&[&code], 1).run(), [(LAST + 2 + ACCESS, 0xff)]);
}

#[test]
fn a_panic_names_the_vcpu_whose_turn_it_was() {
    let mut machine = Machine::new(&[SPINNER, SPINNER, SPINNER], 1);
    let control = machine.all.control.clone();
    let ended = control.clone();
    // In the second turn.
    machine.at(TURN + 1, move |_, _| {
        ended.end(Ending::Guest(MachineEvent::Shutdown));
        panic!("as the test wants it");
    });
    let Machine { all, .. } = machine;
    assert!(std::thread::spawn(move || all.run()).join().is_err());
    assert!(matches!(control.ending(), Some(Ending::VcpuFailed { cpu: 1, .. })));
}
