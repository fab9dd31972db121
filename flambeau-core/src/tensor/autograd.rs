//! `requires_grad`, `grad`, `backward` and their kin on the handle.

use super::{Inner, Meta, Tensor};
use crate::autograd::{Backward, GradFn, Node};
use crate::{Result, bail};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Removes a hook set by [`Tensor::register_hook`]. Keeps nothing alive; dropping it leaves the
/// hook in place.
///
/// ```
/// use flambeau_core::Tensor;
/// let x = Tensor::ones([1])?.requires_grad_(true)?;
/// x.register_hook(|g| g.mul(10).map(Some))?.remove();
/// x.sum()?.backward()?;
/// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [1.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
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
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?;
    /// assert!(!x.requires_grad());
    /// assert!(x.requires_grad_(true)?.exp()?.requires_grad());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn requires_grad(&self) -> bool {
        self.tracked()
    }

    /// Asks for a gradient of this leaf, or no longer; returns the same tensor
    /// ([`torch.Tensor.requires_grad_`](https://pytorch.org/docs/stable/generated/torch.Tensor.requires_grad_.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// assert!(x.is_leaf() && x.requires_grad());
    /// assert!(Tensor::new([1i64])?.requires_grad_(true).is_err());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
                "a tensor made in inference_mode cannot require gradients; copy() it outside first"
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
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// assert!(x.is_leaf() && !x.exp()?.is_leaf());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn is_leaf(&self) -> bool {
        self.node().is_none()
    }

    /// The accumulated gradient; of leaves, and of others after [`retain_grad`](Tensor::retain_grad).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([1.0f32, 2.0])?.requires_grad_(true)?;
    /// x.square()?.sum()?.backward()?;
    /// x.square()?.sum()?.backward()?;
    /// // Of two passes: 2 * 2x.
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [4.0, 8.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn grad(&self) -> Option<Tensor> {
        self.peek_meta(|m| m.grad.clone())
    }

    /// Replaces the gradient.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// x.set_grad(Some(Tensor::new([3.0f32, 4.0])?))?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [3.0, 4.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// x.sum()?.backward()?;
    /// x.zero_grad();
    /// assert!(x.grad().is_none());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// assert_eq!((&x * &x).grad_fn().unwrap().name(), "MulBackward0");
    /// assert!(x.grad_fn().is_none());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn grad_fn(&self) -> Option<GradFn> {
        self.node().map(GradFn::of)
    }

    /// Keeps the gradient of this non-leaf tensor too, in [`grad`](Tensor::grad)
    /// ([`torch.Tensor.retain_grad`](https://pytorch.org/docs/stable/generated/torch.Tensor.retain_grad.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([3.0f32])?.requires_grad_(true)?;
    /// let y = x.square()?;
    /// y.retain_grad()?;
    /// y.square()?.sum()?.backward()?;
    /// assert_eq!(y.grad().unwrap().to_vec::<f32>()?, [18.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
    /// the gradient's place
    /// ([`torch.Tensor.register_hook`](https://pytorch.org/docs/stable/generated/torch.Tensor.register_hook.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([1])?.requires_grad_(true)?;
    /// x.register_hook(|g| g.mul(10).map(Some))?;
    /// x.sum()?.backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [10.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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

    /// Gradients of this one-element tensor with respect to every leaf, accumulated into `grad`
    /// ([`torch.Tensor.backward`](https://pytorch.org/docs/stable/generated/torch.Tensor.backward.html)).
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
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_core::autograd::Backward;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// let y = x.mul(3)?;
    /// y.backward_with(Backward::new().gradient(&Tensor::new([1.0f32, 10.0])?))?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [3.0, 30.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`backward`](Tensor::backward).
    #[track_caller]
    pub fn backward_with(&self, options: Backward) -> Result<()> {
        options.run(&[self])
    }

    /// The same elements outside of the graph; memory is shared, changes in place are seen by both
    /// ([`torch.Tensor.detach`](https://pytorch.org/docs/stable/generated/torch.Tensor.detach.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// let y = x.detach();
    /// assert!(!y.requires_grad() && y.shares_storage(&x));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::ones([2])?.requires_grad_(true)?.exp()?;
    /// assert!(y.detach_()?.is_leaf() && !y.requires_grad());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
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
