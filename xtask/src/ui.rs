// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines for the person in front of it: plain text, and one rewritten line on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Says what is being done, before it is done.
pub fn say(text: impl AsRef<str>) {
    clear();
    println!("==> {}", text.as_ref());
    let _ = std::io::stdout().flush();
}

/// One more line about what `say` announced.
pub fn detail(text: impl AsRef<str>) {
    clear();
    println!("    {}", text.as_ref());
    let _ = std::io::stdout().flush();
}

/// Rewrites the progress line; nothing when nobody watches.
pub fn progress(text: impl AsRef<str>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let width = width();
    let line: String = text.as_ref().chars().filter(|c| !c.is_control()).take(width).collect();
    eprint!("\r\x1b[K{line}");
    let _ = std::io::stderr().flush();
}

/// Removes the progress line, so that an ordinary line can follow.
pub fn clear() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn width() -> usize {
    // SAFETY: an all-zero winsize is a valid value, and TIOCGWINSZ only fills it in.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &mut size);
        size
    };
    match size.ws_col {
        0 => 79,
        columns => usize::from(columns) - 1,
    }
}

/// `1m05s`, `12.3s`: a duration as people say it.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1}s", duration.as_secs_f64())
    }
}

/// The time since `start`, as people say it.
pub fn since(start: Instant) -> String {
    duration(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3s");
        assert_eq!(duration(Duration::from_secs(65)), "1m05s");
    }
}
