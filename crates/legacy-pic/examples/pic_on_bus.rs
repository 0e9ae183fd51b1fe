// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The 8259A pair on a vm-device bus: ports in, INTR and vectors out.
//!
//! `cargo run -p legacy-pic --example pic_on_bus --features vm-device`

use std::sync::{Arc, Mutex};

use irq_routing::Delivery;
use legacy_pic::{PicPair, Source};
use vm_device::bus::{PioAddress, PioRange};
use vm_device::device_manager::{IoManager, PioManager};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One pair behind one lock: the guest's port accesses, the devices' lines and the vCPU's
    // acknowledge cycle all change it. `Mutex<PicPair>` is a `DevicePio`.
    let pic = Arc::new(Mutex::new(PicPair::new()));
    let mut bus = IoManager::new();
    for first in [0x20, 0xa0, 0x4d0] {
        bus.register_pio(PioRange::new(PioAddress(first), 2)?, pic.clone())?;
    }

    // What the guest's start-up code does, exit by exit: vectors 0x30 and 0x38, IRQ 11 level.
    for (port, byte) in [
        (0x20, 0x11),
        (0x21, 0x30),
        (0x21, 0x04),
        (0x21, 0x01),
        (0xa0, 0x11),
        (0xa1, 0x38),
        (0xa1, 0x02),
        (0xa1, 0x01),
        (0x4d1, 1 << (11 - 8)),
    ] {
        bus.pio_write(PioAddress(port), &[byte])?;
    }

    // A device thread asserts its line. `Delivered` here means: a new request that can get out.
    assert_eq!(pic.lock().unwrap().set_irq(11, true)?, Delivery::Delivered(1));

    // The vCPU thread, before it enters the guest. `intr` and `peek` may be called as often as
    // you like; `acknowledge` only when the CPU has taken the interrupt.
    let mut chips = pic.lock().unwrap();
    assert!(chips.intr());
    let taken = chips.acknowledge().expect("INTR was high");
    assert_eq!((taken.vector, taken.source), (0x3b, Source::Pin(11)));
    drop(chips);

    // The guest's handler ends it at both chips; the line is still up, as its device has not
    // been served.
    bus.pio_write(PioAddress(0xa0), &[0x20])?;
    bus.pio_write(PioAddress(0x20), &[0x20])?;

    // What the caller owes after guest writes: ask which pins ended and tell their level
    // sources, without the lock. This one is done now.
    let ended = pic.lock().unwrap().drain_eoi();
    assert_eq!(ended, 1 << 11);
    let _ = pic.lock().unwrap().set_irq(11, false)?;
    assert!(!pic.lock().unwrap().intr());

    println!("IRQ 11 arrived as vector {:#x}", taken.vector);
    println!("size_of PicPair: {} bytes", size_of::<PicPair>());
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
