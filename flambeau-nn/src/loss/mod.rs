//! Losses: modules around the functions of the same names.

pub(crate) mod functional;

pub use flambeau_core::Reduction;

use crate::layers::setters;
use crate::parameter::{Buffer, Mode};
use crate::warnings::{Warning, warn, would_warn};
use flambeau_core::{DType, Result, Tensor};
use flambeau_macros::Module;
use functional as f;
use std::sync::atomic::{AtomicU8, Ordering};

/// How many inputs [`CrossEntropyLoss`] looks at for a softmax that should not be there.
const LOOKS: u8 = 3;

/// Cross-entropy between logits and class indices or probabilities
/// ([`torch.nn.CrossEntropyLoss`](https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html)).
///
/// Input `[batch, classes]` or `[batch, classes, …]`, raw scores: the softmax is inside. Targets
/// `[batch, …]` of type `i64`, or probabilities of the input's shape.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::CrossEntropyLoss;
/// let criterion = CrossEntropyLoss::new();
/// let logits = Tensor::new([[2.0f32, 0.0], [0.0, 2.0]])?;
/// let loss = criterion.forward(&logits, &Tensor::new([0i64, 1])?)?;
/// assert!((loss.item::<f32>()? - 0.126928).abs() < 1e-6);
/// let error = criterion.forward(&logits, &Tensor::new([0i64, 2])?).unwrap_err().to_string();
/// assert!(error.contains("target 2 of sample 1 is no class"), "{error}");
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
pub struct CrossEntropyLoss {
    /// `[classes]`.
    #[module(rename = "weight")]
    class_weight: Option<Buffer>,
    ignore_index: i64,
    label_smoothing: f64,
    reduction: Reduction,
    looks: AtomicU8,
    mode: Mode,
}

impl CrossEntropyLoss {
    /// The mean over the batch, without weights or smoothing.
    pub fn new() -> CrossEntropyLoss {
        CrossEntropyLoss {
            class_weight: None,
            ignore_index: -100,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
            looks: AtomicU8::new(0),
            mode: Mode::default(),
        }
    }

    /// A weight for each class, `[classes]`.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::CrossEntropyLoss;
    /// let criterion = CrossEntropyLoss::new().weight(Tensor::new([1.0f32, 3.0])?);
    /// let (logits, target) = (Tensor::new([[2.0f32, 0.0], [2.0, 0.0]])?, Tensor::new([0i64, 1])?);
    /// assert!((criterion.forward(&logits, &target)?.item::<f32>()? - 1.62693).abs() < 1e-5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.class_weight = Some(Buffer::new(weight));
        self
    }

    setters! {
        /// Targets of this value count for nothing (-100).
        ignore_index: i64;
        /// How much of each target is spread evenly over all classes, 0 to 1 (0).
        label_smoothing: f64;
        /// Mean, sum or none (mean).
        reduction: Reduction;
    }

    /// The loss.
    ///
    /// # Errors
    /// Where shapes or types do not fit, or a target is no class.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        if would_warn(Warning::SoftmaxIntoCrossEntropy)
            && self.looks.load(Ordering::Relaxed) < LOOKS
        {
            self.looks.fetch_add(1, Ordering::Relaxed);
            if is_softmax(input)? {
                warn(
                    Warning::SoftmaxIntoCrossEntropy,
                    "the input of CrossEntropyLoss looks like the output of a softmax (rows of numbers above zero that sum to 1): give it the raw scores, as it has a softmax of its own",
                );
            }
        }
        f::cross_entropy(
            input,
            target,
            self.class_weight.as_deref(),
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
        )
        .map_err(|e| self.mode.locate(e, self))
    }
}

impl Default for CrossEntropyLoss {
    fn default() -> Self {
        CrossEntropyLoss::new()
    }
}

/// Whether every row along the classes is probabilities.
fn is_softmax(input: &Tensor) -> Result<bool> {
    if !(1..=5).contains(&input.dim()) || input.numel() == 0 || !input.dtype().is_floating_point() {
        return Ok(false);
    }
    let classes = usize::from(input.dim() > 1);
    if input.shape()[classes] < 2 {
        return Ok(false);
    }
    let x = input.detach().to_dtype(DType::F32)?;
    if x.to_vec::<f32>()?.iter().any(|v| v.is_nan() || *v < 0.0) {
        return Ok(false);
    }
    let sums = x.sum_dim(classes as i64, false)?.to_vec::<f32>()?;
    Ok(sums.iter().all(|s| (s - 1.0).abs() < 1e-3))
}

/// Negative log-likelihood of log-probabilities under class indices
/// ([`torch.nn.NLLLoss`](https://pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::NLLLoss;
/// let (logp, target) = (Tensor::new([[-0.5f32, -1.0], [-2.0, -0.25]])?, Tensor::new([1i64, 0])?);
/// assert_eq!(NLLLoss::new().forward(&logp, &target)?.item::<f32>()?, 1.5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
pub struct NLLLoss {
    /// `[classes]`.
    #[module(rename = "weight")]
    class_weight: Option<Buffer>,
    ignore_index: i64,
    reduction: Reduction,
    mode: Mode,
}

impl NLLLoss {
    /// The mean over the batch, without weights.
    pub fn new() -> NLLLoss {
        NLLLoss {
            class_weight: None,
            ignore_index: -100,
            reduction: Reduction::Mean,
            mode: Mode::default(),
        }
    }

    /// A weight for each class, `[classes]`.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.class_weight = Some(Buffer::new(weight));
        self
    }

    setters! {
        /// Targets of this value count for nothing (-100).
        ignore_index: i64;
        /// Mean, sum or none (mean).
        reduction: Reduction;
    }

    /// The loss of log-probabilities `[batch, classes, …]` under class indices `[batch, …]`.
    ///
    /// # Errors
    /// Where shapes or types do not fit, or a target is no class.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.class_weight.as_deref();
        f::nll_loss(input, target, weight, self.ignore_index, self.reduction)
            .map_err(|e| self.mode.locate(e, self))
    }
}

impl Default for NLLLoss {
    fn default() -> Self {
        NLLLoss::new()
    }
}

/// Binary cross-entropy of logits
/// ([`torch.nn.BCEWithLogitsLoss`](https://pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::BCEWithLogitsLoss;
/// let criterion = BCEWithLogitsLoss::new().pos_weight(Tensor::new([2.0f32])?);
/// let (x, target) = (Tensor::new([2.0f32, -1.0])?, Tensor::new([1.0f32, 0.0])?);
/// assert!((criterion.forward(&x, &target)?.item::<f32>()? - 0.28356).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
pub struct BCEWithLogitsLoss {
    #[module(rename = "weight")]
    element_weight: Option<Buffer>,
    #[module(rename = "pos_weight")]
    positive_weight: Option<Buffer>,
    reduction: Reduction,
    mode: Mode,
}

impl BCEWithLogitsLoss {
    /// The mean over all elements, without weights.
    pub fn new() -> BCEWithLogitsLoss {
        BCEWithLogitsLoss {
            element_weight: None,
            positive_weight: None,
            reduction: Reduction::Mean,
            mode: Mode::default(),
        }
    }

    /// A weight for each element, which broadcasts.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.element_weight = Some(Buffer::new(weight));
        self
    }

    /// How often a positive target counts, which broadcasts: `[classes]` in most uses.
    #[must_use]
    pub fn pos_weight(mut self, pos_weight: Tensor) -> Self {
        self.positive_weight = Some(Buffer::new(pos_weight));
        self
    }

    setters! {
        /// Mean, sum or none (mean).
        reduction: Reduction;
    }

    /// The loss of logits under targets between 0 and 1 of the same shape.
    ///
    /// # Errors
    /// Where the shapes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        f::binary_cross_entropy_with_logits(
            input,
            target,
            self.element_weight.as_deref(),
            self.reduction,
            self.positive_weight.as_deref(),
        )
        .map_err(|e| self.mode.locate(e, self))
    }
}

impl Default for BCEWithLogitsLoss {
    fn default() -> Self {
        BCEWithLogitsLoss::new()
    }
}

/// Binary cross-entropy of probabilities
/// ([`torch.nn.BCELoss`](https://pytorch.org/docs/stable/generated/torch.nn.BCELoss.html)); better
/// give logits to
/// [`BCEWithLogitsLoss`].
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::BCELoss;
/// let (p, target) = (Tensor::new([0.9f32, 0.2])?, Tensor::new([1.0f32, 0.0])?);
/// assert!((BCELoss::new().forward(&p, &target)?.item::<f32>()? - 0.16425).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
pub struct BCELoss {
    #[module(rename = "weight")]
    element_weight: Option<Buffer>,
    reduction: Reduction,
    mode: Mode,
}

impl BCELoss {
    /// The mean over all elements, without weights.
    pub fn new() -> BCELoss {
        BCELoss {
            element_weight: None,
            reduction: Reduction::Mean,
            mode: Mode::default(),
        }
    }

    /// A weight for each element, which broadcasts.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.element_weight = Some(Buffer::new(weight));
        self
    }

    setters! {
        /// Mean, sum or none (mean).
        reduction: Reduction;
    }

    /// The loss of probabilities under targets between 0 and 1 of the same shape.
    ///
    /// # Errors
    /// Where the shapes differ or an input lies outside 0 to 1.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.element_weight.as_deref();
        f::binary_cross_entropy(input, target, weight, self.reduction)
            .map_err(|e| self.mode.locate(e, self))
    }
}

impl Default for BCELoss {
    fn default() -> Self {
        BCELoss::new()
    }
}

/// Losses whose options are numbers.
macro_rules! losses {
    ($(
        $(#[$doc:meta])*
        $name:ident($($input:ident),+) { $($(#[$about:meta])* $field:ident: $t:ty = $default:expr,)* }
        = |$m:ident| $body:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Module)]
        pub struct $name {
            reduction: Reduction,
            $($field: $t,)*
            mode: Mode,
        }

        impl $name {
            /// With PyTorch's defaults.
            pub fn new() -> $name {
                $name { reduction: Reduction::Mean, $($field: $default,)* mode: Mode::default() }
            }

            setters! {
                /// Mean, sum or none (mean).
                reduction: Reduction;
                $($(#[$about])* $field: $t;)*
            }

            /// The loss.
            ///
            /// # Errors
            /// Where the shapes do not fit: a loss does not broadcast.
            #[track_caller]
            pub fn forward(&self, $($input: &Tensor),+) -> Result<Tensor> {
                let $m = self;
                match $body {
                    Ok(loss) => Ok(loss),
                    Err(e) => Err(self.mode.locate(e, self)),
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::new()
            }
        }
    )*};
}

losses! {
    /// Mean squared error
    /// ([`torch.nn.MSELoss`](https://pytorch.org/docs/stable/generated/torch.nn.MSELoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::MSELoss;
    /// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
    /// assert_eq!(MSELoss::new().forward(&x, &y)?.item::<f32>()?, 2.125);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    MSELoss(input, target) {} = |m| f::mse_loss(input, target, m.reduction);
    /// Mean absolute error
    /// ([`torch.nn.L1Loss`](https://pytorch.org/docs/stable/generated/torch.nn.L1Loss.html)).
    ///
    /// ```
    /// use flambeau_core::{Reduction, Tensor};
    /// use flambeau_nn::L1Loss;
    /// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
    /// assert_eq!(L1Loss::new().reduction(Reduction::Sum).forward(&x, &y)?.item::<f32>()?, 2.5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    L1Loss(input, target) {} = |m| f::l1_loss(input, target, m.reduction);
    /// Squared near zero, absolute further out
    /// ([`torch.nn.SmoothL1Loss`](https://pytorch.org/docs/stable/generated/torch.nn.SmoothL1Loss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::SmoothL1Loss;
    /// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
    /// assert_eq!(SmoothL1Loss::new().beta(0.5).forward(&x, &y)?.item::<f32>()?, 1.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SmoothL1Loss(input, target) {
        /// Where it changes (1).
        beta: f64 = 1.0,
    } = |m| f::smooth_l1_loss(input, target, m.reduction, m.beta);
    /// Squared near zero, absolute further out
    /// ([`torch.nn.HuberLoss`](https://pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::HuberLoss;
    /// let (x, y) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([1.5f32, 4.0])?);
    /// assert_eq!(HuberLoss::new().delta(0.5).forward(&x, &y)?.item::<f32>()?, 0.5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    HuberLoss(input, target) {
        /// Where it changes (1).
        delta: f64 = 1.0,
    } = |m| f::huber_loss(input, target, m.reduction, m.delta);
    /// Kullback-Leibler divergence of log-probabilities
    /// ([`torch.nn.KLDivLoss`](https://pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::KLDivLoss;
    /// let (logp, y) = (Tensor::new([[0.5f32, 0.5]])?.log()?, Tensor::new([[0.25f32, 0.75]])?);
    /// let y = KLDivLoss::new().batchmean(true).forward(&logp, &y)?;
    /// assert!((y.item::<f32>()? - 0.13081).abs() < 1e-5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    KLDivLoss(input, target) {
        /// The targets are logarithms too (false).
        log_target: bool = false,
        /// The sum divided by the batch's size (`reduction="batchmean"`), which is the divergence
        /// proper (false).
        batchmean: bool = false,
    } = |m| kl(input, target, m);
    /// Whether two vectors should be alike
    /// ([`torch.nn.CosineEmbeddingLoss`](https://pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::CosineEmbeddingLoss;
    /// let (a, b) = (Tensor::new([[1.0f32, 0.0]])?, Tensor::new([[3.0f32, 4.0]])?);
    /// let y = CosineEmbeddingLoss::new().forward(&a, &b, &Tensor::new([-1i64])?)?;
    /// assert!((y.item::<f32>()? - 0.6).abs() < 1e-5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    CosineEmbeddingLoss(input1, input2, target) {
        /// How alike those may be that should not (0).
        margin: f64 = 0.0,
    } = |m| f::cosine_embedding_loss(input1, input2, target, m.margin, m.reduction);
    /// Which of two should rank higher
    /// ([`torch.nn.MarginRankingLoss`](https://pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::MarginRankingLoss;
    /// let (a, b) = (Tensor::new([1.0f32, 3.0])?, Tensor::new([2.0f32, 1.0])?);
    /// let y = MarginRankingLoss::new().margin(0.5).forward(&a, &b, &Tensor::ones([2])?)?;
    /// assert_eq!(y.item::<f32>()?, 0.75);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    MarginRankingLoss(input1, input2, target) {
        /// By how much (0).
        margin: f64 = 0.0,
    } = |m| f::margin_ranking_loss(input1, input2, target, m.margin, m.reduction);
    /// A distance that should be small or large
    /// ([`torch.nn.HingeEmbeddingLoss`](https://pytorch.org/docs/stable/generated/torch.nn.HingeEmbeddingLoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::HingeEmbeddingLoss;
    /// let (x, y) = (Tensor::new([0.25f32, 0.25])?, Tensor::new([1.0f32, -1.0])?);
    /// assert_eq!(HingeEmbeddingLoss::new().forward(&x, &y)?.item::<f32>()?, 0.5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    HingeEmbeddingLoss(input, target) {
        /// How large is large enough (1).
        margin: f64 = 1.0,
    } = |m| f::hinge_embedding_loss(input, target, m.margin, m.reduction);
    /// An anchor nearer to one than to another
    /// ([`torch.nn.TripletMarginLoss`](https://pytorch.org/docs/stable/generated/torch.nn.TripletMarginLoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::TripletMarginLoss;
    /// let at = |x: f32| Tensor::new([[x, 0.0]]);
    /// let y = TripletMarginLoss::new().forward(&at(0.0)?, &at(1.0)?, &at(1.5)?)?;
    /// assert!((y.item::<f32>()? - 0.5).abs() < 1e-5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    TripletMarginLoss(anchor, positive, negative) {
        /// By how much (1).
        margin: f64 = 1.0,
        /// The norm (2).
        p: f64 = 2.0,
    } = |m| f::triplet_margin_loss(anchor, positive, negative, m.margin, m.p, m.reduction);
    /// Two classes, -1 and 1
    /// ([`torch.nn.SoftMarginLoss`](https://pytorch.org/docs/stable/generated/torch.nn.SoftMarginLoss.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::SoftMarginLoss;
    /// let (x, y) = (Tensor::new([2.0f32, -1.0])?, Tensor::new([1.0f32, 1.0])?);
    /// assert!((SoftMarginLoss::new().forward(&x, &y)?.item::<f32>()? - 0.72009).abs() < 1e-5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    SoftMarginLoss(input, target) {} = |m| f::soft_margin_loss(input, target, m.reduction);
    /// Counts
    /// ([`torch.nn.PoissonNLLLoss`](https://pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html),
    /// without its `full`).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::PoissonNLLLoss;
    /// let (x, y) = (Tensor::new([0.0f32, 1.0])?, Tensor::new([1.0f32, 2.0])?);
    /// assert!((PoissonNLLLoss::new().forward(&x, &y)?.item::<f32>()? - 0.85914).abs() < 1e-5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    PoissonNLLLoss(input, target) {
        /// The input is the logarithm of the expected count (true).
        log_input: bool = true,
        /// Added under the logarithm where it is not (1e-8).
        eps: f64 = 1e-8,
    } = |m| f::poisson_nll_loss(input, target, m.log_input, m.eps, m.reduction);
}

#[track_caller]
fn kl(input: &Tensor, target: &Tensor, m: &KLDivLoss) -> Result<Tensor> {
    if m.batchmean {
        let sum = f::kl_div(input, target, Reduction::Sum, m.log_target)?;
        let batch = input.shape().first().copied().unwrap_or(1);
        sum.div(batch as f64)
    } else {
        f::kl_div(input, target, m.reduction, m.log_target)
    }
}
