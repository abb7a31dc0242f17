//! Target `bundle`: any bytes are refused, or are a bundle in which everything lies within.

use crate::bytes::Bytes;
use crate::machine::Books;
use crate::manifest;
use phi_abi::ABI_VERSION;
use phi_abi::layout::PAGE;
use phi_core::Kernel;
use phi_manifest::bundle::{Bundle, MAGIC};
use phi_manifest::check;
use phi_manifest::plan::{Plan, Quota};

/// Handles, messages and so on of all services, at most, for a plan that is booted, too.
const BOOTED: u64 = 1 << 10;

/// What became of an input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Became {
    /// It was refused.
    Refused,
    /// It was opened.
    Opened,
    /// It was opened, and ΦCore booted from it.
    Booted,
}

/// Opens `input` as it is, and as a plan in a bundle whose checksum is right.
///
/// # Panics
/// When something of an accepted bundle lies outside of it.
pub fn run(input: &[u8]) -> Became {
    examine(input).max(examine(&wrapped(input)))
}

/// A bundle with a checksum that is right: a first byte that says how many pages are before the plan
/// and what else is wrong, and the plan.
fn wrapped(input: &[u8]) -> Vec<u8> {
    let mut choices = Bytes::new(input);
    let choice = choices.byte();
    let plan = choices.take(input.len());
    let pages = 1 + u64::from(choice & 15);
    let mut bytes = vec![0; (pages * PAGE) as usize];
    bytes.extend_from_slice(plan);
    bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
    let mut words = [u64::from(ABI_VERSION), bytes.len() as u64, pages * PAGE, plan.len() as u64];
    if choice & 0x80 != 0 {
        // One word of the header comes from the plan's own bytes.
        let place = usize::from(choice >> 4 & 3);
        words[place] = Bytes::new(plan).word();
    }
    bytes[..8].copy_from_slice(&MAGIC);
    for (place, word) in bytes[40..].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let hash = *blake3::hash(&bytes[40..]).as_bytes();
    bytes[8..40].copy_from_slice(&hash);
    bytes
}

fn examine(bytes: &[u8]) -> Became {
    let bundle = match Bundle::open(bytes) {
        Ok(bundle) => bundle,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Became::Refused;
        }
    };
    let plan = bundle.plan();
    for segment in plan.services.iter().flat_map(|service| &service.image.segments) {
        assert_eq!(bundle.segment(segment).len() as u64, segment.length, "{segment:?}");
        assert!(segment.length <= segment.memory_length, "{segment:?}");
    }
    for (index, input) in plan.inputs.iter().enumerate() {
        assert_eq!(bundle.input(index).len() as u64, input.length, "{input:?}");
    }
    for service in &plan.services {
        assert!(usize::from(service.supervisor) < plan.services.len(), "{}", service.name);
    }
    if total(plan) > BOOTED {
        return Became::Opened;
    }
    if let Err(error) = Kernel::boot(Books::default(), plan) {
        panic!("an accepted plan does not boot: {error}");
    }
    Became::Booted
}

/// The quotas and capacities of a plan, added up.
fn total(plan: &Plan) -> u64 {
    let capacities = plan.mailboxes.iter().map(|mailbox| u64::from(mailbox.capacity));
    let quotas = plan.services.iter().map(|service| {
        let Quota { handles, regions, mailboxes, messages, signals, threads, lineages, .. } =
            service.quota;
        [handles, regions, mailboxes, messages, signals, threads, lineages]
            .into_iter()
            .map(u64::from)
            .sum::<u64>()
    });
    capacities.chain(quotas).sum()
}

/// An input that is accepted: the plan of the sample manifest, with what it takes to wrap it.
///
/// # Panics
/// When the sample is no good manifest.
pub fn sample() -> Vec<u8> {
    let manifest = check("phi.toml", manifest::SAMPLE).expect("a good manifest");
    let mut plan = manifest.plan(&vec![0; manifest.inputs().len()]).expect("empty inputs fit");
    for service in &mut plan.services {
        // Small pools, so that many are booted in a second.
        service.quota =
            Quota { handles: 24, regions: 2, mailboxes: 2, messages: 4, ..service.quota };
        (service.quota.signals, service.quota.threads, service.quota.lineages) = (2, 2, 4);
    }
    let bytes = manifest::build(plan);
    let bundle = Bundle::open(&bytes).expect("a good bundle");
    let mut input = vec![(bundle.plan_offset() / PAGE - 1) as u8];
    input.extend_from_slice(bundle.plan_bytes());
    input
}
