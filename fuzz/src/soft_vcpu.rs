// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The software CPU: guest code that does its worst, on tables and states that make no sense.
//!
//! Guest memory lies between pages that nobody may touch, so that an access outside of it ends the
//! process.

use std::cell::OnceCell;
use std::sync::Arc;

use soft_vcpu::segment::{CS, SS};
use soft_vcpu::spec::{cr0, cr4, dr, efer};
use soft_vcpu::{
    AccessRights, Config, Cpuid, CpuidResult, Event, Exception, Exit, Memory, Msr, MsrTable,
    Segment, State, Table, Vcpu, Window,
};
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::code::{pick, Num, Scenario};

/// A run.
pub type Input = Scenario<Setup, Op>;

fields! {
    /// How the vCPU starts.
    pub struct Setup {
        /// Real, 16-bit, 32-bit, 32-bit paging, PAE, compatibility, 64-bit.
        mode: u8,
        cpl: u8,
        /// RFLAGS, CR0, CR4, EFER: bits that are changed from what the mode needs.
        rflags: u32,
        cr0: u32,
        cr4: u32,
        gpr: [Num; 16],
        rip: u16,
        idt: Num,
        gdt: Num,
        tss: Num,
        /// Limits of IDT, GDT, TSS and CS.
        limits: [u16; 4],
    }
}

ops! {
    /// What the guest finds, and what the VMM does.
    pub enum Op {
        /// Bytes at an address of the first 64 KiB: code, descriptors, page tables, stacks.
        Write { at: u16, bytes: [u8; 16] },
        /// A word of a table: eight bytes at a multiple of eight.
        Entry { at: u16, value: Num },
        /// A gate or a code segment that leads somewhere.
        Gate { vector: u8, kind: u8, target: u16 },
        Run { budget: u16, answer: Num },
        Interrupt { vector: u8 },
        Nmi,
        Exception { vector: u8, code: Num },
        Windows { interrupt: bool, nmi: bool },
        Exits { vectors: u32 },
        Kick,
        Jump { rip: Num },
        Register { number: u8, value: Num },
        Init { vector: u8 },
        SaveRestore,
        /// A breakpoint, and traps that are pending.
        Debug { number: u8, at: Num, dr7: u32, pending: u16 },
    }
}

/// Bytes of guest memory at 0, and once more at [`HIGH`].
const MEMORY: usize = 0x4_0000;
/// Where the second region is: beyond 4 GiB.
const HIGH: u64 = 0x1_2345_6000;
/// Instructions that one input may have executed.
const BUDGET: u64 = 8_000;
/// Page tables of the paged modes: the low 2 MiB mapped one to one.
const TABLES: u64 = 0x2_0000;

/// Guest memory between guard pages; one for the process.
struct Arena {
    memory: GuestMemoryMmap,
}

impl Arena {
    fn new() -> Self {
        let regions = [(0, MEMORY), (HIGH, 0x1000)].map(|(start, len)| {
            GuestRegionMmap::new(guarded(len), GuestAddress(start)).expect("a region")
        });
        let memory = GuestMemoryMmap::from_regions(regions.into()).expect("two regions");
        Arena { memory }
    }
}

/// Memory with an inaccessible page on either side; never unmapped.
fn guarded(len: usize) -> MmapRegion {
    const PAGE: usize = 0x1000;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping, of which the middle is made accessible.
    unsafe {
        let all = libc::mmap(std::ptr::null_mut(), len + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(all, libc::MAP_FAILED);
        let middle = all.cast::<u8>().add(PAGE);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(libc::mprotect(middle.cast(), len, access), 0);
        MmapRegion::build_raw(middle, len, access, flags).expect("a mapped region")
    }
}

fn memory() -> GuestMemoryMmap {
    thread_local! {
        static ARENA: OnceCell<Arena> = const { OnceCell::new() };
    }
    let memory = ARENA.with(|arena| arena.get_or_init(Arena::new).memory.clone());
    memory.write_slice(&[0; MEMORY], GuestAddress(0)).expect("memory");
    memory.write_slice(&[0; 0x1000], GuestAddress(HIGH)).expect("memory");
    memory
}

/// Runs the operations; every run ends within its budget, and leaves a state that is possible.
pub fn run(input: &Input) {
    let guest = memory();
    let memory = Memory::new(guest.clone()).expect("whole pages");
    let mut rig = Rig { vcpu: vcpu(memory.clone()), guest, memory, left: BUDGET };
    rig.start(&input.setup);
    for op in &input.ops {
        rig.step(op);
    }
}

fn vcpu(memory: Arc<Memory>) -> Vcpu {
    let mut cpuid = Cpuid::new();
    let leaf = CpuidResult { eax: 7, ebx: u32::MAX, ecx: u32::MAX, edx: u32::MAX };
    (0..8).for_each(|n| cpuid.set(n, None, leaf));
    cpuid.set(0x8000_0000, None, CpuidResult { eax: 0x8000_0008, ..leaf });
    (1..9).for_each(|n| cpuid.set(0x8000_0000 + n, None, leaf));
    let mut msrs = MsrTable::new();
    let table = [
        (0x1b, Msr::Exit),
        (0x8b, Msr::Constant(7)),
        (0xfe, Msr::Ignored(0)),
        (0x2ff, Msr::Stored(6)),
    ];
    table.into_iter().for_each(|(index, msr)| msrs.set(index, msr));
    Vcpu::new(Config {
        memory,
        cpuid,
        msrs,
        tsc: Box::new(|executed| executed),
        physical_address_bits: 40,
    })
}

struct Rig {
    vcpu: Vcpu,
    guest: GuestMemoryMmap,
    memory: Arc<Memory>,
    left: u64,
}

impl Rig {
    fn start(&mut self, setup: &Setup) {
        let mut state = self.vcpu.state();
        let mode = setup.mode % 7;
        let paged = mode >= 3;
        let long = mode >= 5;
        let bit = |on: bool, bits: u64| if on { bits } else { 0 };
        state.cr0 = cr0::ET
            | bit(mode > 0, cr0::PE)
            | bit(paged, cr0::PG)
            | u64::from(setup.cr0) & (cr0::WP | cr0::NE | cr0::TS | cr0::EM | cr0::MP | cr0::AM);
        state.cr4 = bit(mode >= 4, cr4::PAE) | u64::from(setup.cr4) & cr4::ALL & !cr4::PAE;
        state.efer = bit(long, efer::LME | efer::LMA)
            | u64::from(setup.cr4 >> 24) & efer::SCE
            | bit(setup.cr4 >> 25 & 1 != 0, efer::NXE);
        state.cr3 = TABLES;
        state.gpr = std::array::from_fn(|n| setup.gpr[n].0);
        state.rip = setup.rip.into();
        state.rflags = u64::from(setup.rflags) & 0x0027_7fd5 | 2;
        state.idtr = Table { base: setup.idt.0, limit: setup.limits[0] };
        state.gdtr = Table { base: setup.gdt.0, limit: setup.limits[1] };
        segments(&mut state, setup, mode);
        self.tables(mode);
        if self.vcpu.set_state(&state).is_err() {
            // RFLAGS.VM and the like: the state after reset is as good a start.
            self.vcpu.reset();
        }
    }

    fn tables(&mut self, mode: u8) {
        let entry = |at: u64, value: u64| self.guest.write_obj(value, GuestAddress(at));
        let results = match mode {
            3 => [entry(TABLES, 0x87), Ok(()), Ok(())],
            4 => [entry(TABLES, TABLES + 0x1001), entry(TABLES + 0x1000, 0x87), Ok(())],
            _ => [
                entry(TABLES, TABLES + 0x1007),
                entry(TABLES + 0x1000, TABLES + 0x2007),
                entry(TABLES + 0x2000, 0x87),
            ],
        };
        results.into_iter().for_each(|result| result.expect("memory"));
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Write { at, bytes } => self.write((*at).into(), bytes),
            Op::Entry { at, value } => {
                // The page tables' area now and then.
                let at = u64::from(*at) * 8 % (MEMORY as u64 - 8);
                self.write(at, &value.0.to_le_bytes());
            }
            Op::Gate { vector, kind, target } => self.gate(*vector, *kind, *target),
            Op::Run { budget, answer } => self.run(u64::from(*budget), answer.0),
            Op::Interrupt { vector } => {
                let _ = self.vcpu.inject(Event::Interrupt(*vector));
            }
            Op::Nmi => {
                let _ = self.vcpu.inject(Event::Nmi);
            }
            Op::Exception { vector, code } => self.exception(*vector, code.0 as u32),
            Op::Windows { interrupt, nmi } => {
                self.vcpu.request_window(Window { interrupt: *interrupt, nmi: *nmi });
            }
            Op::Exits { vectors } => self.vcpu.set_exception_exits(*vectors),
            Op::Kick => self.vcpu.kick_handle().kick(),
            Op::Jump { rip } => self.change(|state| state.rip = rip.0),
            Op::Register { number, value } => {
                self.change(|state| state.gpr[usize::from(number % 16)] = value.0);
            }
            Op::Init { vector } => {
                self.vcpu.init();
                self.vcpu.start_up(vector % 16);
            }
            Op::SaveRestore => self.change(|_| ()),
            Op::Debug { number, at, dr7, pending } => self.change(|state| {
                state.dr[usize::from(number % 4)] = at.0;
                state.dr7 = u64::from(*dr7) & dr::DR7_WRITABLE | dr::DR7_FIXED;
                state.pending_debug = u64::from(*pending) & dr::DR6_WRITABLE;
            }),
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let len = bytes.len().min(MEMORY - at as usize);
        self.guest.write_slice(&bytes[..len], GuestAddress(at)).expect("memory");
        self.memory.invalidate(at, len as u64);
    }

    /// A 16-byte gate, or two 8-byte ones, below 64 KiB.
    fn gate(&mut self, vector: u8, kind: u8, target: u16) {
        let base = self.vcpu.state().idtr.base & 0xffff;
        let low = u64::from(target) | 8 << 16 | u64::from(0x80 | kind) << 40;
        self.write(base + 16 * u64::from(vector), &low.to_le_bytes());
        self.write(base + 16 * u64::from(vector) + 8, &[0; 8]);
    }

    fn exception(&mut self, vector: u8, code: u32) {
        let exception = match vector {
            1 => Ok(Exception::db(u64::from(code) << 8)),
            _ => Exception::new(vector, None).or_else(|_| Exception::new(vector, Some(code))),
        };
        if let Ok(exception) = exception {
            let _ = self.vcpu.inject(Event::Exception(exception));
        }
    }

    /// The state is possible, whatever the guest did to it.
    fn change(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.vcpu.state();
        assert_eq!(self.vcpu.set_state(&state), Ok(()), "the guest got there: {state:x?}");
        assert_eq!(self.vcpu.state(), state);
        change(&mut state);
        self.vcpu.set_state(&state).expect("RIP, registers and breakpoints are free");
    }

    /// Runs to the budget, answering each exit.
    fn run(&mut self, budget: u64, answer: u64) {
        let mut budget = budget.min(self.left);
        while budget > 0 {
            let before = self.vcpu.executed();
            let exit = self.vcpu.run(budget);
            let executed = self.vcpu.executed() - before;
            // A delivery counts as one, and exceptions of it too.
            assert!(executed <= budget + 16, "{executed} of {budget}");
            // Exits are not free: a guest that does nothing else comes to an end here as well.
            budget = budget.saturating_sub(executed + 1);
            self.left = self.left.saturating_sub(executed + 1);
            match exit {
                Exit::PortRead { size, .. } => {
                    assert!(matches!(size, 1 | 2 | 4));
                    self.vcpu.complete(answer);
                }
                Exit::PortWrite { size, value, .. } => {
                    assert!(matches!(size, 1 | 2 | 4));
                    assert_eq!(u64::from(value) >> (8 * u32::from(size)), 0);
                }
                Exit::MmioRead { size, address } => {
                    assert!((1..=8).contains(&size) && address < 1 << 52);
                    self.vcpu.complete(answer.rotate_left(7));
                }
                Exit::MmioWrite { size, address, .. } => {
                    assert!((1..=8).contains(&size) && address < 1 << 52);
                }
                Exit::MsrRead { .. } | Exit::MsrWrite { .. } => {
                    let result = if answer & 1 == 0 { Ok(answer) } else { Err(gp()) };
                    self.vcpu.complete_msr(result);
                }
                Exit::Halt | Exit::Cr8Lowered | Exit::Kicked | Exit::Exception(_) => {}
                Exit::InterruptWindow | Exit::NmiWindow => {
                    self.vcpu.request_window(Window::NONE);
                }
                Exit::Budget | Exit::Shutdown | Exit::Unsupported(_) => return,
            }
            if let Some(event) = self.vcpu.idt_vectoring() {
                let _ = self.vcpu.inject(event);
            }
        }
    }
}

fn gp() -> soft_vcpu::GeneralProtection {
    soft_vcpu::GeneralProtection
}

fn segments(state: &mut State, setup: &Setup, mode: u8) {
    let cpl = if mode == 0 { 0 } else { setup.cpl & 3 };
    let rights = AccessRights::new().with_s(true).with_present(true).with_dpl(cpl);
    let wide = mode >= 2;
    let data = Segment {
        selector: u16::from(cpl) | 16,
        base: 0,
        limit: if wide { u32::MAX } else { 0xffff },
        rights: rights.with_kind(3).with_db(wide).with_granularity(wide),
    };
    state.segments[..6].fill(data);
    state.segments[usize::from(CS)] = Segment {
        selector: u16::from(cpl) | 8,
        limit: if wide { u32::MAX } else { u32::from(setup.limits[3]) | 0xff },
        rights: rights
            .with_kind(0xb)
            .with_long(mode == 6)
            .with_db(wide && mode != 6)
            .with_granularity(wide),
        ..data
    };
    state.segments[usize::from(SS)] = data;
    state.segments[7] = Segment {
        selector: 0x28,
        base: setup.tss.0,
        limit: setup.limits[2].into(),
        rights: AccessRights::new().with_kind(pick(&[0xb, 3], setup.mode / 7)).with_present(true),
    };
}

/// Programs that reach far at once.
pub fn seeds() -> Vec<(&'static str, Input)> {
    let setup = |mode: u8| Setup {
        mode,
        cr4: cr4::OSFXSR as u32,
        gpr: std::array::from_fn(|n| Num(0x8000 + 0x100 * n as u64)),
        rip: 0x1000,
        idt: Num(0x4000),
        gdt: Num(0x3000),
        tss: Num(0x2000),
        limits: [0xfff, 0xff, 0x67, 0xffff],
        ..Setup::default()
    };
    let code = |start: &[u8]| {
        let mut bytes = [0x90; 16];
        bytes[..start.len()].copy_from_slice(start);
        Op::Write { at: 0x1000, bytes }
    };
    let run = Op::Run { budget: 2000, answer: Num(0x55) };
    let segment = |at: u16, value: u64| Op::Entry { at: at / 8, value: Num(value) };
    let descriptors =
        || [segment(0x3008, 0x00af_9b00_0000_ffff), segment(0x3010, 0x00cf_9300_0000_ffff)];
    let gates = |kind| (0..32).map(move |vector| Op::Gate { vector, kind, target: 0x1000 });
    let mut faults: Vec<Op> = descriptors().into_iter().chain(gates(0xe)).collect();
    // UD2, each time again.
    faults.extend([code(&[0x0f, 0x0b]), run.clone(), Op::SaveRestore]);
    let mut strings: Vec<Op> = descriptors().into_iter().chain(gates(0xf)).collect();
    // MOV RCX, -1; REP MOVSB; then into what is not mapped.
    strings.extend([code(&[0x48, 0xc7, 0xc1, 0xff, 0xff, 0xff, 0xff, 0xf3, 0xa4]), run.clone()]);
    let mut devices: Vec<Op> = descriptors().into_iter().collect();
    // LOCK ADD [0x50000], EAX: a device; IN AL, DX; HLT.
    devices.extend([
        code(&[0xf0, 0x01, 0x04, 0x25, 0, 0, 5, 0, 0xec, 0xf4]),
        Op::Windows { interrupt: true, nmi: true },
        run.clone(),
        Op::Nmi,
        run.clone(),
    ]);
    let real = vec![
        // MOV DS, AX; MOV [0x1000], AX (its own code); STI; INT 0x21.
        code(&[0x8e, 0xd8, 0xa3, 0x00, 0x10, 0xfb, 0xcd, 0x21]),
        run.clone(),
        Op::Interrupt { vector: 8 },
        run,
        Op::Init { vector: 1 },
        Op::SaveRestore,
    ];
    let traps = vec![
        // The vector of #DB, which its delivery reads; INT1.
        Op::Debug { number: 0, at: Num(0x4004), dr7: 1 | 15 << 16, pending: 0 },
        Op::Write { at: 0x4004, bytes: [0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] },
        code(&[0xf1]),
        Op::Run { budget: 200, answer: Num(0) },
        Op::SaveRestore,
    ];
    vec![
        ("trap_loop", Input { setup: setup(0), ops: traps }),
        ("fault_loop", Input { setup: setup(6), ops: faults }),
        ("long_string", Input { setup: setup(6), ops: strings }),
        ("devices", Input { setup: setup(6), ops: devices }),
        ("real_mode", Input { setup: setup(0), ops: real }),
    ]
}
