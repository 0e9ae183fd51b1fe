// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The command line, in the form of Cloud Hypervisor.
//!
//! | exit status | when |
//! |---|---|
//! | 0 | the guest powered off; it reset and `--no-reboot` was given; help and version |
//! | 1 | any error: a bad option value, a guest image, the host, a triple fault |
//! | 2 | a command line that is not one (an unknown or missing option), as clap has it |
//! | 128 + n | ended by signal n |
//! | `(value << 1) \| 1` | the test device's exit port (`testdev=on`) |

mod config;
pub mod error_chain;
pub mod option_parser;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{ArgAction, Parser};

pub use config::{
    BackendChoice, ClockChoice, SerialMode, Topology, VmConfig, MAX_CPUS, MAX_MEMORY, MIN_MEMORY,
    PAGE,
};
pub use option_parser::OptionError;

/// Exit status of an error.
pub const EXIT_ERROR: i32 = 1;

/// Boot a virtual machine whose interrupt controllers run in user space.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "vmm-ref", version, max_term_width = 100)]
pub struct Args {
    /// Guest image: bzImage, ELF vmlinux, PVH or Multiboot kernel
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,

    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub initramfs: Option<PathBuf>,

    /// Kernel command line
    #[arg(long, value_name = "STRING", default_value = "", hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    pub cmdline: String,

    /// Number of vCPUs, 1 to 32: boot=N
    #[arg(long, value_name = "boot=N", default_value = "boot=1")]
    pub cpus: String,

    /// Guest memory, with suffix K, M or G: size=SIZE
    #[arg(long, value_name = "size=SIZE", default_value = "size=512M")]
    pub memory: String,

    /// Serial port: off|null|tty|file=PATH. On a terminal, Ctrl-A x ends the machine and
    /// Ctrl-A a sends Ctrl-A
    #[arg(long, value_name = "MODE", default_value = "tty")]
    pub serial: String,

    /// Virtio console: off is the only choice
    #[arg(long, value_name = "MODE", default_value = "off")]
    pub console: String,

    /// Interrupt controllers, test device, whose time it is, and a file that gets a line for each
    /// injected interrupt: topology=pic|ioapic,testdev=on|off,clock=host|virtual,trace=PATH
    #[arg(long, value_name = "KEY=VALUE,...", default_value = "topology=ioapic,testdev=off")]
    pub platform: String,

    /// What runs the vCPUs: auto|kvm|soft
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub backend: String,

    /// End when the guest resets, instead of restarting it
    #[arg(long)]
    pub no_reboot: bool,

    /// Print where interrupts went, at the end
    #[arg(long)]
    pub stats: bool,

    /// Write log lines to a file instead of standard error
    #[arg(long, value_name = "PATH")]
    pub log_file: Option<PathBuf>,

    /// More log lines: -v info, -vv debug, -vvv trace
    #[arg(short = 'v', action = ArgAction::Count)]
    pub verbosity: u8,
}

impl Args {
    /// Parses the process's command line. Help, the version and a command line that is not one
    /// end the process (exit status 0 or 2).
    pub fn from_command_line() -> Self {
        Self::parse()
    }

    /// Checks the options' values.
    ///
    /// # Errors
    /// When a value is none of the option's; the message names the option.
    pub fn config(&self) -> Result<VmConfig, OptionError> {
        VmConfig::try_from(self)
    }
}
