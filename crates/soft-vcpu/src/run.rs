// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The loop: events at instruction boundaries, blocks in between.

use vcpu_events::{Activity, Event, Exception, Interruptibility, Merged, Shadow, Window};

use crate::cpu::{Cause, Cpu};
use crate::exit::Exit;
use crate::flags::bit;
use crate::io::Request;
use crate::op::{Flow, Op, Trap};
use crate::spec::dr;
use crate::vcpu::Vcpu;

/// Exceptions on top of each other come to an end (#DF, then shutdown) long before this.
const MAX_NESTED: u32 = 8;

/// What follows from looking around at a boundary.
enum Next {
    /// The VMM is needed.
    Exit(Exit),
    /// An event was delivered: the boundary before its handler's first instruction.
    Boundary,
    /// An instruction.
    Instruction,
}

impl From<Option<Exit>> for Next {
    /// From what [`Vcpu::deliver`] gives.
    fn from(exit: Option<Exit>) -> Self {
        exit.map_or(Next::Boundary, Next::Exit)
    }
}

impl Vcpu {
    /// Runs until something needs the VMM.
    pub(crate) fn run_inside(&mut self, budget: u64) -> Exit {
        if budget == 0 {
            return self.end_access();
        }
        let limit = self.cpu.executed.saturating_add(budget);
        loop {
            match self.boundary(limit) {
                Next::Exit(exit) => return exit,
                Next::Boundary => continue,
                Next::Instruction => {}
            }
            let result = match self.cpu.must_be_careful() {
                true => self.step(),
                false => self.run_blocks(limit),
            };
            if let Err(Trap) = result {
                if let Some(exit) = self.serve_trap() {
                    return exit;
                }
            }
        }
    }

    /// Everything that may happen between two instructions, in order of priority (SDM vol. 3,
    /// table "Priority Among Concurrent Events").
    fn boundary(&mut self, limit: u64) -> Next {
        self.cpu.refresh();
        self.attend();
        if self.member.take_kick() {
            return Next::Exit(Exit::Kicked);
        }
        if self.cpu.io.is_active() {
            return self.resume_io();
        }
        if let Some(event) = self.cpu.injected.take() {
            return self.deliver(event).into();
        }
        if self.cpu.pending_debug != 0 && !self.cpu.shadow.mov_ss {
            // A delivery that meets a breakpoint of its own comes here again without end.
            if self.cpu.executed > limit {
                return Next::Exit(Exit::Budget);
            }
            let causes = std::mem::take(&mut self.cpu.pending_debug);
            return self.raise(Exception::db(causes)).into();
        }
        if let Some(event) = self.cpu.deliverable() {
            self.cpu.waiting = None;
            return self.deliver(event).into();
        }
        if let Some(exit) = self.cpu.open_window() {
            return Next::Exit(exit);
        }
        match self.cpu.executed >= limit {
            true => Next::Exit(Exit::Budget),
            false => Next::Instruction,
        }
    }

    /// An access was answered. Its instruction is executed again, whatever the budget is; an event
    /// whose delivery made it comes again only if the VMM injected that very event again.
    fn resume_io(&mut self) -> Next {
        self.cpu.io.restart();
        let Some(event) = self.delivery_asked.take() else { return Next::Instruction };
        let slot = self.cpu.slot(&event);
        if *slot == Some(event) {
            *slot = None;
            return self.deliver(event).into();
        }
        self.cpu.io.clear();
        Next::Boundary
    }

    /// Ends what the last exit interrupted, without anything else that may happen at a boundary.
    fn end_access(&mut self) -> Exit {
        self.cpu.refresh();
        self.attend();
        if self.cpu.io.is_active() {
            match self.resume_io() {
                Next::Exit(exit) => return exit,
                Next::Boundary => {}
                Next::Instruction => {
                    if let Some(exit) = self.step().err().and_then(|Trap| self.serve_trap()) {
                        return exit;
                    }
                }
            }
        }
        Exit::Budget
    }

    /// Another vCPU wants this one's writes to code to be seen.
    pub(crate) fn attend(&mut self) {
        let cpu = &mut self.cpu;
        self.member.attend(|| cpu.tlb.forget_writes_to_code(&cpu.memory));
    }

    /// One instruction, with all that can depend on a single one.
    fn step(&mut self) -> Result<(), Trap> {
        let shadow = std::mem::replace(&mut self.cpu.shadow, Shadow::NONE);
        let trap_flag = self.cpu.flags.has(bit::TF);
        let debug = self.cpu.pending_debug;
        self.cpu.careful = true;
        let result = self.step_inside(shadow);
        self.cpu.careful = false;
        match result {
            Ok(flow) => {
                self.cpu.io.clear();
                if trap_flag && flow != Flow::FarFlags {
                    self.cpu.pending_debug |= dr::DR6_BS;
                }
            }
            Err(Trap) if self.cpu.trap.completes() => {
                self.cpu.io.clear();
                self.cpu.flags.put(bit::RF, false);
                if trap_flag {
                    self.cpu.pending_debug |= dr::DR6_BS;
                }
            }
            Err(Trap) => {
                self.cpu.pending_debug = debug;
                // If the VMM sees to it, it is executed again, under the same shadow.
                let seen_to = match &self.cpu.trap {
                    Cause::Io => true,
                    Cause::Exception(exception) => self.cpu.exits_for(exception),
                    _ => false,
                };
                if seen_to {
                    self.cpu.shadow = shadow;
                }
            }
        }
        result.map(|_| ())
    }

    fn step_inside(&mut self, shadow: Shadow) -> Result<Flow, Trap> {
        // Before anything that the fetch raises. None is met behind MOV SS (SDM vol. 3, "Masking
        // Exceptions and Interrupts When Switching Stacks").
        if !shadow.mov_ss {
            self.cpu.instruction_breakpoint()?;
        }
        let id = self.cache.find(&mut self.cpu, &self.member)?;
        let op = self.cache.block(id).ops[0];
        self.cpu.end_block();
        match (op.run)(&mut self.cpu, &op) {
            Ok(flow) => {
                self.cpu.executed += 1;
                if matches!(flow, Flow::Next | Flow::Sync) {
                    self.cpu.rip = op.next();
                }
                // RF holds for one instruction, but for one that has just set it.
                if !matches!(flow, Flow::Far | Flow::FarFlags) {
                    self.cpu.flags.put(bit::RF, false);
                }
                Ok(flow)
            }
            Err(Trap) => {
                self.cpu.stopped_at(&op);
                Err(Trap)
            }
        }
    }

    /// Blocks, one after the other, until something else is due.
    fn run_blocks(&mut self, limit: u64) -> Result<(), Trap> {
        let Vcpu { cpu, cache, member, .. } = self;
        let mut id = cache.find(cpu, member)?;
        loop {
            let mut block = cache.block(id);
            // Along links, which do not need RIP.
            let (flow, at) = loop {
                let (flow, at) = run_block(cpu, &block.ops, limit)?;
                cpu.executed += at as u64;
                if cpu.executed >= limit || member.wants_attention() {
                    cpu.leave(flow, block.ops.get(at - 1));
                    return Ok(());
                }
                let next = match flow.way() {
                    // Not at its end, if its own code was written.
                    Some(0) if at != block.ops.len() => None,
                    Some(way) => cache.follow(cpu, block, way),
                    None if flow == Flow::Jump => cache.find_quickly(cpu),
                    None => None,
                };
                match next {
                    Some(next) => (id, block) = next,
                    None => break (flow, at),
                }
            };
            cpu.leave(flow, block.ops.get(at - 1));
            id = match flow.way() {
                Some(way) if way == 1 || at == block.ops.len() => {
                    cache.find_and_link(cpu, member, id, way)?
                }
                _ => {
                    if is_synchronizing(flow) {
                        cpu.refresh();
                        if cpu.something_is_due() {
                            return Ok(());
                        }
                    }
                    match cache.find_quickly(cpu) {
                        Some((found, _)) => found,
                        None => cache.find(cpu, member)?,
                    }
                }
            };
        }
    }

    /// An instruction did not complete, or its completion is somebody else's business.
    fn serve_trap(&mut self) -> Option<Exit> {
        match std::mem::take(&mut self.cpu.trap) {
            Cause::None => None,
            Cause::Exception(exception) => {
                self.cpu.io.clear();
                self.raise(exception)
            }
            Cause::Deliver(event) => {
                self.cpu.io.clear();
                self.deliver(event)
            }
            Cause::Io => self.cpu.io.asked().map(exit_for),
            // An event that gets through behind it ends it at once.
            Cause::Halt => self.cpu.deliverable().is_none().then_some(Exit::Halt),
            Cause::Cr8Lowered => Some(Exit::Cr8Lowered),
            Cause::NoCode => Some(Exit::Unsupported("code outside of memory")),
            Cause::Unsupported(what) => Some(Exit::Unsupported(what)),
        }
    }

    /// Delivers an exception, or exits for it if the VMM wants that.
    fn raise(&mut self, exception: Exception) -> Option<Exit> {
        match self.cpu.exits_for(&exception) {
            true => Some(Exit::Exception(exception)),
            false => self.deliver(Event::Exception(exception)),
        }
    }

    /// Delivers an event, and whatever its delivery raises.
    fn deliver(&mut self, event: Event) -> Option<Exit> {
        let mut event = event;
        for _ in 0..MAX_NESTED {
            self.cpu.vectoring = Some(event);
            self.cpu.shadow = Shadow::NONE;
            let debug = self.cpu.pending_debug;
            if self.cpu.deliver(&event).is_ok() {
                self.cpu.vectoring = None;
                self.cpu.io.clear();
                // So that a guest which does nothing but fault spends its budget.
                self.cpu.executed += 1;
                return None;
            }
            self.cpu.pending_debug = debug;
            let second = match std::mem::take(&mut self.cpu.trap) {
                Cause::Exception(second) => second,
                Cause::Io => return self.cpu.io.asked().map(exit_for),
                Cause::Unsupported(what) => return Some(Exit::Unsupported(what)),
                _ => return Some(Exit::Shutdown),
            };
            self.cpu.io.clear();
            if self.cpu.exits_for(&second) {
                return Some(Exit::Exception(second));
            }
            // #DF's handler finds in CR2 what the fault in delivery left there.
            self.cpu.tell(&second);
            // An NMI blocks others once its delivery has begun.
            self.cpu.nmi_blocked |= event == Event::Nmi;
            let merged = match &event {
                Event::Exception(first) => first.then(&second),
                _ => Merged::Serial,
            };
            event = match merged {
                Merged::Serial => Event::Exception(second),
                Merged::DoubleFault if self.cpu.exits_for(&Exception::df()) => {
                    // An exit for #DF itself tells of no event behind it (SDM vol. 3, "Information
                    // for VM Exits During Event Delivery").
                    self.cpu.vectoring = None;
                    return Some(Exit::Exception(Exception::df()));
                }
                Merged::DoubleFault => Event::Exception(Exception::df()),
                Merged::TripleFault => break,
            };
        }
        self.cpu.vectoring = None;
        Some(Exit::Shutdown)
    }
}

impl Cpu {
    /// What lets events through.
    pub(crate) fn interruptibility(&self) -> Interruptibility {
        Interruptibility {
            interrupt_flag: self.flags.has(bit::IF),
            shadow: self.shadow,
            nmi_blocked: self.nmi_blocked,
            pending_debug: self.pending_debug != 0,
            slot_busy: self.injected.or(self.waiting).is_some(),
            activity: Activity::Active,
            ..Interruptibility::CLOSED
        }
    }

    /// Where an injected event is until its delivery.
    pub(crate) fn slot(&mut self, event: &Event) -> &mut Option<Event> {
        match event {
            Event::Interrupt(_) | Event::Nmi => &mut self.waiting,
            _ => &mut self.injected,
        }
    }

    /// The waiting interrupt or NMI, if it gets through at this boundary.
    fn deliverable(&self) -> Option<Event> {
        let free = Interruptibility { slot_busy: false, ..self.interruptibility() };
        self.waiting.filter(|event| match event {
            Event::Nmi => free.nmi_allowed(),
            _ => free.interrupt_allowed(),
        })
    }

    /// Whether the VMM wants an exception for itself.
    pub(crate) fn exits_for(&self, exception: &Exception) -> bool {
        self.exception_exits >> exception.vector() & 1 != 0
    }

    fn open_window(&mut self) -> Option<Exit> {
        if self.window == Window::NONE {
            return None;
        }
        let now = self.interruptibility();
        if self.window.nmi && self.waiting.is_none() && now.nmi_allowed() {
            return Some(Exit::NmiWindow);
        }
        (self.window.interrupt && now.interrupt_allowed()).then_some(Exit::InterruptWindow)
    }

    /// Whether the next instruction is to be executed by itself.
    fn must_be_careful(&self) -> bool {
        self.shadow.any()
            || self.io.is_active()
            || self.flags.has(bit::TF | bit::RF)
            || self.dr7 & 0xff != 0
    }

    /// Whether a boundary has more to do than to go on with the next block; [`Cpu::refresh`] and
    /// the VMM's and other vCPUs' wishes apart.
    fn something_is_due(&self) -> bool {
        self.must_be_careful()
            || self.pending_debug != 0
            || self.injected.or(self.waiting).is_some()
            || self.window != Window::NONE
    }

    /// RIP after `last`, unless that has set it.
    #[inline(always)]
    fn leave(&mut self, flow: Flow, last: Option<&Op>) {
        if let (Flow::Next | Flow::BothNext | Flow::Sync, Some(last)) = (flow, last) {
            self.rip = last.next();
        }
    }

    /// Where an instruction that returned [`Trap`] leaves RIP: behind it if it has completed, at
    /// it otherwise.
    fn stopped_at(&mut self, op: &Op) {
        let completed = self.trap.completes();
        self.executed += u64::from(completed);
        self.rip = if completed { op.next() } else { op.rip };
    }
}

/// Executes instructions up to the end of the block, or of the budget, or to one that goes on
/// elsewhere: what the last one left, and how many they were. [`Cpu::leave`] is to follow, if RIP
/// is to be known.
#[inline(always)]
fn run_block(cpu: &mut Cpu, ops: &[Op], limit: u64) -> Result<(Flow, usize), Trap> {
    let left = usize::try_from(limit - cpu.executed).unwrap_or(usize::MAX);
    cpu.begin_block(ops.get(..left).unwrap_or(ops));
    let mut at = ops.as_ptr();
    // Lest the loop counts from it.
    let first = std::hint::black_box(at as usize);
    loop {
        // SAFETY: a block has at least one instruction. After the first, `at` is one of those that
        // the block was begun with, as `Cpu::goes_on` says.
        let op = unsafe { &*at };
        let result = (op.run)(cpu, op);
        if matches!(result, Ok(Flow::Next)) && cpu.goes_on(at, 1) {
            at = at.wrapping_add(1);
            continue;
        }
        let before = (at as usize).wrapping_sub(first) / size_of::<Op>();
        return match result {
            Ok(flow) => Ok((flow, before + 1 + usize::from(flow.is_of_two()))),
            Err(Trap) => {
                cpu.executed += before as u64;
                cpu.stopped_at(op);
                Err(Trap)
            }
        };
    }
}

fn is_synchronizing(flow: Flow) -> bool {
    matches!(flow, Flow::Sync | Flow::Far | Flow::FarFlags)
}

fn exit_for(request: Request) -> Exit {
    match request {
        Request::PortRead { port, size } => Exit::PortRead { port, size },
        Request::PortWrite { port, size, value } => Exit::PortWrite { port, size, value },
        Request::MmioRead { address, size } => Exit::MmioRead { address, size },
        Request::MmioWrite { address, size, value } => Exit::MmioWrite { address, size, value },
        Request::MsrRead { index } => Exit::MsrRead { index },
        Request::MsrWrite { index, value } => Exit::MsrWrite { index, value },
    }
}
