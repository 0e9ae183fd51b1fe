// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtual machine with one vCPU in each irqchip mode, and the calls that kvm-ioctls lacks.

use std::os::fd::AsRawFd;

use irq_routing::{IrqchipMode, MsiFormat, RouteTable, Target};
use kvm_bindings::{
    kvm_enable_cap, kvm_interrupt, kvm_irq_level, kvm_irq_routing_entry, kvm_irqchip, kvm_regs,
    kvm_userspace_memory_region, KvmIrqRouting, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API,
    KVM_X2APIC_API_USE_32BIT_IDS,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

/// Guest memory: code at 0.
const MEMORY: usize = 0x10000;
/// KVM's ioctl type.
const KVMIO: u64 = 0xae;

/// Where the interrupt handlers are, four bytes each.
const HANDLERS: usize = 0x1000;
/// `1: mov $0x4000, %cx; 2: loop 2b; outb %al, $0x10; jmp 1b`, interrupts enabled. (The loop is
/// long enough for the host's own timer: a KVM without hardware help sees a window only there.)
pub const SPIN: &[u8] = &[0xb9, 0x00, 0x40, 0xe2, 0xfe, 0xe6, SPIN_PORT as u8, 0xeb, 0xf7];
const SPIN_PORT: u16 = 0x10;
/// Exits of the spinning guest after which what has not come never will.
const EXITS: usize = 256;

/// `_IOW(KVMIO, number, T)`.
pub const fn iow<T>(number: u64) -> u64 {
    1 << 30 | (size_of::<T>() as u64) << 16 | KVMIO << 8 | number
}

/// `_IOWR(KVMIO, number, T)`.
pub const fn iowr<T>(number: u64) -> u64 {
    3 << 30 | (size_of::<T>() as u64) << 16 | KVMIO << 8 | number
}

/// An ioctl with a structure; the errno is the error.
pub fn ioctl<T>(fd: &impl AsRawFd, request: u64, argument: &mut T) -> Result<i32, i32> {
    // SAFETY: `request` was built for `T` by `iow` or `iowr`, so the kernel reads and writes
    // `size_of::<T>()` bytes of `argument`, which is valid for both during the call.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument as *mut T) };
    if answer < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(answer)
}

/// The machine. Its vCPU is in real mode at 0:0 with interrupts enabled.
pub struct Rig {
    pub vcpu: VcpuFd,
    pub vm: VmFd,
    /// Outlives the VM that maps it.
    memory: Box<Page>,
}

#[repr(align(4096))]
struct Page([u8; MEMORY]);

impl Rig {
    /// The vector of [`Rig::interrupt`] calls that don't care.
    pub const VECTOR: u8 = 0x40;

    pub fn new(mode: IrqchipMode) -> Self {
        let kvm = Kvm::new().expect(
            "this test asks the real KVM: /dev/kvm must exist and be readable and writable by you",
        );
        let vm = kvm.create_vm().expect("create a VM");
        match mode {
            IrqchipMode::User => {}
            IrqchipMode::Split => enable_split(&vm).expect("KVM_CAP_SPLIT_IRQCHIP"),
            IrqchipMode::Kernel => vm.create_irq_chip().expect("KVM_CREATE_IRQCHIP"),
        }
        let mut memory = Box::new(Page([0; MEMORY]));
        let region = kvm_userspace_memory_region {
            memory_size: MEMORY as u64,
            userspace_addr: memory.0.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: the memory is page-aligned, owned by the rig, and dropped after the VM.
        unsafe { vm.set_user_memory_region(region) }.expect("guest memory");
        let vcpu = vm.create_vcpu(0).expect("create a vCPU");
        let cpuid = kvm.get_supported_cpuid(80).expect("supported CPUID");
        vcpu.set_cpuid2(&cpuid).expect("set CPUID");
        let mut sregs = vcpu.get_sregs().expect("get sregs");
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        vcpu.set_sregs(&sregs).expect("set sregs");
        let regs = kvm_regs { rflags: 0x202, rsp: 0x8000, ..Default::default() };
        vcpu.set_regs(&regs).expect("set regs");
        Rig { vcpu, vm, memory }
    }

    /// Loads a program at 0:0.
    pub fn load(&mut self, code: &[u8]) {
        self.memory.0[..code.len()].copy_from_slice(code);
    }

    /// `KVM_INTERRUPT`.
    pub fn interrupt(&self, vector: u8) -> Result<(), i32> {
        let mut interrupt = kvm_interrupt { irq: vector.into() };
        ioctl(&self.vcpu, iow::<kvm_interrupt>(0x86), &mut interrupt).map(drop)
    }

    /// Runs the guest and gives the first vector that reaches it.
    pub fn delivered_vector(&mut self) -> Option<u8> {
        // Each vector's handler says its number at the port of that number.
        for vector in 0x20..0x60usize {
            let handler = HANDLERS + 4 * vector;
            self.memory.0[4 * vector..][..2].copy_from_slice(&(handler as u16).to_le_bytes());
            self.memory.0[handler..][..3].copy_from_slice(&[0xe6, vector as u8, 0xcf]);
        }
        self.load(SPIN);
        (0..EXITS).find_map(|_| match self.vcpu.run().expect("KVM_RUN") {
            VcpuExit::IoOut(SPIN_PORT, _) => None,
            VcpuExit::IoOut(port, _) => Some(port as u8),
            other => panic!("unexpected exit {other:?}"),
        })
    }

    /// The inputs of the kernel's chips that have seen their line rise, in [`Target`]'s order.
    pub fn pins(&self) -> Vec<Target> {
        let chip = |chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            self.vm.get_irqchip(&mut chip).expect("KVM_GET_IRQCHIP");
            chip.chip
        };
        // SAFETY: the kernel filled in the member that belongs to the chip id, and all members are
        // plain integers.
        let (master, slave, ioapic) =
            unsafe { (chip(0).pic.irr, chip(1).pic.irr, chip(2).ioapic.irr) };
        let pic = u16::from_le_bytes([master, slave]);
        let pic = (0..16).filter(|pin| pic & 1 << pin != 0).map(Target::Pic);
        let ioapic = (0..24).filter(|pin| ioapic & 1 << pin != 0).map(Target::IoApic);
        // The slave's output is the master's input 2: a cascade, not a routed line.
        pic.filter(|target| *target != Target::Pic(2)).chain(ioapic).collect()
    }

    /// `KVM_SET_GSI_ROUTING` with a whole table.
    pub fn set_routes(&self, table: &RouteTable) -> Result<(), i32> {
        self.set_entries(&table.to_kvm(MsiFormat::Xapic).expect("valid messages"))
    }

    /// `KVM_SET_GSI_ROUTING`.
    pub fn set_entries(&self, entries: &[kvm_irq_routing_entry]) -> Result<(), i32> {
        let routing = KvmIrqRouting::from_entries(entries).expect("not too many routes");
        self.vm.set_gsi_routing(&routing).map_err(|error| error.errno())
    }

    /// `KVM_CAP_X2APIC_API`: destination bits 31:8 in `address_hi`.
    pub fn enable_x2apic_ids(&self) {
        let mut cap = kvm_enable_cap { cap: KVM_CAP_X2APIC_API, ..Default::default() };
        cap.args[0] = KVM_X2APIC_API_USE_32BIT_IDS.into();
        self.vm.enable_cap(&cap).expect("KVM_CAP_X2APIC_API");
    }

    /// `KVM_IRQ_LINE_STATUS`: below 0 nobody was there to take it.
    pub fn irq_line_status(&self, gsi: u32, level: bool) -> Result<i32, i32> {
        let mut line = kvm_irq_level { level: level.into(), ..Default::default() };
        line.__bindgen_anon_1.irq = gsi;
        ioctl(&self.vm, iowr::<kvm_irq_level>(0x67), &mut line)?;
        // SAFETY: both members of the union are 32-bit integers; the kernel wrote `status`.
        Ok(unsafe { line.__bindgen_anon_1.status })
    }

    /// Asks for an interrupt window and runs the guest, whose interrupts are enabled: whether the
    /// window opens.
    pub fn window_opens(&mut self) -> bool {
        self.load(SPIN);
        self.vcpu.get_kvm_run().request_interrupt_window = 1;
        (0..EXITS).any(|_| match self.vcpu.run().expect("KVM_RUN") {
            VcpuExit::IrqWindowOpen => true,
            VcpuExit::IoOut(SPIN_PORT, _) => false,
            other => panic!("unexpected exit {other:?}"),
        })
    }
}

/// `KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP)`.
pub fn enable_split(vm: &VmFd) -> Result<(), i32> {
    let mut cap = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
    cap.args[0] = 24;
    vm.enable_cap(&cap).map_err(|error| error.errno())
}
