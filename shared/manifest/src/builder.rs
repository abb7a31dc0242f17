//! Writing bundles.

use phi_abi::ABI_VERSION;
use phi_abi::layout::PAGE;

use crate::bundle::{HASH, MAGIC, VERSION, hash};
use crate::image::RelocatedImage;
use crate::plan::{Plan, Segment};

/// Builds the bundle of a plan: fills in the segments of each service from `images`, in the order of
/// the services, and the length and offset of each input from `inputs`, in the plan's order.
///
/// # Panics
/// When there are not as many images as services, or inputs as the plan says.
pub fn build(plan: &mut Plan, images: &[RelocatedImage], inputs: &[&[u8]]) -> Vec<u8> {
    assert_eq!(images.len(), plan.services.len(), "an image for each service");
    assert_eq!(inputs.len(), plan.inputs.len(), "a content for each input");
    let mut bytes = vec![0; PAGE as usize];
    for (service, image) in plan.services.iter_mut().zip(images) {
        service.image.entry = image.entry;
        service.image.segments.clear();
        for part in &image.parts {
            let offset = append(&mut bytes, &part.content);
            service.image.segments.push(Segment {
                address: part.address,
                memory_length: part.memory_length,
                offset,
                length: part.content.len() as u64,
                access: part.access,
            });
        }
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

/// Appends `content`, filled up to whole pages; gives its offset.
fn append(bytes: &mut Vec<u8>, content: &[u8]) -> u64 {
    let offset = bytes.len();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
    offset as u64
}
