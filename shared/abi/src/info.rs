//! What the inspecting calls write into a message's bytes, little-endian.

use crate::{FaultKind, Kind, MESSAGE_BYTES, Rights};

/// Topic of [`crate::Number::DomainInspect`]: a [`DomainInfo`].
pub const TOPIC_STATE: u64 = 0;

/// Topic of [`crate::Number::DomainInspect`]: a [`DomainStatistics`].
pub const TOPIC_STATISTICS: u64 = 1;

fn put(words: &[u64]) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn word(bytes: &[u8; MESSAGE_BYTES], index: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
    u64::from_le_bytes(word)
}

/// What a capability is, as its holder may know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapabilityInfo {
    /// Its id: unique, never used again.
    pub id: u64,
    /// What it refers to.
    pub kind: Kind,
    /// What its holder may do.
    pub rights: Rights,
    /// The version of its lineage that it was made under.
    pub version: u64,
    /// Regions: the address of its place. Interrupts: where their message goes. Hardware: the physical
    /// address of what the firmware says of it. Otherwise 0.
    pub address: u64,
    /// Regions: bytes. Mailboxes: capacity. Interrupts: their message. Otherwise 0.
    pub length: u64,
    /// How many revocable derivations it is away from what the plan or a create call made.
    pub depth: u64,
}

impl CapabilityInfo {
    /// As a message's bytes.
    pub fn encode(&self) -> [u8; MESSAGE_BYTES] {
        let kind = self.kind as u64;
        let rights = u64::from(self.rights.bits());
        put(&[self.id, kind, rights, self.version, self.address, self.length, self.depth])
    }

    /// From a message's bytes; `None` when they name no kind.
    pub fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Option<CapabilityInfo> {
        Some(CapabilityInfo {
            id: word(bytes, 0),
            kind: Kind::from_number(u8::try_from(word(bytes, 1)).ok()?)?,
            rights: Rights::from_bits_retain(word(bytes, 2) as u32),
            version: word(bytes, 3),
            address: word(bytes, 4),
            length: word(bytes, 5),
            depth: word(bytes, 6),
        })
    }
}

/// What a domain is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DomainState {
    /// Not started yet.
    Created,
    /// Started, with threads.
    Running,
    /// It ended by itself, with this status.
    Exited(u8),
    /// It did what no correct program does.
    Faulted {
        /// What it did.
        kind: FaultKind,
        /// What that concerns; see [`crate::Fault::address`].
        address: u64,
        /// Where it was.
        instruction: u64,
    },
    /// Somebody with the right to do so stopped it.
    Stopped,
}

/// A domain's state, its generation, and whether there is a new image for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainInfo {
    /// How often it was started.
    pub generation: u32,
    /// What it is doing.
    pub state: DomainState,
    /// Whether its next start takes a new image.
    pub offered: bool,
}

impl DomainInfo {
    /// As a message's bytes.
    pub fn encode(&self) -> [u8; MESSAGE_BYTES] {
        let (state, code, address, instruction) = match self.state {
            DomainState::Created => (0, 0, 0, 0),
            DomainState::Running => (1, 0, 0, 0),
            DomainState::Exited(status) => (2, u64::from(status), 0, 0),
            DomainState::Faulted { kind, address, instruction } => {
                (3, kind as u64, address, instruction)
            }
            DomainState::Stopped => (4, 0, 0, 0),
        };
        let offered = u64::from(self.offered);
        put(&[u64::from(self.generation), state, code, address, instruction, offered])
    }

    /// From a message's bytes; `None` when they name no state.
    pub fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Option<DomainInfo> {
        let state = match word(bytes, 1) {
            0 => DomainState::Created,
            1 => DomainState::Running,
            2 => DomainState::Exited(u8::try_from(word(bytes, 2)).ok()?),
            3 => DomainState::Faulted {
                kind: FaultKind::from_number(u32::try_from(word(bytes, 2)).ok()?)?,
                address: word(bytes, 3),
                instruction: word(bytes, 4),
            },
            4 => DomainState::Stopped,
            _ => return None,
        };
        let (generation, offered) = (u32::try_from(word(bytes, 0)).ok()?, word(bytes, 5) != 0);
        Some(DomainInfo { generation, state, offered })
    }
}

/// What a domain has used since the system's start, over all its generations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DomainStatistics {
    /// Messages that it sent: sends, calls and replies.
    pub messages: u64,
    /// Bytes of those messages that ΦCore copied.
    pub bytes_copied: u64,
    /// Loans that it made.
    pub loans: u64,
    /// Times that one of its threads was switched to.
    pub switches: u64,
    /// Bytes of memory now charged to it: image data, stack, heap and regions.
    pub memory: u64,
    /// Calls that it made of ΦCore.
    pub calls: u64,
    /// Capabilities that it holds now.
    pub handles: u64,
}

impl DomainStatistics {
    /// As a message's bytes.
    pub fn encode(&self) -> [u8; MESSAGE_BYTES] {
        put(&[
            self.messages,
            self.bytes_copied,
            self.loans,
            self.switches,
            self.memory,
            self.calls,
            self.handles,
        ])
    }

    /// From a message's bytes.
    pub fn decode(bytes: &[u8; MESSAGE_BYTES]) -> DomainStatistics {
        DomainStatistics {
            messages: word(bytes, 0),
            bytes_copied: word(bytes, 1),
            loans: word(bytes, 2),
            switches: word(bytes, 3),
            memory: word(bytes, 4),
            calls: word(bytes, 5),
            handles: word(bytes, 6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_survive_the_round_trip() {
        let capability = CapabilityInfo {
            id: 7,
            kind: Kind::Region,
            rights: Rights::READ | Rights::TRANSFER,
            version: 3,
            address: 0x1000_0000_0000,
            length: 8192,
            depth: 2,
        };
        assert_eq!(CapabilityInfo::decode(&capability.encode()), Some(capability));
        for state in [
            DomainState::Created,
            DomainState::Running,
            DomainState::Exited(255),
            DomainState::Faulted { kind: FaultKind::Division, address: 1, instruction: 2 },
            DomainState::Stopped,
        ] {
            for offered in [false, true] {
                let info = DomainInfo { generation: 9, state, offered };
                assert_eq!(DomainInfo::decode(&info.encode()), Some(info));
            }
        }
    }

    #[test]
    fn unknown_numbers_are_refused() {
        assert_eq!(CapabilityInfo::decode(&put(&[1, 99])), None);
        assert_eq!(DomainInfo::decode(&put(&[1, 5])), None);
        assert_eq!(DomainInfo::decode(&put(&[1, 3, 99])), None);
    }
}
