//! Scaled dot-product attention.
//!
//! `flambeau_cpu::attention` computes values and first gradients where there is neither dropout nor a
//! gradient for the mask, and nobody asks for the weights; the rest, and gradients of higher order, go
//! through the composite twin.

use super::matmul::Product;
use crate::autocast::{Cast, Composite};
use crate::autograd::{by_twin, is_grad_enabled};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, broadcast};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Device, Result, bail};
use flambeau_cpu::attention::{Attention, Bias, Gradients, Heads, Scores};
use smallvec::smallvec;

const OP: &str = "scaled_dot_product_attention";

/// Options of [`Tensor::scaled_dot_product_attention`].
///
/// ```
/// use flambeau_core::{AttentionOptions, Tensor};
/// let (x, mask) = (Tensor::eye(2, 2)?, Tensor::new([[true, false], [true, true]])?);
/// let options = AttentionOptions { mask: Some(&mask), ..Default::default() };
/// let expected = Tensor::new([[1.0f32, 0.0], [0.33024, 0.66976]])?;
/// let y = x.scaled_dot_product_attention(&x, &x, options)?;
/// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionOptions<'a> {
    /// Broadcasts to `[…, queries, keys]`. Of bool: true where a query may attend to a key. Of the
    /// inputs' type: added to the scaled products (none).
    pub mask: Option<&'a Tensor>,
    /// The probability that a weight becomes zero, the others growing by 1 / (1 - p) (0).
    pub dropout: f64,
    /// Query i attends to keys 0 to i alone (false).
    pub is_causal: bool,
    /// The factor of the products; `None` is 1 / √width (none).
    pub scale: Option<f64>,
    /// Whether there may be fewer heads, in dimension -3, of keys and values than of queries, each
    /// serving several (false).
    pub enable_gqa: bool,
}

/// The matrix with minus infinity right of the diagonal.
fn causal(queries: usize, keys: usize, like: &Tensor) -> Result<Tensor> {
    let options = (like.dtype(), like.device());
    Tensor::full_with([queries, keys], f64::NEG_INFINITY, options)?.triu(1)
}

/// A mask as numbers to add.
fn additive(mask: &Tensor, dtype: DType) -> Result<Tensor> {
    if mask.dtype() != DType::Bool {
        return Ok(mask.clone());
    }
    Tensor::zeros_with(mask.shape(), (dtype, mask.device()))?
        .masked_fill(&mask.logical_not()?, f64::NEG_INFINITY)
}

/// The bias with finite numbers, which keep softmax and its gradient finite, where a query may attend
/// to nothing; and where that is: its weights are to be zeroed after.
fn revived(bias: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
    if bias.dim() == 0 || bias.numel() == 0 {
        return Ok((bias.clone(), None));
    }
    let open = bias.detach().ne(f64::NEG_INFINITY)?;
    let dead = open.any_dim(-1, true)?.logical_not()?;
    // On a device nobody waits to see whether there is any.
    if !dead.on_cuda() && !dead.any()?.item::<bool>()? {
        return Ok((bias.clone(), None));
    }
    Ok((bias.masked_fill(&dead, 0.0)?, Some(dead)))
}

impl Tensor {
    /// softmax(Q Kᵀ · scale + mask) V (Vaswani et al., arXiv 1706.03762;
    /// [`F.scaled_dot_product_attention`](https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)):
    /// queries `[…, L, E]`, keys `[…, S, E]`, values `[…, S, D]`
    /// with leading dimensions that broadcast give `[…, L, D]`.
    ///
    /// A query that may attend to nothing gives zeros.
    ///
    /// ```
    /// use flambeau_core::{AttentionOptions, Tensor};
    /// let x = Tensor::new([[[1.0f32, 0.0], [0.0, 1.0]]])?;
    /// let options = AttentionOptions { is_causal: true, ..Default::default() };
    /// let y = x.scaled_dot_product_attention(&x, &x, options)?;
    /// // The first query sees the first key alone.
    /// assert_eq!(y.to_vec::<f32>()?[..2], [1.0, 0.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where sizes or types do not fit, or a mask comes with `is_causal`.
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions<'_>,
    ) -> Result<Tensor> {
        self.attention(key, value, options, false).map(|(y, _)| y)
    }

    /// The same, and the weights `[…, L, S]` after dropout.
    ///
    /// ```
    /// use flambeau_core::{AttentionOptions, Tensor};
    /// let x = Tensor::eye(2, 2)?;
    /// let (y, weights) = x.scaled_dot_product_attention_weights(&x, &x, AttentionOptions::default())?;
    /// assert!(y.allclose(&weights.matmul(&x)?, 1e-5, 1e-6, false)?);
    /// assert!(weights.sum_dim(-1, false)?.allclose(&Tensor::new([1.0f32, 1.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention).
    #[track_caller]
    pub fn scaled_dot_product_attention_weights(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions<'_>,
    ) -> Result<(Tensor, Tensor)> {
        match self.attention(key, value, options, true)? {
            (y, Some(weights)) => Ok((y, weights)),
            _ => unreachable!("weights were asked for"),
        }
    }

    /// [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention) of a tensor to itself:
    /// `[batch, length, 3 · size]` holds the queries, keys and values of `heads` heads side by side, and
    /// gives `[batch, length, size]`; with `batch_first` off the first two dimensions change places.
    ///
    /// ```
    /// use flambeau_core::{AttentionOptions, Tensor};
    /// let projected = Tensor::ones([2, 5, 3 * 8])?;
    /// let y = projected.self_attention(4, true, AttentionOptions::default())?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0; 2 * 5 * 8]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention), and where the last
    /// dimension does not divide.
    #[track_caller]
    pub fn self_attention(
        &self,
        heads: usize,
        batch_first: bool,
        options: AttentionOptions<'_>,
    ) -> Result<Tensor> {
        let parts = heads.saturating_mul(3);
        if self.dim() != 3 || heads == 0 || !self.shape()[2].is_multiple_of(parts) {
            bail!(
                OP,
                "shape {:?} is not that of the queries, keys and values of {heads} heads in three dimensions; the last must be a multiple of {parts}",
                self.shape()
            );
        }
        let region = Composite::new(Cast::Low, [self])?;
        let ([x], mask) = (region.inputs(), region.optional(options.mask)?);
        let options = AttentionOptions {
            mask: mask.as_ref(),
            ..options
        };
        let packed = Packed { heads, batch_first };
        let [q, k, v] = packed.apart(x)?;
        check(&q, &k, &v, options)?;
        let bias = options.bias(&q, &k)?;
        let fused = Fused {
            scale: options.scale(&q),
            causal: options.is_causal,
            packed: Some(packed),
        };
        if let Some(y) = fused.call(&[x], &q, &k, options, bias.as_ref())? {
            return Ok(y);
        }
        let (y, _) = composite([&q, &k, &v], bias.as_ref(), options)?;
        packed.together(&y)
    }

    #[track_caller]
    fn attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions<'_>,
        want_weights: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let region = Composite::new(Cast::Low, [self, key, value])?;
        let ([query, key, value], mask) = (region.inputs(), region.optional(options.mask)?);
        let options = AttentionOptions {
            mask: mask.as_ref(),
            ..options
        };
        check(query, key, value, options)?;
        let (key, value) = if options.enable_gqa {
            (shared_heads(query, key)?, shared_heads(query, value)?)
        } else {
            (key.clone(), value.clone())
        };
        let bias = options.bias(query, &key)?;
        let lead = |t: &Tensor| t.shape()[..t.dim() - 2].to_vec();
        let alike = lead(query) == lead(&key) && lead(query) == lead(&value);
        if !want_weights && alike && query.dim() <= 4 {
            let whole = |t: &Tensor| {
                let missing = 4 - t.dim();
                t.reshape([&vec![1; missing], t.shape()].concat())
            };
            let (q, k, v) = (whole(query)?, whole(&key)?, whole(&value)?);
            let fused = Fused {
                scale: options.scale(query),
                causal: options.is_causal,
                packed: None,
            };
            if let Some(y) = fused.call(&[&q, &k, &v], &q, &k, options, bias.as_ref())? {
                let shape = [&lead(query)[..], &y.shape()[2..]].concat();
                return Ok((y.reshape(shape)?, None));
            }
        }
        let (y, weights) = composite([query, &key, &value], bias.as_ref(), options)?;
        Ok((y, Some(weights)))
    }
}

impl AttentionOptions<'_> {
    fn scale(&self, query: &Tensor) -> f64 {
        let width = query.shape()[query.dim() - 1];
        self.scale.unwrap_or(1.0 / (width as f64).sqrt())
    }

    /// What the mask adds to the products.
    #[track_caller]
    fn bias(&self, query: &Tensor, key: &Tensor) -> Result<Option<Tensor>> {
        let Some(mask) = self.mask else {
            return Ok(None);
        };
        let lead = |t: &Tensor| t.dim() - 2;
        let lead = broadcast(OP, &query.shape()[..lead(query)], &key.shape()[..lead(key)])?;
        let shape = [
            &lead[..],
            &[query.shape()[query.dim() - 2], key.shape()[key.dim() - 2]],
        ]
        .concat();
        if broadcast(OP, mask.shape(), &shape).ok().as_deref() != Some(&shape[..]) {
            bail!(
                OP,
                "the mask has shape {:?}; it must broadcast to {shape:?}, a number for each query and key",
                mask.shape()
            );
        }
        additive(mask, query.dtype()).map(Some)
    }
}

/// Results and weights with plain operations.
#[track_caller]
fn composite(
    [query, key, value]: [&Tensor; 3],
    bias: Option<&Tensor>,
    options: AttentionOptions<'_>,
) -> Result<(Tensor, Tensor)> {
    let (queries, keys) = (query.shape()[query.dim() - 2], key.shape()[key.dim() - 2]);
    let (bias, dead) = match bias {
        Some(bias) => revived(bias).map(|(bias, dead)| (Some(bias), dead))?,
        None if options.is_causal => (Some(causal(queries, keys, query)?), None),
        None => (None, None),
    };
    let product = Product {
        name: OP,
        alpha: options.scale(query),
        beta: 1.0,
    };
    let turned = key.transpose(-2, -1)?;
    // The mask is where the product is added up: neither scale nor mask is a pass of its own.
    let scores = match &bias {
        Some(bias) => dispatch::call(product, &[query, &turned, bias])?,
        None => dispatch::call(product, &[query, &turned])?,
    };
    let mut weights = scores.softmax(-1)?;
    if let Some(dead) = &dead {
        weights = weights.masked_fill(dead, 0.0)?;
    }
    let weights = weights.dropout(options.dropout, true)?;
    Ok((weights.matmul(value)?, weights))
}

/// How one tensor holds queries, keys and values.
#[derive(Clone, Copy, Debug)]
struct Packed {
    heads: usize,
    batch_first: bool,
}

impl Packed {
    /// Batch and length of the tensor's shape.
    fn sizes(self, shape: &[usize]) -> (usize, usize) {
        match self.batch_first {
            true => (shape[0], shape[1]),
            false => (shape[1], shape[0]),
        }
    }

    /// Where batches, heads and rows of a contiguous tensor lie whose rows have `row` numbers.
    fn strides(self, shape: &[usize], row: usize, width: usize) -> [usize; 3] {
        let (batch, length) = self.sizes(shape);
        match self.batch_first {
            true => [length * row, width, row],
            false => [row, width, batch * row],
        }
    }

    /// Views `[batch, heads, length, width]`.
    fn apart(self, x: &Tensor) -> Result<[Tensor; 3]> {
        let size = x.shape()[2] / 3;
        let part = |i: usize| {
            let x = x.narrow(-1, (i * size) as i64, size)?;
            let x = x.unflatten(-1, [self.heads, size / self.heads])?;
            match self.batch_first {
                true => x.permute([0, 2, 1, 3]),
                false => x.permute([1, 2, 0, 3]),
            }
        };
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// `[batch, heads, length, width]` with the heads side by side.
    fn together(self, y: &Tensor) -> Result<Tensor> {
        let y = match self.batch_first {
            true => y.permute([0, 2, 1, 3])?,
            false => y.permute([2, 0, 1, 3])?,
        };
        let shape = [y.shape()[0], y.shape()[1], y.shape()[2] * y.shape()[3]];
        y.reshape(shape)
    }
}

/// Attention in one pass over each head. Inputs `(q, k, v)`, each `[batch, heads, rows, width]`, or all
/// three packed, and what is added to the products where there is something, expanded to `[batch, heads,
/// queries, keys]`; the extra result holds the weights.
#[derive(Debug)]
struct Fused {
    scale: f64,
    causal: bool,
    packed: Option<Packed>,
}

impl Fused {
    /// The results, where this way can be gone: without dropout, in full precision, and without a
    /// gradient for the mask.
    #[track_caller]
    fn call(
        self,
        inputs: &[&Tensor],
        query: &Tensor,
        key: &Tensor,
        options: AttentionOptions<'_>,
        bias: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let fits = options.dropout == 0.0
            // Where there is nothing, the other sizes may be as large as a number can say.
            && !inputs.iter().any(|t| t.is_empty())
            && matches!(query.dtype(), DType::F32 | DType::F64)
            && !(bias.is_some_and(Tensor::requires_grad) && is_grad_enabled());
        if !fits {
            return Ok(None);
        }
        let mut inputs = inputs.to_vec();
        let bias = match bias {
            None => None,
            Some(bias) => {
                let shape = [&query.shape()[..3], &key.shape()[2..3]].concat();
                Some(bias.detach().expand(shape)?)
            }
        };
        inputs.extend(bias.as_ref());
        dispatch::call(self, &inputs).map(Some)
    }

    /// Sizes and places, given the tensors as [`Op::forward`] has them, and the result's shape.
    fn places(&self, x: &[Tensor]) -> (Attention, Shape) {
        if let Some(packed) = self.packed {
            let shape = x[0].shape();
            let (size, (batch, rows)) = (shape[2] / 3, packed.sizes(shape));
            let width = size / packed.heads;
            let heads = |row: usize, offset: usize| Heads {
                offset,
                strides: packed.strides(shape, row, width),
                rows,
                width,
            };
            let attention = Attention {
                batch,
                heads: packed.heads,
                q: heads(3 * size, 0),
                k: heads(3 * size, size),
                v: heads(3 * size, 2 * size),
                out: heads(size, 0),
                scale: self.scale,
                causal: self.causal,
            };
            return (attention, Shape::from_slice(&[shape[0], shape[1], size]));
        }
        let heads = |t: &Tensor| Heads {
            offset: 0,
            strides: [t.strides()[0], t.strides()[1], t.strides()[2]],
            rows: t.shape()[2],
            width: t.shape()[3],
        };
        let (q, k, v) = (heads(&x[0]), heads(&x[1]), heads(&x[2]));
        let (batch, count) = (x[0].shape()[0], x[0].shape()[1]);
        let (rows, width) = (q.rows, v.width);
        let attention = Attention {
            batch,
            heads: count,
            q,
            k,
            v,
            out: Heads {
                offset: 0,
                strides: [count * rows * width, rows * width, width],
                rows,
                width,
            },
            scale: self.scale,
            causal: self.causal,
        };
        (attention, Shape::from_slice(&[batch, count, rows, width]))
    }

    /// The inputs with rows whose numbers are neighbours.
    fn laid_out(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let parts = if self.packed.is_some() { 1 } else { 3 };
        let lay = |(i, x): (usize, &&Tensor)| {
            let column = x.strides().last().copied().unwrap_or(1);
            let good = match i {
                0 if self.packed.is_some() => x.is_contiguous(),
                i if i < parts => column == 1,
                _ => column <= 1,
            };
            if good {
                Ok(x.detach())
            } else {
                to_contiguous(OP, x, x.dtype())
            }
        };
        inputs.iter().enumerate().map(lay).collect()
    }

    fn run<T: Scores + Stored>(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = self.laid_out(inputs)?;
        let (attention, shape) = self.places(&x);
        let dtype = x[0].dtype();
        let parts = if self.packed.is_some() { 1 } else { 3 };
        let reads: Vec<_> = x.iter().map(Tensor::read).collect();
        let part = |i: usize| reads[i.min(parts - 1)].slice::<T>();
        let (q, k) = (attention.q, attention.k);
        let sizes = [attention.batch, attention.heads, q.rows, k.rows];
        let weights = Tensor::empty_with(sizes, (dtype, Device::Cpu))?;
        let mut write = weights.write();
        let kept = write.slice::<T>();
        let bias = reads.get(parts).map(|read| {
            let s = x[parts].strides();
            Bias {
                data: read.slice::<T>(),
                strides: [s[0], s[1], s[2], s[3]],
            }
        });
        let out = Tensor::build::<T>(OP, &shape, dtype, |out| {
            attention.forward(part(0), part(1), part(2), bias, kept, out);
        })?;
        drop(write);
        Ok(Output {
            tensor: out,
            extras: smallvec![weights],
        })
    }

    fn gradient<T: Scores + Stored>(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let parts = if self.packed.is_some() { 1 } else { 3 };
        let inputs = (0..parts)
            .map(|i| ctx.input(i))
            .collect::<Result<Vec<_>>>()?;
        let x = self.laid_out(&inputs.iter().collect::<Vec<_>>())?;
        let (attention, _) = self.places(&x);
        let grad = to_contiguous(OP, grad, x[0].dtype())?;
        let empty = |t: &Tensor| Tensor::empty_with(t.shape(), (t.dtype(), Device::Cpu));
        let grads = x.iter().map(empty).collect::<Result<Vec<_>>>()?;
        {
            let reads: Vec<_> = x.iter().map(Tensor::read).collect();
            let part = |i: usize| reads[i.min(parts - 1)].slice::<T>();
            let (weights, dout) = (ctx.extra(0).read(), grad.read());
            let mut writes: Vec<_> = grads.iter().map(Tensor::write).collect();
            let target = match &mut writes[..] {
                [all] => Gradients::Packed(all.slice::<T>()),
                [q, k, v] => Gradients::Apart([q.slice::<T>(), k.slice::<T>(), v.slice::<T>()]),
                _ => unreachable!("one part or three"),
            };
            let (weights, dout) = (weights.slice::<T>(), dout.slice::<T>());
            attention.backward(part(0), part(1), part(2), weights, dout, target);
        }
        let mut grads: Grads = grads.into_iter().map(Some).collect();
        grads.resize(ctx.input_count(), None);
        Ok(grads)
    }
}

impl Fused {
    /// The same from plain operations.
    fn twin(&self, x: &[Tensor]) -> Result<Tensor> {
        let options = AttentionOptions {
            mask: x.get(if self.packed.is_some() { 1 } else { 3 }),
            is_causal: self.causal,
            scale: Some(self.scale),
            ..AttentionOptions::default()
        };
        let [q, k, v] = match self.packed {
            Some(packed) => packed.apart(&x[0])?,
            None => [x[0].clone(), x[1].clone(), x[2].clone()],
        };
        let bias = options.bias(&q, &k)?;
        let (y, _) = composite([&q, &k, &v], bias.as_ref(), options)?;
        match self.packed {
            Some(packed) => packed.together(&y),
            None => Ok(y),
        }
    }
}

impl Op for Fused {
    fn name(&self) -> &'static str {
        OP
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        match inputs[0].dtype() {
            DType::F64 => self.run::<f64>(inputs),
            _ => self.run::<f32>(inputs),
        }
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
        Ok(self.twin(&inputs)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::INPUTS
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        if is_grad_enabled() || grad.on_cuda() {
            return by_twin(ctx, grad, &|x| self.twin(x));
        }
        match ctx.extra(0).dtype() {
            DType::F64 => self.gradient::<f64>(ctx, grad),
            _ => self.gradient::<f32>(ctx, grad),
        }
    }
}

#[track_caller]
fn check(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    options: AttentionOptions<'_>,
) -> Result<()> {
    let (q, k, v) = (query.shape(), key.shape(), value.shape());
    let (&[.., _, qe], &[.., ks, ke], &[.., vs, _]) = (q, k, v) else {
        bail!(
            OP,
            "queries {q:?}, keys {k:?} and values {v:?} need two dimensions or more"
        );
    };
    if qe != ke || ks != vs {
        bail!(
            OP,
            "queries {q:?}, keys {k:?} and values {v:?} do not fit; need {qe} == {ke} in the last dimension of queries and keys, and {ks} == {vs} keys and values"
        );
    }
    let dtype = query.dtype();
    if [key, value].iter().any(|t| t.dtype() != dtype) || !dtype.is_floating_point() {
        bail!(
            OP,
            "queries are {dtype}, keys {}, values {}; they must have one floating-point type",
            key.dtype(),
            value.dtype()
        );
    }
    if let Some(mask) = options.mask {
        if options.is_causal {
            bail!(
                OP,
                "is_causal makes a mask of its own; leave one of them out"
            );
        }
        if mask.dtype() != DType::Bool && mask.dtype() != dtype {
            bail!(
                OP,
                "the mask is {}; it must be bool or {dtype}, as the queries are",
                mask.dtype()
            );
        }
    }
    Ok(())
}

/// Keys or values with each head repeated for the queries' heads that it serves.
#[track_caller]
fn shared_heads(query: &Tensor, x: &Tensor) -> Result<Tensor> {
    let heads = |t: &Tensor| t.dim().checked_sub(3).map(|d| t.shape()[d]);
    match (heads(query), heads(x)) {
        (Some(q), Some(k)) if k > 0 && q % k == 0 => {
            if q == k {
                return Ok(x.clone());
            }
            x.repeat_interleave(q / k, -3)
        }
        _ => bail!(
            OP,
            "heads of queries {:?} are no multiple of those of keys or values {:?}, in dimension -3",
            query.shape(),
            x.shape()
        ),
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let sample = |q: &[usize], k: &[usize], v: &[usize], mask: Arg, causal: bool, scale: Arg| {
        Sample::new(vec![
            t(q),
            t(k),
            t(v),
            mask,
            Arg::B(causal),
            scale,
            Arg::B(false),
        ])
    };
    // Query 1 of three may attend to nothing.
    let bools = || {
        let open = [
            true, false, true, true, false, false, false, false, true, true, true, false,
        ];
        Arg::T(Tensor::from_vec(open.to_vec(), [3, 4]).expect("12 elements"))
    };
    let grouped = Sample::new(vec![
        t(&[2, 4, 3, 2]),
        t(&[2, 2, 3, 2]),
        t(&[2, 2, 3, 2]),
        Arg::Nil,
        Arg::B(false),
        Arg::Nil,
        Arg::B(true),
    ]);
    let packed = |x: &[usize], heads: i64, batch_first: bool, mask: Arg, causal: bool| {
        Sample::new(vec![
            t(x),
            Arg::I(heads),
            Arg::B(batch_first),
            mask,
            Arg::B(causal),
        ])
    };
    let closed = || {
        let open = [true, false, true, false, true, true, true, true, false];
        Arg::T(Tensor::from_vec(open.to_vec(), [3, 3]).expect("9 elements"))
    };
    let (q, k, v) = ([2, 3, 3, 5], [2, 3, 4, 5], [2, 3, 4, 6]);
    vec![
        OpSpec::new(
            "scaled_dot_product_attention",
            "lambda q, k, v, m, c, s, g: F.scaled_dot_product_attention(q, k, v, m, is_causal=c, scale=s, enable_gqa=g)",
            |a| {
                let options = AttentionOptions {
                    mask: a[3].tensor_opt()?,
                    dropout: 0.0,
                    is_causal: a[4].bool()?,
                    scale: a[5].float_opt()?,
                    enable_gqa: a[6].bool()?,
                };
                let (q, k, v) = (a[0].tensor()?, a[1].tensor()?, a[2].tensor()?);
                Ok(vec![q.scaled_dot_product_attention(k, v, options)?])
            },
        )
        // Scale and sums in another order than PyTorch's.
        .tolerance(3.0)
        .samples(vec![
            sample(&q, &k, &v, Arg::Nil, false, Arg::Nil),
            sample(&q, &k, &v, Arg::Nil, false, Arg::F(0.3)),
            sample(&q, &k, &v, Arg::Nil, true, Arg::Nil),
            sample(&[5, 3], &[2, 3], &[2, 3], Arg::Nil, true, Arg::Nil),
            sample(&[2, 3, 5], &[4, 5], &[4, 6], Arg::Nil, false, Arg::Nil),
            sample(&q, &k, &v, t(&[3, 4]), false, Arg::Nil),
            sample(&q, &k, &v, t(&[2, 1, 1, 4]), false, Arg::F(-0.5)),
            sample(&q, &k, &v, bools(), false, Arg::Nil),
            sample(&[1, 2, 2], &[1, 0, 2], &[1, 0, 3], Arg::Nil, false, Arg::Nil),
            grouped,
        ])
        .errors(vec![
            (
                vec![t(&q), t(&[2, 3, 4, 6]), t(&v), Arg::Nil, Arg::B(false), Arg::Nil, Arg::B(false)],
                "need 5 == 6",
            ),
            (
                vec![t(&q), t(&k), t(&[2, 3, 5, 6]), Arg::Nil, Arg::B(false), Arg::Nil, Arg::B(false)],
                "4 == 5 keys and values",
            ),
            (
                vec![t(&q), t(&k), t(&v), bools(), Arg::B(true), Arg::Nil, Arg::B(false)],
                "leave one of them out",
            ),
            (
                vec![t(&q), t(&k), t(&v), t(&[2, 1, 1, 3, 4]), Arg::B(false), Arg::Nil, Arg::B(false)],
                "must broadcast to [2, 3, 3, 4]",
            ),
            (
                vec![t(&[3]), t(&[3]), t(&[3]), Arg::Nil, Arg::B(false), Arg::Nil, Arg::B(false)],
                "two dimensions or more",
            ),
        ]),
        OpSpec::new(
            "self_attention",
            "lambda x, h, b, m, c: (lambda x: F.scaled_dot_product_attention(*x.unflatten(-1, (3, h, -1)).permute(2, 0, 3, 1, 4), m, is_causal=c).transpose(1, 2).flatten(2))(x if b else x.transpose(0, 1)).transpose(0, 0 if b else 1)",
            |a| {
                let options = AttentionOptions {
                    mask: a[3].tensor_opt()?,
                    is_causal: a[4].bool()?,
                    ..AttentionOptions::default()
                };
                let (heads, batch_first) = (a[1].int()? as usize, a[2].bool()?);
                Ok(vec![a[0].tensor()?.self_attention(heads, batch_first, options)?])
            },
        )
        .tolerance(3.0)
        .samples(vec![
            packed(&[2, 4, 18], 2, true, Arg::Nil, false),
            packed(&[4, 2, 18], 3, false, Arg::Nil, true),
            packed(&[2, 4, 12], 2, true, t(&[2, 1, 4, 4]), false),
            packed(&[3, 2, 12], 1, false, closed(), false),
        ])
        .errors(vec![(
            vec![t(&[2, 4, 16]), Arg::I(2), Arg::B(true), Arg::Nil, Arg::B(false)],
            "the last must be a multiple of 6",
        )]),
    ]
}
