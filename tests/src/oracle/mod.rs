// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Our models beside the kernel's own, fed alike.
//!
//! Each oracle runs a script of steps against both, compares after each step, and on a
//! difference says the shortest script that shows it.

pub mod apics;
pub mod ioapics;
pub mod pics;
pub mod ports;

use std::fmt::Debug;

use kvm_ioctls::{Kvm, VmFd};

/// The KVM that answers.
///
/// # Panics
/// Without a usable `/dev/kvm`.
pub fn kvm() -> Kvm {
    Kvm::new().expect(
        "this test asks the real KVM: /dev/kvm must exist and be readable and writable by you",
    )
}

/// A virtual machine with the kernel's PIC pair, IOAPIC and local APICs.
///
/// # Panics
/// Where KVM refuses.
pub fn machine(kvm: &Kvm) -> VmFd {
    let vm = kvm.create_vm().expect("KVM_CREATE_VM");
    vm.create_irq_chip().expect("KVM_CREATE_IRQCHIP");
    vm
}

/// Numbers that look random and are the same in each run (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// 0..`limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Runs a script; on a difference drops every step that is not needed to show it.
///
/// # Panics
/// With the difference and the shortest script, if there is one.
pub fn compare<S: Clone + Debug>(
    name: &str,
    script: Vec<S>,
    mut run: impl FnMut(&[S]) -> Result<(), String>,
) {
    let Err(mut difference) = run(&script) else { return };
    let mut script = script;
    let mut length = script.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < script.len() {
            let mut shorter = script.clone();
            shorter.drain(at..(at + length).min(script.len()));
            match run(&shorter) {
                Err(still) => (script, difference) = (shorter, still),
                Ok(()) => at += length,
            }
        }
        length /= 2;
    }
    panic!("{name}: {difference}\nshortest script:\n{script:#x?}");
}
