//! Devices: their registers, their interrupts, and what they can reach of memory.

use crate::{Capability, Incoming, Mapping, Region, Signal, WrongKind, system};
use phi_abi::{Caching, Error, Handle, IrqSource, Kind, Number, PortWidth, Rights};

/// The machine's devices. What is made from it ends with this domain.
#[derive(Debug)]
pub struct Hardware(Capability);

impl Hardware {
    pub(crate) fn new(capability: Capability) -> Hardware {
        Hardware(capability)
    }

    /// Physical address of what the firmware says of the hardware, the RSDP (ACPI 6.5, 5.2.5); 0 on a
    /// machine without devices for services.
    ///
    /// # Errors
    /// `Revoked`.
    pub fn root(&self) -> Result<u64, Error> {
        Ok(self.0.inspect()?.address)
    }

    /// A region of `length` bytes of a device's memory (whole pages) at a physical address. It cannot be
    /// lent.
    ///
    /// # Errors
    /// `Denied` when it is memory of the system or the kernel's own; `QuotaExceeded`, `Revoked`, and
    /// `Machine` on a machine without devices.
    pub fn region(&self, physical: u64, length: u64, caching: Caching) -> Result<Region, Error> {
        let words = [self.0.handle().0, physical, length, caching as u64];
        let capability = made(system::plain(Number::DeviceRegion, words)?);
        Ok(Region::from_parts(capability, length))
    }

    /// A source of interrupts.
    ///
    /// # Errors
    /// `Denied` when the machine has no such source, or another one has it; `QuotaExceeded`, `Revoked`,
    /// `Machine`.
    pub fn irq(&self, source: IrqSource) -> Result<Irq, Error> {
        let words = [self.0.handle().0, source.encode(), 0, 0];
        Ok(Irq(made(system::plain(Number::IrqCreate, words)?)))
    }

    /// The space of what the device with this requester id (bus, device and function as 8, 5 and 3 bits)
    /// can reach: nothing at first.
    ///
    /// # Errors
    /// `Busy` when the device has one; `Denied`, `QuotaExceeded`, `Revoked`, `Machine`.
    pub fn dma_space(&self, requester: u16) -> Result<DmaSpace, Error> {
        let words = [self.0.handle().0, u64::from(requester), 0, 0];
        Ok(DmaSpace(made(system::plain(Number::DmaSpaceCreate, words)?)))
    }

    /// `count` ports from `first` on.
    ///
    /// # Errors
    /// `Busy` when another range has one of them; `Denied` when the machine uses one itself; `QuotaExceeded`,
    /// `Revoked`, `Machine`.
    pub fn ports(&self, first: u16, count: u16) -> Result<Ports, Error> {
        let words = [self.0.handle().0, first.into(), count.into(), 0];
        Ok(Ports(made(system::plain(Number::PortsCreate, words)?)))
    }
}

fn made(handle: u64) -> Capability {
    // SAFETY: a call made the handle for us alone.
    unsafe { Capability::from_handle(Handle(handle)) }
}

/// A source of interrupts.
#[derive(Debug)]
pub struct Irq(Capability);

impl Irq {
    /// What a device is to write, and where, to have this interrupt; zeros for a line.
    ///
    /// # Errors
    /// `Revoked`, `Dead`.
    pub fn message(&self) -> Result<(u64, u32), Error> {
        let info = self.0.inspect()?;
        Ok((info.address, info.length as u32))
    }

    /// Has each interrupt set `bits` (not 0) of a signal, and lets it come. The next one comes after
    /// [`Irq::acknowledge`]. Needs NOTIFY on the signal.
    ///
    /// # Errors
    /// `Busy` when it is bound; `Denied`, `Revoked`, `Dead`.
    pub fn bind(&self, signal: &Signal, bits: u64) -> Result<(), Error> {
        let words = [self.0.handle().0, signal.capability().handle().0, bits, 0];
        system::plain(Number::IrqBind, words).map(drop)
    }

    /// Lets the next interrupt come: how many came since the last time. One that came meanwhile sets the
    /// signal again at once.
    ///
    /// # Errors
    /// `Revoked`, `Dead`.
    pub fn acknowledge(&self) -> Result<u64, Error> {
        system::plain(Number::IrqAcknowledge, [self.0.handle().0, 0, 0, 0])
    }

    /// The capability, to derive from.
    pub fn capability(&self) -> &Capability {
        &self.0
    }
}

impl TryFrom<Capability> for Irq {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Irq, WrongKind> {
        capability.expect(Kind::Irq)?;
        Ok(Irq(capability))
    }
}

/// What one device can reach.
#[derive(Debug)]
pub struct DmaSpace(Capability);

impl DmaSpace {
    /// Lets the device reach what `region` names, for reading or for both: a region, or what is lent of one
    /// until its call ends. Gives the device's address of it: the same as everybody's where something
    /// protects memory from the device.
    ///
    /// What the device writes is not this service's doing: memory that is mapped for it must not be
    /// borrowed as ordinary memory while it may write.
    ///
    /// # Errors
    /// `Denied` where nothing protects memory and the manifest does not say `dma = "unprotected"`; `Busy`
    /// when it is mapped for a device; `Revoked`, `Dead`; `Machine` when there is no memory for it.
    pub fn map(&self, region: &Capability, writable: bool) -> Result<u64, Error> {
        self.map_handle(region.handle(), writable)
    }

    /// As [`DmaSpace::map`], for what `call` lends at `index`, until its answer.
    ///
    /// # Errors
    /// As there; `Denied`, too, when nothing is lent there.
    pub fn map_lent(&self, call: &Incoming, index: usize, writable: bool) -> Result<u64, Error> {
        self.map_handle(call.lent_handle(index).ok_or(Error::Denied)?, writable)
    }

    fn map_handle(&self, region: Handle, writable: bool) -> Result<u64, Error> {
        let rights = if writable { Rights::READ | Rights::WRITE } else { Rights::READ };
        let words = [self.0.handle().0, region.0, u64::from(rights.bits()), 0];
        system::plain(Number::DmaMap, words)
    }

    /// Takes `region` out of the device's reach. It has no access any more when this returns.
    ///
    /// # Errors
    /// `Revoked`, `Dead`.
    pub fn unmap(&self, region: &Capability) -> Result<(), Error> {
        let words = [self.0.handle().0, region.handle().0, 0, 0];
        system::plain(Number::DmaUnmap, words).map(drop)
    }

    /// The capability, to derive from.
    pub fn capability(&self) -> &Capability {
        &self.0
    }
}

impl TryFrom<Capability> for DmaSpace {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<DmaSpace, WrongKind> {
        capability.expect(Kind::DmaSpace)?;
        Ok(DmaSpace(capability))
    }
}

/// A range of ports: registers that only ΦCore can reach.
#[derive(Debug)]
pub struct Ports(Capability);

impl Ports {
    /// Reads the byte at `offset` from the range's first port; a fault for one that does not lie in it.
    ///
    /// # Errors
    /// `Revoked`, `Dead`.
    pub fn read(&self, offset: u16) -> Result<u8, Error> {
        let words = [self.0.handle().0, offset.into(), PortWidth::Byte as u64, 0];
        Ok(system::plain(Number::PortRead, words)? as u8)
    }

    /// Writes a byte there.
    ///
    /// # Errors
    /// As [`Ports::read`].
    pub fn write(&self, offset: u16, value: u8) -> Result<(), Error> {
        let words = [self.0.handle().0, offset.into(), PortWidth::Byte as u64, value.into()];
        system::plain(Number::PortWrite, words).map(drop)
    }

    /// The capability, to derive from.
    pub fn capability(&self) -> &Capability {
        &self.0
    }
}

impl TryFrom<Capability> for Ports {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Ports, WrongKind> {
        capability.expect(Kind::Ports)?;
        Ok(Ports(capability))
    }
}

/// A device's registers, mapped here: reached with the width and in the order that is written.
#[derive(Debug)]
pub struct Registers(Mapping);

/// What registers are as wide as.
pub trait Width: Copy {}

impl Width for u8 {}
impl Width for u16 {}
impl Width for u32 {}
impl Width for u64 {}

impl Registers {
    /// Maps a region of a device's memory. What is written there is between the caller and the device: it
    /// reaches no memory but what is mapped for it.
    ///
    /// # Errors
    /// `Denied`, `Revoked`, `Dead`, `Machine`.
    pub fn map(region: Region) -> Result<Registers, Error> {
        region.map(true).map(Registers)
    }

    /// Bytes of registers.
    pub fn length(&self) -> u64 {
        self.0.length()
    }

    /// Reads the register at `offset`; all ones, as of a device that is gone, for one that does not lie in
    /// the region or across its width.
    pub fn read<T: Width + From<u8> + core::ops::Not<Output = T>>(&self, offset: u64) -> T {
        match self.place::<T>(offset) {
            // SAFETY: mapped as long as `self`, inside, aligned, and any bits make such a number.
            Some(place) => unsafe { place.read_volatile() },
            None => !T::from(0),
        }
    }

    /// Writes the register at `offset`, if it lies in the region and along its width.
    pub fn write<T: Width>(&self, offset: u64, value: T) {
        if let Some(place) = self.place::<T>(offset) {
            // SAFETY: as for reading, and mapped for writing; it is no memory of Rust's.
            unsafe { place.write_volatile(value) };
        }
    }

    fn place<T: Width>(&self, offset: u64) -> Option<*mut T> {
        let width = size_of::<T>() as u64;
        let inside = offset.checked_add(width)? <= self.0.length();
        let aligned = offset.is_multiple_of(width);
        (inside && aligned).then(|| (self.0.address() + offset) as *mut T)
    }
}
