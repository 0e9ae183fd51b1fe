// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Command lines, and what a person is told about the wrong ones.

use clap::error::ErrorKind;
use clap::CommandFactory;

use super::*;

fn args(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(["vmm-ref"].into_iter().chain(line.split_whitespace()))
}

fn config(line: &str) -> VmConfig {
    args(&format!("--kernel vmlinux {line}")).unwrap().config().unwrap()
}

fn message(line: &str) -> String {
    let args = args(&format!("--kernel vmlinux {line}")).unwrap();
    args.config().unwrap_err().to_string()
}

#[test]
fn the_command_is_well_formed() {
    Args::command().debug_assert();
}

#[test]
fn a_kernel_alone_is_a_machine_with_a_console() {
    let expected = VmConfig {
        kernel: "vmlinux".into(),
        initramfs: None,
        cmdline: String::new(),
        cpus: 1,
        memory_bytes: 512 << 20,
        serial: SerialMode::Tty,
        topology: Topology::IoApic,
        testdev: false,
        clock: ClockChoice::Host,
        trace: None,
        backend: BackendChoice::Auto,
        no_reboot: false,
        stats: false,
    };
    assert_eq!(config(""), expected);
}

#[test]
fn every_option_of_the_readme_is_understood() {
    let line = "--initramfs initrd --cpus boot=4 --memory size=1G --serial file=out,a=b.log \
                --console off --platform topology=ioapic,testdev=on --backend kvm --no-reboot \
                --stats --log-file log -vv";
    let config = config(line);
    assert_eq!(config.initramfs, Some("initrd".into()));
    assert_eq!((config.cpus, config.memory_bytes), (4, 1 << 30));
    assert_eq!(config.serial, SerialMode::File("out,a=b.log".into()));
    assert_eq!((config.topology, config.testdev), (Topology::IoApic, true));
    assert_eq!(config.backend, BackendChoice::Kvm);
    assert!(config.no_reboot && config.stats);
    assert_eq!(self::config("--backend soft").backend, BackendChoice::Soft);
    let args = args(&format!("--kernel k {line}")).unwrap();
    assert_eq!((args.verbosity, args.log_file), (2, Some("log".into())));
}

#[test]
fn a_command_line_with_spaces_hyphens_and_equals_signs_is_one_value() {
    let text = "--no console=ttyS0,115200 root=/dev/vda1 -- -v";
    let args = Args::try_parse_from(["vmm-ref", "--kernel", "k", "--cmdline", text]).unwrap();
    assert_eq!(args.config().unwrap().cmdline, text);
}

#[test]
fn the_number_of_cpus_is_bounded_by_the_topology() {
    assert_eq!(config("--cpus boot=1 --platform topology=pic").topology, Topology::PicOnly);
    assert_eq!(config("--cpus boot=32").cpus, 32);
    assert_eq!(message("--cpus boot=0"), "--cpus: bad value '0' for key 'boot': expected 1 to 32");
    assert!(message("--cpus boot=33").ends_with("expected 1 to 32"));
    assert!(message("--cpus boot=1000000").ends_with("expected 1 to 32"));
    for cpus in [0, 2, 32] {
        assert_eq!(
            message(&format!("--cpus boot={cpus} --platform topology=pic")),
            format!(
                "--cpus: bad value '{cpus}' for key 'boot': expected 1 with --platform topology=pic"
            )
        );
    }
    assert!(message("--cpus boot=99999999999").starts_with("--cpus: bad value '99999999999'"));
    assert!(message("--cpus boot=-1").starts_with("--cpus: bad value '-1' for key 'boot'"));
}

#[test]
fn memory_is_bounded_and_comes_in_pages() {
    assert_eq!(config("--memory size=16M").memory_bytes, MIN_MEMORY);
    assert_eq!(config("--memory size=1024G").memory_bytes, MAX_MEMORY);
    assert_eq!(config("--memory size=16388K").memory_bytes, MIN_MEMORY + PAGE);
    for size in ["16777215", "0", "1025G"] {
        assert_eq!(
            message(&format!("--memory size={size}")),
            format!("--memory: bad value '{size}' for key 'size': expected 16M to 1024G")
        );
    }
    assert!(message("--memory size=16777217").ends_with("expected a multiple of 4K"));
    assert!(message("--memory size=99999999999G").ends_with("'size': too large"));
    assert!(message("--memory size=lots").starts_with("--memory: bad value 'lots' for key 'size'"));
}

#[test]
fn what_cloud_hypervisor_has_and_this_machine_lacks_is_named() {
    for (line, expected) in [
        ("--cpus boot=1,max=2", "--cpus: unknown key 'max' (known: boot)"),
        ("--memory size=1G,hugepages=on", "--memory: unknown key 'hugepages' (known: size)"),
        (
            "--platform num_pci_segments=2",
            "--platform: unknown key 'num_pci_segments' (known: topology, testdev, clock, trace)",
        ),
        ("--serial socket=/tmp/s", "--serial: unknown key 'socket' (known: file)"),
        ("--serial pty", "--serial: bad value 'pty': expected tty, file=PATH, null or off"),
        ("--serial file=", "--serial: bad value 'file=': expected tty, file=PATH, null or off"),
        ("--backend mshv", "--backend: bad value 'mshv': expected auto, kvm or soft"),
        (
            "--platform topology=apic",
            "--platform: bad value 'apic' for key 'topology': expected pic or ioapic",
        ),
        ("--cpus 4", "--cpus: '4' is not of the form key=value (known keys: boot)"),
        ("--memory hotplug_size=1G", "--memory: unknown key 'hotplug_size' (known: size)"),
    ] {
        assert_eq!(message(line), expected);
    }
    assert!(message("--console tty").starts_with("--console: bad value 'tty': only off"));
    assert!(message("--platform=").contains("--platform: '' is not of the form"));
}

#[test]
fn a_virtual_clock_needs_the_software_cpu() {
    for backend in ["auto", "soft"] {
        let line = format!("--platform clock=virtual,trace=t.txt --backend {backend}");
        let config = config(&line);
        assert_eq!((config.clock, config.trace), (ClockChoice::Virtual, Some("t.txt".into())));
    }
    assert_eq!(
        message("--platform clock=virtual --backend kvm"),
        "--platform: bad value 'virtual' for key 'clock': KVM has no virtual clock: use --backend \
         soft"
    );
    assert!(message("--platform clock=1").ends_with("for key 'clock': expected host or virtual"));
    assert!(message("--platform trace=").ends_with("for key 'trace': expected a file"));
}

#[test]
fn an_unknown_or_missing_option_is_a_usage_error_with_status_2() {
    let unknown = args("--kernel k --disk path=d").unwrap_err();
    assert_eq!((unknown.kind(), unknown.exit_code()), (ErrorKind::UnknownArgument, 2));
    assert!(unknown.to_string().contains("--disk"));
    let missing = args("--cpus boot=1").unwrap_err();
    assert_eq!((missing.kind(), missing.exit_code()), (ErrorKind::MissingRequiredArgument, 2));
    assert!(missing.to_string().contains("--kernel"));
    let twice = args("--kernel k --cpus boot=1 --cpus boot=2").unwrap_err();
    assert_eq!(twice.exit_code(), 2);
}

#[test]
fn help_and_version_are_no_errors() {
    let kinds = ["-V", "--version", "--help"].map(|line| args(line).unwrap_err());
    assert!(kinds.iter().all(|e| e.exit_code() == 0));
    assert_eq!(kinds[0].to_string(), concat!("vmm-ref ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = kinds[2].to_string();
    for option in ["--kernel", "--platform", "topology=pic|ioapic", "testdev=on|off", "Ctrl-A x"] {
        assert!(help.contains(option), "{option} in\n{help}");
    }
}
