// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `soft-vcpu` against the processor that this runs on.
//!
//! Random sequences of user-mode instructions with random registers, flags and memory are executed
//! by this process itself and by a soft vCPU at the same addresses; then registers, flags, x87, SSE
//! and memory must be equal, and so must the exception, if there is one. Flags that the manual
//! calls undefined are not compared: an instruction that leaves some ends its sequence.

mod case;
mod compare;
mod generate;
mod host;
mod layout;
mod rng;
mod soft;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
pub use case::Case;
pub use compare::Difference;
use generate::Generator;
use host::Host;
use soft::Soft;

/// The two processors, side by side. One per process: the host's side is at fixed addresses.
pub struct Native {
    host: Host,
    soft: Soft,
}

/// What a run of many cases found.
#[derive(Default)]
pub struct Report {
    /// Cases executed.
    pub cases: u64,
    /// Of them, those that ended with an exception, the same on both sides.
    pub exceptions: u64,
    /// How often each mnemonic was executed to its end.
    pub mnemonics: BTreeMap<String, u64>,
    /// Cases with a difference, cut off behind the instruction that makes it, by that
    /// instruction's mnemonic; at most [`Report::KEPT`] of each.
    pub differences: BTreeMap<String, Vec<(Case, Difference)>>,
}

impl Report {
    /// How many differences of a mnemonic are kept.
    pub const KEPT: usize = 2;
}

impl Native {
    /// Maps the host's side.
    ///
    /// # Errors
    /// If the addresses are taken, or this host is no x86-64-v2.
    pub fn new() -> Result<Self> {
        let host = Host::new().context("cannot set up the native side")?;
        Ok(Native { host, soft: Soft::new()? })
    }

    /// Runs `cases` cases from a seed; `progress` is told the number done, every thousand.
    pub fn run(&mut self, seed: u64, cases: u64, mut progress: impl FnMut(u64)) -> Report {
        let mut report = Report::default();
        for number in 0..cases {
            let case = Generator::new(seed, number).case();
            self.one(case, &mut report);
            if number % 1000 == 999 {
                progress(number + 1);
            }
        }
        report
    }

    fn one(&mut self, case: Case, report: &mut Report) {
        let native = self.host.run(&case);
        let soft = self.soft.run(&case);
        report.cases += 1;
        report.exceptions += u64::from(native.exception.is_some());
        for mnemonic in case.executed(native.exception) {
            *report.mnemonics.entry(mnemonic).or_default() += 1;
        }
        if let Some(difference) = compare::compare(&case, &native, &soft) {
            let (culprit, case, difference) = self.cut(case, difference);
            let of_it = report.differences.entry(culprit).or_default();
            if of_it.len() < Report::KEPT {
                of_it.push((case, difference));
            }
        }
    }

    /// The shortest beginning of a case that differs, and its last instruction's mnemonic.
    fn cut(&mut self, case: Case, difference: Difference) -> (String, Case, Difference) {
        for instruction in case.instructions() {
            let end = (instruction.ip() - layout::CODE) as usize + instruction.len();
            let mut part = case.clone();
            part.code.truncate(end);
            part.undefined = generate::undefined_after(&instruction);
            let (native, soft) = (self.host.run(&part), self.soft.run(&part));
            if let Some(difference) = compare::compare(&part, &native, &soft) {
                return (format!("{:?}", instruction.mnemonic()), part, difference);
            }
        }
        ("?".into(), case, difference)
    }
}
