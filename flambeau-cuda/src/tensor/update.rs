//! Formulas over the elements of several tensors, in place.

use super::{Slice, SliceMut, run};
use crate::error::{Result, fail};
use crate::kernels::{self, Arrays, NUMBERS};
use smallvec::SmallVec;

/// Tensors that are updated together, element by element: those that are written, at most 4, and
/// those that are only read, at most 2. All are contiguous, of one type and of as many elements.
#[derive(Debug)]
pub struct Update<'a> {
    /// `w0` and so on.
    pub written: SmallVec<[SliceMut<'a>; 4]>,
    /// `r0` and `r1`.
    pub read: SmallVec<[Slice<'a>; 2]>,
}

/// Runs the statements `body` over the elements of each group, in one launch where they are few:
/// they change `w0`, `w1`, ..., may use `r0`, `r1` and `p[0]`, ..., the `numbers`, and nothing else.
///
/// # Errors
/// Where the tensors are not alike, or too many for a launch.
pub fn update(body: &'static str, groups: &[Update<'_>], numbers: &[f64]) -> Result<()> {
    let Some(first) = groups.first().and_then(|g| g.written.first()) else {
        return Ok(());
    };
    let (device, ty) = (first.device(), first.place.ty);
    let (writes, reads) = (groups[0].written.len(), groups[0].read.len());
    let mut all = [0.0; NUMBERS];
    if writes > 4 || reads > 2 || numbers.len() > NUMBERS {
        fail!(
            "a formula over {writes} and {reads} tensors with {} numbers",
            numbers.len()
        );
    }
    all[..numbers.len()].copy_from_slice(numbers);
    let (mut addresses, mut sizes) = (Vec::new(), Vec::with_capacity(groups.len()));
    for group in groups {
        let n = group.written.first().map_or(0, |w| w.place.numel());
        let places = (group.written.iter().map(|w| (&*w.buffer, w.place)))
            .chain(group.read.iter().map(|r| (r.buffer, r.place)));
        for (buffer, place) in places {
            if !std::ptr::eq(buffer.device(), device) {
                fail!("tensors of an update are on several devices");
            }
            addresses.push(place.flat(buffer, ty, n)?);
        }
        sizes.push(n);
    }
    let tensors = writes + reads;
    if addresses.len() != groups.len() * tensors {
        fail!("groups of an update differ in their number of tensors");
    }
    let arrays: Vec<Arrays<'_>> = (sizes.iter().zip(addresses.chunks_exact(tensors)))
        .map(|(&len, ptrs)| Arrays { ptrs, len })
        .collect();
    let kernel = kernels::Update {
        writes,
        reads,
        body,
    };
    let launches = kernel.launch(ty, &arrays, all, 0, [0; 2]);
    // SAFETY: every place was checked to lie within its buffer; what is written is borrowed
    // exclusively, and a thread reads and writes its own elements alone.
    unsafe { run(device, launches) }
}
