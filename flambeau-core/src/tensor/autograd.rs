//! `requires_grad`, `grad`, `backward` and their kin on the handle.

use super::{Inner, Meta, Tensor};
use crate::autograd::{Backward, GradFn, Node};
use crate::{Result, bail};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Removes a hook set by [`Tensor::register_hook`]. Keeps nothing alive; dropping it leaves the
/// hook in place.
#[derive(Debug)]
pub struct HookHandle {
    on: On,
    id: u64,
}

#[derive(Debug)]
enum On {
    Leaf(Weak<Inner>),
    Node(Weak<Node>),
}

impl HookHandle {
    /// The hook is not called any more.
    pub fn remove(self) {
        match self.on {
            On::Leaf(leaf) => {
                if let Some(leaf) = leaf.upgrade() {
                    Tensor(leaf).with_meta(|m| m.hooks.retain(|(id, _)| *id != self.id));
                }
            }
            On::Node(node) => {
                if let Some(node) = node.upgrade() {
                    node.hooks().list.retain(|(id, _)| *id != self.id);
                }
            }
        }
    }
}

impl Tensor {
    /// Whether gradients flow to or through this tensor.
    pub fn requires_grad(&self) -> bool {
        self.tracked()
    }

    /// Asks for a gradient of this leaf, or no longer; returns the same tensor.
    ///
    /// # Errors
    /// For integer and bool tensors, for results of recorded operations (use
    /// [`detach`](Tensor::detach) to leave the graph) and for inference tensors.
    #[track_caller]
    pub fn requires_grad_(&self, requires_grad: bool) -> Result<Tensor> {
        if requires_grad && !self.dtype().is_floating_point() {
            bail!(
                "requires_grad_",
                "only floating-point tensors can require gradients; this one is {}",
                self.dtype()
            );
        }
        if requires_grad && self.is_inference() {
            bail!(
                "requires_grad_",
                "a tensor made in inference_mode cannot require gradients; clone() it outside first"
            );
        }
        if !requires_grad && self.node().is_some() {
            bail!(
                "requires_grad_",
                "only a leaf can stop requiring gradients; use detach() on the result of an operation"
            );
        }
        if self.node().is_none() {
            self.set_tracked(requires_grad);
        }
        Ok(self.clone())
    }

    /// Whether the user made this tensor, rather than a recorded operation.
    pub fn is_leaf(&self) -> bool {
        self.node().is_none()
    }

    /// The accumulated gradient; of leaves, and of others after [`retain_grad`](Tensor::retain_grad).
    pub fn grad(&self) -> Option<Tensor> {
        self.peek_meta(|m| m.grad.clone())
    }

    /// Replaces the gradient.
    ///
    /// # Errors
    /// Where shape, type or device differ from the tensor's.
    #[track_caller]
    pub fn set_grad(&self, grad: Option<Tensor>) -> Result<()> {
        if let Some(g) = &grad
            && (g.shape() != self.shape() || g.dtype() != self.dtype())
        {
            bail!(
                "set_grad",
                "a gradient must be like its tensor: got {:?} {}, need {:?} {}",
                g.shape(),
                g.dtype(),
                self.shape(),
                self.dtype()
            );
        }
        self.with_meta(|m| m.grad = grad);
        Ok(())
    }

    /// Drops the gradient, as `optimizer.zero_grad()` does (`set_to_none=True`).
    pub fn zero_grad(&self) {
        // Taken out under the lock, dropped outside of it.
        let _old = self
            .0
            .meta
            .lock()
            .as_deref_mut()
            .and_then(|m: &mut Meta| m.grad.take());
    }

    /// The recorded operation that made this tensor; `None` for leaves.
    pub fn grad_fn(&self) -> Option<GradFn> {
        self.node().map(GradFn::of)
    }

    /// Keeps the gradient of this non-leaf tensor too, in [`grad`](Tensor::grad).
    ///
    /// # Errors
    /// Where the tensor does not require gradients.
    #[track_caller]
    pub fn retain_grad(&self) -> Result<()> {
        if !self.requires_grad() {
            bail!("retain_grad", "this tensor does not require gradients");
        }
        let Some(node) = self.node() else {
            return Ok(());
        };
        if self.with_meta(|m| std::mem::replace(&mut m.retain_grad, true)) {
            return Ok(());
        }
        node.hooks().retain(self);
        Ok(())
    }

    /// Calls `hook` with this tensor's gradient during each backward pass; what it returns takes
    /// the gradient's place.
    ///
    /// # Errors
    /// Where the tensor does not require gradients.
    #[track_caller]
    pub fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if !self.requires_grad() {
            bail!(
                "register_hook",
                "a hook needs a tensor that requires gradients"
            );
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let on = match self.node() {
            Some(node) => {
                node.hooks().list.push((id, Arc::new(hook)));
                On::Node(Arc::downgrade(&node))
            }
            None => {
                self.with_meta(|m| m.hooks.push((id, Arc::new(hook))));
                On::Leaf(Arc::downgrade(&self.0))
            }
        };
        Ok(HookHandle { on, id })
    }

    /// Gradients of this one-element tensor with respect to every leaf, accumulated into `grad`.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2, 2])?.requires_grad_(true)?;
    /// let y = (&x + 2.0).square()? * 3.0;
    /// y.mean()?.backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [4.5; 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the tensor has more than one element (see [`Backward::gradient`]), is in no graph, or
    /// the graph was already used and freed.
    #[track_caller]
    pub fn backward(&self) -> Result<()> {
        Backward::new().run(&[self])
    }

    /// [`backward`](Tensor::backward) with options.
    #[track_caller]
    pub fn backward_with(&self, options: Backward) -> Result<()> {
        options.run(&[self])
    }

    /// The same elements outside of the graph; memory is shared, changes in place are seen by both.
    pub fn detach(&self) -> Tensor {
        let t = &self.0;
        let d = Tensor::make(
            t.storage.clone(),
            t.shape.clone(),
            t.strides.clone(),
            t.offset,
            t.dtype,
            None,
        );
        if self.is_inference() {
            d.mark_inference();
        }
        d
    }

    /// The same as [`detach`](Tensor::detach). PyTorch's `.data` hides changes made through it from
    /// the version check, which gives wrong gradients in silence; this one does not.
    pub fn data(&self) -> Tensor {
        self.detach()
    }

    /// Takes this tensor itself out of the graph.
    ///
    /// # Errors
    /// For views, whose history belongs to their base.
    #[track_caller]
    pub fn detach_(&self) -> Result<Tensor> {
        if self.is_view() {
            bail!(
                "detach_",
                "a view cannot be detached in place; use detach()"
            );
        }
        self.forget_node();
        Ok(self.clone())
    }
}
