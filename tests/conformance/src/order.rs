//! What the conductor and the puppets say to each other.

use phi_abi::MESSAGE_BYTES;

/// Words in an order, and in its answer.
pub const WORDS: usize = MESSAGE_BYTES / 8;

/// The words of an order, or of its answer.
pub type Words = [u64; WORDS];

macro_rules! orders {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a puppet is to do; a message's label.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u64)]
        pub enum Order {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Order {
            /// The order with this label.
            pub fn from_label(label: u64) -> Option<Order> {
                [$(Order::$name,)+].get(usize::try_from(label).ok()?).copied()
            }
        }
    };
}

orders! {
    /// Begin a new draft: label, length, number of grants, badge, rights.
    Head,
    /// Put these bytes into the draft.
    Bytes,
    /// Put a grant into the draft: index, handle, rights, mode, address, length.
    Grant,
    /// Make a call: number, four words. Its message is the draft. Answer: status, value.
    Call,
    /// As `Call`, with the message at an address of its own, the sixth word.
    CallAt,
    /// As `Call`, but answer first. The sixth word is the message's address, or 0 for the draft.
    Begin,
    /// Tell how the last `Begin` ended: status, value.
    Outcome,
    /// Show the draft: label, badge, reply, rights, length, number of grants.
    ShowHead,
    /// Show the draft's bytes.
    ShowBytes,
    /// Show the draft's grant with this index: handle, rights, mode, address, length.
    ShowGrant,
    /// Keep the capabilities that come with this order. Answer: their handles.
    Take,
    /// Give a capability: handle, rights, mode. Answer: status, and the capability with it.
    Give,
    /// Tell of the capability of this name: status, handle, rights, kind, address, length.
    Named,
    /// Tell where things are; see [`Places`].
    Places,
    /// Read the word at an address.
    Read,
    /// Write to an address: a word.
    Write,
    /// Perform a stunt: its number and three words. Answer: the stunt's.
    Stunt,
}

/// Where things are in a puppet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// Entry of a thread that follows orders from the mailbox that is its argument.
    pub thread: u64,
    /// First byte of the program's text.
    pub text: u64,
    /// First byte after it.
    pub text_end: u64,
    /// A word of data.
    pub data: u64,
    /// An address on the stack, not far from its end.
    pub stack: u64,
    /// Address of the start block.
    pub start: u64,
    /// Base of the window.
    pub window: u64,
    /// Generation in the high 32 bits, priority in the low ones.
    pub generation_priority: u64,
}

impl Places {
    /// As an answer.
    pub fn words(self) -> Words {
        [
            self.thread,
            self.text,
            self.text_end,
            self.data,
            self.stack,
            self.start,
            self.window,
            self.generation_priority,
        ]
    }

    /// From an answer.
    pub fn from_words(words: Words) -> Places {
        let [thread, text, text_end, data, stack, start, window, generation_priority] = words;
        Places { thread, text, text_end, data, stack, start, window, generation_priority }
    }
}

/// Words as a message's bytes.
pub fn encode(words: Words) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// A message's bytes as words.
pub fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Words {
    let mut words = [0; WORDS];
    for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut one = [0; 8];
        one.copy_from_slice(place);
        *word = u64::from_le_bytes(one);
    }
    words
}
