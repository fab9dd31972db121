//! Derivatives of higher order for fused operations.

use super::{Ctx, Grad, enable_grad, grad};
use crate::dispatch::Grads;
use crate::tensor::Tensor;
use crate::{Result, bail};

/// The gradients of a fused operation by way of its composite twin, recorded: what its rule gives
/// where a derivative of that gradient will be asked for. The operation must save every input.
///
/// `twin` computes the same from the same inputs with plain operations.
pub(crate) fn by_twin(
    ctx: &Ctx<'_>,
    gradient: &Tensor,
    twin: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Grads> {
    enable_grad(|| {
        // One alias for each input: the same tensor may stand in two places.
        let inputs = (0..ctx.node.inputs.len())
            .map(|i| {
                let x = ctx.input(i)?;
                x.reshape(x.shape())
            })
            .collect::<Result<Vec<_>>>()?;
        let y = twin(&inputs)?;
        let wanted: Vec<usize> = (0..inputs.len()).filter(|&i| ctx.needs(i)).collect();
        let wanted_inputs: Vec<&Tensor> = wanted.iter().map(|&i| &inputs[i]).collect();
        if y.shape() != gradient.shape() {
            bail!(
                "backward",
                "the twin of {} gives shape {:?}, not {:?}",
                ctx.node.op.name(),
                y.shape(),
                gradient.shape()
            );
        }
        let options = Grad {
            create_graph: true,
            allow_unused: true,
            ..Grad::default()
        };
        let mut grads: Grads = (0..inputs.len()).map(|_| None).collect();
        for (i, g) in wanted
            .iter()
            .zip(grad(&[&y], &wanted_inputs, &[gradient], options)?)
        {
            grads[*i] = g;
        }
        Ok(grads)
    })
}
