//! `Linear`, `Bilinear` and `Identity`.

use super::{Affine, forward, py_bool};
use crate::init::{self, Draw};
use crate::parameter::{Mode, Parameter};
use flambeau_core::{Result, Tensor};
use flambeau_macros::Module;

/// `y = x Wᵀ + b` over the last dimension
/// ([`torch.nn.Linear`](https://pytorch.org/docs/stable/generated/torch.nn.Linear.html)).
///
/// Weight `[out, in]` and bias `[out]` are drawn as PyTorch draws them:
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::{Forward, Linear};
/// manual_seed(0);
/// let fc = Linear::new(2, 1);
/// // torch.manual_seed(0); nn.Linear(2, 1)
/// assert_eq!(fc.weight.to_vec::<f32>()?, [-0.005293981, 0.3793229]);
/// assert_eq!(fc.bias.as_ref().unwrap().to_vec::<f32>()?, [-0.58198076]);
/// assert_eq!(fc.forward(&Tensor::ones([5, 2])?)?.shape(), [5, 1]);
/// let error = fc.forward(&Tensor::ones([5, 3])?).unwrap_err().to_string();
/// assert!(error.ends_with("in Linear(2 -> 1)"), "{error}");
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Parameter,
    /// `[out]`.
    pub bias: Option<Parameter>,
    in_features: usize,
    out_features: usize,
    mode: Mode,
    draw: Draw,
}

impl Linear {
    /// From `in_features` numbers to `out_features`, with a bias.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize) -> Linear {
        let mut mode = Mode::default();
        let shape = Ok(vec![out_features, in_features]);
        let a = Affine::draw(&mut mode, None, shape, Some(out_features));
        Linear {
            weight: a.weight,
            bias: a.bias,
            in_features,
            out_features,
            mode,
            draw: a.draw,
        }
    }

    /// Whether there is a bias (true). Draws the values anew, from where the generator was before.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// use flambeau_nn::Linear;
    /// manual_seed(0);
    /// let fc = Linear::new(2, 1).bias(false);
    /// assert!(fc.bias.is_none());
    /// assert!(fc.weight.allclose(&Tensor::new([[-0.00529f32, 0.37932]])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Linear {
        let shape = Ok(vec![self.out_features, self.in_features]);
        let bias = bias.then_some(self.out_features);
        let a = Affine::draw(&mut self.mode, Some(self.draw), shape, bias);
        Linear {
            weight: a.weight,
            bias: a.bias,
            draw: a.draw,
            ..self
        }
    }

    /// The size of the input's last dimension.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The size of the output's last dimension.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    fn extra_repr(&self) -> String {
        format!(
            "in_features={}, out_features={}, bias={}",
            self.in_features,
            self.out_features,
            py_bool(self.bias.is_some())
        )
    }
}

forward!(Linear, |m, x| x.linear(&m.weight, m.bias.as_deref()),
    at format!("Linear({} -> {})", m.in_features, m.out_features));

/// `y = x1ᵀ A x2 + b`
/// ([`torch.nn.Bilinear`](https://pytorch.org/docs/stable/generated/torch.nn.Bilinear.html)).
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::Bilinear;
/// manual_seed(0);
/// let layer = Bilinear::new(2, 3, 1);
/// let expected = Tensor::new([[-0.82508f32]])?;
/// let y = layer.forward(&Tensor::ones([1, 2])?, &Tensor::ones([1, 3])?)?;
/// assert!(y.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct Bilinear {
    /// `[out, in1, in2]`.
    pub weight: Parameter,
    /// `[out]`.
    pub bias: Option<Parameter>,
    mode: Mode,
    draw: Draw,
}

impl Bilinear {
    fn draw_values(
        mode: &mut Mode,
        draw: Option<Draw>,
        sizes: [usize; 3],
        bias: bool,
    ) -> (Tensor, Option<Tensor>, Draw) {
        let f = || -> Result<(Tensor, Option<Tensor>)> {
            let bound = 1.0 / (sizes[1] as f64).sqrt();
            let weight = init::uniform_(&Tensor::empty(sizes)?, -bound, bound)?;
            let bias = bias
                .then(|| init::uniform_(&Tensor::empty([sizes[0]])?, -bound, bound))
                .transpose()?;
            Ok((
                weight.requires_grad_(true)?,
                bias.map(|b| b.requires_grad_(true)).transpose()?,
            ))
        };
        let (drawn, draw) = match draw {
            None => Draw::first(f),
            Some(mut draw) => (draw.again(f), draw),
        };
        match drawn {
            Ok((weight, bias)) => (weight, bias, draw),
            Err(e) => {
                mode.set_fault(Some(e.message().to_owned()));
                (super::nothing(), None, draw)
            }
        }
    }

    /// From `in1_features` and `in2_features` numbers to `out_features`, with a bias.
    #[track_caller]
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize) -> Bilinear {
        let mut mode = Mode::default();
        let sizes = [out_features, in1_features, in2_features];
        let (weight, bias, draw) = Bilinear::draw_values(&mut mode, None, sizes, true);
        Bilinear {
            weight: weight.into(),
            bias: bias.map(Into::into),
            mode,
            draw,
        }
    }

    /// Whether there is a bias (true). Draws the values anew, from where the generator was before.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Bilinear {
        let &[a, b, c] = self.weight.shape() else {
            return self;
        };
        let (weight, bias, draw) =
            Bilinear::draw_values(&mut self.mode, Some(self.draw), [a, b, c], bias);
        Bilinear {
            weight: weight.into(),
            bias: bias.map(Into::into),
            mode: self.mode,
            draw,
        }
    }

    /// The output for `[…, in1]` and `[…, in2]`.
    ///
    /// # Errors
    /// Where the inputs' last sizes are not the layer's, or the others differ.
    #[track_caller]
    pub fn forward(&self, input1: &Tensor, input2: &Tensor) -> Result<Tensor> {
        self.mode.check("Bilinear")?;
        let _memory = self.mode.scope("Bilinear", input1);
        crate::functional::bilinear(input1, input2, &self.weight, self.bias.as_deref())
            .map_err(|e| self.mode.locate(e, self))
    }

    fn extra_repr(&self) -> String {
        let size = |i: usize| self.weight.shape().get(i).copied().unwrap_or(0);
        format!(
            "in1_features={}, in2_features={}, out_features={}, bias={}",
            size(1),
            size(2),
            size(0),
            py_bool(self.bias.is_some())
        )
    }
}

/// Its input
/// ([`torch.nn.Identity`](https://pytorch.org/docs/stable/generated/torch.nn.Identity.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, Identity};
/// let x = Tensor::ones([2])?;
/// assert!(Identity::new().forward(&x)?.is(&x));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Default, Module)]
pub struct Identity {
    mode: Mode,
}

impl Identity {
    /// The only one there is.
    pub fn new() -> Identity {
        Identity::default()
    }
}

forward!(Identity, |_m, x| Ok(x.clone()));
