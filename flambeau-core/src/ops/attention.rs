//! Scaled dot-product attention.

use super::matmul::Product;
use crate::dispatch;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::broadcast;
use crate::tensor::Tensor;
use crate::{DType, Result, bail};

/// Options of [`Tensor::scaled_dot_product_attention`].
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
fn causal(queries: usize, keys: usize, dtype: DType) -> Result<Tensor> {
    Tensor::full_with([queries, keys], f64::NEG_INFINITY, dtype)?.triu(1)
}

/// What to add to the products, and where a query may attend to nothing: its weights are zero.
fn bias(mask: &Tensor, dtype: DType) -> Result<(Tensor, Option<Tensor>)> {
    let (bias, open) = if mask.dtype() == DType::Bool {
        let closed = mask.logical_not()?;
        let zeros = Tensor::zeros_with(mask.shape(), dtype)?;
        (zeros.masked_fill(&closed, f64::NEG_INFINITY)?, mask.clone())
    } else {
        (mask.clone(), mask.detach().ne(f64::NEG_INFINITY)?)
    };
    if mask.dim() == 0 || mask.numel() == 0 {
        return Ok((bias, None));
    }
    let dead = open.any_dim(-1, true)?.logical_not()?;
    if !dead.any()?.item::<bool>()? {
        return Ok((bias, None));
    }
    // Finite numbers keep softmax and its gradient finite; the weights are zeroed after.
    Ok((bias.masked_fill(&dead, 0.0)?, Some(dead)))
}

impl Tensor {
    /// softmax(Q Kᵀ · scale + mask) V (Vaswani et al., arXiv 1706.03762;
    /// `F.scaled_dot_product_attention`): queries `[…, L, E]`, keys `[…, S, E]`, values `[…, S, D]`
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
        self.attention(key, value, options).map(|(y, _)| y)
    }

    /// The same, and the weights `[…, L, S]` after dropout.
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
        self.attention(key, value, options)
    }

    #[track_caller]
    fn attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions<'_>,
    ) -> Result<(Tensor, Tensor)> {
        const OP: &str = "scaled_dot_product_attention";
        let query = self;
        check(query, key, value, options)?;
        let dtype = query.dtype();
        let (key, value) = if options.enable_gqa {
            (shared_heads(query, key)?, shared_heads(query, value)?)
        } else {
            (key.clone(), value.clone())
        };
        let width = query.shape()[query.dim() - 1];
        let (queries, keys) = (query.shape()[query.dim() - 2], key.shape()[key.dim() - 2]);
        let alpha = options.scale.unwrap_or(1.0 / (width as f64).sqrt());
        let (bias, dead) = match options.mask {
            Some(mask) => bias(mask, dtype).map(|(b, dead)| (Some(b), dead))?,
            None if options.is_causal => (Some(causal(queries, keys, dtype)?), None),
            None => (None, None),
        };
        let product = Product {
            name: OP,
            alpha,
            beta: 1.0,
        };
        let turned = key.transpose(-2, -1)?;
        // The mask is where the product is added up: neither scale nor mask is a pass of its own.
        let scores = match &bias {
            Some(bias) => {
                let lead = broadcast(
                    OP,
                    &query.shape()[..query.dim() - 2],
                    &key.shape()[..key.dim() - 2],
                )?;
                let shape = [&lead[..], &[queries, keys]].concat();
                if broadcast(OP, bias.shape(), &shape)?[..] != shape {
                    bail!(
                        OP,
                        "the mask has shape {:?}; it must broadcast to {shape:?}, a number for each query and key",
                        bias.shape()
                    );
                }
                dispatch::call(product, &[query, &turned, bias])?
            }
            None => dispatch::call(product, &[query, &turned])?,
        };
        let mut weights = scores.softmax(-1)?;
        if let Some(dead) = &dead {
            weights = weights.masked_fill(dead, 0.0)?;
        }
        let weights = weights.dropout(options.dropout, true)?;
        Ok((weights.matmul(&value)?, weights))
    }
}

#[track_caller]
fn check(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    options: AttentionOptions<'_>,
) -> Result<()> {
    const OP: &str = "scaled_dot_product_attention";
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
            "scaled_dot_product_attention",
            "heads of queries {:?} are no multiple of those of keys or values {:?}, in dimension -3",
            query.shape(),
            x.shape()
        ),
    }
}

/// What tests and goldens know of this file.
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
    ]
}
