//! Regions: made, mapped, shared.

use super::{BOTH, cases, mapped, region, word};
use crate::expect::{Step, equal, holds};
use crate::play::{PARTNER, Play, SUBJECT, WITNESS};
use phi_abi::layout::{PAGE, REGIONS_OFFSET, WINDOW_SIZE};
use phi_abi::{Error, FaultKind, Number, Rights};

cases!("regions":
    regions_begin_with_zeros,
    regions_lie_in_the_makers_window,
    lengths_become_whole_pages,
    bad_lengths_fault,
    too_much_is_refused,
    regions_are_mapped_once_per_capability,
    mapping_needs_the_rights,
    bad_access_faults,
    read_only_pages_cannot_be_written,
    unmapped_pages_cannot_be_read,
    unmapping_twice_does_nothing,
    mapping_again_brings_the_content_back,
    pages_end_where_the_region_ends,
    shared_pages_have_one_address,
    access_is_what_all_capabilities_give,
    regions_last_as_long_as_a_capability,
    a_new_region_is_clean,
);

fn regions_begin_with_zeros(play: &Play) -> Step {
    let (_, address) = mapped(play, SUBJECT, 3 * PAGE)?;
    for offset in [0, PAGE - 8, PAGE, 2 * PAGE + 8, 3 * PAGE - 8] {
        equal("first content", play.read(SUBJECT, address + offset)?, 0)?;
        play.write(SUBJECT, address + offset, offset + 1)?;
        equal("what was written", play.read(SUBJECT, address + offset)?, offset + 1)?;
    }
    Ok(())
}

fn regions_lie_in_the_makers_window(play: &Play) -> Step {
    let window = play.places(SUBJECT)?.window;
    let places = window + REGIONS_OFFSET..window + WINDOW_SIZE;
    let mut last = 0;
    for _ in 0..4 {
        let (_, address) = mapped(play, SUBJECT, PAGE)?;
        holds("the address is in the window", places.contains(&address))?;
        holds("no region touches another", address > last + PAGE)?;
        last = address;
    }
    Ok(())
}

fn lengths_become_whole_pages(play: &Play) -> Step {
    play.start(SUBJECT)?;
    let before = play.statistics(SUBJECT)?.memory;
    for (length, expected) in [(1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE)] {
        let handle = region(play, SUBJECT, length)?;
        equal("length", play.capability(SUBJECT, handle)?.length, expected)?;
        let memory = play.statistics(SUBJECT)?.memory;
        equal("memory charged", memory - before, expected)?;
        play.value(SUBJECT, Number::CapabilityDrop, &[handle])?;
    }
    equal("memory in the end", play.statistics(SUBJECT)?.memory, before)
}

fn bad_lengths_fault(play: &Play) -> Step {
    for length in [0, u64::MAX, u64::MAX - PAGE + 2] {
        play.start(SUBJECT)?;
        play.faults(SUBJECT, Number::RegionCreate, &[length], FaultKind::BadArgument, length)?;
    }
    Ok(())
}

fn too_much_is_refused(play: &Play) -> Step {
    for length in [1 << 20, 1 << 36, 1 << 63] {
        play.refused(SUBJECT, Number::RegionCreate, &[length], Error::QuotaExceeded)?;
    }
    Ok(())
}

fn regions_are_mapped_once_per_capability(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    let read = word(Rights::READ);
    play.refused(SUBJECT, Number::RegionMap, &[handle, read], Error::Busy)?;
    let copy = play.derive(SUBJECT, handle, Rights::READ)?;
    equal("address", play.value(SUBJECT, Number::RegionMap, &[copy, read])?, address)
}

fn mapping_needs_the_rights(play: &Play) -> Step {
    let handle = region(play, SUBJECT, PAGE)?;
    let readable = play.derive(SUBJECT, handle, Rights::READ)?;
    let writable = play.derive(SUBJECT, handle, Rights::WRITE)?;
    play.refused(SUBJECT, Number::RegionMap, &[readable, word(BOTH)], Error::Denied)?;
    for access in [Rights::READ, BOTH] {
        play.refused(SUBJECT, Number::RegionMap, &[writable, word(access)], Error::Denied)?;
    }
    Ok(())
}

fn bad_access_faults(play: &Play) -> Step {
    let bad = [Rights::empty(), Rights::WRITE, BOTH | Rights::DERIVE, Rights::SEND];
    for access in bad.map(word) {
        let handle = region(play, SUBJECT, PAGE)?;
        let kind = FaultKind::BadArgument;
        play.faults(SUBJECT, Number::RegionMap, &[handle, access], kind, access)?;
    }
    Ok(())
}

fn read_only_pages_cannot_be_written(play: &Play) -> Step {
    let handle = region(play, SUBJECT, PAGE)?;
    let address = play.value(SUBJECT, Number::RegionMap, &[handle, word(Rights::READ)])?;
    equal("content", play.read(SUBJECT, address)?, 0)?;
    play.write_faults(SUBJECT, address)
}

fn unmapped_pages_cannot_be_read(play: &Play) -> Step {
    let address = play.capability(SUBJECT, region(play, SUBJECT, PAGE)?)?.address;
    play.read_faults(SUBJECT, address)?;
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    play.write(SUBJECT, address, 1)?;
    equal("value", play.value(SUBJECT, Number::RegionUnmap, &[handle])?, 0)?;
    play.read_faults(SUBJECT, address)
}

fn unmapping_twice_does_nothing(play: &Play) -> Step {
    let (handle, _) = mapped(play, SUBJECT, PAGE)?;
    for _ in 0..2 {
        equal("value", play.value(SUBJECT, Number::RegionUnmap, &[handle])?, 0)?;
    }
    play.value(SUBJECT, Number::RegionMap, &[handle, word(BOTH)]).map(drop)
}

fn mapping_again_brings_the_content_back(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    play.write(SUBJECT, address + 8, 0xFEED)?;
    play.value(SUBJECT, Number::RegionUnmap, &[handle])?;
    let again = play.value(SUBJECT, Number::RegionMap, &[handle, word(Rights::READ)])?;
    equal("address", again, address)?;
    equal("content", play.read(SUBJECT, address + 8)?, 0xFEED)
}

fn pages_end_where_the_region_ends(play: &Play) -> Step {
    for beyond in [PAGE, PAGE + 8] {
        let (_, address) = mapped(play, SUBJECT, 1)?;
        play.write(SUBJECT, address + PAGE - 8, 1)?;
        play.write_faults(SUBJECT, address + beyond)?;
    }
    let (_, address) = mapped(play, SUBJECT, PAGE)?;
    play.read_faults(SUBJECT, address - 8)
}

fn shared_pages_have_one_address(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, 2 * PAGE)?;
    for (actor, rights) in [(PARTNER, BOTH), (WITNESS, Rights::READ)] {
        let copy = play.copy(SUBJECT, handle, rights, actor)?;
        let words = [copy, word(rights)];
        equal("address", play.value(actor, Number::RegionMap, &words)?, address)?;
    }
    play.write(SUBJECT, address, 1)?;
    play.write(PARTNER, address + PAGE, 2)?;
    for actor in [SUBJECT, PARTNER, WITNESS] {
        let words = (play.read(actor, address)?, play.read(actor, address + PAGE)?);
        equal("content", words, (1, 2))?;
    }
    Ok(())
}

fn access_is_what_all_capabilities_give(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    let copy = play.derive(SUBJECT, handle, Rights::READ)?;
    play.value(SUBJECT, Number::RegionMap, &[copy, word(Rights::READ)])?;
    play.write(SUBJECT, address, 1)?;
    play.value(SUBJECT, Number::RegionUnmap, &[handle])?;
    equal("content", play.read(SUBJECT, address)?, 1)?;
    play.write_faults(SUBJECT, address)
}

fn regions_last_as_long_as_a_capability(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    play.write(SUBJECT, address, 5)?;
    let copy = play.copy(SUBJECT, handle, BOTH, PARTNER)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[handle])?;
    let charged = play.statistics(SUBJECT)?.memory;
    play.value(PARTNER, Number::RegionMap, &[copy, word(BOTH)])?;
    equal("content", play.read(PARTNER, address)?, 5)?;
    play.value(PARTNER, Number::CapabilityDrop, &[copy])?;
    equal("memory given back", charged - play.statistics(SUBJECT)?.memory, PAGE)?;
    play.read_faults(PARTNER, address)
}

fn a_new_region_is_clean(play: &Play) -> Step {
    let (handle, address) = mapped(play, SUBJECT, PAGE)?;
    play.write(SUBJECT, address, 5)?;
    play.value(SUBJECT, Number::CapabilityDrop, &[handle])?;
    let (_, again) = mapped(play, SUBJECT, PAGE)?;
    equal("place, used again", again, address)?;
    equal("content", play.read(SUBJECT, again)?, 0)
}
