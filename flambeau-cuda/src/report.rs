//! What a device without memory left says: what was asked, what is held and by whom, and how much
//! smaller a batch has to be.

use crate::scope::{self, Role, Tag};
use std::collections::HashMap;
use std::fmt::Write;

/// All that the message is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exhausted {
    pub(crate) device: String,
    pub(crate) asked: u64,
    /// Of the device, in all.
    pub(crate) total: u64,
    /// Of the device, that nobody holds.
    pub(crate) free: u64,
    /// In tensors of this process, and how many.
    pub(crate) allocated: u64,
    pub(crate) buffers: u64,
    /// Held from the driver.
    pub(crate) reserved: u64,
    /// The longest run that is held and not in use.
    pub(crate) largest_free: u64,
    /// Bytes and buffers by what they were taken for.
    pub(crate) held: HashMap<Tag, (u64, u64)>,
    /// Samples of the current batch; 0 where it is not known.
    pub(crate) samples: u64,
    /// The most that a sample took in a step that went through; 0 where there was none.
    pub(crate) per_sample: f64,
    /// The most that gradients took at a time.
    pub(crate) gradients: u64,
}

/// How many modules are named.
const NAMED: usize = 8;

impl Exhausted {
    fn role(&self, role: Role) -> u64 {
        let of = |(tag, held): (&Tag, &(u64, u64))| if tag.role == role { held.0 } else { 0 };
        self.held.iter().map(of).sum()
    }

    /// What does not depend on the batch: parameters, what the optimizer keeps, and the parameters'
    /// gradients, which are no larger than these and no larger than gradients have been.
    fn fixed(&self) -> u64 {
        let parameters = self.role(Role::Parameter);
        parameters + self.role(Role::Optimizer) + parameters.min(self.gradients)
    }

    /// The samples that fit: by what the batch holds so far with what was asked, and by what a
    /// sample took in a whole step before.
    fn fits(&self) -> Option<u64> {
        if self.samples == 0 {
            return None;
        }
        let gradients = self.role(Role::Parameter).min(self.role(Role::Gradient));
        let lasting = self.role(Role::Parameter) + self.role(Role::Optimizer) + gradients;
        let of_batch = (self.allocated + self.asked).saturating_sub(lasting);
        let each = self.per_sample.max(of_batch as f64 / self.samples as f64);
        let room = (self.reserved + self.free).saturating_sub(self.fixed());
        (each > 0.0).then(|| (room as f64 / each) as u64)
    }

    pub(crate) fn message(&self) -> String {
        let kept = self.reserved - self.allocated;
        let mut text = format!(
            "out of memory: {} asked of {}, which has {} in all and {} free. This process has reserved {}: {} in {} tensors, {} for reuse, of which the longest run is {}",
            human(self.asked),
            self.device,
            human(self.total),
            human(self.free),
            human(self.reserved),
            human(self.allocated),
            self.buffers,
            human(kept),
            human(self.largest_free),
        );
        if kept > 0 {
            let whole = self.largest_free as f64 / kept as f64;
            let _ = write!(text, " ({:.0} % fragmented)", 100.0 * (1.0 - whole));
        }
        text += ". ";
        let roles = [
            (Role::Parameter, "parameters"),
            (Role::Gradient, "gradients"),
            (Role::Optimizer, "optimizer"),
            (Role::Input, "inputs"),
            (Role::Activation, "activations"),
        ];
        let held = roles.map(|(role, name)| (name, self.role(role)));
        let held: Vec<String> = (held.iter().filter(|(_, bytes)| *bytes > 0))
            .map(|(name, bytes)| format!("{name} {}", human(*bytes)))
            .collect();
        if !held.is_empty() {
            let _ = write!(text, "Held: {}{}. ", held.join(", "), self.modules());
        }
        match self.fits() {
            Some(0) => text += "Not one sample fits beside what lasts. ",
            Some(n) if n < self.samples => {
                let _ = write!(
                    text,
                    "Of the batch of {}, about {n} would fit, by what has been held. ",
                    self.samples
                );
            }
            Some(_) if kept + self.free >= self.asked => {
                text += "There is as much, but not in one piece: cuda::empty_cache() may join it. ";
            }
            _ => {}
        }
        text + "Less is needed with a smaller batch, no_grad where no gradient is wanted, autocast, or checkpoint()"
    }

    /// The modules whose activations take the most.
    fn modules(&self) -> String {
        let mut by_name: Vec<(u64, String)> = (self.held.iter())
            .filter(|(tag, _)| tag.role == Role::Activation)
            .filter_map(|(tag, held)| Some((held.0, scope::name(tag.module)?.to_string())))
            .collect();
        by_name.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        if by_name.is_empty() {
            return String::new();
        }
        let mut parts: Vec<String> = (by_name.iter().take(NAMED))
            .map(|(bytes, name)| format!("{name} {}", human(*bytes)))
            .collect();
        if let Some(others) = by_name.get(NAMED..).filter(|o| !o.is_empty()) {
            let bytes = others.iter().map(|o| o.0).sum();
            parts.push(format!("{} others {}", others.len(), human(bytes)));
        }
        format!(" (of modules: {})", parts.join(", "))
    }
}

/// Bytes for people.
pub(crate) fn human(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit < 3 {
        value /= 1024.0;
        unit += 1;
    }
    let name = ["bytes", "KiB", "MiB", "GiB"][unit];
    if unit == 0 {
        format!("{bytes} {name}")
    } else {
        format!("{value:.2} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_that_fits_follows_from_what_is_held() {
        let held = |role, module, bytes| (Tag { role, module }, (bytes, 1));
        const MIB: u64 = 1 << 20;
        let mut e = Exhausted {
            asked: 100 * MIB,
            total: 2000 * MIB,
            allocated: 1900 * MIB,
            reserved: 1950 * MIB,
            free: 50 * MIB,
            largest_free: 25 * MIB,
            held: HashMap::from([
                held(Role::Parameter, 0, 100 * MIB),
                held(Role::Optimizer, 0, 200 * MIB),
                held(Role::Activation, 0, 1600 * MIB),
            ]),
            samples: 170,
            ..Exhausted::default()
        };
        // (2000 - 300) of memory, (1900 + 100 - 300) / 170 a sample.
        assert_eq!(e.fits(), Some(170));
        assert!(e.message().contains("not in one piece"), "{}", e.message());
        assert!(e.message().contains("50 % fragmented"), "{}", e.message());
        // The parameters' gradients are still to come.
        e.gradients = 500 * MIB;
        assert_eq!(e.fits(), Some(160));
        assert!(
            e.message()
                .contains("Of the batch of 170, about 160 would fit")
        );
        // A whole step took twice as much a sample.
        e.per_sample = 20.0 * MIB as f64;
        assert_eq!(e.fits(), Some(80));
        // Another program has the device.
        (e.free, e.reserved, e.allocated) = (0, 350 * MIB, 350 * MIB);
        assert!(
            e.message().contains("Not one sample fits"),
            "{}",
            e.message()
        );
        e.samples = 0;
        assert_eq!(e.fits(), None);
    }
}
