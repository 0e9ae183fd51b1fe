// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs `vmm-ref` with a time limit and keeps what it said.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::guests::{self, Guest, Topology};

/// Far beyond what any guest needs, also on a host that does ten other things: only a hang gets
/// there.
pub const TIME_LIMIT: Duration = Duration::from_secs(240);

/// A `vmm-ref` command line under construction.
pub struct Vmm {
    command: Command,
    backend: &'static str,
    platform: String,
}

impl Vmm {
    /// The binary at `path`, without arguments. Use [`vmm_ref!`](crate::vmm_ref).
    pub fn at(path: impl AsRef<Path>) -> Self {
        let mut command = Command::new(path.as_ref());
        command.stdin(Stdio::null());
        Vmm::from(command)
    }

    /// The backend for [`Vmm::guest`], if it is not KVM.
    pub fn on(mut self, backend: &'static str) -> Self {
        self.backend = backend;
        self
    }

    /// More keys of `--platform`, each with a comma before it, for [`Vmm::guest`].
    pub fn platform(mut self, keys: &str) -> Self {
        self.platform = keys.to_owned();
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// The arguments for one of our guests, faulty ones included.
    pub fn guest(self, name: &str, topology: Topology, cpus: u32) -> Self {
        let backend = self.backend;
        let platform = format!("topology={topology},testdev=on{}", self.platform);
        self.args(["--backend", backend, "--kernel"])
            .arg(guests::elf(name))
            .args(["--cpus", &format!("boot={cpus}"), "--memory", "size=64M"])
            .args(["--platform", &platform])
    }

    /// The command, for what this type does not offer.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs to the end.
    ///
    /// # Panics
    /// If it cannot be started or does not end in time; it is killed then.
    pub fn run(mut self) -> Finished {
        let description = format!("{:?}", self.command);
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot run {description}: {error}"));
        finish(child, description)
    }
}

impl From<Command> for Vmm {
    fn from(command: Command) -> Self {
        Vmm { command, backend: "kvm", platform: String::new() }
    }
}

/// Waits for a child whose standard output and error are pipes.
///
/// # Panics
/// If it does not end within [`TIME_LIMIT`]; it is killed then.
pub fn finish(mut child: Child, description: String) -> Finished {
    let console = collect(child.stdout.take());
    let messages = collect(child.stderr.take());
    let status = wait(&mut child);
    let (console, messages) = (receive(console), receive(messages));
    match status {
        Some(status) => Finished { description, status, console, messages },
        None => panic!(
            "{description} did not end within {TIME_LIMIT:?}\n--- console\n{console}\n--- messages\n{messages}"
        ),
    }
}

/// Waits for a child's end; kills it when the time is up.
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    const STEP: Duration = Duration::from_millis(5);
    for _ in 0..TIME_LIMIT.as_millis() / STEP.as_millis() {
        if let Some(status) = child.try_wait().expect("wait for a child of ours") {
            return Some(status);
        }
        thread::sleep(STEP);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

fn receive(text: mpsc::Receiver<String>) -> String {
    text.recv_timeout(TIME_LIMIT).unwrap_or_default()
}

/// What a run left.
#[derive(Debug)]
pub struct Finished {
    /// The command line.
    pub description: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output: the guest's serial port.
    pub console: String,
    /// Standard error: errors, log lines and `--stats`.
    pub messages: String,
}

impl Finished {
    /// Exit status, or 128 + n for signal n.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The guest's own checks, a line each.
    pub fn checks(&self) -> Vec<String> {
        let is_check = |line: &&str| line.starts_with("ok ") || line.starts_with("FAIL");
        self.console.lines().filter(is_check).map(str::to_string).collect()
    }

    /// Checks that the guest's own checks all passed.
    ///
    /// # Panics
    /// With the failed lines and everything else that was said.
    pub fn assert_passed(&self) {
        let (failed, good): (Vec<_>, Vec<_>) =
            self.checks().into_iter().partition(|line| line.starts_with("FAIL"));
        let passed = self.console.lines().any(|line| line == "guest: passed");
        assert!(
            self.code() == guests::PASSED && passed && failed.is_empty() && !good.is_empty(),
            "{} failed checks: {failed:#?}\n{self:#}",
            failed.len()
        );
    }

    /// Checks for an error exit whose message has each of `phrases`.
    ///
    /// # Panics
    /// With everything that was said.
    pub fn assert_error(&self, code: i32, phrases: &[&str]) {
        assert_eq!(self.code(), code, "{self:#}");
        for phrase in phrases {
            assert!(self.messages.contains(phrase), "no {phrase:?} in\n{self:#}");
        }
        assert!(!self.messages.contains("panicked"), "{self:#}");
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ended with {}\n--- console\n{}\n--- messages\n{}",
            self.description,
            self.code(),
            self.console,
            self.messages
        )
    }
}

/// The values of `--backend` on which every guest runs.
pub const BACKENDS: [&str; 2] = ["kvm", "soft"];

/// Runs one of the listed guests in one topology and checks that it passed.
///
/// # Panics
/// If it did not, see [`Finished::assert_passed`], or if it is not for that topology.
pub fn run_guest(vmm: Vmm, name: &str, topology: Topology) -> Finished {
    let guest = Guest::find(name).unwrap_or_else(|| panic!("there is no guest {name}"));
    assert!(guest.topologies.contains(&topology), "{name} is not for topology={topology}");
    let finished = vmm.guest(name, topology, guest.cpus).arg("--stats").run();
    finished.assert_passed();
    finished
}

/// As [`run_guest`], on each backend: the same checks must have passed.
///
/// # Panics
/// As for [`run_guest`], and if a guest checked something else on another backend.
pub fn run_guest_on_all(vmm: impl Fn() -> Vmm, name: &str, topology: Topology) {
    let [on_kvm, on_soft] =
        BACKENDS.map(|backend| run_guest(vmm().on(backend), name, topology).checks());
    assert_eq!(on_kvm, on_soft, "{name} checked something else");
}

/// Where a test keeps files that it needs.
pub fn scratch() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_owned();
    (directory, move |name: &str| path.join(name))
}
