//! Picking elements by position, and putting them there.

pub(crate) mod gather;
mod nonzero;
pub(crate) mod plan;
pub(crate) mod sort;

use crate::autocast::{Cast, Composite};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Scalar;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, numel};
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, DType, Result, bail};
use plan::{Plan, index_values, pick, positions, put, put_in_memory};
use smallvec::smallvec;

/// Rows of the first input, the weights, by the integers of the second.
#[derive(Debug)]
struct Embedding {
    /// The row that takes no gradient.
    padding: Option<i64>,
    /// Whether gradients are divided by how often their row was asked for.
    by_frequency: bool,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (weight, index) = (inputs[0].detach(), inputs[1]);
        let plan = Plan::new(
            "embedding",
            weight.shape(),
            &[0],
            std::slice::from_ref(index),
            false,
        )?;
        Ok(pick(&weight, &plan)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(1)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let (shape, index) = (ctx.shape(0), ctx.input(1)?);
        let mut factor = None;
        if self.by_frequency {
            let counts = index.reshape(-1)?.bincount(None, shape[0])?;
            let counts = counts.index_select(0, &index.reshape(-1)?)?;
            factor = Some(Tensor::scalar(1.0)?.to_dtype(grad.dtype())?.div(counts)?);
        }
        if let Some(row) = self.padding {
            let zero = index.reshape(-1)?.eq(row)?;
            let one = factor.map_or_else(
                || Tensor::ones_with(zero.shape(), (grad.dtype(), grad.device())),
                Ok,
            )?;
            factor = Some(zero.where_(0.0, one)?);
        }
        let grad = match factor {
            Some(f) => {
                let mut column = Shape::from_slice(index.shape());
                column.push(1);
                grad.mul(f.view(column)?)?
            }
            None => grad.clone(),
        };
        // Not written before the copy that gradients are added to.
        let zeros = Tensor::zeros_with((), (grad.dtype(), grad.device()))?.expand(shape)?;
        let plan = Plan::new("embedding", shape, &[0], &[index], false)?;
        Ok(smallvec![Some(put(&zeros, &plan, &grad, true)?), None])
    }
}

impl Tensor {
    /// A 1-d index along a dimension, as a plan; 0-d tensors count as one element.
    #[track_caller]
    fn along(&self, op: &'static str, dim: i64, index: &Tensor) -> Result<(Tensor, Plan)> {
        let dim = self.dim_index(op, dim)?;
        if index.dim() > 1 {
            bail!(
                op,
                "the index must have 1 dimension, not shape {:?}; gather takes an index for each element",
                index.shape()
            );
        }
        let x = if self.dim() == 0 {
            self.reshape(1)?
        } else {
            self.clone()
        };
        let index = index.reshape(-1)?;
        let plan = Plan::new(op, x.shape(), &[dim], &[index], false)?;
        Ok((x, plan))
    }

    /// The indices `index` (1-d, integers) of dimension `dim`
    /// ([`torch.index_select`](https://pytorch.org/docs/stable/generated/torch.index_select.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1i64, 2, 3], [4, 5, 6]])?;
    /// let picked = x.index_select(1, &Tensor::new([2i64, 0])?)?;
    /// assert_eq!(picked.to_vec::<i64>()?, [3, 1, 6, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an index is negative or out of range, or the index is not 1-d or not of integers.
    #[track_caller]
    pub fn index_select(&self, dim: i64, index: &Tensor) -> Result<Tensor> {
        let (x, plan) = self.along("index_select", dim, index)?;
        pick(&x, &plan)
    }

    #[track_caller]
    fn put_along(
        &self,
        op: &'static str,
        dim: i64,
        index: &Tensor,
        src: &Tensor,
        add: bool,
    ) -> Result<Tensor> {
        let (x, plan) = self.along(op, dim, index)?;
        let shape = plan.result_shape(x.shape());
        let fits = src.is_number() || numel(src.shape()) == numel(&shape);
        if !fits || (!src.is_number() && src.dtype() != x.dtype()) {
            bail!(
                op,
                "the source is {} {:?}; it must be {} {:?}, the index's length along dimension {dim}",
                src.dtype(),
                src.shape(),
                x.dtype(),
                &shape[..]
            );
        }
        let src = if src.is_number() {
            src.to((x.dtype(), x.device()))?.expand(shape)?
        } else {
            src.reshape(shape)?
        };
        put(&x, &plan, &src, add)?.reshape(Shape::from_slice(self.shape()))
    }

    /// A copy with `alpha` times `src` added at the indices `index` of dimension `dim`
    /// ([`torch.index_add`](https://pytorch.org/docs/stable/generated/torch.index_add.html)); an
    /// index may be named several times.
    ///
    /// PyTorch's default: `alpha` 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (index, src) = (Tensor::new([0i64, 0])?, Tensor::new([[1.0f32, 2.0], [3.0, 4.0]])?);
    /// assert_eq!(
    ///     Tensor::ones([2, 2])?.index_add(0, &index, &src, 10)?.to_vec2::<f32>()?,
    ///     [[41.0, 61.0], [1.0, 1.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`index_select`](Tensor::index_select), and where shapes or types do not fit.
    #[track_caller]
    pub fn index_add(
        &self,
        dim: i64,
        index: &Tensor,
        src: &Tensor,
        alpha: impl Into<Scalar>,
    ) -> Result<Tensor> {
        let alpha = alpha.into();
        let src = if alpha.to_f64() == 1.0 {
            src.clone()
        } else {
            src.mul(alpha)?
        };
        self.put_along("index_add", dim, index, &src, true)
    }

    /// [`index_add`](Tensor::index_add) in place.
    ///
    /// # Errors
    /// As [`index_add`](Tensor::index_add), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn index_add_(
        &self,
        dim: i64,
        index: &Tensor,
        src: &Tensor,
        alpha: impl Into<Scalar>,
    ) -> Result<Tensor> {
        self.check_inplace("index_add_")?;
        let alpha = alpha.into();
        if alpha.to_f64() == 1.0 && self.add_rows_in_memory(dim, index, src)? {
            return Ok(self.written("index_add_"));
        }
        self.assign("index_add_", self.index_add(dim, index, src, alpha)?)
    }

    /// [`index_add_`](Tensor::index_add_) without a copy of this tensor; false, with nothing done,
    /// where that cannot be, be it for an error's sake.
    fn add_rows_in_memory(&self, dim: i64, index: &Tensor, src: &Tensor) -> Result<bool> {
        let fits = self.dim() > 0
            && ![self, index, src].iter().any(|t| t.on_cuda())
            && self.is_contiguous()
            && crate::ops::elementwise::lane_of(self.dtype()) == self.dtype()
            && src.dtype() == self.dtype()
            && src.dim() == self.dim()
            && self.changes_unrecorded(&[src])
            && ![index, src].iter().any(|t| t.shares_storage(self));
        if !fits {
            return Ok(false);
        }
        let (x, plan) = self.along("index_add", dim, index)?;
        let mut shape = Shape::from_slice(self.shape());
        shape[self.dim_index("index_add", dim)?] = index.numel();
        if *src.shape() != shape[..] {
            return Ok(false);
        }
        put_in_memory(&x, &plan, src, true)?;
        Ok(true)
    }

    /// A copy with `src` at the indices `index` of dimension `dim`
    /// ([`torch.index_copy`](https://pytorch.org/docs/stable/generated/torch.index_copy.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::zeros([3])?.index_copy(0, &Tensor::new([2i64])?, &Tensor::new([7.0f32])?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 7.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`index_add`](Tensor::index_add).
    #[track_caller]
    pub fn index_copy(&self, dim: i64, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        let region = Composite::new(Cast::Widest, [self, src])?;
        let [x, src] = region.inputs();
        x.put_along("index_copy", dim, index, src, false)
    }

    /// A copy with `value` at the indices `index` of dimension `dim`
    /// ([`torch.Tensor.index_fill`](https://pytorch.org/docs/stable/generated/torch.Tensor.index_fill.html))
    /// ([`torch.index_fill`](https://pytorch.org/docs/stable/generated/torch.index_fill.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::zeros([3])?.index_fill(0, &Tensor::new([0i64, 2])?, 9)?.to_vec::<f32>()?,
    ///     [9.0, 0.0, 9.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`index_select`](Tensor::index_select).
    #[track_caller]
    pub fn index_fill(&self, dim: i64, index: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        let value = value.into();
        let number = value.operand()?;
        self.put_along("index_fill", dim, index, &number, false)
    }

    /// The elements at positions of the flattened tensor, in the shape of `index`
    /// ([`torch.take`](https://pytorch.org/docs/stable/generated/torch.take.html)); negative
    /// positions count from the end.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64, 2], [3, 4]])?.take(&Tensor::new([3i64, -4])?)?.to_vec::<i64>()?,
    ///     [4, 1]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a position is out of range.
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Result<Tensor> {
        let flat = self.reshape(-1)?;
        let plan = Plan::new(
            "take",
            flat.shape(),
            &[0],
            std::slice::from_ref(index),
            true,
        )?;
        pick(&flat, &plan)
    }

    /// How often each integer from 0 on occurs in this 1-d tensor, or the sum of its `weights`;
    /// `minlength` entries at least
    /// ([`torch.bincount`](https://pytorch.org/docs/stable/generated/torch.bincount.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1i64, 3, 1])?.bincount(None, 0)?.to_vec::<i64>()?, [0, 2, 0, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For negative numbers, other than one dimension, and weights of another shape.
    #[track_caller]
    pub fn bincount(&self, weights: Option<&Tensor>, minlength: usize) -> Result<Tensor> {
        let index = positions("bincount", self)?;
        let read = index.read();
        let values = &read.slice::<i64>()[..self.numel()];
        let (least, most) = flambeau_cpu::reduce::range_i64(values).unwrap_or((0, -1));
        if self.dim() != 1 || least < 0 {
            bail!(
                "bincount",
                "takes integers that are not negative in 1 dimension; got shape {:?}, least {least}",
                self.shape()
            );
        }
        if let Some(w) = weights
            && w.shape() != self.shape()
        {
            bail!(
                "bincount",
                "weights of shape {:?} must have the tensor's shape {:?}",
                w.shape(),
                self.shape()
            );
        }
        let n = (most as usize).wrapping_add(1).max(minlength);
        let Some(w) = weights else {
            let counts = Tensor::build::<i64>("bincount", &[n], DType::I64, |out| {
                flambeau_cpu::index::count(values, out);
            })?;
            return counts.to_device(self.device());
        };
        let dtype = if w.dtype() == DType::F32 {
            DType::F32
        } else {
            DType::F64
        };
        let zeros = Tensor::zeros_with(n, (dtype, self.device()))?;
        zeros.scatter_add(0, &self.detach(), w.detach().to_dtype(dtype)?)
    }

    /// For each integer a vector of `classes` zeros with a one at its place, as `i64`; without
    /// `classes` one more than the greatest
    /// ([`F.one_hot`](https://pytorch.org/docs/stable/generated/torch.nn.functional.one_hot.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let labels = Tensor::new([2i64, 0])?;
    /// assert_eq!(labels.one_hot(None)?.to_vec::<i64>()?, [0, 0, 1, 1, 0, 0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an integer is negative or not below `classes`, and where there is none to find the
    /// number of classes from.
    #[track_caller]
    pub fn one_hot(&self, classes: Option<usize>) -> Result<Tensor> {
        let values = index_values("one_hot", self)?;
        let n = match classes {
            Some(n) => n,
            None => match values.iter().max() {
                Some(&m) => m.max(0) as usize + 1,
                None => bail!(
                    "one_hot",
                    "an empty tensor does not tell the number of classes; name it"
                ),
            },
        };
        if let Some(bad) = values.iter().find(|&&v| v < 0 || v >= n as i64) {
            bail!("one_hot", "label {bad} is out of range for {n} classes");
        }
        let mut shape = Shape::from_slice(self.shape());
        shape.push(n);
        Tensor::build::<i64>("one_hot", &shape, DType::I64, |out| {
            out.fill(0);
            for (i, &v) in values.iter().enumerate() {
                out[i * n + v as usize] = 1;
            }
        })?
        .to_device(self.device())
    }

    /// The rows of `weight` `[n, d]` that the integers of this tensor name: shape `[.., d]`
    /// ([`F.embedding`](https://pytorch.org/docs/stable/generated/torch.nn.functional.embedding.html)).
    /// Row `padding_idx` (negative from the end) takes no gradient; with
    /// `scale_grad_by_freq` a row's gradient is divided by how often it was named.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let table = Tensor::new([[0.5f32, 1.5], [2.5, 3.5]])?;
    /// assert_eq!(
    ///     Tensor::new([1i64, 0])?.embedding(&table, None, false)?.to_vec2::<f32>()?,
    ///     [[2.5, 3.5], [0.5, 1.5]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an integer is not a row, or the weight is not a matrix.
    #[track_caller]
    pub fn embedding(
        &self,
        weight: &Tensor,
        padding_idx: Option<i64>,
        scale_grad_by_freq: bool,
    ) -> Result<Tensor> {
        if weight.dim() != 2 {
            bail!(
                "embedding",
                "the weight must be a matrix [n, d], not {:?}",
                weight.shape()
            );
        }
        let n = weight.shape()[0] as i64;
        if let Some(p) = padding_idx
            && (p < -n || p >= n)
        {
            bail!(
                "embedding",
                "padding_idx {p} is out of range for a weight of {n} rows"
            );
        }
        let op = Embedding {
            padding: padding_idx.map(|p| if p < 0 { p + n } else { p }),
            by_frequency: scale_grad_by_freq,
        };
        dispatch::call(op, &[weight, self])
    }
}

/// What tests and goldens know of this family.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let index = |shape: &[usize], n: i64| Arg::ints(shape, (0, n));
    let mask = |values: &[bool], shape: &[usize]| {
        Arg::T(Tensor::from_slice(values, shape).expect("a mask of its own shape"))
    };
    type Put = fn(&Tensor, i64, &Tensor, &Tensor) -> Result<Tensor>;
    let put = |name: &'static str, f: Put| {
        OpSpec::new(name, format!("torch.{name}"), move |a| {
            Ok(vec![f(
                a[0].tensor()?,
                a[1].int()?,
                a[2].tensor()?,
                a[3].tensor()?,
            )?])
        })
    };
    let along =
        |x: &[usize], d: i64, i: Arg, src: &[usize]| Sample::new(vec![t(x), Arg::I(d), i, t(src)]);
    let distinct = || Arg::T(Tensor::new([2i64, 0]).expect("two numbers"));
    vec![
        OpSpec::new("gather", "torch.gather", |a| {
            Ok(vec![a[0].tensor()?.gather(a[1].int()?, a[2].tensor()?)?])
        })
        .samples(vec![
            Sample::new(vec![t(&[3, 4]), Arg::I(1), index(&[3, 6], 4)]),
            Sample::new(vec![t(&[3, 4]), Arg::I(0), index(&[5, 2], 3)]),
            Sample::new(vec![t(&[2, 3, 2]), Arg::I(-2), index(&[2, 1, 2], 3)]),
            Sample::new(vec![t(&[3]), Arg::I(0), index(&[0], 3)]),
            Sample::new(vec![t(&[]), Arg::I(0), index(&[], 1)]),
        ]),
        // Distinct places, so that the result does not hang on the order of writing.
        put("scatter", |x, d, i, s| x.scatter(d, i, s)).samples(vec![along(
            &[3, 4],
            0,
            Arg::T(Tensor::new([[0i64, 2, 1], [1, 0, 2]]).expect("a matrix")),
            &[2, 3],
        )]),
        put("scatter_add", |x, d, i, s| x.scatter_add(d, i, s)).samples(vec![
            along(&[3, 4], 0, index(&[5, 4], 3), &[5, 4]),
            along(&[3, 4], 1, index(&[2, 6], 4), &[2, 6]),
        ]),
        OpSpec::new(
            "take_along_dim",
            "lambda x, i, d: torch.take_along_dim(x, i, d[0] if d else None)",
            |a| {
                Ok(vec![
                    a[0].tensor()?
                        .take_along_dim(a[1].tensor()?, a[2].list()?)?,
                ])
            },
        )
        .samples(vec![
            Sample::new(vec![t(&[3, 4]), index(&[1, 2], 4), Arg::L(vec![1])]),
            Sample::new(vec![t(&[3, 4]), index(&[5], 12), Arg::L(vec![])]),
        ]),
        OpSpec::new("index_select", "torch.index_select", |a| {
            Ok(vec![
                a[0].tensor()?.index_select(a[1].int()?, a[2].tensor()?)?,
            ])
        })
        .samples(vec![
            Sample::new(vec![t(&[3, 4]), Arg::I(0), index(&[5], 3)]),
            Sample::new(vec![t(&[2, 3, 4]), Arg::I(1), index(&[2], 3)]),
            Sample::new(vec![t(&[3, 4]), Arg::I(-1), index(&[0], 4)]),
        ]),
        put("index_add", |x, d, i, s| x.index_add(d, i, s, 1)).samples(vec![
            along(&[3, 4], 0, index(&[5], 3), &[5, 4]),
            along(&[2, 4], 1, index(&[3], 4), &[2, 3]),
        ]),
        put("index_copy", |x, d, i, s| x.index_copy(d, i, s)).samples(vec![
            along(&[3, 4], 0, distinct(), &[2, 4]),
            along(&[2, 4], 1, distinct(), &[2, 2]),
        ]),
        OpSpec::new("index_fill", "torch.index_fill", |a| {
            Ok(vec![a[0].tensor()?.index_fill(
                a[1].int()?,
                a[2].tensor()?,
                a[3].float()?,
            )?])
        })
        .samples(vec![Sample::new(vec![
            t(&[3, 4]),
            Arg::I(1),
            distinct(),
            Arg::F(0.5),
        ])]),
        OpSpec::new("take", "torch.take", |a| {
            Ok(vec![a[0].tensor()?.take(a[1].tensor()?)?])
        })
        .samples(vec![Sample::new(vec![t(&[3, 4]), index(&[2, 3], 12)])]),
        OpSpec::new("masked_select", "torch.masked_select", |a| {
            Ok(vec![a[0].tensor()?.masked_select(a[1].tensor()?)?])
        })
        .samples(vec![
            Sample::new(vec![t(&[2, 3]), mask(&[true, false, true], &[3])]),
            Sample::new(vec![
                t(&[3]),
                mask(&[true, false, false, true, true, true], &[2, 3]),
            ]),
            Sample::new(vec![t(&[2]), mask(&[false, false], &[2])]),
        ]),
        OpSpec::new("nonzero", "lambda m: torch.nonzero(m)", |a| {
            Ok(vec![a[0].tensor()?.nonzero()?])
        })
        .no_grad()
        .samples(vec![
            Sample::new(vec![mask(
                &[true, false, false, true, true, false],
                &[2, 3],
            )]),
            Sample::new(vec![mask(&[true], &[])]),
            Sample::new(vec![mask(&[false], &[1])]),
        ]),
        OpSpec::new(
            "bincount",
            "lambda x, n: torch.bincount(x, minlength=n)",
            |a| Ok(vec![a[0].tensor()?.bincount(None, a[1].int()? as usize)?]),
        )
        .no_grad()
        .samples(vec![
            Sample::new(vec![index(&[9], 5), Arg::I(0)]),
            Sample::new(vec![index(&[0], 5), Arg::I(3)]),
        ]),
        OpSpec::new("one_hot", "F.one_hot", |a| {
            Ok(vec![a[0].tensor()?.one_hot(Some(a[1].int()? as usize))?])
        })
        .no_grad()
        .samples(vec![Sample::new(vec![index(&[2, 3], 5), Arg::I(5)])]),
        OpSpec::new(
            "embedding",
            "lambda i, w, p, s: F.embedding(i, w, padding_idx=p, scale_grad_by_freq=s)",
            |a| {
                let (i, w) = (a[0].tensor()?, a[1].tensor()?);
                Ok(vec![i.embedding(w, a[2].int_opt()?, a[3].bool()?)?])
            },
        )
        .samples(vec![
            Sample::new(vec![index(&[2, 4], 3), t(&[3, 5]), Arg::Nil, Arg::B(false)]),
            Sample::new(vec![index(&[], 3), t(&[3, 2]), Arg::Nil, Arg::B(false)]),
        ]),
    ]
    .into_iter()
    .chain(sort::specs())
    .collect()
}

#[cfg(test)]
mod tests;
