//! What should hold, for the host to hear of.

use super::flat;
use crate::{Launch, Ptr, Unit};

/// Says at `fault`, where the truth value at `holds` is false, that it is, with the number of a message.
pub fn check(holds: Ptr, fault: Ptr, message: i64) -> Launch {
    let mut launch = flat(Unit::new("check.cu"), "check", 1);
    launch.block[0] = 1;
    launch.args.push(holds).push(fault).push(message);
    launch
}
