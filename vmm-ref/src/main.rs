// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The `vmm-ref` command.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{anyhow, Context, Result};
use vmm_ref::backend::{self, Kind};
use vmm_ref::cli::error_chain;
use vmm_ref::cli::{Args, ClockChoice, SerialMode, VmConfig, EXIT_ERROR};
use vmm_ref::console::Console;
use vmm_ref::control::Ending;
use vmm_ref::devices::MachineEvent;
use vmm_ref::logging;
use vmm_ref::machine::{Host, Machine, Outcome};
use vmm_ref::terminal::{self, RawMode};
use vmm_ref::trace::Trace;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

fn main() -> ExitCode {
    match run(&Args::from_command_line()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            terminal::restore();
            error_chain::report(&error);
            ExitCode::from(EXIT_ERROR as u8)
        }
    }
}

fn run(args: &Args) -> Result<u8> {
    logging::init(args.verbosity, args.log_file.as_deref()).context("cannot open the log file")?;
    let config = args.config()?;
    let backend = select_backend(&config)?;
    let signals = EventFd::new(EFD_NONBLOCK).context("cannot create an event descriptor")?;
    let handler = signals.try_clone().context("cannot create an event descriptor")?;
    terminal::on_termination(handler).context("cannot install signal handlers")?;
    boot_until_done(&config, backend, &signals)
}

/// Says which backend `auto` is, and why.
fn select_backend(config: &VmConfig) -> Result<Kind> {
    let selected = backend::select(config.backend, config.clock)
        .context("--backend kvm cannot run the guest")?;
    let kind = selected.kind;
    if let Some(why) = selected.why {
        // A standard error that nobody reads is no reason to fail.
        let _ = writeln!(io::stderr(), "vmm-ref: --backend auto is {kind}: {why}");
    }
    Ok(kind)
}

/// Boots, and boots again as often as the guest resets.
fn boot_until_done(config: &VmConfig, backend: Kind, signals: &EventFd) -> Result<u8> {
    let host = Host { console: Console::new(), trace: trace(config)? };
    let mut machine = Machine::new(config, backend, &host)?;
    let _raw = match config.serial {
        SerialMode::Tty => RawMode::enter(io::stdin()).context("cannot set up the terminal")?,
        _ => None,
    };
    // With a virtual clock the vCPUs' thread itself looks for input, at its own times.
    if config.serial == SerialMode::Tty && config.clock == ClockChoice::Host {
        host.console.start().context("cannot read standard input")?;
    }
    loop {
        let Outcome { ending, report } = machine.run(signals, &host)?;
        if config.stats {
            let _ = write!(io::stderr(), "{report}");
        }
        let status = with_trace(status(&ending), host.trace.as_deref())?;
        match ending {
            Ending::Guest(MachineEvent::Reset(_)) if !config.no_reboot => {
                log::info!("booting again");
                machine = Machine::new(config, backend, &host)?;
            }
            _ => return Ok(status),
        }
    }
}

/// A trace that could not be written is an error, behind one of the machine itself.
fn with_trace(status: Result<u8>, trace: Option<&Trace>) -> Result<u8> {
    let written = trace.map_or(Ok(()), Trace::flush);
    match (status, written) {
        (Ok(status), Ok(())) => Ok(status),
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(machine), written) => {
            if let Err(error) = written {
                log::warn!("{error}");
            }
            Err(machine)
        }
    }
}

/// Interrupts are traced if somebody wants to read or to compare them.
fn trace(config: &VmConfig) -> Result<Option<Arc<Trace>>> {
    let trace = match (&config.trace, config.clock) {
        (Some(path), _) => Trace::to_file(path)
            .with_context(|| format!("--platform: cannot create {}", path.display()))?,
        (None, ClockChoice::Virtual) => Trace::new(),
        (None, ClockChoice::Host) => return Ok(None),
    };
    Ok(Some(Arc::new(trace)))
}

/// What the process ends with.
fn status(ending: &Ending) -> Result<u8> {
    match ending {
        Ending::Guest(event) => {
            log::info!("{event}");
            Ok(event.exit_status())
        }
        Ending::Escape => {
            log::info!("ended from the terminal");
            Ok(0)
        }
        Ending::Signal(signal) => {
            log::warn!("ended by signal {signal}");
            Ok(128u8.wrapping_add(*signal as u8))
        }
        Ending::TripleFault { cpu, registers } => {
            Err(anyhow!("{registers}").context(format!("triple fault on vCPU {cpu}")))
        }
        Ending::VcpuFailed { cpu, error, registers } => {
            let error = anyhow!("{registers}").context(error.clone());
            Err(error.context(format!("vCPU {cpu} cannot go on")))
        }
    }
}
