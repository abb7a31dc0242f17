//! Addresses of cards.

use core::fmt;
use serde::{Deserialize, Serialize};

/// An address of Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Address(pub [u8; 6]);

/// Set in the first byte of an address that no maker has given out.
const LOCAL: u8 = 2;

/// Set in the first byte of an address of a group.
const GROUP: u8 = 1;

impl Address {
    /// The address of the card that a system calls `name`: a local one that is made of the name, the same on every
    /// machine. Or what the name says, if it is an address (`52:54:00:12:34:56`): so a driver is told which card of a
    /// real machine it has; a manifest names none so.
    pub fn of_name(name: &str) -> Address {
        Address::parse(name).unwrap_or_else(|| {
            // FNV-1a (draft-eastlake-fnv), 64 bits.
            let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
            });
            let [first, second, third, fourth, fifth, sixth, ..] = hash.to_be_bytes();
            Address([first & !GROUP | LOCAL, second, third, fourth, fifth, sixth])
        })
    }

    fn parse(text: &str) -> Option<Address> {
        let mut address = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut address {
            let part = parts.next().filter(|part| part.len() == 2)?;
            let digits = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| digits)?;
        }
        let single = parts.next().is_none() && address[0] & GROUP == 0;
        single.then_some(Address(address))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_name_that_is_an_address_is_that_address() {
        let text = "52:54:00:aB:34:56";
        let address = Address::of_name(text);
        assert_eq!(address, Address([0x52, 0x54, 0, 0xAB, 0x34, 0x56]));
        assert_eq!(address.to_string(), text.to_lowercase());
    }

    #[test]
    fn other_names_make_local_addresses_of_one_card_each() {
        let names = [
            "net",
            "neu",
            "",
            // A group's, too few and too many bytes, and what is no byte.
            "53:54:00:12:34:56",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:+6",
            "52:54:0:12:34:567",
        ];
        let addresses = names.map(Address::of_name);
        for (index, Address(address)) in addresses.iter().enumerate() {
            assert_eq!(address[0] & (LOCAL | GROUP), LOCAL, "{}", names[index]);
            assert!(!addresses[..index].contains(&Address(*address)), "{}", names[index]);
        }
    }
}
