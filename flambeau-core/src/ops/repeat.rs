//! Elements, and whole tensors, several times.

use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape, sizes};
use crate::tensor::Tensor;
use crate::{DType, Result, bail};

impl Tensor {
    /// The whole tensor repeated, `repeats` times along each dimension; more repeats than
    /// dimensions add dimensions in front
    /// ([`torch.Tensor.repeat`](https://pytorch.org/docs/stable/generated/torch.Tensor.repeat.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1i64, 2])?.repeat([2, 2])?.to_vec2::<i64>()?,
    ///     [[1, 2, 1, 2], [1, 2, 1, 2]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For fewer repeats than dimensions, and negative ones.
    #[track_caller]
    pub fn repeat(&self, repeats: impl Dims) -> Result<Tensor> {
        let repeats = repeats.dims();
        let Some(lead) = repeats.len().checked_sub(self.dim()) else {
            bail!(
                "repeat",
                "{repeats:?} has fewer entries than the tensor's shape {:?}; tile fills up with 1",
                self.shape()
            );
        };
        let (mut split, mut wide, mut out) = (Shape::new(), Vec::new(), Vec::new());
        for (i, &r) in repeats.iter().enumerate() {
            if r < 0 {
                bail!("repeat", "{r} in {repeats:?} is negative");
            }
            let size = if i < lead { 1 } else { self.shape()[i - lead] };
            split.extend([1, size]);
            wide.extend([r, size as i64]);
            out.push((r as usize).saturating_mul(size));
        }
        self.reshape(split)?.expand(wide)?.reshape(out)
    }

    /// [`repeat`](Tensor::repeat) with as many 1s in front as there are dimensions too many
    /// ([`torch.tile`](https://pytorch.org/docs/stable/generated/torch.tile.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64, 2], [3, 4]])?.tile(2)?.to_vec2::<i64>()?,
    ///     [[1, 2, 1, 2], [3, 4, 3, 4]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For negative repeats.
    #[track_caller]
    pub fn tile(&self, repeats: impl Dims) -> Result<Tensor> {
        let mut repeats = repeats.dims();
        while repeats.len() < self.dim() {
            repeats.insert(0, 1);
        }
        self.repeat(repeats.to_vec())
    }

    /// Each element (slice, with `dim`) repeated `repeats` times in place
    /// ([`torch.repeat_interleave`](https://pytorch.org/docs/stable/generated/torch.repeat_interleave.html));
    /// without `dim` (`()`) of the flattened tensor.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.repeat_interleave(2, 0)?.to_vec::<i64>()?, [1, 1, 2, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn repeat_interleave(&self, repeats: usize, dim: impl Dims) -> Result<Tensor> {
        let (x, dim) = self.one_dim("repeat_interleave", dim)?;
        let mut wide: Vec<usize> = x.shape().to_vec();
        wide.insert(dim + 1, repeats);
        let wide = x.unsqueeze(dim as i64 + 1)?.expand(wide)?;
        wide.flatten(dim as i64, dim as i64 + 1)
    }

    /// [`repeat_interleave`](Tensor::repeat_interleave) with a number for each index, a 1-d
    /// integer tensor
    /// ([`torch.repeat_interleave`](https://pytorch.org/docs/stable/generated/torch.repeat_interleave.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([1i64, 2])?.repeat_interleave_each(&Tensor::new([1i64, 3])?, 0)?;
    /// assert_eq!(y.to_vec::<i64>()?, [1, 2, 2, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the numbers are not as many as the dimension's indices, or negative.
    #[track_caller]
    pub fn repeat_interleave_each(&self, repeats: &Tensor, dim: impl Dims) -> Result<Tensor> {
        let (x, dim) = self.one_dim("repeat_interleave", dim)?;
        let counts = repeats.to_dtype(DType::I64)?.to_vec::<i64>()?;
        let n = x.shape()[dim];
        if counts.len() != n || repeats.dim() > 1 || counts.iter().any(|&c| c < 0) {
            bail!(
                "repeat_interleave",
                "repeats {counts:?} must be one number, not negative, for each of dimension {dim}'s {n} indices"
            );
        }
        let sum = counts.iter().fold(0i64, |sum, &c| sum.saturating_add(c));
        let shape = sizes("repeat_interleave", sum)?;
        let index = Tensor::build::<i64>("repeat_interleave", &shape, DType::I64, |out| {
            let each = (0..).zip(&counts);
            let all = each.flat_map(|(i, &c)| std::iter::repeat_n(i, c as usize));
            out.iter_mut().zip(all).for_each(|(o, i)| *o = i);
        })?;
        x.index_select(dim as i64, &index)
    }

    /// The tensor and its one dimension, or flattened where none is named.
    #[track_caller]
    fn one_dim(&self, op: &'static str, dim: impl Dims) -> Result<(Tensor, usize)> {
        match dim.dims()[..] {
            [] => Ok((self.reshape(-1)?, 0)),
            [_] if self.dim() == 0 => Ok((self.reshape(-1)?, 0)),
            [d] => Ok((self.clone(), self.dim_index(op, d)?)),
            ref dims => bail!(op, "takes one dimension or none, not {dims:?}"),
        }
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    vec![
        OpSpec::new("repeat", "lambda x, r: x.repeat(r)", |a| {
            Ok(vec![a[0].tensor()?.repeat(a[1].list()?)?])
        })
        .samples(vec![
            Sample::with(&[2, 3], &[Arg::L(vec![2, 2])]),
            Sample::with(&[3], &[Arg::L(vec![2, 1, 3])]),
            Sample::with(&[2], &[Arg::L(vec![0])]),
        ]),
        OpSpec::new("tile", "torch.tile", |a| {
            Ok(vec![a[0].tensor()?.tile(a[1].list()?)?])
        })
        .samples(vec![Sample::with(&[2, 3], &[Arg::L(vec![2])])]),
        OpSpec::new(
            "repeat_interleave",
            "lambda x, r, d: torch.repeat_interleave(x, r, d[0] if d else None)",
            |a| {
                Ok(vec![
                    a[0].tensor()?
                        .repeat_interleave(a[1].int()? as usize, a[2].list()?)?,
                ])
            },
        )
        .samples(vec![
            Sample::with(&[2, 3], &[Arg::I(2), Arg::L(vec![1])]),
            Sample::with(&[2, 3], &[Arg::I(3), Arg::L(vec![])]),
        ]),
    ]
}
