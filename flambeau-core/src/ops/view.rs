//! Views: other sizes and strides over the same memory, and how gradients pass them.

use super::strided::{Geometry, remap};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::shape::{Shape, Strides, contiguous_strides, numel};
use crate::tensor::Tensor;
use crate::{Ctx, Device, Result, cuda, is_grad_enabled};
use smallvec::smallvec;

/// What a view does, as far as its gradient differs.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The same elements in the same order under other sizes.
    Reshape,
    /// Dimensions in another order.
    Permute(Shape),
    /// Size 1 stretched; the engine sums the gradient.
    Expand,
    /// Some of the elements, or some more than once: where they would lie if the input were
    /// contiguous.
    Part(Geometry),
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
        let view = dispatch::call(self, &[x])?;
        if !is_grad_enabled() {
            view.mark_no_grad_view();
        }
        Ok(view)
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

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
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
            Kind::Part(part) => remap(grad, part, &Geometry::contiguous(input))?,
        };
        Ok(smallvec![Some(g)])
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
        Ok(super::format::preserved(self.0, inputs[0], inputs[0].dtype())?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(grad.clone())])
    }
}

/// The history of a tensor overwritten in place without regard to what it held: input 0, its old
/// self, receives zeros; input 1, where there is one, is what it holds now.
#[derive(Debug)]
pub(crate) struct Overwrite(pub(crate) &'static str);

impl Op for Overwrite {
    fn name(&self) -> &'static str {
        self.0
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let now = inputs.last().unwrap_or(&inputs[0]);
        Ok(super::elementwise::to_contiguous(self.0, now, now.dtype())?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let zeros = ctx.needs(0).then(|| grad.zeros_like()).transpose()?;
        Ok(smallvec![zeros, Some(grad.clone())])
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
        Ok(super::format::preserved("to", inputs[0], self.0)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    /// The engine converts gradients to their input's type.
    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(grad.clone())])
    }
}

/// Moving to another device.
#[derive(Debug)]
pub(crate) struct ToDevice {
    pub(crate) from: Device,
    pub(crate) to: Device,
    /// Whether a copy to the host goes on while the host does.
    pub(crate) non_blocking: bool,
}

impl Op for ToDevice {
    fn name(&self) -> &'static str {
        "to"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok(cuda::transfer(inputs[0], self.to, self.non_blocking)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(grad.to_device(self.from)?)])
    }
}

/// A copy in pinned memory.
#[derive(Debug)]
pub(crate) struct PinMemory;

impl Op for PinMemory {
    fn name(&self) -> &'static str {
        "pin_memory"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok(cuda::pin(inputs[0])?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

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
