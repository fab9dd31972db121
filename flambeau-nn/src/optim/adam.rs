//! Adam and AdamW (`torch.optim.Adam`, `AdamW`).

use super::{Algorithm, State, addcdiv, addcmul, lerp, options, prepare, ranges, saved_options};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Adam (Kingma and Ba, arXiv 1412.6980;
    /// [`torch.optim.Adam`](https://pytorch.org/docs/stable/generated/torch.optim.Adam.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{Adam, Optimizer};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = Adam::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.80041f32, -1.80017])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Adam, AdamOptions {
        /// Decay of the averages of gradient and squared gradient (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator (1e-8).
        eps: f64 = 1e-8,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// Divides by the largest average so far (arXiv 1904.09237; false).
        amsgrad: bool = false,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

options! {
    /// Adam whose weight decay is apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101;
    /// [`torch.optim.AdamW`](https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{AdamW, Optimizer};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = AdamW::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.79852f32, -1.79627])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    AdamW, AdamWOptions {
        /// Decay of the averages of gradient and squared gradient (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator (1e-8).
        eps: f64 = 1e-8,
        /// Shrinks the parameter by this times the learning rate (0.01).
        weight_decay: f64 = 0.01,
        /// Divides by the largest average so far (arXiv 1904.09237; false).
        amsgrad: bool = false,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

macro_rules! algorithm {
    ($options:ident, $name:literal, $decoupled:literal) => {
        impl Algorithm for $options {
            const NAME: &'static str = $name;
            const STATE: &'static [&'static str] = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
            saved_options!();

            fn momentum_like(&mut self) -> Option<&mut f64> {
                Some(&mut self.betas.0)
            }

            fn check(&self) -> Result<(), String> {
                moment_ranges(self.lr, self.betas, self.eps, self.weight_decay)
            }

            fn update<'a>(
                &'a self,
                p: &Tensor,
                g: &Tensor,
                state: &mut State,
                pass: &mut Pass<'a>,
            ) -> Result<()> {
                let n = state.step as f64;
                let (beta1, beta2) = self.betas;
                let step = Step {
                    beta1,
                    beta2,
                    eps: self.eps,
                    maximize: self.maximize,
                    step_size: self.lr / (1.0 - beta1.powf(n)),
                    correction2: (1.0 - beta2.powf(n)).sqrt(),
                    weight_decay: if $decoupled { 0.0 } else { self.weight_decay },
                    shrink: if $decoupled {
                        self.lr * self.weight_decay
                    } else {
                        0.0
                    },
                };
                let (m, v) = (state.tensor(0, p, 0.0)?, state.tensor(1, p, 0.0)?);
                if self.amsgrad {
                    let max = state.tensor(2, p, 0.0)?;
                    pass.add($name, [p, &m, &v, &max], [g], step)
                } else {
                    pass.add($name, [p, &m, &v], [g], step)
                }
            }
        }
    };
}
algorithm!(AdamOptions, "Adam", false);
algorithm!(AdamWOptions, "AdamW", true);

/// The ranges that Adam and its kin share.
pub(super) fn moment_ranges(
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
) -> Result<(), String> {
    ranges(&[
        (lr >= 0.0, "lr", lr),
        (eps >= 0.0, "eps", eps),
        ((0.0..1.0).contains(&betas.0), "betas.0", betas.0),
        ((0.0..1.0).contains(&betas.1), "betas.1", betas.1),
        (weight_decay >= 0.0, "weight_decay", weight_decay),
    ])
}

/// The numbers of one step.
#[derive(Clone, Copy)]
struct Step {
    beta1: f64,
    beta2: f64,
    eps: f64,
    maximize: bool,
    step_size: f64,
    correction2: f64,
    weight_decay: f64,
    shrink: f64,
}

impl Step {
    /// The parameter after weight decay, and the two averages.
    #[inline(always)]
    fn moments<T: Real>(&self, p: T, m: T, v: T, g: T) -> (T, T, T) {
        let p = if self.shrink != 0.0 {
            p * T::of(1.0 - self.shrink)
        } else {
            p
        };
        let g = prepare(g, p, self.weight_decay, self.maximize);
        let m = lerp(m, g, 1.0 - self.beta1);
        let v = addcmul(v * T::of(self.beta2), g, g, 1.0 - self.beta2);
        (p, m, v)
    }

    #[inline(always)]
    fn descend<T: Real>(&self, p: T, m: T, v: T) -> T {
        let denominator = v.sqrt() / T::of(self.correction2) + T::of(self.eps);
        addcdiv(p, m, denominator, -self.step_size)
    }
}

impl Update<3, 1> for Step {
    #[inline(always)]
    fn element<T: Real>(&self, [p, m, v]: [T; 3], [g]: [T; 1]) -> [T; 3] {
        let (p, m, v) = self.moments(p, m, v, g);
        [self.descend(p, m, v), m, v]
    }
}

impl Update<4, 1> for Step {
    #[inline(always)]
    fn element<T: Real>(&self, [p, m, v, max]: [T; 4], [g]: [T; 1]) -> [T; 4] {
        let (p, m, v) = self.moments(p, m, v, g);
        let max = max.maximum(v);
        [self.descend(p, m, max), m, v, max]
    }
}
