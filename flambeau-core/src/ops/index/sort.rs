//! `sort`, `topk` and what follows from an order. NaN counts as greater than everything.

use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Device, Result, bail, cuda, with_stored};
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::smallvec;
use std::cmp::Ordering;

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
            let rows = x.transpose(dim, -1)?;
            let rows = to_contiguous(self.name, &rows, x.dtype())?;
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

/// The indices of the first elements of `x` in order, as many as `out` takes.
fn order<S: Stored>(x: &[S], descending: bool, out: &mut [i64]) {
    let ascending = |a: S, b: S| {
        a.partial_cmp(&b).unwrap_or_else(|| {
            let nan = |v: S| v.partial_cmp(&v).is_none();
            nan(a).cmp(&nan(b))
        })
    };
    let by = |a: &(S, usize), b: &(S, usize)| -> Ordering {
        let values = if descending {
            ascending(b.0, a.0)
        } else {
            ascending(a.0, b.0)
        };
        values.then(a.1.cmp(&b.1))
    };
    if out.len() * 16 <= x.len() {
        return first_few(x, descending, by, out);
    }
    let mut items: Vec<(S, usize)> = x.iter().copied().zip(0..).collect();
    if out.len() < items.len() {
        items.select_nth_unstable_by(out.len() - 1, by);
        items.truncate(out.len());
    }
    // The index breaks ties, so an unstable sort keeps the order of equal elements.
    items.sort_unstable_by(by);
    out.iter_mut()
        .zip(items)
        .for_each(|(o, (_, i))| *o = i as i64);
}

/// [`order`] for few of many: the best so far are kept in order, and hardly any element is compared
/// with more than the last of them.
fn first_few<S: Stored>(
    x: &[S],
    descending: bool,
    by: impl Fn(&(S, usize), &(S, usize)) -> Ordering,
    out: &mut [i64],
) {
    let k = out.len();
    let mut best: Vec<(S, usize)> = x[..k].iter().copied().zip(0..).collect();
    best.sort_unstable_by(&by);
    for (i, &v) in x.iter().enumerate().skip(k) {
        let last = best[k - 1];
        // Of a NaN this does not hold, whichever of the two it is.
        let behind = if descending { v <= last.0 } else { v >= last.0 };
        if behind || by(&(v, i), &last).is_gt() {
            continue;
        }
        best.pop();
        let at = best.partition_point(|other| by(other, &(v, i)).is_lt());
        best.insert(at, (v, i));
    }
    (out.iter_mut().zip(best)).for_each(|(o, (_, i))| *o = i as i64);
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

    /// The `k`-th least element along dimension `dim`, counted from 1, and its index
    /// ([`torch.kthvalue`](https://pytorch.org/docs/stable/generated/torch.kthvalue.html)).
    ///
    /// PyTorch's defaults: `dim` -1, `keepdim` false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (value, index) = Tensor::new([3i64, 9, 5])?.kthvalue(2, 0, false)?;
    /// assert_eq!((value.item::<i64>()?, index.item::<i64>()?), (5, 2));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `k` is zero or there are fewer than `k`.
    #[track_caller]
    pub fn kthvalue(&self, k: usize, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
        if k == 0 {
            bail!("kthvalue", "k counts from 1");
        }
        let (values, indices) = self.ordered("kthvalue", dim, Some(k), false)?;
        if self.dim() == 0 {
            return Ok((values, indices));
        }
        let last = |t: &Tensor| {
            let t = t.slice(dim, k - 1, k, 1)?;
            if keepdim { Ok(t) } else { t.squeeze_dim(dim) }
        };
        Ok((last(&values)?, last(&indices)?))
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
        let index = index.to_vec::<i64>()?;
        let (mut first, mut counts) = (Vec::<i64>::new(), Vec::<i64>::new());
        let mut inverse = vec![0i64; index.len()];
        with_stored!(values.dtype(), S => {
            let read = values.read();
            let sorted = &read.slice::<S>()[..values.numel()];
            for (i, v) in sorted.iter().enumerate() {
                // Every NaN is a value of its own, as in PyTorch.
                if i == 0 || *v != sorted[i - 1] {
                    first.push(i as i64);
                    counts.push(0);
                }
                counts[first.len() - 1] += 1;
                inverse[index[i] as usize] = first.len() as i64 - 1;
            }
        });
        let n = first.len();
        Ok((
            values.index_select(0, &Tensor::from_vec(first, n)?)?,
            Tensor::from_vec(inverse, Shape::from_slice(self.shape()))?.to_device(self.device())?,
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
            "kthvalue",
            "lambda x, k, d, b: tuple(torch.kthvalue(x, k, d, b))",
            move |a| {
                let k = a[1].int()? as usize;
                a[0].tensor()?
                    .kthvalue(k, a[2].int()?, a[3].bool()?)
                    .map(pair)
            },
        )
        .samples(
            [(2, 1, true), (3, 0, false)]
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
