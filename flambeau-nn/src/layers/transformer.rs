//! The encoder of the Transformer.

use super::{Dropout, LayerNorm, Linear, MultiheadAttention, MultiheadAttentionOptions};
use crate::init::Draw;
use crate::module::{Forward, Module};
use crate::parameter::Mode;
use flambeau_core::random::with_default;
use flambeau_core::{Result, Tensor, bail};
use flambeau_macros::Module;

/// The function between the two linear layers of a Transformer's layer.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Activation, Forward, TransformerEncoderLayer};
/// let layer = TransformerEncoderLayer::new(4, 2).activation(Activation::GELU);
/// assert_eq!(layer.forward(&Tensor::ones([5, 1, 4])?)?.shape(), [5, 1, 4]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// max(0, x), the default.
    #[default]
    ReLU,
    /// x Φ(x).
    GELU,
}

/// What a call of an encoder or its layer may be told.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{EncoderOptions, TransformerEncoderLayer};
/// let layer = TransformerEncoderLayer::new(4, 2);
/// let mask = Tensor::new([[false, true], [false, false]])?;
/// let options = EncoderOptions { src_mask: Some(&mask), ..Default::default() };
/// assert_eq!(layer.forward_with(&Tensor::ones([2, 1, 4])?, options)?.shape(), [2, 1, 4]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EncoderOptions<'a> {
    /// `[length, length]` or `[batch · heads, length, length]`: of bool, true where a position may not
    /// attend to another; else added to the products (none).
    pub src_mask: Option<&'a Tensor>,
    /// `[batch, length]`: of bool, true for positions to ignore; else added to the products (none).
    pub src_key_padding_mask: Option<&'a Tensor>,
    /// Says that `src_mask` is the causal one, which then need not be read (false).
    pub is_causal: bool,
}

/// What decides about the initial values.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    d_model: usize,
    nhead: usize,
    dim_feedforward: usize,
    bias: bool,
}

/// Attention to itself and two linear layers, each with a way around it and a normalisation
/// (Vaswani et al., arXiv 1706.03762;
/// [`torch.nn.TransformerEncoderLayer`](https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoderLayer.html)).
///
/// Input and output `[length, batch, d_model]`; with `batch_first` `[batch, length, d_model]`;
/// without a batch `[length, d_model]`.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::{Activation, EncoderOptions, Forward, TransformerEncoderLayer};
/// manual_seed(0);
/// let layer = TransformerEncoderLayer::new(8, 2)
///     .dim_feedforward(16)
///     .activation(Activation::GELU)
///     .batch_first(true);
/// let x = Tensor::ones([3, 5, 8])?;
/// assert_eq!(layer.forward(&x)?.shape(), [3, 5, 8]);
/// let causal = Tensor::full([5, 5], true)?.triu(1)?;
/// let options = EncoderOptions { src_mask: Some(&causal), is_causal: true, ..Default::default() };
/// assert_eq!(layer.forward_with(&x, options)?.shape(), [3, 5, 8]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
pub struct TransformerEncoderLayer {
    /// Attention to itself.
    pub self_attn: MultiheadAttention,
    /// From `d_model` to `dim_feedforward`.
    pub linear1: Linear,
    /// After the activation.
    pub dropout: Dropout,
    /// Back to `d_model`.
    pub linear2: Linear,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the linear layers.
    pub norm2: LayerNorm,
    /// After the attention.
    pub dropout1: Dropout,
    /// After the linear layers.
    pub dropout2: Dropout,
    sizes: Sizes,
    p: f64,
    eps: f64,
    activation: Activation,
    batch_first: bool,
    norm_first: bool,
    mode: Mode,
    draw: Draw,
}

impl TransformerEncoderLayer {
    /// For `d_model` numbers a position, with `nhead` heads: 2048 numbers between the linear layers,
    /// dropout 0.1, ReLU, eps 1e-5, normalised last, with biases.
    #[track_caller]
    pub fn new(d_model: usize, nhead: usize) -> TransformerEncoderLayer {
        let sizes = Sizes {
            d_model,
            nhead,
            dim_feedforward: 2048,
            bias: true,
        };
        let ((self_attn, linear1, linear2), draw) = Draw::first(|| sizes.draw());
        TransformerEncoderLayer {
            self_attn,
            linear1,
            dropout: Dropout::new(0.1),
            linear2,
            norm1: LayerNorm::new(d_model),
            norm2: LayerNorm::new(d_model),
            dropout1: Dropout::new(0.1),
            dropout2: Dropout::new(0.1),
            sizes,
            p: 0.1,
            eps: 1e-5,
            activation: Activation::ReLU,
            batch_first: false,
            norm_first: false,
            mode: Mode::default(),
            draw,
        }
        .dropout(0.1)
    }

    #[track_caller]
    fn redraw(mut self, sizes: Sizes) -> TransformerEncoderLayer {
        let (self_attn, linear1, linear2) = self.draw.again(|| sizes.draw());
        let norm = || LayerNorm::new(sizes.d_model).bias(sizes.bias).eps(self.eps);
        TransformerEncoderLayer {
            self_attn: self_attn.dropout(self.p).batch_first(self.batch_first),
            linear1,
            linear2,
            norm1: norm(),
            norm2: norm(),
            sizes,
            ..self
        }
    }

    /// Numbers between the linear layers (2048). Draws the values anew, from where the generator was
    /// before.
    #[must_use]
    #[track_caller]
    pub fn dim_feedforward(self, dim_feedforward: usize) -> TransformerEncoderLayer {
        let sizes = Sizes {
            dim_feedforward,
            ..self.sizes
        };
        self.redraw(sizes)
    }

    /// Whether linear layers, attention and normalisations have biases (true). Draws the values anew,
    /// from where the generator was before.
    #[must_use]
    #[track_caller]
    pub fn bias(self, bias: bool) -> TransformerEncoderLayer {
        let sizes = Sizes { bias, ..self.sizes };
        self.redraw(sizes)
    }

    /// The probability of a zero while training: in the attention's weights, after the attention,
    /// after the activation and at the end (0.1).
    #[must_use]
    pub fn dropout(self, p: f64) -> TransformerEncoderLayer {
        TransformerEncoderLayer {
            self_attn: self.self_attn.dropout(p),
            dropout: Dropout::new(p),
            dropout1: Dropout::new(p),
            dropout2: Dropout::new(p),
            p,
            ..self
        }
    }

    /// Between the linear layers (ReLU).
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> TransformerEncoderLayer {
        self.activation = activation;
        self
    }

    /// Added to the variances (1e-5).
    #[must_use]
    pub fn layer_norm_eps(self, eps: f64) -> TransformerEncoderLayer {
        TransformerEncoderLayer {
            norm1: self.norm1.eps(eps),
            norm2: self.norm2.eps(eps),
            eps,
            ..self
        }
    }

    /// Whether the batch is the first dimension (false).
    #[must_use]
    pub fn batch_first(self, batch_first: bool) -> TransformerEncoderLayer {
        TransformerEncoderLayer {
            self_attn: self.self_attn.batch_first(batch_first),
            batch_first,
            ..self
        }
    }

    /// Whether what goes into attention and linear layers is normalised, instead of what comes out
    /// (false).
    #[must_use]
    pub fn norm_first(mut self, norm_first: bool) -> TransformerEncoderLayer {
        self.norm_first = norm_first;
        self
    }

    /// The output under masks.
    ///
    /// # Errors
    /// Where input or masks do not fit.
    #[track_caller]
    pub fn forward_with(&self, src: &Tensor, options: EncoderOptions<'_>) -> Result<Tensor> {
        self.mode.check("TransformerEncoderLayer")?;
        if self.norm_first {
            let x = src.add(&self.attend(&self.norm1.forward(src)?, options)?)?;
            let y = self.feed_forward(&self.norm2.forward(&x)?)?;
            return x.add(&y);
        }
        let x = src.add(&self.attend(src, options)?)?;
        let x = self.norm1.forward(&x)?;
        let x = x.add(&self.feed_forward(&x)?)?;
        self.norm2.forward(&x)
    }

    #[track_caller]
    fn attend(&self, x: &Tensor, options: EncoderOptions<'_>) -> Result<Tensor> {
        let options = MultiheadAttentionOptions {
            key_padding_mask: options.src_key_padding_mask,
            need_weights: false,
            attn_mask: options.src_mask,
            is_causal: options.is_causal,
            ..Default::default()
        };
        let (y, _) = self.self_attn.forward(x, x, x, options)?;
        // PyTorch's result lies in memory with the positions first, and zeros are drawn in the
        // order of memory.
        let turned = self.batch_first && y.dim() == 3 && self.p > 0.0 && self.mode.is_training();
        if turned {
            return self.dropout1.forward(&y.transpose(0, 1)?)?.transpose(0, 1);
        }
        self.dropout1.forward(&y)
    }

    #[track_caller]
    fn feed_forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.linear1.forward(x)?;
        let x = match self.activation {
            Activation::ReLU => x.relu_()?,
            Activation::GELU => x.gelu()?,
        };
        let x = self.linear2.forward(&self.dropout.forward(&x)?)?;
        self.dropout2.forward(&x)
    }

    /// A layer of its own with the same values and options; the generator stays where it is.
    #[track_caller]
    fn duplicate(&self) -> Result<TransformerEncoderLayer> {
        let before = with_default(|g| g.clone());
        let copy = TransformerEncoderLayer::new(self.sizes.d_model, self.sizes.nhead);
        let copy = copy
            .redraw(self.sizes)
            .dropout(self.p)
            .layer_norm_eps(self.eps)
            .batch_first(self.batch_first)
            .norm_first(self.norm_first)
            .activation(self.activation);
        with_default(|g| *g = before);
        let copy = copy.to(self.linear1.weight.dtype())?;
        copy.load_state_dict(&self.state_dict(), true)?;
        for (new, old) in copy.parameters().iter().zip(self.parameters()) {
            new.tensor().requires_grad_(old.requires_grad())?;
        }
        copy.set_training(self.is_training());
        Ok(copy)
    }
}

impl Sizes {
    /// In PyTorch's order.
    #[track_caller]
    fn draw(self) -> (MultiheadAttention, Linear, Linear) {
        let attention = MultiheadAttention::new(self.d_model, self.nhead);
        let attention = match self.bias {
            true => attention,
            false => attention.bias(false),
        };
        let linear = |from: usize, to: usize| match self.bias {
            true => Linear::new(from, to),
            false => Linear::new(from, to).bias(false),
        };
        (
            attention,
            linear(self.d_model, self.dim_feedforward),
            linear(self.dim_feedforward, self.d_model),
        )
    }
}

impl Forward for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, src: &Tensor) -> Result<Tensor> {
        self.forward_with(src, EncoderOptions::default())
    }
}

/// Several encoder layers, one after the other
/// ([`torch.nn.TransformerEncoder`](https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoder.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, LayerNorm, Module, TransformerEncoder, TransformerEncoderLayer};
/// let layer = TransformerEncoderLayer::new(8, 2).dim_feedforward(16);
/// let encoder = TransformerEncoder::new(&layer, 3)?.norm(LayerNorm::new(8));
/// assert_eq!(encoder.num_parameters(), 3 * layer.num_parameters() + 16);
/// assert_eq!(encoder.forward(&Tensor::ones([5, 2, 8])?)?.shape(), [5, 2, 8]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// After the last one.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// `num_layers` copies of `layer`, all with its values, as in PyTorch; `layer` itself is not one
    /// of them.
    ///
    /// # Errors
    /// Where `layer` was built with options that do not fit together, or there would be more than
    /// 65,536 layers.
    #[track_caller]
    pub fn new(layer: &TransformerEncoderLayer, num_layers: usize) -> Result<TransformerEncoder> {
        const LAYERS: usize = 1 << 16;
        if num_layers > LAYERS {
            bail!(
                "TransformerEncoder",
                "num_layers {num_layers} is beyond {LAYERS}, the most there may be"
            );
        }
        let layers = (0..num_layers).map(|_| layer.duplicate());
        Ok(TransformerEncoder {
            layers: layers.collect::<Result<_>>()?,
            norm: None,
        })
    }

    /// A normalisation after the last layer (none).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Forward, LayerNorm, TransformerEncoder, TransformerEncoderLayer};
    /// let layer = TransformerEncoderLayer::new(4, 2);
    /// let encoder = TransformerEncoder::new(&layer, 2)?.norm(LayerNorm::new(4));
    /// assert_eq!(encoder.forward(&Tensor::ones([5, 1, 4])?)?.shape(), [5, 1, 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[must_use]
    pub fn norm(mut self, norm: LayerNorm) -> TransformerEncoder {
        self.norm = Some(norm);
        self
    }

    /// The output under masks, which every layer gets.
    ///
    /// Positions that `src_key_padding_mask` ignores have an output too, which means nothing but is
    /// the same in training and evaluation: what PyTorch gives with `enable_nested_tensor=False`. By
    /// default PyTorch puts zeros there in some cases: in evaluation without gradients, batch first,
    /// normalised last, with an even number of heads, no other mask, no autocast, and padding at the
    /// end only. A program that counts on them (a mean over all positions, say) sets them itself:
    ///
    /// ```
    /// use flambeau_core::{Tensor, no_grad};
    /// use flambeau_nn::{EncoderOptions, Module, TransformerEncoder, TransformerEncoderLayer};
    /// let layer = TransformerEncoderLayer::new(8, 2).dim_feedforward(16).batch_first(true);
    /// let encoder = TransformerEncoder::new(&layer, 2)?;
    /// encoder.eval();
    /// let padding = Tensor::new([[false, false, true], [false, true, true]])?;
    /// let options = EncoderOptions { src_key_padding_mask: Some(&padding), ..Default::default() };
    /// let y = no_grad(|| encoder.forward_with(&Tensor::ones([2, 3, 8])?, options))?;
    /// let y = y.masked_fill(&padding.unsqueeze(-1)?, 0.0)?;
    /// assert_eq!(y.select(1, 2)?.to_vec::<f32>()?, [0.0; 2 * 8]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where input or masks do not fit.
    #[track_caller]
    pub fn forward_with(&self, src: &Tensor, options: EncoderOptions<'_>) -> Result<Tensor> {
        let mut x = src.clone();
        for layer in &self.layers {
            x = layer.forward_with(&x, options)?;
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }
}

impl Forward for TransformerEncoder {
    #[track_caller]
    fn forward(&self, src: &Tensor) -> Result<Tensor> {
        self.forward_with(src, EncoderOptions::default())
    }
}
