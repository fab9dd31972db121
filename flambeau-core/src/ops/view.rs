//! Views: other sizes and strides over the same memory, and how gradients pass them.

use crate::autograd::{Input, Node, SavedSet};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::shape::{Shape, Strides, contiguous_strides, numel};
use crate::tensor::Tensor;
use crate::{Ctx, Result, bail, with_stored};
use smallvec::smallvec;
use std::panic::Location;
use std::sync::Arc;

/// What a view does, as far as its gradient differs.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The same elements in the same order under other sizes.
    Reshape,
    /// Dimensions in another order.
    Permute(Shape),
    /// Size 1 stretched; the engine sums the gradient.
    Expand,
    /// Every `step`-th index of dimension `dim` from `start` on.
    Slice {
        dim: usize,
        start: usize,
        step: usize,
    },
    /// Index `index` of dimension `dim`, which vanishes.
    Select { dim: usize, index: usize },
}

/// A view operation with its result's geometry; the offset counts from the storage's start.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    pub(crate) strides: Strides,
    pub(crate) offset: usize,
}

impl View {
    #[track_caller]
    pub(crate) fn of(self, x: &Tensor) -> Result<Tensor> {
        dispatch::call(self, &[x])
    }
}

impl Op for View {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok(inputs[0]
            .alias(self.shape.clone(), self.strides.clone(), self.offset)
            .into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let input = ctx.shape(0);
        let g = match &self.kind {
            Kind::Reshape => grad.reshape(input)?,
            Kind::Expand => grad.clone(),
            Kind::Permute(dims) => {
                let mut inverse: Vec<i64> = vec![0; dims.len()];
                for (i, &d) in dims.iter().enumerate() {
                    inverse[d] = i as i64;
                }
                grad.permute(inverse)?
            }
            Kind::Slice { dim, start, step } => {
                let zeros = Tensor::zeros_with(input, (grad.dtype(), grad.device()))?;
                let end = start + self.shape[*dim].saturating_sub(1) * step + 1;
                zeros.slice(*dim as i64, *start, end, *step)?.copy_(grad)?;
                zeros
            }
            Kind::Select { dim, index } => {
                let zeros = Tensor::zeros_with(input, (grad.dtype(), grad.device()))?;
                zeros.select(*dim as i64, *index as i64)?.copy_(grad)?;
                zeros
            }
        };
        Ok(smallvec![Some(g)])
    }
}

/// The gradient of a [`StridedView`]: each element added to its place
/// in zeros of the input's shape.
#[derive(Debug)]
struct StridedAdd {
    input: Shape,
    shape: Shape,
    strides: Strides,
    offset: usize,
}

impl Op for StridedAdd {
    fn name(&self) -> &'static str {
        "as_strided_backward"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let g = inputs[0].contiguous()?;
        let out = with_stored!(g.dtype(), S => {
            let read = g.read();
            let src = &read.slice::<S>()[..g.numel()];
            Tensor::build::<S>(self.name(), &self.input, g.dtype(), |out| {
                out.fill(S::default());
                for (i, v) in src.iter().enumerate() {
                    let o = &mut out[self.offset + place(i, &self.shape, &self.strides)];
                    *o = S::from_f64(o.to_f64() + v.to_f64());
                }
            })
        })?;
        Ok(out.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(strided(
            &grad.contiguous()?,
            &self.shape,
            &self.strides,
            self.offset
        )?)])
    }
}

/// Where element `i` of the row-major order lies.
fn place(i: usize, shape: &[usize], strides: &[usize]) -> usize {
    let (mut rest, mut at) = (i, 0);
    for (&d, &s) in shape.iter().zip(strides).rev() {
        at += rest % d * s;
        rest /= d;
    }
    at
}

/// A view of the contiguous `x` with any geometry; `offset` counts from its first element.
#[track_caller]
pub(crate) fn strided(
    x: &Tensor,
    shape: &[usize],
    strides: &[usize],
    offset: usize,
) -> Result<Tensor> {
    let (shape, strides) = (Shape::from_slice(shape), Strides::from_slice(strides));
    dispatch::call(
        StridedView {
            shape,
            strides,
            offset,
        },
        &[x],
    )
}

/// A view of a contiguous input, its offset counted from the input's first element.
#[derive(Debug)]
pub(crate) struct StridedView {
    shape: Shape,
    strides: Strides,
    offset: usize,
}

impl Op for StridedView {
    fn name(&self) -> &'static str {
        "as_strided"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let last: usize = self
            .shape
            .iter()
            .zip(&self.strides)
            .map(|(&d, &s)| d.saturating_sub(1) * s)
            .sum();
        if !x.is_contiguous() || (numel(&self.shape) > 0 && self.offset + last >= x.numel()) {
            bail!(
                "as_strided",
                "sizes {:?}, strides {:?} and offset {} reach element {} of a contiguous tensor; this one has {} elements and is{} contiguous",
                &self.shape[..],
                &self.strides[..],
                self.offset,
                self.offset + last,
                x.numel(),
                if x.is_contiguous() { "" } else { " not" }
            );
        }
        Ok(x.alias(
            self.shape.clone(),
            self.strides.clone(),
            x.0.offset + self.offset,
        )
        .into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let add = StridedAdd {
            input: Shape::from_slice(ctx.shape(0)),
            shape: self.shape.clone(),
            strides: self.strides.clone(),
            offset: self.offset,
        };
        Ok(smallvec![Some(dispatch::call(add, &[grad])?)])
    }
}

/// A fresh history for a view whose base was changed in place: `base` seen through its geometry.
pub(crate) fn as_view_of(view: &Tensor, base: &Tensor) -> Arc<Node> {
    let op = StridedView {
        shape: view.0.shape.clone(),
        strides: view.0.strides.clone(),
        offset: view.0.offset - base.0.offset,
    };
    let input = Input {
        edge: base.edge(),
        shape: base.0.shape.clone(),
        dtype: base.dtype(),
    };
    dispatch::new_node(
        op,
        smallvec![input],
        SavedSet::default(),
        Location::caller(),
    )
}

/// The history of a base after an in-place operation on a view: its old elements, with those the
/// view covers replaced by the operation's result.
#[derive(Debug)]
pub(crate) struct AsStridedScatter {
    shape: Shape,
    strides: Strides,
    offset: usize,
}

impl AsStridedScatter {
    pub(crate) fn of(view: &Tensor, base: &Tensor) -> AsStridedScatter {
        AsStridedScatter {
            shape: view.0.shape.clone(),
            strides: view.0.strides.clone(),
            offset: view.0.offset - base.0.offset,
        }
    }
}

impl Op for AsStridedScatter {
    fn name(&self) -> &'static str {
        "as_strided_scatter"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let out = inputs[0].contiguous_copy()?;
        strided(&out, &self.shape, &self.strides, self.offset)?.copy_(inputs[1])?;
        Ok(out.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let grad = grad.contiguous()?;
        let base = if ctx.needs(0) {
            let zero = Tensor::zeros_with(&self.shape, (grad.dtype(), grad.device()))?;
            let scatter = AsStridedScatter {
                shape: self.shape.clone(),
                strides: self.strides.clone(),
                offset: self.offset,
            };
            Some(dispatch::call(scatter, &[&grad, &zero])?)
        } else {
            None
        };
        let result = ctx
            .needs(1)
            .then(|| strided(&grad, &self.shape, &self.strides, self.offset))
            .transpose()?;
        Ok(smallvec![base, result])
    }
}

/// A result that is its input, element for element; carries the name of the operation it stands for.
#[derive(Debug)]
pub(crate) struct Identity(pub(crate) &'static str);

impl Op for Identity {
    fn name(&self) -> &'static str {
        self.0
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok(super::elementwise::to_contiguous(self.0, inputs[0], inputs[0].dtype())?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(grad.clone())])
    }
}

/// Conversion to another element type.
#[derive(Debug)]
pub(crate) struct ToDtype(pub(crate) crate::DType);

impl Op for ToDtype {
    fn name(&self) -> &'static str {
        "to"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok(super::elementwise::to_contiguous("to", inputs[0], self.0)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    /// The engine converts gradients to their input's type.
    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(grad.clone())])
    }
}

/// Strides under which the elements, in unchanged order, have sizes `new`; `None` where only a
/// copy gives them.
pub(crate) fn view_strides(shape: &[usize], strides: &[usize], new: &[usize]) -> Option<Strides> {
    if numel(shape) == 0 || shape.is_empty() {
        return Some(contiguous_strides(new));
    }
    // Merged runs of the old dimensions, each to be cut into new ones.
    let mut out: Strides = smallvec![1; new.len()];
    let mut view_dim = new.len();
    let mut chunk_stride = strides[shape.len() - 1];
    let (mut old_elements, mut new_elements) = (1usize, 1usize);
    for d in (0..shape.len()).rev() {
        old_elements *= shape[d];
        let run_ends =
            d == 0 || (shape[d - 1] != 1 && strides[d - 1] != old_elements * chunk_stride);
        if run_ends {
            while view_dim > 0 && (new_elements < old_elements || new[view_dim - 1] == 1) {
                view_dim -= 1;
                out[view_dim] = new_elements * chunk_stride;
                new_elements *= new[view_dim];
            }
            if new_elements != old_elements {
                return None;
            }
            if d > 0 {
                chunk_stride = strides[d - 1];
                (old_elements, new_elements) = (1, 1);
            }
        }
    }
    (view_dim == 0).then_some(out)
}
