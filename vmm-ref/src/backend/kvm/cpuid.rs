// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! CPUID: what KVM supports, less what needs its in-kernel LAPIC, plus our own APICs.

use kvm_bindings::{
    kvm_cpuid_entry2, CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES,
};
use kvm_ioctls::{Error, Kvm};

use super::{KvmError, Named};
use crate::backend::topology::{self, apic_id_bits};
use crate::backend::{CpuidFacts, Forwarding};

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

/// What this KVM can offer a guest.
pub fn supported(kvm: &Kvm) -> Result<CpuId, KvmError> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).named("KVM_GET_SUPPORTED_CPUID")
}

/// The CPUID of one vCPU.
pub fn build(supported: &CpuId, facts: CpuidFacts, forwarding: Forwarding) -> Result<CpuId, Error> {
    let entries = entries(supported.as_slice(), facts, forwarding);
    CpuId::from_entries(&entries).map_err(|_| Error::new(libc::E2BIG))
}

/// Bits of a guest-physical address, 32..=52 (leaf 0x8000_0008; 36 without it, as KVM has it).
pub fn physical_address_bits(supported: &CpuId) -> u8 {
    let leaf = supported.as_slice().iter().find(|entry| entry.function == 0x8000_0008);
    leaf.map_or(36, |entry| entry.eax as u8).clamp(32, 52)
}

fn entries(
    supported: &[kvm_cpuid_entry2],
    facts: CpuidFacts,
    forwarding: Forwarding,
) -> Vec<kvm_cpuid_entry2> {
    let amd = is_amd(supported);
    let mut entries = Vec::with_capacity(supported.len() + 2);
    for entry in supported {
        match (entry.function, entry.index) {
            // KVM gives level 0 alone, empty: the topology is the VMM's to say.
            (0xb | 0x1f, 0) => entries.extend(extended_topology(entry.function, facts)),
            (0xb | 0x1f, _) => {}
            _ => {
                let mut entry = *entry;
                adjust(&mut entry, facts, forwarding, amd);
                entries.push(entry);
            }
        }
    }
    entries
}

/// Leaf 0: EBX, EDX and ECX spell the vendor; the first four letters tell them apart.
fn is_amd(supported: &[kvm_cpuid_entry2]) -> bool {
    let vendors = [*b"Auth", *b"Hygo"].map(u32::from_le_bytes);
    supported.iter().any(|entry| entry.function == 0 && vendors.contains(&entry.ebx))
}

fn adjust(entry: &mut kvm_cpuid_entry2, facts: CpuidFacts, forwarding: Forwarding, amd: bool) {
    match entry.function {
        0x1 => features(entry, facts, forwarding),
        0x4 => caches(entry, facts),
        0x6 => entry.eax &= !LEAF6_EAX_ARAT,
        // Performance monitoring and last-branch records: nobody could deliver their interrupt.
        0xa | 0x1c | 0x23 => clear(entry),
        0x4000_0001 => entry.eax &= PARAVIRTUAL,
        0x8000_0001 => {
            entry.ecx &=
                !(extended1::ECX_SVM | extended1::ECX_EXT_APIC | extended1::ECX_PERF_CTR_CORE);
            // Both bits are AMD's.
            set(&mut entry.ecx, extended1::ECX_CMP_LEGACY, amd && facts.cpus > 1);
            set(&mut entry.edx, leaf1::EDX_APIC, amd && facts.apic);
        }
        0x8000_0008 if amd => {
            let width = apic_id_bits(facts.cpus);
            entry.ecx = entry.ecx & !0xf0ff | width << 12 | (facts.cpus - 1);
        }
        // Nested SVM is not offered.
        0x8000_000a => clear(entry),
        0x8000_001d => share_no_cache(entry),
        0x8000_001e if amd => {
            (entry.eax, entry.ebx, entry.ecx) = (facts.apic_id, facts.apic_id, 0);
        }
        // AMD's second generation of performance monitoring; its extended topology.
        0x8000_0022 | 0x8000_0026 => clear(entry),
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
fn caches(entry: &mut kvm_cpuid_entry2, facts: CpuidFacts) {
    share_no_cache(entry);
    if entry.eax & 0x1f != 0 {
        // Bits 31:26: APIC ids reserved for the package's cores, less one.
        let ids = facts.cpus.next_power_of_two();
        entry.eax = entry.eax & 0x3ff_ffff | ((ids - 1) & 0x3f) << 26;
    }
}

/// Bits 25:14: logical processors that share this cache, less one.
fn share_no_cache(entry: &mut kvm_cpuid_entry2) {
    entry.eax &= !(0xfff << 14);
}

fn extended_topology(function: u32, facts: CpuidFacts) -> [kvm_cpuid_entry2; 3] {
    topology::levels(facts).map(|level| kvm_cpuid_entry2 {
        function,
        index: level.index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: level.eax,
        ebx: level.ebx,
        ecx: level.ecx,
        edx: facts.apic_id,
        ..Default::default()
    })
}

fn clear(entry: &mut kvm_cpuid_entry2) {
    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
}

fn set(register: &mut u32, bits: u32, on: bool) {
    *register = if on { *register | bits } else { *register & !bits };
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Forwarding = Forwarding { apic_base: true, x2apic: true, tsc_deadline: true };
    const FACTS: CpuidFacts = CpuidFacts { apic_id: 4, cpus: 6, apic: true };

    fn leaf(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = registers;
        kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
    }

    fn vendor(name: &[u8; 4]) -> kvm_cpuid_entry2 {
        leaf(0, 0, [0x1f, u32::from_le_bytes(*name), 0, 0])
    }

    fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> [u32; 4] {
        let found = |entry: &&kvm_cpuid_entry2| (entry.function, entry.index) == (function, index);
        let entry = entries.iter().find(found).expect("the leaf is there");
        [entry.eax, entry.ebx, entry.ecx, entry.edx]
    }

    #[test]
    fn extended_topology_has_all_its_levels_where_kvm_gives_one() {
        for function in [0xb, 0x1f] {
            let given = [vendor(b"Genu"), leaf(function, 0, [0, 0, 0, 3])];
            let entries = entries(&given, FACTS, ALL);
            assert_eq!(find(&entries, function, 0), [0, 1, 0x100, 4]);
            assert_eq!(find(&entries, function, 1), [3, 6, 0x201, 4]);
            assert_eq!(find(&entries, function, 2), [0, 0, 2, 4]);
            assert_eq!(entries.len(), 4);
        }
    }

    #[test]
    fn caches_are_shared_with_nobody() {
        let given = [
            vendor(b"Genu"),
            leaf(4, 0, [0xfc00_4121, 0, 0, 0]),
            leaf(4, 4, [0, 0, 0, 0]),
            leaf(0x8000_001d, 3, [0x0003_c163, 0, 0, 0]),
        ];
        let entries = entries(&given, FACTS, ALL);
        assert_eq!(find(&entries, 4, 0)[0], 7 << 26 | 0x121, "eight ids for the cores");
        assert_eq!(find(&entries, 4, 4)[0], 0, "the end of the list");
        assert_eq!(find(&entries, 0x8000_001d, 3)[0], 0x163);
    }

    #[test]
    fn amd_topology_stays_off_other_vendors() {
        let leaves = [
            leaf(0x8000_0001, 0, [0; 4]),
            leaf(0x8000_0008, 0, [0x3030, 0, 0x7001, 0]),
            leaf(0x8000_001e, 0, [0; 4]),
        ];
        let on = |name| {
            let given = [[vendor(name)].as_slice(), &leaves].concat();
            let entries = entries(&given, FACTS, ALL);
            [0x8000_0001, 0x8000_0008, 0x8000_001e].map(|leaf| find(&entries, leaf, 0))
        };
        assert_eq!(on(b"Genu"), [[0; 4], [0x3030, 0, 0x7001, 0], [0; 4]]);
        assert_eq!(on(b"Auth"), [[0, 0, 2, 1 << 9], [0x3030, 0, 0x3005, 0], [4, 4, 0, 0]]);
        assert_eq!(on(b"Hygo"), on(b"Auth"));
    }

    #[test]
    fn what_kvm_does_not_forward_is_not_offered() {
        let both = leaf1::ECX_X2APIC | leaf1::ECX_TSC_DEADLINE;
        let given = [leaf(1, 0, [0, 0, !0, !0])];
        let offered = |facts, forwarding| {
            let [_, _, ecx, edx] = find(&entries(&given, facts, forwarding), 1, 0);
            (ecx & both, edx & leaf1::EDX_APIC != 0)
        };
        assert_eq!(offered(FACTS, ALL), (both, true));
        assert_eq!(offered(FACTS, Forwarding::default()), (0, true));
        let no_base = Forwarding { apic_base: false, ..ALL };
        assert_eq!(offered(FACTS, no_base), (leaf1::ECX_TSC_DEADLINE, true));
        assert_eq!(offered(CpuidFacts { apic: false, ..FACTS }, ALL), (0, false));
    }

    #[test]
    fn paravirtual_features_that_need_kvms_lapic_are_hidden() {
        let entries = entries(&[leaf(0x4000_0001, 0, [!0; 4])], FACTS, ALL);
        let offered = find(&entries, 0x4000_0001, 0)[0];
        for (bit, name) in [
            (4, "asynchronous page faults"),
            (6, "PV EOI"),
            (7, "PV unhalt"),
            (10, "asynchronous page faults in the guest"),
            (11, "PV IPIs"),
            (12, "poll control"),
            (13, "PV yield"),
            (14, "asynchronous page fault interrupts"),
            (15, "extended destination ids"),
        ] {
            assert_eq!(offered & 1 << bit, 0, "{name}");
        }
        assert_ne!(offered & 1 << 3, 0, "the clock is there");
    }

    #[test]
    fn lap_1_the_width_of_addresses_is_what_kvm_checks() {
        let width = |entries: &[kvm_cpuid_entry2]| {
            physical_address_bits(&CpuId::from_entries(entries).unwrap())
        };
        assert_eq!(width(&[leaf(0x8000_0008, 0, [0x3030, 0, 0, 0])]), 48);
        assert_eq!(width(&[]), 36);
    }
}
