//! What a user sees of the recorded graph.

use super::{Edge, Node, node_name};
use crate::tensor::Tensor;
use std::fmt;
use std::sync::Arc;

/// The operation that made a tensor, or the end of the graph at a leaf: `tensor.grad_fn` in
/// PyTorch. Prints under PyTorch's name, `<MulBackward0>` or `<AccumulateGrad>`.
///
/// Holds on to the graph behind it, as in PyTorch.
///
/// ```
/// use flambeau_core::Tensor;
/// let x = Tensor::ones([2])?.requires_grad_(true)?;
/// let y = (&x + 2) * 3;
/// let mul = y.grad_fn().unwrap();
/// assert_eq!(mul.to_string(), "<MulBackward0>");
/// // The inputs in order; the number 3 takes no part.
/// let [add, None] = &mul.next_functions()[..] else { unreachable!() };
/// let add = add.as_ref().unwrap();
/// assert_eq!(add.name(), "AddBackward0");
/// let leaf = add.next_functions()[0].clone().unwrap();
/// assert_eq!(leaf.to_string(), "<AccumulateGrad>");
/// assert!(leaf.variable().unwrap().is(&x));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct GradFn(At);

#[derive(Clone)]
enum At {
    Node(Arc<Node>),
    Leaf(Tensor),
}

impl GradFn {
    pub(crate) fn of(node: Arc<Node>) -> GradFn {
        GradFn(At::Node(node))
    }

    /// PyTorch's name: `MulBackward0`; `AccumulateGrad` at a leaf.
    pub fn name(&self) -> String {
        match &self.0 {
            At::Node(node) => node_name(node.op.name()),
            At::Leaf(_) => "AccumulateGrad".into(),
        }
    }

    /// Where the gradient flows next: an entry for each input, `None` for one that takes no part
    /// in differentiation. Empty at a leaf.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::ones([2])?.requires_grad_(true)?;
    /// let node = x.exp()?.sum()?.grad_fn().unwrap();
    /// let next = node.next_functions()[0].clone().unwrap();
    /// assert_eq!((node.name(), next.name()), ("SumBackward0".into(), "ExpBackward0".into()));
    /// assert!(next.next_functions()[0].as_ref().unwrap().variable().unwrap().is(&x));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn next_functions(&self) -> Vec<Option<GradFn>> {
        let At::Node(node) = &self.0 else {
            return Vec::new();
        };
        let next = |edge: &Edge| match edge {
            Edge::None => None,
            Edge::Leaf(leaf) => Some(GradFn(At::Leaf(leaf.clone()))),
            Edge::Node(node) => Some(GradFn::of(node.clone())),
        };
        node.inputs.iter().map(|input| next(&input.edge)).collect()
    }

    /// The leaf whose gradient accumulates here; `None` elsewhere.
    pub fn variable(&self) -> Option<Tensor> {
        match &self.0 {
            At::Node(_) => None,
            At::Leaf(leaf) => Some(leaf.clone()),
        }
    }
}

impl fmt::Display for GradFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.name())
    }
}

impl fmt::Debug for GradFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
