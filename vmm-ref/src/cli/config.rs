// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the machine shall be: the checked result of the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::option_parser::{ByteSize, OptionError, OptionParser, Toggle};
use super::Args;

/// The most vCPUs that a machine can have.
pub const MAX_CPUS: u32 = 32;
/// The least memory in bytes that a machine can have: 16 MiB.
pub const MIN_MEMORY: u64 = 16 << 20;
/// The most memory in bytes that a machine can have: 1 TiB.
pub const MAX_MEMORY: u64 = 1 << 40;
/// Memory comes in pages of 4096 bytes.
pub const PAGE: u64 = 4096;

/// The machine that the command line asks for. Within the limits above, but nothing of it was
/// opened yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmConfig {
    /// The guest image: bzImage, ELF, PVH or Multiboot.
    pub kernel: PathBuf,
    /// The initial RAM disk, or the Multiboot kernel's first module.
    pub initramfs: Option<PathBuf>,
    /// The kernel command line; empty if none was given.
    pub cmdline: String,
    /// Number of vCPUs.
    pub cpus: u32,
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// What the serial port is connected to.
    pub serial: SerialMode,
    /// The machine's interrupt controllers.
    pub topology: Topology,
    /// Whether the machine has the test device.
    pub testdev: bool,
    /// Whose time the machine lives in.
    pub clock: ClockChoice,
    /// Where every injected interrupt is written down.
    pub trace: Option<PathBuf>,
    /// What runs the vCPUs.
    pub backend: BackendChoice,
    /// End instead of restarting when the guest resets.
    pub no_reboot: bool,
    /// Print the interrupt statistics at the end.
    pub stats: bool,
}

/// What the serial port is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SerialMode {
    /// Standard input and output; a terminal is put into raw mode.
    #[default]
    Tty,
    /// Output to a file, no input.
    File(PathBuf),
    /// There is a port; its output is dropped, it has no input.
    Null,
    /// There is no port.
    Off,
}

/// The machine's interrupt controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Topology {
    /// Two 8259A and one vCPU without a local APIC.
    PicOnly,
    /// Two 8259A, an IOAPIC, and a local APIC for each vCPU.
    #[default]
    IoApic,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PicOnly => "pic",
            Self::IoApic => "ioapic",
        })
    }
}

impl FromStr for Topology {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "pic" => Ok(Self::PicOnly),
            "ioapic" => Ok(Self::IoApic),
            _ => Err("expected pic or ioapic"),
        }
    }
}

/// Whose time a machine lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClockChoice {
    /// The host's.
    #[default]
    Host,
    /// Its own, which counts instructions: every run is the same.
    Virtual,
}

impl FromStr for ClockChoice {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "host" => Ok(Self::Host),
            "virtual" => Ok(Self::Virtual),
            _ => Err("expected host or virtual"),
        }
    }
}

/// What runs the vCPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendChoice {
    /// KVM where it runs guest code on the processor itself, otherwise the software CPU.
    #[default]
    Auto,
    /// KVM, or an error.
    Kvm,
    /// The software CPU.
    Soft,
}

impl TryFrom<&Args> for VmConfig {
    type Error = OptionError;

    /// Checks the options' values.
    fn try_from(args: &Args) -> Result<Self, OptionError> {
        let backend = backend(&args.backend)?;
        let Platform { topology, testdev, clock, trace } = platform(&args.platform, backend)?;
        console(&args.console)?;
        Ok(Self {
            kernel: args.kernel.clone(),
            initramfs: args.initramfs.clone(),
            cmdline: args.cmdline.clone(),
            cpus: cpus(&args.cpus, topology)?,
            memory_bytes: memory(&args.memory)?,
            serial: serial(&args.serial)?,
            topology,
            testdev,
            clock,
            trace,
            backend,
            no_reboot: args.no_reboot,
            stats: args.stats,
        })
    }
}

fn cpus(value: &str, topology: Topology) -> Result<u32, OptionError> {
    let parsed = OptionParser::parse("--cpus", &["boot"], value)?;
    let boot = parsed.require("boot")?;
    match (topology, boot) {
        (Topology::PicOnly, 1) | (Topology::IoApic, 1..=MAX_CPUS) => Ok(boot),
        (Topology::PicOnly, _) => {
            Err(parsed.bad_value("boot", "expected 1 with --platform topology=pic"))
        }
        (Topology::IoApic, _) => {
            Err(parsed.bad_value("boot", format_args!("expected 1 to {MAX_CPUS}")))
        }
    }
}

fn memory(value: &str) -> Result<u64, OptionError> {
    let parsed = OptionParser::parse("--memory", &["size"], value)?;
    let ByteSize(size) = parsed.require("size")?;
    if !(MIN_MEMORY..=MAX_MEMORY).contains(&size) {
        return Err(parsed.bad_value("size", "expected 16M to 1024G"));
    }
    if size % PAGE != 0 {
        return Err(parsed.bad_value("size", "expected a multiple of 4K"));
    }
    Ok(size)
}

struct Platform {
    topology: Topology,
    testdev: bool,
    clock: ClockChoice,
    trace: Option<PathBuf>,
}

fn platform(value: &str, backend: BackendChoice) -> Result<Platform, OptionError> {
    let known = ["topology", "testdev", "clock", "trace"];
    let parsed = OptionParser::parse("--platform", &known, value)?;
    let topology = parsed.get("topology")?.unwrap_or_default();
    let Toggle(testdev) = parsed.get("testdev")?.unwrap_or(Toggle(false));
    let clock = parsed.get("clock")?.unwrap_or_default();
    if (clock, backend) == (ClockChoice::Virtual, BackendChoice::Kvm) {
        return Err(parsed.bad_value("clock", "KVM has no virtual clock: use --backend soft"));
    }
    let trace = parsed.get("trace")?;
    if trace == Some(PathBuf::new()) {
        return Err(parsed.bad_value("trace", "expected a file"));
    }
    Ok(Platform { topology, testdev, clock, trace })
}

fn serial(value: &str) -> Result<SerialMode, OptionError> {
    match value {
        "tty" => Ok(SerialMode::Tty),
        "null" => Ok(SerialMode::Null),
        "off" => Ok(SerialMode::Off),
        _ => match value.split_once('=') {
            Some(("file", "")) | None => {
                Err(bad_option("--serial", value, "expected tty, file=PATH, null or off"))
            }
            // A path may contain commas: the value is not a list of keys.
            Some(("file", path)) => Ok(SerialMode::File(path.into())),
            Some((key, _)) => {
                let known = vec!["file"];
                Err(OptionError::UnknownKey { option: "--serial", key: key.to_string(), known })
            }
        },
    }
}

fn console(value: &str) -> Result<(), OptionError> {
    match value {
        "off" => Ok(()),
        _ => Err(bad_option(
            "--console",
            value,
            "only off is supported: this machine has no virtio console, use --serial",
        )),
    }
}

fn backend(value: &str) -> Result<BackendChoice, OptionError> {
    match value {
        "auto" => Ok(BackendChoice::Auto),
        "kvm" => Ok(BackendChoice::Kvm),
        "soft" => Ok(BackendChoice::Soft),
        _ => Err(bad_option("--backend", value, "expected auto, kvm or soft")),
    }
}

fn bad_option(option: &'static str, value: &str, reason: &str) -> OptionError {
    OptionError::BadOption { option, value: value.to_string(), reason: reason.to_string() }
}
