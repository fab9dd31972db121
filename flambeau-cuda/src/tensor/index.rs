//! Picking and putting by position, running results, orders.

use super::{Slice, SliceMut, run, run_with, same};
use crate::device::Device;
use crate::error::{Result, fail};
use crate::kernels::{self, Along, Indexed, Scan};
use crate::{Buffer, Type};

/// The positions on the device, where they all are below `bound`.
fn upload(device: &'static Device, positions: &[i64], bound: usize) -> Result<Buffer> {
    if let Some(bad) = positions.iter().find(|&&p| p < 0 || p >= bound as i64) {
        fail!("position {bad} of {bound}");
    }
    let bytes: Vec<u8> = positions.iter().flat_map(|p| p.to_ne_bytes()).collect();
    let mut buffer = device.allocate(bytes.len())?;
    buffer.upload(0, &bytes)?;
    Ok(buffer)
}

/// How many elements stand for each position, and how many positions there can be.
fn sizes(indexed: &Indexed<'_>) -> Result<(usize, usize)> {
    let Indexed {
        shape, dims, front, ..
    } = *indexed;
    let rest = (0..shape.len()).filter(|d| !dims.contains(d));
    if !dims.is_sorted() || dims.iter().any(|&d| d >= shape.len()) || rest.clone().count() < front {
        fail!("dimensions {dims:?} of {shape:?}, {front} in front");
    }
    let others = rest.map(|d| shape[d]).product();
    Ok((others, dims.iter().map(|&d| shape[d]).product()))
}

/// The elements of `x` at `positions`, row-major among the indexed dimensions, as contiguous
/// `[front.., count, back..]`.
///
/// # Errors
/// Where a position is out of range or sizes do not fit.
pub fn pick(
    indexed: &Indexed<'_>,
    x: &Slice<'_>,
    positions: &[i64],
    out: &mut SliceMut<'_>,
) -> Result<()> {
    let (device, (others, bound)) = (out.device(), sizes(indexed)?);
    same(device, &[x])?;
    if indexed.shape != x.place.shape || indexed.count != positions.len() {
        fail!("{} positions for {indexed:?}", positions.len());
    }
    let to = out.flat(x.place.ty, others * positions.len())?;
    let at = upload(device, positions, bound)?;
    let launch = indexed.pick(x.view(), at.address(), to)?;
    // SAFETY: the positions are within the indexed dimensions, `x` lies within its buffer, and the
    // result has room; it is borrowed exclusively.
    unsafe { run(device, launch) }
}

/// Puts (or adds) the contiguous `src` `[front.., count, back..]` into `out` at `positions`; what
/// meets is taken in their order.
///
/// # Errors
/// As [`pick`].
pub fn put(
    indexed: &Indexed<'_>,
    out: &mut SliceMut<'_>,
    src: &Slice<'_>,
    positions: &[i64],
    add: bool,
) -> Result<()> {
    let (device, (others, bound)) = (out.device(), sizes(indexed)?);
    same(device, &[src])?;
    if indexed.shape != out.place.shape || indexed.count != positions.len() {
        fail!("{} positions for {indexed:?}", positions.len());
    }
    let from = src.flat(out.place.ty, others * positions.len())?;
    let at = upload(device, positions, bound)?;
    let view = out.view();
    // SAFETY: as of `pick`.
    unsafe {
        run_with(device, |memory| {
            Ok(indexed.put(view, from, at.address(), add, memory)?)
        })
    }
}

/// Whether an index of `along` fits a tensor of its sizes.
fn check(along: &Along<'_>, index: &Slice<'_>) -> Result<usize> {
    let Along { sizes, dim, shape } = *along;
    let fits = sizes.len() == shape.len()
        && (sizes.is_empty() || dim < sizes.len())
        && (0..shape.len()).all(|d| d == dim || shape[d] <= sizes[d]);
    if !fits || index.place.shape != shape || index.place.ty.is_float() {
        fail!("an index of {:?} for {along:?}", index.place.shape);
    }
    Ok(shape.iter().product())
}

/// `out`, contiguous of the index's shape, gets what the index names in `x`. One out of range is
/// reported when the device is next waited for.
///
/// # Errors
/// Where sizes or types do not fit.
pub fn gather(
    along: &Along<'_>,
    x: &Slice<'_>,
    index: &Slice<'_>,
    out: &mut SliceMut<'_>,
) -> Result<()> {
    let device = out.device();
    same(device, &[x, index])?;
    if x.place.shape != along.sizes {
        fail!("a tensor of {:?} for {along:?}", x.place.shape);
    }
    let to = out.flat(x.place.ty, check(along, index)?)?;
    let launch = along.gather(x.view(), index.view(), to, device.mailbox())?;
    // SAFETY: all lie within their buffers; the kernel compares indices with the size. The result
    // is borrowed exclusively.
    unsafe { run(device, launch) }
}

/// Puts (or adds) `src`, contiguous of the index's shape, into the contiguous `out` where the index
/// says, in order.
///
/// # Errors
/// As [`gather`].
pub fn scatter(
    along: &Along<'_>,
    out: &mut SliceMut<'_>,
    index: &Slice<'_>,
    src: &Slice<'_>,
    add: bool,
) -> Result<()> {
    let (device, ty) = (out.device(), out.place.ty);
    same(device, &[index, src])?;
    if out.place.shape != along.sizes {
        fail!("a tensor of {:?} for {along:?}", out.place.shape);
    }
    let from = src.flat(ty, check(along, index)?)?;
    let to = out.flat(ty, along.sizes.iter().product())?;
    // SAFETY: as of `gather`.
    unsafe {
        run_with(device, |memory| {
            Ok(along.scatter((to, ty), index.view(), from, add, device.mailbox(), memory)?)
        })
    }
}

/// Running results along the middle dimension of the contiguous `[outer, n, inner]`, from the end
/// where `reverse`; `factors` belong to [`Scan::Linear`] alone, `places` (`i64`) to the extremes.
///
/// # Errors
/// Where sizes or types do not fit.
pub fn scan(
    op: Scan,
    shape: [usize; 3],
    reverse: bool,
    x: &Slice<'_>,
    factors: Option<&Slice<'_>>,
    out: &mut SliceMut<'_>,
    places: Option<&mut SliceMut<'_>>,
) -> Result<()> {
    let (device, n, ty) = (out.device(), shape.iter().product(), x.place.ty);
    same(device, &[x])?;
    let extremes = matches!(op, Scan::MaxAt | Scan::MinAt);
    if factors.is_some() != (op == Scan::Linear) || places.is_some() != extremes {
        fail!("operands that do not belong to {op:?}");
    }
    let c = match factors {
        Some(c) => {
            same(device, &[c])?;
            c.flat(ty, n)?
        }
        None => 0,
    };
    let at = match places {
        Some(p) if std::ptr::eq(p.device(), device) => p.flat(Type::I64, n)?,
        None => 0,
        _ => fail!("results on two devices"),
    };
    let (from, to) = ([x.flat(ty, n)?, c], [out.flat(out.place.ty, n)?, at]);
    let types = (ty, out.place.ty);
    // SAFETY: all operands have as many elements as the kernel uses; results are borrowed
    // exclusively.
    unsafe {
        run_with(device, |memory| {
            Ok(kernels::scan(op, types, shape, reverse, from, to, memory))
        })
    }
}

/// The positions (`i64`) of the first `k` elements of each of the contiguous `[rows, n]` in order,
/// equal ones as they stand, NaN as the greatest.
///
/// # Errors
/// Where sizes or types do not fit.
pub fn sort(
    shape: [usize; 2],
    descending: bool,
    k: usize,
    x: &Slice<'_>,
    positions: &mut SliceMut<'_>,
) -> Result<()> {
    let ([rows, n], device, ty) = (shape, positions.device(), x.place.ty);
    same(device, &[x])?;
    if k > n {
        fail!("{k} of {n} elements");
    }
    let (from, to) = (x.flat(ty, rows * n)?, positions.flat(Type::I64, rows * k)?);
    // SAFETY: as above.
    unsafe {
        run_with(device, |memory| {
            Ok(kernels::sort(
                ty,
                shape,
                descending,
                k,
                from,
                [0, to],
                memory,
            ))
        })
    }
}
