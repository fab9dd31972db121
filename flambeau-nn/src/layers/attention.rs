//! Attention with several heads.

use super::{Affine, filled, forward, nothing, py_bool, setters};
use crate::functional::PaddingMode;
use crate::init::{self, Draw};
use crate::module::Forward;
use crate::parameter::{Mode, Parameter};
use crate::warnings::check_mode;
use flambeau_core::{AttentionOptions, DType, Result, Tensor, bail};
use flambeau_macros::Module;

/// The projection of a [`MultiheadAttention`]'s output: a [`Linear`](super::Linear) under the name
/// that PyTorch prints.
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct NonDynamicallyQuantizableLinear {
    /// `[embed, embed]`.
    pub weight: Parameter,
    /// `[embed]`.
    pub bias: Option<Parameter>,
    mode: Mode,
}

impl NonDynamicallyQuantizableLinear {
    fn extra_repr(&self) -> String {
        let size = |i: usize| self.weight.shape().get(i).copied().unwrap_or(0);
        format!(
            "in_features={}, out_features={}, bias={}",
            size(1),
            size(0),
            py_bool(self.bias.is_some())
        )
    }
}

forward!(NonDynamicallyQuantizableLinear, |m, x| x
    .linear(&m.weight, m.bias.as_deref()));

/// What a call of [`MultiheadAttention`] may be told, with PyTorch's defaults.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{MultiheadAttention, MultiheadAttentionOptions};
/// let attention = MultiheadAttention::new(4, 2);
/// let x = Tensor::ones([5, 1, 4])?;
/// let options = MultiheadAttentionOptions { need_weights: false, ..Default::default() };
/// let (y, weights) = attention.forward(&x, &x, &x, options)?;
/// assert!(y.shape() == [5, 1, 4] && weights.is_none());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MultiheadAttentionOptions<'a> {
    /// `[batch, keys]` (`[keys]` without a batch): of bool, true for keys to ignore; else added to
    /// the products (none).
    pub key_padding_mask: Option<&'a Tensor>,
    /// Whether the weights are returned too (true). Without them it is faster.
    pub need_weights: bool,
    /// `[queries, keys]` or `[batch · heads, queries, keys]`: of bool, true where a query may not
    /// attend to a key; else added to the products (none).
    pub attn_mask: Option<&'a Tensor>,
    /// Whether the weights are averaged over the heads (true).
    pub average_attn_weights: bool,
    /// Says that `attn_mask` is the causal one, which then need not be read (false).
    pub is_causal: bool,
}

impl Default for MultiheadAttentionOptions<'_> {
    fn default() -> Self {
        MultiheadAttentionOptions {
            key_padding_mask: None,
            need_weights: true,
            attn_mask: None,
            average_attn_weights: true,
            is_causal: false,
        }
    }
}

/// What decides about the initial values.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    embed: usize,
    heads: usize,
    kdim: usize,
    vdim: usize,
    bias: bool,
    bias_kv: bool,
}

/// The parameters.
struct Parts {
    /// Those of queries, keys and values, or the first alone for all three.
    projections: Vec<Parameter>,
    in_proj_bias: Option<Parameter>,
    bias_kv: Option<(Parameter, Parameter)>,
    out_proj: NonDynamicallyQuantizableLinear,
}

impl Sizes {
    /// Draws as PyTorch's constructor does: the output's projection first, whose bias is then zero.
    #[track_caller]
    fn draw(self) -> Result<Parts> {
        let e = self.embed;
        if e == 0 || self.heads == 0 || !e.is_multiple_of(self.heads) {
            bail!(
                "MultiheadAttention",
                "embed_dim {e} must be a multiple of num_heads {}, and neither zero",
                self.heads
            );
        }
        let mut mode = Mode::default();
        let out = Affine::draw(&mut mode, None, Ok(vec![e, e]), self.bias.then_some(e));
        if let Some(bias) = &out.bias {
            init::zeros_(bias)?;
        }
        let xavier = |rows: usize, columns: usize| {
            Parameter::new(init::xavier_uniform_(
                &Tensor::empty([rows, columns])?,
                1.0,
            )?)
        };
        let projections = if self.packed() {
            vec![xavier(e.saturating_mul(3), e)?]
        } else {
            vec![xavier(e, e)?, xavier(e, self.kdim)?, xavier(e, self.vdim)?]
        };
        let extra = || Parameter::new(init::xavier_normal_(&Tensor::empty([1, 1, e])?, 1.0)?);
        Ok(Parts {
            projections,
            in_proj_bias: match self.bias {
                true => Some(Parameter::new(filled(&[e.saturating_mul(3)], 0.0)?)?),
                false => None,
            },
            bias_kv: match self.bias_kv {
                true => Some((extra()?, extra()?)),
                false => None,
            },
            out_proj: NonDynamicallyQuantizableLinear {
                weight: out.weight,
                bias: out.bias,
                mode,
            },
        })
    }

    /// Whether one matrix projects queries, keys and values.
    fn packed(self) -> bool {
        self.kdim == self.embed && self.vdim == self.embed
    }
}

/// Attention with several heads (Vaswani et al., arXiv 1706.03762;
/// [`torch.nn.MultiheadAttention`](https://pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html)).
///
/// Queries `[length, batch, embed]`, keys and values `[keys, batch, embed]`; with `batch_first` the
/// first two dimensions change places; without a batch the second is missing. The result has the
/// queries' shape.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::{MultiheadAttention, MultiheadAttentionOptions};
/// manual_seed(0);
/// let attention = MultiheadAttention::new(8, 2).batch_first(true);
/// let x = Tensor::ones([3, 5, 8])?;
/// let (y, weights) = attention.forward(&x, &x, &x, Default::default())?;
/// assert_eq!(y.shape(), [3, 5, 8]);
/// assert_eq!(weights.unwrap().shape(), [3, 5, 5]);
/// let options = MultiheadAttentionOptions { need_weights: false, ..Default::default() };
/// assert!(attention.forward(&x, &x, &x, options)?.1.is_none());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// A query that may attend to nothing gives zeros as the mean of the values, whether or not the
/// weights are asked for; PyTorch gives NaN where they are.
#[derive(Debug, Module)]
pub struct MultiheadAttention {
    /// `[embed, embed]`, where keys or values have another size than queries.
    pub q_proj_weight: Option<Parameter>,
    /// `[embed, kdim]`, likewise.
    pub k_proj_weight: Option<Parameter>,
    /// `[embed, vdim]`, likewise.
    pub v_proj_weight: Option<Parameter>,
    /// `[3 · embed, embed]`: for queries, keys and values of one size.
    pub in_proj_weight: Option<Parameter>,
    /// `[3 · embed]`.
    pub in_proj_bias: Option<Parameter>,
    /// `[1, 1, embed]`: one more key.
    pub bias_k: Option<Parameter>,
    /// `[1, 1, embed]`: its value.
    pub bias_v: Option<Parameter>,
    /// From the heads' results to the output.
    pub out_proj: NonDynamicallyQuantizableLinear,
    sizes: Sizes,
    dropout: f64,
    add_zero_attn: bool,
    batch_first: bool,
    mode: Mode,
    draw: Draw,
}

impl MultiheadAttention {
    /// `num_heads` heads, each of `embed_dim / num_heads` numbers, with biases and without dropout.
    /// An `embed_dim` that does not divide is an error of the first call.
    #[track_caller]
    pub fn new(embed_dim: usize, num_heads: usize) -> MultiheadAttention {
        let sizes = Sizes {
            embed: embed_dim,
            heads: num_heads,
            kdim: embed_dim,
            vdim: embed_dim,
            bias: true,
            bias_kv: false,
        };
        let (parts, draw) = Draw::first(|| sizes.draw());
        let layer = MultiheadAttention {
            q_proj_weight: None,
            k_proj_weight: None,
            v_proj_weight: None,
            in_proj_weight: None,
            in_proj_bias: None,
            bias_k: None,
            bias_v: None,
            out_proj: NonDynamicallyQuantizableLinear {
                weight: nothing().into(),
                bias: None,
                mode: Mode::default(),
            },
            sizes,
            dropout: 0.0,
            add_zero_attn: false,
            batch_first: false,
            mode: Mode::default(),
            draw,
        };
        layer.with_parts(parts)
    }

    #[track_caller]
    fn with_parts(mut self, parts: Result<Parts>) -> MultiheadAttention {
        let parts = match parts {
            Ok(parts) => parts,
            Err(e) => {
                self.mode.set_fault(Some(e.message().to_owned()));
                return self;
            }
        };
        self.mode.set_fault(None);
        let mut projections = parts.projections.into_iter();
        if self.sizes.packed() {
            self.in_proj_weight = projections.next();
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) = (None, None, None);
        } else {
            self.in_proj_weight = None;
            self.q_proj_weight = projections.next();
            self.k_proj_weight = projections.next();
            self.v_proj_weight = projections.next();
        }
        self.in_proj_bias = parts.in_proj_bias;
        (self.bias_k, self.bias_v) = parts.bias_kv.unzip();
        self.out_proj = parts.out_proj;
        self
    }

    /// The values for other sizes, from where the generator was before.
    #[track_caller]
    fn redraw(mut self, sizes: Sizes) -> MultiheadAttention {
        self.sizes = sizes;
        let parts = self.draw.again(|| sizes.draw());
        self.with_parts(parts)
    }

    /// Whether the projections have biases (true). Draws the values anew, as the next three do, from
    /// where the generator was before.
    #[must_use]
    #[track_caller]
    pub fn bias(self, bias: bool) -> MultiheadAttention {
        let sizes = Sizes { bias, ..self.sizes };
        self.redraw(sizes)
    }

    /// The size of keys (that of queries).
    #[must_use]
    #[track_caller]
    pub fn kdim(self, kdim: usize) -> MultiheadAttention {
        let sizes = Sizes { kdim, ..self.sizes };
        self.redraw(sizes)
    }

    /// The size of values (that of queries).
    #[must_use]
    #[track_caller]
    pub fn vdim(self, vdim: usize) -> MultiheadAttention {
        let sizes = Sizes { vdim, ..self.sizes };
        self.redraw(sizes)
    }

    /// Whether there is one more key, with its value, that is learned (false).
    #[must_use]
    #[track_caller]
    pub fn add_bias_kv(self, add_bias_kv: bool) -> MultiheadAttention {
        let sizes = Sizes {
            bias_kv: add_bias_kv,
            ..self.sizes
        };
        self.redraw(sizes)
    }

    setters! {
        /// The probability that a weight becomes zero while training (0).
        dropout: f64;
        /// Whether there is one more key, with its value, of zeros (false).
        add_zero_attn: bool;
        /// Whether the batch is the first dimension (false).
        batch_first: bool;
    }

    /// The result for queries, keys and values, and the weights where they are wanted: `[batch,
    /// length, keys]`, or `[batch, heads, length, keys]` where they are not averaged.
    ///
    /// # Errors
    /// Where shapes do not fit, a mask is neither of bool nor of floating point, or `is_causal` comes
    /// without `attn_mask`.
    #[track_caller]
    pub fn forward(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: MultiheadAttentionOptions<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        self.mode.check("MultiheadAttention")?;
        let _memory = self.mode.scope("MultiheadAttention", query);
        check_mode(
            self.mode.is_training() && self.dropout > 0.0,
            "MultiheadAttention",
        );
        let brief = format_args!("MultiheadAttention({})", self.sizes.embed);
        match self.run(query, key, value, options) {
            Ok(out) => Ok(out),
            Err(e) => Err(self.mode.locate(e, brief)),
        }
    }

    #[track_caller]
    fn run(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: MultiheadAttentionOptions<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        self.check_shapes(query, key, value)?;
        if options.is_causal && options.attn_mask.is_none() {
            bail!(
                "multi_head_attention",
                "is_causal says that attn_mask is the causal one, but there is none; give it too"
            );
        }
        let batched = query.dim() == 3;
        let batch_dim = if self.batch_first { 0 } else { 1 };
        let (batch, length, keys) = match (batched, self.batch_first) {
            (false, _) => (1, query.shape()[0], key.shape()[0]),
            (true, true) => (query.shape()[0], query.shape()[1], key.shape()[1]),
            (true, false) => (query.shape()[1], query.shape()[0], key.shape()[0]),
        };
        let whole = |x: Tensor| match batched {
            true => Ok(x),
            false => x.unsqueeze(batch_dim),
        };
        let extra = usize::from(self.bias_k.is_some()) + usize::from(self.add_zero_attn);
        let hint = options.is_causal && options.key_padding_mask.is_none() && !options.need_weights;
        let mask = if hint {
            None
        } else {
            self.mask(&options, query.dtype(), [batch, length, keys], extra)?
        };
        let dropout = if self.mode.is_training() {
            self.dropout
        } else {
            0.0
        };
        let attention = AttentionOptions {
            mask: mask.as_ref(),
            dropout,
            is_causal: hint,
            ..Default::default()
        };
        let Sizes { embed, heads, .. } = self.sizes;
        let own = query.is(key) && key.is(value);
        let (y, weights) = match &self.in_proj_weight {
            Some(weight) if own && extra == 0 && !options.need_weights => {
                let all = query.linear(weight, self.in_proj_bias.as_deref())?;
                let all = whole(all)?;
                (
                    all.self_attention(heads, self.batch_first, attention)?,
                    None,
                )
            }
            _ => {
                let (q, k, v) = self.project(query, key, value)?;
                let (q, mut k, mut v) = (whole(q)?, whole(k)?, whole(v)?);
                if let (Some(bias_k), Some(bias_v)) = (&self.bias_k, &self.bias_v) {
                    let mut one = [1, 1, embed];
                    one[batch_dim as usize] = batch;
                    k = Tensor::cat(&[k, bias_k.expand(one)?], 1 - batch_dim)?;
                    v = Tensor::cat(&[v, bias_v.expand(one)?], 1 - batch_dim)?;
                }
                let (q, mut k, mut v) = (self.heads(&q)?, self.heads(&k)?, self.heads(&v)?);
                if self.add_zero_attn {
                    let one = [batch, heads, 1, embed / heads];
                    let zero = Tensor::zeros_with(one, (k.dtype(), k.device()))?;
                    k = Tensor::cat(&[&k, &zero], -2)?;
                    v = Tensor::cat(&[&v, &zero], -2)?;
                }
                let (y, weights) = if options.need_weights {
                    let (y, weights) = q.scaled_dot_product_attention_weights(&k, &v, attention)?;
                    (y, Some(weights))
                } else {
                    (q.scaled_dot_product_attention(&k, &v, attention)?, None)
                };
                let y = match self.batch_first {
                    true => y.permute([0, 2, 1, 3])?.reshape([batch, length, embed])?,
                    false => y.permute([2, 0, 1, 3])?.reshape([length, batch, embed])?,
                };
                (y, weights)
            }
        };
        let y = self.out_proj.forward(&y)?;
        let weights = match weights {
            Some(w) if options.average_attn_weights => Some(w.mean_dim(1, false)?),
            w => w,
        };
        if batched {
            return Ok((y, weights));
        }
        let weights = weights.map(|w| w.squeeze_dim(0)).transpose()?;
        Ok((y.squeeze_dim(batch_dim)?, weights))
    }

    #[track_caller]
    fn check_shapes(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<()> {
        let (q, k, v) = (query.shape(), key.shape(), value.shape());
        let sizes = &self.sizes;
        let rank = q.len();
        let fits = (rank == 2 || rank == 3)
            && [k.len(), v.len()] == [rank; 2]
            && k[..rank - 1] == v[..rank - 1]
            && [q[rank - 1], k[rank - 1], v[rank - 1]] == [sizes.embed, sizes.kdim, sizes.vdim];
        let batch = |s: &[usize]| s[if self.batch_first { 0 } else { 1 }];
        if !fits || rank == 3 && batch(q) != batch(k) {
            let form = if self.batch_first {
                "[batch, length, size]"
            } else {
                "[length, batch, size]"
            };
            bail!(
                "multi_head_attention",
                "queries {q:?}, keys {k:?} and values {v:?} do not fit; need {form}, or [length, size] without a batch, of sizes {}, {} and {}, one batch, and as many keys as values",
                sizes.embed,
                sizes.kdim,
                sizes.vdim
            );
        }
        Ok(())
    }

    /// Queries, keys and values of the heads, side by side. What is one tensor is projected at once.
    #[track_caller]
    fn project(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let e = self.sizes.embed;
        let bias = |from: usize, parts: usize| {
            let bias = self.in_proj_bias.as_ref();
            bias.map(|b| b.narrow(0, (from * e) as i64, parts * e))
                .transpose()
        };
        let Some(weight) = &self.in_proj_weight else {
            let weights = [
                &self.q_proj_weight,
                &self.k_proj_weight,
                &self.v_proj_weight,
            ];
            let [Some(wq), Some(wk), Some(wv)] = weights.map(Option::as_ref) else {
                bail!(
                    "multi_head_attention",
                    "the weights of the projections are missing"
                );
            };
            return Ok((
                query.linear(wq, bias(0, 1)?.as_ref())?,
                key.linear(wk, bias(1, 1)?.as_ref())?,
                value.linear(wv, bias(2, 1)?.as_ref())?,
            ));
        };
        let part = |x: &Tensor, i: usize| x.narrow(-1, (i * e) as i64, e);
        let rows = |from: usize, parts: usize| weight.narrow(0, (from * e) as i64, parts * e);
        if query.is(key) && key.is(value) {
            let all = query.linear(weight, self.in_proj_bias.as_deref())?;
            return Ok((part(&all, 0)?, part(&all, 1)?, part(&all, 2)?));
        }
        let q = query.linear(&rows(0, 1)?, bias(0, 1)?.as_ref())?;
        if key.is(value) {
            let both = key.linear(&rows(1, 2)?, bias(1, 2)?.as_ref())?;
            return Ok((q, part(&both, 0)?, part(&both, 1)?));
        }
        Ok((
            q,
            key.linear(&rows(1, 1)?, bias(1, 1)?.as_ref())?,
            value.linear(&rows(2, 1)?, bias(2, 1)?.as_ref())?,
        ))
    }

    /// `[batch, heads, length, width]`, a view.
    fn heads(&self, x: &Tensor) -> Result<Tensor> {
        let Sizes { embed, heads, .. } = self.sizes;
        let x = x.unflatten(-1, [heads, embed / heads])?;
        if self.batch_first {
            x.permute([0, 2, 1, 3])
        } else {
            x.permute([1, 2, 0, 3])
        }
    }

    /// What both masks add to the products; the last `extra` keys are open to all.
    #[track_caller]
    fn mask(
        &self,
        options: &MultiheadAttentionOptions<'_>,
        dtype: DType,
        [batch, length, keys]: [usize; 3],
        extra: usize,
    ) -> Result<Option<Tensor>> {
        let heads = self.sizes.heads;
        let attention = match options.attn_mask {
            None => None,
            Some(mask) => {
                let all = [batch.saturating_mul(heads), length, keys];
                let shape = mask.shape();
                if shape != &all[1..] && shape != all {
                    bail!(
                        "multi_head_attention",
                        "attn_mask has shape {shape:?}; it must be {:?} or {all:?}: queries and keys, or batch · heads before them",
                        &all[1..]
                    );
                }
                let mask = additive("attn_mask", mask, dtype)?;
                Some(match shape.len() {
                    2 => mask,
                    _ => mask.reshape([batch, heads, length, keys])?,
                })
            }
        };
        let padding = match options.key_padding_mask {
            None => None,
            Some(mask) => {
                let shape = mask.shape();
                if shape != [batch, keys] && !(batch == 1 && shape == [keys]) {
                    bail!(
                        "multi_head_attention",
                        "key_padding_mask has shape {shape:?}; it must be {:?}: batch and keys",
                        [batch, keys]
                    );
                }
                let mask = additive("key_padding_mask", mask, dtype)?;
                Some(mask.reshape([batch, 1, 1, keys])?)
            }
        };
        let mask = match (attention, padding) {
            (Some(a), Some(p)) => a.add(&p)?,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(None),
        };
        if extra == 0 {
            return Ok(Some(mask));
        }
        mask.pad(&[0, extra as i64], PaddingMode::Zeros).map(Some)
    }
}

/// A mask as numbers to add; true of bool is minus infinity.
#[track_caller]
fn additive(name: &str, mask: &Tensor, dtype: DType) -> Result<Tensor> {
    if mask.dtype() == DType::Bool {
        return Tensor::zeros_with(mask.shape(), dtype)?.masked_fill(mask, f64::NEG_INFINITY);
    }
    if !mask.dtype().is_floating_point() {
        bail!(
            "multi_head_attention",
            "{name} is {}; a mask is of bool or of floating point",
            mask.dtype()
        );
    }
    mask.to_dtype(dtype)
}
