//! `sort`, `topk` and what follows from an order. NaN counts as greater than everything.

use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Device, Result, bail, cuda, with_stored};
use flambeau_cpu::sort::order;
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::smallvec;

/// The first `k` elements along `dim` in ascending or descending order, equal ones as they
/// stand; their indices are the extra result.
#[derive(Debug)]
struct Order {
    name: &'static str,
    dim: usize,
    k: usize,
    descending: bool,
}

impl Op for Order {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0].detach();
        let dim = self.dim as i64;
        let index = if x.dim() == 0 {
            Tensor::zeros_with((), (DType::I64, Device::Cpu))?
        } else {
            let rows = x.transpose(dim, -1)?.contiguous()?;
            let n = x.shape()[self.dim];
            let mut shape = Shape::from_slice(rows.shape());
            shape[x.dim() - 1] = self.k;
            let index = with_stored!(x.dtype(), S => {
                let read = rows.read();
                let src = read.slice::<S>();
                Tensor::build::<i64>(self.name, &shape, DType::I64, |out| {
                    if self.k == 0 {
                        return;
                    }
                    let per_chunk = (4096 / n).max(1);
                    parallel_chunks_mut(out, per_chunk * self.k, |i, out| {
                        for (r, out) in out.chunks_exact_mut(self.k).enumerate() {
                            let at = (i * per_chunk + r) * n;
                            order(&src[at..at + n], self.descending, out);
                        }
                    });
                })?
            });
            index.transpose(dim, -1)?.contiguous()?
        };
        Ok(Output {
            tensor: x.gather(dim, &index)?,
            extras: smallvec![index],
        })
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, dim) = (inputs[0].detach(), self.dim as i64);
        let index = if x.dim() == 0 {
            cuda::sort(self.name, &x.reshape(1)?, self.descending, self.k)?.reshape(())?
        } else {
            let index = cuda::sort(self.name, &x.transpose(dim, -1)?, self.descending, self.k)?;
            index.transpose(dim, -1)?.contiguous()?
        };
        Ok(Output {
            tensor: x.gather(dim, &index)?,
            extras: smallvec![index],
        })
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let zeros = Tensor::zeros_with(ctx.shape(0), (grad.dtype(), grad.device()))?;
        let g = zeros.scatter(self.dim as i64, ctx.extra(0), grad)?;
        Ok(smallvec![Some(g)])
    }
}

impl Tensor {
    #[track_caller]
    fn ordered(
        &self,
        name: &'static str,
        dim: i64,
        k: Option<usize>,
        descending: bool,
    ) -> Result<(Tensor, Tensor)> {
        let dim = self.dim_index(name, dim)?;
        let n = if self.dim() == 0 {
            1
        } else {
            self.shape()[dim]
        };
        let k = k.unwrap_or(n);
        if k > n {
            bail!(name, "{k} elements asked for, but dimension {dim} has {n}");
        }
        let order = Order {
            name,
            dim,
            k,
            descending,
        };
        if self.dim() == 0 && k == 0 {
            return self.reshape(1)?.ordered(name, 0, Some(0), descending);
        }
        let out = dispatch::call_with_extras(order, &[self])?;
        Ok((out.tensor, out.extras[0].clone()))
    }

    /// The elements along dimension `dim` in ascending or descending order, and their indices
    /// ([`torch.sort`](https://pytorch.org/docs/stable/generated/torch.sort.html)). Equal elements
    /// keep their order; NaN counts as greatest.
    ///
    /// PyTorch's defaults: `dim` -1, `descending` false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, indices) = Tensor::new([3i64, 1, 2])?.sort(-1, false)?;
    /// assert_eq!(values.to_vec::<i64>()?, [1, 2, 3]);
    /// assert_eq!(indices.to_vec::<i64>()?, [1, 2, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such dimension.
    #[track_caller]
    pub fn sort(&self, dim: i64, descending: bool) -> Result<(Tensor, Tensor)> {
        self.ordered("sort", dim, None, descending)
    }

    /// The indices that [`sort`](Tensor::sort) returns
    /// ([`torch.argsort`](https://pytorch.org/docs/stable/generated/torch.argsort.html)).
    ///
    /// PyTorch's defaults: `dim` -1, `descending` false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([3i64, 1, 2])?.argsort(0, true)?.to_vec::<i64>()?, [0, 2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sort`](Tensor::sort).
    #[track_caller]
    pub fn argsort(&self, dim: i64, descending: bool) -> Result<Tensor> {
        Ok(self.detach().ordered("argsort", dim, None, descending)?.1)
    }

    /// The `k` greatest (or least) elements along dimension `dim`, in order, and their indices
    /// ([`torch.topk`](https://pytorch.org/docs/stable/generated/torch.topk.html)).
    ///
    /// PyTorch's defaults: `dim` -1, `largest` true.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, indices) = Tensor::new([3i64, 9, 5])?.topk(2, 0, true)?;
    /// assert_eq!(values.to_vec::<i64>()?, [9, 5]);
    /// assert_eq!(indices.to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are fewer than `k`.
    #[track_caller]
    pub fn topk(&self, k: usize, dim: i64, largest: bool) -> Result<(Tensor, Tensor)> {
        self.ordered("topk", dim, Some(k), largest)
    }

    /// The different elements in ascending order; for each element of this tensor the position of
    /// its value among them; and how often each occurs
    /// ([`torch.unique`](https://pytorch.org/docs/stable/generated/torch.unique.html) with
    /// `return_inverse` and
    /// `return_counts`).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (values, inverse, counts) = Tensor::new([5i64, 2, 5])?.unique()?;
    /// assert_eq!(values.to_vec::<i64>()?, [2, 5]);
    /// assert_eq!(inverse.to_vec::<i64>()?, [1, 0, 1]);
    /// assert_eq!(counts.to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn unique(&self) -> Result<(Tensor, Tensor, Tensor)> {
        let (values, index) = self.detach().reshape(-1)?.sort(0, false)?;
        let mut first = Vec::<i64>::new();
        let inverse = Tensor::build::<i64>("unique", self.shape(), DType::I64, |inverse| {
            let order = index.read();
            let order = &order.slice::<i64>()[..index.numel()];
            with_stored!(values.dtype(), S => {
                let read = values.read();
                let sorted = &read.slice::<S>()[..values.numel()];
                for (i, (v, &at)) in sorted.iter().zip(order).enumerate() {
                    // Every NaN is a value of its own, as in PyTorch.
                    if i == 0 || *v != sorted[i - 1] {
                        first.push(i as i64);
                    }
                    inverse[at as usize] = first.len() as i64 - 1;
                }
            });
        })?;
        let ends = first.iter().skip(1).copied().chain([index.numel() as i64]);
        let counts: Vec<i64> = first.iter().zip(ends).map(|(from, to)| to - from).collect();
        let n = first.len();
        Ok((
            values.index_select(0, &Tensor::from_vec(first, n)?)?,
            inverse.to_device(self.device())?,
            Tensor::from_vec(counts, n)?.to_device(self.device())?,
        ))
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let x = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let pair = |(values, indices): (Tensor, Tensor)| vec![values, indices];
    let sorts = || {
        [
            (&[5][..], 0, false),
            (&[3, 4], 1, true),
            (&[3, 4], 0, false),
            (&[], 0, false),
            (&[0, 3], 0, true),
        ]
        .map(|(shape, d, b)| Sample::new(vec![x(shape), Arg::I(d), Arg::B(b)]))
        .to_vec()
    };
    vec![
        OpSpec::new(
            "sort",
            "lambda x, d, b: tuple(torch.sort(x, d, b))",
            move |a| a[0].tensor()?.sort(a[1].int()?, a[2].bool()?).map(pair),
        )
        .samples(sorts()),
        OpSpec::new("argsort", "torch.argsort", |a| {
            Ok(vec![a[0].tensor()?.argsort(a[1].int()?, a[2].bool()?)?])
        })
        .no_grad()
        .samples(sorts()),
        OpSpec::new(
            "topk",
            "lambda x, k, d, b: tuple(torch.topk(x, k, d, b))",
            move |a| {
                let k = a[1].int()? as usize;
                a[0].tensor()?.topk(k, a[2].int()?, a[3].bool()?).map(pair)
            },
        )
        .samples(
            [(2, 1, true), (3, 0, false), (1, -1, false)]
                .map(|(k, d, b)| Sample::new(vec![x(&[4, 5]), Arg::I(k), Arg::I(d), Arg::B(b)]))
                .to_vec(),
        ),
        OpSpec::new(
            "unique",
            "lambda x: torch.unique(x, return_inverse=True, return_counts=True)",
            |a| a[0].tensor()?.unique().map(|(u, i, c)| vec![u, i, c]),
        )
        .no_grad()
        .samples(vec![Sample::new(vec![Arg::ints([3, 4], (0, 5))])]),
    ]
}
