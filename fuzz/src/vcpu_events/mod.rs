// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What waits for a vCPU: queues, decisions, injections that succeed, fail or are cut short; the
//! fields of VMX and SVM; the request mailbox and KVM's slot.

mod encodings;
mod mailbox;
mod seeds;

use vcpu_events::svm;
use vcpu_events::vmx::GuestInterruptibility;
use vcpu_events::{
    Activity, Event, Events, EventsState, Exception, ExceptionState, Injection, InterruptSlot,
    InterruptState, Interruptibility, Mailbox, Origin, QueueError, RunOut, Shadow,
    SoftwareInterrupt, Tracking,
};

use crate::code::{pick, Num, Scenario};
use encodings::{decode_svm, decode_vmx, round_trip};
use mailbox::MailboxModel;
pub use seeds::seeds;

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// Who tracks NMI blocking and SMM.
    pub struct Setup {
        backend: bool,
    }
}

ops! {
    /// What can happen to a vCPU.
    pub enum Op {
        Exception { vector: u8, code: Option<u32>, payload: Option<Num> },
        Nmi,
        Smi,
        Init,
        Sipi { page: u8 },
        TripleFault,
        Iret,
        Rsm,
        /// An interrupt at the LAPIC (a vector) or at the PIC.
        Lapic { vector: u8 },
        Pic,
        /// Decide, inject, and see what comes of it.
        Enter { cpu: u8, activity: u8, outcome: u8, fault: u8 },
        /// An event that the processor was delivering by itself.
        Interrupted { kind: u8, vector: u8, length: u8 },
        SaveRestore,
        Restore { flags: u8, sipi: Option<u8>, nmis: u8, exception: [u8; 4], interrupt: Option<u8> },
        DecodeVmx { info: u32, code: u32, length: Num },
        DecodeSvm { field: u64 },
        DecodeState { interruptibility: u32, rflags: Num, activity: u32 },
        Request { request: u8 },
        RequestSelf { request: u8 },
        TakeRequests,
        TakeRequest { request: u8 },
        EnterGuest,
        ExitGuest,
        Block,
        Unblock,
        Queue { vector: u8, refused: bool },
        Ran { ready: bool, flag: bool },
        Invalidate,
    }
}

struct Rig {
    events: Events,
    tracking: Tracking,
    /// Interrupts that the controllers hold, oldest first.
    lapic: Vec<u8>,
    pic: bool,
    ledger: Ledger,
    mailbox: Mailbox,
    model: MailboxModel,
    slot: InterruptSlot,
    slot_model: (Option<u8>, bool),
}

/// What came in and what went out. Everything in must be out, pending, or void by an INIT.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ledger {
    nmis: i64,
}

/// Runs the operations and checks the vCPU after each; at last everything must come out.
pub fn run(input: &Input) {
    let tracking = if input.setup.backend { Tracking::Backend } else { Tracking::Here };
    let mut rig = Rig {
        events: Events::new(tracking),
        tracking,
        lapic: Vec::new(),
        pic: false,
        ledger: Ledger::default(),
        mailbox: Mailbox::new(),
        model: MailboxModel::default(),
        slot: InterruptSlot::new(),
        slot_model: (None, false),
    };
    for op in &input.ops {
        rig.apply(op);
        rig.check();
    }
    rig.finish();
}

fn exception(vector: u8, code: Option<u32>, payload: Option<u64>) -> Option<Exception> {
    let exception = Exception::new(vector % 40, code)
        .or_else(|_| Exception::new(vector % 40, code.map_or(Some(0), |_| None)))
        .ok()?;
    Some(match payload {
        Some(payload) => exception.with_payload(payload).unwrap_or(exception),
        None => exception,
    })
}

fn event(kind: u8, vector: u8, length: u8) -> Option<Event> {
    Some(match kind % 4 {
        0 => Event::Interrupt(vector),
        1 => Event::Nmi,
        2 => Event::SoftwareInterrupt(SoftwareInterrupt::new(vector, length % 16).ok()?),
        _ => Event::Exception(exception(vector % 32, None, None)?),
    })
}

fn cpu(bits: u8, activity: u8) -> Interruptibility {
    let bit = |n: u8| bits >> n & 1 != 0;
    let activities =
        [Activity::Active, Activity::Halted, Activity::Shutdown, Activity::WaitForSipi];
    Interruptibility {
        // Mostly open: what is held back never gets anywhere.
        interrupt_flag: !bit(0),
        shadow: Shadow { sti: bit(1), mov_ss: bit(2) },
        nmi_blocked: bit(3),
        smm: bit(4),
        pending_debug: bit(5),
        held: bit(6),
        slot_busy: bit(7),
        activity: pick(&activities, activity),
    }
}

impl Rig {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Exception { vector, code, payload } => {
                if let Some(exception) = exception(*vector, *code, payload.map(|num| num.0)) {
                    self.events.queue_exception(exception);
                }
            }
            Op::Nmi => self.ledger.nmis += i64::from(self.events.queue_nmi()),
            Op::Smi => drop(self.events.queue_smi()),
            Op::Init => self.events.queue_init(),
            Op::Sipi { page } => self.events.queue_sipi(*page),
            Op::TripleFault => self.events.queue_triple_fault(),
            Op::Iret => self.events.iret(),
            Op::Rsm => self.events.rsm(),
            Op::Lapic { vector } => self.lapic.push(*vector),
            Op::Pic => self.pic = true,
            Op::Enter { cpu: bits, activity, outcome, fault } => {
                self.enter(&cpu(*bits, *activity), *outcome, *fault);
            }
            Op::Interrupted { kind, vector, length } => self.interrupted(*kind, *vector, *length),
            Op::SaveRestore => self.events = self.restored(),
            Op::Restore { flags, sipi, nmis, exception, interrupt } => {
                self.restore(*flags, *sipi, *nmis, *exception, *interrupt);
            }
            Op::DecodeVmx { info, code, length } => decode_vmx(*info, *code, length.0 as u32),
            Op::DecodeSvm { field } => decode_svm(*field),
            Op::DecodeState { interruptibility, rflags, activity } => {
                let activity = vcpu_events::vmx::activity(*activity).unwrap_or_default();
                let cpu = GuestInterruptibility::from_bits(*interruptibility).interruptibility(
                    rflags.0,
                    activity,
                    rflags.0 & 1 != 0,
                );
                assert!(!cpu.interrupt_allowed() || rflags.0 & 1 << 9 != 0);
                let _ = svm::interruptibility(
                    rflags.0 & 1 != 0,
                    rflags.0,
                    activity == Activity::Active,
                );
                self.decide(&cpu);
            }
            Op::Queue { vector, refused } => self.queue(*vector, *refused),
            Op::Ran { ready, flag } => {
                self.slot.ran(&RunOut {
                    ready_for_interrupt_injection: *ready,
                    if_flag: *flag,
                    cr8: 0,
                });
                self.slot_model.0 = self.slot_model.0.filter(|_| !ready);
                self.slot_model.1 = *ready;
            }
            Op::Invalidate => {
                self.slot.invalidate();
                self.slot_model = (None, false);
            }
            mailbox => self.mailbox(mailbox),
        }
    }

    /// One entry: decide, hand over, and what the processor makes of it.
    fn enter(&mut self, cpu: &Interruptibility, outcome: u8, fault: u8) {
        let Some(injection) = self.decide(cpu) else { return };
        if outcome % 4 == 0 {
            return; // The backend refused: nothing was committed, so nothing may be lost.
        }
        let before = self.events;
        self.events.commit(injection);
        let event = self.acknowledge(&injection, &before);
        let (Some(event), true) = (event, outcome % 4 >= 2) else { return };
        // Not delivered after all: the entry failed, or an exit cut the delivery short.
        if event == Event::Nmi {
            self.ledger.nmis += 1;
        }
        self.events.interrupted(event);
        assert!(self.events.needs_reinjection());
        if outcome % 4 == 3 {
            if let Some(fault) = exception(fault, None, None) {
                self.events.fault_in_delivery(fault);
            }
        }
        self.check_again(event);
    }

    /// The controller's part, after the backend took it. Returns the event with its vector.
    fn acknowledge(&mut self, injection: &Injection, before: &Events) -> Option<Event> {
        match injection {
            Injection::ExtInt => {
                assert!(std::mem::take(&mut self.pic));
                return Some(Event::Interrupt(0x20));
            }
            Injection::Interrupt(vector) => {
                assert_eq!(self.lapic.first(), Some(vector));
                self.lapic.remove(0);
            }
            Injection::Nmi | Injection::Reinject(Event::Nmi) => self.ledger.nmis -= 1,
            Injection::Init => {
                let sipi = before.state().sipi;
                let left = EventsState { sipi, ..EventsState::default() };
                assert_eq!(self.events.state(), left, "INIT leaves what followed it");
                self.ledger.nmis = 0;
            }
            _ => {}
        }
        injection.event()
    }

    /// What was acknowledged and not delivered is still there.
    fn check_again(&self, event: Event) {
        let state = self.events.state();
        match event {
            Event::Interrupt(vector) => {
                let kept = Some(InterruptState { vector, software: None });
                assert_eq!(state.interrupt, kept, "an acknowledged interrupt is lost");
            }
            Event::Nmi => assert!(state.nmi_injected, "an NMI is lost"),
            Event::Exception(_) => assert!(state.exception.is_some() || state.triple_fault),
            Event::SoftwareInterrupt(_) => {}
        }
    }

    /// The processor was delivering something of its own, if nothing else was on its way.
    fn interrupted(&mut self, kind: u8, vector: u8, length: u8) {
        let Some(event) = event(kind, vector, length) else { return };
        if self.events.needs_reinjection() {
            return;
        }
        if event == Event::Nmi {
            let pending = i64::from(self.events.pending_nmis());
            self.ledger.nmis += 1 - (pending - pending.min(1));
        }
        self.events.interrupted(event);
        self.check_again(event);
    }

    fn restore(
        &mut self,
        flags: u8,
        sipi: Option<u8>,
        nmis: u8,
        exception: [u8; 4],
        interrupt: Option<u8>,
    ) {
        let flag = |bit: u8| flags >> bit & 1 != 0;
        let [vector, code, origin, injected] = exception;
        let length = code;
        let origins =
            [Origin::Hardware, Origin::Software { length }, Origin::PrivilegedSoftware { length }];
        let state = EventsState {
            triple_fault: flag(0),
            init: flag(1),
            sipi,
            exception: (injected & 2 != 0).then_some(ExceptionState {
                vector,
                error_code: (code & 0x80 != 0).then_some(code.into()),
                payload: (injected & 4 != 0).then_some(u64::from(vector) << 32),
                origin: pick(&origins, origin),
                injected: injected & 1 != 0,
            }),
            interrupt: interrupt.map(|vector| InterruptState {
                vector,
                software: flag(7).then_some(vector & 0x1f),
            }),
            nmi_injected: flag(2),
            nmi_pending: nmis,
            nmi_masked: flag(3),
            smi_pending: flag(4),
            smm: flag(5),
            smm_inside_nmi: flag(6),
        };
        if let Ok(events) = Events::from_state(&state, self.tracking) {
            assert_eq!(events.state(), state, "save, restore, save");
            self.events = events;
            self.ledger.nmis = i64::from(nmis) + i64::from(state.nmi_injected);
        }
    }

    /// Decides and checks the decision against what waits and what is let through.
    fn decide(&self, cpu: &Interruptibility) -> Option<Injection> {
        let (events, lapic) = (self.events, self.lapic.first().copied());
        let decision = events.decide(cpu, self.pic, lapic);
        assert_eq!(events.decide(cpu, self.pic, lapic), decision, "a decision changes nothing");
        let state = events.state();
        let again = events.needs_reinjection();
        let smm = cpu.smm || state.smm;
        let nmi_blocked = cpu.nmi_blocked || state.nmi_masked;
        match decision.inject {
            Some(Injection::Interrupt(vector)) => {
                assert_eq!(Some(vector), lapic);
                assert!(cpu.interrupt_allowed() && !self.pic && !again);
                assert!(state.exception.is_none());
            }
            Some(Injection::ExtInt) => {
                assert!(cpu.interrupt_allowed() && self.pic && !again);
                assert!(state.exception.is_none());
            }
            Some(Injection::Nmi) => {
                assert!(state.nmi_pending > 0 && !nmi_blocked && !smm && cpu.nmi_allowed());
                assert!(!state.nmi_injected && state.exception.is_none());
            }
            Some(Injection::Smi) => {
                assert!(state.smi_pending && !smm && state.exception.is_none());
            }
            Some(Injection::Exception(exception)) => {
                let queued = state.exception.filter(|queued| !queued.injected);
                assert_eq!(queued.map(|queued| queued.vector), Some(exception.vector()));
            }
            Some(Injection::Reinject(_)) => assert!(again),
            Some(Injection::Init) => assert!(state.init && !smm),
            Some(Injection::StartUp(page)) => {
                assert_eq!(state.sipi, Some(page));
                assert_eq!(cpu.activity, Activity::WaitForSipi);
            }
            Some(Injection::TripleFault) => assert!(state.triple_fault),
            None => {}
        }
        self.check_windows(cpu, &decision);
        if let Some(event) = decision.inject.and_then(|injection| injection.event()) {
            round_trip(event);
        }
        decision.inject
    }

    /// Whatever is left gets its window, and no window is asked for without a reason.
    fn check_windows(&self, cpu: &Interruptibility, decision: &vcpu_events::Decision) {
        let state = self.events.state();
        if cpu.activity == Activity::WaitForSipi {
            assert!(!decision.window.any());
            return;
        }
        let external = state.interrupt.is_some_and(|interrupt| interrupt.software.is_none());
        let waiting = u8::from(external) + u8::from(self.pic) + u8::from(!self.lapic.is_empty());
        let taken = match decision.inject {
            Some(Injection::ExtInt | Injection::Interrupt(_)) => 1,
            Some(Injection::Reinject(Event::Interrupt(_))) => 1,
            _ => 0,
        };
        assert_eq!(decision.window.interrupt, waiting > taken, "interrupt window");
        let nmis = state.nmi_pending + u8::from(state.nmi_injected);
        let taken = match decision.inject {
            Some(Injection::Nmi | Injection::Reinject(Event::Nmi)) => 1,
            _ => 0,
        };
        assert_eq!(decision.window.nmi, nmis > taken, "NMI window");
    }

    fn restored(&self) -> Events {
        Events::from_state(&self.events.state(), self.tracking).expect("reachable")
    }

    fn check(&self) {
        assert_eq!(self.restored(), self.events, "save, restore, save");
        let state = self.events.state();
        let nmis = i64::from(state.nmi_pending) + i64::from(state.nmi_injected);
        assert_eq!(nmis, self.ledger.nmis, "an NMI is lost or doubled");
        assert!(nmis <= 2);
        self.check_mailbox();
        assert_eq!(self.slot.queued(), self.slot_model.0);
    }

    /// With nothing in the way everything comes out, once.
    fn finish(&mut self) {
        let mut rounds = self.lapic.len() + 12;
        loop {
            // The handlers end: also one inside SMM inside an NMI's.
            self.events.iret();
            self.events.rsm();
            self.events.iret();
            let state = self.events.state();
            let activity = match state.sipi {
                Some(_) if !state.init => Activity::WaitForSipi,
                _ => Activity::Active,
            };
            let cpu = Interruptibility { activity, ..Interruptibility::OPEN };
            if self.decide(&cpu).is_none() {
                break;
            }
            self.enter(&cpu, 1, 0);
            self.check();
            rounds = rounds.checked_sub(1).expect("the same injection over and over");
        }
        assert!(self.events.is_empty(), "{:?} is stranded", self.events.state());
        assert!(self.lapic.is_empty() && !self.pic, "the controllers still hold interrupts");
        assert_eq!(self.ledger, Ledger::default());
    }

    fn queue(&mut self, vector: u8, refused: bool) {
        let (queued, ready) = self.slot_model;
        let answer = self.slot.queue(vector, |_| if refused { Err(()) } else { Ok(()) });
        match (queued, ready, refused) {
            (Some(queued), ..) => assert_eq!(answer, Err(QueueError::Busy { queued })),
            (None, false, _) => assert_eq!(answer, Err(QueueError::NotReady)),
            (None, true, true) => assert_eq!(answer, Err(QueueError::Hypervisor(()))),
            (None, true, false) => {
                assert_eq!(answer, Ok(()));
                self.slot_model.0 = Some(vector);
            }
        }
        let busy = self.slot_model.0.is_some() || !ready;
        assert_eq!(self.slot.interruptibility().slot_busy, busy);
    }
}
