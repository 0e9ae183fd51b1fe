// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The processor's state, and how an instruction says that it cannot complete.

use std::sync::Arc;

use vcpu_events::{Event, Exception, Shadow, Window};

use crate::config::{Config, Cpuid, MsrTable};
use crate::flags::{bit, Flags};
use crate::int::{reg, Gpr};
use crate::io::{Answer, IoLog, Request};
use crate::mem::{Memory, Tlb};
use crate::mode::Mode;
use crate::op::{Op, Trap};
use crate::segment::{Segment, Table, CS, FLAT, SS};
use crate::spec::{cr0, cr4, dr, efer};
use crate::sse::Sse;
use crate::tsc::Tsc;
use crate::x87::X87;

/// One processor. Instructions work on this; the loop around them is in `run`.
pub(crate) struct Cpu {
    /// General registers, `int::ZERO` among them.
    pub gpr: Gpr,
    /// RFLAGS.
    pub flags: Flags,
    /// Where execution is at an instruction boundary: offset in CS. Inside an instruction it is not
    /// kept: `Op::rip` and `Op::next` are.
    pub rip: u64,
    /// Segment bases as effective addresses use them; [`FLAT`] and above are 0.
    pub base: [u64; 16],
    /// Segment registers; change them through [`Cpu::set_segment`].
    segments: [Segment; 8],
    /// Current privilege level; change it through [`Cpu::set_cpl`].
    cpl: u8,
    /// Which bits of RSP the stack uses.
    pub stack_mask: u64,
    /// What decoding depends on.
    pub mode: Mode,
    /// Guest-physical memory, shared by all vCPUs.
    pub memory: Arc<Memory>,
    /// Translations.
    pub tlb: Tlb,
    /// SSE registers.
    pub sse: Sse,
    /// x87 and MMX registers.
    pub x87: X87,
    /// Control registers.
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u8,
    pub efer: u64,
    pub gdtr: Table,
    pub idtr: Table,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
    /// MSRs that the CPU itself has.
    pub msr: Msrs,
    /// What CPUID says.
    pub cpuid: Cpuid,
    /// The other MSRs.
    pub msr_table: MsrTable,
    /// The time-stamp counter.
    pub tsc: Tsc,
    /// Instructions completed before the block under way.
    pub executed: u64,
    /// The address of the [`Op`] before which the block under way ends; 0 where only one
    /// instruction is executed, and after a write to decoded code.
    block_end: usize,
    /// One instruction, and one iteration of a repeated one, at a time.
    pub careful: bool,
    /// This vCPU's number among those that share the memory.
    pub member_index: u32,
    /// Physical-address width, 32 to 52 bits.
    pub physical_bits: u8,
    /// Why the last instruction did not complete.
    pub trap: Cause,
    /// VMM accesses of the instruction under way.
    pub io: IoLog,
    /// Interrupt shadow for the next instruction.
    pub shadow: Shadow,
    /// NMIs are blocked until IRET.
    pub nmi_blocked: bool,
    /// Bits for DR6 of a debug trap that is due at this boundary.
    pub pending_debug: u64,
    /// The event whose delivery is under way, for IDT-vectoring information.
    pub vectoring: Option<Event>,
    /// An external interrupt or NMI that the VMM injected and that waits until it gets through.
    pub waiting: Option<Event>,
    /// Any other event that the VMM injected.
    pub injected: Option<Event>,
    /// The windows that the VMM asked for.
    pub window: Window,
    /// Exceptions that exit instead of being delivered: bit n is vector n.
    pub exception_exits: u32,
    /// PAUSEs since the host's scheduler was asked.
    pub pauses: u32,
}

/// MSRs behind SYSCALL, SYSENTER, SWAPGS, PAT, RDTSCP. FS and GS bases are in the segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    pub apic_base: u64,
}

/// Why an instruction did not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Cause {
    /// Nothing.
    #[default]
    None,
    /// An exception, to be delivered.
    Exception(Exception),
    /// The VMM must make an access; the instruction is executed again then.
    Io,
    /// INT n: its delivery is the rest of the instruction.
    Deliver(Event),
    /// HLT; it has completed, and `rip` is behind it.
    Halt,
    /// The guest lowered CR8; the instruction has completed, and `rip` is behind it.
    Cr8Lowered,
    /// Instructions are fetched from where no memory is.
    NoCode,
    /// Something that this CPU refuses to do; the text says what.
    Unsupported(&'static str),
}

impl Cause {
    /// Whether the instruction has completed, and RIP is to be behind it.
    pub fn completes(&self) -> bool {
        matches!(self, Cause::Halt | Cause::Cr8Lowered)
    }
}

impl Cpu {
    /// All zero; [`Cpu::reset`] is to follow. `member_index` comes from [`Memory::join`].
    pub fn new(config: Config, member_index: u32) -> Self {
        Cpu {
            gpr: [0; 256],
            flags: Flags::default(),
            rip: 0,
            base: [0; 16],
            segments: [Segment::default(); 8],
            cpl: 0,
            stack_mask: 0xffff,
            mode: Mode::new(),
            memory: config.memory,
            tlb: Tlb::default(),
            sse: Sse::default(),
            x87: X87::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            cr8: 0,
            efer: 0,
            gdtr: Table::default(),
            idtr: Table::default(),
            dr: [0; 4],
            dr6: 0,
            dr7: 0,
            msr: Msrs::default(),
            cpuid: config.cpuid,
            msr_table: config.msrs,
            tsc: Tsc { source: config.tsc, offset: 0, adjust: 0 },
            executed: 0,
            block_end: 0,
            careful: false,
            member_index,
            physical_bits: config.physical_address_bits.clamp(32, 52),
            trap: Cause::None,
            io: IoLog::default(),
            shadow: Shadow::NONE,
            nmi_blocked: false,
            pending_debug: 0,
            vectoring: None,
            waiting: None,
            injected: None,
            window: Window::NONE,
            exception_exits: 0,
            pauses: 0,
        }
    }

    /// Says that the instruction raises `exception`.
    #[cold]
    pub fn raise(&mut self, exception: Exception) -> Trap {
        self.trap = Cause::Exception(exception);
        Trap
    }

    /// Says that the instruction stops for another reason.
    #[cold]
    pub fn stop(&mut self, cause: Cause) -> Trap {
        self.trap = cause;
        Trap
    }

    /// #GP(0).
    #[cold]
    pub fn gp(&mut self) -> Trap {
        self.raise(Exception::gp(0))
    }

    /// #UD.
    #[cold]
    pub fn ud(&mut self) -> Trap {
        self.raise(Exception::ud())
    }

    /// A block begins, of which these instructions may be executed.
    #[inline(always)]
    pub fn begin_block(&mut self, ops: &[Op]) {
        self.block_end = ops.as_ptr_range().end as usize;
    }

    /// Whether what follows `ops` operations from `op` is still to be executed: `false` unless
    /// `op` is one of those that [`Cpu::begin_block`] was told, and so is that one.
    #[inline(always)]
    pub fn goes_on(&self, op: *const Op, ops: usize) -> bool {
        (op.wrapping_add(ops) as usize) < self.block_end
    }

    /// Ends the block under way after this instruction.
    pub fn end_block(&mut self) {
        self.block_end = 0;
    }

    /// An access that the VMM makes: its answer, once it is there.
    ///
    /// # Errors
    /// [`Trap`]: the VMM has to be asked, and the instruction executed again.
    pub fn external(&mut self, request: Request) -> Result<Answer, Trap> {
        match self.io.access(request) {
            Some(answer) => Ok(answer),
            None => Err(self.stop(Cause::Io)),
        }
    }

    /// A segment register.
    #[inline(always)]
    pub fn segment(&self, index: u8) -> &Segment {
        &self.segments[usize::from(index & 7)]
    }

    /// Changes a segment register; CS and SS change what decoding and the stack depend on.
    pub fn set_segment(&mut self, index: u8, segment: Segment) {
        self.segments[usize::from(index & 7)] = segment;
        self.base[usize::from(index & 7)] = segment.base;
        if index == CS || index == SS {
            self.refresh();
        }
    }

    /// Current privilege level, 0 to 3.
    #[inline(always)]
    pub fn cpl(&self) -> u8 {
        self.cpl
    }

    /// Changes the privilege level.
    pub fn set_cpl(&mut self, cpl: u8) {
        self.cpl = cpl & 3;
        self.refresh();
    }

    /// Whether CR0.PE is clear.
    pub fn real_mode(&self) -> bool {
        self.cr0 & cr0::PE == 0
    }

    /// Whether IA-32e mode is active (64-bit or compatibility mode).
    pub fn long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }

    /// Whether code is 64-bit code.
    #[inline(always)]
    pub fn code64(&self) -> bool {
        self.mode.code64()
    }

    /// Recomputes what follows from CR0, CR4, EFER, CS, SS, CPL and RFLAGS.AC. Everything that
    /// changes one of them calls this, or returns `Flow::Sync` or `Flow::Far`, after which the loop
    /// does.
    pub fn refresh(&mut self) {
        let code = self.segment(CS).rights;
        let stack = self.segment(SS).rights;
        let code64 = self.long_mode() && code.long();
        self.stack_mask = match (code64, stack.db()) {
            (true, _) => u64::MAX,
            (false, true) => 0xffff_ffff,
            (false, false) => 0xffff,
        };
        self.mode = Mode::new()
            .with_code64(code64)
            .with_code32(!code64 && code.db())
            .with_stack32(stack.db())
            .with_protected(!self.real_mode())
            .with_em(self.cr0 & cr0::EM != 0)
            .with_ts(self.cr0 & cr0::TS != 0)
            .with_mp(self.cr0 & cr0::MP != 0)
            .with_osfxsr(self.cr4 & cr4::OSFXSR != 0);
        let smap = self.cr4 & cr4::SMAP != 0 && !self.flags.has(bit::AC);
        self.tlb.select(self.cpl == 3, smap);
    }

    /// The state after power-up or RESET (SDM vol. 3, "Processor State After Reset"), but for what
    /// the VMM configured.
    pub fn reset(&mut self) {
        self.init();
        self.sse = Sse::default();
        self.x87 = X87::default();
        let apic_base = self.msr.apic_base;
        self.msr = Msrs { pat: 0x0007_0406_0007_0406, apic_base, ..Msrs::default() };
        self.msr_table.reset();
        self.tsc.write_adjust(0);
        self.cr0 = cr0::ET | cr0::CD | cr0::NW;
        self.refresh();
    }

    /// The state after INIT: x87, SSE, MSRs, CR0.CD and CR0.NW stay.
    pub fn init(&mut self) {
        self.gpr = [0; 256];
        // The processor's signature.
        self.gpr[usize::from(reg::RDX)] = self.cpuid.get(1, 0).eax.into();
        self.flags = Flags::default();
        self.rip = 0xfff0;
        self.cr0 = cr0::ET | self.cr0 & (cr0::CD | cr0::NW);
        (self.cr2, self.cr3, self.cr4, self.cr8, self.efer) = (0, 0, 0, 0, 0);
        self.dr = [0; 4];
        (self.dr6, self.dr7) = (dr::DR6_FIXED, dr::DR7_FIXED);
        let table = Table { base: 0, limit: 0xffff };
        (self.gdtr, self.idtr) = (table, table);
        for index in 0..6 {
            self.set_segment(index, Segment::real(0, 3));
        }
        let code = Segment { base: 0xffff_0000, ..Segment::real(0xf000, 0xb) };
        self.set_segment(CS, code);
        let system = |kind| {
            let data = Segment::real(0, kind);
            Segment { rights: data.rights.with_s(false), ..data }
        };
        self.set_segment(crate::segment::LDTR, system(2));
        self.set_segment(crate::segment::TR, system(0xb));
        self.base[usize::from(FLAT)..].fill(0);
        self.shadow = Shadow::NONE;
        self.nmi_blocked = false;
        self.pending_debug = 0;
        (self.vectoring, self.waiting, self.injected) = (None, None, None);
        self.io.clear();
        self.trap = Cause::None;
        self.tlb.flush_all();
        self.set_cpl(0);
    }
}
