//! What every in-place operation does: check, write, count the version, rewrite the history.

use super::Tensor;
use crate::autograd::{Edge, Input, SavedSet, is_grad_enabled, is_inference_mode, note_writer};
use crate::dispatch::new_node;
use crate::ops::elementwise::copy_into;
use crate::ops::view::AsStridedScatter;
use crate::{Error, Result};
use smallvec::smallvec;
use std::panic::Location;

impl Tensor {
    /// Whether `op` may write here.
    #[track_caller]
    pub(crate) fn check_inplace(&self, op: &'static str) -> Result<()> {
        let t = &self.0;
        if t.shape
            .iter()
            .zip(&t.strides)
            .any(|(&d, &s)| d > 1 && s == 0)
        {
            return Err(Error::new(
                op,
                format!(
                    "the tensor of shape {:?} was expanded: several of its elements are one place in memory; clone() it first",
                    self.shape()
                ),
            ));
        }
        if self.is_inference() && !is_inference_mode() {
            return Err(Error::new(
                op,
                "a tensor made in inference_mode cannot be changed outside of it; clone() it first",
            ));
        }
        if !is_grad_enabled() {
            return Ok(());
        }
        let owner = t.base.as_ref().unwrap_or(self);
        if owner.tracked() && owner.is_leaf() {
            let what = if t.base.is_some() {
                "a view of a leaf"
            } else {
                "a leaf"
            };
            return Err(Error::new(
                op,
                format!(
                    "{what} that requires gradients cannot be changed in place; do it in no_grad, or use the out-of-place form"
                ),
            ));
        }
        Ok(())
    }

    /// Makes this tensor what `result` is, in place: elements, and history where recording is on.
    /// Call [`check_inplace`](Tensor::check_inplace) before `result` is computed.
    #[track_caller]
    pub(crate) fn assign(&self, op: &'static str, result: Tensor) -> Result<Tensor> {
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
        if is_grad_enabled() && (result.tracked() || self.tracked()) {
            self.take_history(&result, op, location);
        }
        let whole = self.0.offset == 0
            && self.is_contiguous()
            && self.numel() * self.dtype().size() == self.0.storage.bytes();
        if whole
            && result.0.base.is_none()
            && result.is_contiguous()
            && result.0.storage.is_unique()
        {
            self.0.storage.swap(&result.0.storage);
        } else {
            copy_into(&result, self)?;
        }
        self.0.storage.bump_version();
        note_writer(&self.0.storage, op, location);
        Ok(self.clone())
    }

    fn take_history(
        &self,
        result: &Tensor,
        op: &'static str,
        location: &'static Location<'static>,
    ) {
        let input = |t: &Tensor| Input {
            edge: t.edge(),
            shape: t.0.shape.clone(),
            dtype: t.dtype(),
        };
        match &self.0.base {
            None => {
                let node = match result.edge() {
                    Edge::None => None,
                    Edge::Node(node) => Some(node),
                    // A leaf was copied as it is: the copy needs a node of its own.
                    Edge::Leaf(_) => Some(new_node(
                        crate::ops::view::Identity(op),
                        smallvec![input(result)],
                        SavedSet::default(),
                        location,
                    )),
                };
                self.rewrite_history(node);
            }
            Some(base) => {
                let scatter = AsStridedScatter::of(self, base);
                let node = new_node(
                    scatter,
                    smallvec![input(base), input(result)],
                    SavedSet::default(),
                    location,
                );
                base.rewrite_history(Some(node));
            }
        }
    }
}
