//! The elements of each dimension in another order, or some of them several times: `flip`, `roll`,
//! and what the paddings that repeat elements rest on.

use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::{lane_of, to_contiguous, with_size};
use crate::ops::index::plan::with_lane;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape, numel, wrap_dims};
use crate::tensor::Tensor;
use crate::{Ctx, Result, bail};
use flambeau_cpu::copy::{Rearrangement, Run};
use smallvec::{SmallVec, smallvec};

/// Where the indices of a dimension of the result come from, in order.
pub(crate) type Runs = SmallVec<[Run; 3]>;

/// All indices of a dimension of size `n`, as they are.
pub(crate) fn unchanged(n: usize) -> Runs {
    runs([(0, n, 1)])
}

/// Runs of (first index in the source, how many, step), one after the other.
pub(crate) fn runs(parts: impl IntoIterator<Item = (usize, usize, isize)>) -> Runs {
    let mut to = 0;
    (parts.into_iter().filter(|&(_, count, _)| count > 0))
        .map(|(from, count, step)| {
            to += count;
            Run {
                from,
                to: to - count,
                count,
                step: if count == 1 { 1 } else { step },
            }
        })
        .collect()
}

/// How many indices they are.
fn length(runs: &[Run]) -> usize {
    runs.iter().map(|r| r.count).sum()
}

/// The runs that lead back; `None` where not every index of `n` occurs once.
fn inverse(runs: &[Run], n: usize) -> Option<Runs> {
    let mut out: Runs = (runs.iter())
        .map(|r| match r.step {
            -1 => Run {
                from: r.to + r.count - 1,
                to: r.from + 1 - r.count,
                ..*r
            },
            _ => Run {
                from: r.to,
                to: r.from,
                ..*r
            },
        })
        .collect();
    out.sort_unstable_by_key(|r| r.to);
    let mut at = 0;
    let once = out.iter().all(|r| {
        at += r.count;
        r.step != 0 && r.to == at - r.count
    });
    (once && at == n).then_some(out)
}

/// The elements that `dims` names of a tensor of sizes `shape`; or where `back`, the transpose of
/// that: each element added to the one it came from.
#[derive(Clone, Debug)]
pub(crate) struct Rearrange {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) dims: Vec<Runs>,
    pub(crate) back: bool,
}

impl Rearrange {
    /// The sizes of the result (of the operand, where `back`).
    fn sizes(&self) -> Shape {
        self.dims.iter().map(|runs| length(runs)).collect()
    }

    /// Whether dimension `d` is another one than before.
    fn changes(&self, d: usize) -> bool {
        self.dims[d] != unchanged(self.shape[d])
    }

    /// The same for contiguous memory.
    fn in_memory(&self) -> Rearrangement {
        let after = |d: usize| numel(&self.shape[d + 1..]);
        let changed = || (0..self.shape.len()).filter(|&d| self.changes(d));
        let (Some(first), Some(last)) = (changed().next(), changed().next_back()) else {
            let n = numel(&self.shape);
            return Rearrangement::new(1, n, vec![0], unchanged(n).to_vec());
        };
        // Behind the last change, elements stay together: they make its runs longer, or rows.
        let inner = after(last);
        let scaled = inner == 1 || self.dims[last].iter().all(|r| r.step == 1);
        let (rows_of, runs) = if scaled {
            let longer = self.dims[last].iter().map(|r| Run {
                from: r.from * inner,
                to: r.to * inner,
                count: r.count * inner,
                step: r.step,
            });
            (first..last, longer.collect())
        } else {
            (first..last + 1, unchanged(inner).to_vec())
        };
        let mut rows = vec![0];
        for d in rows_of {
            let indices: Vec<usize> = indices(&self.dims[d]).map(|i| i * after(d)).collect();
            let each = rows
                .iter()
                .flat_map(|row| indices.iter().map(move |i| row + i));
            rows = each.collect();
        }
        let (planes, plane) = (numel(&self.shape[..first]), numel(&self.shape[first..]));
        Rearrangement::new(planes, plane, rows, runs)
    }

    /// The result for `x`, recorded.
    #[track_caller]
    pub(crate) fn of(self, x: &Tensor) -> Result<Tensor> {
        dispatch::call(self, &[x])
    }
}

/// The indices of the source one by one.
fn indices(runs: &[Run]) -> impl Iterator<Item = usize> {
    let each = |r: Run| (0..r.count).map(move |k| r.from.wrapping_add_signed(k as isize * r.step));
    runs.iter().copied().flat_map(each)
}

impl Op for Rearrange {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, dtype) = (inputs[0], inputs[0].dtype());
        let sizes = self.sizes();
        if numel(&sizes) == 0 || self.shape.contains(&0) {
            let shape = if self.back { &self.shape } else { &sizes };
            return Ok(Tensor::zeros_with(shape, dtype)?.into());
        }
        // What tells the rows of the result needs memory too: made once the result has some.
        if !self.back {
            let x = x.contiguous()?;
            let out = with_size!(dtype, S => {
                let read = x.read();
                let src = read.slice::<S>();
                Tensor::build::<S>(self.name, &sizes, dtype, |out| self.in_memory().apply(src, out))
            })?;
            return Ok(out.into());
        }
        let lane = lane_of(dtype);
        let x = match x.is_contiguous() && lane == dtype {
            true => x.clone(),
            false => to_contiguous(self.name, x, lane)?,
        };
        let out = with_lane!(dtype, T => {
            let read = x.read();
            let g = &read.slice::<T>()[..x.numel()];
            Tensor::build::<T>(self.name, &self.shape, lane, |out| self.in_memory().apply_back(g, out))
        })?;
        Ok(match lane == dtype {
            true => out,
            false => to_contiguous(self.name, &out, dtype)?,
        }
        .into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let mut out = inputs[0].detach();
        let changed = (0..self.shape.len()).filter(|&d| self.changes(d));
        for d in changed {
            let list: Vec<i64> = indices(&self.dims[d]).map(|i| i as i64).collect();
            let index = Tensor::from_slice(&list, list.len())?.to_device(out.device())?;
            out = if self.back {
                let mut shape = Shape::from_slice(out.shape());
                shape[d] = self.shape[d];
                let zeros = Tensor::zeros_with(shape, (out.dtype(), out.device()))?;
                zeros.index_add(d as i64, &index, &out, 1)?
            } else {
                out.index_select(d as i64, &index)?
            };
        }
        Ok(match out.shares_storage(inputs[0]) {
            true => out.copy()?,
            false => out,
        }
        .into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let inverse: Option<Vec<Runs>> = (self.dims.iter().zip(&self.shape))
            .map(|(runs, &n)| inverse(runs, n))
            .collect();
        let op = match inverse {
            Some(dims) => Rearrange {
                dims,
                shape: self.sizes(),
                ..self.clone()
            },
            None => Rearrange {
                back: !self.back,
                ..self.clone()
            },
        };
        Ok(smallvec![Some(op.of(grad)?)])
    }
}

impl Tensor {
    /// Each dimension of this tensor rearranged.
    #[track_caller]
    pub(crate) fn rearranged(&self, name: &'static str, dims: Vec<Runs>) -> Result<Tensor> {
        let op = Rearrange {
            name,
            shape: Shape::from_slice(self.shape()),
            dims,
            back: false,
        };
        op.of(self)
    }

    /// A copy in reverse order along dimensions `dims`
    /// ([`torch.flip`](https://pytorch.org/docs/stable/generated/torch.flip.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64, 2], [3, 4]])?.flip([0, 1])?.to_vec2::<i64>()?,
    ///     [[4, 3], [2, 1]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a dimension is out of range or named twice.
    #[track_caller]
    pub fn flip(&self, dims: impl Dims) -> Result<Tensor> {
        let list = dims.dims();
        let dims = if list.is_empty() {
            Shape::new()
        } else {
            wrap_dims("flip", &list, self.dim())?
        };
        let each = self.shape().iter().enumerate();
        let turned = each.map(|(d, &n)| match dims.contains(&d) && n > 0 {
            true => runs([(n - 1, n, -1)]),
            false => unchanged(n),
        });
        self.rearranged("flip", turned.collect())
    }

    /// A copy shifted by `shifts` along `dims`, what leaves at one end coming back at the other
    /// ([`torch.roll`](https://pytorch.org/docs/stable/generated/torch.roll.html)); without `dims`
    /// (`()`) the flattened tensor is rolled.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::arange(0, 5, 1)?.roll(2, 0)?.to_vec::<i64>()?, [3, 4, 0, 1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are not as many shifts as dimensions.
    #[track_caller]
    pub fn roll(&self, shifts: impl Dims, dims: impl Dims) -> Result<Tensor> {
        let (shifts, dims) = (shifts.dims(), dims.dims());
        if dims.is_empty() && shifts.len() == 1 {
            let shape = Shape::from_slice(self.shape());
            return self.reshape(-1)?.roll(shifts[0], 0)?.reshape(shape);
        }
        if shifts.len() != dims.len() {
            bail!(
                "roll",
                "shifts {shifts:?} and dimensions {dims:?} must be as many"
            );
        }
        let mut cuts: Shape = smallvec![0; self.dim()];
        for (&shift, &dim) in shifts.iter().zip(&dims) {
            let n = self.split_size("roll", dim)?;
            if n > 0 {
                let d = self.dim_index("roll", dim)?;
                let back = n - shift.rem_euclid(n as i64) as usize;
                cuts[d] = (cuts[d] + back) % n;
            }
        }
        let each = self.shape().iter().zip(&cuts);
        let rolled = each.map(|(&n, &cut)| runs([(cut, n - cut, 1), (0, cut, 1)]));
        self.rearranged("roll", rolled.collect())
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    vec![
        OpSpec::new("flip", "torch.flip", |a| {
            Ok(vec![a[0].tensor()?.flip(a[1].list()?)?])
        })
        .samples(vec![
            Sample::with(&[2, 3], &[Arg::L(vec![0])]),
            Sample::with(&[2, 3, 2], &[Arg::L(vec![0, 2])]),
            Sample::with(&[], &[Arg::L(vec![])]),
        ]),
        OpSpec::new(
            "roll",
            "lambda x, s, d: torch.roll(x, tuple(s), tuple(d))",
            |a| Ok(vec![a[0].tensor()?.roll(a[1].list()?, a[2].list()?)?]),
        )
        .samples(vec![
            Sample::with(&[2, 5], &[Arg::L(vec![2]), Arg::L(vec![1])]),
            Sample::with(&[3, 5], &[Arg::L(vec![-1, 7]), Arg::L(vec![0, 1])]),
            Sample::with(&[3, 2], &[Arg::L(vec![1]), Arg::L(vec![])]),
        ]),
    ]
}
