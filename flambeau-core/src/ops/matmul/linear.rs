//! The affine map of PyTorch's layers.

use super::gram;
use super::run::product;
use crate::autocast::{Cast, Composite};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{Ctx, Result, bail};
use smallvec::smallvec;

/// `x @ weightᵀ + bias`: input `[.., in]`, weight `[out, in]`, bias `[out]` or none.
#[derive(Debug)]
struct Linear;

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, w) = (inputs[0], inputs[1]);
        let [o, i] = w.shape() else {
            bail!(
                "linear",
                "the weight has shape {:?}; it must be [out, in]",
                w.shape()
            )
        };
        if x.dim() == 0 || x.shape()[x.dim() - 1] != *i {
            bail!(
                "linear",
                "inner dimensions differ: input {:?}, weight {:?}; the input's last dimension must be {i}",
                x.shape(),
                w.shape()
            );
        }
        let transposed = w.alias(
            smallvec![*i, *o],
            smallvec![w.strides()[1], w.strides()[0]],
            w.0.offset,
        );
        let bias = inputs.get(2).map(|&b| (b, 1.0));
        if let Some((b, _)) = bias
            && (b.dtype() != x.dtype() || b.shape() != [*o] && b.numel() != 1)
        {
            bail!(
                "linear",
                "the bias is {} {:?}; it must be {} [{o}], one number for each of the weight's rows",
                b.dtype(),
                b.shape(),
                x.dtype()
            );
        }
        if x.dim() >= 2 {
            return Ok(product("linear", x, &transposed, 1.0, bias)?.into());
        }
        let out = product("linear", &x.unsqueeze(0)?, &transposed, 1.0, bias)?;
        Ok(Tensor::make(
            out.0.storage.clone(),
            smallvec![*o],
            smallvec![1],
            0,
            out.dtype(),
            None,
        )
        .into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn autocast(&self) -> Cast {
        Cast::Low
    }

    fn saves(&self, needs: &[bool]) -> Saves {
        Saves::NONE.input_if(1, needs[0]).input_if(0, needs[1])
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let mut grads: Grads = smallvec![None, None];
        if ctx.needs(0) {
            grads[0] = Some(grad.matmul(&ctx.input(1)?)?);
        }
        if ctx.needs(1) {
            grads[1] = Some(gram(grad, &ctx.input(0)?)?);
        }
        if ctx.input_count() > 2 {
            grads.push(ctx.needs(2).then(|| grad.clone()));
        }
        Ok(grads)
    }
}

impl Tensor {
    /// `self @ weightᵀ + bias`
    /// ([`F.linear`](https://pytorch.org/docs/stable/generated/torch.nn.functional.linear.html)):
    /// input `[.., in]`, weight `[out, in]` or `[in]`, bias
    /// `[out]`; the result is `[.., out]`, or `[..]` for a vector weight.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (w, b) = (Tensor::new([[1.0f32, -1.0]])?, Tensor::new([0.5f32])?);
    /// assert_eq!(Tensor::new([3.0f32, 1.0])?.linear(&w, Some(&b))?.to_vec::<f32>()?, [2.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the last dimension is not the weight's `in`, the bias not of length `out`, or types
    /// differ.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        if weight.dim() == 1 {
            let region = Composite::new(Cast::Low, [self, weight])?;
            let ([x, weight], bias) = (region.inputs(), region.optional(bias)?);
            let out = x.matmul(weight)?;
            return match bias {
                Some(b) => out.add(b),
                None => Ok(out),
            };
        }
        match bias {
            Some(bias) => dispatch::call(Linear, &[self, weight, bias]),
            None => dispatch::call(Linear, &[self, weight]),
        }
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(super) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-1.0, 1.0));
    vec![
        OpSpec::new("linear", "F.linear", |a| {
            Ok(vec![
                a[0].tensor()?.linear(a[1].tensor()?, a[2].tensor_opt()?)?,
            ])
        })
        .samples(vec![
            Sample::new(vec![t(&[3, 4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[3, 4]), t(&[5, 4]), Arg::Nil]),
            Sample::new(vec![t(&[2, 3, 4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[0, 4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[2, 4]), t(&[4]), Arg::Nil]),
        ]),
    ]
}
