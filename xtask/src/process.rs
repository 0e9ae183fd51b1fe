// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Child processes that end with xtask, and whose failures say which command failed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::channel;

use anyhow::{bail, Context, Result};

/// Makes the kernel end the child when xtask ends, however that happens (Ctrl-C included).
/// Must be spawned from the main thread: the signal follows the thread that forked.
pub fn end_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: prctl is async-signal-safe and touches only the child that calls it.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    }
}

/// Runs a command to its end and returns what it wrote; any failure is an error that quotes it.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let Output { status, stdout, stderr } =
        end_with_us(command).output().with_context(|| format!("cannot run {}", name(command)))?;
    if !status.success() {
        bail!("{} failed ({status}): {}", name(command), last_lines(&stderr, 5));
    }
    Ok(stdout)
}

/// Runs a command to its end and passes on each line it writes, to output or errors, as it comes.
pub fn lines(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        end_with_us(command).spawn().with_context(|| format!("cannot run {}", name(command)))?;
    let (sender, lines) = channel();
    for stream in [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ] {
        let (stream, sender) = (stream.context("a stream is missing")?, sender.clone());
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_string();
                if sender.send(text).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
    }
    drop(sender);
    for text in lines {
        line(&text);
    }
    Ok(child.wait()?)
}

/// The program's name, for messages.
pub fn name(command: &Command) -> String {
    Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned()
}

/// The last `count` lines of some output, in one string.
pub fn last_lines(output: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Looks a program up in PATH.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("").to_owned());
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_quoted() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh failed") && text.contains("why"), "{text}");
    }

    #[test]
    fn lines_come_from_both_streams_and_the_status_at_the_end() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; printf three; exit 4"]);
        let status = lines(&mut command, |line| seen.push(line.to_string())).unwrap();
        seen.sort();
        assert_eq!(seen, ["one", "three", "two"]);
        assert_eq!(status.code(), Some(4));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        assert_eq!(last_lines(b"a\nb\n\nc\n", 2), "b\nc");
        assert_eq!(last_lines(b"", 2), "");
    }
}
