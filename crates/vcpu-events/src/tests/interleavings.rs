// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-1 under every interleaving. Each mailbox operation is one atomic step, so running the
//! steps of all threads in every order is a complete check of the protocol; the memory
//! orderings inside a step are the model checker's (`tests/loom.rs`).

use std::vec;
use std::vec::Vec;

use crate::{Mailbox, Notify, Request, Requests};

/// What the vCPU does when nothing is requested.
#[derive(Clone, Copy, PartialEq)]
enum Idle {
    Run,
    Sleep,
}

#[derive(Clone, Copy, PartialEq)]
enum Vcpu {
    ClearKick,
    Take,
    Leave,
    /// In the guest: only a kick gets it out (or, `exits` times, the guest itself).
    Running,
    /// Asleep: only a wake gets it up.
    Asleep,
    /// For the broken order: entered, but the kick is cleared now.
    ClearKickLate,
}

/// A sender publishes each of its requests and then does what it was told.
struct Sender {
    requests: Vec<Request>,
    notify: Option<Notify>,
}

struct World {
    mailbox: Mailbox,
    vcpu: Vcpu,
    idle: Idle,
    exits: u32,
    clear_kick_late: bool,
    kick: bool,
    wake: bool,
    seen: Requests,
    senders: Vec<Sender>,
}

impl World {
    fn enabled(&self) -> Vec<usize> {
        let mut threads: Vec<usize> = (0..self.senders.len())
            .filter(|&i| self.senders[i].notify.is_some() || !self.senders[i].requests.is_empty())
            .collect();
        let vcpu_can = match self.vcpu {
            Vcpu::Running => self.kick || self.exits > 0,
            Vcpu::Asleep => self.wake,
            _ => true,
        };
        if vcpu_can {
            threads.push(self.senders.len());
        }
        threads
    }

    fn step(&mut self, thread: usize) {
        match self.senders.get_mut(thread) {
            None => self.step_vcpu(),
            Some(sender) => match sender.notify.take() {
                Some(Notify::Kick) => self.kick = true,
                Some(Notify::Wake) => self.wake = true,
                Some(Notify::None) | None => {
                    sender.notify = sender.requests.pop().map(|r| self.mailbox.make_request(r));
                }
            },
        }
    }

    fn step_vcpu(&mut self) {
        self.vcpu = match self.vcpu {
            Vcpu::ClearKick => {
                self.kick = false;
                Vcpu::Take
            }
            Vcpu::Take => {
                self.mailbox.take().for_each(|request| self.seen.insert(request));
                Vcpu::Leave
            }
            Vcpu::Leave => self.leave(),
            Vcpu::ClearKickLate => {
                self.kick = false;
                Vcpu::Running
            }
            Vcpu::Running => {
                self.exits -= u32::from(!self.kick);
                self.mailbox.exit_guest();
                if self.clear_kick_late {
                    Vcpu::Take
                } else {
                    Vcpu::ClearKick
                }
            }
            Vcpu::Asleep => {
                self.wake = false;
                self.mailbox.unblock();
                Vcpu::Take
            }
        }
    }

    fn leave(&mut self) -> Vcpu {
        let left = match self.idle {
            Idle::Run => self.mailbox.enter_guest().map(|()| Vcpu::Running),
            Idle::Sleep => self.mailbox.block().map(|()| Vcpu::Asleep),
        };
        match left {
            Ok(Vcpu::Running) if self.clear_kick_late => Vcpu::ClearKickLate,
            Ok(state) => state,
            Err(_) => Vcpu::Take,
        }
    }
}

/// Runs every schedule; returns how many there are and how many end with a request unseen.
fn explore(world: impl Fn() -> World, must_see: Requests) -> (usize, usize) {
    let (mut schedules, mut lost) = (0, 0);
    let mut schedule: Vec<(usize, usize)> = vec![];
    loop {
        let mut run = world();
        let mut depth = 0;
        loop {
            let enabled = run.enabled();
            if enabled.is_empty() {
                break;
            }
            if depth == schedule.len() {
                schedule.push((0, enabled.len()));
            }
            run.step(enabled[schedule[depth].0]);
            depth += 1;
        }
        schedules += 1;
        lost += usize::from(!must_see.into_iter().all(|request| run.seen.contains(request)));
        // The next schedule in lexical order.
        while schedule.last().is_some_and(|&(choice, of)| choice + 1 == of) {
            schedule.pop();
        }
        match schedule.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => return (schedules, lost),
        }
    }
}

fn world(idle: Idle, exits: u32, senders: &[&[Request]]) -> World {
    let senders = senders.iter().map(|r| Sender { requests: r.to_vec(), notify: None }).collect();
    World {
        mailbox: Mailbox::new(),
        vcpu: Vcpu::Take,
        idle,
        exits,
        clear_kick_late: false,
        kick: false,
        wake: false,
        seen: Requests::EMPTY,
        senders,
    }
}

fn set(requests: &[Request]) -> Requests {
    requests.iter().copied().collect()
}

#[test]
fn evt_1_no_kick_is_lost_in_any_interleaving() {
    let senders: [&[Request]; 2] = [&[Request::Event, Request::Nmi], &[Request::ScanIoapic]];
    let all = set(&[Request::Event, Request::Nmi, Request::ScanIoapic]);
    let (schedules, lost) = explore(|| world(Idle::Run, 1, &senders), all);
    assert!(schedules > 1000, "{schedules} schedules are no exploration");
    assert_eq!(lost, 0, "of {schedules}");
}

#[test]
fn evt_1_no_wake_up_is_lost_in_any_interleaving() {
    let senders: [&[Request]; 2] = [&[Request::Event, Request::Smi], &[Request::Nmi]];
    let all = set(&[Request::Event, Request::Smi, Request::Nmi]);
    let (schedules, lost) = explore(|| world(Idle::Sleep, 0, &senders), all);
    assert!(schedules > 500, "{schedules} schedules are no exploration");
    assert_eq!(lost, 0, "of {schedules}");
}

#[test]
fn evt_1_a_request_that_does_not_wake_hides_no_wake_up() {
    let senders: [&[Request]; 2] = [&[Request::ScanIoapic], &[Request::Event]];
    let (_, lost) = explore(|| world(Idle::Sleep, 0, &senders), set(&[Request::Event]));
    assert_eq!(lost, 0);
}

#[test]
fn evt_1_clearing_immediate_exit_after_entering_would_lose_kicks() {
    let senders: [&[Request]; 1] = [&[Request::Event]];
    let broken = || World { clear_kick_late: true, ..world(Idle::Run, 0, &senders) };
    let (_, lost) = explore(broken, set(&[Request::Event]));
    assert!(lost > 0, "the exploration must find the order that the documentation forbids");
}
