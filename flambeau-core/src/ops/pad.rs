//! Padding: a copy into a larger tensor, or a rearrangement of the input's elements.

use crate::autocast::{Cast, Composite};
use crate::ops::rearrange::{Runs, runs, unchanged};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::sizes;
use crate::tensor::Tensor;
use crate::{DType, Result, bail};

/// What stands in the padding.
///
/// ```
/// use flambeau_core::{PadMode, Tensor};
/// let x = Tensor::new([[1i64, 2, 3]])?;
/// assert_eq!(x.pad(&[2, 0], PadMode::Constant(9.0))?.to_vec::<i64>()?, [9, 9, 1, 2, 3]);
/// assert_eq!(x.pad(&[2, 0], PadMode::Circular)?.to_vec::<i64>()?, [2, 3, 1, 2, 3]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PadMode {
    /// A number; the mode of zero padding.
    Constant(f64),
    /// Zeros, the default.
    #[default]
    Zeros,
    /// The input mirrored at its border elements, which are not repeated.
    Reflect,
    /// The border elements repeated.
    Replicate,
    /// The input repeated.
    Circular,
}

impl Tensor {
    /// The tensor with `pad` added around its last dimensions
    /// ([`F.pad`](https://pytorch.org/docs/stable/generated/torch.nn.functional.pad.html)): pairs
    /// (before, after) for
    /// the last dimension first; negative numbers cut.
    ///
    /// ```
    /// use flambeau_core::{PadMode, Tensor};
    /// let x = Tensor::new([[1.0f32, 2.0, 3.0]])?;
    /// assert_eq!(x.pad(&[1, 1], PadMode::Reflect)?.to_vec::<f32>()?, [2.0, 1.0, 2.0, 3.0, 2.0]);
    /// assert_eq!(x.pad(&[-1, 0, 1, 0], PadMode::Zeros)?.shape(), [2, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the pairs are more than the dimensions, a size would be negative, or the mode cannot
    /// take that much padding from the input.
    #[track_caller]
    pub fn pad(&self, pad: &[i64], mode: PadMode) -> Result<Tensor> {
        if !pad.len().is_multiple_of(2) || pad.len() / 2 > self.dim() {
            bail!(
                "pad",
                "{pad:?} must hold a pair (before, after) for each of at most {} dimensions, the last one first",
                self.dim()
            );
        }
        let mut padded: Vec<i64> = self.shape().iter().map(|&d| d as i64).collect();
        let pairs = || {
            pad.chunks_exact(2)
                .enumerate()
                .map(|(i, p)| (self.dim() - 1 - i, p[0], p[1]))
        };
        for (d, before, after) in pairs() {
            padded[d] = padded[d].saturating_add(before).saturating_add(after);
            if padded[d] < 0 {
                bail!(
                    "pad",
                    "padding ({before}, {after}) cuts more than dimension {d} of size {} holds",
                    self.shape()[d]
                );
            }
        }
        // PyTorch's list for a CPU leaves out reflection in three dimensions.
        let cast = match (mode, pad.len() / 2) {
            (PadMode::Reflect, 1 | 2) | (PadMode::Replicate, _) => Cast::Full,
            _ => Cast::Keep,
        };
        let region = Composite::of([cast, Cast::Keep], [self])?;
        let [x] = region.inputs();
        match mode {
            PadMode::Zeros => self.pad_constant(&padded, pairs(), 0.0),
            PadMode::Constant(value) => self.pad_constant(&padded, pairs(), value),
            _ => {
                let mut dims: Vec<Runs> = self.shape().iter().map(|&n| unchanged(n)).collect();
                for (d, before, after) in pairs() {
                    dims[d] = self.padded_runs(d, before, after, mode)?;
                }
                x.rearranged("pad", dims)
            }
        }
    }

    #[track_caller]
    fn pad_constant(
        &self,
        padded: &[i64],
        pairs: impl Iterator<Item = (usize, i64, i64)>,
        value: f64,
    ) -> Result<Tensor> {
        let out = Tensor::full_with(padded, value, (self.dtype(), self.device()))?;
        let (mut source, mut target) = (self.clone(), out.clone());
        for (d, before, after) in pairs {
            let size = self.shape()[d] as i64;
            let kept = (size + before.min(0) + after.min(0)).max(0) as usize;
            source = source.narrow(d as i64, before.saturating_neg().max(0).min(size), kept)?;
            target = target.narrow(d as i64, before.max(0).min(padded[d]), kept)?;
        }
        target.copy_(&source)?;
        Ok(out)
    }

    /// What a dimension padded with elements of its own consists of.
    #[track_caller]
    fn padded_runs(&self, d: usize, before: i64, after: i64, mode: PadMode) -> Result<Runs> {
        let n = self.shape()[d] as i64;
        let most = match mode {
            PadMode::Reflect => n - 1,
            PadMode::Circular => n,
            _ => i64::MAX,
        };
        if n == 0 || before > most || after > most {
            bail!(
                "pad",
                "padding ({before}, {after}) in mode {mode:?} needs more than dimension {d} of size {n} has; at most {most} here"
            );
        }
        // Indices in the input from `first` on, where those out of it are the padding; wide enough
        // for what is cut off and added to be counted one after the other.
        let (n, first) = (i128::from(n), -i128::from(before));
        let end = n + i128::from(after);
        sizes("pad", [i64::try_from(end - first).unwrap_or(i64::MAX)])?;
        let count =
            |from: i128, to: i128| usize::try_from((to - from).max(0)).unwrap_or(usize::MAX);
        let left = count(first, end.min(0));
        let inside = first.max(0);
        let right = first.max(n);
        let (from_left, from_right, step) = match mode {
            PadMode::Reflect => (-first, 2 * (n - 1) - right, -1),
            PadMode::Circular => (n + first, right - n, 1),
            _ => (0, n - 1, 0),
        };
        Ok(runs([
            (from_left as usize, left, step),
            (inside as usize, count(inside, end.min(n)), 1),
            (from_right as usize, count(right, end), step),
        ]))
    }
}

/// What tests and goldens know of padding.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let call = |shape: &[usize], pad: &[i64], mode: &'static str, value: f64| {
        Sample::new(vec![
            Arg::uniform(shape, (-1.0, 1.0)),
            Arg::L(pad.to_vec()),
            Arg::S(mode),
            Arg::F(value),
        ])
    };
    vec![
        OpSpec::new(
            "pad",
            "lambda x, p, m, v: F.pad(x, p, m, v if m == 'constant' else None)",
            |a| {
                let mode = match a[2].word()? {
                    "reflect" => PadMode::Reflect,
                    "replicate" => PadMode::Replicate,
                    "circular" => PadMode::Circular,
                    _ => PadMode::Constant(a[3].float()?),
                };
                Ok(vec![a[0].tensor()?.pad(a[1].list()?, mode)?])
            },
        )
        .dtypes(&[DType::F32, DType::F64, DType::I64])
        .samples(vec![
            call(&[2, 3], &[1, 2, 0, 1], "constant", 0.5),
            call(&[2, 4], &[-1, 1, 1, -1], "constant", 0.0),
            call(&[1, 2, 3, 4], &[2, 1, 1, 2], "reflect", 0.0),
            call(&[1, 2, 3, 4], &[2, 3, 1, 2], "replicate", 0.0),
            call(&[1, 2, 3, 4], &[2, 1, 3, 0], "circular", 0.0),
        ]),
    ]
}
