//! The way from the firmware to the kernel.

use crate::failure::{DiskFile, Failure, tell};
use crate::files::Files;
use crate::handover::{Block, Plan};
use crate::machine;
use core::convert::Infallible;
use core::fmt::Write;
use core::panic::PanicInfo;
use phi_loader::inventory::Inventory;
use phi_loader::kernel::KernelImage;
use phi_loader::memory_map::MemoryMap;
use phi_loader::start_info::StartInfo;
use uefi::Status;
use uefi::boot::MemoryType;
use uefi::mem::memory_map::MemoryMap as _;
use uefi::table::cfg::ConfigTableEntry;

/// Memory below belongs to the firmware for ever.
const FIRMWARE_END: u64 = 1 << 20;

const PAGE: u64 = 4096;

#[uefi::entry]
fn main() -> Status {
    match boot() {
        Ok(never) => match never {},
        Err(failure) => {
            tell(&failure);
            machine::end();
            Status::LOAD_ERROR
        }
    }
}

/// Enters the kernel.
fn boot() -> Result<Infallible, Failure> {
    let mut files = Files::open()?;
    let inventory = files.inventory()?;
    let inventory = Inventory::decode(&inventory).map_err(Failure::Inventory)?;
    let kernel_file = files.kernel(&inventory.kernel)?;
    let kernel = KernelImage::open(&kernel_file).map_err(Failure::Kernel)?;
    let plan = Plan::new(&kernel, inventory.bundle.length);
    let mut block = Block::allocate(&plan)?;
    kernel.place(block.kernel()).map_err(Failure::Kernel)?;
    files.read(DiskFile::Bundle, &inventory.bundle, block.bundle())?;
    let place = kernel.start()..kernel.start() + kernel.length();
    let told = uefi::boot::memory_map(MemoryType::LOADER_DATA)
        .map_err(|error| Failure::MemoryMap(error.status()))?;
    if !usable(&told).contains(&place) {
        return Err(Failure::Place);
    }
    drop((told, files));
    let root_pointer = root_pointer();
    // SAFETY: nothing of the firmware's is referred to any more but memory that stays: the block, and the
    // kernel's file, which are the loader's.
    let told = unsafe { uefi::boot::exit_boot_services(Some(MemoryType::LOADER_DATA)) };
    let mut memory = usable(&told);
    memory.shorten();
    let bundle = block.bundle_range();
    let command_line = inventory.command_line;
    let info = StartInfo { bundle, command_line, root_pointer, memory: &memory };
    block.write_start_info(&info);
    machine::mark(machine::TRANSCRIPT);
    machine::mark(machine::LOG);
    // SAFETY: the firmware is gone, the block is filled, and the kernel's place is memory that nothing
    // uses any more: this program's own does not lie there, or the firmware would not have said so.
    unsafe { block.enter(&kernel) }
}

/// The memory that is the kernel's once the firmware's services have ended.
fn usable(told: &uefi::mem::memory_map::MemoryMapOwned) -> MemoryMap {
    let mut memory = MemoryMap::EMPTY;
    for entry in told.entries() {
        let ours = matches!(
            entry.ty,
            MemoryType::CONVENTIONAL
                | MemoryType::LOADER_CODE
                | MemoryType::LOADER_DATA
                | MemoryType::BOOT_SERVICES_CODE
                | MemoryType::BOOT_SERVICES_DATA
        );
        if ours {
            let start = entry.phys_start.max(FIRMWARE_END);
            let length = entry.page_count.saturating_mul(PAGE);
            memory.add(start..entry.phys_start.saturating_add(length));
        }
    }
    memory
}

/// Address of ACPI's root pointer, the newest there is; 0 without one.
fn root_pointer() -> u64 {
    uefi::system::with_config_table(|entries| {
        let find = |guid| entries.iter().find(|entry| entry.guid == guid);
        let entry = find(ConfigTableEntry::ACPI2_GUID).or(find(ConfigTableEntry::ACPI_GUID));
        entry.map_or(0, |entry| entry.address as u64)
    })
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    // The firmware's console and memory may be gone, so this has only the line.
    machine::mark(machine::LOG);
    let _ =
        writeln!(machine::Log, "phi-loader: a mistake of its own, please report it: {information}");
    machine::end();
    loop {
        core::hint::spin_loop();
    }
}
