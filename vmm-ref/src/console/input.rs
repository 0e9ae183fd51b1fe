// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Standard input for a machine with a virtual clock: looked at between the rounds of its vCPUs.
//!
//! What a terminal, a pipe or a socket sends comes when it comes. A regular file is there from the
//! beginning, so when it is taken in can be the same in every run, and is: once the guest has
//! enabled the port's receive interrupt, for a while or until nothing else happens. What a driver
//! finds in the port while it sets it up it throws away.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::{Port, Shared};
use crate::sync::lock;

/// Input for somebody who looks at it at times of his own.
pub struct Input {
    shared: Arc<Shared>,
    source: File,
    /// It waits for a listener.
    withheld: bool,
}

/// Input that was read and not taken yet.
#[derive(Default)]
pub(super) struct Unread {
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

impl Input {
    pub(super) fn new(shared: Arc<Shared>, source: File) -> Self {
        let withheld = source.metadata().is_ok_and(|metadata| metadata.is_file());
        Input { shared, source, withheld }
    }

    /// Gives the serial port what is there at `now` (ns) and what it has room for; never waits.
    pub fn take(&self, now: u64) {
        let mut unread = lock(&self.shared.unread);
        let mut port = lock(&self.shared.port);
        let Some(port) = port.as_mut() else { return };
        unread.listener.look(lock(&port.serial).listens(), now);
        if !self.comes(&unread) {
            return;
        }
        if unread.bytes.is_empty() && !unread.closed && self.is_readable(true, 0) {
            unread.read(&self.source);
        }
        unread.give(port);
    }

    /// Waits for input or for a signal to this thread. Called when nothing else can happen in the
    /// machine, so that whoever listens will not be readier later.
    pub fn wait(&self) {
        let mut unread = lock(&self.shared.unread);
        unread.listener.settle();
        let mut port = lock(&self.shared.port);
        let port_takes = port.as_mut().filter(|_| self.comes(&unread));
        let look = match port_takes {
            Some(port) if !unread.bytes.is_empty() => {
                if unread.give(port) {
                    return;
                }
                // No room, and nobody runs who could make some.
                false
            }
            Some(_) => !unread.closed,
            None => false,
        };
        drop(port);
        drop(unread);
        self.is_readable(look, -1);
    }

    fn comes(&self, unread: &Unread) -> bool {
        !self.withheld || unread.listener.settled()
    }

    /// Waits up to `wait_ms` (-1: for ever) until the source has something, or its end, to be
    /// read; with `look` false for nothing but a signal.
    fn is_readable(&self, look: bool, wait_ms: i32) -> bool {
        let mut source =
            libc::pollfd { fd: self.source.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `source` is one valid pollfd for the duration of the call.
        let ready = unsafe { libc::poll(&mut source, look.into(), wait_ms) };
        ready == 1
    }
}

impl Unread {
    fn read(&mut self, mut source: &File) {
        let mut buffer = [0; 4096];
        match source.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::warn!("standard input: {error}");
                self.closed = true;
            }
        }
    }

    /// Whether the port took anything.
    fn give(&mut self, port: &mut Port) -> bool {
        let taken = port.give(&self.bytes);
        self.bytes.drain(..taken);
        taken != 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::{mpsc, Mutex};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::console::Console;
    use crate::control::Control;
    use crate::devices::irq::Unconnected;
    use crate::devices::serial::BACKLOG_LIMIT;
    use crate::devices::Serial;

    const MS: u64 = 1_000_000;
    const DATA: u8 = 0;
    const IER: u8 = 1;

    /// A serial port on a machine's input, no terminal's.
    struct Rig {
        input: Input,
        serial: Arc<Mutex<Serial>>,
    }

    impl Rig {
        fn new(source: File) -> Self {
            let console = Console::new();
            let serial = Arc::new(Mutex::new(Serial::new(Arc::new(Unconnected), io::sink())));
            let control = Control::new().unwrap();
            let port = Port { serial: serial.clone(), control, filter: None };
            *lock(&console.shared.port) = Some(port);
            Rig { input: console.input_from(source), serial }
        }

        fn from_pipe() -> (Self, UnixStream) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (Self::new(OwnedFd::from(ours).into()), theirs)
        }

        fn from_file(content: &[u8]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("input");
            std::fs::write(&path, content).unwrap();
            Self::new(File::open(path).unwrap())
        }

        fn listen(&self, on: bool) {
            lock(&self.serial).write(IER, on.into());
        }

        /// What the guest has been given so far.
        fn given(&self) -> u64 {
            lock(&self.serial).counters().enqueued
        }

        /// `wait` returns, although nobody signals.
        fn wait(self) -> Self {
            let (done, waited) = mpsc::channel();
            thread::spawn(move || {
                self.input.wait();
                let _ = done.send(self);
            });
            waited.recv_timeout(Duration::from_secs(60)).expect("it sleeps on input that is there")
        }
    }

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
    fn what_a_pipe_sends_comes_to_a_guest_that_polls() {
        let (rig, mut pipe) = Rig::from_pipe();
        rig.input.take(0);
        assert_eq!(rig.given(), 0);
        pipe.write_all(b"abc").unwrap();
        let rig = rig.wait();
        rig.input.take(1);
        assert_eq!(rig.given(), 3);
        assert_eq!(lock(&rig.serial).read(DATA), b'a');
        drop(pipe);
        rig.wait().input.take(2);
    }

    #[test]
    fn a_file_comes_when_a_listener_has_settled() {
        let rig = Rig::from_file(b"abc");
        rig.input.take(20 * MS);
        rig.listen(true);
        rig.input.take(30 * MS);
        rig.input.take(40 * MS - 1);
        assert_eq!(rig.given(), 0);
        rig.input.take(40 * MS);
        assert_eq!(rig.given(), 3);
    }

    #[test]
    fn a_file_comes_when_nothing_else_happens() {
        let rig = Rig::from_file(b"abc");
        rig.listen(true);
        rig.input.take(0);
        assert_eq!(rig.given(), 0);
        let rig = rig.wait();
        rig.input.take(0);
        assert_eq!(rig.given(), 3);
    }

    #[test]
    fn what_was_read_for_an_earlier_listener_is_not_slept_on() {
        let rig = Rig::from_file(&[b'x'; 2 * BACKLOG_LIMIT]);
        rig.listen(true);
        rig.input.take(0);
        while lock(&rig.serial).wants_input() {
            rig.input.take(10 * MS);
        }
        let given = rig.given();
        assert!(!lock(&rig.input.shared.unread).bytes.is_empty());
        rig.listen(false);
        rig.input.take(11 * MS);
        for _ in 0..given {
            lock(&rig.serial).read(DATA);
        }
        rig.listen(true);
        rig.input.take(12 * MS);
        assert_eq!(rig.given(), given);
        assert!(rig.wait().given() > given);
    }
}
