//! What the calls on devices say in their words.

/// Flag of [`crate::Number::RegionCreate`]: the memory is one run of physical addresses, and never moves.
pub const REGION_PINNED: u64 = 1;

/// How the processor reaches a device's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Caching {
    /// Each access goes to the device, one after the other: registers.
    Uncached = 0,
    /// Writes may be put together and come in any order: frame buffers.
    WriteCombining = 1,
}

impl Caching {
    /// The kind with this number.
    pub fn from_number(number: u64) -> Option<Caching> {
        match number {
            0 => Some(Caching::Uncached),
            1 => Some(Caching::WriteCombining),
            _ => None,
        }
    }
}

/// How many bytes of ports are read or written at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PortWidth {
    /// One.
    Byte = 1,
    /// Two.
    Word = 2,
    /// Four.
    Double = 4,
}

impl PortWidth {
    /// Of so many bytes.
    pub fn from_number(number: u64) -> Option<PortWidth> {
        match number {
            1 => Some(PortWidth::Byte),
            2 => Some(PortWidth::Word),
            4 => Some(PortWidth::Double),
            _ => None,
        }
    }

    /// The largest value that fits.
    pub fn most(self) -> u32 {
        match self {
            PortWidth::Byte => 0xFF,
            PortWidth::Word => 0xFFFF,
            PortWidth::Double => u32::MAX,
        }
    }
}

/// Where interrupts come from, as a word of [`crate::Number::IrqCreate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IrqSource {
    /// Messages that a device writes (MSI, MSI-X), known by its requester: bus, device and function as 8, 5
    /// and 3 bits.
    Message {
        /// The device.
        requester: u16,
    },
    /// A line.
    Line {
        /// Number of the global system interrupt (ACPI).
        number: u32,
        /// Whether the line stays active until its device is served; otherwise its edge counts.
        level: bool,
        /// Whether it is active when it is low.
        active_low: bool,
    },
}

const LINE: u64 = 1 << 32;
const LEVEL: u64 = 1 << 33;
const ACTIVE_LOW: u64 = 1 << 34;

impl IrqSource {
    /// As a word: 16 bits of requester; or bit 32, the line's number below it, and bits 33 and 34 for a
    /// line that is level-triggered and active when low.
    pub fn encode(self) -> u64 {
        match self {
            IrqSource::Message { requester } => u64::from(requester),
            IrqSource::Line { number, level, active_low } => {
                let flag = |is: bool, flag| if is { flag } else { 0 };
                LINE | u64::from(number) | flag(level, LEVEL) | flag(active_low, ACTIVE_LOW)
            }
        }
    }

    /// From a word; `None` for what is none.
    pub fn decode(word: u64) -> Option<IrqSource> {
        if let Ok(requester) = u16::try_from(word) {
            return Some(IrqSource::Message { requester });
        }
        let known = LINE | LEVEL | ACTIVE_LOW | u64::from(u32::MAX);
        if word & LINE == 0 || word & !known != 0 {
            return None;
        }
        let (level, active_low) = (word & LEVEL != 0, word & ACTIVE_LOW != 0);
        Some(IrqSource::Line { number: word as u32, level, active_low })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_the_round_trip_and_other_words_are_none() {
        for requester in [0, 0x18, u16::MAX] {
            let source = IrqSource::Message { requester };
            assert_eq!(IrqSource::decode(source.encode()), Some(source));
        }
        for bits in 0..4u32 {
            let (level, active_low) = (bits & 1 != 0, bits & 2 != 0);
            let source = IrqSource::Line { number: u32::MAX - bits, level, active_low };
            assert_eq!(IrqSource::decode(source.encode()), Some(source));
        }
        for word in [1 << 16, LEVEL, ACTIVE_LOW | 4, LINE | 1 << 35, u64::MAX] {
            assert_eq!(IrqSource::decode(word), None, "{word:#x}");
        }
    }
}
