// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs vmm-ref for one case: types what the script says when the guest is ready for it.
//!
//! It waits for events only. Time matters in one place: a guest that prints nothing for
//! `Patience::silence`, or never ends, is given up.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cases::{Case, Step};
use super::debian::{PROMPT, READY};
use super::pty::Pty;
use super::typing;
use crate::process;

/// Where a case's output goes while it runs.
pub trait Audience {
    /// Bytes from the guest's serial console.
    fn console(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Bytes from vmm-ref's standard error.
    fn log(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The files that a case needs.
pub struct Files<'a> {
    /// vmm-ref.
    pub vmm: &'a Path,
    /// The guest's kernel.
    pub kernel: &'a Path,
    /// The guest's initramfs.
    pub initramfs: &'a Path,
    /// The directory of the bare-metal guests.
    pub bare: &'a Path,
    /// vmm-ref's `--backend`.
    pub backend: &'a str,
    /// What the place where it runs adds to the kernel's command line.
    pub cmdline: &'a str,
}

/// How long a guest may stay silent, and run.
pub struct Patience {
    /// Without a byte on the console or in the log.
    pub silence: Duration,
    /// In all.
    pub total: Duration,
}

/// Slow machines under load have to fit in.
pub const PATIENCE: Patience =
    Patience { silence: Duration::from_secs(240), total: Duration::from_secs(1200) };

/// How a case ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    /// vmm-ref's exit status; 128 + n when signal n ended it.
    pub status: i32,
    /// How long it ran, in milliseconds.
    pub milliseconds: u64,
    /// What went wrong with the script, if anything did.
    pub trouble: Option<String>,
}

impl Ending {
    /// As the bytes of a record.
    pub fn to_text(&self) -> String {
        let trouble = self.trouble.as_deref().unwrap_or_default();
        format!("{} {} {trouble}", self.status, self.milliseconds)
    }

    /// Out of the bytes of a record.
    pub fn from_text(text: &str) -> Result<Self> {
        let mut fields = text.splitn(3, ' ');
        let mut next = || fields.next().context("an ending with a field missing");
        Ok(Self {
            status: next()?.parse()?,
            milliseconds: next()?.parse()?,
            trouble: Some(next()?.to_string()).filter(|trouble| !trouble.is_empty()),
        })
    }
}

/// Runs a case to its end.
pub fn run(case: &Case, files: &Files, to: &mut dyn Audience) -> Result<Ending> {
    let mut command = Command::new(files.vmm);
    command.args(case.arguments(files));
    run_command(&case.script, command, &PATIENCE, to)
}

/// Runs any command by a script.
pub fn run_command(
    script: &[Step],
    command: Command,
    patience: &Patience,
    to: &mut dyn Audience,
) -> Result<Ending> {
    let start = Instant::now();
    let mut session = Session::start(command)?;
    let trouble = session.play(script, patience, start, to)?;
    let status = session.end(trouble.is_some())?;
    let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ending { status: code(status), milliseconds, trouble })
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

struct Session {
    child: Child,
    terminal: File,
    errors: ChildStderr,
    /// The whole console so far, without carriage returns.
    console: Vec<u8>,
    /// Where in `console` the next wait starts to look.
    seen: usize,
    /// Still to be typed.
    typing: VecDeque<u8>,
    ended: bool,
}

impl Session {
    fn start(mut command: Command) -> Result<Self> {
        command.stderr(Stdio::piped());
        let (mut child, terminal) = Pty::open()
            .and_then(|pty| pty.spawn(&mut command))
            .with_context(|| format!("cannot run {}", process::name(&command)))?;
        let errors = child.stderr.take().context("no standard error")?;
        nonblocking(&errors)?;
        Ok(Self {
            child,
            terminal,
            errors,
            console: Vec::new(),
            seen: 0,
            typing: VecDeque::new(),
            ended: false,
        })
    }

    /// Goes through the script, then waits for the end of the output.
    fn play(
        &mut self,
        script: &[Step],
        patience: &Patience,
        start: Instant,
        to: &mut dyn Audience,
    ) -> Result<Option<String>> {
        let mut waits = script.iter().flat_map(expand).collect::<VecDeque<_>>();
        let mut heard = Instant::now();
        loop {
            while let Some(action) = waits.front() {
                match action {
                    Action::Type(bytes) => self.typing.extend(bytes),
                    Action::Signal(signal) => self.signal(*signal)?,
                    Action::Await(text) => match find(&self.console[self.seen..], text) {
                        Some(end) => self.seen += end,
                        None => break,
                    },
                    Action::Status(label) => match status(&self.console[self.seen..], label) {
                        Some((0, end)) => self.seen += end,
                        Some((status, _)) => {
                            return Ok(Some(format!("the command {label:?} failed ({status})")))
                        }
                        None => break,
                    },
                }
                waits.pop_front();
            }
            if self.ended {
                let missing = waits.iter().find_map(Action::awaited);
                return Ok(missing.map(|text| format!("vmm-ref ended before {text}")));
            }
            if self.exchange(to)? {
                heard = Instant::now();
            }
            let late = heard.elapsed() > patience.silence || start.elapsed() > patience.total;
            if late && !self.ended {
                let what = waits.iter().find_map(Action::awaited).unwrap_or("the end".into());
                return Ok(Some(format!(
                    "nothing for {} s while waiting for {what}, {} s after the start",
                    heard.elapsed().as_secs(),
                    start.elapsed().as_secs()
                )));
            }
        }
    }

    /// Waits a moment for traffic and does what is possible; whether there was any.
    fn exchange(&mut self, to: &mut dyn Audience) -> Result<bool> {
        let out = if self.typing.is_empty() { 0 } else { libc::POLLOUT };
        let mut wanted =
            [poll_for(&self.terminal, libc::POLLIN | out), poll_for(&self.errors, libc::POLLIN)];
        // SAFETY: the pointer and the count describe `wanted`, which outlives the call.
        unsafe { libc::poll(wanted.as_mut_ptr(), 2, 200) };

        let mut heard = false;
        let mut buffer = [0; 4096];
        while let Some(count) = available(self.errors.read(&mut buffer))? {
            if count == 0 {
                break;
            }
            to.log(&buffer[..count])?;
            heard = true;
        }
        // A terminal whose other side is gone answers EIO after the last byte.
        match self.terminal.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Err(error) if error.raw_os_error() == Some(libc::EIO) => self.ended = true,
            result => {
                if let Some(count) = available(result)? {
                    to.console(&buffer[..count])?;
                    self.console.extend(buffer[..count].iter().filter(|&&byte| byte != b'\r'));
                    heard = true;
                }
            }
        }
        if !self.typing.is_empty() && !self.ended {
            if let Some(count) = available(self.terminal.write(self.typing.make_contiguous()))? {
                self.typing.drain(..count);
                heard = true;
            }
        }
        Ok(heard)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: kill has no memory arguments; the child has not been waited for, so the id
        // is still its own.
        unsafe { libc::kill(pid, signal) };
        Ok(())
    }

    fn end(mut self, give_up: bool) -> Result<ExitStatus> {
        if give_up && !self.ended {
            self.child.kill()?;
        }
        drop(self.terminal);
        Ok(self.child.wait()?)
    }
}

/// A script's steps, taken apart.
enum Action {
    Await(Vec<u8>),
    /// The line in which a command's exit status follows its label.
    Status(&'static str),
    Type(Vec<u8>),
    Signal(i32),
}

impl Action {
    fn awaited(&self) -> Option<String> {
        match self {
            Self::Await(text) => {
                let shown: String = String::from_utf8_lossy(text).chars().take(60).collect();
                Some(format!("{shown:?}"))
            }
            Self::Status(label) => Some(format!("the command {label:?} was done")),
            Self::Type(_) | Self::Signal(_) => None,
        }
    }
}

fn expand(step: &Step) -> Vec<Action> {
    let wait = |text: &str| Action::Await(text.as_bytes().to_vec());
    let line = |text: &str| Action::Type(format!("{text}\n").into_bytes());
    match step {
        Step::Shell => vec![wait(READY), wait(PROMPT)],
        Step::Wait(text) => vec![wait(text)],
        Step::Type(text) => vec![line(text)],
        // What is typed shows up on the console too, but there with `$?` and not a number.
        Step::Run { label, command } => {
            vec![
                line(&format!("{command}; echo \"@{label} $?\"")),
                Action::Status(label),
                wait(PROMPT),
            ]
        }
        Step::Echo { reader, window } => typing::rounds(*window)
            .fold(
                vec![line(&typing::command(reader)), wait(typing::BEGIN)],
                |mut actions, round| {
                    actions.extend([Action::Type(round.clone()), Action::Await(round)]);
                    actions
                },
            )
            .into_iter()
            .chain([wait(typing::END), wait(PROMPT)])
            .collect(),
        Step::Signal(signal) => vec![Action::Signal(*signal)],
    }
}

/// Where the first occurrence of `needle` ends.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let at = haystack.windows(needle.len()).position(|window| window == needle)?;
    Some(at + needle.len())
}

/// The exit status behind a label at the start of a line, and where that line ends.
fn status(console: &[u8], label: &str) -> Option<(i32, usize)> {
    let start = find(console, format!("\n@{label} ").as_bytes())?;
    let end = start + console[start..].iter().position(|&byte| byte == b'\n')?;
    let text = std::str::from_utf8(&console[start..end]).ok()?;
    Some((text.parse().ok()?, end))
}

fn poll_for(fd: &impl AsRawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
}

/// Nothing there at the moment is no error.
fn available(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

fn nonblocking(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: fcntl with F_GETFL and F_SETFL has no memory arguments.
    let result = unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a script against a shell that stands in for vmm-ref and its guest.
    fn play(script: &[Step], shell: &str, silence: u64) -> (Ending, String) {
        struct Heard(Vec<u8>);
        impl Audience for Heard {
            fn console(&mut self, bytes: &[u8]) -> io::Result<()> {
                self.0.extend_from_slice(bytes);
                Ok(())
            }
            fn log(&mut self, _: &[u8]) -> io::Result<()> {
                Ok(())
            }
        }
        let directory = crate::workspace::directory("driver-tests").unwrap();
        let file = directory.join(format!("{:?}.sh", std::thread::current().id()));
        std::fs::write(&file, shell).unwrap();
        let patience =
            Patience { silence: Duration::from_secs(silence), total: Duration::from_secs(600) };
        let mut command = Command::new("sh");
        command.arg(&file);
        let mut heard = Heard(Vec::new());
        let ending = run_command(script, command, &patience, &mut heard).unwrap();
        (ending, String::from_utf8_lossy(&heard.0).into_owned())
    }

    /// The guest's loop, without a machine under it.
    const SHELL: &str = "echo 'vmm-ref guest: shell'\n\
        while printf 'guest# ' && read -r line; do eval \"$line\"; done";

    #[test]
    fn commands_are_typed_when_the_guest_is_ready_and_the_status_comes_back() {
        let run = Step::Run { label: "sum", command: "echo $((40+2))".into() };
        let (ending, console) = play(&[Step::Shell, run, Step::Type("exit 7")], SHELL, 600);
        assert_eq!((ending.status, ending.trouble), (7, None));
        assert!(console.contains("\r\n42\r\n@sum 0\r\n"), "{console}");
    }

    #[test]
    fn endings_survive_the_way_to_the_host() {
        for trouble in [None, Some("nothing for 9 s".to_string())] {
            let ending = Ending { status: 139, milliseconds: 31_200, trouble };
            assert_eq!(Ending::from_text(&ending.to_text()).unwrap(), ending);
        }
        assert!(Ending::from_text("0").is_err());
    }

    #[test]
    fn a_failing_command_is_trouble_at_once() {
        let run = Step::Run { label: "bad", command: "false".into() };
        let (ending, _) = play(&[Step::Shell, run], SHELL, 600);
        assert_eq!(ending.trouble.as_deref(), Some("the command \"bad\" failed (1)"));
    }

    #[test]
    fn an_early_end_is_trouble() {
        let (ending, _) = play(&[Step::Shell, Step::Wait("later".into())], "echo no; exit 3", 600);
        assert_eq!(ending.status, 3);
        assert!(ending.trouble.unwrap().contains("ended before"));
    }

    #[test]
    fn a_silent_guest_is_given_up_and_killed() {
        let (ending, _) = play(&[Step::Wait("never".into())], "exec sleep 1000", 1);
        assert_eq!(ending.status, 128 + libc::SIGKILL);
        assert!(ending.trouble.unwrap().contains("waiting for \"never\""));
    }

    #[test]
    fn a_signal_ends_a_guest_that_spins() {
        let script = [Step::Wait("spinning".into()), Step::Signal(libc::SIGTERM)];
        let (ending, _) = play(&script, "echo spinning; while :; do :; done", 600);
        assert_eq!((ending.status, ending.trouble), (128 + libc::SIGTERM, None));
    }
}
