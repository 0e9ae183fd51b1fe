// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MMX and SSE, compared with the processor that this runs on: every encoding, in its register and
//! memory forms, with every immediate.
//!
//! Memory operands are near the end of a page behind which nothing can be accessed, on both sides:
//! an instruction that reads more than it needs does not get through.

mod faults;
pub(super) mod forms;
pub(super) mod host;
pub(super) mod registers;
pub(super) mod soft;

use iced_x86::{Code, Mnemonic};

use host::Host;
use registers::Rng;
use soft::Soft;

pub(super) const PAGE: usize = 4096;
/// Bytes of memory that are compared.
pub(super) const SEEN: usize = 64;

#[test]
fn instructions_without_an_immediate_do_what_the_processor_does() {
    compare_all(|code| !forms::has_immediate(code));
}

#[test]
fn instructions_with_an_immediate_do_what_the_processor_does() {
    compare_all(|code| forms::has_immediate(code) && !is_text(code.mnemonic()));
}

#[test]
fn string_comparisons_do_what_the_processor_does() {
    compare_all(|code| is_text(code.mnemonic()));
}

fn is_text(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    let explicit = [Pcmpestri, Pcmpestri64, Pcmpestrm, Pcmpestrm64].contains(&mnemonic);
    explicit || [Pcmpistri, Pcmpistrm].contains(&mnemonic)
}

/// Whether a memory operand of 16 bytes may be anywhere (SDM vol. 1, "Memory Alignment
/// Requirement" of legacy SSE instructions, and each of these instructions' own page).
fn may_be_unaligned(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Movups | Movupd | Movdqu | Lddqu | Maskmovdqu) || is_text(mnemonic)
}

fn ours(wanted: fn(Code) -> bool) -> impl Iterator<Item = Code> {
    forms::codes().filter(move |code| !forms::is_elsewhere(code.mnemonic()) && wanted(*code))
}

/// The forms that a code has: whether the operand is in memory.
pub(super) fn forms_of(code: Code) -> impl Iterator<Item = bool> {
    let register = forms::has_register_form(code).then_some(false);
    let memory = (forms::memory_size(code) != 0).then_some(true);
    register.into_iter().chain(memory)
}

fn compare_all(wanted: fn(Code) -> bool) {
    let (mut host, mut soft) = (Host::new(), Soft::new());
    let mut rng = Rng(2026);
    for code in ours(wanted) {
        for memory in forms_of(code) {
            // Without an immediate, as many choices of registers; some 300 operands at least.
            let (rounds, operands) = match (forms::has_immediate(code), is_text(code.mnemonic())) {
                (true, false) => (256, 6),
                (true, true) => (256, 24),
                _ => (16, 24),
            };
            for round in 0..rounds {
                let bytes = forms::instruction(code, memory, round as u8, &mut rng);
                host.load(&bytes);
                soft.load(&bytes);
                for _ in 0..operands {
                    compare(&mut host, &mut soft, code, &bytes, &mut rng);
                }
            }
        }
    }
}

fn compare(host: &mut Host, soft: &mut Soft, code: Code, bytes: &[u8], rng: &mut Rng) {
    let size = forms::memory_size(code);
    let mut before = rng.registers();
    let offset = match size == 16 && !may_be_unaligned(code.mnemonic()) {
        true => PAGE - 16 * (1 + rng.below(3) as usize),
        false => PAGE - size - [0, 0, 1, 3, 8, 16][rng.below(6) as usize],
    };
    (before.gpr[6], before.gpr[7]) = (offset as u64, offset as u64);
    let memory: Vec<u8> = (0..SEEN / 16).flat_map(|_| rng.operand().to_le_bytes()).collect();
    let (mut native_memory, mut soft_memory) = (memory.clone(), memory.clone());
    let native = host.run(&before, &mut native_memory);
    let soft = soft.run(&before, &mut soft_memory);
    let case = || format!("{code:?} {bytes:02x?} with {before:x?}, memory {memory:02x?}");
    assert_eq!(native, soft, "native, soft: {}", case());
    assert_eq!(native_memory, soft_memory, "native, soft: {}", case());
}
