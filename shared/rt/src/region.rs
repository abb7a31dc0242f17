//! Memory: of one's own, shared, and read-only inputs.

use crate::lent::{LentBytes, LentBytesMut, SharedBytes};
use crate::{Capability, WrongKind, system};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut, Range};
use phi_abi::{Error, Grant, Handle, Kind, Number, REGION_PINNED, Rights};

/// The right to use a region, which is not mapped here.
#[derive(Debug)]
pub struct Region {
    capability: Capability,
    length: u64,
}

impl Region {
    /// Makes a region of zeroed memory of at least `length` bytes (more than 0), to be shared.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub fn create(length: u64) -> Result<Region, Error> {
        let handle = Handle(system::plain(Number::RegionCreate, [length, 0, 0, 0])?);
        // SAFETY: the call made the handle for us alone.
        Ok(Region { capability: unsafe { Capability::from_handle(handle) }, length })
    }

    /// As [`Region::create`], in one run of physical addresses where the machine has such: a device
    /// that nothing stands before can reach it.
    ///
    /// # Errors
    /// `QuotaExceeded`, or `Machine` when there is no such run.
    pub fn pinned(length: u64) -> Result<Region, Error> {
        let handle = Handle(system::plain(Number::RegionCreate, [length, REGION_PINNED, 0, 0])?);
        // SAFETY: the call made the handle for us alone.
        Ok(Region { capability: unsafe { Capability::from_handle(handle) }, length })
    }

    /// A region of which `length` bytes are in use.
    pub(crate) fn from_parts(capability: Capability, length: u64) -> Region {
        Region { capability, length }
    }

    /// Maps the region for reading, or for reading and writing. Needs READ, or both.
    ///
    /// # Errors
    /// `Denied`, `Revoked`, `Dead`, or `Busy` when it is mapped already. The region is then given up.
    pub fn map(self, writable: bool) -> Result<Mapping, Error> {
        let address = map(&self.capability, writable)?;
        Ok(Mapping { region: self, address, writable })
    }

    /// Bytes in use.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The capability, to derive from or to inspect.
    pub fn capability(&self) -> &Capability {
        &self.capability
    }

    /// The capability itself, to give away.
    pub fn into_capability(self) -> Capability {
        self.capability
    }
}

impl TryFrom<Capability> for Region {
    type Error = WrongKind;

    fn try_from(capability: Capability) -> Result<Region, WrongKind> {
        let info = capability.expect(Kind::Region)?;
        Ok(Region { capability, length: info.length })
    }
}

fn map(capability: &Capability, writable: bool) -> Result<u64, Error> {
    let rights = if writable { Rights::READ | Rights::WRITE } else { Rights::READ };
    let words = [capability.handle().0, u64::from(rights.bits()), 0, 0];
    system::plain(Number::RegionMap, words)
}

/// A region mapped here, which others may use at the same time. Dropping it unmaps the region.
///
/// The holder of the capability that this one was derived from may revoke it; the next access is
/// then this service's fault.
#[derive(Debug)]
pub struct Mapping {
    region: Region,
    address: u64,
    writable: bool,
}

impl Mapping {
    /// Address of the first byte, the same in every domain.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes in use.
    pub fn length(&self) -> u64 {
        self.region.length
    }

    /// Copies from `offset` on into `into`, as many bytes as there are; their number.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        self.bytes().read(offset, into)
    }

    /// Copies `from` to `offset` on, as many bytes as there is room for; their number, 0 for a
    /// mapping that is not writable.
    pub fn write(&self, offset: usize, from: &[u8]) -> usize {
        if self.writable { self.bytes().write(offset, from) } else { 0 }
    }

    /// The `length` bytes from `offset` on, which somebody may have named in a message; `None` unless all of
    /// them lie in the region.
    pub fn part(&self, offset: u64, length: u64) -> Option<LentBytes<'_>> {
        let address = self.place(offset, length)?;
        // SAFETY: a part of what is mapped as long as `self`, and only reached through it.
        Some(unsafe { LentBytes::new(address, length) })
    }

    /// As [`Mapping::part`], to write as well; `None` for a mapping that is not writable, too.
    pub fn part_mut(&self, offset: u64, length: u64) -> Option<LentBytesMut<'_>> {
        let address = self.place(offset, length).filter(|_| self.writable)?;
        // SAFETY: as in `part`, and mapped for writing.
        Some(unsafe { LentBytesMut::new(address, length) })
    }

    fn place(&self, offset: u64, length: u64) -> Option<u64> {
        let end = offset.checked_add(length)?;
        (end <= self.length()).then(|| self.address + offset)
    }

    /// The capability, to derive from or to inspect.
    pub fn capability(&self) -> &Capability {
        &self.region.capability
    }

    fn bytes(&self) -> SharedBytes {
        // SAFETY: mapped as long as `self`, and only reached through it.
        unsafe { SharedBytes::new(self.address, self.region.length) }
    }
}

/// Memory of this service's own, in pages apart from its heap, so that it can be lent: nobody else
/// has access but through a loan.
#[derive(Debug)]
pub struct Memory {
    capability: Capability,
    address: u64,
    length: u64,
}

impl Memory {
    /// Makes zeroed memory of `length` bytes, more than 0.
    ///
    /// # Errors
    /// `QuotaExceeded`, `Machine`.
    pub fn create(length: u64) -> Result<Memory, Error> {
        let capability = Region::create(length)?.capability;
        let address = map(&capability, true)?;
        Ok(Memory { capability, address, length })
    }

    /// Address of the first byte, the same in every domain.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Lends the bytes in `range` for reading. The borrower gets whole pages.
    ///
    /// # Panics
    /// When the range is empty or outside the memory.
    pub fn lend(&self, range: Range<usize>) -> Loan<'_> {
        Loan::new(&self.capability, Rights::READ, &self[range])
    }

    /// Lends the bytes in `range` for reading and writing. The borrower gets whole pages, so all of
    /// the memory is borrowed.
    ///
    /// # Panics
    /// When the range is empty or outside the memory.
    pub fn lend_mut(&mut self, range: Range<usize>) -> LoanMut<'_> {
        let rights = Rights::READ | Rights::WRITE;
        LoanMut(Loan::new(&self.capability, rights, &self[range]))
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped as long as `self`; others write only through a loan that borrows `self`
        // exclusively.
        unsafe { core::slice::from_raw_parts(self.address as *const u8, self.length as usize) }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; readers need a loan that borrows `self`.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u8, self.length as usize) }
    }
}

/// An input of the system: bytes that nobody can change, mapped for as long as the service runs.
#[derive(Debug)]
pub struct Input {
    /// Never given up: `bytes` may outlive this value, so the mapping has to stay.
    capability: ManuallyDrop<Capability>,
    bytes: &'static [u8],
}

impl Input {
    /// Maps an input. The domain keeps it mapped for ever.
    ///
    /// # Safety
    /// The capability is one of an input: nobody has write access to its region, and it outlives the
    /// domain.
    pub(crate) unsafe fn new(capability: Capability, length: u64) -> Result<Input, Error> {
        let capability = ManuallyDrop::new(capability);
        if length == 0 {
            return Ok(Input { capability, bytes: &[] });
        }
        let address = map(&capability, false)?;
        // SAFETY: the caller promises that the bytes never change, and the mapping stays.
        let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, length as usize) };
        Ok(Input { capability, bytes })
    }

    /// The bytes.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// Lends the bytes in `range` for reading. The borrower gets whole pages.
    ///
    /// # Panics
    /// When the range is empty or outside the input.
    pub fn lend(&self, range: Range<usize>) -> Loan<'_> {
        Loan::new(&self.capability, Rights::READ, &self.bytes[range])
    }
}

/// Bytes to be lent with a call for reading, until it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Loan<'a> {
    grant: Grant,
    memory: PhantomData<&'a ()>,
}

impl<'a> Loan<'a> {
    fn new(capability: &'a Capability, rights: Rights, bytes: &[u8]) -> Loan<'a> {
        assert!(!bytes.is_empty(), "a loan of nothing");
        let address = bytes.as_ptr() as u64;
        let grant = Grant::loan(capability.handle(), rights, address, bytes.len() as u64);
        Loan { grant, memory: PhantomData }
    }

    pub(crate) fn grant(self) -> Grant {
        self.grant
    }
}

/// Bytes to be lent with a call for reading and writing, until it is answered.
#[derive(Debug)]
pub struct LoanMut<'a>(Loan<'a>);

impl<'a> From<LoanMut<'a>> for Loan<'a> {
    fn from(loan: LoanMut<'a>) -> Loan<'a> {
        loan.0
    }
}
