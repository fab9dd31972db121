//! Taking tensors apart, into views.

use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::check_count;
use crate::tensor::Tensor;
use crate::{Result, bail};

impl Tensor {
    /// Views of `size` indices each along dimension `dim`; the last may be shorter
    /// ([`torch.split`](https://pytorch.org/docs/stable/generated/torch.split.html)).
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let parts = Tensor::arange(0, 5, 1)?.split(2, 0)?;
    /// assert_eq!(parts.iter().map(Tensor::numel).collect::<Vec<_>>(), [2, 2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `size` is zero and the dimension is not, there is no such dimension, or the views would be
    /// more than 2^24.
    #[track_caller]
    pub fn split(&self, size: usize, dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("split", dim)?;
        if size == 0 && n > 0 {
            bail!(
                "split",
                "pieces of size 0 do not make up dimension {dim} of size {n}"
            );
        }
        let size = size.max(1);
        let count = n.div_ceil(size).max(1);
        check_count("split", count)?;
        (0..count)
            .map(|i| self.slice(dim, i * size, (i * size).saturating_add(size), 1))
            .collect()
    }

    /// Views of the given sizes along dimension `dim`
    /// ([`torch.split`](https://pytorch.org/docs/stable/generated/torch.split.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let parts = Tensor::arange(0, 5, 1)?.split_with_sizes(&[1, 4], 0)?;
    /// assert_eq!(parts[1].to_vec::<i64>()?, [1, 2, 3, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the sizes do not add up to the dimension's.
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: &[usize], dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("split", dim)?;
        let sum = sizes.iter().fold(0usize, |sum, &s| sum.saturating_add(s));
        if sum != n {
            bail!(
                "split",
                "sizes {sizes:?} add up to {sum}, not to dimension {dim}'s {n}"
            );
        }
        let mut from = 0;
        sizes
            .iter()
            .map(|&size| {
                from += size;
                self.slice(dim, from - size, from, 1)
            })
            .collect()
    }

    /// Up to `chunks` views of equal size along dimension `dim`, but for the last
    /// ([`torch.chunk`](https://pytorch.org/docs/stable/generated/torch.chunk.html)).
    /// A dimension of size 0 gives as many empty views as are asked for.
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let parts = Tensor::arange(0, 5, 1)?.chunk(3, 0)?;
    /// assert_eq!(parts.iter().map(Tensor::numel).collect::<Vec<_>>(), [2, 2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `chunks` is zero, or the views would be more than 2^24.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("chunk", dim)?;
        if chunks == 0 {
            bail!("chunk", "the number of chunks must be above zero");
        }
        if n == 0 {
            check_count("chunk", chunks)?;
            return (0..chunks).map(|_| self.slice(dim, 0, 0, 1)).collect();
        }
        self.split(n.div_ceil(chunks), dim)
    }

    #[track_caller]
    pub(crate) fn split_size(&self, op: &'static str, dim: i64) -> Result<usize> {
        if self.dim() == 0 {
            bail!(op, "a 0-d tensor has no dimension to split");
        }
        Ok(self.shape()[self.dim_index(op, dim)?])
    }

    /// Views of each index of dimension `dim`, without that dimension
    /// ([`torch.unbind`](https://pytorch.org/docs/stable/generated/torch.unbind.html)).
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let columns = Tensor::new([[1i64, 2], [3, 4]])?.unbind(1)?;
    /// assert_eq!(columns[1].to_vec::<i64>()?, [2, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For 0-d tensors, and where the views would be more than 2^24.
    #[track_caller]
    pub fn unbind(&self, dim: i64) -> Result<Vec<Tensor>> {
        let n = self.split_size("unbind", dim)?;
        check_count("unbind", n)?;
        (0..n as i64).map(|i| self.select(dim, i)).collect()
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    vec![
        OpSpec::new("split", "lambda x, n, d: torch.split(x, n, d)", |a| {
            a[0].tensor()?.split(a[1].int()? as usize, a[2].int()?)
        })
        .samples(vec![
            Sample::with(&[5, 2], &[Arg::I(2), Arg::I(0)]),
            Sample::with(&[2, 6], &[Arg::I(3), Arg::I(-1)]),
        ]),
        OpSpec::new("chunk", "lambda x, n, d: torch.chunk(x, n, d)", |a| {
            a[0].tensor()?.chunk(a[1].int()? as usize, a[2].int()?)
        })
        .samples(vec![
            Sample::with(&[5, 2], &[Arg::I(3), Arg::I(0)]),
            Sample::with(&[2, 4], &[Arg::I(2), Arg::I(1)]),
        ]),
        OpSpec::new("unbind", "lambda x, d: torch.unbind(x, d)", |a| {
            a[0].tensor()?.unbind(a[1].int()?)
        })
        .samples(vec![Sample::with(&[3, 2], &[Arg::I(1)])]),
    ]
}
