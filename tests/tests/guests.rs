// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Each bare-metal guest on `vmm-ref`, in each topology that it is for.
//!
//! A test's name has the ids of the behaviours that its guest shows end to end.

use integration::vmm::run_guest;
use integration::{vmm_ref, Topology};

/// `test name: guest, topology;`
macro_rules! guests {
    ($($name:ident: $guest:literal, $topology:ident;)*) => {
        $(
            #[test]
            fn $name() {
                run_guest(vmm_ref!(), $guest, Topology::$topology);
            }
        )*

        /// No guest, and no topology of one, is forgotten.
        #[test]
        fn every_guest_runs_in_every_topology_it_is_for() {
            let tested = [$(($guest, Topology::$topology)),*];
            for guest in integration::guests::GUESTS {
                for topology in guest.topologies {
                    assert!(tested.contains(&(guest.name, *topology)), "{} {topology}", guest.name);
                }
            }
        }
    };
}

guests! {
    ioa_1_2_3_4_5_6_rte_1_lap_4_pins_levels_and_priorities: "ioapic", IoApic;
    lap_7_timer_in_its_modes: "lapic_timer", IoApic;
    pic_6_ioa_7_rte_6_spurious_irq7_and_irq15: "pic_spurious", IoApic;
    pic_2_3_4_5_7_8_9_10_8259a_pair_in_a_pic_machine: "pic", Pic;
    pic_2_3_4_5_7_8_9_10_8259a_pair_behind_the_local_apic: "pic", IoApic;
    pit_8254_in_a_pic_machine: "pit", Pic;
    pit_8254_behind_the_local_apic: "pit", IoApic;
}
