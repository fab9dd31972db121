//! Activations.

use super::methods;
use flambeau_core::{Result, Tensor, bail};

methods! {
    /// x, or α (eˣ - 1) below zero (default 1)
    /// ([`F.elu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.elu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::elu;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(elu(&x, 1.0)?.allclose(&Tensor::new([-0.63212f32, 2.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    elu(alpha: f64) = elu;
    /// The self-normalising ELU
    /// ([`F.selu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.selu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::selu;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(selu(&x)?.allclose(&Tensor::new([-1.11133f32, 2.1014])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    selu() = selu;
    /// ELU with a continuous slope (default 1)
    /// ([`F.celu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.celu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::celu;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(celu(&x, 2.0)?.allclose(&Tensor::new([-0.78694f32, 2.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    celu(alpha: f64) = celu;
    /// x σ(x)
    /// ([`F.silu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.silu.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::silu;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(silu(&x)?.allclose(&Tensor::new([-0.26894f32, 1.76159])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    silu() = silu;
    /// x tanh(softplus(x))
    /// ([`F.mish`](https://pytorch.org/docs/stable/generated/torch.nn.functional.mish.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::mish;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(mish(&x)?.allclose(&Tensor::new([-0.3034f32, 1.94396])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    mish() = mish;
    /// log(1 + e^βx) / β; x itself where βx > `threshold` (defaults 1 and 20)
    /// ([`F.softplus`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softplus.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::softplus;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// let expected = Tensor::new([0.31326f32, 2.12693])?;
    /// assert!(softplus(&x, 1.0, 20.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    softplus(beta: f64, threshold: f64) = softplus_with;
    /// x / (1 + |x|)
    /// ([`F.softsign`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softsign.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::softsign;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(softsign(&x)?.allclose(&Tensor::new([-0.5f32, 0.66667])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    softsign() = softsign;
    /// 1 / (1 + e⁻ˣ)
    /// ([`torch.sigmoid`](https://pytorch.org/docs/stable/generated/torch.sigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::sigmoid;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(sigmoid(&x)?.allclose(&Tensor::new([0.26894f32, 0.8808])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    sigmoid() = sigmoid;
    /// x cut to an interval (defaults -1 and 1)
    /// ([`F.hardtanh`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardtanh.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::hardtanh;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(hardtanh(&x, -1.0, 1.0)?.allclose(&Tensor::new([-1.0f32, 1.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    hardtanh(min_val: f64, max_val: f64) = hardtanh;
    /// x relu6(x + 3) / 6
    /// ([`F.hardswish`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardswish.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::hardswish;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(hardswish(&x)?.allclose(&Tensor::new([-0.33333f32, 1.66667])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    hardswish() = hardswish;
    /// relu6(x + 3) / 6
    /// ([`F.hardsigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardsigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::hardsigmoid;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(hardsigmoid(&x)?.allclose(&Tensor::new([0.33333f32, 0.83333])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    hardsigmoid() = hardsigmoid;
    /// log σ(x)
    /// ([`F.logsigmoid`](https://pytorch.org/docs/stable/generated/torch.nn.functional.logsigmoid.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::logsigmoid;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(logsigmoid(&x)?.allclose(&Tensor::new([-1.31326f32, -0.12693])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    logsigmoid() = log_sigmoid;
    /// x - tanh(x)
    /// ([`F.tanhshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.tanhshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::tanhshrink;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(tanhshrink(&x)?.allclose(&Tensor::new([-0.23841f32, 1.03597])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    tanhshrink() = tanhshrink;
    /// x, or zero within λ of zero (default 0.5)
    /// ([`F.hardshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.hardshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::hardshrink;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(hardshrink(&x, 0.5)?.allclose(&Tensor::new([-1.0f32, 2.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    hardshrink(lambd: f64) = hardshrink;
    /// x, drawn to zero by λ (default 0.5)
    /// ([`F.softshrink`](https://pytorch.org/docs/stable/generated/torch.nn.functional.softshrink.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::softshrink;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(softshrink(&x, 0.5)?.allclose(&Tensor::new([-0.5f32, 1.5])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    softshrink(lambd: f64) = softshrink;
    /// `value` wherever x is not above `threshold`
    /// ([`F.threshold`](https://pytorch.org/docs/stable/generated/torch.nn.functional.threshold.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::functional::threshold;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert!(threshold(&x, 0.5, 9.0)?.allclose(&Tensor::new([9.0f32, 2.0])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    threshold(threshold: f64, value: f64) = threshold;
}

/// min(max(0, x), 6)
/// ([`F.relu6`](https://pytorch.org/docs/stable/generated/torch.nn.functional.relu6.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::relu6;
/// let x = Tensor::new([-1.0f32, 2.0])?;
/// assert!(relu6(&x)?.allclose(&Tensor::new([0.0f32, 2.0])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For bool tensors.
#[track_caller]
pub fn relu6(input: &Tensor) -> Result<Tensor> {
    input.hardtanh(0.0, 6.0)
}

/// x Φ(x), by tanh where `tanh` (`approximate="tanh"`)
/// ([`F.gelu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.gelu.html)).
///
/// PyTorch's default: `tanh` false.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::gelu;
/// let x = Tensor::new([-1.0f32, 2.0])?;
/// assert!(gelu(&x, false)?.allclose(&Tensor::new([-0.15866f32, 1.9545])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For integer tensors.
#[track_caller]
pub fn gelu(input: &Tensor, tanh: bool) -> Result<Tensor> {
    if tanh {
        input.gelu_tanh()
    } else {
        input.gelu()
    }
}

/// The first half along `dim` times σ of the second
/// ([`F.glu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.glu.html)).
///
/// PyTorch's default: `dim` -1.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::glu;
/// let x = Tensor::new([-1.0f32, 2.0])?;
/// assert!(glu(&x, 0)?.allclose(&Tensor::new([-0.8808f32])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the size is odd.
#[track_caller]
pub fn glu(input: &Tensor, dim: i64) -> Result<Tensor> {
    let size = input.size(dim)?;
    if size % 2 != 0 {
        bail!(
            "glu",
            "dimension {dim} of shape {:?} must have an even size to be halved",
            input.shape()
        );
    }
    let half = size / 2;
    input
        .narrow(dim, 0, half)?
        .mul(&input.narrow(dim, half as i64, half)?.sigmoid()?)
}

/// x, times a learned slope below zero: `weight` has one element, or one for each channel of
/// dimension 1
/// ([`F.prelu`](https://pytorch.org/docs/stable/generated/torch.nn.functional.prelu.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::prelu;
/// assert_eq!(
///     prelu(&Tensor::new([-1.0f32, 2.0])?, &Tensor::new([0.25f32])?)?.to_vec::<f32>()?,
///     [-0.25, 2.0]
/// );
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the weight fits neither.
#[track_caller]
pub fn prelu(input: &Tensor, weight: &Tensor) -> Result<Tensor> {
    input.prelu(weight)
}
