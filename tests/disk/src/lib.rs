//! Clients of a block device, for tests and measurements of its drivers: [`keeper`] keeps logs and checks
//! that nothing flushed is lost, [`prober`] asks for all that is wrong, [`measurer`] measures, [`restarter`] ends their driver.
//!
//! Principles: they know of [`phi_block::Block`] and of no machine; what is on the device afterwards can
//! be checked from outside with [`record`].
#![no_std]

extern crate alloc;

pub mod keeper;
pub mod measurer;
pub mod prober;
pub mod record;
pub mod restarter;

use phi_block::BlockError;
use phi_idl::CallError;
use phi_rt::Error;

/// Whether a call failed since the driver has ended, or is a new one: then the client begins anew.
fn begins_anew(error: &CallError<BlockError>) -> bool {
    matches!(error, CallError::Refused(BlockError::Stale) | CallError::Transport(Error::Dead))
}
