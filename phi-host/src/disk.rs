//! Bootable disks: a GPT disk with an EFI system partition that holds loader, kernel and bundle.
//!
//! The same inputs make the same bytes: times are those of no file, and names that must be unique are made
//! of the content's hash. Numbers and layout: UEFI specification, chapters 5 and 13.
//!
//! Limits: sectors of 512 bytes; a FAT32 file has less than 4 GiB, and so has a bundle.

use fatfs::{Date, DateTime, FatType, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::{GptConfig, partition_types};
use phi_loader::inventory::{
    BUNDLE_FILE, FOLDER, INVENTORY_FILE, Inventory, Item, KERNEL_FILE, LOADER_FILE,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

const SECTOR: u64 = 512;

const MIB: u64 = 1 << 20;

/// Where the partition begins; before it lies the partition table.
const PARTITION: u64 = MIB;

/// Bytes of the partition, at least: FAT32 begins at 65,525 clusters.
const PARTITION_SIZE: u64 = 64 * MIB;

/// Bytes at the end for the table's copy.
const TAIL: u64 = MIB;

/// What lies on a disk.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The UEFI program.
    pub loader: &'a [u8],
    /// The kernel's ELF file.
    pub kernel: &'a [u8],
    /// The bundle.
    pub bundle: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
}

/// Whether `file` begins as a disk does, with a partition table. Its position is lost.
///
/// # Errors
/// What Linux says.
pub fn is_disk(file: &mut File) -> io::Result<bool> {
    let mut signature = [0; 8];
    file.seek(SeekFrom::Start(SECTOR))?;
    match file.read_exact(&mut signature) {
        Ok(()) => Ok(signature == *b"EFI PART"),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a disk to `file`, which is empty.
///
/// # Errors
/// The file's; the bundle or the command line is too long.
pub fn write(file: &mut File, content: &Content<'_>) -> io::Result<()> {
    let bundle = Item::of(content.bundle);
    if bundle.length >= 1 << 32 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the bundle has 4 GiB or more"));
    }
    let kernel = Item::of(content.kernel);
    let inventory = Inventory { kernel, bundle, command_line: content.command_line };
    let inventory = inventory.encode().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the kernel's command line is too long")
    })?;
    // The names are of these bytes, of which each length and hash is a part, and of the loader's.
    let names = Names::of(&[&inventory, content.loader]);
    let files = [content.loader, content.kernel, content.bundle].map(<[u8]>::len);
    let used = files.iter().sum::<usize>() as u64;
    // An allocation table takes four bytes for each cluster, at least a sector; there are two.
    let size = (used + used / 32 + 2 * MIB).max(PARTITION_SIZE).next_multiple_of(MIB);
    file.set_len(PARTITION + size + TAIL)?;
    let mut volume = Window { file, start: PARTITION, length: size, position: 0 };
    write_volume(&mut volume, content, &inventory, &names)?;
    write_table(file, size, &names)
}

/// What must be unique on a disk: the disk's and the partition's identifier, and the volume's.
struct Names {
    disk: uuid::Uuid,
    partition: uuid::Uuid,
    volume: u32,
}

impl Names {
    fn of(parts: &[&[u8]]) -> Names {
        let mut hasher = blake3::Hasher::new_derive_key("phi-host bootable disk 1");
        parts.iter().for_each(|part| _ = hasher.update(part));
        let mut bytes = [0; 36];
        hasher.finalize_xof().fill(&mut bytes);
        let unique = |from: usize| {
            let mut name = [0; 16];
            name.copy_from_slice(&bytes[from..from + 16]);
            // Version 8: of the maker's own choice (RFC 9562).
            uuid::Builder::from_custom_bytes(name).into_uuid()
        };
        let volume = u32::from_le_bytes([bytes[32], bytes[33], bytes[34], bytes[35]]);
        Names { disk: unique(0), partition: unique(16), volume }
    }
}

/// The time of all files: the first that a FAT file system knows.
#[derive(Debug)]
struct NoTime;

static NO_TIME: NoTime = NoTime;

impl TimeProvider for NoTime {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time { hour: 0, min: 0, sec: 0, millis: 0 };
        DateTime { date: self.get_current_date(), time }
    }
}

fn write_volume(
    volume: &mut Window<'_>,
    content: &Content<'_>,
    inventory: &[u8],
    names: &Names,
) -> io::Result<()> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .volume_id(names.volume)
        .volume_label(*b"PHI        ");
    fatfs::format_volume(&mut *volume, options)?;
    volume.position = 0;
    let system = fatfs::FileSystem::new(volume, FsOptions::new().time_provider(&NO_TIME))?;
    let root = system.root_dir();
    let mut at = root.clone();
    let (folders, loader) = LOADER_FILE.rsplit_once('/').unwrap_or(("", LOADER_FILE));
    for folder in folders.split('/') {
        at = at.create_dir(folder)?;
    }
    at.create_file(loader)?.write_all(content.loader)?;
    let folder = root.create_dir(FOLDER)?;
    for (name, bytes) in
        [(INVENTORY_FILE, inventory), (KERNEL_FILE, content.kernel), (BUNDLE_FILE, content.bundle)]
    {
        folder.create_file(name)?.write_all(bytes)?;
    }
    drop((root, at, folder));
    system.unmount()
}

/// Writes the partition table, its copy, and what tells older systems to keep off.
fn write_table(file: &mut File, size: u64, names: &Names) -> io::Result<()> {
    let sectors = (PARTITION + size + TAIL) / SECTOR;
    let protection = ProtectiveMBR::with_lb_size(u32::try_from(sectors - 1).unwrap_or(u32::MAX));
    protection.overwrite_lba0(file).map_err(io::Error::other)?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(file, Some(names.disk))
        .map_err(io::Error::other)?;
    let partition = Partition {
        part_type_guid: partition_types::EFI,
        part_guid: names.partition,
        first_lba: PARTITION / SECTOR,
        last_lba: (PARTITION + size) / SECTOR - 1,
        flags: 0,
        name: "phi".into(),
    };
    table.update_partitions(BTreeMap::from([(1, partition)])).map_err(io::Error::other)?;
    table.write().map_err(io::Error::other)?;
    Ok(())
}

/// A part of a file, as a file.
struct Window<'a> {
    file: &'a mut File,
    start: u64,
    length: u64,
    position: u64,
}

impl Window<'_> {
    /// How many of `count` bytes the part has room for from here on, where the file now stands.
    fn room(&mut self, count: usize) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(self.start + self.position))?;
        let left = self.length.saturating_sub(self.position);
        Ok(count.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let room = self.room(bytes.len())?;
        let count = self.file.read(&mut bytes[..room])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room(bytes.len())?;
        let count = self.file.write(&bytes[..room])?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.length.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(content: &Content<'_>) -> File {
        let mut file = tempfile::tempfile().unwrap();
        write(&mut file, content).unwrap();
        file
    }

    fn bytes(mut file: File) -> Vec<u8> {
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn sample(bundle: &[u8]) -> Content<'_> {
        Content { loader: b"loader", kernel: b"kernel", bundle, command_line: "text" }
    }

    #[test]
    fn the_same_content_makes_the_same_disk() {
        let first = bytes(disk(&sample(b"bundle")));
        assert!(first == bytes(disk(&sample(b"bundle"))));
        let other = bytes(disk(&sample(b"bundls")));
        assert!(first != other);
        // The disk's identifier, in the table's header.
        let name = 512 + 56..512 + 72;
        assert_ne!(first[name.clone()], other[name]);
    }

    #[test]
    fn a_disk_is_told_by_its_table() {
        assert!(is_disk(&mut disk(&sample(b"bundle"))).unwrap());
        let mut short = tempfile::tempfile().unwrap();
        short.write_all(&[b'E'; 515]).unwrap();
        assert!(!is_disk(&mut short).unwrap());
    }

    #[test]
    fn everything_is_found_again() {
        let bundle = vec![0x5A; 70 << 20];
        let mut file = disk(&sample(&bundle));
        let table = GptConfig::new().open_from_device(&mut file).unwrap();
        assert!(table.primary_header().is_ok() && table.backup_header().is_ok());
        let partition = table.partitions()[&1].clone();
        assert_eq!(partition.part_type_guid, partition_types::EFI);
        let (start, end) = (partition.first_lba * SECTOR, (partition.last_lba + 1) * SECTOR);
        assert!(end + TAIL <= file.metadata().unwrap().len());
        let window = Window { file: &mut file, start, length: end - start, position: 0 };
        let system = fatfs::FileSystem::new(window, FsOptions::new()).unwrap();
        assert_eq!(system.fat_type(), FatType::Fat32);
        let read = |name: &str| {
            let mut content = Vec::new();
            system.root_dir().open_file(name).unwrap().read_to_end(&mut content).unwrap();
            content
        };
        assert_eq!(read(LOADER_FILE), b"loader");
        assert_eq!(read("phi/kernel"), b"kernel");
        assert!(read("phi/bundle") == bundle);
        let inventory = read("phi/inventory");
        let inventory = Inventory::decode(&inventory).unwrap();
        assert!(inventory.bundle.is(&bundle) && inventory.kernel.is(b"kernel"));
        assert_eq!(inventory.command_line, "text");
    }

    #[test]
    fn a_command_line_has_a_limit() {
        let long = "x".repeat(phi_loader::inventory::COMMAND_LINE + 1);
        let content = Content { command_line: &long, ..sample(b"bundle") };
        let error = write(&mut tempfile::tempfile().unwrap(), &content).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
