//! Initial values (`torch.nn.init`), drawn from the default generator in PyTorch's order.
//!
//! The functions change a tensor in place, whatever it requires, and return it.
//!
//! | | |
//! | --- | --- |
//! | one value | [`zeros_`], [`ones_`], [`constant_`], [`eye_`] |
//! | plain draws | [`uniform_`], [`normal_`] |
//! | keeping the variance | [`xavier_uniform_`], [`xavier_normal_`], [`kaiming_uniform_`], [`kaiming_normal_`], with [`calculate_gain`] |

use flambeau_core::random::with_default;
use flambeau_core::{Result, Tensor, bail, no_grad};
use flambeau_cpu::random::Generator;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Which side of a weight its variance is kept for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FanMode {
    /// The forward pass, the default.
    #[default]
    FanIn,
    /// The backward pass.
    FanOut,
}

/// The function that follows a weight, which says how much of the variance it lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or a convolution, or sigmoid: 1.
    Linear,
    /// 5/3.
    Tanh,
    /// √2.
    ReLU,
    /// √(2 / (1 + slope²)).
    LeakyReLU(f64),
    /// 3/4.
    SELU,
}

/// The factor on a weight's standard deviation for the function after it
/// ([`torch.nn.init.calculate_gain`](https://pytorch.org/docs/stable/nn.init.html#torch.nn.init.calculate_gain)).
///
/// ```
/// use flambeau_nn::init::{Nonlinearity, calculate_gain};
/// assert!((calculate_gain(Nonlinearity::LeakyReLU(0.2)) - 1.38675049).abs() < 1e-8);
/// ```
pub fn calculate_gain(nonlinearity: Nonlinearity) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::ReLU => 2.0f64.sqrt(),
        Nonlinearity::LeakyReLU(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::SELU => 0.75,
    }
}

/// How many inputs an output of this weight sees, and how many outputs an input reaches.
#[track_caller]
fn fans(weight: &Tensor) -> Result<(usize, usize)> {
    let shape = weight.shape();
    if shape.len() < 2 {
        bail!(
            "init",
            "fan in and fan out are not defined for shape {shape:?}; the weight needs two dimensions or more"
        );
    }
    Ok((
        product(&shape[1..]),
        product(&[&shape[..1], &shape[2..]].concat()),
    ))
}

/// The product of sizes; the largest number where it is beyond that, which only a 0 among the other
/// sizes makes a shape of a tensor.
pub(crate) fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |n, &d| n.saturating_mul(d))
}

/// Uniform between `a` and `b`.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::init::uniform_;
/// manual_seed(0);
/// let expected = Tensor::new([-0.00749f32, 0.53644, -0.82305])?;
/// assert!(uniform_(&Tensor::empty([3])?, -1.0, 1.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where `a > b`.
#[track_caller]
pub fn uniform_(tensor: &Tensor, a: f64, b: f64) -> Result<Tensor> {
    no_grad(|| tensor.uniform_(a, b))
}

/// Normal.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::init::normal_;
/// manual_seed(0);
/// let expected = Tensor::new([0.03082f32, -0.00587, -0.04358])?;
/// assert!(normal_(&Tensor::empty([3])?, 0.0, 0.02)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where `std` is negative.
#[track_caller]
pub fn normal_(tensor: &Tensor, mean: f64, std: f64) -> Result<Tensor> {
    no_grad(|| tensor.normal_(mean, std))
}

/// One value everywhere.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::init::constant_;
/// let w = Tensor::zeros([2])?.requires_grad_(true)?;
/// assert_eq!(constant_(&w, 0.5)?.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the tensor cannot be changed in place.
#[track_caller]
pub fn constant_(tensor: &Tensor, value: f64) -> Result<Tensor> {
    no_grad(|| tensor.fill_(value))
}

/// Ones.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::init::ones_;
/// assert_eq!(ones_(&Tensor::zeros([2])?)?.to_vec::<f32>()?, [1.0, 1.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// As [`constant_`].
#[track_caller]
pub fn ones_(tensor: &Tensor) -> Result<Tensor> {
    constant_(tensor, 1.0)
}

/// Zeros.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::init::zeros_;
/// assert_eq!(zeros_(&Tensor::ones([2])?)?.to_vec::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// As [`constant_`].
#[track_caller]
pub fn zeros_(tensor: &Tensor) -> Result<Tensor> {
    constant_(tensor, 0.0)
}

/// The identity matrix.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::init::eye_;
/// assert_eq!(eye_(&Tensor::zeros([2, 2])?)?.to_vec2::<f32>()?, [[1.0, 0.0], [0.0, 1.0]]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the tensor is not a matrix.
#[track_caller]
pub fn eye_(tensor: &Tensor) -> Result<Tensor> {
    let &[n, m] = tensor.shape() else {
        bail!("eye_", "shape {:?} is not that of a matrix", tensor.shape());
    };
    no_grad(|| tensor.copy_(&Tensor::eye(n, m)?))
}

/// Uniform, keeping the variance in both directions (Glorot and Bengio 2010).
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::init::xavier_uniform_;
/// manual_seed(0);
/// let expected = Tensor::new([[-0.00917f32, 0.65701, -1.00802]])?;
/// assert!(xavier_uniform_(&Tensor::empty([1, 3])?, 1.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For fewer than two dimensions.
#[track_caller]
pub fn xavier_uniform_(tensor: &Tensor, gain: f64) -> Result<Tensor> {
    let (fan_in, fan_out) = fans(tensor)?;
    let a = 3.0f64.sqrt() * (gain * (2.0 / (fan_in + fan_out) as f64).sqrt());
    uniform_(tensor, -a, a)
}

/// Normal, keeping the variance in both directions.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::init::xavier_normal_;
/// manual_seed(0);
/// let expected = Tensor::new([[1.08965f32, -0.20749, -1.54064]])?;
/// assert!(xavier_normal_(&Tensor::empty([1, 3])?, 1.0)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For fewer than two dimensions.
#[track_caller]
pub fn xavier_normal_(tensor: &Tensor, gain: f64) -> Result<Tensor> {
    let (fan_in, fan_out) = fans(tensor)?;
    normal_(tensor, 0.0, gain * (2.0 / (fan_in + fan_out) as f64).sqrt())
}

/// Uniform, keeping the variance in one direction through `nonlinearity` (He et al., arXiv
/// 1502.01852). PyTorch's `a` is the slope in [`Nonlinearity::LeakyReLU`].
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::init::{FanMode, Nonlinearity, kaiming_uniform_};
/// manual_seed(0);
/// let w = kaiming_uniform_(&Tensor::empty([2, 3])?, FanMode::FanIn, Nonlinearity::ReLU)?;
/// // torch.manual_seed(0); nn.init.kaiming_uniform_(torch.empty(2, 3), nonlinearity="relu")
/// assert_eq!(w.to_vec::<f32>()?[0], -0.010587962);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For fewer than two dimensions.
#[track_caller]
pub fn kaiming_uniform_(
    tensor: &Tensor,
    mode: FanMode,
    nonlinearity: Nonlinearity,
) -> Result<Tensor> {
    match kaiming_std(tensor, mode, nonlinearity)? {
        Some(std) => {
            let bound = 3.0f64.sqrt() * std;
            uniform_(tensor, -bound, bound)
        }
        None => Ok(tensor.clone()),
    }
}

/// Normal, keeping the variance in one direction through `nonlinearity`.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::init::{FanMode, Nonlinearity, kaiming_normal_};
/// manual_seed(0);
/// let w = kaiming_normal_(&Tensor::empty([1, 3])?, FanMode::FanIn, Nonlinearity::ReLU)?;
/// assert!(w.allclose(&Tensor::new([[1.25822f32, -0.23958, -1.77897]])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For fewer than two dimensions.
#[track_caller]
pub fn kaiming_normal_(
    tensor: &Tensor,
    mode: FanMode,
    nonlinearity: Nonlinearity,
) -> Result<Tensor> {
    match kaiming_std(tensor, mode, nonlinearity)? {
        Some(std) => normal_(tensor, 0.0, std),
        None => Ok(tensor.clone()),
    }
}

/// `None` for a tensor without elements.
#[track_caller]
fn kaiming_std(t: &Tensor, mode: FanMode, nonlinearity: Nonlinearity) -> Result<Option<f64>> {
    let (fan_in, fan_out) = fans(t)?;
    let fan = match mode {
        FanMode::FanIn => fan_in,
        FanMode::FanOut => fan_out,
    };
    Ok((t.numel() > 0).then(|| calculate_gain(nonlinearity) / (fan as f64).sqrt()))
}

/// The draw of a layer's initial values, which its options may still undo.
///
/// PyTorch's constructors know all options before they draw; a builder learns them one by one. So a
/// layer draws when it is made, and when an option comes that changes what would have been drawn
/// (`bias(false)`, `groups(2)`), it turns the generator back and draws again: after
/// `Conv2d::new(3, 6, 5).bias(false)` weights and generator are those of
/// `nn.Conv2d(3, 6, 5, bias=False)`. Where something else has drawn in between, it is left its
/// numbers, and the layer draws new ones.
pub(crate) struct Draw {
    before: Generator,
    after: u64,
}

fn fingerprint(g: &Generator) -> u64 {
    let mut hasher = DefaultHasher::new();
    g.state().hash(&mut hasher);
    hasher.finish()
}

impl Draw {
    /// Runs `f`, which draws from the default generator.
    pub(crate) fn first<T>(f: impl FnOnce() -> T) -> (T, Draw) {
        let before = with_default(|g| g.clone());
        let drawn = f();
        let after = with_default(|g| fingerprint(g));
        (drawn, Draw { before, after })
    }

    /// Turns the generator back if nobody has drawn since, and runs `f`.
    pub(crate) fn again<T>(&mut self, f: impl FnOnce() -> T) -> T {
        with_default(|g| {
            if fingerprint(g) == self.after {
                *g = self.before.clone();
            }
        });
        let (drawn, draw) = Draw::first(f);
        *self = draw;
        drawn
    }
}

impl std::fmt::Debug for Draw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Draw")
    }
}

/// A weight and bias as Linear and the convolutions begin with.
pub(crate) fn affine(weight: &[usize], bias: Option<usize>) -> Result<(Tensor, Option<Tensor>)> {
    let weight = Tensor::empty(weight)?;
    let (fan_in, _) = fans(&weight)?;
    // As PyTorch computes it: with a slope of √5 whose square is not quite 5.
    let slope = 5.0f64.sqrt();
    kaiming_uniform_(&weight, FanMode::FanIn, Nonlinearity::LeakyReLU(slope))?;
    let bias = match bias {
        None => None,
        Some(n) => {
            let bound = if fan_in > 0 {
                1.0 / (fan_in as f64).sqrt()
            } else {
                0.0
            };
            Some(uniform_(&Tensor::empty([n])?, -bound, bound)?)
        }
    };
    Ok((weight, bias))
}
