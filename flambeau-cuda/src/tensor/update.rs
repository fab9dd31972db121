//! Formulas over the elements of several tensors, in place.

use super::{Slice, SliceMut, run, same};
use crate::Type;
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
/// Nothing is changed where the number `skip` (`f32`, on the device) is not 0 when it runs.
///
/// # Errors
/// Where the tensors are not alike, or too many for a launch.
pub fn update(
    body: &'static str,
    groups: &[Update<'_>],
    numbers: &[f64],
    skip: Option<&Slice<'_>>,
) -> Result<()> {
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
    let skip = match skip {
        Some(skip) => {
            same(device, &[skip])?;
            skip.flat(Type::F32, 1)?
        }
        None => 0,
    };
    let launches = kernel.launch(ty, &arrays, all, device.numbers(body, all)?, [0, skip]);
    // SAFETY: every place was checked to lie within its buffer; what is written is borrowed
    // exclusively, and a thread reads and writes its own elements alone.
    unsafe { run(device, launches) }
}

/// Multiplies all of `x`, contiguous and of one type, by the number `scale` (`f32`); `found` (`f32`)
/// becomes 1 where an element is then not finite, and is else left alone.
///
/// # Errors
/// Where the tensors are not alike, on one device, or of a floating-point type.
pub fn unscale(x: &[SliceMut<'_>], scale: &Slice<'_>, found: &mut SliceMut<'_>) -> Result<()> {
    let Some(first) = x.first() else {
        return Ok(());
    };
    let (device, ty) = (first.device(), first.place.ty);
    same(device, &[scale])?;
    if !ty.is_float() || x.iter().any(|x| !std::ptr::eq(x.device(), device)) {
        fail!("tensors to be multiplied are of type {ty:?}, or on several devices");
    }
    if !std::ptr::eq(found.device(), device) {
        fail!("the sign of what was found is on {:?}", found.device());
    }
    let places = x.iter().map(|x| {
        let n = x.place.numel();
        Ok(([x.flat(ty, n)?], n))
    });
    let places = places.collect::<Result<Vec<_>>>()?;
    let arrays: Vec<Arrays<'_>> = (places.iter())
        .map(|(ptrs, len)| Arrays { ptrs, len: *len })
        .collect();
    let (scale, found) = (scale.flat(Type::F32, 1)?, found.flat(Type::F32, 1)?);
    // SAFETY: every place was checked to lie within its buffer; what is written is borrowed
    // exclusively, and whoever writes to `found` writes the same.
    unsafe { run(device, kernels::list_unscale(ty, &arrays, scale, found)) }
}
