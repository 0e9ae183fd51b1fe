// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a vCPU's thread owns alone: its local APIC, its events, its counters.

use std::io;
use std::sync::Arc;

use lapic_emulation::{
    Config as LapicConfig, ConfigError, DestinationEntry, Ipi, Lapic, LapicEvents, Now, StartState,
};
use legacy_pic::Source;
use vcpu_events::{
    Activity, Decision, Events, Injection, InterruptSlot, Interruptibility, QueueError, RunOut,
    Tracking, Window,
};

use crate::backend::{GeneralProtection, Outcome, Vcpu};
use crate::devices::SharedClock;
use crate::interrupts::{Interrupts, IntrWay, VcpuPort};
use crate::stats::VcpuStats;
use crate::trace::{Injected, Origin, Trace};

/// The vector of an NMI.
const NMI_VECTOR: u8 = 2;

/// What one vCPU is made as.
pub struct LocalConfig {
    /// Index among the vCPUs; the first one is the bootstrap processor.
    pub cpu: usize,
    /// Its local APIC, if the machine has any.
    pub lapic: Option<LapicConfig>,
    /// What its timer runs on.
    pub clock: SharedClock,
    /// Who hears of the interrupts that it is given.
    pub trace: Option<Arc<Trace>>,
}

/// The thread's own state.
pub struct Local {
    cpu: usize,
    clock: SharedClock,
    trace: Option<Arc<Trace>>,
    lapic: Option<Lapic>,
    events: Events,
    slot: InterruptSlot,
    halted: bool,
    /// As the backend told at the last exit, if it does.
    nmi_blocked: bool,
    smi_seen: bool,
    window_asked: bool,
    /// An ExtINT message (virtual wire through the IOAPIC) waits.
    extint_message: bool,
    /// How INTR gets here, as the chipset knows it.
    intr_way: IntrWay,
    tsc: TscAnchor,
    /// IA32_APIC_BASE as the backend knows it.
    known_base: Option<u64>,
    /// What the thread counts.
    pub stats: VcpuStats,
}

/// The guest's TSC at a known time; between anchors it is computed.
#[derive(Clone, Copy, Default)]
struct TscAnchor {
    at: Now,
    hz: u64,
}

impl TscAnchor {
    fn now(&self, ns: u64) -> Now {
        let elapsed = u128::from(ns.saturating_sub(self.at.ns));
        let ticks = elapsed * u128::from(self.hz) / 1_000_000_000;
        Now { ns, tsc: self.at.tsc.wrapping_add(ticks as u64) }
    }

    /// Whether the guest has written its TSC: what was `read` right after `computed.ns` is another
    /// one than the time in between explains.
    fn jumped(&self, computed: Now, read: u64) -> bool {
        read.abs_diff(computed.tsc) > self.hz / 100_000
    }

    /// Which TSC to believe at `computed.ns`: the one that was `read`, or the computed one?
    ///
    /// Where the host's TSC is unstable KVM holds a vCPU's TSC while it is out of the guest, and
    /// lets it catch up at the next entry. A deadline judged by such a reading would never come.
    /// So a reading that is behind by more than clocks drift is not believed, nor is one that has
    /// not gone on since the anchor: a short wait is within the slack as a whole.
    fn believe(&mut self, computed: Now, read: u64) -> Now {
        const DRIFT_SHIFT: u32 = 13; // 122 ppm
        let elapsed = computed.tsc.wrapping_sub(self.at.tsc);
        let slack = (elapsed >> DRIFT_SHIFT) + self.hz / 100_000;
        let behind = computed.tsc.saturating_sub(read);
        if behind > slack || behind > elapsed / 2 {
            return computed;
        }
        self.at = Now { ns: computed.ns, tsc: read };
        self.at
    }
}

impl Local {
    /// State after reset. The bootstrap processor's APIC is in virtual wire mode, as firmware
    /// would leave it.
    ///
    /// # Errors
    /// [`ConfigError`] of the local APIC.
    pub fn new(config: LocalConfig) -> Result<Self, ConfigError> {
        let mut lapic = config.lapic.map(Lapic::new).transpose()?;
        if let Some(lapic) = lapic.as_mut().filter(|lapic| lapic.is_bsp()) {
            lapic.set_virtual_wire();
        }
        Ok(Local {
            cpu: config.cpu,
            clock: config.clock,
            trace: config.trace,
            tsc: TscAnchor {
                at: Now::default(),
                hz: lapic.as_ref().map_or(0, |lapic| lapic.config().tsc_hz),
            },
            lapic,
            events: Events::new(Tracking::Backend),
            slot: InterruptSlot::new(),
            halted: false,
            nmi_blocked: false,
            smi_seen: false,
            window_asked: false,
            extint_message: false,
            intr_way: IntrWay::Closed,
            known_base: None,
            stats: VcpuStats::default(),
        })
    }

    /// Index among the vCPUs.
    pub fn cpu(&self) -> usize {
        self.cpu
    }

    /// CR8 for the next entry.
    pub fn cr8(&self) -> u8 {
        self.lapic.as_ref().map_or(0, Lapic::cr8)
    }

    /// What the vCPU is doing.
    pub fn activity(&self) -> Activity {
        match &self.lapic {
            Some(lapic) if lapic.start_state() == StartState::WaitForSipi => Activity::WaitForSipi,
            _ if self.halted => Activity::Halted,
            _ => Activity::Active,
        }
    }

    /// HLT ends although nothing can be injected yet: an interrupt waits, and only running on
    /// brings the window in which the backend takes it.
    pub fn resume_for(&mut self, window: Window) {
        if window.interrupt && self.slot.interruptibility().interrupt_flag {
            self.halted = false;
        }
    }

    /// Counts a window when it is asked for, not again at each entry until it opens.
    pub fn count_window(&mut self, window: Window) {
        self.stats.windows += u64::from(window.interrupt && !self.window_asked);
        self.window_asked = window.interrupt;
    }

    /// The guest executed HLT.
    pub fn halt(&mut self) {
        self.halted = true;
        self.stats.halts += 1;
    }

    /// When this vCPU's timer is due, in ns.
    pub fn next_deadline(&self) -> Option<u64> {
        self.lapic.as_ref()?.next_deadline()
    }

    /// Takes in what was posted and what the timer did; INIT and SIPI act at once.
    pub fn collect(
        &mut self,
        backend: &mut impl Vcpu,
        interrupts: &Interrupts,
        port: &VcpuPort,
    ) -> io::Result<()> {
        self.run_timer(backend);
        let Some(lapic) = &mut self.lapic else { return Ok(()) };
        let synced = lapic.sync(&port.posted);
        self.extint_message = synced.extint;
        for _ in 0..synced.nmi {
            self.events.queue_nmi();
        }
        if synced.smi && !std::mem::replace(&mut self.smi_seen, true) {
            // Once: a guest may send as many as it likes.
            log::warn!("vCPU {}: SMIs are dropped: there is no SMM here", self.cpu);
        }
        let now = self.clock.now();
        let events = &mut Outbox { cpu: self.cpu, interrupts, now, map_changed: false };
        if lapic.take_init(events) {
            self.events.reset();
            self.slot.invalidate();
            self.halted = false;
            backend.init()?;
        }
        if let Some(page) = lapic.take_sipi() {
            self.slot.invalidate();
            self.halted = false;
            backend.start_up(page)?;
        }
        events.update_map(lapic);
        Ok(())
    }

    /// A TSC deadline's nanoseconds are an estimate: ask for the real TSC before judging. The
    /// other modes need none, and no call to the backend.
    ///
    /// The guest may have written its TSC since. A backend whose TSC is exact is asked at each
    /// entry, so that the deadline moves with it, though no sooner than at the next exit: on the
    /// software CPU such a write is none. On KVM a deadline that is armed stays where it is.
    fn run_timer(&mut self, backend: &impl Vcpu) {
        let Some(lapic) = &mut self.lapic else { return };
        let Some(deadline) = lapic.next_deadline() else { return };
        let ns = self.clock.now();
        let (due, exact) = (deadline <= ns, backend.tsc_is_exact());
        if !due && !exact {
            return;
        }
        let mut now = self.tsc.now(ns);
        if lapic.msr_read(super::IA32_TSC_DEADLINE, now).is_ok_and(|tsc| tsc != 0) {
            let read = backend.tsc();
            if !exact {
                now = self.tsc.believe(now, read);
            } else if due || self.tsc.jumped(now, read) {
                now.tsc = read;
                self.tsc.at = now;
                lapic.tsc_changed(now);
            }
        }
        lapic.advance(now);
    }

    /// Reads the TSC from the backend; from here on it is computed. Right after an exit, when no
    /// hypervisor can have held it.
    pub fn anchor_tsc(&mut self, backend: &impl Vcpu) {
        self.tsc.at = Now { ns: self.clock.now(), tsc: backend.tsc() };
    }

    /// The time, and the TSC that is computed for it.
    fn now(&self) -> Now {
        self.tsc.now(self.clock.now())
    }

    /// What to inject next.
    pub fn decide(&self, interrupts: &Interrupts) -> Decision {
        let cpu = Interruptibility { activity: self.activity(), ..self.slot.interruptibility() };
        let extint = self.extint_message || interrupts.intr(self.cpu);
        self.events.decide(&cpu, extint, self.lapic.as_ref().and_then(Lapic::pending))
    }

    /// Queues the local APIC's vector, then moves it from IRR to ISR.
    pub fn inject_interrupt(&mut self, vector: u8, backend: &mut impl Vcpu) -> io::Result<()> {
        let queued = self.slot.queue(vector, |vector| backend.inject_interrupt(vector));
        took(queued)?;
        if let Some(lapic) = &mut self.lapic {
            lapic.accept(vector);
        }
        self.injected(vector, Origin::Lapic);
        Ok(())
    }

    /// Runs the acknowledge cycle of the 8259A pair and queues its vector.
    ///
    /// The decision has just found the slot free, and this thread alone fills it, so that after
    /// INTA only the kernel itself could refuse: that ends the machine, nothing is lost silently.
    pub fn inject_extint(
        &mut self,
        interrupts: &Interrupts,
        backend: &mut impl Vcpu,
    ) -> io::Result<()> {
        let acknowledge = interrupts.inta();
        if let Some(lapic) = &mut self.lapic {
            lapic.accept_extint();
        }
        self.extint_message = false;
        let Some(acknowledge) = acknowledge else { return Ok(()) };
        took(self.slot.queue(acknowledge.vector, |vector| backend.inject_interrupt(vector)))?;
        self.stats.spurious += u64::from(matches!(acknowledge.source, Source::Spurious(_)));
        self.injected(acknowledge.vector, Origin::ExtInt);
        Ok(())
    }

    /// The backend took the NMI. It ends HLT, unless it has to wait for IRET.
    pub fn commit_nmi(&mut self, injection: Injection) {
        self.events.commit(injection);
        self.halted &= self.nmi_blocked;
        self.stats.nmi += 1;
        self.trace(NMI_VECTOR, Origin::Nmi);
    }

    fn injected(&mut self, vector: u8, origin: Origin) {
        self.halted = false;
        self.stats.injected[usize::from(vector)] += 1;
        self.trace(vector, origin);
    }

    fn trace(&self, vector: u8, origin: Origin) {
        if let Some(trace) = &self.trace {
            let (time, cpu) = (self.clock.now(), self.cpu as u32);
            trace.record(&Injected { time, cpu, vector, origin });
        }
    }

    /// Takes over what the guest changed while it ran, before the exit itself is served: a write
    /// to TPR comes after what CR8 said until then.
    pub fn ran(&mut self, outcome: &Outcome) {
        self.nmi_blocked = outcome.nmi_blocked;
        self.slot.ran(&RunOut {
            ready_for_interrupt_injection: outcome.window_open,
            if_flag: outcome.interrupt_flag,
            cr8: outcome.cr8,
        });
        if let Some(lapic) = self.lapic.as_mut().filter(|lapic| lapic.cr8() != outcome.cr8) {
            lapic.set_cr8(outcome.cr8);
        }
    }

    /// A read of the register page; `false` if the address is not in it.
    pub fn mmio_read(&mut self, address: u64, data: &mut [u8]) -> bool {
        let now = self.now();
        let Some((lapic, offset)) = page(&mut self.lapic, address) else { return false };
        lapic.mmio_read(offset, data, now);
        true
    }

    /// A write to the register page; `false` if the address is not in it.
    pub fn mmio_write(&mut self, address: u64, data: &[u8], interrupts: &Interrupts) -> bool {
        let now = self.now();
        let cpu = self.cpu;
        let Some((lapic, offset)) = page(&mut self.lapic, address) else { return false };
        let in_service = highest(&lapic.isr());
        let mut events = Outbox { cpu, interrupts, now: now.ns, map_changed: false };
        lapic.mmio_write(offset, data, now, &mut events);
        events.update_map(lapic);
        count_eoi(&mut self.stats, in_service, highest(&lapic.isr()));
        true
    }

    /// RDMSR of a register that the VMM owns.
    pub fn read_msr(&mut self, index: u32) -> Result<u64, GeneralProtection> {
        let now = self.now();
        let lapic = self.lapic.as_mut().ok_or(GeneralProtection)?;
        lapic.msr_read(index, now).map_err(|_| GeneralProtection)
    }

    /// WRMSR of a register that the VMM owns.
    pub fn write_msr(
        &mut self,
        index: u32,
        value: u64,
        interrupts: &Interrupts,
    ) -> Result<(), GeneralProtection> {
        let now = self.now();
        let lapic = self.lapic.as_mut().ok_or(GeneralProtection)?;
        let in_service = highest(&lapic.isr());
        let mut events = Outbox { cpu: self.cpu, interrupts, now: now.ns, map_changed: false };
        let result = lapic.msr_write(index, value, now, &mut events);
        events.update_map(lapic);
        count_eoi(&mut self.stats, in_service, highest(&lapic.isr()));
        result.map_err(|_| GeneralProtection)
    }

    /// IA32_APIC_BASE, if the backend has not heard of it.
    pub fn take_changed_base(&mut self) -> Option<u64> {
        let base = self.lapic.as_ref().map_or(0, Lapic::apic_base);
        let changed = self.known_base != Some(base);
        self.known_base = Some(base);
        changed.then_some(base)
    }

    /// The local APIC's place in the destination map.
    pub fn destination_entry(&self) -> Option<DestinationEntry> {
        self.lapic.as_ref().map(Lapic::destination_entry)
    }

    /// Tells the chipset how INTR gets here, if that changed.
    pub fn publish(&mut self, interrupts: &Interrupts) {
        let way = match &self.lapic {
            None => IntrWay::Direct,
            Some(lapic) if lapic.lint0_is_extint() => IntrWay::Lint0,
            // A PC's INTR leads to the boot processor (MultiProcessor Specification, "PIC Mode").
            Some(lapic) if !lapic.apic_enabled() && self.cpu == 0 => IntrWay::Direct,
            Some(_) => IntrWay::Closed,
        };
        if std::mem::replace(&mut self.intr_way, way) != way {
            interrupts.set_intr_way(self.cpu, way);
        }
    }

    /// The counters, at the end.
    pub fn into_stats(self, backend: &impl Vcpu) -> VcpuStats {
        VcpuStats { instructions: backend.instructions(), ..self.stats }
    }
}

/// The local APIC and the offset into its register page.
fn page(lapic: &mut Option<Lapic>, address: u64) -> Option<(&mut Lapic, u64)> {
    let lapic = lapic.as_mut()?;
    let offset = address.checked_sub(lapic.mmio_base()?)?;
    (offset < 0x1000).then_some((lapic, offset))
}

fn took(queued: Result<(), QueueError<io::Error>>) -> io::Result<()> {
    match queued {
        Ok(()) => Ok(()),
        Err(QueueError::Hypervisor(error)) => Err(error),
        Err(other) => Err(io::Error::other(other.to_string())),
    }
}

fn highest(vectors: &[u64; 4]) -> Option<u8> {
    let word = vectors.iter().rposition(|word| *word != 0)?;
    Some((word * 64) as u8 + (63 - vectors[word].leading_zeros() as u8))
}

/// A write that took the highest in-service vector away was an EOI.
fn count_eoi(stats: &mut VcpuStats, before: Option<u8>, after: Option<u8>) {
    if let Some(vector) = before.filter(|_| after != before) {
        stats.eoi[usize::from(vector)] += 1;
    }
}

/// Where the local APIC's effects go.
struct Outbox<'a> {
    cpu: usize,
    interrupts: &'a Interrupts,
    /// In ns.
    now: u64,
    map_changed: bool,
}

impl Outbox<'_> {
    fn update_map(&mut self, lapic: &Lapic) {
        if std::mem::take(&mut self.map_changed) {
            self.interrupts.update_map(self.cpu, lapic.destination_entry());
        }
    }
}

impl LapicEvents for Outbox<'_> {
    fn ipi(&mut self, ipi: Ipi) {
        let _ = self.interrupts.vcpus().send_ipi(self.cpu, &ipi);
    }

    fn eoi_broadcast(&mut self, vector: u8) {
        self.interrupts.eoi(vector, self.now);
    }

    fn map_changed(&mut self) {
        self.map_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 2_000_000_000;
    const MS: u64 = 1_000_000;

    fn anchored() -> TscAnchor {
        TscAnchor { at: Now { ns: 5 * MS, tsc: 1_000 }, hz: HZ }
    }

    #[test]
    fn lap_7_between_anchors_the_tsc_is_computed() {
        assert_eq!(anchored().now(6 * MS), Now { ns: 6 * MS, tsc: 2_001_000 });
        assert_eq!(anchored().now(0).tsc, 1_000, "a clock that goes back stands still");
    }

    #[test]
    fn lap_7_a_tsc_that_drifts_is_believed() {
        let mut tsc = anchored();
        let computed = tsc.now(1_005 * MS);
        let early = computed.tsc - 100;
        assert_eq!(tsc.believe(computed, early).tsc, early);
        assert_eq!(tsc.at, Now { ns: 1_005 * MS, tsc: early });
    }

    #[test]
    fn lap_7_a_tsc_that_was_held_is_not_believed() {
        let mut tsc = anchored();
        let computed = tsc.now(6 * MS);
        assert_eq!(tsc.believe(computed, 1_000), computed);
        assert_eq!(tsc.at, anchored().at, "the anchor stays");
    }

    #[test]
    fn lap_7_a_tsc_that_is_held_during_a_short_wait_is_not_believed() {
        let mut tsc = anchored();
        let computed = tsc.now(5 * MS + 4_000);
        assert_eq!(tsc.believe(computed, 1_100), computed, "or the deadline would move for ever");
    }
}
