// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The request mailbox against a plain model of it.

use vcpu_events::{Mode, Notify, Request, Requests};

use super::{Op, Rig};
use crate::code::pick;

/// The requests nobody has taken, where the vCPU is, and who promised to notify it.
#[derive(Default)]
pub(super) struct MailboxModel {
    pending: u64,
    mode: Mode,
    kicked: bool,
    woken: bool,
}

impl Rig {
    pub(super) fn check_mailbox(&self) {
        assert_eq!(self.mailbox.pending().bits(), self.model.pending);
        assert_eq!(self.mailbox.mode(), self.model.mode);
    }

    pub(super) fn mailbox(&mut self, op: &Op) {
        let model = &mut self.model;
        match op {
            Op::Request { request } => {
                let request = pick(Request::ALL, *request);
                let expected = match model.mode {
                    Mode::InGuest if !model.kicked => Notify::Kick,
                    Mode::Blocked if request.wakes() && !model.woken => Notify::Wake,
                    _ => Notify::None,
                };
                assert_eq!(self.mailbox.make_request(request), expected, "{request:?}");
                model.pending |= request.mask();
                model.kicked |= model.mode == Mode::InGuest;
                model.woken |= model.mode == Mode::Blocked && request.wakes();
            }
            Op::RequestSelf { request } => {
                let request = pick(Request::ALL, *request);
                self.mailbox.request_self(request);
                model.pending |= request.mask();
            }
            Op::TakeRequests => {
                let taken: Vec<Request> = self.mailbox.take().collect();
                assert!(taken.is_sorted(), "in the order of handling");
                let taken: Requests = taken.into_iter().collect();
                assert_eq!(taken.bits(), std::mem::take(&mut model.pending));
            }
            Op::TakeRequest { request } => {
                let request = pick(Request::ALL, *request);
                let pending = model.pending & request.mask() != 0;
                assert_eq!(self.mailbox.take_request(request), pending);
                model.pending &= !request.mask();
            }
            Op::EnterGuest => {
                let left = self.mailbox.enter_guest().err().map_or(0, |left| left.bits());
                assert_eq!(left, model.pending, "requests come before the guest");
                model.change(left, Mode::InGuest);
            }
            Op::Block => {
                let left = self.mailbox.block().err().map_or(0, |left| left.bits());
                assert_eq!(left, model.pending & Requests::WAKING.bits());
                model.change(left, Mode::Blocked);
            }
            Op::ExitGuest => {
                self.mailbox.exit_guest();
                model.change(0, Mode::OutsideGuest);
            }
            Op::Unblock => {
                self.mailbox.unblock();
                model.change(0, Mode::OutsideGuest);
            }
            other => unreachable!("{other:?} is not the mailbox's"),
        }
    }
}

impl MailboxModel {
    fn change(&mut self, refused: u64, mode: Mode) {
        if refused == 0 {
            *self = MailboxModel { pending: self.pending, mode, ..Self::default() };
        }
    }
}
