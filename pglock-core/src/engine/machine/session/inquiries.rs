//! The inquiries that a session must answer.

use smallvec::smallvec;

use super::{InFlight, Session};
use crate::driver::Operation;
use crate::engine::machine::event::{CallerId, Job, Moment};
use crate::engine::machine::inquiry::Inquiry;

impl Session {
    /// Queues an inquiry.
    pub(crate) fn inquire(&mut self, inquiry: Inquiry) {
        self.inquiries.push(inquiry);
    }

    /// Queues inquiries that were sent once, to send them again.
    pub(crate) fn inquire_again(&mut self, mut inquiries: Vec<Inquiry>) {
        self.inquiries.append(&mut inquiries);
    }

    pub(crate) fn is_to_inquire(&self, inquiry: &Inquiry) -> bool {
        self.inquiries.contains(inquiry)
    }

    /// The caller no longer needs the result.
    pub(crate) fn forget_inquirer(&mut self, caller: CallerId) {
        let goes_on = |inquiry: &Inquiry| inquiry.caller() != Some(caller);
        self.inquiries.retain(goes_on);
        if let Some(InFlight::Inquiries(sent)) = &mut self.in_flight {
            sent.retain(goes_on);
        }
    }

    /// The next job for inquiries, if there are some and it is their turn. Checks go out on their
    /// own: nothing else is asked for them.
    pub(super) fn send_inquiries(&mut self, now: Moment) -> Option<Job> {
        let has_turn = !self.inquired_last || self.outbox.is_empty();
        self.inquired_last = has_turn && !self.inquiries.is_empty();
        if !self.inquired_last {
            return None;
        }
        let (checks, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.inquiries).into_iter().partition(Inquiry::is_check);
        if !checks.is_empty() {
            self.inquiries = others;
            self.send(InFlight::Inquiries(checks), now);
            return Some(Job::Run(smallvec![Operation::Ping]));
        }
        let first = others.first().and_then(Inquiry::key);
        // One answer for all.
        let key = first.filter(|_| others.iter().all(|inquiry| inquiry.key() == first));
        self.send(InFlight::Inquiries(others), now);
        Some(Job::Inspect(key))
    }

    /// The inquiries that it is answering or will answer.
    pub(crate) fn take_inquiries(&mut self) -> Vec<Inquiry> {
        let mut inquiries = std::mem::take(&mut self.inquiries);
        if let Some(InFlight::Inquiries(sent)) = &mut self.in_flight {
            inquiries.append(sent);
        }
        inquiries
    }
}
