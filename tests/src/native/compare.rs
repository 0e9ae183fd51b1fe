// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What counts as a difference.

use std::fmt;

use super::case::{Case, Outcome, Undefined};
use super::layout::DATA;

/// CF PF AF ZF SF DF OF.
const FLAGS: u64 = 0xcd5;

/// Where two outcomes differ: what, natively, softly.
#[derive(Clone, Debug)]
pub struct Difference(pub Vec<(String, String, String)>);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, native, soft) in &self.0 {
            writeln!(f, "  {what}: native {native}, soft {soft}")?;
        }
        Ok(())
    }
}

/// The differences, if there are any.
pub fn compare(case: &Case, native: &Outcome, soft: &Outcome) -> Option<Difference> {
    let mut found = Vec::new();
    let mut check = |what: String, native: String, soft: String| {
        if native != soft {
            found.push((what, native, soft));
        }
    };
    let exception = |one: &Outcome| match one.exception {
        None => "no exception".into(),
        Some((vector, rip)) => format!("exception {vector} at {rip:#x}"),
    };
    check("end".into(), exception(native), exception(soft));
    for n in 0..16 {
        let hex = |one: &Outcome| format!("{:#x}", one.registers.gpr[n]);
        check(format!("r{n}"), hex(native), hex(soft));
    }
    // An instruction that faulted has not left its undefined flags.
    let undefined = match native.exception {
        Some(_) => Undefined::default(),
        None => case.undefined,
    };
    let flags = |one: &Outcome| one.registers.rflags & FLAGS & !undefined.rflags;
    let flags = |one: &Outcome| format!("{:#x}", flags(one));
    check("rflags".into(), flags(native), flags(soft));
    let status = |one: &Outcome| {
        let fx = &one.registers.fx;
        format!("{:#06x}", u16::from_le_bytes([fx[2], fx[3]]) & !undefined.fsw)
    };
    check("fsw".into(), status(native), status(soft));
    for (what, range) in fields() {
        let hex = |one: &Outcome| {
            let bytes = one.registers.fx[range.clone()].iter().rev();
            bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        check(what, hex(native), hex(soft));
    }
    let differs = native.memory.iter().zip(&soft.memory).position(|(a, b)| a != b);
    if let Some(at) = differs {
        let at = at & !7;
        let hex = |one: &Outcome| {
            let bytes = one.memory[at..(at + 16).min(one.memory.len())].iter().rev();
            bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        check(format!("memory at {:#x}", DATA + at as u64), hex(native), hex(soft));
    }
    (!found.is_empty()).then_some(Difference(found))
}

/// The parts of the FXSAVE image: not the last instruction's pointers, which processors save in
/// different circumstances.
fn fields() -> Vec<(String, std::ops::Range<usize>)> {
    let mut fields =
        vec![("fcw".to_string(), 0..2), ("ftw".to_string(), 4..5), ("mxcsr".to_string(), 24..28)];
    fields.extend((0..8).map(|n| (format!("st{n}"), 32 + 16 * n..42 + 16 * n)));
    fields.extend((0..16).map(|n| (format!("xmm{n}"), 160 + 16 * n..176 + 16 * n)));
    fields
}

#[cfg(test)]
mod tests {
    use super::super::case::Registers;
    use super::*;

    #[test]
    fn a_difference_in_the_last_byte_of_memory_is_one() {
        let registers = Registers { gpr: [0; 16], rflags: 2, fx: [0; 512] };
        let undefined = Undefined::default();
        let case = Case { code: vec![0x90], registers: registers.clone(), memory: 0, undefined };
        let outcome = |last| {
            let memory = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
            Outcome { registers: registers.clone(), memory, exception: None }
        };
        assert!(compare(&case, &outcome(1), &outcome(1)).is_none());
        let difference = compare(&case, &outcome(1), &outcome(2)).unwrap();
        let what = format!("memory at {:#x}", DATA + 8);
        let [native, soft] = ["0100000000000000", "0200000000000000"].map(String::from);
        assert_eq!(difference.0, [(what, native, soft)]);
    }
}
