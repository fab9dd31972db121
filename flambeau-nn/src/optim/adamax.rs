//! Adamax (`torch.optim.Adamax`).

use super::adam::moment_ranges;
use super::{Algorithm, State, addcdiv, lerp, options, prepare, saved_options};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Adam by the largest gradient (Kingma and Ba, arXiv 1412.6980, section 7;
    /// [`torch.optim.Adamax`](https://pytorch.org/docs/stable/generated/torch.optim.Adamax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{Adamax, Optimizer};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = Adamax::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.80517f32, -1.80253])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Adamax, AdamaxOptions {
        /// Decay of the average and of the norm (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the gradient's size (1e-8).
        eps: f64 = 1e-8,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

impl Algorithm for AdamaxOptions {
    const NAME: &'static str = "Adamax";
    const STATE: &'static [&'static str] = &["exp_avg", "exp_inf"];
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
        let rate = self.lr / (1.0 - self.betas.0.powf(state.step as f64));
        let (m, norm) = (state.tensor(0, p, 0.0)?, state.tensor(1, p, 0.0)?);
        pass.add("Adamax", [p, &m, &norm], [g], Step { o: *self, rate })
    }
}

#[derive(Clone, Copy)]
struct Step {
    o: AdamaxOptions,
    rate: f64,
}

impl Update<3, 1> for Step {
    #[inline(always)]
    fn element<T: Real>(&self, [p, m, norm]: [T; 3], [g]: [T; 1]) -> [T; 3] {
        let o = &self.o;
        let g = prepare(g, p, o.weight_decay, o.maximize);
        let m = lerp(m, g, 1.0 - o.betas.0);
        let norm = (norm * T::of(o.betas.1)).maximum(g.abs() + T::of(o.eps));
        [addcdiv(p, m, norm, -self.rate), m, norm]
    }
}
