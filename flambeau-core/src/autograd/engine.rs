//! The backward walk.
//!
//! Nodes are numbered as they are created, so every edge leads to a smaller number, and the
//! largest number among the pending nodes has received all its gradients: a heap orders the walk,
//! and no pass to count dependencies is needed. Nothing recurses.

use super::checkpoint::Touched;
use super::{Ctx, Edge, Input, Node, set_grad_enabled};
use crate::ops::format::{copy_like, lies_like};
use crate::tensor::Tensor;
use crate::{Error, Result, bail};
use smallvec::SmallVec;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::Location;
use std::sync::Arc;

/// Options of a backward pass that accumulates into the leaves' `grad`
/// ([`torch.autograd.backward`](https://pytorch.org/docs/stable/generated/torch.autograd.backward.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_core::autograd::Backward;
/// let x = Tensor::ones([2])?.requires_grad_(true)?;
/// let y = x.square()?.sum()?;
/// Backward::new().retain_graph(true).run(&[&y])?;
/// y.backward()?;
/// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [4.0, 4.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Default)]
pub struct Backward {
    gradients: Vec<Tensor>,
    retain_graph: Option<bool>,
    create_graph: bool,
    inputs: Option<Vec<Tensor>>,
}

impl Backward {
    /// The defaults: implicit gradient 1, graph freed, no second order, all leaves.
    pub fn new() -> Backward {
        Backward::default()
    }

    /// The gradient to start from, of the output's shape; one call for each output.
    #[must_use]
    pub fn gradient(mut self, gradient: &Tensor) -> Backward {
        self.gradients.push(gradient.clone());
        self
    }

    /// Keeps what was saved, for another pass over the same graph. Default: as `create_graph`.
    #[must_use]
    pub fn retain_graph(mut self, retain: bool) -> Backward {
        self.retain_graph = Some(retain);
        self
    }

    /// Records the backward pass itself, for derivatives of higher order.
    #[must_use]
    pub fn create_graph(mut self, create: bool) -> Backward {
        self.create_graph = create;
        self
    }

    /// Accumulates into these tensors alone.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_core::autograd::Backward;
    /// let a = Tensor::ones([1])?.requires_grad_(true)?;
    /// let b = Tensor::ones([1])?.requires_grad_(true)?;
    /// Backward::new().inputs(&[&a]).run(&[&a.mul(&b)?])?;
    /// assert!(a.grad().is_some() && b.grad().is_none());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[must_use]
    pub fn inputs(mut self, inputs: &[&Tensor]) -> Backward {
        self.inputs = Some(inputs.iter().map(|&t| t.clone()).collect());
        self
    }

    /// Runs the pass from `outputs`.
    ///
    /// # Errors
    /// As [`Tensor::backward`].
    #[track_caller]
    pub fn run(self, outputs: &[&Tensor]) -> Result<()> {
        let roots = roots("backward", outputs, &self.gradients)?;
        let retain = self.retain_graph.unwrap_or(self.create_graph);
        let Some(inputs) = &self.inputs else {
            return walk(roots, retain, self.create_graph, None).map(|_| ());
        };
        if inputs.is_empty() {
            bail!(
                "backward",
                "inputs is empty; leave it out to accumulate into every leaf"
            );
        }
        if let Some(i) = inputs.iter().position(|x| !x.requires_grad()) {
            bail!(
                "backward",
                "input {i} does not require gradients; call requires_grad_(true) on it before the forward pass"
            );
        }
        let grads = walk(roots, retain, self.create_graph, Some(inputs))?;
        for (input, grad) in inputs.iter().zip(grads) {
            if let Some(grad) = grad {
                accumulate(input, grad, self.create_graph)?;
            }
        }
        Ok(())
    }
}

/// Options of [`grad`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Grad {
    /// Keep what was saved, for another pass. `None`: as `create_graph`.
    pub retain_graph: Option<bool>,
    /// Record the pass itself, for derivatives of higher order.
    pub create_graph: bool,
    /// Give `None` for inputs the outputs do not depend on, instead of an error.
    pub allow_unused: bool,
}

/// The gradients of `outputs` with respect to `inputs`, returned rather than accumulated
/// ([`torch.autograd.grad`](https://pytorch.org/docs/stable/generated/torch.autograd.grad.html)).
/// `grad_outputs` may be empty where every output has one element.
///
/// ```
/// use flambeau_core::{Tensor, autograd::{Grad, grad}};
/// let x = Tensor::full((), 3.0)?.requires_grad_(true)?;
/// let y = x.square()?.mul(&x)?;
/// let first = grad(&[&y], &[&x], &[], Grad { create_graph: true, ..Grad::default() })?[0].clone().unwrap();
/// let second = grad(&[&first], &[&x], &[], Grad::default())?[0].clone().unwrap();
/// assert_eq!((first.item::<f32>()?, second.item::<f32>()?), (27.0, 18.0));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where an output is in no graph, an input does not require gradients, or an input is unused
/// and `allow_unused` is off.
#[track_caller]
pub fn grad(
    outputs: &[&Tensor],
    inputs: &[&Tensor],
    grad_outputs: &[&Tensor],
    options: Grad,
) -> Result<Vec<Option<Tensor>>> {
    let gradients: Vec<Tensor> = grad_outputs.iter().map(|&t| t.clone()).collect();
    let roots = roots("grad", outputs, &gradients)?;
    let inputs: Vec<Tensor> = inputs.iter().map(|&t| t.clone()).collect();
    if let Some(i) = inputs.iter().position(|x| !x.requires_grad()) {
        bail!(
            "grad",
            "input {i} does not require gradients; call requires_grad_(true) on it before the forward pass"
        );
    }
    let grads = walk(
        roots,
        options.retain_graph.unwrap_or(options.create_graph),
        options.create_graph,
        Some(&inputs),
    )?;
    if !options.allow_unused
        && let Some(i) = grads.iter().position(Option::is_none)
    {
        bail!(
            "grad",
            "the outputs do not depend on input {i}; set allow_unused to get None for it"
        );
    }
    Ok(grads)
}

#[track_caller]
fn roots(
    op: &'static str,
    outputs: &[&Tensor],
    gradients: &[Tensor],
) -> Result<Vec<(Edge, Tensor)>> {
    if !gradients.is_empty() && gradients.len() != outputs.len() {
        bail!(
            op,
            "{} gradients were given for {} outputs",
            gradients.len(),
            outputs.len()
        );
    }
    let mut roots = Vec::with_capacity(outputs.len());
    for (i, output) in outputs.iter().enumerate() {
        let gradient = match gradients.get(i) {
            Some(g) if g.shape() == output.shape() => g.clone(),
            Some(g) => bail!(
                op,
                "the gradient has shape {:?}, the output {:?}; they must be the same",
                g.shape(),
                output.shape()
            ),
            None if output.numel() == 1 => Tensor::ones_like(&output.detach())?,
            None => bail!(
                op,
                "the output has shape {:?}; a gradient is implied only for one element. Reduce it (sum, mean) or give a gradient",
                output.shape()
            ),
        };
        match output.edge() {
            Edge::None => bail!(
                op,
                "the output requires no gradient and has no history: no input of it required gradients, or it was computed in no_grad"
            ),
            edge => roots.push((edge, gradient)),
        }
    }
    Ok(roots)
}

/// Sequence numbers hash as themselves.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed")
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = v;
    }
    fn write_usize(&mut self, v: usize) {
        self.0 = v as u64;
    }
}

type ById<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

/// A pending node; the heap orders by number.
struct Ready(Arc<Node>);

impl PartialEq for Ready {
    fn eq(&self, other: &Ready) -> bool {
        self.0.seq == other.0.seq
    }
}
impl Eq for Ready {}
impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Ready) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ready {
    fn cmp(&self, other: &Ready) -> std::cmp::Ordering {
        self.0.seq.cmp(&other.0.seq)
    }
}

/// The nodes that have received a gradient and wait for their turn, each once, with the sum of
/// what it received.
#[derive(Default)]
struct Pending {
    /// The one whose turn is next. In a chain it is the only one, and so meets neither heap nor map.
    next: Option<(Arc<Node>, Tensor)>,
    heap: BinaryHeap<Ready>,
    /// The gradients of the nodes in the heap.
    grads: ById<Tensor>,
}

impl Pending {
    fn push(&mut self, node: &Arc<Node>, grad: Tensor) -> Result<()> {
        match self.next.take() {
            None => self.next = Some((node.clone(), grad)),
            Some((next, sum)) if next.seq == node.seq => {
                self.next = Some((next, add_grads(sum, grad)?));
            }
            Some((next, sum)) if next.seq < node.seq => {
                self.next = Some((node.clone(), grad));
                self.grads.insert(next.seq, sum);
                self.heap.push(Ready(next));
            }
            next => {
                self.next = next;
                match self.grads.remove(&node.seq) {
                    Some(sum) => {
                        self.grads.insert(node.seq, add_grads(sum, grad)?);
                    }
                    None => {
                        self.grads.insert(node.seq, grad);
                        self.heap.push(Ready(node.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<(Arc<Node>, Tensor)> {
        let due = self.next.take()?;
        self.next = self.heap.pop().and_then(|Ready(node)| {
            let grad = self.grads.remove(&node.seq)?;
            Some((node, grad))
        });
        Some(due)
    }
}

/// The tensors whose gradients are wanted, and the nodes on the way to them.
struct Targets {
    leaves: ById<Vec<usize>>,
    nodes: ById<Vec<usize>>,
    on_the_way: HashSet<u64>,
}

fn leaf_id(t: &Tensor) -> u64 {
    Arc::as_ptr(&t.0) as usize as u64
}

impl Targets {
    fn new(inputs: &[Tensor], roots: &[(Edge, Tensor)]) -> Targets {
        let mut t = Targets {
            leaves: ById::default(),
            nodes: ById::default(),
            on_the_way: HashSet::new(),
        };
        for (i, input) in inputs.iter().enumerate() {
            match input.edge() {
                Edge::Node(node) => t.nodes.entry(node.seq).or_default().push(i),
                _ => t.leaves.entry(leaf_id(input)).or_default().push(i),
            }
        }
        // All nodes reachable, then upwards by number: a node's inputs are settled before it.
        let mut reached: HashMap<u64, Arc<Node>> = HashMap::new();
        let mut stack: Vec<Arc<Node>> = roots
            .iter()
            .filter_map(|(e, _)| e.node().cloned())
            .collect();
        while let Some(node) = stack.pop() {
            if reached.contains_key(&node.seq) {
                continue;
            }
            stack.extend(node.inputs.iter().filter_map(|i| i.edge.node().cloned()));
            reached.insert(node.seq, node);
        }
        let mut order: Vec<&Arc<Node>> = reached.values().collect();
        order.sort_unstable_by_key(|n| n.seq);
        for node in order {
            if node.inputs.iter().any(|i| t.wants(&i.edge)) {
                t.on_the_way.insert(node.seq);
            }
        }
        t
    }

    fn wants(&self, edge: &Edge) -> bool {
        match edge {
            Edge::None => false,
            Edge::Leaf(leaf) => self.leaves.contains_key(&leaf_id(leaf)),
            Edge::Node(n) => self.nodes.contains_key(&n.seq) || self.on_the_way.contains(&n.seq),
        }
    }
}

impl Edge {
    fn node(&self) -> Option<&Arc<Node>> {
        match self {
            Edge::Node(node) => Some(node),
            _ => None,
        }
    }
}

/// Walks from `roots`. With `inputs`, returns their gradients and accumulates nowhere.
#[track_caller]
fn walk(
    roots: Vec<(Edge, Tensor)>,
    retain: bool,
    create: bool,
    inputs: Option<&[Tensor]>,
) -> Result<Vec<Option<Tensor>>> {
    let called = Location::caller();
    let _mode = set_grad_enabled(create);
    let _types = crate::autocast::suspend();
    let _memory = crate::cuda::scope::role(crate::cuda::scope::Role::Gradient);
    let mut touched = Touched::default();
    let targets = inputs.map(|inputs| Targets::new(inputs, &roots));
    let mut captured: Vec<Option<Tensor>> = vec![None; inputs.map_or(0, <[Tensor]>::len)];
    let mut pending = Pending::default();
    let mut leaf_sums: ById<(Tensor, Tensor)> = ById::default();

    let mut send = |edge: &Edge, grad: Tensor, pending: &mut Pending| -> Result<()> {
        match edge {
            Edge::None => {}
            Edge::Leaf(leaf) => match leaf_sums.remove(&leaf_id(leaf)) {
                Some((leaf, sum)) => {
                    leaf_sums.insert(leaf_id(&leaf), (leaf, add_grads(sum, grad)?));
                }
                None => {
                    leaf_sums.insert(leaf_id(leaf), (leaf.clone(), grad));
                }
            },
            Edge::Node(node) => pending.push(node, grad)?,
        }
        Ok(())
    };

    for (edge, grad) in roots {
        send(&edge, grad, &mut pending)?;
    }
    while let Some((node, mut grad)) = pending.pop() {
        if let Some((hooks, retained)) = node.hooked() {
            grad = run_hooks(&hooks, grad)?;
            for t in retained {
                accumulate(&t, grad.clone(), create)?;
            }
        }
        if let Some(t) = &targets {
            for &i in t.nodes.get(&node.seq).into_iter().flatten() {
                captured[i] = Some(grad.clone());
            }
            if !t.on_the_way.contains(&node.seq) {
                continue;
            }
        }
        let needs: SmallVec<[bool; 4]> = node
            .inputs
            .iter()
            .map(|i| match (&i.edge, &targets) {
                (Edge::None, _) => false,
                (edge, Some(t)) => t.wants(edge),
                _ => true,
            })
            .collect();
        let saved = if retain {
            node.saved.lock().clone()
        } else {
            node.saved.lock().take()
        };
        let Some(mut saved) = saved else {
            return Err(Error::at(
                "backward",
                format!(
                    "the graph behind {} was already walked and freed; pass retain_graph(true) to the first backward to walk it twice",
                    node.op.name()
                ),
                called,
            ));
        };
        while let Some(later) = saved.take_later() {
            saved = later.resolve(&node, &mut touched)?;
        }
        let grads = node.op.backward(
            &Ctx {
                node: &node,
                saved: &saved,
                needs: &needs,
            },
            &grad,
        )?;
        drop((saved, grad));
        for ((input, grad), needed) in node.inputs.iter().zip(grads).zip(needs) {
            if let (Some(grad), true) = (grad, needed) {
                let grad = fit(grad, input)?;
                send(&input.edge, grad, &mut pending)?;
            }
        }
    }
    for (leaf, mut grad) in leaf_sums.into_values() {
        let hooks = leaf.peek_meta(|m| m.hooks.clone());
        grad = run_hooks(&hooks, grad)?;
        match &targets {
            None => accumulate(&leaf, grad, create)?,
            Some(t) => {
                for &i in t.leaves.get(&leaf_id(&leaf)).into_iter().flatten() {
                    captured[i] = Some(grad.clone());
                }
            }
        }
    }
    Ok(captured)
}

fn run_hooks(hooks: &[(u64, super::Hook)], mut grad: Tensor) -> Result<Tensor> {
    for (_, hook) in hooks {
        if let Some(new) = hook(&grad)? {
            if new.shape() != grad.shape() {
                bail!(
                    "hook",
                    "a hook returned shape {:?} for a gradient of shape {:?}",
                    new.shape(),
                    grad.shape()
                );
            }
            grad = new;
        }
    }
    Ok(grad)
}

/// Sums what broadcasting stretched, converts what promotion converted, and brings what a number on
/// the CPU gets from another device.
fn fit(grad: Tensor, input: &Input) -> Result<Tensor> {
    let grad = if *grad.shape() == input.shape[..] {
        grad
    } else {
        grad.sum_to_size(&input.shape[..])?
    };
    let grad = if grad.dtype() == input.dtype {
        grad
    } else {
        grad.to_dtype(input.dtype)?
    };
    grad.to_device(input.device)
}

/// A sum of gradients; reuses the memory of one that nobody else holds (and that was not expanded).
fn add_grads(a: Tensor, b: Tensor) -> Result<Tensor> {
    let taken = |t: &Tensor| {
        let whole = t.is_contiguous() || (t.on_cuda() && t.fills_storage());
        whole && t.is_sole_owner()
    };
    if taken(&a) {
        a.add_(&b)
    } else if taken(&b) {
        b.add_(&a)
    } else {
        a.add(&b)
    }
}

/// Adds `grad` to the tensor's; the first one is moved in where nobody else holds it. No lock is
/// held while adding, and what another thread puts there meanwhile is added too.
fn accumulate(tensor: &Tensor, grad: Tensor, create: bool) -> Result<()> {
    let mut new = if lies_like(&grad, tensor) && grad.is_sole_owner() {
        grad.without_base()
    } else if create {
        grad.copy()?
    } else {
        copy_like(&grad, tensor)?
    };
    loop {
        let old = tensor.with_meta(|m| match m.grad.take() {
            None => {
                m.grad = Some(new.clone());
                None
            }
            old => old,
        });
        let Some(old) = old else { return Ok(()) };
        let sum = if create || old.tracked() {
            old.add(&new)
        } else {
            old.add_(&new)
        };
        new = match sum {
            Ok(sum) => sum,
            Err(e) => {
                tensor.with_meta(|m| {
                    m.grad.get_or_insert(old);
                });
                return Err(e);
            }
        };
    }
}
