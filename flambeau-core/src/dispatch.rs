//! The one point that every operation passes: it computes the result and records the graph.
//!
//! [`Op`] is what an operation is, [`Output`] what it returns, [`Saves`] what its gradient rule will
//! read (by [`Ctx`]).

use crate::autocast::{self, Cast};
use crate::autograd::{
    Ctx, Edge, Input, Node, Saved, SavedSet, checkpointed, is_grad_enabled, note,
};
use crate::tensor::Tensor;
use crate::{Error, Result};
use smallvec::SmallVec;
use std::panic::Location;
use std::sync::Arc;

/// The gradients of an operation's inputs, by position; `None` where there is none to give.
pub type Grads = SmallVec<[Option<Tensor>; 2]>;

/// What an operation computes.
pub struct Output {
    /// The result, which gradients flow through.
    pub tensor: Tensor,
    /// Results without a gradient (indices, statistics), kept for the backward pass.
    pub extras: SmallVec<[Tensor; 2]>,
}

impl From<Tensor> for Output {
    fn from(tensor: Tensor) -> Output {
        Output {
            tensor,
            extras: SmallVec::new(),
        }
    }
}

/// Which tensors the backward pass of an operation reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saves {
    inputs: u32,
    output: bool,
}

impl Saves {
    /// None: the rule needs shapes alone.
    pub const NONE: Saves = Saves {
        inputs: 0,
        output: false,
    };
    /// The output.
    pub const OUTPUT: Saves = Saves {
        inputs: 0,
        output: true,
    };
    /// Every input.
    pub const INPUTS: Saves = Saves {
        inputs: u32::MAX,
        output: false,
    };

    /// Input `i` too.
    #[must_use]
    pub const fn input(self, i: usize) -> Saves {
        Saves {
            inputs: self.inputs | 1 << i,
            output: self.output,
        }
    }

    /// Input `i` too, where `condition` holds.
    #[must_use]
    pub const fn input_if(self, i: usize, condition: bool) -> Saves {
        if condition { self.input(i) } else { self }
    }

    /// Whether input `i`.
    pub(crate) fn has(self, i: usize) -> bool {
        self.inputs & (1u32.checked_shl(i as u32).unwrap_or(1 << 31)) != 0
    }
}

/// An operation with its options as fields: how it computes and how it differentiates.
///
/// `forward` runs with recording off. `backward` is a rule over tensors, recorded itself where a
/// second derivative is wanted. The engine brings each gradient to its input's shape (summing what
/// broadcasting stretched) and type, and accumulates.
pub trait Op: std::fmt::Debug + Send + Sync + 'static {
    /// PyTorch's name.
    fn name(&self) -> &'static str;

    /// Computes the result.
    ///
    /// # Errors
    /// Where shapes, types or options do not fit.
    fn forward(&self, inputs: &[&Tensor]) -> Result<Output>;

    /// Computes the result on a CUDA device, where an input is on one; so are the others, but for
    /// 0-d ones.
    ///
    /// # Errors
    /// As `forward`; by default, that there is no such computation.
    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        crate::cuda::without_body(self.name(), inputs, &|inputs| self.forward(inputs))
    }

    /// What mixed precision does with the operands on the CPU ([`autocast`](crate::autocast())), and
    /// on CUDA devices where PyTorch's lists for these say nothing else.
    fn autocast(&self) -> Cast {
        Cast::Keep
    }

    /// What the rule reads, given which inputs want a gradient.
    fn saves(&self, needs: &[bool]) -> Saves {
        let _ = needs;
        Saves::INPUTS
    }

    /// The gradients of the inputs, from that of the output.
    ///
    /// # Errors
    /// Where the operation has no gradient, with the reason; this is the default.
    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let _ = (ctx, grad);
        Err(Error::new(
            "backward",
            format!(
                "{} has no gradient; detach() its result if none should flow",
                self.name()
            ),
        ))
    }
}

/// Runs an operation and records it where an input requires a gradient.
#[track_caller]
pub(crate) fn call<O: Op>(op: O, inputs: &[&Tensor]) -> Result<Tensor> {
    call_with_extras(op, inputs).map(|out| out.tensor)
}

/// The same, with the results that gradients do not flow through.
#[track_caller]
pub(crate) fn call_with_extras<O: Op>(op: O, inputs: &[&Tensor]) -> Result<Output> {
    let location = Location::caller();
    if autocast::is_on()
        && let Some(inputs) = autocast::operands(op.name(), op.autocast(), inputs)?
    {
        let _off = autocast::suspend();
        return run(op, &inputs.iter().collect::<SmallVec<[_; 3]>>(), location);
    }
    run(op, inputs, location)
}

fn run<O: Op>(op: O, inputs: &[&Tensor], location: &'static Location<'static>) -> Result<Output> {
    // Only the node depends on the kind of operation; all else is compiled once.
    let (mut out, record) = compute(&op, inputs, location)?;
    if record {
        let (mut ins, mut saved) = (SmallVec::new(), SavedSet::default());
        let checkpointed = save(&op, inputs, &out, location, (&mut ins, &mut saved))?;
        let node = Arc::new(Node::new(op, ins, saved, location));
        if checkpointed {
            note(node.clone());
        }
        out.tensor.set_first_node(node);
    }
    Ok(out)
}

/// The result, and whether the graph is to know how it was made.
fn compute(
    op: &dyn Op,
    inputs: &[&Tensor],
    location: &'static Location<'static>,
) -> Result<(Output, bool)> {
    let record = inputs.iter().any(|x| x.tracked()) && is_grad_enabled();
    let forward = || match inputs.iter().any(|x| x.on_cuda()) {
        true => crate::cuda::run(op, inputs),
        false => op.forward(inputs),
    };
    let out = if record {
        let _guard = crate::autograd::set_grad_enabled(false);
        forward()
    } else {
        forward()
    };
    let out = out.map_err(|e| e.relocate(location))?;
    let record = record && out.tensor.dtype().is_floating_point();
    Ok((out, record))
}

/// What a node keeps: its inputs, and the tensors that its gradient rule will read. True where a
/// checkpoint keeps the latter instead.
fn save(
    op: &dyn Op,
    inputs: &[&Tensor],
    out: &Output,
    location: &'static Location<'static>,
    (ins, saved): (&mut SmallVec<[Input; 2]>, &mut SavedSet),
) -> Result<bool> {
    let mut needs: SmallVec<[bool; 4]> = SmallVec::with_capacity(inputs.len());
    for x in inputs {
        let input = Input::of(x);
        needs.push(!matches!(input.edge, Edge::None));
        ins.push(input);
    }
    let saves = op.saves(&needs);
    saved.set_extras(&out.extras);
    if saves.inputs != 0 {
        for (i, x) in inputs.iter().enumerate().filter(|&(i, _)| saves.has(i)) {
            if x.is_inference() {
                return Err(Error::at(
                    op.name(),
                    format!(
                        "input {i} was made in inference_mode and cannot be saved for a backward pass; copy() it outside first"
                    ),
                    location,
                ));
            }
            saved.push_input(i, Saved::new(x, ins[i].edge.clone()));
        }
    }
    if saves.output {
        saved.set_output(Saved::new(&out.tensor, Edge::None));
    }
    Ok(checkpointed(saved))
}
