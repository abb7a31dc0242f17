//! The bundle: one file with a plan, the images' segments and the inputs, for both machines.
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic `PHIBUNDL` |
//! | 8 | BLAKE3 of all that follows, 32 bytes |
//! | 40 | [`phi_abi::ABI_VERSION`], 4 bytes |
//! | 44 | 0, 4 bytes |
//! | 48 | bytes in all |
//! | 56 | offset of the plan, a multiple of the page size |
//! | 64 | bytes of the plan |
//!
//! Numbers are little-endian. The first page holds the header alone. Everything else begins on a page
//! and fills its last page up with zeros, so that a machine can map it as it lies.

use core::fmt;

use phi_abi::ABI_VERSION;
use phi_abi::layout::PAGE;

use crate::plan::{Plan, Segment};
use crate::validate::{self, PlanError};

/// The first bytes of a bundle.
pub const MAGIC: [u8; 8] = *b"PHIBUNDL";

pub(crate) const HEADER: usize = 128;
pub(crate) const HASH: core::ops::Range<usize> = 8..40;
pub(crate) const VERSION: usize = 40;
const SIZE: usize = 48;
const PLAN_OFFSET: usize = 56;
const PLAN_LENGTH: usize = 64;

/// Why a bundle is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BundleError {
    /// It is no bundle, or cut off before its header's end.
    NoBundle,
    /// It was built for another version of the ABI.
    Version(u32),
    /// Its header says another size than it has.
    Size {
        /// Bytes that the header says.
        said: u64,
        /// Bytes that are there.
        there: u64,
    },
    /// Its content is not what its checksum says.
    Damaged,
    /// The plan in it cannot be read.
    Unreadable,
    /// The plan in it contradicts itself, the bundle, or a limit.
    Plan(PlanError),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundleError::NoBundle => f.write_str("this is no ΦOS bundle"),
            BundleError::Version(version) => write!(
                f,
                "the bundle was built for ABI version {version}, and this is version {ABI_VERSION}"
            ),
            BundleError::Size { said, there } => {
                write!(f, "the bundle is cut off: it says {said} bytes, and {there} are there")
            }
            BundleError::Damaged => {
                f.write_str("the bundle is damaged: its checksum does not match its content")
            }
            BundleError::Unreadable => f.write_str("the plan in the bundle cannot be read"),
            BundleError::Plan(error) => write!(f, "the plan in the bundle is not valid: {error}"),
        }
    }
}

impl core::error::Error for BundleError {}

/// A bundle that has been checked: every offset and length of its plan lies within it.
#[derive(Clone, Debug)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    plan_offset: usize,
    plan_length: usize,
    plan: Plan,
}

fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

/// The checksum of a bundle. In one go, so that the kernel needs no more of BLAKE3 than that.
pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(&bytes[HASH.end..]).as_bytes()
}

/// Decodes and checks the plan of a bundle that has `size` bytes.
///
/// # Errors
/// [`BundleError::Unreadable`], [`BundleError::Plan`].
pub fn decode_plan(encoded: &[u8], size: u64) -> Result<Plan, BundleError> {
    let plan = postcard::from_bytes(encoded).map_err(|_| BundleError::Unreadable)?;
    validate::plan(&plan, size).map_err(BundleError::Plan)?;
    Ok(plan)
}

impl<'a> Bundle<'a> {
    /// Checks `bytes` and decodes the plan. Bytes after the bundle's end are ignored if they are less
    /// than a page, as loaders fill up.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn open(bytes: &'a [u8]) -> Result<Bundle<'a>, BundleError> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC {
            return Err(BundleError::NoBundle);
        }
        let version = word(bytes, VERSION).ok_or(BundleError::NoBundle)?;
        if version != u64::from(ABI_VERSION) {
            return Err(BundleError::Version(version as u32));
        }
        let said = word(bytes, SIZE).ok_or(BundleError::NoBundle)?;
        let there = bytes.len() as u64;
        let size = Some(said).filter(|said| *said <= there && there - said < PAGE);
        let Some(size) = size.filter(|size| *size >= HEADER as u64) else {
            return Err(BundleError::Size { said, there });
        };
        let bytes = &bytes[..size as usize];
        if hash(bytes) != bytes[HASH] {
            return Err(BundleError::Damaged);
        }
        let field = |at| word(bytes, at).and_then(|word| usize::try_from(word).ok());
        let (Some(plan_offset), Some(plan_length)) = (field(PLAN_OFFSET), field(PLAN_LENGTH))
        else {
            return Err(BundleError::Unreadable);
        };
        let end = plan_offset.checked_add(plan_length).ok_or(BundleError::Unreadable)?;
        let encoded = bytes.get(plan_offset..end).ok_or(BundleError::Unreadable)?;
        if !(plan_offset as u64).is_multiple_of(PAGE) {
            return Err(BundleError::Unreadable);
        }
        let plan = decode_plan(encoded, size)?;
        Ok(Bundle { bytes, plan_offset, plan_length, plan })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The whole bundle.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The encoded plan.
    pub fn plan_bytes(&self) -> &'a [u8] {
        &self.bytes[self.plan_offset..self.plan_offset + self.plan_length]
    }

    /// Where the encoded plan begins: a multiple of the page size.
    pub fn plan_offset(&self) -> u64 {
        self.plan_offset as u64
    }

    /// The content of a segment of this bundle's plan; empty for one of another plan.
    pub fn segment(&self, segment: &Segment) -> &'a [u8] {
        self.part(segment.offset, segment.length)
    }

    /// The content of input number `index`; empty when there is none.
    pub fn input(&self, index: usize) -> &'a [u8] {
        self.plan.inputs.get(index).map_or(&[], |input| self.part(input.offset, input.length))
    }

    fn part(&self, offset: u64, length: u64) -> &'a [u8] {
        let end = offset.checked_add(length).and_then(|end| usize::try_from(end).ok());
        end.and_then(|end| self.bytes.get(offset as usize..end)).unwrap_or_default()
    }
}
