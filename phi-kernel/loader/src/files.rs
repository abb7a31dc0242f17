//! The disk's files, through the firmware.

use crate::failure::{DiskFile, Failure};
use alloc::vec;
use alloc::vec::Vec;
use phi_loader::inventory::{FOLDER, Item, SIZE};
use uefi::proto::media::file::{Directory, File, FileAttribute, FileInfo, FileMode, RegularFile};
use uefi::{CString16, Status};

/// The folder with the files of the partition that this program was started from.
pub struct Files {
    folder: Directory,
}

impl Files {
    /// Opens it.
    ///
    /// # Errors
    /// [`Failure::Partition`], [`Failure::Missing`].
    pub fn open() -> Result<Files, Failure> {
        let partition = uefi::boot::get_image_file_system(uefi::boot::image_handle());
        let mut partition = partition.map_err(|error| Failure::Partition(error.status()))?;
        let mut root =
            partition.open_volume().map_err(|error| Failure::Partition(error.status()))?;
        let folder = open(&mut root, FOLDER).map_err(|error| match error {
            Status::NOT_FOUND => Failure::Missing(DiskFile::Inventory),
            other => Failure::Partition(other),
        })?;
        let folder = folder.into_directory().ok_or(Failure::Missing(DiskFile::Inventory))?;
        Ok(Files { folder })
    }

    /// The file `which`, and its length.
    fn file(&mut self, which: DiskFile) -> Result<(RegularFile, u64), Failure> {
        let unreadable = |error: Status| match error {
            Status::NOT_FOUND => Failure::Missing(which),
            other => Failure::Unreadable(which, other),
        };
        let file = open(&mut self.folder, which.name()).map_err(unreadable)?;
        let mut file = file.into_regular_file().ok_or(Failure::Missing(which))?;
        let info = file.get_boxed_info::<FileInfo>().map_err(|error| unreadable(error.status()))?;
        Ok((file, info.file_size()))
    }

    /// The inventory's bytes.
    ///
    /// # Errors
    /// Any but those of memory.
    pub fn inventory(&mut self) -> Result<[u8; SIZE], Failure> {
        let (file, there) = self.file(DiskFile::Inventory)?;
        if there != SIZE as u64 {
            let said = SIZE as u64;
            return Err(Failure::Length { file: DiskFile::Inventory, there, said });
        }
        let mut bytes = [0; SIZE];
        fill(file, DiskFile::Inventory, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads the file `which` to `bytes`, which has the length of `item`, and checks it.
    ///
    /// # Errors
    /// Any but those of memory.
    pub fn read(&mut self, which: DiskFile, item: &Item, bytes: &mut [u8]) -> Result<(), Failure> {
        let (file, there) = self.file(which)?;
        if there != item.length {
            return Err(Failure::Length { file: which, there, said: item.length });
        }
        fill(file, which, bytes)?;
        if item.is(bytes) { Ok(()) } else { Err(Failure::Damaged(which)) }
    }

    /// The kernel's bytes, which are few.
    ///
    /// # Errors
    /// As [`Files::read`]; [`Failure::Memory`].
    pub fn kernel(&mut self, item: &Item) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let length = item.length as usize;
        bytes.try_reserve_exact(length).map_err(|_| Failure::Memory(item.length))?;
        bytes.extend(vec![0; length]);
        self.read(DiskFile::Kernel, item, &mut bytes)?;
        Ok(bytes)
    }
}

fn open(
    folder: &mut Directory,
    name: &str,
) -> Result<uefi::proto::media::file::FileHandle, Status> {
    let name = CString16::try_from(name).map_err(|_| Status::INVALID_PARAMETER)?;
    folder.open(&name, FileMode::Read, FileAttribute::empty()).map_err(|error| error.status())
}

/// Reads exactly `bytes`.
fn fill(mut file: RegularFile, which: DiskFile, bytes: &mut [u8]) -> Result<(), Failure> {
    let said = bytes.len() as u64;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = file.read(rest).map_err(|error| Failure::Unreadable(which, error.status()))?;
        if count == 0 {
            let there = said - rest.len() as u64;
            return Err(Failure::Length { file: which, there, said });
        }
        rest = &mut rest[count..];
    }
    Ok(())
}
