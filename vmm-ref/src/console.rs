// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Standard input to the serial port, on a thread of its own.
//!
//! The thread lives as long as the process, so that a guest that reboots keeps its terminal. It
//! reads no more than the serial port takes: what a person pastes is never dropped.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::clock::monotonic_ns;
use crate::control::{Control, Ending};
use crate::devices::Serial;
use crate::sync::lock;
use crate::terminal::{InputFilter, HELP};

/// The process's side of the serial port: what outlives a machine.
pub struct Console {
    shared: Arc<Shared>,
    file: Mutex<Option<File>>,
}

/// Locked before the serial port, never after it.
#[derive(Default)]
struct Shared {
    port: Mutex<Option<Port>>,
    room: Room,
    /// Without a thread: what was read.
    unread: Mutex<Unread>,
}

/// Input that was read and not taken yet.
#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    /// There will be no more.
    closed: bool,
    listener: Listener,
}

/// Whether somebody in the guest takes what comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listener {
    #[default]
    Absent,
    /// It has listened since this time (ns).
    Since(u64),
    Settled,
}

impl Listener {
    /// A driver that has listened for so long has set up its port.
    const SETTLED_NS: u64 = 10_000_000;

    /// It does listen at `now`, or does not.
    fn look(&mut self, listens: bool, now: u64) {
        *self = match (*self, listens) {
            (_, false) => Listener::Absent,
            (Listener::Absent, true) => Listener::Since(now),
            (Listener::Since(since), true) if now.saturating_sub(since) >= Self::SETTLED_NS => {
                Listener::Settled
            }
            (unchanged, true) => unchanged,
        };
    }

    /// Nothing else can happen: it will not be readier later.
    fn settle(&mut self) {
        if let Listener::Since(_) = self {
            *self = Listener::Settled;
        }
    }

    fn settled(&self) -> bool {
        *self == Listener::Settled
    }
}

/// Counts how often there was room for input, or another port. Its lock is the last one: the
/// port calls in with its own held.
#[derive(Default)]
struct Room {
    times: Mutex<u64>,
    changed: Condvar,
}

impl Room {
    fn announce(&self) {
        *lock(&self.times) += 1;
        self.changed.notify_all();
    }

    fn times(&self) -> u64 {
        *lock(&self.times)
    }

    fn wait_beyond(&self, times: u64) {
        let guard = lock(&self.times);
        let wait = self.changed.wait_while(guard, |now| *now == times);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

struct Port {
    serial: Arc<Mutex<Serial>>,
    control: Arc<Control>,
    /// Takes our keys out; only on a terminal.
    filter: Option<InputFilter>,
}

impl Console {
    /// Nothing is read before [`Console::start`].
    pub fn new() -> Self {
        Console { shared: Arc::default(), file: Mutex::default() }
    }

    /// The file for the serial port's output, emptied by the first machine: a guest that reboots
    /// writes on behind what it said before.
    ///
    /// # Errors
    /// When the file can't be opened for writing.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let mut file = lock(&self.file);
        match &*file {
            Some(file) => file.try_clone(),
            None => file.insert(File::create(path)?).try_clone(),
        }
    }

    /// Input goes to this port from now on.
    pub fn connect(&self, serial: &Arc<Mutex<Serial>>, control: &Arc<Control>) {
        let shared = self.shared.clone();
        lock(serial).notify_room(Box::new(move || shared.room.announce()));
        let filter = io::stdin().is_terminal().then(InputFilter::new);
        let port = Port { serial: serial.clone(), control: control.clone(), filter };
        *lock(&self.shared.port) = Some(port);
        self.shared.room.announce();
    }

    /// Starts reading.
    ///
    /// # Errors
    /// If the host has no thread left.
    pub fn start(&self) -> io::Result<()> {
        let shared = self.shared.clone();
        thread::Builder::new().name("console".into()).spawn(move || shared.read_input())?;
        Ok(())
    }

    /// Reads input without a thread, instead of [`Console::start`].
    pub fn input(&self) -> Input {
        Input(self.shared.clone())
    }
}

/// Standard input for somebody who looks at it at times of his own.
pub struct Input(Arc<Shared>);

impl Input {
    /// Gives the serial port what is there at `now` (ns) and what it has room for; never waits.
    ///
    /// A file is there from the beginning. It waits until the guest has listened for a while:
    /// what a driver finds in the port while it sets it up it throws away.
    pub fn take(&self, now: u64) {
        let mut unread = lock(&self.0.unread);
        let mut port = lock(&self.0.port);
        let Some(port) = port.as_mut() else { return };
        unread.listener.look(lock(&port.serial).listens(), now);
        if port.filter.is_none() && !unread.listener.settled() {
            return;
        }
        if unread.bytes.is_empty() && !unread.closed && stdin_is_readable(true, 0) {
            unread.read();
        }
        if unread.bytes.is_empty() {
            return;
        }
        let taken = match port.filter.is_some() {
            true => {
                port.type_keys(&unread.bytes);
                unread.bytes.len()
            }
            false => lock(&port.serial).enqueue(&unread.bytes),
        };
        unread.bytes.drain(..taken);
    }

    /// Waits for input or for a signal to this thread. Called when nothing else can happen in the
    /// machine, so that whoever listens will not be readier later.
    pub fn wait(&self) {
        let mut unread = lock(&self.0.unread);
        unread.listener.settle();
        let port = lock(&self.0.port);
        let takes = |port: &Port| port.filter.is_some() || unread.listener.settled();
        let more = unread.bytes.is_empty() && !unread.closed && port.as_ref().is_some_and(takes);
        drop(port);
        drop(unread);
        stdin_is_readable(more, -1);
    }
}

impl Unread {
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        // Not through `Stdin`, whose own buffer `poll` does not see.
        let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        match stdin.and_then(|mut stdin| stdin.read(&mut buffer)) {
            Ok(0) => self.closed = true,
            Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::warn!("standard input: {error}");
                self.closed = true;
            }
        }
    }
}

/// Waits up to `wait_ms` (-1: for ever) until standard input has something, or its end, to be
/// read; with `look` false for nothing but a signal.
fn stdin_is_readable(look: bool, wait_ms: i32) -> bool {
    let mut stdin = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: `stdin` is one valid pollfd for the duration of the call.
    let ready = unsafe { libc::poll(&mut stdin, look.into(), wait_ms) };
    ready == 1
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn read_input(&self) {
        let mut buffer = [0; 4096];
        loop {
            match io::stdin().read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => self.forward(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::warn!("standard input: {error}");
                    return;
                }
            }
        }
    }

    /// Gives one read's bytes to the port, all of them: waits while it has no room.
    ///
    /// On a terminal our keys must work even then, so there what finds no room is dropped, as a
    /// terminal's own input queue would.
    fn forward(&self, typed: &[u8]) {
        let mut rest = typed;
        while !rest.is_empty() {
            let times = self.room.times();
            let mut port = lock(&self.port);
            match port.as_mut() {
                Some(port) if port.filter.is_some() => return port.type_keys(rest),
                Some(port) => rest = &rest[lock(&port.serial).enqueue(rest)..],
                None => {}
            }
            drop(port);
            if !rest.is_empty() {
                self.room.wait_beyond(times);
            }
        }
    }
}

impl Port {
    fn type_keys(&mut self, typed: &[u8]) {
        let Some(filter) = &mut self.filter else { return };
        let mut serial = lock(&self.serial);
        let mut keys = Vec::new();
        let consumed = serial.counters().consumed;
        let requests = filter.feed(typed, monotonic_ns(), consumed, &mut keys);
        let taken = serial.enqueue(&keys);
        filter.dropped((keys.len() - taken) as u64);
        drop(serial);
        if requests.help {
            let _ = io::stderr().write_all(HELP.as_bytes());
        }
        if requests.quit.is_some() {
            self.control.end(Ending::Escape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_settles_after_a_while_or_at_rest() {
        let mut listener = Listener::default();
        for (listens, at, settled) in [
            (true, 5, false),
            (false, 6, false),
            (true, 7, false),
            (true, 10_000_006, false),
            (true, 10_000_007, true),
            (true, 10_000_008, true),
            (false, 10_000_009, false),
        ] {
            listener.look(listens, at);
            assert_eq!(listener.settled(), settled, "at {at}");
        }
        listener.settle();
        assert_eq!(listener, Listener::Absent, "nobody is there");
        listener.look(true, 10_000_010);
        listener.settle();
        assert!(listener.settled());
    }

    #[test]
    fn a_machine_that_boots_again_writes_on_in_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("serial");
        std::fs::write(&path, "of an earlier process").unwrap();
        let console = Console::new();
        for text in ["first ", "second"] {
            console.file(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first second");
    }
}
