// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A case executed by this very processor.
//!
//! The state page has the registers. A prologue loads them and jumps to the case's code, behind
//! which a jump leads to the epilogue, which saves them. An exception arrives as a signal, whose
//! handler notes it and resumes at the epilogue, so that the registers are saved all the same.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use anyhow::{bail, ensure, Result};
use iced_x86::code_asm::*;
use iced_x86::IcedError;

use super::case::{Case, Outcome, Registers};
use super::layout::{CODE, CODE_LEN, DATA, DATA_LEN, EPILOGUE, PROLOGUE, STATE};
use super::soft::fill;

/// Offsets in the state page.
const GPR: u64 = STATE + 0x200;
const RFLAGS: u64 = STATE + 0x280;
const HOST_RSP: u64 = STATE + 0x288;
const FX: u64 = STATE;

/// What the handler saw: trap number, or -1.
static TRAP: AtomicI64 = AtomicI64::new(-1);
static TRAP_RIP: AtomicU64 = AtomicU64::new(0);
/// The mappings are this process's only ones.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The native side.
pub struct Host {
    _private: (),
}

impl Host {
    /// Maps the pages, writes prologue and epilogue, installs the handlers.
    pub fn new() -> Result<Self> {
        ensure!(std::is_x86_feature_detected!("sse4.2"), "this processor is no x86-64-v2");
        ensure!(!TAKEN.swap(true, Ordering::SeqCst), "there is a native side already");
        for (at, len) in [(DATA, DATA_LEN), (STATE, 0x1000), (CODE, CODE_LEN)] {
            map(at, len)?;
        }
        write(PROLOGUE, &assemble(PROLOGUE, prologue)?);
        write(EPILOGUE, &assemble(EPILOGUE, epilogue)?);
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP] {
            handle(signal)?;
        }
        Ok(Host { _private: () })
    }

    /// Executes a case.
    pub fn run(&mut self, case: &Case) -> Outcome {
        own_signal_stack();
        let mut memory = vec![0; DATA_LEN as usize];
        fill(case.memory, &mut memory);
        write(DATA, &memory);
        write(FX, &case.registers.fx);
        for (n, value) in (0..).zip(case.registers.gpr) {
            write(GPR + 8 * n, &value.to_le_bytes());
        }
        write(RFLAGS, &case.registers.rflags.to_le_bytes());
        write(CODE, &case.code);
        let end = CODE + case.code.len() as u64;
        let mut jump = vec![0xe9];
        jump.extend(((EPILOGUE as i64 - end as i64 - 5) as i32).to_le_bytes());
        write(end, &jump);
        TRAP.store(-1, Ordering::SeqCst);
        // SAFETY: the prologue was written for this: it keeps the ABI's registers, and the case's
        // code touches nothing but the data page, or ends in the handler.
        unsafe {
            let enter: extern "C" fn() = std::mem::transmute(PROLOGUE as *const ());
            enter();
        }
        self.outcome()
    }

    fn outcome(&self) -> Outcome {
        let word = |at| u64::from_le_bytes(read(at, 8).try_into().unwrap_or_default());
        let registers = Registers {
            gpr: std::array::from_fn(|n| word(GPR + 8 * n as u64)),
            rflags: word(RFLAGS),
            fx: read(FX, 512).try_into().unwrap_or([0; 512]),
        };
        let exception = match TRAP.load(Ordering::SeqCst) {
            -1 => None,
            vector => Some((vector as u8, TRAP_RIP.load(Ordering::SeqCst))),
        };
        Outcome { registers, memory: read(DATA, DATA_LEN as usize), exception }
    }
}

fn assemble(
    at: u64,
    code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<Vec<u8>> {
    let mut assembler = CodeAssembler::new(64)?;
    code(&mut assembler)?;
    Ok(assembler.assemble(at)?)
}

const REGISTERS: [AsmRegister64; 16] =
    [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
const SAVED: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];

fn prologue(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for register in SAVED {
        a.push(register)?;
    }
    a.fxrstor64(ptr(FX))?;
    a.push(qword_ptr(RFLAGS))?;
    a.popfq()?;
    a.mov(qword_ptr(HOST_RSP), rsp)?;
    for (n, register) in (0..).zip(REGISTERS) {
        a.mov(register, qword_ptr(GPR + 8 * n))?;
    }
    a.jmp(CODE)
}

fn epilogue(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for (n, register) in (0..).zip(REGISTERS) {
        a.mov(qword_ptr(GPR + 8 * n), register)?;
    }
    a.mov(rsp, qword_ptr(HOST_RSP))?;
    a.pushfq()?;
    a.pop(qword_ptr(RFLAGS))?;
    a.cld()?;
    a.fxsave64(ptr(FX))?;
    // The ABI's state: x87 empty with all masked, MXCSR's default.
    a.fninit()?;
    a.push(0x1f80)?;
    a.ldmxcsr(dword_ptr(rsp))?;
    a.pop(rax)?;
    for register in SAVED.into_iter().rev() {
        a.pop(register)?;
    }
    a.ret()
}

fn map(at: u64, len: u64) -> Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new anonymous mapping that replaces none.
    let got = unsafe { libc::mmap(at as *mut _, len as usize, protection, flags, -1, 0) };
    if got as u64 != at {
        bail!("cannot map {len:#x} bytes at {at:#x}: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

fn write(at: u64, bytes: &[u8]) {
    // SAFETY: all callers write inside the pages that `map` made; only the one `Host` uses them.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
}

fn read(at: u64, len: usize) -> Vec<u8> {
    // SAFETY: as for `write`.
    unsafe { std::slice::from_raw_parts(at as *const u8, len) }.to_vec()
}

fn handle(signal: libc::c_int) -> Result<()> {
    // SAFETY: all-zero is a valid sigaction; the fields that matter are set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `action` is complete, the handler is async-signal-safe.
    let result = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    ensure!(result == 0, "sigaction: {}", std::io::Error::last_os_error());
    Ok(())
}

/// The case's stack pointer is no stack for a handler. Per thread, once.
fn own_signal_stack() {
    thread_local! {
        static STACK: Box<[u8; 65536]> = {
            let mut stack = Box::new([0u8; 65536]);
            let description = libc::stack_t {
                ss_sp: stack.as_mut_ptr().cast(),
                ss_flags: 0,
                ss_size: stack.len(),
            };
            // SAFETY: the stack lives as long as the thread.
            unsafe { libc::sigaltstack(&description, std::ptr::null_mut()) };
            stack
        };
    }
    STACK.with(|_| ());
}

/// Notes what happened in a case's code and leaves it through the epilogue. Anything else is a
/// fault of this program, and ends it.
extern "C" fn on_signal(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the third argument is this thread's ucontext_t.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let rip = registers[libc::REG_RIP as usize] as u64;
    if !(CODE..PROLOGUE).contains(&rip) {
        // SAFETY: `signal` and `abort` are async-signal-safe.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    TRAP.store(registers[libc::REG_TRAPNO as usize], Ordering::SeqCst);
    TRAP_RIP.store(rip, Ordering::SeqCst);
    registers[libc::REG_RIP as usize] = EPILOGUE as i64;
}
