//! Ports: where devices of old have their registers, in a space of addresses of their own. Only the processor's
//! most privileged level can reach them, so ΦCore does it for whoever holds them.
//!
//! A range of ports is one service's: no two ranges overlap. It ends with the domain that made it, or with the last
//! capability to it.

use crate::call::{Answer, Done, bad_argument};
use crate::{Kernel, Machine, MachineError};
use phi_abi::{Error, Kind, PortWidth, Rights};
use phi_cap::Capability;

/// Ranges of ports, at most, in a system where a service holds the hardware.
pub(crate) const PORTS: u32 = 16;

/// A range of ports.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) alive: bool,
    pub(crate) owner: u16,
    first: u16,
    count: u16,
}

impl Ports {
    pub(crate) const FREE: Ports = Ports { alive: false, owner: 0, first: 0, count: 0 };

    /// The first port and the one after the last.
    fn range(&self) -> [u32; 2] {
        [u32::from(self.first), u32::from(self.first) + u32::from(self.count)]
    }
}

impl<M: Machine> Kernel<M> {
    pub(crate) fn ports_create(
        &mut self,
        thread: u32,
        hardware: u64,
        first: u64,
        count: u64,
    ) -> Answer {
        let Ok(start) = u16::try_from(first) else { return bad_argument(first) };
        let fits = |count: &u16| *count > 0 && u32::from(start) + u32::from(*count) <= 1 << 16;
        let Some(count) = u16::try_from(count).ok().filter(fits) else {
            return bad_argument(count);
        };
        let space = self.hardware_user(thread, hardware)?;
        let ports = Ports { alive: true, owner: space as u16, first: start, count };
        let [begin, end] = ports.range();
        let overlaps = |held: &Ports| {
            let [first, after] = held.range();
            held.alive && begin < after && first < end
        };
        if self.ports.iter().any(overlaps) {
            return Err(Error::Busy.into());
        }
        let free = self.ports.iter().position(|held| !held.alive);
        let slot = free.ok_or(Error::QuotaExceeded)?;
        self.devices()?.ports_open(start, count).map_err(|MachineError| Error::Denied)?;
        self.ports[slot] = ports;
        self.insert(space, Capability::new(Kind::Ports, Kind::Ports.rights(), slot as u32, 0))
    }

    pub(crate) fn port_read(&mut self, thread: u32, ports: u64, offset: u64, width: u64) -> Answer {
        let Some(width) = PortWidth::from_number(width) else { return bad_argument(width) };
        let Some(port) = self.port(thread, ports, offset, width)? else {
            return bad_argument(offset);
        };
        Ok(Done::Value(u64::from(self.devices()?.port_read(port, width))))
    }

    /// `words`: ports, offset, width, value.
    pub(crate) fn port_write(&mut self, thread: u32, words: [u64; 4]) -> Answer {
        let [ports, offset, width, value] = words;
        let Some(width) = PortWidth::from_number(width) else { return bad_argument(width) };
        let fits = |value: &u32| *value <= width.most();
        let Some(value) = u32::try_from(value).ok().filter(fits) else {
            return bad_argument(value);
        };
        let Some(port) = self.port(thread, ports, offset, width)? else {
            return bad_argument(offset);
        };
        self.devices()?.port_write(port, width, value);
        Ok(Done::Value(0))
    }

    /// The port at `offset` of a range, if as much as `width` lies in it from there on.
    fn port(
        &mut self,
        thread: u32,
        ports: u64,
        offset: u64,
        width: PortWidth,
    ) -> Result<Option<u16>, crate::call::Stop> {
        let entry = self.entry_for(thread, ports, Kind::Ports, Rights::CONTROL)?;
        let Ports { first, count, .. } = self.ports[self.capabilities.get(entry).object as usize];
        let end = offset.checked_add(width as u64);
        let lies = end.is_some_and(|end| end <= u64::from(count));
        Ok(lies.then(|| first + offset as u16))
    }

    /// Ends a range of ports.
    pub(crate) fn destroy_ports(&mut self, ports: u32) {
        if self.ports[ports as usize].alive {
            self.bury_all(self.anchors.of(Kind::Ports, ports));
            self.ports[ports as usize] = Ports::FREE;
        }
    }
}
