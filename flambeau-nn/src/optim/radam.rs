//! RAdam (`torch.optim.RAdam`).

use super::adam::moment_ranges;
use super::{Algorithm, State, addcmul, lerp, options, prepare, saved_options};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Adam that corrects the variance of its first steps (Liu et al., arXiv 1908.03265;
    /// [`torch.optim.RAdam`](https://pytorch.org/docs/stable/generated/torch.optim.RAdam.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{Optimizer, RAdam};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = RAdam::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.62105f32, -1.24211])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    RAdam, RAdamOptions {
        /// Decay of the averages of gradient and squared gradient (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator (1e-8).
        eps: f64 = 1e-8,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// Weight decay apart from the gradient, as in AdamW (false).
        decoupled_weight_decay: bool = false,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

impl Algorithm for RAdamOptions {
    const NAME: &'static str = "RAdam";
    const STATE: &'static [&'static str] = &["exp_avg", "exp_avg_sq"];
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
        let correction2 = 1.0 - beta2.powf(n);
        // The length of the moving average, and what it tends to.
        let limit = 2.0 / (1.0 - beta2) - 1.0;
        let length = limit - 2.0 * n * beta2.powf(n) / correction2;
        let rectify = (length > 5.0).then(|| {
            let ratio =
                (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length);
            ratio.sqrt()
        });
        let step = Step {
            o: *self,
            correction1: 1.0 - beta1.powf(n),
            correction2: correction2.sqrt(),
            rectify,
        };
        let (m, v) = (state.tensor(0, p, 0.0)?, state.tensor(1, p, 0.0)?);
        pass.add("RAdam", [p, &m, &v], [g], step)
    }
}

#[derive(Clone, Copy)]
struct Step {
    o: RAdamOptions,
    correction1: f64,
    correction2: f64,
    rectify: Option<f64>,
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
        let step = m / T::of(self.correction1) * T::of(o.lr);
        let step = match self.rectify {
            Some(r) => step * (T::of(self.correction2) / (v.sqrt() + T::of(o.eps))) * T::of(r),
            None => step,
        };
        [p - step, m, v]
    }
}
