// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! 64 KiB for the guest's serial line, in lines that are all different.

use super::cases::Echo;

/// How much is typed.
pub const TOTAL: usize = 64 * 1024;
/// One line, newline included; a terminal in canonical mode takes up to 4095 bytes.
const LINE: usize = 64;
/// Printed by the guest when it is ready for the typing. The command that prints it shows an
/// expression in this place, so that its own echo does not match.
pub const BEGIN: &str = "\n@typing 2\n";
/// Printed by the guest when it has read everything.
pub const END: &str = "@typing 4\n";

/// The command that reads `TOTAL` bytes line by line. Kernel messages stay away from the
/// console meanwhile: they would land in the middle of a line.
pub fn command(echo: &Echo) -> String {
    let read = format!("dd bs={LINE} count={} 2>/dev/null", TOTAL / LINE);
    let (before, read, after) = match echo {
        Echo::Terminal => ("", format!("{read} >/dev/null"), ""),
        Echo::Program => ("stty -echo; ", read, "stty echo; "),
    };
    format!(
        "dmesg -n 1; {before}echo; echo \"@typing $((1+1))\"; {read}; {after}dmesg -n 8; \
         echo \"@typing $((2+2))\""
    )
}

/// The text, `window` bytes at a time (rounded down to lines).
pub fn rounds(window: usize) -> impl Iterator<Item = Vec<u8>> {
    let lines = (window / LINE).max(1);
    let all = TOTAL / LINE;
    (0..all)
        .step_by(lines)
        .map(move |first| (first..all.min(first + lines)).flat_map(line).collect())
}

/// Line `number`: its number, then letters that differ from line to line.
fn line(number: usize) -> Vec<u8> {
    let letter = |at: usize| b'a' + u8::try_from((at * 7 + number * 11) % 26).unwrap_or(0);
    let mut line = format!("{number:06} ").into_bytes();
    while line.len() < LINE - 1 {
        line.push(letter(line.len()));
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_the_whole_text_in_order() {
        for window in [1, 100, 1024, TOTAL, 2 * TOTAL] {
            let text: Vec<u8> = rounds(window).flatten().collect();
            assert_eq!(text.len(), TOTAL);
            assert_eq!(text, (0..TOTAL / LINE).flat_map(line).collect::<Vec<u8>>());
        }
        assert_eq!(rounds(1024).next().map(|round| round.len()), Some(1024));
    }

    #[test]
    fn the_typed_command_does_not_look_like_its_output() {
        for echo in [Echo::Terminal, Echo::Program] {
            let command = format!("\n{}\n", command(&echo));
            assert!(!command.contains(BEGIN) && !command.contains(END));
        }
    }
}
