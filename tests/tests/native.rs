// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `soft-vcpu` against this processor: a sample of what `native-check` runs a million of.

use integration::native::{Native, Report};

/// Enough for every common instruction to come up several times.
const CASES: u64 = 20_000;

fn text(report: &Report) -> String {
    let of_one = |(name, cases): (&String, &Vec<_>)| {
        let cases: String = cases.iter().map(|(case, why)| format!("{case}\n{why}\n")).collect();
        format!("{name}:\n{cases}")
    };
    report.differences.iter().map(of_one).collect()
}

#[test]
fn random_sequences_end_as_on_this_processor() {
    let mut native = Native::new().unwrap();
    let report = native.run(2026, CASES, |_| ());
    assert!(report.differences.is_empty(), "{}", text(&report));
    assert_eq!(report.cases, CASES);
    // The generator reaches what it is for.
    assert!(report.mnemonics.len() > 400, "{} mnemonics", report.mnemonics.len());
    assert!(report.exceptions > CASES / 100, "{} exceptions", report.exceptions);
    for name in ["Cmpxchg16b", "Pcmpistri", "Fbstp", "Roundsd", "Rcl", "Movsb", "Emms"] {
        assert!(report.mnemonics.contains_key(name), "{name} was never executed");
    }
}
