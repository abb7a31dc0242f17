//! Target `manifest`: any text is refused with its mistakes, or becomes a bundle that opens.

use crate::image::sample_parts;
use phi_manifest::bundle::Bundle;
use phi_manifest::image::RelocatedImage;
use phi_manifest::plan::Plan;
use phi_manifest::{builder, check};

/// A good manifest.
pub const SAMPLE: &str = include_str!("sample.manifest.toml");

/// Checks `input` as a manifest; whether it is a good one.
///
/// # Panics
/// When a mistake names no place, or a good manifest does not become a bundle.
pub fn run(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    match check("phi.toml", &text) {
        Ok(manifest) => {
            let count = manifest.inputs().len();
            let plan = manifest.plan(&vec![0; count]).expect("empty inputs fit");
            let bytes = build(plan);
            let bundle = Bundle::open(&bytes).expect("the bundle of a good manifest opens");
            assert_eq!(bundle.plan().inputs.len(), count);
            true
        }
        Err(mistakes) => {
            let lines = text.split('\n').count();
            assert!(mistakes.iter().next().is_some(), "refused without a mistake");
            for mistake in &mistakes {
                assert!((1..=lines).contains(&mistake.line), "no such line: {mistake:?}");
                assert!(mistake.column >= 1, "no such column: {mistake:?}");
                assert!(!mistake.cause.is_empty() && !mistake.cure.is_empty(), "{mistake:?}");
            }
            let shown = mistakes.to_string();
            let unprintable = |found: char| found.is_control() && found != '\n';
            assert!(!shown.contains(unprintable), "{shown:?} is not to be shown");
            false
        }
    }
}

/// The bundle of a plan, with images of three pages, and inputs without content.
pub fn build(mut plan: Plan) -> Vec<u8> {
    let images: Vec<RelocatedImage> =
        plan.services.iter().map(|service| sample_parts(service.window)).collect();
    let inputs: Vec<&[u8]> = plan.inputs.iter().map(|_| &b""[..]).collect();
    builder::build(&mut plan, &images, &[], &inputs)
}
