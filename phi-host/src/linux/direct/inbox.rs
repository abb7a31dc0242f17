//! Channels on their way from the agent, or the supervisor, to the thread that uses them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A channel that was opened for a thread. Its memory is mapped, and stays so for as long as the domain
/// is loaded; other memory may take its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Opened {
    /// Its place in the domain's notices.
    pub index: u64,
    /// The address of its memory.
    pub address: u64,
    /// Slots of its ring.
    pub slots: u64,
    /// Which side the thread is.
    pub side: Side,
}

/// What a side of a channel knows besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// The sender.
    Sender {
        /// The handle that it sends through.
        handle: u64,
        /// What it may do with it.
        rights: u32,
    },
    /// The receiver.
    Receiver {
        /// Place of the mailbox in the domain's notices.
        port: u64,
        /// The handle that it receives through.
        mailbox: u64,
        /// The sender's badge.
        badge: u64,
        /// The rights of the capability that messages are sent through.
        rights: u32,
    },
}

/// The channels that were opened for one thread and that it has not seen yet.
#[derive(Default)]
pub struct Inbox {
    news: AtomicBool,
    opened: Mutex<Vec<Opened>>,
}

impl Inbox {
    /// Puts a channel in.
    pub fn put(&self, opened: Opened) {
        // The list is whole whoever panicked.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
        self.news.store(true, Ordering::Release);
    }

    /// Whether there are any.
    pub fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// Takes them all.
    pub fn take(&self) -> Vec<Opened> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        self.news.store(false, Ordering::Relaxed);
        std::mem::take(&mut opened)
    }
}
