//! The inquiries that a session must answer.

use smallvec::smallvec;

use super::{InFlight, Session};
use crate::driver::Operation;
use crate::engine::machine::event::{CallerId, Job, Moment, Proof};
use crate::engine::machine::inquiry::Inquiry;

impl Session {
    /// Queues an inquiry.
    pub(crate) fn inquire(&mut self, inquiry: Inquiry) {
        self.inquiries.push(inquiry);
    }

    /// Queues inquiries again that were sent before.
    pub(crate) fn inquire_again(&mut self, inquiries: Vec<Inquiry>) {
        self.inquiries.extend(inquiries.into_iter().filter(|inquiry| *inquiry != Inquiry::Gone));
    }

    pub(crate) fn is_to_inquire(&self, inquiry: &Inquiry) -> bool {
        self.inquiries.contains(inquiry)
    }

    /// The caller no longer needs the result.
    pub(crate) fn forget_inquirer(&mut self, caller: CallerId) {
        let goes_on = |inquiry: &Inquiry| inquiry.caller() != Some(caller);
        self.inquiries.retain(goes_on);
        if let Some(InFlight::Inquiries(sent)) = &mut self.in_flight {
            let proofs = sent.iter_mut().filter(|inquiry| inquiry.is_proof());
            proofs.filter(|proof| !goes_on(proof)).for_each(|proof| *proof = Inquiry::Gone);
            sent.retain(goes_on);
        }
    }

    /// The next job for inquiries, if there are some and it is their turn: for the first one, and for
    /// all that go with it.
    pub(super) fn send_inquiries(&mut self, most: usize, now: Moment) -> Option<Job> {
        let has_turn = !self.inquired_last || self.outbox.is_empty();
        self.inquired_last = has_turn && !self.inquiries.is_empty();
        if !self.inquired_last {
            return None;
        }
        let all = std::mem::take(&mut self.inquiries);
        let first = *all.first()?;
        let (mut inquiries, mut later): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|inquiry| first.goes_with(inquiry));
        let job = match first {
            // One answer for all.
            Inquiry::Check { .. } => Job::Run(smallvec![Operation::Ping]),
            Inquiry::Proof { proof: Proof::Token, .. } => Job::Token,
            Inquiry::Proof { .. } | Inquiry::Gone => {
                later.splice(..0, inquiries.split_off(most.min(inquiries.len())));
                Job::Run(inquiries.iter().filter_map(|inquiry| inquiry.to_operation()).collect())
            }
            Inquiry::Locks { .. } | Inquiry::Wait { .. } => {
                let key = first.key();
                Job::Inspect(key.filter(|_| inquiries.iter().all(|other| other.key() == key)))
            }
        };
        self.inquiries = later;
        self.send(InFlight::Inquiries(inquiries), now);
        Some(job)
    }

    /// The inquiries that it is answering or will answer. The server still answers each proof that
    /// was sent.
    pub(crate) fn take_inquiries(&mut self) -> Vec<Inquiry> {
        let mut inquiries = std::mem::take(&mut self.inquiries);
        if let Some(InFlight::Inquiries(sent)) = &mut self.in_flight {
            inquiries.extend_from_slice(sent);
            sent.retain(Inquiry::is_proof);
            sent.fill(Inquiry::Gone);
        }
        inquiries
    }
}
