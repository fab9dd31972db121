//! Work captured into a graph: [`Graph`], and how an optimizer's numbers get into its replays.

use super::{device, failed, random};
use crate::{Device, Error, Result};
use flambeau_cuda as cuda;
use flambeau_cuda::{Numbers, kernels::NUMBERS};
use std::cell::RefCell;

/// Work on a CUDA device that was captured as it was done, and is done again as a whole
/// ([`torch.cuda.CUDAGraph`](https://pytorch.org/docs/stable/generated/torch.cuda.CUDAGraph.html),
/// [`torch.cuda.graph`](https://pytorch.org/docs/stable/generated/torch.cuda.graph.html)): a replay
/// costs one launch, where a step of training costs hundreds.
///
/// A replay repeats the same kernels on the same memory. Bring new inputs into the old tensors
/// ([`Tensor::copy_`](crate::Tensor::copy_)), and read results from the tensors that the captured
/// function made. These lie in memory that is the graph's as long as it lives.
///
/// - Random numbers are new ones at each replay: those that the function would have drawn.
/// - An optimizer's step counts and learning rates follow where its `replay` is called instead of
///   the graph's, as a captured whole step of training does it.
/// - Nothing in it may look at elements: `item()`, `to_vec`, printing, copies between host and device
///   are errors.
/// - What is done once (an optimizer's state, compiled kernels) has to be there before: run the
///   function once or twice first.
/// - A replay is nothing that automatic differentiation sees: capture the backward pass too.
///
/// ```
/// use flambeau_core::{Device, Tensor, cuda};
/// if cuda::is_available() {
///     let x = Tensor::ones([3])?.cuda()?;
///     let (mut graph, y) = cuda::Graph::capture(Device::Cuda(0), || x.add(1.0)?.square())?;
///     assert_eq!(y.to_vec::<f32>()?, [4.0; 3]);
///     x.copy_(&Tensor::new([1.0f32, 2.0, 3.0])?)?;
///     graph.replay()?;
///     assert_eq!(y.to_vec::<f32>()?, [4.0, 9.0, 16.0]);
/// }
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Graph(cuda::Graph);

impl Graph {
    /// Captures what `f` does on `device`, and does it once: afterwards all is as if `f` had been
    /// called as usual. Other threads cannot use the device meanwhile.
    ///
    /// # Errors
    /// Those of `f`, and where it looks at elements, the device is no CUDA device, a capture is
    /// under way there, or the device fails.
    #[track_caller]
    pub fn capture<R>(device: Device, f: impl FnOnce() -> Result<R>) -> Result<(Graph, R)> {
        const OP: &str = "Graph::capture";
        let Device::Cuda(index) = device else {
            return Err(Error::new(
                OP,
                "graphs are captured on CUDA devices, not on cpu",
            ));
        };
        let capture = self::device(OP, index)?.capture();
        let capture = capture.map_err(|e| failed(OP, e))?;
        let result = f()?;
        let mut graph = Graph(capture.end().map_err(|e| failed(OP, e))?);
        graph.replay()?;
        Ok((graph, result))
    }

    /// Does it all once more, with an optimizer's numbers as they were the last time.
    ///
    /// # Errors
    /// Where a graph is being captured on the device, or the device fails.
    #[track_caller]
    pub fn replay(&mut self) -> Result<()> {
        let place = random::advance(self.0.device().index(), self.0.random());
        (self.0.replay(place)).map_err(|e| failed("Graph::replay", e))
    }

    /// Gives the next replays the numbers of an optimizer's step ([`collect_updates`]).
    ///
    /// # Errors
    /// Where the step is not made of the same formulas as the captured one.
    #[track_caller]
    pub fn set_updates(&mut self, updates: Vec<Numbers>) -> Result<()> {
        self.0.set_updates(updates).map_err(|e| {
            let why = format!(
                "{e}: the optimizer's step is not the one that was captured. Each parameter needs a gradient as it had then, and a step whose formula differs (the first ones of some optimizers) has to be captured anew"
            );
            Error::new("Graph::replay", why)
        })
    }
}

/// Whether the work of `device` is captured.
pub fn is_capturing(device: Device) -> bool {
    match device {
        Device::Cpu => false,
        Device::Cuda(index) => cuda::device(index).is_ok_and(cuda::Device::is_capturing),
    }
}

thread_local! {
    static COLLECTED: RefCell<Option<Vec<Numbers>>> = const { RefCell::new(None) };
}

/// Runs `step` with the updates of [`fused`](crate::fused) on CUDA devices left out, and returns
/// their numbers: what a replay of the same step needs.
///
/// # Errors
/// Those of `step`.
pub fn collect_updates(step: impl FnOnce() -> Result<()>) -> Result<Vec<Numbers>> {
    let outer = COLLECTED.replace(Some(Vec::new()));
    let done = step();
    let collected = COLLECTED.replace(outer);
    done.map(|()| collected.unwrap_or_default())
}

/// Takes an update's numbers where they are collected.
pub(super) fn collect(body: &'static str, given: &[f64]) -> bool {
    COLLECTED.with_borrow_mut(|collected| {
        let Some(collected) = collected else {
            return false;
        };
        let mut numbers = [0.0; NUMBERS];
        let some = given.len().min(NUMBERS);
        numbers[..some].copy_from_slice(&given[..some]);
        collected.push(Numbers { body, numbers });
        true
    })
}
