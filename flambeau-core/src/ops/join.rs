//! Putting tensors together.

use crate::autocast::Cast;
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::elementwise::binary::result_type;
use crate::ops::elementwise::{axes, copy_into, to_contiguous, with_size};
use crate::ops::format::turned_back;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, contiguous_strides, numel, wrap_dim};
use crate::tensor::Tensor;
use crate::{Ctx, MemoryFormat, Result, bail};
use flambeau_cpu::copy::{copy_strided, interleave};
use smallvec::SmallVec;

/// Concatenation along a dimension.
#[derive(Debug)]
struct Cat {
    dim: usize,
}

/// PyTorch lets tensors of shape `[0]` take part in any concatenation, as nothing.
fn is_nothing(shape: &[usize]) -> bool {
    shape == [0]
}

fn something<'a, 't>(inputs: &'a [&'t Tensor]) -> impl Iterator<Item = &'a &'t Tensor> {
    inputs.iter().filter(|t| !is_nothing(t.shape()))
}

impl Cat {
    /// The result's shape; `None` where there is nothing to put together.
    fn shape(&self, inputs: &[&Tensor]) -> Result<Option<Shape>> {
        let Some(first) = something(inputs).next() else {
            return Ok(None);
        };
        let mut shape = Shape::from_slice(first.shape());
        shape[self.dim] = 0;
        for (i, t) in something(inputs).enumerate() {
            let fits = t.dim() == shape.len()
                && (0..shape.len()).all(|d| d == self.dim || t.shape()[d] == shape[d]);
            if !fits {
                bail!(
                    "cat",
                    "shapes must agree in all dimensions but {}; tensor 0 has {:?}, tensor {i} has {:?}",
                    self.dim,
                    first.shape(),
                    t.shape()
                );
            }
            // Beyond what memory holds only where another size is 0.
            shape[self.dim] = shape[self.dim].saturating_add(t.shape()[self.dim]);
        }
        Ok(Some(shape))
    }

    /// The result, in the format that all inputs are in, where that has the channels innermost.
    fn channels_last(
        &self,
        inputs: &[&Tensor],
        cat: impl Fn(&Cat, &[&Tensor]) -> Result<Output>,
    ) -> Result<Option<Tensor>> {
        let mut formats = something(inputs).map(|t| t.suggest_memory_format());
        let format = formats.next().unwrap_or(MemoryFormat::Contiguous);
        let Some(order) = format.order().filter(|_| formats.all(|f| f == format)) else {
            return Ok(None);
        };
        self.shape(inputs)?;
        let turned = something(inputs).map(|t| t.detach().permute(order));
        let turned = turned.collect::<Result<SmallVec<[Tensor; 8]>>>()?;
        let dim = order
            .iter()
            .position(|&d| d == self.dim)
            .unwrap_or(self.dim);
        let out = cat(&Cat { dim }, &turned.iter().collect::<SmallVec<[_; 8]>>())?;
        Ok(Some(turned_back(&out.tensor, order)))
    }
}

impl Op for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        if let Some(out) = self.channels_last(inputs, Cat::forward)? {
            return Ok(out.into());
        }
        let dtype = result_type(inputs);
        let Some(shape) = self.shape(inputs)? else {
            return Ok(to_contiguous("cat", inputs[0], dtype)?.into());
        };
        let parts: SmallVec<[Tensor; 8]> = something(inputs)
            .map(|&t| match t.dtype() == dtype {
                true => Ok(t.clone()),
                false => to_contiguous("cat", t, dtype),
            })
            .collect::<Result<_>>()?;
        let strides = contiguous_strides(&shape);
        let len = |t: &Tensor| numel(&t.shape()[self.dim..]);
        // As in a stack along the last dimension.
        let single = parts.iter().all(|t| len(t) == 1 && t.is_contiguous());
        let out = with_size!(dtype, S => {
            let reads: SmallVec<[_; 8]> = parts.iter().map(Tensor::read).collect();
            Tensor::build::<S>("cat", &shape, dtype, |out| {
                if out.is_empty() {
                    return;
                }
                if single {
                    let parts: SmallVec<[_; 8]> = reads.iter().map(|r| r.slice::<S>()).collect();
                    return interleave(&parts, out);
                }
                let mut at = 0;
                for (t, read) in parts.iter().zip(&reads) {
                    let axes = axes(t.shape(), t.strides(), &strides);
                    copy_strided(read.slice::<S>(), &mut out[at..], &axes);
                    at += len(t);
                }
            })
        })?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        if let Some(out) = self.channels_last(inputs, Cat::cuda)? {
            return Ok(out.into());
        }
        let dtype = result_type(inputs);
        let Some(shape) = self.shape(inputs)? else {
            return Ok(to_contiguous("cat", inputs[0], dtype)?.into());
        };
        let out = Tensor::empty_with(shape, (dtype, inputs[0].device()))?;
        let mut at = 0;
        for t in something(inputs) {
            let len = t.shape()[self.dim];
            let place = out.narrow(self.dim as i64, at as i64, len)?;
            copy_into(&t.to_dtype(dtype)?, &place)?;
            at += len;
        }
        Ok(out.into())
    }

    fn autocast(&self) -> Cast {
        Cast::Widest
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let mut from = 0;
        (0..ctx.input_count())
            .map(|i| {
                let shape = ctx.shape(i);
                if is_nothing(shape) {
                    return grad.slice(self.dim as i64, 0, 0, 1)?.reshape(0).map(Some);
                }
                let to = from + shape[self.dim];
                let piece = ctx
                    .needs(i)
                    .then(|| grad.slice(self.dim as i64, from, to, 1));
                from = to;
                piece.transpose()
            })
            .collect()
    }
}

impl Tensor {
    /// The tensors one after the other along dimension `dim`
    /// ([`torch.cat`](https://pytorch.org/docs/stable/generated/torch.cat.html)); all other sizes
    /// must
    /// agree, types promote.
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([[1i64, 2]])?;
    /// assert_eq!(Tensor::cat(&[&x, &x], 0)?.shape(), [2, 2]);
    /// assert_eq!(Tensor::cat(&[&x, &x], 1)?.to_vec::<i64>()?, [1, 2, 1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For an empty list, 0-d tensors (use [`stack`](Tensor::stack)), and shapes that disagree.
    #[track_caller]
    pub fn cat<T: AsRef<Tensor>>(tensors: &[T], dim: i64) -> Result<Tensor> {
        let tensors: SmallVec<[&Tensor; 8]> = tensors.iter().map(AsRef::as_ref).collect();
        let Some(first) = tensors
            .iter()
            .find(|t| !is_nothing(t.shape()))
            .or(tensors.first())
        else {
            bail!(
                "cat",
                "the list of tensors is empty; there must be one at least"
            );
        };
        if let Some(i) = tensors.iter().position(|t| t.dim() == 0) {
            bail!(
                "cat",
                "tensor {i} is 0-d and has no dimension to go along; use stack"
            );
        }
        let dim = wrap_dim("cat", dim, first.dim())?;
        dispatch::call(Cat { dim }, &tensors)
    }

    /// The tensors, of one shape, along a new dimension `dim`
    /// ([`torch.stack`](https://pytorch.org/docs/stable/generated/torch.stack.html)).
    ///
    /// PyTorch's default: `dim` 0.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([1i64, 2])?, Tensor::new([3i64, 4])?);
    /// assert_eq!(Tensor::stack(&[&a, &b], 0)?.to_vec2::<i64>()?, [[1, 2], [3, 4]]);
    /// assert_eq!(Tensor::stack(&[&a, &b], -1)?.to_vec2::<i64>()?, [[1, 3], [2, 4]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For an empty list and shapes that differ.
    #[track_caller]
    pub fn stack<T: AsRef<Tensor>>(tensors: &[T], dim: i64) -> Result<Tensor> {
        let mut rows = Vec::with_capacity(tensors.len());
        for (i, t) in tensors.iter().map(AsRef::as_ref).enumerate() {
            let first = tensors[0].as_ref();
            if t.shape() != first.shape() {
                bail!(
                    "stack",
                    "shapes must be equal; tensor 0 has {:?}, tensor {i} has {:?}",
                    first.shape(),
                    t.shape()
                );
            }
            rows.push(t.unsqueeze(dim)?);
        }
        let Some(first) = rows.first() else {
            bail!(
                "stack",
                "the list of tensors is empty; there must be one at least"
            );
        };
        // Counted before the new dimension was there, so that -1 means the last place.
        let dim = wrap_dim("stack", dim, first.dim())? as i64;
        Tensor::cat(&rows, dim)
    }
}

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    vec![
        OpSpec::new("cat", "torch.cat", |a| {
            Ok(vec![Tensor::cat(&a[0].tensors()?, a[1].int()?)?])
        })
        .samples(
            [
                (vec![t(&[2, 3]), t(&[1, 3])], 0),
                (vec![t(&[2, 3]), t(&[2, 1]), t(&[2, 0])], -1),
                (vec![t(&[2, 3, 2]), t(&[2, 1, 2])], 1),
                (vec![t(&[0]), t(&[2, 3])], 1),
            ]
            .map(|(ts, d)| Sample::new(vec![Arg::Ts(ts), Arg::I(d)]))
            .to_vec(),
        ),
        OpSpec::new("stack", "torch.stack", |a| {
            Ok(vec![Tensor::stack(&a[0].tensors()?, a[1].int()?)?])
        })
        .samples(
            [0, 1, -1]
                .map(|d| Sample::new(vec![Arg::Ts(vec![t(&[2, 3]), t(&[2, 3])]), Arg::I(d)]))
                .to_vec(),
        ),
    ]
}
