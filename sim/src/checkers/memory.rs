//! Pages are mapped only for who holds them, and what ΦCore counts adds up.

use super::ledger::{Held, Ledger};
use super::{Property, Violation, violates};
use crate::event::Event;
use phi_abi::{Kind, Rights};
use phi_core::{DomainIndex, Span};
use phi_manifest::plan::{ImagePlan, Plan, SegmentAccess, ServicePlan};
use std::collections::BTreeMap;

/// Pages of a region that somebody can reach.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) region: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) access: Rights,
}

impl Run {
    pub(super) fn new(region: u32, span: Span, access: Rights) -> Run {
        Run { region, start: span.address, end: span.address + span.length, access }
    }

    /// Takes the pages of `span` out of the runs of a region.
    pub(super) fn cut(runs: &mut Vec<Run>, region: u32, span: Span) {
        let (start, end) = (span.address, span.address + span.length);
        let mut place = 0;
        while place < runs.len() {
            let run = runs[place];
            if run.region != region || run.end <= start || end <= run.start {
                place += 1;
                continue;
            }
            runs.swap_remove(place);
            if run.start < start {
                runs.push(Run { end: start, ..run });
            }
            if end < run.end {
                runs.push(Run { start: end, ..run });
            }
        }
    }
}

/// The machine's books, and what they are held against.
pub struct Memory {
    runs: Vec<Vec<Run>>,
    /// Domain (none for the plan's own) and bytes, by region.
    regions: BTreeMap<u32, (Option<u16>, u64)>,
    /// Stack, heap, state and the data of the image that runs; none if that came while the system ran.
    image: Vec<Option<u64>>,
    /// The same with the replacement that the plan has, if it has one.
    replacement: Vec<Option<u64>>,
    quota: Vec<u64>,
}

impl Memory {
    /// Books without a page.
    pub fn new(plan: &Plan) -> Memory {
        let with = |service: &ServicePlan, image: &ImagePlan| {
            let written = image.segments.iter();
            let written = written.filter(|segment| segment.access == SegmentAccess::Write);
            let data: u64 = written.map(|segment| segment.memory_length).sum();
            data + service.stack + service.heap + service.state
        };
        let image = plan.services.iter().map(|service| Some(with(service, &service.image)));
        let replacement = plan.services.iter().map(|service| {
            service.replacement.as_ref().map(|replacement| with(service, &replacement.image))
        });
        Memory {
            runs: vec![Vec::new(); plan.services.len()],
            regions: BTreeMap::new(),
            image: image.collect(),
            replacement: replacement.collect(),
            quota: plan.services.iter().map(|service| service.quota.memory).collect(),
        }
    }

    /// Follows the machine's books.
    ///
    /// # Errors
    /// A count that does not add up.
    pub fn observe(&mut self, event: &Event, ledger: &Ledger) -> Result<(), Violation> {
        match event {
            Event::Runs(domain, number) => {
                let index = usize::from(domain.0);
                self.image[index] = if *number == 1 { self.replacement[index] } else { None };
            }
            Event::Unloaded(domain) => self.runs[usize::from(domain.0)].clear(),
            Event::RegionCreated(region, span) => {
                let owner = ledger.step.actor.and_then(|actor| ledger.domain_of(actor));
                self.regions.insert(region.0, (owner.map(|owner| owner.0), span.length));
            }
            Event::RegionDestroyed(region) => {
                self.regions.remove(&region.0);
                let maps = |runs: &Vec<Run>| runs.iter().any(|run| run.region == region.0);
                if let Some(domain) = self.runs.iter().position(maps) {
                    let what = format!("{region:?} ended while domain {domain} maps it");
                    return violates(Property::Memory, what);
                }
            }
            Event::Mapped(domain, region, span, access) => {
                let runs = &mut self.runs[usize::from(domain.0)];
                Run::cut(runs, region.0, *span);
                runs.push(Run::new(region.0, *span, *access));
            }
            Event::Unmapped(domain, region, span) => {
                Run::cut(&mut self.runs[usize::from(domain.0)], region.0, *span);
            }
            Event::Usage(domain, memory, handles) => {
                return self.counts(*domain, *memory, *handles, ledger);
            }
            _ => {}
        }
        Ok(())
    }

    fn counts(
        &self,
        domain: DomainIndex,
        memory: u64,
        handles: u64,
        ledger: &Ledger,
    ) -> Result<(), Violation> {
        let index = usize::from(domain.0);
        let owned = self.regions.values().filter(|(owner, _)| *owner == Some(domain.0));
        let owned = owned.map(|(_, length)| length).sum::<u64>();
        let sum = self.image[index].map_or(memory, |image| image + owned);
        if memory != sum || memory > self.quota[index] {
            let quota = self.quota[index];
            let what = format!(
                "domain {} uses {memory} bytes, holds {sum}, and may have {quota}",
                domain.0
            );
            return violates(Property::Memory, what);
        }
        match ledger.slots(domain) {
            Some(slots) if slots != handles => {
                let what = format!("domain {} uses {handles} slots, and holds {slots}", domain.0);
                violates(Property::Memory, what)
            }
            _ => Ok(()),
        }
    }

    /// The step is over: every mapped page has a capability that stands and maps it.
    ///
    /// # Errors
    /// A page that nobody may reach any more.
    pub fn settled(&self, ledger: &mut Ledger) -> Result<(), Violation> {
        if !std::mem::take(&mut ledger.step.memory) {
            return Ok(());
        }
        for (domain, runs) in self.runs.iter().enumerate() {
            let held = ledger.held(DomainIndex(domain as u16));
            let mapped = held.map(|(_, held)| (held, held.mapped));
            let mapped = mapped.filter(|(_, mapped)| !mapped.is_empty());
            for run in runs {
                covered(ledger, *run, mapped.clone(), || format!("domain {domain}"))?;
            }
        }
        Ok(())
    }
}

/// Whether what somebody has mapped, and how, covers all pages of a run; `who` is that somebody.
pub(super) fn covered<'a>(
    ledger: &Ledger,
    run: Run,
    mapped: impl Iterator<Item = (&'a Held, Rights)> + Clone,
    who: impl Fn() -> String,
) -> Result<(), Violation> {
    let object = ledger.regions.get(run.region as usize).copied();
    let mut address = run.start;
    while address < run.end {
        let (mut access, mut gone, mut until) = (Rights::empty(), false, run.end);
        for (held, rights) in mapped.clone() {
            if held.kind != Kind::Region || Some(held.object) != object {
                continue;
            }
            let (start, length) = held.range;
            let (start, end) = if length == 0 { (0, u64::MAX) } else { (start, start + length) };
            if !(start..end).contains(&address) {
                until = if start > address { until.min(start) } else { until };
                continue;
            }
            until = until.min(end);
            if ledger.stands(held) {
                access |= rights;
            } else {
                gone = true;
            }
        }
        if !access.contains(run.access) {
            let (who, region) = (who(), run.region);
            let what = format!(
                "{who} reaches {address:#x} of region {region} with {:?}, and has {access:?}",
                run.access
            );
            return violates(if gone { Property::Revocation } else { Property::Memory }, what);
        }
        address = until;
    }
    Ok(())
}
