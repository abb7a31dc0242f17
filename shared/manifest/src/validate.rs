//! Whether a decoded plan holds together. A bundle's checksum only says that nothing was damaged;
//! whoever made it may still be hostile, and both machines rely on what is checked here.

use core::fmt;

use phi_abi::layout::{
    HEAP_OFFSET, HEAP_SIZE, IMAGE_OFFSET, IMAGE_SIZE, PAGE, REGIONS_OFFSET, SERVICES, STACK_OFFSET,
    STACK_SIZE, STATE_SIZE, WINDOW_SIZE, WINDOWS_BASE, region_stride, window,
};
use phi_abi::{ARGUMENT_BYTES, Kind, NAME_BYTES, PRIORITIES, Rights, START_CAPABILITIES};

use crate::plan::{
    CapabilityPlan, ImagePlan, InputPlan, Plan, Segment, SegmentAccess, ServicePlan, Target,
};

/// What is wrong with a plan, and with which entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanError {
    /// The kind of entry.
    pub part: &'static str,
    /// Its index among those.
    pub index: usize,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.part, self.index, self.rule)
    }
}

type Rule = Result<(), &'static str>;

fn check(holds: bool, rule: &'static str) -> Rule {
    if holds { Ok(()) } else { Err(rule) }
}

/// Checks everything that the machines and ΦCore rely on, for a bundle of `size` bytes.
pub(crate) fn plan(plan: &Plan, size: u64) -> Result<(), PlanError> {
    let whole = |rule| PlanError { part: "system", index: 0, rule };
    check(!plan.services.is_empty(), "it has no service").map_err(whole)?;
    check(plan.services.len() <= SERVICES, "it has too many services").map_err(whole)?;
    let known = plan.until.is_none_or(|until| usize::from(until) < plan.services.len());
    check(known, "`until` names no service").map_err(whole)?;
    for (index, service_plan) in plan.services.iter().enumerate() {
        let error = |rule| PlanError { part: "service", index, rule };
        service(plan, index, service_plan, size).map_err(error)?;
    }
    for (index, mailbox) in plan.mailboxes.iter().enumerate() {
        let error = |rule| PlanError { part: "mailbox", index, rule };
        let known = usize::from(mailbox.server) < plan.services.len();
        check(known, "its server is no service").map_err(error)?;
        let capacity = (1..=65_536).contains(&mailbox.capacity);
        check(capacity, "its capacity is not from 1 to 65536").map_err(error)?;
    }
    let mut free = WINDOWS_BASE;
    for (index, input_plan) in plan.inputs.iter().enumerate() {
        let error = |rule| PlanError { part: "input", index, rule };
        input(input_plan, &mut free, size).map_err(error)?;
    }
    let place = plan.plan_address.is_multiple_of(PAGE) && plan.plan_address >= free;
    check(place && plan.plan_address < window(0) - WINDOW_SIZE / 2, "its plan has no place")
        .map_err(whole)
}

fn service(plan: &Plan, index: usize, service: &ServicePlan, size: u64) -> Rule {
    check(!service.name.is_empty() && service.name.len() <= NAME_BYTES, "its name is too long")?;
    check(service.window == window(index), "its window is another one's")?;
    check(
        service.stack.is_multiple_of(PAGE) && (PAGE..STACK_SIZE).contains(&service.stack),
        "its stack is too large, or not whole pages",
    )?;
    check(
        service.heap.is_multiple_of(PAGE) && service.heap <= HEAP_SIZE,
        "its heap is too large, or not whole pages",
    )?;
    check(service.arguments.len() <= ARGUMENT_BYTES, "its arguments are too long")?;
    check(service.priority < PRIORITIES, "its priority is too high")?;
    if let Some(budget) = service.budget {
        check(
            budget.time > 0 && budget.time <= budget.period,
            "its budget is nothing, or more than its period",
        )?;
    }
    check(service.quota.threads >= 1, "it may have no thread")?;
    check(region_stride(service.quota.regions) > 0, "its regions have no place")?;
    check(usize::from(service.supervisor) < plan.services.len(), "its supervisor is no service")?;
    check(
        service.state.is_multiple_of(PAGE) && service.state <= STATE_SIZE,
        "its state is too large, or not whole pages",
    )?;
    image(service, &service.image, size)?;
    if let Some(replacement) = &service.replacement {
        check(index > 0, "`init` has a replacement")?;
        image(service, &replacement.image, size)?;
    }
    check(service.capabilities.len() <= START_CAPABILITIES, "it holds too many capabilities")?;
    check(
        service.capabilities.len() <= service.quota.handles as usize,
        "its capabilities exceed its quota of handles",
    )?;
    service.capabilities.iter().try_for_each(|held| capability(plan, service, held))
}

/// Segments in ascending order, within the image's place, in whole pages, and in the bundle.
fn image(service: &ServicePlan, image: &ImagePlan, size: u64) -> Rule {
    let mut free = service.window + IMAGE_OFFSET;
    let end = free + IMAGE_SIZE;
    let mut data = service.stack + service.heap + service.state;
    let mut entry = false;
    if let Some(driver) = &service.driver {
        let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES;
        check(named(&driver.name) && named(&driver.device), "its driver has no name")?;
        check(service.replacement.is_none(), "it is a driver, and has a replacement")?;
        entry = image.segments.is_empty() && image.entry == 0;
    }
    for segment in &image.segments {
        let Segment { address, memory_length, offset, length, access } = *segment;
        let whole = [address, memory_length, offset, length].iter().all(|n| n.is_multiple_of(PAGE));
        check(whole, "a segment is not whole pages")?;
        let last = address.checked_add(memory_length).filter(|last| *last <= end);
        let last = last.filter(|_| address >= free).ok_or("a segment lies outside its place")?;
        check(length <= memory_length, "a segment has more content than memory")?;
        inside(offset, length, size)?;
        match access {
            SegmentAccess::Write => data = data.saturating_add(memory_length),
            SegmentAccess::Read => check(length == memory_length, "read-only memory is zero")?,
            SegmentAccess::Execute => {
                check(length == memory_length, "text is zero")?;
                entry |= (address..last).contains(&image.entry);
            }
        }
        free = last;
    }
    check(entry, "its entry is not in its text")?;
    check(data <= service.quota.memory, "its image, stack, heap and state exceed its memory")
}

fn inside(offset: u64, length: u64, size: u64) -> Rule {
    let end = offset.checked_add(length).ok_or("content lies outside the bundle")?;
    check(end <= size, "content lies outside the bundle")
}

fn capability(plan: &Plan, service: &ServicePlan, held: &CapabilityPlan) -> Rule {
    check(
        !held.name.is_empty() && held.name.len() <= NAME_BYTES,
        "a capability's name is too long",
    )?;
    let within = |index: u16, length: usize| {
        check(usize::from(index) < length, "a capability refers to nothing")
    };
    let kind = match held.target {
        Target::Mailbox(index) => {
            within(index, plan.mailboxes.len())?;
            Kind::Mailbox
        }
        Target::Domain(index) => {
            within(index, plan.services.len())?;
            Kind::Domain
        }
        Target::Input(index) => {
            within(index, plan.inputs.len())?;
            Kind::Region
        }
        Target::Plan => Kind::Region,
        Target::State => {
            check(service.state > 0, "a capability refers to nothing")?;
            Kind::Region
        }
        Target::Events | Target::HandOver => Kind::Signal,
        Target::Console(_) => Kind::Console,
        Target::Hardware => Kind::Hardware,
    };
    let rights = Rights::from_bits(held.rights).ok_or("a capability has unknown rights")?;
    check(kind.rights().contains(rights), "a capability's rights do not fit its kind")?;
    let input = kind == Kind::Region && held.target != Target::State;
    let writes = input && rights.contains(Rights::WRITE);
    check(!writes, "a capability writes to an input")
}

/// Inputs in ascending order, with a gap after each, in the lower half of window 0.
fn input(input: &InputPlan, free: &mut u64, size: u64) -> Rule {
    let InputPlan { address, length, offset, .. } = *input;
    check(
        address.is_multiple_of(PAGE) && offset.is_multiple_of(PAGE),
        "it does not begin on a page",
    )?;
    let pages = phi_abi::layout::pages(length).ok_or("it is too long")?.max(PAGE);
    // The machines map its last page whole.
    inside(offset, pages, size)?;
    check(address >= *free, "it overlaps the one before it")?;
    let end = address.checked_add(pages).and_then(|end| end.checked_add(PAGE));
    *free = end.ok_or("it is too long")?;
    check(*free <= WINDOWS_BASE + WINDOW_SIZE / 2, "it does not fit its window")
}

// The parts of a window lie in this order, with room between them.
const _: () = assert!(IMAGE_OFFSET + IMAGE_SIZE < STACK_OFFSET - STACK_SIZE);
const _: () = assert!(STACK_OFFSET < HEAP_OFFSET && HEAP_OFFSET + HEAP_SIZE <= REGIONS_OFFSET);
