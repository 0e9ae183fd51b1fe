// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Standard input to the serial port: on a thread of its own, or with a virtual clock through
//! [`Input`].
//!
//! The thread lives as long as the process, so that a guest that reboots keeps its terminal. It
//! reads no more than the serial port takes: what a person pastes is never dropped.

mod input;

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
pub use input::Input;
use input::Unread;

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
    ///
    /// # Errors
    /// If the host has no descriptor left.
    pub fn input(&self) -> io::Result<Input> {
        // Not through `Stdin`, whose own buffer `poll` does not see.
        Ok(self.input_from(io::stdin().as_fd().try_clone_to_owned()?.into()))
    }

    /// As [`Console::input`], of any file.
    pub(crate) fn input_from(&self, source: File) -> Input {
        Input::new(self.shared.clone(), source)
    }
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
            if let Some(port) = port.as_mut() {
                rest = &rest[port.give(rest)..];
            }
            drop(port);
            if !rest.is_empty() {
                self.room.wait_beyond(times);
            }
        }
    }
}

impl Port {
    /// Gives input to the guest; returns how many bytes are settled. On a terminal all are: what
    /// finds no room is dropped.
    fn give(&mut self, bytes: &[u8]) -> usize {
        if self.filter.is_none() {
            return lock(&self.serial).enqueue(bytes);
        }
        self.type_keys(bytes);
        bytes.len()
    }

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
