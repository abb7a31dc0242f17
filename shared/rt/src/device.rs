//! Devices: their registers, their interrupts, and what they can reach of memory.

use crate::{Capability, Region, Signal, WrongKind, system};
use phi_abi::{Caching, Error, Handle, IrqSource, Kind, Number, Rights};

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
        let rights = if writable { Rights::READ | Rights::WRITE } else { Rights::READ };
        let words = [self.0.handle().0, region.handle().0, u64::from(rights.bits()), 0];
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
