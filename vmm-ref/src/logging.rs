// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Log lines, in Cloud Hypervisor's form, to standard error or to a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Starts logging: for each `-v` a level more, from warnings on.
///
/// # Errors
/// When the file can't be created, or logging was started before.
pub fn init(verbosity: u8, file: Option<&Path>) -> io::Result<()> {
    let to: Box<dyn Write + Send> = match file {
        Some(path) => Box::new(File::create(path)?),
        None => Box::new(io::stderr()),
    };
    let logger = Logger { start: Instant::now(), to: Mutex::new(to) };
    log::set_boxed_logger(Box::new(logger)).map_err(io::Error::other)?;
    log::set_max_level(level(verbosity));
    Ok(())
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

struct Logger {
    start: Instant,
    to: Mutex<Box<dyn Write + Send>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("anonymous");
            let line = line(record, self.start.elapsed(), name);
            // One write for a line, so that lines of several processes don't mix. A log that can't
            // be written has nobody to tell.
            if let Ok(mut to) = self.to.lock() {
                let _ = to.write_all(line.as_bytes());
            }
        }
    }

    fn flush(&self) {
        if let Ok(mut to) = self.to.lock() {
            let _ = to.flush();
        }
    }
}

/// `vmm-ref: seconds: <thread> LEVEL:file:line -- message`; information needs no place.
fn line(record: &Record<'_>, elapsed: Duration, thread: &str) -> String {
    let (seconds, level, text) = (elapsed.as_secs_f64(), record.level(), record.args());
    match (record.file(), record.line()) {
        (Some(file), Some(line)) if level != Level::Info => {
            format!("vmm-ref: {seconds:10.6}s: <{thread}> {level}:{file}:{line} -- {text}\n")
        }
        _ => format!("vmm-ref: {seconds:10.6}s: <{thread}> {level} -- {text}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(level: Level) -> String {
        let mut record = Record::builder();
        record.level(level).file(Some("src/machine.rs")).line(Some(7));
        line(&record.args(format_args!("late")).build(), Duration::from_millis(1500), "vcpu0")
    }

    #[test]
    fn a_line_says_when_who_where_and_what() {
        let warning = "vmm-ref:   1.500000s: <vcpu0> WARN:src/machine.rs:7 -- late\n";
        assert_eq!(formatted(Level::Warn), warning);
        assert_eq!(formatted(Level::Info), "vmm-ref:   1.500000s: <vcpu0> INFO -- late\n");
    }

    #[test]
    fn each_v_is_a_level() {
        use LevelFilter::{Debug, Info, Trace, Warn};
        assert_eq!([0, 1, 2, 3, 255].map(level), [Warn, Info, Debug, Trace, Trace]);
    }

    #[test]
    fn a_log_file_that_cannot_be_created_is_an_error() {
        assert!(init(0, Some(Path::new("/nonexistent/directory/log"))).is_err());
    }
}
