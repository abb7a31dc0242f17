//! Why the kernel is not entered, and how people are told.

use crate::machine;
use alloc::format;
use core::fmt::{self, Write};
use phi_loader::inventory::{BUNDLE_FILE, FOLDER, INVENTORY_FILE, InventoryError, KERNEL_FILE};
use phi_loader::kernel::KernelError;
use uefi::Status;

/// A file of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFile {
    /// The inventory.
    Inventory,
    /// The kernel.
    Kernel,
    /// The bundle.
    Bundle,
}

impl DiskFile {
    /// Its name within the folder.
    pub fn name(self) -> &'static str {
        match self {
            DiskFile::Inventory => INVENTORY_FILE,
            DiskFile::Kernel => KERNEL_FILE,
            DiskFile::Bundle => BUNDLE_FILE,
        }
    }
}

/// Why the kernel is not entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The partition cannot be read.
    Partition(Status),
    /// A file is not there.
    Missing(DiskFile),
    /// A file cannot be read.
    Unreadable(DiskFile, Status),
    /// A file has another length than it should.
    Length {
        /// Which.
        file: DiskFile,
        /// What it has.
        there: u64,
        /// What it should have.
        said: u64,
    },
    /// A file is not the one that the inventory names.
    Damaged(DiskFile),
    /// The inventory is none.
    Inventory(InventoryError),
    /// The kernel is none.
    Kernel(KernelError),
    /// There is no room for so many bytes below 4 GiB, or none beyond the kernel's place.
    Memory(u64),
    /// The kernel's place is not free memory.
    Place,
    /// The firmware does not tell what memory there is.
    MemoryMap(Status),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |file: &DiskFile| format!("/{FOLDER}/{}", file.name());
        match self {
            Failure::Partition(status) => write!(f, "the partition cannot be read: {status}"),
            Failure::Missing(file) => write!(f, "{} is not on the disk", path(file)),
            Failure::Unreadable(file, status) => {
                write!(f, "{} cannot be read: {status}", path(file))
            }
            Failure::Length { file, there, said } => {
                write!(f, "{} has {there} bytes, and should have {said}", path(file))
            }
            Failure::Damaged(file) => {
                write!(f, "{} is damaged: it is not what the inventory says", path(file))
            }
            Failure::Inventory(error) => {
                write!(f, "{} is refused: {error}", path(&DiskFile::Inventory))
            }
            Failure::Kernel(error) => write!(f, "{} is refused: {error}", path(&DiskFile::Kernel)),
            Failure::Memory(bytes) => {
                write!(f, "there is no memory below 4 GiB for kernel and bundle: {bytes} bytes")
            }
            Failure::Place => f.write_str("the firmware keeps memory where the kernel must lie"),
            Failure::MemoryMap(status) => write!(f, "the firmware has no memory map: {status}"),
        }
    }
}

/// Says `what` to people: on the firmware's console, then on the log, which begins with it.
pub fn tell(what: &dyn fmt::Display) {
    // Without a console, there is the log; and where there is no line either, nothing.
    uefi::system::with_stdout(|console| _ = write!(console, "phi-loader: {what}\r\n"));
    machine::mark(machine::LOG);
    let _ = writeln!(machine::Log, "phi-loader: {what}");
}
