//! Adadelta (`torch.optim.Adadelta`).

use super::{Algorithm, State, add, addcmul, options, prepare, ranges, saved_options};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Steps in the parameter's own units (Zeiler, arXiv 1212.5701;
    /// [`torch.optim.Adadelta`](https://pytorch.org/docs/stable/generated/torch.optim.Adadelta.html)).
    /// PyTorch's learning rate for it is 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{Adadelta, Optimizer};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = Adadelta::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.99936f32, -1.99936])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Adadelta, AdadeltaOptions {
        /// Decay of both averages (0.9).
        rho: f64 = 0.9,
        /// Added under the roots (1e-6).
        eps: f64 = 1e-6,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

impl Algorithm for AdadeltaOptions {
    const NAME: &'static str = "Adadelta";
    const STATE: &'static [&'static str] = &["square_avg", "acc_delta"];
    saved_options!();

    fn check(&self) -> Result<(), String> {
        ranges(&[
            (self.lr >= 0.0, "lr", self.lr),
            ((0.0..=1.0).contains(&self.rho), "rho", self.rho),
            (self.eps >= 0.0, "eps", self.eps),
            (self.weight_decay >= 0.0, "weight_decay", self.weight_decay),
        ])
    }

    fn update<'a>(
        &'a self,
        p: &Tensor,
        g: &Tensor,
        state: &mut State,
        pass: &mut Pass<'a>,
    ) -> Result<()> {
        let (square, delta) = (state.tensor(0, p, 0.0)?, state.tensor(1, p, 0.0)?);
        pass.add("Adadelta", [p, &square, &delta], [g], Step(*self))
    }
}

#[derive(Clone, Copy)]
struct Step(AdadeltaOptions);

impl Update<3, 1> for Step {
    #[inline(always)]
    fn element<T: Real>(&self, [p, square, accumulated]: [T; 3], [g]: [T; 1]) -> [T; 3] {
        let o = self.0;
        let eps = T::of(o.eps);
        let g = prepare(g, p, o.weight_decay, o.maximize);
        let square = addcmul(square * T::of(o.rho), g, g, 1.0 - o.rho);
        let delta = (accumulated + eps).sqrt() / (square + eps).sqrt() * g;
        let accumulated = addcmul(accumulated * T::of(o.rho), delta, delta, 1.0 - o.rho);
        [add(p, delta, -o.lr), square, accumulated]
    }
}
