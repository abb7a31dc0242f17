//! Writing bundles.

use phi_abi::ABI_VERSION;
use phi_abi::layout::PAGE;

use crate::bundle::{HASH, MAGIC, VERSION, hash};
use crate::image::RelocatedImage;
use crate::plan::{ImagePlan, Plan, Segment};

/// Builds the bundle of a plan: fills in the segments of each service from `images`, in the order of
/// the services, those of replacements from `replacements`, and the length and offset of each input from
/// `inputs`, in the plan's order.
///
/// # Panics
/// When there are not as many images as services, or replacements or inputs as the plan says.
pub fn build(
    plan: &mut Plan,
    images: &[RelocatedImage],
    replacements: &[RelocatedImage],
    inputs: &[&[u8]],
) -> Vec<u8> {
    assert_eq!(images.len(), plan.services.len(), "an image for each service");
    assert_eq!(inputs.len(), plan.inputs.len(), "a content for each input");
    let mut bytes = vec![0; PAGE as usize];
    for (service, image) in plan.services.iter_mut().zip(images) {
        fill(&mut service.image, image, &mut bytes);
    }
    let planned = plan.services.iter_mut().filter_map(|service| service.replacement.as_mut());
    let mut planned: Vec<_> = planned.collect();
    assert_eq!(replacements.len(), planned.len(), "an image for each replacement");
    for (replacement, image) in planned.iter_mut().zip(replacements) {
        fill(&mut replacement.image, image, &mut bytes);
    }
    for (input, content) in plan.inputs.iter_mut().zip(inputs) {
        input.length = content.len() as u64;
        input.offset = append(&mut bytes, content);
        if content.is_empty() {
            // Even an empty input has a page to map.
            append(&mut bytes, &[0]);
        }
    }
    // The plan comes last, since it says where everything else lies.
    let encoded = postcard::to_allocvec(plan).unwrap_or_default();
    let plan_offset = append(&mut bytes, &encoded);
    bytes[..8].copy_from_slice(&MAGIC);
    let size = bytes.len() as u64;
    let words = [u64::from(ABI_VERSION), size, plan_offset, encoded.len() as u64];
    for (place, word) in bytes[VERSION..].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let hash = hash(&bytes);
    bytes[HASH].copy_from_slice(&hash);
    bytes
}

/// An image by itself: where its parts lie in the content, in whole pages.
pub fn image(image: &RelocatedImage) -> (ImagePlan, Vec<u8>) {
    let (name, hash) = (String::new(), [0; 32]);
    let mut plan = ImagePlan { name, hash, entry: 0, segments: Vec::new() };
    let mut bytes = Vec::new();
    fill(&mut plan, image, &mut bytes);
    (plan, bytes)
}

/// Appends an image's content, and says where it lies.
fn fill(plan: &mut ImagePlan, image: &RelocatedImage, bytes: &mut Vec<u8>) {
    plan.entry = image.entry;
    plan.segments.clear();
    for part in &image.parts {
        let offset = append(bytes, &part.content);
        plan.segments.push(Segment {
            address: part.address,
            memory_length: part.memory_length,
            offset,
            length: part.content.len() as u64,
            access: part.access,
        });
    }
}

/// Appends `content`, filled up to whole pages; gives its offset.
fn append(bytes: &mut Vec<u8>, content: &[u8]) -> u64 {
    let offset = bytes.len();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
    offset as u64
}
