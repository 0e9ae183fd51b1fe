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
    choose(choice, clock, kvm::unavailable)
}

/// `unavailable` opens /dev/kvm: not for a machine that has no use for it.
fn choose(
    choice: BackendChoice,
    clock: ClockChoice,
    unavailable: impl FnOnce() -> Option<KvmError>,
) -> Result<Selected, KvmError> {
    match (choice, clock) {
        (BackendChoice::Soft, _) => Ok(Selected { kind: Kind::Soft, why: None }),
        (BackendChoice::Kvm, _) => match unavailable() {
            None => Ok(Selected { kind: Kind::Kvm, why: None }),
            Some(error) => Err(error),
        },
        (BackendChoice::Auto, ClockChoice::Virtual) => {
            let why = "nothing else has a virtual clock".into();
            Ok(Selected { kind: Kind::Soft, why: Some(why) })
        }
        (BackendChoice::Auto, ClockChoice::Host) => Ok(match unavailable() {
            None => by_processor(&cpuinfo()),
            Some(error) => Selected { kind: Kind::Soft, why: Some(error.to_string()) },
        }),
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
    fn who_runs_on_the_software_cpu_leaves_kvm_alone() {
        let unasked = || panic!("this opens /dev/kvm");
        let soft = choose(BackendChoice::Soft, ClockChoice::Host, unasked).unwrap();
        assert_eq!((soft.kind, soft.why), (Kind::Soft, None));
        let virtual_time = choose(BackendChoice::Auto, ClockChoice::Virtual, unasked).unwrap();
        assert_eq!(virtual_time.kind, Kind::Soft);
    }
}
