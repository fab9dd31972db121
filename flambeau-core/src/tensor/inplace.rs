//! What every in-place operation does: check, write, count the version, rewrite the history.
//!
//! An elementwise operation that is not recorded writes straight into memory (`map_in_place`);
//! any other computes its result first, whose memory then becomes the tensor's.

use super::Tensor;
use crate::autograd::{
    Edge, Input, Node, SavedSet, current_sequence, is_grad_enabled, is_inference_mode, note_writer,
};
use crate::format::same_places;
use crate::ops::elementwise::copy_into;
use crate::ops::strided::{CopySlices, Geometry};
use crate::ops::view::Overwrite;
use crate::{Error, Result};
use smallvec::smallvec;
use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;

thread_local! {
    /// The number of the first node that the running in-place operation may have made.
    static STARTED: Cell<u64> = const { Cell::new(0) };
}

impl Tensor {
    /// Whether `op` may write here.
    #[track_caller]
    pub(crate) fn check_inplace(&self, op: &'static str) -> Result<()> {
        let t = &self.0;
        let stretched = t.shape.iter().zip(&t.strides);
        if stretched.into_iter().any(|(&d, &s)| d > 1 && s == 0) && !self.is_empty() {
            return Err(Error::new(
                op,
                format!(
                    "the tensor of shape {:?} was expanded: several of its elements are one place in memory; copy() it first",
                    self.shape()
                ),
            ));
        }
        if self.is_inference() && !is_inference_mode() {
            return Err(Error::new(
                op,
                "a tensor made in inference_mode cannot be changed outside of it; copy() it first",
            ));
        }
        if !is_grad_enabled() {
            return Ok(());
        }
        STARTED.set(current_sequence());
        let base = t.base.as_ref().filter(|b| b.tracked());
        let leaf = match base {
            _ if self.tracked() && self.is_leaf() => Some("a leaf"),
            Some(base) if base.is_leaf() => Some("a view of a leaf"),
            _ => None,
        };
        if let Some(what) = leaf {
            return Err(Error::new(
                op,
                format!(
                    "{what} that requires gradients cannot be changed in place; do it in no_grad, or use the out-of-place form"
                ),
            ));
        }
        if base.is_some() && self.is_no_grad_view() {
            return Err(no_grad_view(op));
        }
        Ok(())
    }

    /// Whether an in-place operation that reads `others` leaves no history: it may then write
    /// straight into memory, and end with [`written`](Tensor::written).
    pub(crate) fn changes_unrecorded(&self, others: &[&Tensor]) -> bool {
        !is_grad_enabled() || !(self.tracked() || others.iter().any(|t| t.tracked()))
    }

    /// Counts a write of `op` that is done and leaves no history.
    #[track_caller]
    pub(crate) fn written(&self, op: &'static str) -> Tensor {
        self.0.storage.bump_version();
        note_writer(&self.0.storage, op, Location::caller());
        self.clone()
    }

    /// Makes this tensor what `result` is, in place: elements, and history where recording is on.
    /// Call [`check_inplace`](Tensor::check_inplace) before `result` is computed.
    #[track_caller]
    pub(crate) fn assign(&self, op: &'static str, result: Tensor) -> Result<Tensor> {
        self.take_over(op, result, false)
    }

    /// The same where `result` does not depend on what this tensor held before: its old history
    /// receives zeros, as in PyTorch.
    #[track_caller]
    pub(crate) fn overwrite(&self, op: &'static str, result: Tensor) -> Result<Tensor> {
        self.take_over(op, result, true)
    }

    #[track_caller]
    fn take_over(&self, op: &'static str, result: Tensor, overwrite: bool) -> Result<Tensor> {
        let location = Location::caller();
        if result.shape() != self.shape() {
            return Err(Error::new(
                op,
                format!(
                    "the result has shape {:?}, which does not fit into the tensor's {:?}; use the out-of-place form",
                    result.shape(),
                    self.shape()
                ),
            ));
        }
        if result.dtype().category() > self.dtype().category() {
            return Err(Error::new(
                op,
                format!(
                    "a result of type {} cannot be stored in a tensor of type {}; convert with to_dtype first",
                    result.dtype(),
                    self.dtype()
                ),
            ));
        }
        let result = if result.dtype() == self.dtype() {
            result
        } else {
            result.to_dtype(self.dtype())?
        };
        let result = if result.device() == self.device() {
            result
        } else {
            result.to_device(self.device())?
        };
        let (storage, fresh) = (&self.0.storage, result.0.storage.clone());
        let exclusive = Arc::strong_count(&result.0) == 1;
        let record = is_grad_enabled() && (result.tracked() || self.tracked());
        let started = STARTED.get();
        let node = result.node().filter(|n| record && n.seq >= started);
        let saves_output = node.as_ref().is_some_and(|n| {
            let saved = n.saved.lock();
            let output = saved.as_ref().and_then(|s| s.output());
            output.is_some_and(|o| o.is_in(&fresh))
        });
        // The result's memory is taken over where nobody else can see it.
        let swaps = exclusive
            && result.0.base.is_none()
            && fresh.owners() == 2 + saves_output as usize
            && result.fills_storage()
            && self.fills_storage()
            && same_places(self.shape(), result.strides(), self.strides());
        let history = if record {
            self.check_history(op, &result)?;
            Some(self.history(&result, op, location, overwrite || !exclusive))
        } else {
            None
        };
        // What the operation itself saved of this tensor moves to where the old elements go.
        if let Some(node) = node {
            if swaps && let Some(saved) = &mut *node.saved.lock() {
                for output in saved.output_mut().into_iter().filter(|o| o.is_in(&fresh)) {
                    output.move_to(storage, storage.version().wrapping_add(1));
                }
            }
            node.visit_saved(started, &mut |saved| {
                match saved.is_in(storage) {
                    true if swaps => saved.move_to(&fresh, fresh.version()),
                    true => saved.move_to_copy()?,
                    false => {}
                }
                Ok(())
            })?;
        }
        if swaps {
            let swapped = storage.swap(&fresh);
            swapped.map_err(|e| crate::cuda::failed(op, e))?;
        } else {
            copy_into(&result, self)?;
        }
        if let Some(history) = history {
            self.0
                .base
                .as_ref()
                .unwrap_or(self)
                .rewrite_history(history);
        }
        storage.bump_version();
        note_writer(storage, op, location);
        Ok(self.clone())
    }

    /// Whether a history can say what writing `result` here does.
    #[track_caller]
    fn check_history(&self, op: &'static str, result: &Tensor) -> Result<()> {
        let Some(base) = &self.0.base else {
            return Ok(());
        };
        if result.tracked() && self.is_no_grad_view() {
            return Err(no_grad_view(op));
        }
        if Geometry::of(self).overlaps() || Geometry::of(base).overlaps() {
            return Err(Error::new(
                op,
                "several elements of the view or of its base are one place in memory, so the gradient would be ambiguous; copy() it first",
            ));
        }
        Ok(())
    }

    /// The history of this tensor, or of its base where it is a view, once `result` is written.
    fn history(
        &self,
        result: &Tensor,
        op: &'static str,
        location: &'static Location<'static>,
        overwrite: bool,
    ) -> Arc<Node> {
        if let Some(base) = &self.0.base {
            let slices = CopySlices {
                base: Geometry::of(base),
                view: Geometry::of(self),
            };
            let inputs = smallvec![Input::of(base), Input::of(result)];
            return Arc::new(Node::new(slices, inputs, SavedSet::default(), location));
        }
        match result.edge() {
            Edge::Node(node) if !overwrite => node,
            _ => {
                let inputs = smallvec![Input::of(self), Input::of(result)];
                let saved = SavedSet::default();
                Arc::new(Node::new(Overwrite(op), inputs, saved, location))
            }
        }
    }
}

#[track_caller]
fn no_grad_view(op: &'static str) -> Error {
    Error::new(
        op,
        "this view was made in no_grad or inference_mode, so a change through it could not be recorded; make the view with recording on, or change it in no_grad too",
    )
}
