// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU loop for VMX and for SVM: mailbox, decision, event encoding, and an interrupt whose
//! delivery is cut short and done again without a second acknowledge.
//!
//! `cargo run -p vcpu-events --example bare_metal_loop`
//!
//! The processors are stand-ins with a script; the loop is the real thing.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::{self, JoinHandle, Thread};

use vcpu_events::svm::EventInjection;
use vcpu_events::vmx::{window_controls, EventFields, GuestInterruptibility};
use vcpu_events::{
    Activity, Event, Events, Injection, Interruptibility, Mailbox, Mode, Notify, Request, Tracking,
    Window,
};

/// A virtualization extension, as far as events go.
trait Processor {
    /// From RFLAGS, the shadow and the activity state.
    fn interruptibility(&self) -> Interruptibility;
    /// Writes the event that the next entry injects (`None`: clears it) and the windows.
    fn program(&mut self, event: Option<Event>, window: Window);
    /// VMRESUME or VMRUN, until the exit.
    fn run(&mut self) -> Exit;
    /// What was being delivered when the guest was left: IDT-vectoring information, EXITINTINFO.
    fn interrupted(&self) -> Option<Event>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    ExternalInterrupt,
    InterruptWindow,
    PageFault,
    Halt,
}

/// VMX: the VMCS fields of an event.
struct Vmx {
    guest: Guest,
    entry: EventFields,
    vectoring: EventFields,
    interruptibility: GuestInterruptibility,
    controls: u32,
}

impl Processor for Vmx {
    fn interruptibility(&self) -> Interruptibility {
        let (rflags, activity) = (self.guest.rflags, self.guest.activity);
        self.interruptibility.interruptibility(rflags, activity, false)
    }
    fn program(&mut self, event: Option<Event>, window: Window) {
        self.entry = event.map(EventFields::from).unwrap_or_default();
        if let Some(event) = event {
            self.interruptibility = self.interruptibility.entering_with(&event);
        }
        self.controls = window_controls(window);
    }
    fn run(&mut self) -> Exit {
        let (exit, cut_short) =
            self.guest.run(self.entry.info.valid(), self.controls & 1 << 2 != 0);
        self.vectoring = if cut_short { self.entry } else { EventFields::default() };
        exit
    }
    fn interrupted(&self) -> Option<Event> {
        self.vectoring.event().expect("a processor writes events only")
    }
}

/// SVM: the VMCB's fields.
struct Svm {
    guest: Guest,
    event_injection: EventInjection,
    exit_int_info: EventInjection,
    window: bool,
}

impl Processor for Svm {
    fn interruptibility(&self) -> Interruptibility {
        let known = vcpu_events::svm::interruptibility(false, self.guest.rflags, true);
        Interruptibility { activity: self.guest.activity, ..known }
    }
    fn program(&mut self, event: Option<Event>, window: Window) {
        self.event_injection = event.map(EventInjection::from).unwrap_or_default();
        self.window = window.interrupt; // V_IRQ and the VINTR intercept
    }
    fn run(&mut self) -> Exit {
        let (exit, cut_short) = self.guest.run(self.event_injection.valid(), self.window);
        self.exit_int_info =
            if cut_short { self.event_injection } else { EventInjection::default() };
        exit
    }
    fn interrupted(&self) -> Option<Event> {
        self.exit_int_info.event().expect("a processor writes events only")
    }
}

/// What other threads see of a vCPU.
struct Shared {
    mailbox: Mailbox,
    /// A vector in the local APIC (0: none).
    requested: AtomicU32,
    /// A kick that keeps: it ends this entry or, if that is over, the next one.
    kick: AtomicBool,
}

impl Shared {
    /// For any thread: post what there is to be seen, then the request, then do as told.
    fn request(&self, request: Request, thread: &Thread) -> Notify {
        let notify = self.mailbox.make_request(request);
        match notify {
            Notify::None => {}
            Notify::Kick => self.kick.store(true, SeqCst), // and an IPI, or a signal
            Notify::Wake => thread.unpark(),               // keeps, too
        }
        notify
    }
}

/// The loop. Returns how many interrupts were acknowledged.
fn run_vcpu(shared: &Shared, cpu: &mut impl Processor) -> u32 {
    let mut events = Events::new(Tracking::Here);
    let mut acknowledged = 0;
    let mut halted = false;
    loop {
        for request in shared.mailbox.take() {
            match request {
                Request::VmDead => return acknowledged,
                Request::Nmi => {
                    events.queue_nmi();
                }
                _ => {} // Event: `Lapic::sync`, which is done below anyway
            }
        }
        // Claim: nothing changes until the entry is certain.
        let lapic = u8::try_from(shared.requested.load(SeqCst)).ok().filter(|v| *v != 0);
        let decision = events.decide(&cpu.interruptibility(), false, lapic);
        if halted && decision.inject.is_none() {
            if shared.mailbox.block().is_ok() {
                thread::park(); // until the timer's deadline at most
                shared.mailbox.unblock();
            }
            continue;
        }
        halted = false;
        cpu.program(decision.inject.and_then(|injection| injection.event()), decision.window);
        if shared.mailbox.enter_guest().is_err() {
            continue; // a request came in: decide again, nothing was acknowledged
        }
        // Commit: this vCPU enters now.
        if let Some(injection) = decision.inject {
            events.commit(injection);
            if let Injection::Interrupt(_) = injection {
                shared.requested.store(0, SeqCst); // `Lapic::accept`
                acknowledged += 1;
            }
        }
        let exit = cpu.run();
        shared.mailbox.exit_guest();
        // Before anything else: the event whose delivery the exit cut short comes back. (An
        // entry that failed gives it back in the same way, with `Events::abort`.)
        if let Some(event) = cpu.interrupted() {
            events.interrupted(event);
        }
        match exit {
            Exit::Halt => halted = true,
            Exit::PageFault | Exit::ExternalInterrupt | Exit::InterruptWindow => {}
        }
    }
}

/// The guest's script, one step for each entry.
struct Guest {
    shared: &'static Shared,
    rflags: u64,
    activity: Activity,
    step: u32,
}

impl Guest {
    /// What the processor does on an entry with or without an event and with or without a
    /// window asked for: the exit, and whether it came during the delivery.
    fn run(&mut self, event: bool, window: bool) -> (Exit, bool) {
        self.step += 1;
        self.activity = Activity::Active;
        match (self.step, event, window) {
            // Interrupts are off; somebody posts one and kicks.
            (1, false, false) => {
                self.until_kicked();
                (Exit::ExternalInterrupt, false)
            }
            // The guest executes STI.
            (2, false, true) => {
                self.rflags |= 1 << 9;
                (Exit::InterruptWindow, false)
            }
            // The guest's stack or IDT is not mapped yet: the delivery faults in the second
            // level of the page tables.
            (3, true, false) => (Exit::PageFault, true),
            // Delivered; the handler ends, the guest halts.
            (4, true, false) => {
                self.activity = Activity::Halted;
                (Exit::Halt, false)
            }
            // An NMI ended the halt.
            (5, true, false) => {
                self.until_kicked();
                (Exit::ExternalInterrupt, false)
            }
            other => panic!("unexpected entry {other:?}"),
        }
    }

    fn until_kicked(&self) {
        while !self.shared.kick.swap(false, SeqCst) {
            thread::yield_now();
        }
    }
}

/// What the other threads of the machine do meanwhile.
fn outside(shared: &Shared, vcpu: &JoinHandle<u32>) {
    let until = |mode| {
        while shared.mailbox.mode() != mode {
            assert!(!vcpu.is_finished(), "the vCPU's thread ended early");
            thread::yield_now();
        }
    };
    let vcpu = vcpu.thread();
    until(Mode::InGuest);
    shared.requested.store(0x41, SeqCst); // `PostedInterrupts::post`
    assert_eq!(shared.request(Request::Event, vcpu), Notify::Kick);
    until(Mode::Blocked);
    assert_eq!(shared.request(Request::Nmi, vcpu), Notify::Wake);
    until(Mode::InGuest);
    assert_eq!(shared.request(Request::VmDead, vcpu), Notify::Kick);
}

fn scenario<P: Processor + Send + 'static>(name: &str, new: impl Fn(Guest) -> P) {
    // A vCPU lives as long as its machine.
    let shared: &Shared = Box::leak(Box::new(Shared {
        mailbox: Mailbox::new(),
        requested: AtomicU32::new(0),
        kick: AtomicBool::new(false),
    }));
    let mut cpu = new(Guest { shared, rflags: 2, activity: Activity::Active, step: 0 });
    let vcpu = thread::spawn(move || run_vcpu(shared, &mut cpu));
    outside(shared, &vcpu);
    let acknowledged = vcpu.join().expect("the vCPU's thread ends");
    println!("{name}: delivered after one fault, acknowledged {acknowledged} time");
    assert_eq!(acknowledged, 1);
}

fn main() {
    scenario("VMX", |guest| Vmx {
        guest,
        entry: EventFields::default(),
        vectoring: EventFields::default(),
        interruptibility: GuestInterruptibility::new(),
        controls: 0,
    });
    scenario("SVM", |guest| Svm {
        guest,
        event_injection: EventInjection::default(),
        exit_int_info: EventInjection::default(),
        window: false,
    });
    println!("size_of Mailbox: {} bytes", size_of::<Mailbox>());
    println!("size_of Events: {} bytes", size_of::<Events>());
}

#[test]
fn the_example_runs() {
    main();
}
