// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which backend runs the machine.

use std::fmt;
use std::fs;

use super::kvm::{self, KvmError};
use crate::cli::{BackendChoice, ClockChoice};

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's.
    Kvm,
    /// The software CPU of `soft-vcpu`.
    Soft,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Kvm => "kvm",
            Kind::Soft => "soft",
        })
    }
}

/// A backend, and why it is this one.
#[derive(Debug)]
pub struct Selected {
    /// The backend.
    pub kind: Kind,
    /// The reason, if nobody asked for it by name.
    pub why: Option<String>,
}

/// Follows `choice`. `auto` is KVM where it runs guest code on the processor itself, in the host's
/// time: where /dev/kvm opens and the processor has VMX or SVM.
///
/// # Errors
/// [`KvmError`]: KVM was asked for by name and is not there.
pub fn select(choice: BackendChoice, clock: ClockChoice) -> Result<Selected, KvmError> {
    if (choice, clock) == (BackendChoice::Auto, ClockChoice::Virtual) {
        let why = "nothing else has a virtual clock".into();
        return Ok(Selected { kind: Kind::Soft, why: Some(why) });
    }
    match (choice, kvm::unavailable()) {
        (BackendChoice::Soft, _) => Ok(Selected { kind: Kind::Soft, why: None }),
        (BackendChoice::Kvm, None) => Ok(Selected { kind: Kind::Kvm, why: None }),
        (BackendChoice::Kvm, Some(error)) => Err(error),
        (BackendChoice::Auto, Some(error)) => {
            Ok(Selected { kind: Kind::Soft, why: Some(error.to_string()) })
        }
        (BackendChoice::Auto, None) => Ok(by_processor(&cpuinfo())),
    }
}

/// Empty where the host has no /proc.
fn cpuinfo() -> String {
    fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
}

/// /dev/kvm opens: is there more behind it than an emulator?
fn by_processor(cpuinfo: &str) -> Selected {
    let flags = cpuinfo.lines().filter_map(|line| line.strip_prefix("flags")).next();
    let words = || flags.unwrap_or_default().split_whitespace();
    let (kind, why) = match words().find(|word| ["vmx", "svm"].contains(word)) {
        Some(flag) => (Kind::Kvm, format!("/dev/kvm opens and this processor has {flag}")),
        None => (Kind::Soft, "/dev/kvm opens, but this processor has neither VMX nor SVM".into()),
    };
    Selected { kind, why: Some(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(flags: &str) -> Kind {
        let info = format!("processor\t: 0\nflags\t\t: {flags}\nvmx flags\t: vnmi\nbugs\t\t:\n");
        by_processor(&info).kind
    }

    #[test]
    fn kvm_needs_a_processor_that_runs_guests() {
        assert_eq!(kind("fpu vme vmx sse2"), Kind::Kvm);
        assert_eq!(kind("fpu svm"), Kind::Kvm);
        assert_eq!(kind("fpu vme hypervisor svm_lock"), Kind::Soft);
        assert_eq!(by_processor("").kind, Kind::Soft);
    }

    #[test]
    fn what_was_asked_for_needs_no_reason() {
        let soft = select(BackendChoice::Soft, ClockChoice::Host).unwrap();
        assert_eq!((soft.kind, soft.why), (Kind::Soft, None));
        let virtual_time = select(BackendChoice::Auto, ClockChoice::Virtual).unwrap();
        assert_eq!(virtual_time.kind, Kind::Soft);
    }
}
