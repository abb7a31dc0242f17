//! The service that answers.

use crate::{BYTES, counter, invoke, named, plain};
use phi_abi::{Message, Number};
use phi_rt::{FOREVER, Service};

/// Receives for ever: each call is answered with the counter as it came and as its answer leaves, and what
/// comes one way is only taken. What is lent with a call goes back with the answer, unread.
pub fn answerer(service: &Service) -> u8 {
    let Some(mailbox) = named(service, "echo") else { return 2 };
    let mut message = Message::EMPTY;
    let mut outcome = invoke(Number::Receive, [mailbox.0, FOREVER, 0, 0], &mut message);
    loop {
        if outcome.status != 0 {
            return 1;
        }
        // Reading the counter takes as long as a third of a receive: what comes one way has no use for it.
        outcome = if message.reply.is_null() {
            invoke(Number::Receive, [mailbox.0, FOREVER, 0, 0], &mut message)
        } else {
            let arrival = counter();
            // What was lent leaves a handle, which takes a slot until it is dropped.
            let dropped = message
                .grants()
                .iter()
                .all(|grant| plain(Number::CapabilityDrop, [grant.handle.0, 0, 0, 0]).is_ok());
            if !dropped {
                return 1;
            }
            message.length = BYTES as u16;
            message.grant_count = 0;
            message.data[..8].copy_from_slice(&arrival.to_le_bytes());
            message.data[8..16].copy_from_slice(&counter().to_le_bytes());
            let words = [message.reply.0, mailbox.0, FOREVER, 0];
            invoke(Number::ReplyReceive, words, &mut message)
        };
    }
}
