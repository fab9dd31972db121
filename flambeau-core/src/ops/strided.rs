//! Elements seen through any sizes and strides: the gradients of slices and windows, `as_strided`,
//! and the histories that in-place operations give a view and its base.
//!
//! All rest on one linear map, [`Remap`]: lay elements out in memory in one geometry, read them
//! back in another. Its transpose is itself with the two exchanged, so every derivative is there.

use crate::autograd::{Input, Node, SavedSet};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{copy_into, to_contiguous};
use crate::shape::{Shape, Strides, contiguous_strides, is_contiguous, numel};
use crate::tensor::Tensor;
use crate::{Ctx, Result, bail, with_stored};
use smallvec::smallvec;
use std::panic::Location;
use std::sync::Arc;

/// Where elements lie in memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Geometry {
    pub(crate) shape: Shape,
    pub(crate) strides: Strides,
    pub(crate) offset: usize,
}

impl Geometry {
    /// A tensor's, counted from its storage's start.
    pub(crate) fn of(t: &Tensor) -> Geometry {
        Geometry {
            shape: t.0.shape.clone(),
            strides: t.0.strides.clone(),
            offset: t.0.offset,
        }
    }

    /// Row-major from 0 on.
    pub(crate) fn contiguous(shape: &[usize]) -> Geometry {
        Geometry {
            shape: Shape::from_slice(shape),
            strides: contiguous_strides(shape),
            offset: 0,
        }
    }

    /// One past the last element's place; the offset where there are none. `None` where that
    /// cannot be addressed.
    pub(crate) fn end(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(self.offset);
        }
        self.shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |end, (&d, &s)| {
                end.checked_add((d - 1).checked_mul(s)?)
            })?
            .checked_add(1)
    }

    /// Whether two elements may share a place. Exact for what views make of memory without
    /// overlap; contrived strides may be suspected wrongly.
    pub(crate) fn overlaps(&self) -> bool {
        if self.shape.contains(&0) {
            return false;
        }
        let mut dims: Vec<(usize, usize)> = self
            .strides
            .iter()
            .copied()
            .zip(self.shape.iter().copied())
            .filter(|&(_, d)| d > 1)
            .collect();
        dims.sort_unstable();
        let mut reach = 0;
        for (stride, size) in dims {
            if stride <= reach {
                return true;
            }
            reach += stride * (size - 1);
        }
        false
    }
}

/// Zeroed memory to lay elements out in.
struct Canvas {
    memory: Tensor,
    start: usize,
}

impl Canvas {
    /// Large enough for both.
    fn over(like: &Tensor, a: &Geometry, b: &Geometry) -> Result<Canvas> {
        let used = [a, b].into_iter().filter(|g| numel(&g.shape) > 0);
        let start = used.clone().map(|g| g.offset).min().unwrap_or(0);
        let end = used.map(|g| g.end().unwrap_or(0)).max().unwrap_or(start);
        let memory = Tensor::zeros_with([end - start], (like.dtype(), like.device()))?;
        Ok(Canvas { memory, start })
    }

    fn at(&self, g: &Geometry) -> Tensor {
        let offset = g.offset.saturating_sub(self.start);
        self.memory
            .alias(g.shape.clone(), g.strides.clone(), offset)
    }

    /// Overwrites the places of `g`.
    fn put(&self, x: &Tensor, g: &Geometry) -> Result<()> {
        copy_into(x, &self.at(g))
    }

    /// Adds to the places of `g`, each as often as it occurs.
    fn add(&self, x: &Tensor, g: &Geometry) -> Result<()> {
        let x = to_contiguous("as_strided", x, x.dtype())?;
        with_stored!(x.dtype(), S => {
            let read = x.read();
            let target = self.at(g);
            let mut write = target.write();
            let out = write.slice::<S>();
            for (i, v) in read.slice::<S>()[..x.numel()].iter().enumerate() {
                let o = &mut out[place(i, &g.shape, &g.strides)];
                *o = S::from_f64(o.to_f64() + v.to_f64());
            }
        });
        Ok(())
    }

    /// The elements of `g`.
    fn take(self, g: &Geometry) -> Tensor {
        let whole = g.offset == self.start
            && is_contiguous(&g.shape, &g.strides)
            && numel(&g.shape) == self.memory.numel();
        if whole {
            // Without a base, so that the result counts as the sole owner of its memory.
            let storage = self.memory.0.storage.clone();
            return Tensor::make(
                storage,
                g.shape.clone(),
                g.strides.clone(),
                0,
                self.memory.dtype(),
                None,
            );
        }
        self.at(g)
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

/// Adds elements of shape `from` to zeroed memory in that geometry, and reads it as `to`.
#[derive(Debug)]
struct Remap {
    from: Geometry,
    to: Geometry,
}

impl Op for Remap {
    fn name(&self) -> &'static str {
        "as_strided"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (g, from, to) = (inputs[0], &self.from, &self.to);
        // Elements already laid out so are read in place.
        if is_contiguous(&from.shape, &from.strides)
            && to.offset >= from.offset
            && to.end() <= from.end()
        {
            let g = if g.is_contiguous() {
                g.clone()
            } else {
                to_contiguous("as_strided", g, g.dtype())?
            };
            let offset = g.0.offset + to.offset - from.offset;
            return Ok(g.alias(to.shape.clone(), to.strides.clone(), offset).into());
        }
        let canvas = Canvas::over(g, from, to)?;
        if from.overlaps() {
            canvas.add(g, from)?;
        } else {
            canvas.put(g, from)?;
        }
        Ok(canvas.take(to).into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        Ok(smallvec![Some(remap(grad, &self.to, &self.from)?)])
    }
}

/// The gradient of reading `from` out of memory laid out as `to`.
pub(crate) fn remap(grad: &Tensor, from: &Geometry, to: &Geometry) -> Result<Tensor> {
    let op = Remap {
        from: from.clone(),
        to: to.clone(),
    };
    dispatch::call(op, &[grad])
}

/// `input`'s memory seen as `view`.
#[derive(Debug)]
pub(crate) struct AsStrided {
    pub(crate) input: Geometry,
    pub(crate) view: Geometry,
}

impl Op for AsStrided {
    fn name(&self) -> &'static str {
        "as_strided"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let held = x.0.storage.bytes() / x.dtype().size();
        match self.view.end() {
            Some(end) if end <= held => {}
            end => bail!(
                "as_strided",
                "sizes {:?}, strides {:?} and offset {} reach element {}, but the memory holds {held}",
                &self.view.shape[..],
                &self.view.strides[..],
                self.view.offset,
                end.map_or("beyond all memory".into(), |e| (e - 1).to_string())
            ),
        }
        let Geometry {
            shape,
            strides,
            offset,
        } = self.view.clone();
        Ok(x.alias(shape, strides, offset).into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    /// Elements of an expanded input that share a place share its gradient evenly, as in PyTorch.
    fn backward(&self, _: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let mut g = remap(grad, &self.view, &self.input)?;
        if self.input.overlaps() {
            let ones = Tensor::ones_with(&self.input.shape, (grad.dtype(), grad.device()))?;
            g = g.div(remap(&ones, &self.input, &self.input)?)?;
        }
        Ok(smallvec![Some(g)])
    }
}

/// A fresh history for a view whose base was changed in place: `base` seen through its geometry.
pub(crate) fn as_view_of(view: &Tensor, base: &Tensor) -> Arc<Node> {
    let op = AsStrided {
        input: Geometry::of(base),
        view: Geometry::of(view),
    };
    let inputs = smallvec![Input::of(base)];
    let saved = SavedSet::default();
    Arc::new(Node::new(op, inputs, saved, Location::caller()))
}

/// The history of a base after an in-place operation on a view: its old elements, with those the
/// view covers replaced by the operation's result. Neither geometry overlaps itself.
#[derive(Debug)]
pub(crate) struct CopySlices {
    pub(crate) base: Geometry,
    pub(crate) view: Geometry,
}

impl Op for CopySlices {
    fn name(&self) -> &'static str {
        "copy_slices"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let canvas = Canvas::over(inputs[0], &self.base, &self.view)?;
        canvas.put(inputs[0], &self.base)?;
        canvas.put(inputs[1], &self.view)?;
        Ok(canvas.take(&self.base).into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let base = ctx.needs(0).then(|| {
            let zeros = Tensor::zeros_with(&self.view.shape, (grad.dtype(), grad.device()))?;
            let (base, view) = (self.base.clone(), self.view.clone());
            dispatch::call(CopySlices { base, view }, &[grad, &zeros])
        });
        let result = ctx.needs(1).then(|| remap(grad, &self.base, &self.view));
        Ok(smallvec![base.transpose()?, result.transpose()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(shape: &[usize], strides: &[usize]) -> Geometry {
        Geometry {
            shape: Shape::from_slice(shape),
            strides: Strides::from_slice(strides),
            offset: 0,
        }
    }

    #[test]
    fn overlap_is_seen() {
        assert!(!geometry(&[2, 3], &[3, 1]).overlaps());
        assert!(!geometry(&[3, 2], &[1, 3]).overlaps());
        assert!(!geometry(&[1, 3], &[0, 2]).overlaps());
        assert!(geometry(&[2, 3], &[0, 1]).overlaps());
        assert!(geometry(&[2, 2], &[1, 1]).overlaps());
        assert!(geometry(&[3, 2], &[1, 2]).overlaps());
        assert!(!geometry(&[0, 2], &[0, 0]).overlaps());
    }

    #[test]
    fn the_end_is_checked() {
        assert_eq!(geometry(&[2, 3], &[3, 1]).end(), Some(6));
        assert_eq!(geometry(&[0, 3], &[usize::MAX, 1]).end(), Some(0));
        assert_eq!(geometry(&[3, 3], &[usize::MAX, 1]).end(), None);
    }
}
