// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `vmm-ref` on a terminal of its own, as a person has it: typed keys, echo, Ctrl-C.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::vmm::{self, Finished, Vmm, TIME_LIMIT};

/// The modes of a terminal that programs change, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    characters: [u8; libc::NCCS],
}

/// A program on a pseudo-terminal.
pub struct Session {
    master: File,
    /// Keeps the terminal alive, and its modes readable, when the program has ended.
    slave: OwnedFd,
    child: Child,
    before: Modes,
    output: Arc<Output>,
    description: String,
}

#[derive(Default)]
struct Output {
    text: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Session {
    /// Starts `vmm` with a new terminal as its controlling terminal, standard input, output and
    /// error.
    ///
    /// # Panics
    /// If the system has no terminal or process to give.
    pub fn start(vmm: Vmm) -> Self {
        let (master, slave) = open().expect("a pseudo-terminal");
        let before = modes(slave.as_raw_fd());
        let mut command = vmm.into_command();
        let description = format!("{command:?}");
        let end = || Stdio::from(slave.try_clone().expect("a file descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: the closure only makes system calls that are async-signal-safe.
        unsafe { command.pre_exec(take_terminal) };
        let child = command.spawn().expect("the program starts");
        let output = Arc::<Output>::default();
        let (reader, sink) = (master.try_clone().expect("a file descriptor"), output.clone());
        thread::spawn(move || copy(reader, &sink));
        Session { master, slave, child, before, output, description }
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The terminal's modes now.
    pub fn modes(&self) -> Modes {
        modes(self.slave.as_raw_fd())
    }

    /// The terminal's modes before the program started.
    pub fn modes_before(&self) -> Modes {
        self.before
    }

    /// Types.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn type_keys(&mut self, keys: &[u8]) {
        self.master.write_all(keys).expect("the terminal takes input");
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill takes plain numbers; the child is reaped by `finish`, or when
        // `wait_for` finds it ended and the test fails.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Waits until `text` is on the screen.
    ///
    /// # Panics
    /// If it does not come within the time limit, or the program has ended without it.
    pub fn wait_for(&mut self, text: &str) {
        /// How often the program is looked after while nothing comes.
        const GLANCE: Duration = Duration::from_millis(500);
        let start = Instant::now();
        let there = |shown: &[u8]| String::from_utf8_lossy(shown).contains(text);
        let mut shown = self.output.text.lock().expect("no panic under this lock");
        while !there(&shown) {
            let ended = self.child.try_wait().expect("the child is ours");
            let (more, quiet) =
                self.output.more.wait_timeout(shown, GLANCE).expect("no panic under it");
            shown = more;
            // What it wrote before its end has come by now, unless it still comes.
            let over = ended.filter(|_| quiet.timed_out());
            if (over.is_some() || start.elapsed() > TIME_LIMIT) && !there(&shown) {
                let status = over.map_or("still running".into(), |status| status.to_string());
                let shown = String::from_utf8_lossy(&shown);
                panic!("no {text:?} on the terminal of {} ({status}):\n{shown}", self.description);
            }
        }
    }

    /// Waits for the program's end and checks that the terminal is as it was.
    ///
    /// # Panics
    /// If it does not end in time, or leaves another mode.
    pub fn finish(mut self) -> Finished {
        let status = vmm::wait(&mut self.child);
        let after = self.modes();
        // The reader gets the rest, then the end of file of a terminal without a slave.
        drop(self.slave);
        let mut shown = self.output.text.lock().expect("no panic under this lock");
        while !shown.ends_with(END) {
            let (next, timeout) =
                self.output.more.wait_timeout(shown, TIME_LIMIT).expect("no panic under it");
            shown = next;
            assert!(!timeout.timed_out(), "the terminal stays open");
        }
        let text = String::from_utf8_lossy(&shown[..shown.len() - END.len()]).into_owned();
        let status = status.unwrap_or_else(|| {
            panic!("{} did not end within {TIME_LIMIT:?}:\n{text}", self.description)
        });
        assert_eq!(after, self.before, "{}: the terminal's mode, after:\n{text}", self.description);
        Finished { description: self.description, status, console: text.clone(), messages: text }
    }
}

/// Marks the end of what the reader collected; no program writes it.
const END: &[u8] = b"\0end of terminal\0";

fn copy(mut from: File, to: &Output) {
    let mut buffer = [0; 4096];
    loop {
        // A terminal whose last slave is closed answers EIO.
        let read = from.read(&mut buffer).unwrap_or(0);
        let bytes = if read == 0 { END } else { &buffer[..read] };
        to.text.lock().expect("no panic under this lock").extend_from_slice(bytes);
        to.more.notify_all();
        if read == 0 {
            return;
        }
    }
}

fn open() -> io::Result<(File, OwnedFd)> {
    let (mut master, mut slave): (RawFd, RawFd) = (-1, -1);
    // SAFETY: both descriptors go to live locals; name, modes and size are optional.
    let result = unsafe { libc::openpty(&mut master, &mut slave, null_mut(), null(), null()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    for fd in [master, slave] {
        // SAFETY: `fd` is open; the flag keeps it out of the children of other tests.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: both descriptors are new and nobody else owns them.
    Ok(unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) })
}

/// In the child: a session of its own, with standard input as its controlling terminal, and no
/// signal ignored, as nohup or a shell's background jobs leave some.
fn take_terminal() -> io::Result<()> {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: neither call has preconditions.
    match unsafe { libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) != -1 } {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

fn modes(fd: RawFd) -> Modes {
    let mut mode = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the call fills `mode` in or fails.
    let result = unsafe { libc::tcgetattr(fd, mode.as_mut_ptr()) };
    assert_eq!(result, 0, "tcgetattr: {}", io::Error::last_os_error());
    // SAFETY: the call succeeded.
    let mode = unsafe { mode.assume_init() };
    Modes {
        input: mode.c_iflag,
        output: mode.c_oflag,
        control: mode.c_cflag,
        local: mode.c_lflag,
        characters: mode.c_cc,
    }
}
