// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Several vCPUs' local APICs, KVM's and ours.

use irq_routing::{Msi, MsiFormat};
use kvm_bindings::{
    kvm_enable_cap, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_vcpu_events, Msrs,
    KVM_CAP_X2APIC_API, KVM_CAP_X86_SMM, KVM_MP_STATE_RUNNABLE, KVM_VCPUEVENT_VALID_NMI_PENDING,
    KVM_VCPUEVENT_VALID_SMM, KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, KVM_X2APIC_API_USE_32BIT_IDS,
};
use kvm_ioctls::{VcpuFd, VmFd};
use lapic_emulation::kvm::IdFormat;
use lapic_emulation::spec::MSR_APIC_BASE;
use lapic_emulation::spec::{dfr, reg, svr, ApicBase, Lvt, LvtIndex, DEFAULT_BASE, PAGE_SIZE};
use lapic_emulation::StartState;
use lapic_emulation::{
    ApicMode, Config, DestinationEntry, DestinationMap, Lapic, LapicState, Now, PostedInterrupts,
};

use super::{kvm, machine, Random};

/// Time stands still: no timer runs in these tests.
pub const NOW: Now = Now { ns: 0, tsc: 0 };

/// The kernel's local APICs.
pub struct KvmApics {
    vm: VmFd,
    vcpus: Vec<VcpuFd>,
    format: MsiFormat,
    smm: bool,
}

/// What reached a CPU beside vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// NMIs, up to 2.
    pub nmi: u8,
    /// An SMI.
    pub smi: bool,
    /// An INIT.
    pub init: bool,
}

impl KvmApics {
    /// vCPUs with these APIC ids. With [`MsiFormat::X2apic32`] KVM is told to use 32-bit ids.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn new(ids: &[u32], format: MsiFormat) -> Self {
        let kvm = kvm();
        let vm = machine(&kvm);
        if format == MsiFormat::X2apic32 {
            let mut cap = kvm_enable_cap { cap: KVM_CAP_X2APIC_API, ..Default::default() };
            let flags = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
            cap.args[0] = flags.into();
            vm.enable_cap(&cap).expect("KVM_CAP_X2APIC_API");
        }
        let cpuid = kvm.get_supported_cpuid(80).expect("KVM_GET_SUPPORTED_CPUID");
        let create = |id: &u32| {
            let vcpu = vm.create_vcpu(u64::from(*id)).expect("KVM_CREATE_VCPU");
            let mut cpuid = cpuid.clone();
            for entry in cpuid.as_mut_slice() {
                // x2APIC, and TSC deadlines, which KVM_GET_SUPPORTED_CPUID does not list.
                if entry.function == 1 {
                    entry.ecx |= 1 << 21 | 1 << 24;
                }
            }
            vcpu.set_cpuid2(&cpuid).expect("KVM_SET_CPUID2");
            vcpu
        };
        let vcpus = ids.iter().map(create).collect();
        let smm = vm.check_extension_raw(KVM_CAP_X86_SMM.into()) > 0;
        KvmApics { vm, vcpus, format, smm }
    }

    /// Whether this kernel has SMM; one without drops SMIs.
    pub fn has_smm(&self) -> bool {
        self.smm
    }

    fn id_format(&self) -> IdFormat {
        match self.format {
            MsiFormat::X2apic32 => IdFormat::X2apic32,
            _ => IdFormat::Xapic8,
        }
    }

    /// Gives every vCPU its local APIC's state; all CPUs run and nothing else is pending.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn load(&self, ours: &[Lapic]) {
        for (vcpu, lapic) in self.vcpus.iter().zip(ours) {
            let mp_state = kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE };
            vcpu.set_mp_state(mp_state).expect("KVM_SET_MP_STATE");
            assert!(self.set_msr(vcpu, MSR_APIC_BASE, lapic.apic_base()), "IA32_APIC_BASE");
            let page = lapic.kvm_state(self.id_format(), NOW);
            // Twice: KVM computes PPR from the number of in-service vectors that it had before.
            for _ in 0..2 {
                vcpu.set_lapic(&page).expect("KVM_SET_LAPIC");
            }
        }
        (0..self.vcpus.len()).for_each(|index| self.forget_events(index));
    }

    fn set_msr(&self, vcpu: &VcpuFd, index: u32, data: u64) -> bool {
        let entry = kvm_msr_entry { index, data, ..Default::default() };
        let msrs = Msrs::from_entries(&[entry]).expect("one MSR");
        vcpu.set_msrs(&msrs).expect("KVM_SET_MSRS") == 1
    }

    /// WRMSR on one vCPU; false is #GP.
    ///
    /// # Panics
    /// Where KVM refuses the call itself.
    pub fn write_msr(&self, index: usize, msr: u32, data: u64) -> bool {
        self.set_msr(&self.vcpus[index], msr, data)
    }

    /// RDMSR on one vCPU; `None` is #GP.
    ///
    /// # Panics
    /// Where KVM refuses the call itself.
    pub fn read_msr(&self, index: usize, msr: u32) -> Option<u64> {
        let entry = kvm_msr_entry { index: msr, ..Default::default() };
        let mut msrs = Msrs::from_entries(&[entry]).expect("one MSR");
        let count = self.vcpus[index].get_msrs(&mut msrs).expect("KVM_GET_MSRS");
        (count == 1).then(|| msrs.as_slice()[0].data)
    }

    /// `KVM_SIGNAL_MSI`: how many took it, below 0 if nobody was addressed.
    ///
    /// # Panics
    /// Where KVM refuses the call itself.
    pub fn signal(&self, msi: Msi) -> i32 {
        let msi = msi.to_kvm(self.format).expect("an MSI that means an interrupt");
        match self.vm.signal_msi(msi) {
            Ok(count) => count,
            // -1 of the interrupt code becomes this errno.
            Err(error) if error.errno() == libc::EPERM => -1,
            Err(error) => panic!("KVM_SIGNAL_MSI: {error}"),
        }
    }

    /// `KVM_GET_LAPIC`.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn page(&self, index: usize) -> kvm_lapic_state {
        self.vcpus[index].get_lapic().expect("KVM_GET_LAPIC")
    }

    /// What is pending beside vectors.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn arrived(&self, index: usize) -> Arrived {
        let events = self.vcpus[index].get_vcpu_events().expect("KVM_GET_VCPU_EVENTS");
        Arrived {
            nmi: events.nmi.pending,
            smi: events.smi.pending != 0,
            init: events.smi.latched_init != 0,
        }
    }

    /// Lets a CPU handle its INIT and start-up; whether it runs then, and its CS selector.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn start_state(&self, index: usize) -> (StartState, u16) {
        let vcpu = &self.vcpus[index];
        // This call handles them first.
        let mp_state = vcpu.get_mp_state().expect("KVM_GET_MP_STATE");
        let selector = vcpu.get_sregs().expect("KVM_GET_SREGS").cs.selector;
        (mp_state.try_into().expect("a state that a local APIC knows"), selector)
    }

    /// Drops what is pending beside vectors.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn forget_events(&self, index: usize) {
        // Look first: it collects what is still queued.
        self.arrived(index);
        let events = kvm_vcpu_events {
            flags: KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SMM,
            ..Default::default()
        };
        self.vcpus[index].set_vcpu_events(&events).expect("KVM_SET_VCPU_EVENTS");
    }
}

/// Ours.
pub struct OurApics {
    /// By vCPU index.
    pub lapics: Vec<Lapic>,
    /// By vCPU index.
    pub posted: Vec<PostedInterrupts>,
    /// Who is who now.
    pub map: DestinationMap,
    /// How the page holds ids.
    pub id_format: IdFormat,
}

impl OurApics {
    /// The local APICs in these states.
    ///
    /// # Panics
    /// Where a state cannot be.
    pub fn new(states: &[LapicState], format: MsiFormat) -> Self {
        let lapic = |state: &LapicState| {
            Lapic::from_state(config(state), state, NOW).expect("a state that can be")
        };
        let lapics: Vec<Lapic> = states.iter().map(lapic).collect();
        let posted = states.iter().map(|_| PostedInterrupts::new()).collect();
        let id_format = match format {
            MsiFormat::X2apic32 => IdFormat::X2apic32,
            _ => IdFormat::Xapic8,
        };
        let map = map(&lapics);
        OurApics { lapics, posted, map, id_format }
    }

    /// Takes what was posted to each, and says what of it was no vector.
    pub fn sync(&mut self, index: usize) -> Arrived {
        let synced = self.lapics[index].sync(&self.posted[index]);
        Arrived { nmi: synced.nmi, smi: synced.smi, init: synced.init }
    }

    /// Changes a state by hand.
    ///
    /// # Panics
    /// Where the state cannot be.
    pub fn edit(&mut self, index: usize, change: impl FnOnce(&mut LapicState)) {
        let mut state = self.lapics[index].state(NOW);
        change(&mut state);
        self.lapics[index] =
            Lapic::from_state(config(&state), &state, NOW).expect("a state that can be");
    }

    /// The rows of the destination map.
    pub fn entries(&self) -> Vec<DestinationEntry> {
        self.lapics.iter().map(Lapic::destination_entry).collect()
    }

    /// Looks again who is who.
    pub fn rebuild_map(&mut self) {
        self.map = map(&self.lapics);
    }

    /// Registers that differ from KVM's page: offset, ours, KVM's.
    pub fn differences(&self, index: usize, kvm: &kvm_lapic_state) -> Vec<(u16, u32, u32)> {
        let ours = self.lapics[index].kvm_state(self.id_format, NOW);
        (0..0x400)
            .step_by(16)
            // KVM does not compute the arbitration priority, which no CPU since the P6 uses.
            .filter(|offset| *offset != reg::APR)
            .map(|offset| (offset, register(&ours, offset), register(kvm, offset)))
            .filter(|(_, ours, kvm)| ours != kvm)
            .collect()
    }
}

/// A 32-bit register of a page.
pub fn register(page: &kvm_lapic_state, offset: u16) -> u32 {
    let at = usize::from(offset);
    u32::from_le_bytes(std::array::from_fn(|i| page.regs[at + i] as u8))
}

fn map(lapics: &[Lapic]) -> DestinationMap {
    let entries: Vec<_> = lapics.iter().map(Lapic::destination_entry).collect();
    DestinationMap::new(&entries)
}

/// The configuration that KVM's local APIC has.
fn config(state: &LapicState) -> Config {
    let bsp = ApicBase::from_bits(state.apic_base).bsp();
    Config { id: state.id, bsp, ..Config::default() }
}

/// A random state of a local APIC whose timer does not run.
pub fn random_state(random: &mut Random, id: u32, mode: ApicMode) -> LapicState {
    let base = ApicBase::new()
        .with_frame(DEFAULT_BASE / PAGE_SIZE)
        .with_bsp(id == 0)
        .with_enable(mode != ApicMode::Disabled)
        .with_x2apic(mode == ApicMode::X2apic);
    let enabled = !random.one_in(8);
    let model = random.pick(&[dfr::FLAT, dfr::CLUSTER]);
    let xapic = mode == ApicMode::Xapic;
    let ldr = if random.one_in(2) { 1 << random.below(8) } else { random.below(256) };
    LapicState {
        id,
        apic_base: base.into_bits(),
        tpr: random.bits() as u8,
        svr: random.bits() as u32 & svr::writable(false) & !svr::ENABLE
            | if enabled { svr::ENABLE } else { 0 },
        ldr: if xapic { (ldr as u32) << 24 } else { 0 },
        dfr: if xapic { u32::from(model) << 28 | dfr::ONES } else { dfr::RESET },
        icr: random_icr(random, mode),
        lvt: LvtIndex::ALL.map(|lvt| random_lvt(random, lvt, enabled)),
        irr: random_vectors(random),
        isr: random_vectors(random),
        tmr: random_vectors(random),
        divide: random.bits() as u32 & 0b1011,
        ..LapicState::default()
    }
}

fn random_icr(random: &mut Random, mode: ApicMode) -> u64 {
    let bits = if mode == ApicMode::X2apic { !0 } else { 0xff00_0000_ffff_ffff };
    random.bits() & bits & 0xffff_ffff_000c_cfff
}

fn random_lvt(random: &mut Random, lvt: LvtIndex, enabled: bool) -> u32 {
    if lvt == LvtIndex::Cmci {
        return Lvt::RESET;
    }
    let read_only = if lvt == LvtIndex::Lint0 { 0x1000 } else { 0x5000 };
    let mut bits = random.bits() as u32 & lvt.defined_bits(true) & !read_only;
    // Timer mode 3 is reserved.
    if lvt == LvtIndex::Timer && bits >> 17 == 3 {
        bits ^= 1 << 17;
    }
    bits | if enabled { 0 } else { Lvt::RESET }
}

fn random_vectors(random: &mut Random) -> [u64; 4] {
    let mut bits = [0u64; 4];
    for _ in 0..random.below(6) {
        let vector = 16 + random.below(240);
        bits[vector as usize / 64] |= 1 << (vector % 64);
    }
    bits
}
