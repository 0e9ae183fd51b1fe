// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which keys are the guest's and which are ours.
//!
//! In raw mode every key is a byte of input, Ctrl-C too. Two ways out are kept for the person at
//! the terminal:
//!
//! * **Ctrl-A x** ends the machine, Ctrl-A a (or Ctrl-A Ctrl-A) sends one Ctrl-A, Ctrl-A h asks for
//!   help. After any other key both go to the guest.
//! * **Ctrl-C three times within a second** ends the machine if the guest has not even read the
//!   first one: a guest that spins with its interrupts off can't be asked.
//!
//! The filter is for terminals only. Input from a pipe or a file is data and goes to the guest as
//! it is.

/// Ctrl-A: the next key is ours.
const ESCAPE: u8 = 0x01;
/// Ctrl-C.
const INTERRUPT: u8 = 0x03;
/// The time that three interrupts may take, in nanoseconds.
const INTERRUPT_WINDOW: u64 = 1_000_000_000;

/// What [`InputFilter::Ctrl-A h`](InputFilter) shows.
pub const HELP: &str = "Ctrl-A x  end the machine\n\
                        Ctrl-A a  send Ctrl-A to the guest\n\
                        Ctrl-A h  this help\n\
                        Ctrl-C    goes to the guest; three times in a second end a machine that \
                        does not read it\n";

/// Why the person ends the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quit {
    /// Ctrl-A x.
    Escape,
    /// Three Ctrl-C that the guest did not read.
    Interrupts,
}

/// What a [`feed`](InputFilter::feed) asks of the VMM, beside forwarding its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// End the machine. Input after the request was dropped.
    pub quit: Option<Quit>,
    /// Show [`HELP`].
    pub help: bool,
}

/// Takes our keys out of what is typed. Times are nanoseconds of a monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct InputFilter {
    escaped: bool,
    /// Bytes that went to the guest's port, all of them.
    forwarded: u64,
    /// The last two interrupts before this one, the older first.
    interrupts: [Option<Interrupt>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Interrupt {
    at: u64,
    /// The value of `forwarded` with it.
    position: u64,
}

impl InputFilter {
    /// A filter before the first key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what one read of the terminal gave at `now` and appends the guest's part to `out`.
    /// `consumed` is how many of all the bytes forwarded so far the guest has read.
    ///
    /// Several Ctrl-C in one read count as one: they are a paste, or a key that repeats while
    /// nobody looked.
    pub fn feed(&mut self, input: &[u8], now: u64, consumed: u64, out: &mut Vec<u8>) -> Requests {
        let mut requests = Requests::default();
        let mut interrupted = false;
        for &byte in input {
            let before = out.len();
            if std::mem::take(&mut self.escaped) {
                match byte {
                    b'x' | b'X' => {
                        requests.quit = Some(Quit::Escape);
                        return requests;
                    }
                    b'a' | b'A' | ESCAPE => out.push(ESCAPE),
                    b'h' | b'H' | b'?' => requests.help = true,
                    other => out.extend([ESCAPE, other]),
                }
            } else if byte == ESCAPE {
                self.escaped = true;
            } else {
                out.push(byte);
            }
            self.forwarded += (out.len() - before) as u64;
            if byte == INTERRUPT && !std::mem::replace(&mut interrupted, true) {
                requests.quit = self.interrupt(now, consumed);
                if requests.quit.is_some() {
                    return requests;
                }
            }
        }
        requests
    }

    /// Tells that the port did not take `bytes` of what was forwarded: they will not be consumed.
    pub fn dropped(&mut self, bytes: u64) {
        self.forwarded = self.forwarded.saturating_sub(bytes);
    }

    fn interrupt(&mut self, now: u64, consumed: u64) -> Option<Quit> {
        let this = Interrupt { at: now, position: self.forwarded };
        let [first, second] = std::mem::replace(&mut self.interrupts, [None, Some(this)]);
        self.interrupts[0] = second;
        let unread = first.is_some_and(|first| {
            now.saturating_sub(first.at) <= INTERRUPT_WINDOW && consumed < first.position
        });
        unread.then_some(Quit::Interrupts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;
    const QUIT: Requests = Requests { quit: Some(Quit::Interrupts), help: false };

    fn forwarded(input: &[u8]) -> (Vec<u8>, Requests) {
        let mut out = Vec::new();
        let requests = InputFilter::new().feed(input, 0, 0, &mut out);
        (out, requests)
    }

    #[test]
    fn keys_go_to_the_guest_unchanged() {
        let all: Vec<u8> = (0..=0xff).filter(|byte| *byte != ESCAPE).collect();
        assert_eq!(forwarded(&all), (all.clone(), Requests::default()));
    }

    #[test]
    fn ctrl_a_x_ends_the_machine_and_the_rest_is_dropped() {
        let (out, requests) = forwarded(b"ab\x01xcd");
        assert_eq!((out.as_slice(), requests.quit), (&b"ab"[..], Some(Quit::Escape)));
    }

    #[test]
    fn ctrl_a_x_works_across_two_reads() {
        let (mut filter, mut out) = (InputFilter::new(), Vec::new());
        assert_eq!(filter.feed(b"\x01", 0, 0, &mut out), Requests::default());
        assert_eq!(filter.feed(b"x", 9_999 * MS, 0, &mut out).quit, Some(Quit::Escape));
        assert_eq!(out, b"");
    }

    #[test]
    fn ctrl_a_can_be_sent_and_nothing_typed_is_lost() {
        assert_eq!(forwarded(b"\x01a\x01\x01\x01z").0, b"\x01\x01\x01z");
        assert_eq!(forwarded(b"a\x01hb"), (b"ab".to_vec(), Requests { quit: None, help: true }));
    }

    /// Feeds one Ctrl-C at each (time, consumed).
    fn interrupts(presses: [(u64, u64); 3]) -> [Requests; 3] {
        let mut filter = InputFilter::new();
        presses.map(|(at, consumed)| filter.feed(b"\x03", at * MS, consumed, &mut Vec::new()))
    }

    #[test]
    fn three_ctrl_c_end_a_machine_that_reads_nothing() {
        let none = Requests::default();
        assert_eq!(interrupts([(0, 0), (500, 0), (1000, 0)]), [none, none, QUIT]);
    }

    #[test]
    fn three_slow_ctrl_c_do_not() {
        assert_eq!(interrupts([(0, 0), (500, 0), (1001, 0)]), [Requests::default(); 3]);
    }

    #[test]
    fn three_ctrl_c_do_not_end_a_machine_that_reads_them() {
        assert_eq!(interrupts([(0, 0), (10, 1), (20, 1)]), [Requests::default(); 3]);
    }

    #[test]
    fn the_first_of_the_last_three_counts() {
        let (mut filter, mut out) = (InputFilter::new(), Vec::new());
        // The guest reads the first and then hangs.
        for (at, consumed) in [(0, 0), (100, 1), (200, 1)] {
            assert_eq!(filter.feed(b"\x03", at * MS, consumed, &mut out).quit, None);
        }
        assert_eq!(filter.feed(b"\x03", 300 * MS, 1, &mut out), QUIT);
        assert_eq!(out, b"\x03\x03\x03\x03");
    }

    #[test]
    fn a_paste_with_many_ctrl_c_is_not_an_order() {
        assert_eq!(forwarded(&[INTERRUPT; 100]), (vec![INTERRUPT; 100], Requests::default()));
    }

    #[test]
    fn dropped_bytes_are_not_waited_for() {
        let (mut filter, mut out) = (InputFilter::new(), Vec::new());
        filter.feed(b"abcdef", 0, 0, &mut out);
        filter.dropped(6);
        // All that the port took, one byte for each press, has been read each time.
        for consumed in 0..6 {
            assert_eq!(filter.feed(b"\x03", 0, consumed, &mut out).quit, None);
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_input_forwards_the_same(
            input in prop::collection::vec(any::<u8>(), 0..50),
            at in 0..50_usize,
        ) {
            let (left, right) = input.split_at(at.min(input.len()));
            let (mut filter, mut out) = (InputFilter::new(), Vec::new());
            let quit = filter.feed(left, 0, 0, &mut out).quit;
            if quit.is_none() {
                filter.feed(right, 0, 0, &mut out);
            }
            prop_assert_eq!(out, forwarded(&input).0);
        }
    }
}
