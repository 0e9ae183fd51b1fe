// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A CPU that makes one port access at a time, and takes an interrupt when told to.

use std::os::fd::AsRawFd;

use kvm_bindings::{kvm_irq_level, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};

/// Guest memory.
const MEMORY: usize = 0x10000;
/// `out %al, (%dx); out %al, $DONE`
const OUT: u16 = 0x1000;
/// `in (%dx), %al; out %al, $DONE`
const IN: u16 = 0x1010;
/// `1: out %al, $IDLE; jmp 1b`
const SPIN: u16 = 0x1020;
/// `mov %eax, %es:(%di); out %al, $DONE`
const STORE: u16 = 0x1030;
/// `mov %es:(%di), %eax; out %eax, $DONE`
const LOAD: u16 = 0x1040;
/// Interrupt handlers, eight bytes each: `mov $vector, %al; out %al, $VECTOR; hlt`
const HANDLERS: u16 = 0x2000;
const STACK: u16 = 0x8000;

/// Ports that nobody in the kernel owns: an access leaves `KVM_RUN`.
const DONE: u8 = 0xf0;
const IDLE: u8 = 0xf1;
const VECTOR: u8 = 0xf2;
/// Entries after which an interrupt that has not come is none. One is enough for a KVM that looks
/// at each entry; it looks at the next when it was just busy.
const ENTRIES: usize = 3;

/// IF, and the bit that is always 1.
const INTERRUPTS_ON: u64 = 0x202;
const INTERRUPTS_OFF: u64 = 0x2;

#[repr(align(4096))]
struct Page([u8; MEMORY]);

/// The CPU, in real mode.
pub struct PortCpu {
    vcpu: VcpuFd,
    /// Outlives the vCPU and the VM, which map it.
    _memory: Box<Page>,
}

impl PortCpu {
    /// The boot CPU of this machine.
    ///
    /// # Panics
    /// Where KVM refuses.
    pub fn new(vm: &VmFd) -> Self {
        let mut memory = Box::new(Page([0; MEMORY]));
        program(&mut memory.0);
        let region = kvm_userspace_memory_region {
            memory_size: MEMORY as u64,
            userspace_addr: memory.0.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: the memory is page-aligned and lives in a box that is dropped after the vCPU,
        // without which nothing touches it.
        unsafe { vm.set_user_memory_region(region) }.expect("KVM_SET_USER_MEMORY_REGION");
        let vcpu = vm.create_vcpu(0).expect("KVM_CREATE_VCPU");
        let mut sregs = vcpu.get_sregs().expect("KVM_GET_SREGS");
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        vcpu.set_sregs(&sregs).expect("KVM_SET_SREGS");
        PortCpu { vcpu, _memory: memory }
    }

    /// OUT.
    ///
    /// # Panics
    /// Where the port is not the kernel's.
    pub fn write(&mut self, port: u16, value: u8) {
        self.start(OUT, port, value.into(), INTERRUPTS_OFF);
        assert_eq!(self.run(), (DONE, value), "OUT to {port:#x}");
    }

    /// IN.
    ///
    /// # Panics
    /// Where the port is not the kernel's.
    pub fn read(&mut self, port: u16) -> u8 {
        self.start(IN, port, 0, INTERRUPTS_OFF);
        let (done, value) = self.run();
        assert_eq!(done, DONE, "IN from {port:#x}");
        value
    }

    /// Lets the CPU take one interrupt, if there is one.
    pub fn take_interrupt(&mut self) -> Option<u8> {
        self.start(SPIN, 0, 0, INTERRUPTS_ON);
        (0..ENTRIES).find_map(|_| match self.run() {
            (VECTOR, vector) => Some(vector),
            _ => None,
        })
    }

    /// A 32-bit store to a register in memory.
    ///
    /// # Panics
    /// Where the register is not the kernel's.
    pub fn store(&mut self, address: u32, value: u32) {
        self.map(address);
        self.start(STORE, 0, value, INTERRUPTS_OFF);
        assert_eq!(self.run(), (DONE, value as u8), "store to {address:#x}");
    }

    /// A 32-bit load from a register in memory.
    ///
    /// # Panics
    /// Where the register is not the kernel's.
    pub fn load(&mut self, address: u32) -> u32 {
        self.map(address);
        self.start(LOAD, 0, 0, INTERRUPTS_OFF);
        match self.vcpu.run().expect("KVM_RUN") {
            VcpuExit::IoOut(_, &[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            other => panic!("load from {address:#x}: unexpected exit {other:?}"),
        }
    }

    /// The vCPU itself.
    pub fn vcpu(&self) -> &VcpuFd {
        &self.vcpu
    }

    /// Lets ES begin at this address.
    fn map(&mut self, address: u32) {
        let mut sregs = self.vcpu.get_sregs().expect("KVM_GET_SREGS");
        if sregs.es.base != u64::from(address) {
            sregs.es.base = address.into();
            self.vcpu.set_sregs(&sregs).expect("KVM_SET_SREGS");
        }
    }

    fn start(&mut self, rip: u16, port: u16, value: u32, rflags: u64) {
        // An exit for an OUT is completed by the next entry, which must not be this one.
        self.vcpu.set_kvm_immediate_exit(1);
        let _ = self.vcpu.run();
        self.vcpu.set_kvm_immediate_exit(0);
        let regs = kvm_regs {
            rip: rip.into(),
            rdx: port.into(),
            rax: value.into(),
            rsp: STACK.into(),
            rflags,
            ..Default::default()
        };
        self.vcpu.set_regs(&regs).expect("KVM_SET_REGS");
    }

    /// Runs until an OUT to one of our own ports.
    fn run(&mut self) -> (u8, u8) {
        match self.vcpu.run().expect("KVM_RUN") {
            VcpuExit::IoOut(port, &[value]) => (port as u8, value),
            other => panic!("unexpected exit {other:?}"),
        }
    }
}

fn program(memory: &mut [u8]) {
    let mut put = |at: u16, bytes: &[u8]| {
        memory[usize::from(at)..usize::from(at) + bytes.len()].copy_from_slice(bytes);
    };
    put(OUT, &[0xee, 0xe6, DONE]);
    put(IN, &[0xec, 0xe6, DONE]);
    put(STORE, &[0x26, 0x66, 0x89, 0x05, 0xe6, DONE]);
    put(LOAD, &[0x26, 0x66, 0x8b, 0x05, 0x66, 0xe7, DONE]);
    put(SPIN, &[0xe6, IDLE, 0xeb, 0xfc]);
    for vector in 0..=255u8 {
        let handler = HANDLERS + 8 * u16::from(vector);
        put(4 * u16::from(vector), &handler.to_le_bytes());
        put(handler, &[0xb0, vector, 0xe6, VECTOR, 0xf4]);
    }
}

/// `KVM_IRQ_LINE_STATUS`: below 0 it was masked, 0 it coalesced.
///
/// # Panics
/// Where KVM refuses.
pub fn irq_line(vm: &VmFd, gsi: u32, level: bool) -> i32 {
    const KVM_IRQ_LINE_STATUS: u64 = 0xc008_ae67;
    let mut line = kvm_irq_level { level: level.into(), ..Default::default() };
    line.__bindgen_anon_1.irq = gsi;
    // SAFETY: the request reads and writes one kvm_irq_level, which `line` is.
    let answer = unsafe { libc::ioctl(vm.as_raw_fd(), KVM_IRQ_LINE_STATUS as _, &mut line) };
    assert_eq!(answer, 0, "KVM_IRQ_LINE_STATUS: {}", std::io::Error::last_os_error());
    // SAFETY: both members of the union are 32-bit integers; the kernel wrote `status`.
    unsafe { line.__bindgen_anon_1.status }
}
