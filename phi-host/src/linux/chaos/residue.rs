//! What processes have, and what is left in ΦCore of services that ended.

use super::Targets;
use crate::linux::supervisor::Supervisor;
use nix::unistd::Pid;
use phi_abi::DomainState;
use phi_core::DomainIndex;
use phi_ipc::MailboxState;
use phi_manifest::plan::Plan;
use phi_mem::RegionState;
use std::collections::BTreeMap;
use std::path::Path;

/// How much of each thing there is, by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Residue(BTreeMap<String, usize>);

impl Residue {
    /// What this process has.
    pub fn of_this_process() -> Residue {
        let mut counts = BTreeMap::new();
        count_in("this process", Path::new("/proc/self"), &mut counts);
        counts.insert("children of this process".into(), children());
        Residue(counts)
    }

    /// What this process and those that nobody kills have.
    pub fn of_all(targets: &Targets) -> Residue {
        let Residue(mut counts) = Residue::of_this_process();
        // Those that kill are this module's own, and of as many services as ran some time.
        if let Some(count) = counts.get_mut("descriptors of this process (anon_inode:[pidfd])") {
            *count = count.saturating_sub(targets.descriptors());
        }
        for (name, id) in targets.survivors() {
            count_in(&name, Path::new(&proc(id)), &mut counts);
        }
        Residue(counts)
    }

    /// Of what there is more than there was. Of channels there may be as many as there are `services`:
    /// they come and go with who talks to whom, and one that has lost a side stays mapped until the next
    /// one takes its place. Of regions there may be as many more: who waited for its restart at one time
    /// may run at the other, and what was revoked is buried in the course of later calls.
    pub fn more_than(&self, before: &Residue, services: usize) -> Vec<String> {
        let grown = self.0.iter().filter_map(|(what, now)| {
            let then = before.0.get(what).copied().unwrap_or_default();
            let limit = match what.as_str() {
                what if what.ends_with("(phi-channel)") => services,
                "descriptors of this process (phi-region)" => then + services,
                _ => then,
            };
            (*now > limit).then(|| format!("{now} {what}, and {then} before"))
        });
        grown.collect()
    }
}

fn proc(id: Pid) -> String {
    format!("/proc/{id}")
}

/// Counts descriptors and mappings of shared memory, by the memory's name.
fn count_in(name: &str, folder: &Path, counts: &mut BTreeMap<String, usize>) {
    let descriptors = std::fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    for link in links {
        let link = link.display().to_string();
        let kind = match memory_name(&link) {
            Some(memory) => memory,
            None if link.starts_with("anon_inode:") => &link,
            None if link.starts_with("/proc/") => "/proc",
            // Sockets and pipes have numbers besides.
            None => link.split(':').next().unwrap_or_default(),
        };
        *counts.entry(format!("descriptors of {name} ({kind})")).or_default() += 1;
    }
    let maps = std::fs::read_to_string(folder.join("maps")).unwrap_or_default();
    for memory in maps.lines().filter_map(memory_name) {
        *counts.entry(format!("mappings of {name} ({memory})")).or_default() += 1;
    }
}

/// The name of the shared memory that a link or a mapping is of.
fn memory_name(text: &str) -> Option<&str> {
    text.split_once("/memfd:")?.1.split_whitespace().next()
}

/// Processes that this one has started and not waited for.
fn children() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .map(|text| text.split_whitespace().count())
        .sum()
}

/// What is left in ΦCore and its machine of services that do not run.
pub fn left_in_core(supervisor: &Supervisor<'_>, plan: &Plan) -> Vec<String> {
    let kernel = supervisor.kernel();
    let mut found = Vec::new();
    let runs = |domain: u16| kernel.info(DomainIndex(domain)).state == DomainState::Running;
    for (index, service) in (0..).zip(&plan.services) {
        if runs(index) {
            continue;
        }
        let account = kernel.account(DomainIndex(index));
        let held = account.quota.handles - account.free_handles;
        for (count, what) in [
            (u64::from(held), "handles"),
            (account.region_memory, "bytes of regions"),
            (account.messages.into(), "places of messages"),
            (kernel.lineages_of(DomainIndex(index)).into(), "lineages"),
            (account.threads.into(), "threads"),
        ] {
            if count > 0 {
                found.push(format!("{} has ended, and has {count} {what}", service.name));
            }
        }
    }
    let name = |owner: u16| plan.services.get(usize::from(owner)).map_or("?", |one| &one.name);
    for region in kernel.regions().iter().filter(|region| !region.planned) {
        if region.state != RegionState::Free && !runs(region.owner) {
            found.push(format!("a region of {} is {:?}", name(region.owner), region.state));
        }
    }
    let mut stored = 0;
    for mailbox in kernel.mailboxes().iter().filter(|one| one.state != MailboxState::Free) {
        stored += mailbox.stored as usize;
        let empty = mailbox.stored == 0 && mailbox.queue.is_empty();
        if !(runs(mailbox.owner) || mailbox.planned && empty) {
            found.push(format!("a mailbox of {} is {:?}", name(mailbox.owner), mailbox.state));
        }
    }
    for signal in kernel.signals().iter().filter(|signal| signal.alive && !signal.planned) {
        if !runs(signal.owner) {
            found.push(format!("a signal of {} is alive", name(signal.owner)));
        }
    }
    let quotas = plan.services.iter().map(|service| service.quota.messages as usize);
    let capacities = plan.mailboxes.iter().map(|mailbox| mailbox.capacity as usize);
    let places: usize = quotas.chain(capacities).sum();
    if kernel.free_message_places() + stored != places {
        let free = kernel.free_message_places();
        found.push(format!("of {places} places of messages, {stored} are taken and {free} free"));
    }
    found.extend(supervisor.residue());
    found
}
