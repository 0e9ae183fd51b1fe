// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Each bare-metal guest on `vmm-ref`, in each topology that it is for, on KVM and on the software
//! CPU, with the same result.
//!
//! A test's name has the ids of the behaviours that its guest shows end to end.

use integration::vmm::{run_guest_on_all, scratch, BACKENDS};
use integration::{vmm_ref, Topology};

/// `test name: guest, topology;`
macro_rules! guests {
    ($($name:ident: $guest:literal, $topology:ident;)*) => {
        $(
            #[test]
            fn $name() {
                run_guest_on_all(|| vmm_ref!(), $guest, Topology::$topology);
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
    lap_1_transitions_and_relocation_of_the_apic_base: "apic_base", IoApic;
    known_counts_in_a_pic_machine: "counts", Pic;
    known_counts_in_an_ioapic_machine: "counts", IoApic;
    evt_1_hlt_ends_by_the_pits_interrupt_in_a_pic_machine: "halt", Pic;
    evt_1_hlt_ends_by_the_pits_interrupt_in_an_ioapic_machine: "halt", IoApic;
    lap_9_ioa_7_init_and_start_up: "init_sipi", IoApic;
    ioa_1_2_3_4_5_6_rte_1_pins_levels_and_priorities: "ioapic", IoApic;
    lap_8_14_ipis_between_four_cpus: "ipi", IoApic;
    lap_2_8_16_ipis_between_18_cpus_in_x2apic_mode: "ipi_x2apic", IoApic;
    lap_6_10_errors_and_software_disable: "lapic_error", IoApic;
    lap_7_timer_in_its_modes: "lapic_timer", IoApic;
    multiboot_32_bit_entry_in_a_pic_machine: "multiboot", Pic;
    multiboot_32_bit_entry_in_an_ioapic_machine: "multiboot", IoApic;
    evt_6_lap_8_ioa_7_nmi: "nmi", IoApic;
    pic_2_3_4_5_7_8_9_10_8259a_pair_in_a_pic_machine: "pic", Pic;
    pic_2_3_4_5_7_8_9_10_8259a_pair_behind_the_local_apic: "pic", IoApic;
    pic_6_ioa_7_rte_6_spurious_irq7_and_irq15: "pic_spurious", IoApic;
    pit_8254_in_a_pic_machine: "pit", Pic;
    pit_8254_behind_the_local_apic: "pit", IoApic;
    rtc_interrupts_in_a_pic_machine: "rtc", Pic;
    rtc_interrupts_in_an_ioapic_machine: "rtc", IoApic;
    serial_interrupts_in_a_pic_machine: "serial", Pic;
    serial_interrupts_in_an_ioapic_machine: "serial", IoApic;
    lap_4_5_evt_9_tpr_ppr_and_cr8: "tpr", IoApic;
    rte_6_lap_1_6_ioa_7_ways_of_intr: "virtual_wire", IoApic;
    lap_1_2_8_registers_and_faults_in_x2apic_mode: "x2apic", IoApic;
}

#[test]
fn a_multiboot_kernel_gets_its_command_line_and_module() {
    let (_directory, path) = scratch();
    let module = path("module");
    std::fs::write(&module, "KEY=VALUE").unwrap();
    let machines =
        [Topology::Pic, Topology::IoApic].map(|topology| BACKENDS.map(|on| (topology, on)));
    for (topology, backend) in machines.into_iter().flatten() {
        let vmm = vmm_ref!().on(backend).guest("multiboot", topology, 1);
        let vmm = vmm.arg("--initramfs").arg(&module);
        let finished = vmm.args(["--cmdline", "one two=3"]).run();
        finished.assert_passed();
        assert!(finished.console.contains("multiboot.elf one two=3\n"), "{finished}");
        assert!(finished.console.contains("module: KEY=VALUE\n"), "{finished}");
        // 64 MiB, less the first one.
        assert!(
            finished.console.contains("0x0000000000100000 0x0000000003f00000 RAM"),
            "{finished}"
        );
    }
}
