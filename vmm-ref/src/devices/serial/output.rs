// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where the serial port's output goes.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The host end of the transmit line.
///
/// Each byte is written as it comes, without a buffer of our own, so that nothing is missing when
/// the machine ends. A reader that stops reading stops the guest at its next byte, as a terminal
/// with flow control would; [`OutputStop`] ends that.
pub struct SerialOutput {
    to: Option<File>,
    stop: OutputStop,
}

/// Ends a [`SerialOutput`]'s wait for its reader: set it, then interrupt the waiting thread with a
/// signal. From then on output is dropped instead of waited for.
#[derive(Clone, Debug, Default)]
pub struct OutputStop(Arc<AtomicBool>);

impl OutputStop {
    /// Asks for the end of all waits.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl SerialOutput {
    /// Output to the process's standard output.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn stdout() -> io::Result<Self> {
        let fd = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::to(File::from(fd)))
    }

    /// Output to an open file, pipe or terminal. It may be in non-blocking mode.
    pub fn to(file: File) -> Self {
        Self { to: Some(file), stop: OutputStop::default() }
    }

    /// Output to nowhere.
    pub fn null() -> Self {
        Self { to: None, stop: OutputStop::default() }
    }

    /// The handle that ends a wait for the reader.
    pub fn stop(&self) -> OutputStop {
        self.stop.clone()
    }
}

impl Write for SerialOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.to else { return Ok(bytes.len()) };
        loop {
            match file.write(bytes) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if self.stop.is_set() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    if e.kind() == ErrorKind::WouldBlock {
                        wait_writable(file.as_fd());
                    }
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until `fd` takes a byte, a signal comes, or a while has passed.
fn wait_writable(fd: BorrowedFd<'_>) {
    const RECHECK_MS: i32 = 100;
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `poll` is one valid pollfd for the duration of the call. The result does not matter:
    // the caller tries again and looks at its stop flag in every case.
    let _ = unsafe { libc::poll(&mut poll, 1, RECHECK_MS) };
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn full_pipe() -> (SerialOutput, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = File::from(OwnedFd::from(ours));
        while ours.write(&[0; 4096]).is_ok() {}
        (SerialOutput::to(ours), theirs)
    }

    #[test]
    fn a_full_non_blocking_reader_is_waited_for() {
        let (mut output, mut reader) = full_pipe();
        let drain = std::thread::spawn(move || {
            let mut last = [0];
            while last != [7] {
                reader.read_exact(&mut last).unwrap();
            }
        });
        output.write_all(&[7]).unwrap();
        drain.join().unwrap();
    }

    #[test]
    fn a_stopped_output_does_not_wait() {
        let (mut output, _reader) = full_pipe();
        output.stop().set();
        assert_eq!(output.write(&[7]).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_holds_each_byte_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serial");
        let mut output = SerialOutput::to(File::create(&path).unwrap());
        output.write_all(b"no newline").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"no newline");
    }
}
