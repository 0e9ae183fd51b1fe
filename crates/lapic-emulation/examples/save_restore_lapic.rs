// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A local APIC that moves to another host with a timer running, an interrupt in service, one
//! requested and one posted: as serde data, and as KVM's register page.
//!
//! `cargo run -p lapic-emulation --example save_restore_lapic --features kvm,serde`

use irq_routing::TriggerMode;
use lapic_emulation::kvm::IdFormat;
use lapic_emulation::spec::reg;
use lapic_emulation::{
    Config, DestinationMap, Lapic, LapicState, LvtIndex, Now, PostedInterrupts, PostedState,
};

type Result<T> = core::result::Result<T, Box<dyn std::error::Error>>;

const PERIOD: u32 = 5_000_000; // 5 ms of the 1 GHz bus

/// A snapshot: everything of one CPU's local APIC. Config is the machine's to rebuild.
#[derive(serde::Serialize, serde::Deserialize)]
struct Snapshot {
    lapic: LapicState,
    posted: PostedState,
}

/// At `now`: 0x51 in service, 0x61 requested, 0x71 posted and not yet taken, the timer periodic.
fn busy(now: Now) -> Result<(Lapic, PostedInterrupts)> {
    let mut lapic = Lapic::new(Config::default())?;
    let posted = PostedInterrupts::new();
    for (register, value) in [
        (reg::SVR, 0x1ff),
        (LvtIndex::Timer.offset(), 0x2_00e0), // periodic, vector 0xe0
        (reg::TDCR, 0b1011),                  // divide by 1
        (reg::TMICT, PERIOD),
    ] {
        lapic.mmio_write(register.into(), &value.to_le_bytes(), now, &mut ());
    }
    for vector in [0x51, 0x61] {
        let _ = posted.post_vector(vector, TriggerMode::Edge);
        let _ = lapic.sync(&posted);
        if vector == 0x51 {
            assert!(lapic.accept(vector));
        }
    }
    let _ = posted.post_vector(0x71, TriggerMode::Level);
    Ok((lapic, posted))
}

/// On the other host, whose clock says something else.
fn goes_on(mut lapic: Lapic, posted: &PostedInterrupts, now: Now) {
    // After a restore the map is stale: every CPU's entry goes into a new one.
    let map = DestinationMap::new(&[lapic.destination_entry()]);
    assert_eq!(map.len(), 1);
    // 2 ms of the period had passed.
    let deadline = lapic.next_deadline().expect("the timer runs");
    assert_eq!(deadline - now.ns, u64::from(PERIOD) - 2_000_000);
    // In-service, requested and posted vectors come in the order of their priority.
    let _ = lapic.sync(posted);
    let mut order = vec![];
    while let Some(vector) = lapic.pending() {
        assert!(lapic.accept(vector));
        order.push(vector);
        lapic.mmio_write(reg::EOI.into(), &[0; 4], now, &mut ());
    }
    assert_eq!(order, [0x71, 0x61]);
    lapic.mmio_write(reg::EOI.into(), &[0; 4], now, &mut ());
    assert_eq!(lapic.isr(), [0; 4]);
}

fn main() -> Result<()> {
    let start = Now { ns: 1_000, tsc: 1_000 };
    let saved_at = Now { ns: 2_001_000, tsc: 2_001_000 };
    let restored_at = Now { ns: 77, tsc: 77 };
    let config = Config::default();

    // The crate's own state, in times relative to now.
    let (lapic, posted) = busy(start)?;
    let snapshot = Snapshot { lapic: lapic.state(saved_at), posted: posted.state() };
    let json = serde_json::to_string(&snapshot)?;
    let snapshot: Snapshot = serde_json::from_str(&json)?;
    let restored = Lapic::from_state(config, &snapshot.lapic, restored_at)?;
    goes_on(restored, &PostedInterrupts::from_state(&snapshot.posted), restored_at);

    // KVM_GET_LAPIC's page: what is posted has to be taken over first, and IA32_APIC_BASE,
    // the TSC deadline and the multiprocessing state travel in calls of their own.
    let (mut lapic, posted) = busy(start)?;
    let _ = lapic.sync(&posted);
    let page = lapic.kvm_state(IdFormat::Xapic8, saved_at);
    let mut restored = Lapic::new(config)?;
    restored.set_kvm_state(&page, IdFormat::Xapic8, restored_at)?;
    goes_on(restored, &PostedInterrupts::new(), restored_at);

    // State is not trusted.
    let forged = LapicState { id: 7, ..snapshot.lapic };
    println!("a forged state: {}", Lapic::from_state(config, &forged, start).unwrap_err());
    println!("as JSON: {} bytes", json.len());
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
