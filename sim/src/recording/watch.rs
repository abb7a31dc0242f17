//! The steps of a recording, as the checkers see them.

use super::input::Input;
use crate::event::{Call, Event};
use crate::watch::{OPEN, Watch};
use phi_abi::Message;
use phi_core::{Kernel, Machine, ThreadIndex};

impl Watch<'_> {
    /// Whether a machine with so many domains can give this input now: it speaks for threads that run.
    pub(super) fn permits(&self, input: &Input, domains: usize) -> bool {
        match input {
            Input::Call { thread, .. }
            | Input::Fault(thread, _)
            | Input::Preempt(thread)
            | Input::PutBack(thread) => self.dispatched.contains(thread),
            Input::Lost(domain, _) => usize::from(domain.0) < domains,
            Input::Charge(..) | Input::Expire | Input::Offer(..) | Input::Dispatch => true,
        }
    }

    /// `kernel` is about to be fed with `input`, which is permitted.
    pub(super) fn before<M: Machine>(&mut self, kernel: &mut Kernel<M>, input: &Input) {
        match input {
            Input::Call { thread, number, arguments, message } => {
                let message = message.unwrap_or(Message::EMPTY);
                self.called(*thread, Call { number: *number, arguments: *arguments, message });
                // ΦCore reads no outcome, and sets it before the thread goes on.
                kernel.frame_mut(*thread).outcome = OPEN;
            }
            Input::Fault(thread, _) => self.emit(&Event::Lost(kernel.domain_of(*thread))),
            Input::Lost(domain, _) => self.emit(&Event::Lost(*domain)),
            Input::Preempt(thread) | Input::PutBack(thread) => {
                self.dispatched.retain(|other| other != thread);
                self.emit(&Event::Preempted(*thread));
            }
            Input::Charge(..) | Input::Expire | Input::Offer(..) | Input::Dispatch => {}
        }
    }

    /// `kernel` was fed with `input`, or booted; `events` are its machine's, `thread` goes on, and so
    /// many nanoseconds have passed since the system's start.
    pub(super) fn after<M: Machine>(
        &mut self,
        kernel: &Kernel<M>,
        input: Option<&Input>,
        events: &[Event],
        thread: Option<ThreadIndex>,
        now: u64,
    ) {
        let made = match input {
            Some(Input::Call { thread, number, .. }) => Some((*thread, *number)),
            _ => None,
        };
        self.collect(kernel, events, made);
        if let Some(thread) = thread {
            self.goes_on(kernel, thread);
        }
        self.settled(kernel, now);
    }

    /// The run is over.
    pub(super) fn finish<M: Machine>(&mut self, kernel: &Kernel<M>) {
        self.look(kernel);
        if let Some(status) = kernel.halted() {
            self.emit(&Event::Halted(status));
        }
    }
}
