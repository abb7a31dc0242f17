//! One thread's call, between ΦCore and the machine.

use phi_abi::{Message, Outcome};

/// One thread's call: filled in by the machine before [`crate::Kernel::system_call`], read back when
/// the thread is dispatched again.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Number of the call: a [`phi_abi::Number`], or one that no call has.
    pub number: u32,
    /// The call's words.
    pub arguments: [u64; 4],
    /// The message: in, where the call takes one; out, where `message_out` says so.
    pub message: Message,
    /// How the call ended.
    pub outcome: Outcome,
    /// Whether the message must be written back to the service.
    pub message_out: bool,
}

impl Frame {
    /// A frame without a call.
    pub const EMPTY: Frame = Frame {
        number: 0,
        arguments: [0; 4],
        message: Message::EMPTY,
        outcome: Outcome::success(0),
        message_out: false,
    };
}
