//! NAdam (`torch.optim.NAdam`).

use super::adam::moment_ranges;
use super::{Algorithm, State, addcdiv, addcmul, lerp, options, prepare, saved_options};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Adam with Nesterov's momentum (Dozat 2016;
    /// [`torch.optim.NAdam`](https://pytorch.org/docs/stable/generated/torch.optim.NAdam.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{NAdam, Optimizer};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = NAdam::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.81997f32, -1.8179])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    NAdam, NAdamOptions {
        /// Decay of the averages of gradient and squared gradient (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator (1e-8).
        eps: f64 = 1e-8,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// How fast the momentum approaches its value (4e-3).
        momentum_decay: f64 = 4e-3,
        /// Weight decay apart from the gradient, as in AdamW (false).
        decoupled_weight_decay: bool = false,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

impl Algorithm for NAdamOptions {
    const NAME: &'static str = "NAdam";
    const STATE: &'static [&'static str] = &["exp_avg", "exp_avg_sq"];
    saved_options!();

    fn check(&self) -> Result<(), String> {
        moment_ranges(self.lr, self.betas, self.eps, self.weight_decay)?;
        super::ranges(&[(
            self.momentum_decay >= 0.0,
            "momentum_decay",
            self.momentum_decay,
        )])
    }

    fn update<'a>(
        &'a self,
        p: &Tensor,
        g: &Tensor,
        state: &mut State,
        pass: &mut Pass<'a>,
    ) -> Result<()> {
        let n = state.step as f64;
        let mu = |n: f64| self.betas.0 * (1.0 - 0.5 * 0.96f64.powf(n * self.momentum_decay));
        let (now, next) = (mu(n), mu(n + 1.0));
        // PyTorch keeps the product in a tensor of single precision.
        let product = (state.number.unwrap_or(1.0) as f32 * now as f32) as f64;
        state.number = Some(product);
        let step = Step {
            o: *self,
            correction2: 1.0 - self.betas.1.powf(n),
            by_gradient: -self.lr * (1.0 - now) / (1.0 - product),
            by_average: -self.lr * next / (1.0 - product * next),
        };
        let (m, v) = (state.tensor(0, p, 0.0)?, state.tensor(1, p, 0.0)?);
        pass.add("NAdam", [p, &m, &v], [g], step)
    }
}

#[derive(Clone, Copy)]
struct Step {
    o: NAdamOptions,
    correction2: f64,
    by_gradient: f64,
    by_average: f64,
}

impl Update<3, 1> for Step {
    #[inline(always)]
    fn element<T: Real>(&self, [p, m, v]: [T; 3], [g]: [T; 1]) -> [T; 3] {
        let o = &self.o;
        let (p, decay) = if o.decoupled_weight_decay {
            (p * T::of(1.0 - o.lr * o.weight_decay), 0.0)
        } else {
            (p, o.weight_decay)
        };
        let g = prepare(g, p, decay, o.maximize);
        let m = lerp(m, g, 1.0 - o.betas.0);
        let v = addcmul(v * T::of(o.betas.1), g, g, 1.0 - o.betas.1);
        let denominator = (v / T::of(self.correction2)).sqrt() + T::of(o.eps);
        let p = addcdiv(p, g, denominator, self.by_gradient);
        [addcdiv(p, m, denominator, self.by_average), m, v]
    }
}
