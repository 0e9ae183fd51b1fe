// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the rig's machine tells the host, over a serial port of its own.
//!
//! A record is a line `rig <kind> <case> <length>`, then so many bytes, then a newline. The
//! length makes the bytes opaque: whatever a guest prints, it cannot look like a record.

use std::io::{self, BufRead, Read, Write};

use anyhow::{bail, ensure, Context, Result};

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The machine has /dev/kvm; the bytes are a sentence about it.
    Ready,
    /// A case starts.
    Start,
    /// Bytes from the guest's serial port.
    Console,
    /// Bytes from vmm-ref's standard error.
    Log,
    /// How the case ended: see `driver::Ending`.
    End,
    /// Nothing more comes; the bytes say why, when it is not because all was done.
    Done,
}

/// No record holds more than this: what is longer is a fault of the channel.
const LONGEST: usize = 1 << 20;

const KINDS: [(Kind, &str); 6] = [
    (Kind::Ready, "ready"),
    (Kind::Start, "start"),
    (Kind::Console, "console"),
    (Kind::Log, "log"),
    (Kind::End, "end"),
    (Kind::Done, "done"),
];

/// One message from the machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: Kind,
    /// The case it is about, `-` if none.
    pub case: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// Writes a record.
pub fn write(out: &mut impl Write, kind: Kind, case: &str, bytes: &[u8]) -> io::Result<()> {
    for bytes in pieces(bytes) {
        let name = KINDS.iter().find(|(k, _)| *k == kind).map_or("done", |(_, name)| name);
        let mut record = format!("rig {name} {case} {}\n", bytes.len()).into_bytes();
        record.extend_from_slice(bytes);
        record.push(b'\n');
        out.write_all(&record)?;
    }
    out.flush()
}

/// An empty record is one piece too.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let none = bytes.is_empty().then_some(bytes);
    none.into_iter().chain(bytes.chunks(LONGEST))
}

/// Reads the next record; `None` when the channel has ended between two of them.
pub fn read(input: &mut impl BufRead) -> Result<Option<Record>> {
    let mut line = Vec::new();
    input.take(256).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let fields: Vec<&str> = line.trim_end_matches('\n').split(' ').collect();
    let ["rig", kind, case, length] = fields[..] else {
        bail!("the rig's machine sent {line:?} where a record should start");
    };
    let kind = KINDS.iter().find(|(_, name)| *name == kind).context("a record of unknown kind")?.0;
    let length: usize = length.parse().context("a record without length")?;
    ensure!(length <= LONGEST, "a record of {length} bytes");
    let mut bytes = vec![0; length + 1];
    input.read_exact(&mut bytes).context("the machine stopped in the middle of a record")?;
    ensure!(bytes.pop() == Some(b'\n'), "a record that does not end where it says");
    Ok(Some(Record { kind, case: case.to_string(), bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_way_whatever_they_hold() {
        let hostile = b"rig end pic 1\n0\nrig done - 0\n\n\x00\xff";
        let mut channel = Vec::new();
        write(&mut channel, Kind::Start, "pic", b"").unwrap();
        write(&mut channel, Kind::Console, "pic", hostile).unwrap();
        let mut input = &channel[..];
        let record = read(&mut input).unwrap().unwrap();
        assert_eq!((record.kind, record.case.as_str()), (Kind::Start, "pic"));
        assert_eq!(read(&mut input).unwrap().unwrap().bytes, hostile);
        assert_eq!(read(&mut input).unwrap(), None);
    }

    #[test]
    fn a_long_record_goes_in_pieces() {
        let mut channel = Vec::new();
        write(&mut channel, Kind::Log, "x", &vec![7; LONGEST + 1]).unwrap();
        let mut input = &channel[..];
        assert_eq!(read(&mut input).unwrap().unwrap().bytes.len(), LONGEST);
        assert_eq!(read(&mut input).unwrap().unwrap().bytes.len(), 1);
    }

    #[test]
    fn a_broken_channel_is_an_error_not_a_result() {
        assert!(read(&mut &b"Linux version 6.1\n"[..]).is_err());
        assert!(read(&mut &b"rig end pic 10\nshort"[..]).is_err());
        assert!(read(&mut &b"rig end pic 2\nabc\n"[..]).is_err());
        assert!(read(&mut &b"rig end pic 99999999999\n"[..]).is_err());
    }
}
