//! Steps of training that are captured into a CUDA graph ([`GraphedStep`]).

use crate::optim::Optimizer;
use flambeau_core::{DType, Device, Result, Tensor, cuda};

/// Steps that run as usual before one is captured: in them an optimizer makes its state, and kernels
/// are compiled.
const WARM: usize = 3;

/// Runs steps of training, and on a CUDA device captures one into a graph that it replays from then
/// on: in small networks launching kernels costs more than running them
/// ([`torch.cuda.make_graphed_callables`](https://pytorch.org/docs/stable/generated/torch.cuda.make_graphed_callables.html)
/// for the whole step). On the CPU, and for a batch of other shapes (the last one of an epoch), each
/// step runs as usual.
///
/// The first three steps run as usual too. Learning rates that change, bias corrections and random
/// numbers are those of each step. What the loss computes must not depend on elements read on the
/// host, and what it calls (dropout or not, which layers) must stay the same; call
/// [`reset`](GraphedStep::reset) when it changes, as after `eval()`.
///
/// ```
/// use flambeau_core::{Device, Tensor};
/// use flambeau_nn::optim::Sgd;
/// use flambeau_nn::{CrossEntropyLoss, Forward, GraphedStep, Linear, Module};
/// let device = Device::cuda_if_available(0);
/// let net = Linear::new(4, 3).to(device)?;
/// let criterion = CrossEntropyLoss::new();
/// let mut optimizer = Sgd::new(net.parameters(), 0.1).momentum(0.9);
/// let mut step = GraphedStep::new();
/// let (x, y) = (Tensor::ones([2, 4])?.to(device)?, Tensor::new([0i64, 2])?.to(device)?);
/// let mut losses = Vec::new();
/// for _ in 0..6 {
///     let loss = step.run(&mut optimizer, [&x, &y], |[x, y]| {
///         criterion.forward(&net.forward(x)?, y)
///     })?;
///     losses.push(loss.item::<f32>()?);
/// }
/// assert!(losses[5] < losses[0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct GraphedStep {
    /// The inputs' kinds, and how many steps of them ran as usual in a row.
    warm: Option<(Vec<Kind>, usize)>,
    captured: Option<Captured>,
}

/// Shape, type and device of an input.
type Kind = (Vec<usize>, DType, Device);

#[derive(Debug)]
struct Captured {
    kinds: Vec<Kind>,
    graph: cuda::Graph,
    inputs: Vec<Tensor>,
    loss: Tensor,
    /// What the captured backward pass made for each parameter.
    gradients: Vec<Option<Tensor>>,
    /// Whether parameters may have other gradients by now.
    stale: bool,
}

impl GraphedStep {
    /// Nothing captured yet.
    pub fn new() -> GraphedStep {
        GraphedStep::default()
    }

    /// Forgets what was captured: the next steps run as usual, and one is captured anew.
    pub fn reset(&mut self) {
        *self = GraphedStep::default();
    }

    /// Whether steps are replayed.
    pub fn is_captured(&self) -> bool {
        self.captured.is_some()
    }

    /// One step: `zero_grad`, `loss` of the inputs, its backward pass, the optimizer's step. Returns
    /// the loss, without history.
    ///
    /// # Errors
    /// Those of a step; where elements are read on the host in it (`item()`), once it is captured.
    #[track_caller]
    pub fn run<O: Optimizer + ?Sized, const N: usize>(
        &mut self,
        optimizer: &mut O,
        inputs: [&Tensor; N],
        loss: impl FnOnce([&Tensor; N]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Some(device) = inputs
            .iter()
            .map(|t| t.device())
            .find(|d| *d != Device::Cpu)
        else {
            return step(optimizer, || loss(inputs));
        };
        let kinds: Vec<Kind> = (inputs.iter())
            .map(|t| (t.shape().to_vec(), t.dtype(), t.device()))
            .collect();
        if let Some(captured) = &mut self.captured {
            if captured.kinds != kinds {
                captured.stale = true;
                return step(optimizer, || loss(inputs));
            }
            if captured.replay(optimizer, &inputs).is_ok() {
                return captured.loss.copy();
            }
            // The optimizer's step is another one now; a device that failed fails again below.
            self.reset();
        }
        let warm = match self.warm.take() {
            Some((of, steps)) if of == kinds => steps,
            _ => 0,
        };
        if warm < WARM {
            self.warm = Some((kinds, warm + 1));
            return step(optimizer, || loss(inputs));
        }
        let own = inputs.iter().map(|t| t.detach().copy());
        let own = own.collect::<Result<Vec<_>>>()?;
        let (graph, loss) = cuda::Graph::capture(device, || {
            step(optimizer, || loss(std::array::from_fn(|i| &own[i])))
        })?;
        let gradients = optimizer.parameters().iter().map(|p| p.grad()).collect();
        let result = loss.copy();
        self.captured = Some(Captured {
            kinds,
            graph,
            inputs: own,
            loss,
            gradients,
            stale: false,
        });
        result
    }
}

impl Captured {
    fn replay<O: Optimizer + ?Sized>(
        &mut self,
        optimizer: &mut O,
        inputs: &[&Tensor],
    ) -> Result<()> {
        for (own, new) in self.inputs.iter().zip(inputs) {
            own.copy_(&new.detach())?;
        }
        if std::mem::take(&mut self.stale) {
            for (p, gradient) in optimizer.parameters().iter().zip(&self.gradients) {
                p.set_grad(gradient.clone())?;
            }
        }
        optimizer.replay(&mut self.graph)
    }
}

/// A step as usual.
fn step<O: Optimizer + ?Sized>(
    optimizer: &mut O,
    loss: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    optimizer.zero_grad();
    let loss = loss()?;
    loss.backward()?;
    optimizer.step()?;
    Ok(loss.detach())
}
