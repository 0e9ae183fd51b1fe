// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Each call of the table, made for real.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use irq_routing::{Call, Gsi, Msi, MsiFormat, Route, Target};
use kvm_bindings::{
    kvm_irqchip, kvm_irqfd, kvm_mp_state, kvm_msr_entry, kvm_pit_config, kvm_vapic_addr, Msrs,
    KVM_IRQFD_FLAG_RESAMPLE, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED,
    KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_SIPI_RECEIVED, KVM_MP_STATE_UNINITIALIZED,
};

use super::rig::{enable_split, ioctl, iow, Rig, SPIN};

/// A GSI behind the pins.
const MSI_GSI: u32 = 24;
/// Fixed, vector 0x41, to APIC id 0.
const MSI: Msi = Msi { address: 0xfee0_0000, data: 0x41 };
/// IA32_TSC_DEADLINE.
const TSC_DEADLINE: u32 = 0x6e0;

/// Makes the call; the errno is the error.
pub fn attempt(rig: &mut Rig, call: Call) -> Result<(), i32> {
    let errno = |error: kvm_ioctls::Error| error.errno();
    match call {
        Call::Interrupt => rig.interrupt(Rig::VECTOR),
        Call::InterruptWhilePending => {
            // In kernel mode the first one is refused already.
            let _ = rig.interrupt(Rig::VECTOR);
            rig.interrupt(Rig::VECTOR + 1)
        }
        Call::RequestInterruptWindow => {
            rig.load(SPIN);
            rig.vcpu.get_kvm_run().request_interrupt_window = 1;
            rig.vcpu.run().map(drop).map_err(errno)
        }
        Call::RunCr8 => {
            rig.load(SPIN);
            rig.vcpu.get_kvm_run().cr8 = 5;
            rig.vcpu.run().map(drop).map_err(errno)
        }
        Call::Nmi => rig.vcpu.nmi().map_err(errno),
        Call::IrqLine => rig.vm.set_irq_line(5, true).map_err(errno),
        Call::IrqLineMsi => {
            // In user mode there is no route to set; the line is refused without one too.
            let _ = set_routing(rig, Target::Msi(MSI));
            rig.vm.set_irq_line(MSI_GSI, true).map_err(errno)
        }
        Call::SignalMsi => {
            let msi = MSI.to_kvm(MsiFormat::Xapic).expect("a valid MSI");
            rig.vm.signal_msi(msi).map(drop).map_err(errno)
        }
        Call::SetGsiRoutingMsi => set_routing(rig, Target::Msi(MSI)),
        Call::SetGsiRoutingPin => set_routing(rig, Target::IoApic(5)),
        Call::Irqfd => irqfd(rig, false),
        Call::IrqfdResample => irqfd(rig, true),
        Call::CreateIrqchip => rig.vm.create_irq_chip().map_err(errno),
        Call::EnableSplitIrqchip => enable_split(&rig.vm),
        Call::GetIrqchip => get_irqchip(rig).map(drop),
        Call::SetIrqchip => {
            let irqchip = get_irqchip(rig).unwrap_or_default();
            rig.vm.set_irqchip(&irqchip).map_err(errno)
        }
        Call::CreatePit2 => create_pit(rig),
        Call::GetPit2 => {
            let _ = create_pit(rig);
            rig.vm.get_pit2().map(drop).map_err(errno)
        }
        Call::SetPit2 => {
            let _ = create_pit(rig);
            let pit = rig.vm.get_pit2().unwrap_or_default();
            rig.vm.set_pit2(&pit).map_err(errno)
        }
        Call::GetLapic => rig.vcpu.get_lapic().map(drop).map_err(errno),
        Call::SetLapic => {
            let lapic = rig.vcpu.get_lapic().unwrap_or_default();
            rig.vcpu.set_lapic(&lapic).map_err(errno)
        }
        Call::SetVapicAddr => {
            let mut address = kvm_vapic_addr { vapic_addr: 0x1000 };
            ioctl(&rig.vcpu, iow::<kvm_vapic_addr>(0x93), &mut address).map(drop)
        }
        Call::GetMpState => rig.vcpu.get_mp_state().map(drop).map_err(errno),
        Call::SetMpStateRunnable => set_mp_state(rig, KVM_MP_STATE_RUNNABLE),
        Call::SetMpStateWaiting => waiting(rig),
        Call::SetTscDeadline => set_tsc_deadline(rig, u64::MAX / 2),
    }
}

/// Writes IA32_TSC_DEADLINE.
pub fn set_tsc_deadline(rig: &Rig, data: u64) -> Result<(), i32> {
    let entry = kvm_msr_entry { index: TSC_DEADLINE, data, ..Default::default() };
    let msrs = Msrs::from_entries(&[entry]).expect("one MSR");
    match rig.vcpu.set_msrs(&msrs) {
        Ok(1) => Ok(()),
        Ok(count) => panic!("KVM_SET_MSRS wrote {count} of 1"),
        Err(error) => Err(error.errno()),
    }
}

/// Reads IA32_TSC_DEADLINE.
pub fn tsc_deadline(rig: &Rig) -> u64 {
    let entry = kvm_msr_entry { index: TSC_DEADLINE, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).expect("one MSR");
    assert_eq!(rig.vcpu.get_msrs(&mut msrs).expect("KVM_GET_MSRS"), 1);
    msrs.as_slice()[0].data
}

/// All the states that wait must be answered alike; gives that answer.
fn waiting(rig: &Rig) -> Result<(), i32> {
    let states = [
        KVM_MP_STATE_UNINITIALIZED,
        KVM_MP_STATE_INIT_RECEIVED,
        KVM_MP_STATE_SIPI_RECEIVED,
        KVM_MP_STATE_HALTED,
    ];
    let answers = states.map(|state| set_mp_state(rig, state));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    answers[0]
}

fn set_mp_state(rig: &Rig, mp_state: u32) -> Result<(), i32> {
    rig.vcpu.set_mp_state(kvm_mp_state { mp_state }).map_err(|error| error.errno())
}

fn set_routing(rig: &Rig, target: Target) -> Result<(), i32> {
    let route = Route { gsi: Gsi(MSI_GSI), target }.to_kvm(MsiFormat::Xapic).expect("a route");
    rig.set_entries(&[route])
}

fn get_irqchip(rig: &Rig) -> Result<kvm_irqchip, i32> {
    let mut irqchip = kvm_irqchip { chip_id: 2, ..Default::default() };
    rig.vm.get_irqchip(&mut irqchip).map_err(|error| error.errno())?;
    Ok(irqchip)
}

fn create_pit(rig: &Rig) -> Result<(), i32> {
    rig.vm.create_pit2(kvm_pit_config::default()).map_err(|error| error.errno())
}

fn irqfd(rig: &Rig, resample: bool) -> Result<(), i32> {
    let (fd, resample_fd) = (eventfd(), eventfd());
    let mut irqfd = kvm_irqfd {
        fd: fd.as_raw_fd() as u32,
        gsi: 5,
        flags: if resample { KVM_IRQFD_FLAG_RESAMPLE } else { 0 },
        resamplefd: resample_fd.as_raw_fd() as u32,
        ..Default::default()
    };
    ioctl(&rig.vm, iow::<kvm_irqfd>(0x76), &mut irqfd).map(drop)
}

fn eventfd() -> OwnedFd {
    // SAFETY: eventfd takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0, "eventfd: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just opened and is nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
