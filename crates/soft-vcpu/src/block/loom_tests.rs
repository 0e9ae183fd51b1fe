// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Code that is decoded while other vCPUs write to it, in every interleaving:
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p soft-vcpu --release --lib loom`.
//!
//! Everything is the real thing (pages, members, TLBs, [`claim`]) but the byte of code: the model
//! checker sees no host memory, so it is an atomic. A MOV to or from it is a release or an acquire:
//! x86 keeps the order of stores, and that of loads, but lets a load overtake an earlier store to
//! somewhere else, which is what such an order still allows. It allows a little more, since threads
//! need not agree on one order of stores, so no failure on x86 is missed by that. What is missed:
//! reordering by the compiler (accesses to guest memory are `asm!`, which it leaves in their place),
//! executions with more forced switches than `LOOM_MAX_PREEMPTIONS`, more threads than here. Where
//! two wait, the model checker lets them wait in turns and starves a third: there at most one waits.

use std::sync::atomic::{AtomicUsize, Ordering as Counted};

use loom::sync::atomic::{AtomicU8, Ordering};
use loom::sync::Arc;
use loom::thread;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::mem::Running;
use crate::segment::DS;
use crate::{Config, Cpuid, MsrTable, Vcpu};

/// Linear and guest-physical address of the code.
const AT: u64 = 0x40;
/// Writes of code that a page puts up with before it is data.
const PATIENCE: u32 = 8;
/// Words of stack for who makes vCPUs.
const STACK: usize = 1 << 17;

/// The guest's byte of code, and what its writer says of it: the value has been written.
#[derive(Default)]
struct Guest {
    code: AtomicU8,
    told: AtomicU8,
}

/// vCPUs after reset (no paging), on one page.
fn vcpus<const N: usize>() -> ([Vcpu; N], Arc<Guest>) {
    let guest = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), PAGE as usize)]).unwrap();
    let memory = Memory::new(guest).unwrap();
    let vcpu = |_| {
        Vcpu::new(Config {
            memory: memory.clone(),
            cpuid: Cpuid::new(),
            msrs: MsrTable::new(),
            tsc: Box::new(|executed| executed),
            physical_address_bits: 40,
        })
    };
    (std::array::from_fn(vcpu), Arc::default())
}

/// As [`Vcpu::run`] does.
fn enter(vcpu: &mut Vcpu) -> Running {
    let running = Running::enter(vcpu.member.clone());
    vcpu.attend();
    running
}

/// Whether the vCPU writes there unseen from now on.
fn writes_unseen(vcpu: &mut Vcpu) -> bool {
    vcpu.cpu.span(DS, AT, true).is_ok_and(|place| place.is_some())
}

/// Whether a vCPU that decodes now has nobody to wait for.
fn no_writer(vcpu: &Vcpu) -> bool {
    let place = vcpu.cpu.memory.page(AT);
    place.and_then(|(_, page)| page.writers()).is_some_and(|writers| writers.vcpus() == 0)
}

/// An instruction that writes the code, one that says so, and a boundary.
fn write(vcpu: &mut Vcpu, guest: &Guest, value: u8) {
    match writes_unseen(vcpu) {
        true => guest.code.store(value, Ordering::Release),
        false => {
            guest.code.store(value, Ordering::Release);
            vcpu.cpu.memory.invalidate(AT, 1);
        }
    }
    guest.told.store(value, Ordering::Release);
    vcpu.attend();
}

/// What a block is made of: the page as it was seen, and the byte.
struct Decoded(Seen, u8);

fn decode(vcpu: &mut Vcpu, guest: &Guest) -> Decoded {
    let seen = claim(&mut vcpu.cpu, &vcpu.member, AT, 1, std::ptr::null());
    Decoded(seen, guest.code.load(Ordering::Acquire))
}

/// A model, with the stack that making a vCPU takes.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let test = std::sync::Arc::new(test);
    loom::model(move || {
        let test = test.clone();
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || test());
        thread.unwrap().join().unwrap();
    });
}

/// Executions in which a block was believed, and in which it was not.
#[derive(Default)]
struct Outcomes([AtomicUsize; 2]);

impl Outcomes {
    /// A block is not believed that lacks what its writer has told of.
    fn check(&self, Decoded(seen, code): &Decoded, guest: &Guest) -> bool {
        let told = guest.told.load(Ordering::Acquire);
        let believed = seen.is_fresh();
        assert!(!believed || *code >= told, "stale: {code}, {told} was written");
        self.0[usize::from(believed)].fetch_add(1, Counted::Relaxed);
        believed
    }

    /// The model is worth something: there were both.
    fn were_both(&self) {
        assert!(self.0.iter().all(|times| times.load(Counted::Relaxed) > 0), "{:?}", self.0);
    }
}

/// How the writer stands to the page when somebody starts to decode from it.
#[derive(Clone, Copy, PartialEq)]
enum Writer {
    New,
    /// It writes unseen, in the guest.
    Inside,
    /// It did, and is outside.
    Outside,
}

fn decode_beside(writer: Writer) {
    let outcomes = std::sync::Arc::new(Outcomes::default());
    let seen = outcomes.clone();
    model(move || {
        let ([mut decoder, mut other], guest) = vcpus();
        let decoding = enter(&mut decoder);
        let mut running = None;
        if writer != Writer::New {
            running = Some(enter(&mut other));
            assert!(writes_unseen(&mut other));
        }
        if writer == Writer::Outside {
            running = None;
        }
        let thread = {
            let guest = guest.clone();
            thread::spawn(move || {
                let _running = running.unwrap_or_else(|| enter(&mut other));
                write(&mut other, &guest, 1);
                write(&mut other, &guest, 2);
            })
        };
        let block = decode(&mut decoder, &guest);
        seen.check(&block, &guest);
        drop(decoding);
        thread.join().unwrap();
        seen.check(&block, &guest);
        // Undisturbed, it is believed.
        let block = decode(&mut decoder, &guest);
        assert!(seen.check(&block, &guest) && block.1 == 2);
    });
    outcomes.were_both();
}

#[test]
fn loom_who_gets_a_translation_is_seen_by_who_decodes_or_sees_him() {
    decode_beside(Writer::New);
}

#[test]
fn loom_who_decodes_waits_for_a_writer_in_the_guest() {
    decode_beside(Writer::Inside);
}

#[test]
fn loom_a_writer_outside_is_not_waited_for_and_catches_up() {
    decode_beside(Writer::Outside);
}

/// The one outside never comes back.
#[test]
fn loom_nobody_waits_for_a_vcpu_that_leaves() {
    model(|| {
        let ([mut decoder, mut other], guest) = vcpus();
        let (_decoding, running) = (enter(&mut decoder), enter(&mut other));
        assert!(writes_unseen(&mut other));
        let thread = thread::spawn(move || drop(running));
        let Decoded(seen, _) = decode(&mut decoder, &guest);
        assert!(seen.is_fresh());
        thread.join().unwrap();
    });
}

/// Both write unseen, both decode: each waits for the other. What is decoded last is believed.
#[test]
fn loom_two_that_decode_at_once_wait_for_each_other() {
    let outcomes = std::sync::Arc::new(Outcomes::default());
    let seen = outcomes.clone();
    model(move || {
        let ([mut one, mut other], guest) = vcpus();
        let [running, others] = [&mut one, &mut other].map(|vcpu| {
            let running = enter(vcpu);
            assert!(writes_unseen(vcpu));
            running
        });
        let thread = {
            let (guest, seen) = (guest.clone(), seen.clone());
            thread::spawn(move || {
                let block = decode(&mut other, &guest);
                seen.check(&block, &guest);
                write(&mut other, &guest, 1);
                drop(others);
                block
            })
        };
        let block = decode(&mut one, &guest);
        seen.check(&block, &guest);
        drop(running);
        let second = thread.join().unwrap();
        for block in [block, second] {
            seen.check(&block, &guest);
        }
    });
    outcomes.were_both();
}

/// Who starts to decode while another waits for a writer does not take him for gone.
#[test]
fn loom_two_that_decode_at_once_wait_for_the_same_writer() {
    let outcomes = std::sync::Arc::new(Outcomes::default());
    let seen = outcomes.clone();
    model(move || {
        let ([mut one, mut other, mut writer], guest) = vcpus();
        let running = enter(&mut writer);
        assert!(writes_unseen(&mut writer));
        let writing = {
            let guest = guest.clone();
            thread::spawn(move || {
                writer.attend();
                write(&mut writer, &guest, 1);
                drop(running);
            })
        };
        let decoding = {
            let guest = guest.clone();
            // The model checker starves the writer where two wait: one of them comes later.
            thread::spawn(move || no_writer(&other).then(|| decode(&mut other, &guest)))
        };
        let block = decode(&mut one, &guest);
        let blocks = decoding.join().unwrap().into_iter().chain([block]);
        let blocks: Vec<_> = blocks.inspect(|block| _ = seen.check(block, &guest)).collect();
        writing.join().unwrap();
        for block in &blocks {
            seen.check(block, &guest);
        }
    });
    outcomes.were_both();
}

/// A vCPU in the guest hears everybody who asks it to forget, also who asks while it does.
#[test]
fn loom_who_asks_is_heard() {
    model(|| {
        let ([mut runs, one, other], guest) = vcpus();
        let _running = enter(&mut runs);
        let asking = {
            let guest = guest.clone();
            let ask = |vcpu: &Vcpu, meanwhile: &mut dyn FnMut()| {
                vcpu.cpu.memory.forget_writes(1, vcpu.cpu.member_index, meanwhile);
            };
            thread::spawn(move || {
                let mut once = Some(other);
                ask(&one, &mut || _ = once.take().map(|other| ask(&other, &mut || {})));
                guest.told.store(1, Ordering::Release);
            })
        };
        while guest.told.load(Ordering::Acquire) == 0 {
            runs.attend();
            thread::yield_now();
        }
        asking.join().unwrap();
    });
}

/// The write that makes the page data lets its writer write unseen again, beside one who decodes
/// anew, and whose older block is still believed.
#[test]
fn loom_no_block_outlives_its_lines() {
    let outcomes = std::sync::Arc::new(Outcomes::default());
    let seen = outcomes.clone();
    model(move || {
        let ([mut decoder, mut other], guest) = vcpus();
        let (decoding, running) = (enter(&mut decoder), enter(&mut other));
        decode(&mut decoder, &guest);
        (1..PATIENCE).for_each(|_| other.cpu.memory.invalidate(AT, 1));
        let old = decode(&mut decoder, &guest);
        let thread = {
            let guest = guest.clone();
            thread::spawn(move || {
                write(&mut other, &guest, 1);
                write(&mut other, &guest, 2);
                drop(running);
            })
        };
        seen.check(&old, &guest);
        let new = decode(&mut decoder, &guest);
        seen.check(&new, &guest);
        drop(decoding);
        thread.join().unwrap();
        for block in [old, new] {
            seen.check(&block, &guest);
        }
    });
    outcomes.were_both();
}

/// One write makes the page data, while another's is under way.
#[test]
fn loom_a_write_while_lines_are_forgotten_is_seen() {
    let outcomes = std::sync::Arc::new(Outcomes::default());
    let seen = outcomes.clone();
    model(move || {
        let ([mut decoder, first, mut second], guest) = vcpus();
        let _running = (enter(&mut decoder), enter(&mut second));
        decode(&mut decoder, &guest);
        (1..PATIENCE).for_each(|_| first.cpu.memory.invalidate(AT, 1));
        let block = decode(&mut decoder, &guest);
        // Its write is to something else in the page.
        let data = thread::spawn(move || first.cpu.memory.invalidate(AT, 1));
        let code = {
            let guest = guest.clone();
            thread::spawn(move || write(&mut second, &guest, 1))
        };
        seen.check(&block, &guest);
        data.join().unwrap();
        code.join().unwrap();
        assert!(!seen.check(&block, &guest));
    });
    outcomes.were_both();
}
