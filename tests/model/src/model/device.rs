//! Devices: no domain of the model's systems holds the machine's hardware, so every use of one is a fault.

use super::{Answer, Model, Stop};
use phi_abi::layout::PAGE;
use phi_abi::{Caching, FaultKind, IrqSource, Number, PortWidth, Rights};

impl Model {
    /// What the call on a device can end in.
    pub(super) fn device(&self, number: Number, words: [u64; 4]) -> Answer {
        let [first, second, third, fourth] = words;
        let both = u64::from((Rights::READ | Rights::WRITE).bits());
        let arguments: &[(u64, bool)] = match number {
            Number::DeviceRegion => &[
                (second, second.is_multiple_of(PAGE)),
                (third, third > 0 && third.is_multiple_of(PAGE)),
                (third, second.checked_add(third).is_some()),
                (fourth, Caching::from_number(fourth).is_some()),
            ],
            Number::IrqCreate => &[(second, IrqSource::decode(second).is_some())],
            Number::IrqBind => &[(third, third != 0)],
            Number::DmaSpaceCreate => &[(second, second <= u64::from(u16::MAX))],
            Number::DmaMap => &[(third, third == both || third == u64::from(Rights::READ.bits()))],
            Number::PortsCreate => &[
                (second, second <= u64::from(u16::MAX)),
                (third, third > 0 && third <= u64::from(u16::MAX)),
                (third, second.checked_add(third).is_some_and(|end| end <= 1 << 16)),
            ],
            Number::PortRead | Number::PortWrite => {
                let width = PortWidth::from_number(third);
                let fits = width.is_some_and(|width| fourth <= u64::from(width.most()));
                &[(third, width.is_some()), (fourth, number == Number::PortRead || fits)]
            }
            _ => &[],
        };
        let wrong = arguments.iter().filter(|(_, right)| !right);
        let mut stops = vec![Stop::Fault(FaultKind::BadHandle, first)];
        stops.extend(wrong.map(|(word, _)| Stop::Fault(FaultKind::BadArgument, *word)));
        Err(stops)
    }
}
