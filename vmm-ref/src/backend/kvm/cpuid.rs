// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CPUID: what KVM supports, less what needs its in-kernel LAPIC, plus our own APICs.

use kvm_bindings::{kvm_cpuid_entry2, CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Kvm;

use super::{CpuidFacts, Forwarding, KvmError, Named};

/// Leaf 1 (Intel SDM vol. 2, "CPUID": feature information).
mod leaf1 {
    pub const ECX_MONITOR: u32 = 1 << 3;
    pub const ECX_VMX: u32 = 1 << 5;
    pub const ECX_PDCM: u32 = 1 << 15;
    pub const ECX_X2APIC: u32 = 1 << 21;
    pub const ECX_TSC_DEADLINE: u32 = 1 << 24;
    pub const ECX_HYPERVISOR: u32 = 1 << 31;
    pub const EDX_APIC: u32 = 1 << 9;
    pub const EDX_HTT: u32 = 1 << 28;
}

/// Leaf 6: the APIC timer always runs. Ours does, but Linux takes this bit and TSC deadlines
/// together as "no 8254 needed", and then has no clock at all when booted with `nolapic_timer`.
/// Without deep C-states the bit serves nothing else.
const LEAF6_EAX_ARAT: u32 = 1 << 2;

/// Leaf 0x8000_0001 (AMD APM vol. 3, "Extended Processor and Processor Feature Identifiers").
mod extended1 {
    pub const ECX_CMP_LEGACY: u32 = 1 << 1;
    pub const ECX_SVM: u32 = 1 << 2;
    pub const ECX_EXT_APIC: u32 = 1 << 3;
    pub const ECX_PERF_CTR_CORE: u32 = 1 << 23;
}

/// KVM's paravirtual features (Linux, Documentation/virt/kvm/x86/cpuid.rst) that work without
/// its in-kernel LAPIC. Left out: asynchronous page faults (4, 10, 14), PV EOI (6), kicks of
/// halted vCPUs (7), PV IPIs (11), poll control (12), yield (13): all act on that LAPIC.
const PARAVIRTUAL: u32 = 1 << 0 // clock source at the old MSRs
    | 1 << 1 // no delay on port I/O
    | 1 << 3 // clock source
    | 1 << 5 // steal time
    | 1 << 24; // the clock source is stable

/// The CPUID of one vCPU.
pub fn build(kvm: &Kvm, facts: CpuidFacts, forwarding: Forwarding) -> Result<CpuId, KvmError> {
    let mut cpuid =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).named("KVM_GET_SUPPORTED_CPUID")?;
    for entry in cpuid.as_mut_slice() {
        adjust(entry, facts, forwarding);
    }
    Ok(cpuid)
}

fn adjust(entry: &mut kvm_cpuid_entry2, facts: CpuidFacts, forwarding: Forwarding) {
    match entry.function {
        0x1 => features(entry, facts, forwarding),
        0x4 => share_no_cache(entry),
        0x6 => entry.eax &= !LEAF6_EAX_ARAT,
        // Architectural performance monitoring: nobody could deliver its interrupt.
        0xa => clear(entry),
        0xb | 0x1f => topology(entry, facts),
        0x4000_0001 => entry.eax &= PARAVIRTUAL,
        0x8000_0001 => {
            entry.ecx &=
                !(extended1::ECX_SVM | extended1::ECX_EXT_APIC | extended1::ECX_PERF_CTR_CORE);
            set(&mut entry.ecx, extended1::ECX_CMP_LEGACY, facts.cpus > 1);
            set(&mut entry.edx, leaf1::EDX_APIC, facts.apic);
        }
        0x8000_0008 => {
            let width = apic_id_bits(facts.cpus);
            entry.ecx = entry.ecx & !0xf0ff | width << 12 | (facts.cpus - 1);
        }
        // Nested SVM is not offered.
        0x8000_000a => clear(entry),
        0x8000_001e => {
            (entry.eax, entry.ebx, entry.ecx) = (facts.apic_id, facts.apic_id, 0);
        }
        // AMD's second generation of performance monitoring.
        0x8000_0022 => clear(entry),
        _ => {}
    }
}

fn features(entry: &mut kvm_cpuid_entry2, facts: CpuidFacts, forwarding: Forwarding) {
    use leaf1::*;
    entry.ebx = entry.ebx & 0xffff | facts.cpus << 16 | facts.apic_id << 24;
    entry.ecx &= !(ECX_MONITOR | ECX_VMX | ECX_PDCM);
    entry.ecx |= ECX_HYPERVISOR;
    set(&mut entry.ecx, ECX_X2APIC, facts.apic && forwarding.x2apic && forwarding.apic_base);
    set(&mut entry.ecx, ECX_TSC_DEADLINE, facts.apic && forwarding.tsc_deadline);
    // KVM itself clears this bit while IA32_APIC_BASE says that the APIC is off.
    set(&mut entry.edx, EDX_APIC, facts.apic);
    set(&mut entry.edx, EDX_HTT, facts.cpus > 1);
}

/// Each vCPU is a core of one package, with caches of its own.
fn share_no_cache(entry: &mut kvm_cpuid_entry2) {
    if entry.eax & 0x1f != 0 {
        entry.eax &= 0x3fff;
    }
}

/// Extended topology: one thread per core (level 0), all cores in one package (level 1).
fn topology(entry: &mut kvm_cpuid_entry2, facts: CpuidFacts) {
    const SMT: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;
    (entry.eax, entry.ebx, entry.ecx) = match entry.index {
        0 => (0, 1, SMT),
        1 => (apic_id_bits(facts.cpus), facts.cpus, CORE | 1),
        other => (0, 0, other),
    };
    entry.edx = facts.apic_id;
}

fn apic_id_bits(cpus: u32) -> u32 {
    cpus.next_power_of_two().trailing_zeros()
}

fn clear(entry: &mut kvm_cpuid_entry2) {
    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
}

fn set(register: &mut u32, bits: u32, on: bool) {
    *register = if on { *register | bits } else { *register & !bits };
}
