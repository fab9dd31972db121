//! Sizes, strides and the arithmetic on them.

use crate::{Result, bail};
use smallvec::SmallVec;

/// Sizes of a tensor's dimensions; up to six stand inline.
pub type Shape = SmallVec<[usize; 6]>;
/// Strides in elements; never negative, as in PyTorch.
pub type Strides = SmallVec<[usize; 6]>;

/// Anything that reads as a list of dimensions or sizes: arrays, slices, vectors and single
/// integers of the usual types. `-1` and other negative values mean what the function says.
///
/// ```
/// use flambeau_core::Tensor;
/// assert_eq!(Tensor::zeros(3)?.shape(), [3]);
/// assert_eq!(Tensor::zeros(vec![2, 3])?.view(-1)?.shape(), [6]);
/// assert_eq!(Tensor::zeros(())?.dim(), 0);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait Dims {
    /// The list.
    fn dims(&self) -> SmallVec<[i64; 6]>;
}

macro_rules! dims {
    ($($t:ty),*) => {$(
        impl Dims for $t { fn dims(&self) -> SmallVec<[i64; 6]> { [*self].dims() } }
        impl<const N: usize> Dims for [$t; N] { fn dims(&self) -> SmallVec<[i64; 6]> { self[..].dims() } }
        impl Dims for Vec<$t> { fn dims(&self) -> SmallVec<[i64; 6]> { self[..].dims() } }
        impl Dims for [$t] {
            fn dims(&self) -> SmallVec<[i64; 6]> {
                // Saturating: no `usize` turns into -1, which means "the rest".
                self.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect()
            }
        }
    )*};
}
dims!(i32, i64, usize);

impl Dims for () {
    fn dims(&self) -> SmallVec<[i64; 6]> {
        SmallVec::new()
    }
}
impl Dims for Shape {
    fn dims(&self) -> SmallVec<[i64; 6]> {
        self[..].dims()
    }
}
impl<D: Dims + ?Sized> Dims for &D {
    fn dims(&self) -> SmallVec<[i64; 6]> {
        (**self).dims()
    }
}

/// The sizes of a tensor to be made: none negative, and the element count within memory.
#[track_caller]
pub(crate) fn sizes(op: &'static str, dims: impl Dims) -> Result<Shape> {
    let dims = dims.dims();
    if let Some(d) = dims.iter().find(|d| **d < 0) {
        bail!(
            op,
            "size {d} in {dims:?} is negative; sizes are zero or more"
        );
    }
    let shape: Shape = dims.iter().map(|&d| d as usize).collect();
    check_numel(op, &shape)?;
    Ok(shape)
}

/// The number of elements, refused where it cannot be addressed.
#[track_caller]
pub(crate) fn check_numel(op: &'static str, shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        return Ok(0);
    }
    let n = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= isize::MAX as usize / 8);
    match n {
        Some(n) => Ok(n),
        None => bail!(
            op,
            "shape {shape:?} has more elements than memory can address"
        ),
    }
}

/// How many tensors, or rows, one call may give: each costs memory, whether or not it has elements.
#[track_caller]
pub(crate) fn check_count(op: &'static str, count: usize) -> Result<()> {
    const MOST: usize = 1 << 24;
    if count > MOST {
        bail!(
            op,
            "this would make {count} parts, of which {MOST} are the most; ask for fewer, or larger ones"
        );
    }
    Ok(())
}

/// The product of the sizes.
pub(crate) fn numel(shape: &[usize]) -> usize {
    // Wrapping: where a size is 0, the others may multiply to more than memory can address.
    shape.iter().fold(1, |n, &d| n.wrapping_mul(d))
}

/// Row-major strides.
pub(crate) fn contiguous_strides(shape: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(1, shape.len());
    let mut step = 1;
    for i in (0..shape.len()).rev() {
        strides[i] = step;
        step = step.saturating_mul(shape[i].max(1));
    }
    strides
}

/// The order of dimensions under which these are the strides of contiguous elements, where they are
/// not as they stand.
pub(crate) fn memory_order(shape: &[usize], strides: &[usize]) -> Option<Shape> {
    if is_contiguous(shape, strides) {
        return None;
    }
    let mut order: Shape = (0..shape.len()).collect();
    order.sort_by_key(|&d| std::cmp::Reverse((strides[d], shape[d])));
    let mut step = 1;
    for &d in order.iter().rev() {
        if shape[d] != 1 && strides[d] != step {
            return None;
        }
        // Where a size is 0, the others may multiply to more than memory can address.
        step = step.wrapping_mul(shape[d]);
    }
    Some(order)
}

/// Whether elements follow each other in row-major order without gaps.
pub(crate) fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut step = 1;
    for (&d, &s) in shape.iter().zip(strides).rev() {
        if d == 0 {
            return true;
        }
        if d != 1 {
            if s != step {
                return false;
            }
            // Where a size is 0, the others may multiply to more than memory can address.
            step = step.wrapping_mul(d);
        }
    }
    true
}

/// `dim` counted from the end where negative; 0-d tensors accept -1 and 0.
#[track_caller]
pub(crate) fn wrap_dim(op: &'static str, dim: i64, ndim: usize) -> Result<usize> {
    let n = ndim.max(1) as i64;
    if dim < -n || dim >= n {
        bail!(
            op,
            "dimension {dim} is out of range for a tensor of {ndim} dimensions; expected {} to {}",
            -n,
            n - 1
        );
    }
    Ok(if dim < 0 { dim + n } else { dim } as usize)
}

/// Dimensions wrapped, each at most once; an empty list means all.
#[track_caller]
pub(crate) fn wrap_dims(op: &'static str, dims: &[i64], ndim: usize) -> Result<Shape> {
    if dims.is_empty() {
        return Ok((0..ndim).collect());
    }
    let mut out = Shape::new();
    for &d in dims {
        let d = wrap_dim(op, d, ndim)?;
        if out.contains(&d) {
            bail!(op, "dimension {d} appears twice in {dims:?}");
        }
        out.push(d);
    }
    if ndim == 0 {
        out.clear();
    }
    Ok(out)
}

/// NumPy's broadcasting rule: aligned at the end, sizes equal or 1.
#[track_caller]
pub(crate) fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Shape> {
    if a == b {
        return Ok(Shape::from_slice(a));
    }
    let n = a.len().max(b.len());
    let mut out: Shape = SmallVec::from_elem(1, n);
    for i in 0..n {
        let x = if i + a.len() >= n {
            a[i + a.len() - n]
        } else {
            1
        };
        let y = if i + b.len() >= n {
            b[i + b.len() - n]
        } else {
            1
        };
        out[i] = match (x, y) {
            (1, y) => y,
            (x, 1) => x,
            (x, y) if x == y => x,
            _ => bail!(
                op,
                "shapes {a:?} and {b:?} do not broadcast: sizes {x} and {y} at dimension {i} of the result differ and neither is 1"
            ),
        };
    }
    Ok(out)
}

/// Strides that read `shape` as `target` (0 along stretched dimensions). `shape` broadcasts to it.
pub(crate) fn broadcast_strides(shape: &[usize], strides: &[usize], target: &[usize]) -> Strides {
    let lead = target.len() - shape.len();
    let mut out: Strides = SmallVec::from_elem(0, target.len());
    for i in 0..shape.len() {
        out[lead + i] = if shape[i] == target[lead + i] {
            strides[i]
        } else {
            0
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(
            &broadcast("t", &[8, 1, 6, 1], &[7, 1, 5]).unwrap()[..],
            &[8, 7, 6, 5]
        );
        assert_eq!(&broadcast("t", &[0, 1], &[1]).unwrap()[..], &[0, 1]);
        assert_eq!(&broadcast("t", &[], &[2]).unwrap()[..], &[2]);
        assert!(broadcast("t", &[2, 3], &[2]).is_err());
        assert!(broadcast("t", &[0], &[3]).is_err());
    }

    #[test]
    fn absurd_sizes_are_refused() {
        assert!(sizes("t", [usize::MAX / 2, 4]).is_err());
        assert!(sizes("t", [-1]).is_err());
        assert_eq!(numel(&sizes("t", [usize::MAX / 2, 0, 4]).unwrap()), 0);
    }
}
