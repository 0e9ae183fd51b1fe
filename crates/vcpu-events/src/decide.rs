// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What comes next: one event at most, in a fixed order, and the windows to ask for.

use crate::event::Event;
use crate::events::{Events, Vectoring};
use crate::exception::Exception;
use crate::interruptibility::{Activity, Interruptibility};

/// What to do at this entry; in the order in which [`Events::decide`] chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Injection {
    /// Shut the vCPU down.
    TripleFault,
    /// Put the vCPU into its INIT state: an AP waits for a SIPI, the BSP starts.
    Init,
    /// Start in real-address mode at page n (address `n << 12`).
    StartUp(u8),
    /// Deliver again what was being delivered; nothing is acknowledged a second time.
    Reinject(Event),
    /// Deliver an exception; write its [`payload`](Exception::payload) to CR2 or DR6 and set
    /// RFLAGS through [`saved_rflags`](Exception::saved_rflags) first.
    Exception(Exception),
    /// Enter SMM.
    Smi,
    /// Deliver an NMI.
    Nmi,
    /// Deliver the PIC's interrupt; its INTA cycle tells the vector.
    ExtInt,
    /// Deliver the LAPIC's vector.
    Interrupt(u8),
}

impl Injection {
    /// The event to encode for VMX or SVM. `None` where none is injected (triple fault, INIT,
    /// SIPI, SMI) and for [`ExtInt`](Self::ExtInt), which becomes [`Event::Interrupt`] with the
    /// vector from the PIC.
    pub const fn event(&self) -> Option<Event> {
        match *self {
            Injection::Reinject(event) => Some(event),
            Injection::Exception(exception) => Some(Event::Exception(exception)),
            Injection::Nmi => Some(Event::Nmi),
            Injection::Interrupt(vector) => Some(Event::Interrupt(vector)),
            _ => None,
        }
    }
}

/// Exits to ask for, so that what remains is looked at as soon as it can be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// As soon as a maskable interrupt gets through (VMX interrupt-window exiting, SVM VINTR
    /// intercept, KVM's `request_interrupt_window`).
    pub interrupt: bool,
    /// As soon as an NMI gets through (VMX NMI-window exiting, SVM IRET intercept).
    pub nmi: bool,
}

impl Window {
    /// Ask for nothing.
    pub const NONE: Self = Window { interrupt: false, nmi: false };

    /// Whether any exit is asked for.
    pub const fn any(self) -> bool {
        self.interrupt || self.nmi
    }
}

/// What to inject now and which windows to open for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use]
pub struct Decision {
    /// At most one event per entry.
    pub inject: Option<Injection>,
    /// What cannot be injected together with it.
    pub window: Window,
}

impl Events {
    /// Chooses the next event. Changes nothing: hand it to the backend, and
    /// [`commit`](Self::commit) once that took it.
    ///
    /// The order: triple fault, INIT, SIPI; what was being delivered (exception, NMI,
    /// interrupt); exception, SMI, NMI, ExtINT (`extint`: the PIC's INTR reaches this CPU), LAPIC
    /// (`lapic`: its highest deliverable vector). What the processor does not let through is
    /// passed over, and its window asked for; SMM's end needs none, for RSM is seen anyway.
    pub fn decide(&self, cpu: &Interruptibility, extint: bool, lapic: Option<u8>) -> Decision {
        let cpu = self.with_tracked(cpu);
        let inject = self.next(&cpu, extint, lapic);
        let window = match cpu.activity {
            Activity::WaitForSipi => Window::NONE,
            _ => self.window(inject, extint, lapic.is_some()),
        };
        Decision { inject, window }
    }

    fn with_tracked(&self, cpu: &Interruptibility) -> Interruptibility {
        Interruptibility {
            nmi_blocked: cpu.nmi_blocked || self.nmi.masked,
            smm: cpu.smm || self.smi.smm,
            ..*cpu
        }
    }

    fn next(&self, cpu: &Interruptibility, extint: bool, lapic: Option<u8>) -> Option<Injection> {
        let state_change = self.state_change(cpu);
        if state_change.is_some() || cpu.activity == Activity::WaitForSipi {
            return state_change;
        }
        self.again(cpu)
            .or_else(|| self.own(cpu))
            .or_else(|| maskable(extint, lapic).filter(|_| cpu.interrupt_allowed()))
    }

    fn state_change(&self, cpu: &Interruptibility) -> Option<Injection> {
        if self.triple_fault {
            return Some(Injection::TripleFault);
        }
        if self.init && cpu.init_allowed() {
            return Some(Injection::Init);
        }
        self.sipi.filter(|_| cpu.sipi_allowed()).map(Injection::StartUp)
    }

    /// What was being delivered, as far as a VM entry accepts it.
    fn again(&self, cpu: &Interruptibility) -> Option<Injection> {
        self.exception_again()
            .or_else(|| self.nmi_again(cpu))
            .or_else(|| self.interrupt_again(cpu))
            .map(Injection::Reinject)
    }

    fn exception_again(&self) -> Option<Event> {
        self.exception.filter(|slot| slot.injected).map(|slot| Event::Exception(slot.exception))
    }

    /// The NMI whose delivery was cut short may have left its own blocking behind, so only the
    /// shadows count.
    fn nmi_again(&self, cpu: &Interruptibility) -> Option<Event> {
        (self.nmi.injected && !cpu.shadow.any()).then_some(Event::Nmi)
    }

    /// An external interrupt needs RFLAGS.IF and no shadow, or the entry fails (SDM vol. 3,
    /// "Checks on Guest RIP, RFLAGS, and SSP").
    fn interrupt_again(&self, cpu: &Interruptibility) -> Option<Event> {
        match self.interrupt? {
            Vectoring::External(vector) => {
                (cpu.interrupt_flag && !cpu.shadow.any()).then_some(Event::Interrupt(vector))
            }
            Vectoring::Software(interrupt) => Some(Event::SoftwareInterrupt(interrupt)),
        }
    }

    fn own(&self, cpu: &Interruptibility) -> Option<Injection> {
        if let Some(slot) = self.exception {
            return Some(Injection::Exception(slot.exception));
        }
        if self.smi.pending && cpu.smi_allowed() {
            return Some(Injection::Smi);
        }
        (self.nmi.pending > 0 && cpu.nmi_allowed()).then_some(Injection::Nmi)
    }

    fn window(&self, taken: Option<Injection>, extint: bool, lapic: bool) -> Window {
        let nmis = u32::from(self.nmi.pending) + u32::from(self.nmi.injected);
        let external = matches!(self.interrupt, Some(Vectoring::External(_)));
        let interrupts = u32::from(external) + u32::from(extint) + u32::from(lapic);
        let took_nmi = matches!(taken, Some(Injection::Nmi | Injection::Reinject(Event::Nmi)));
        let took_interrupt = matches!(
            taken,
            Some(
                Injection::ExtInt
                    | Injection::Interrupt(_)
                    | Injection::Reinject(Event::Interrupt(_))
            )
        );
        Window {
            interrupt: interrupts > u32::from(took_interrupt),
            nmi: nmis > u32::from(took_nmi),
        }
    }
}

fn maskable(extint: bool, lapic: Option<u8>) -> Option<Injection> {
    match extint {
        true => Some(Injection::ExtInt),
        false => lapic.map(Injection::Interrupt),
    }
}
