//! What should hold, without waiting for it.

use super::{Slice, run};
use crate::Type;
use crate::error::Result;
use crate::kernels;

/// Whoever next waits for the device gets `message` as an error where the truth value `holds` is false.
///
/// # Errors
/// Where it is no single truth value, or already known to be false.
pub fn check(holds: &Slice<'_>, message: &'static str) -> Result<()> {
    let device = holds.device();
    let (at, number) = (holds.flat(Type::Bool, 1)?, device.message(message));
    // SAFETY: it reads one element, and writes to the device's mailbox.
    unsafe { run(device, [kernels::check(at, device.mailbox(), number)]) }
}
