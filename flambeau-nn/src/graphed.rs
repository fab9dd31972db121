//! Steps of training that are captured into a CUDA graph ([`GraphedStep`]).

use crate::amp::GradScaler;
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
    /// Of a step with a scaler: what says whether it was skipped.
    found: Option<Tensor>,
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
        self.run_with(optimizer, None, inputs, loss)
    }

    /// [`run`](GraphedStep::run) with a scaler, for `f16`: its `scale`, `step` and `update` are part of
    /// the step. The scale of a captured step is kept on the device, which skips the update itself where
    /// a gradient has overflowed ([`GradScaler::to_device`]); steps that were skipped are none of the three
    /// usual ones before.
    ///
    /// ```
    /// use flambeau_core::{DType, Device, Tensor, autocast};
    /// use flambeau_nn::amp::GradScaler;
    /// use flambeau_nn::optim::Sgd;
    /// use flambeau_nn::{Forward, GraphedStep, Linear, Module};
    /// let device = Device::cuda_if_available(0);
    /// let net = Linear::new(4, 3).to(device)?;
    /// let mut optimizer = Sgd::new(net.parameters(), 0.1);
    /// let mut scaler = GradScaler::new().init_scale(1024.0);
    /// let mut step = GraphedStep::new();
    /// let x = Tensor::ones([2, 4])?.to(device)?;
    /// for _ in 0..6 {
    ///     step.run_scaled(&mut optimizer, &mut scaler, [&x], |[x]| {
    ///         autocast((device, DType::F16), || net.forward(x)?.square()?.mean())
    ///     })?;
    /// }
    /// assert_eq!(scaler.get_scale(), 1024.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of `run`, and of the scaler's methods.
    #[track_caller]
    pub fn run_scaled<O: Optimizer + ?Sized, const N: usize>(
        &mut self,
        optimizer: &mut O,
        scaler: &mut GradScaler,
        inputs: [&Tensor; N],
        loss: impl FnOnce([&Tensor; N]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let scaler = scaler.is_enabled().then_some(scaler);
        self.run_with(optimizer, scaler, inputs, loss)
    }

    #[track_caller]
    fn run_with<O: Optimizer + ?Sized, const N: usize>(
        &mut self,
        optimizer: &mut O,
        mut scaler: Option<&mut GradScaler>,
        inputs: [&Tensor; N],
        loss: impl FnOnce([&Tensor; N]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Some(device) = inputs
            .iter()
            .map(|t| t.device())
            .find(|d| *d != Device::Cpu)
        else {
            return Ok(step(optimizer, scaler, || loss(inputs))?.0);
        };
        let kinds: Vec<Kind> = (inputs.iter())
            .map(|t| (t.shape().to_vec(), t.dtype(), t.device()))
            .collect();
        if let Some(captured) = &mut self.captured {
            if captured.kinds != kinds {
                captured.stale = true;
                return Ok(step(optimizer, scaler, || loss(inputs))?.0);
            }
            let scaler = scaler.as_deref_mut();
            if captured.replay(optimizer, scaler, &inputs).is_ok() {
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
            let (loss, done) = step(optimizer, scaler, || loss(inputs))?;
            self.warm = Some((kinds, warm + usize::from(done)));
            return Ok(loss);
        }
        let own = inputs.iter().map(|t| t.detach().copy());
        let own = own.collect::<Result<Vec<_>>>()?;
        if let Some(scaler) = scaler.as_deref_mut() {
            scaler.to_device(device)?;
            scaler.settle(optimizer)?;
        }
        let (graph, (loss, _)) = cuda::Graph::capture(device, || {
            let scaler = scaler.as_deref_mut();
            step(optimizer, scaler, || loss(std::array::from_fn(|i| &own[i])))
        })?;
        let found = scaler.and_then(|s| s.found(optimizer));
        let gradients = optimizer.parameters().iter().map(|p| p.grad()).collect();
        let result = loss.copy();
        self.captured = Some(Captured {
            kinds,
            graph,
            inputs: own,
            loss,
            gradients,
            stale: false,
            found,
        });
        result
    }
}

impl Captured {
    fn replay<O: Optimizer + ?Sized>(
        &mut self,
        optimizer: &mut O,
        mut scaler: Option<&mut GradScaler>,
        inputs: &[&Tensor],
    ) -> Result<()> {
        if let Some(scaler) = scaler.as_deref_mut() {
            scaler.settle(optimizer)?;
        }
        for (own, new) in self.inputs.iter().zip(inputs) {
            own.copy_(&new.detach())?;
        }
        if std::mem::take(&mut self.stale) {
            for (p, gradient) in optimizer.parameters().iter().zip(&self.gradients) {
                p.set_grad(gradient.clone())?;
            }
        }
        optimizer.replay(&mut self.graph)?;
        if let (Some(scaler), Some(found)) = (scaler, &self.found) {
            scaler.note(optimizer, found);
        }
        Ok(())
    }
}

/// A step as usual: the loss, and whether the optimizer has stepped.
fn step<O: Optimizer + ?Sized>(
    optimizer: &mut O,
    scaler: Option<&mut GradScaler>,
    loss: impl FnOnce() -> Result<Tensor>,
) -> Result<(Tensor, bool)> {
    optimizer.zero_grad();
    let loss = loss()?;
    let done = match scaler {
        None => {
            loss.backward()?;
            optimizer.step()?;
            true
        }
        Some(scaler) => {
            scaler.scale(&loss)?.backward()?;
            let done = scaler.step(optimizer)?;
            scaler.update()?;
            done
        }
    };
    Ok((loss.detach(), done))
}
