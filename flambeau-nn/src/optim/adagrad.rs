//! Adagrad (`torch.optim.Adagrad`).

use super::{Algorithm, State, addcdiv, addcmul, options, prepare, ranges, saved_options};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Divides by the sum of all squared gradients (Duchi et al. 2011;
    /// [`torch.optim.Adagrad`](https://pytorch.org/docs/stable/generated/torch.optim.Adagrad.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{Adagrad, Optimizer};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = Adagrad::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.8331f32, -1.83113])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Adagrad, AdagradOptions {
        /// How fast the learning rate falls with the steps (0).
        lr_decay: f64 = 0.0,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// What the sum starts from (0).
        initial_accumulator_value: f64 = 0.0,
        /// Added to the denominator (1e-10).
        eps: f64 = 1e-10,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

impl Algorithm for AdagradOptions {
    const NAME: &'static str = "Adagrad";
    const STATE: &'static [&'static str] = &["sum"];
    saved_options!();

    fn check(&self) -> Result<(), String> {
        let start = self.initial_accumulator_value;
        ranges(&[
            (self.lr >= 0.0, "lr", self.lr),
            (self.lr_decay >= 0.0, "lr_decay", self.lr_decay),
            (self.weight_decay >= 0.0, "weight_decay", self.weight_decay),
            (start >= 0.0, "initial_accumulator_value", start),
            (self.eps >= 0.0, "eps", self.eps),
        ])
    }

    fn update<'a>(
        &'a self,
        p: &Tensor,
        g: &Tensor,
        state: &mut State,
        pass: &mut Pass<'a>,
    ) -> Result<()> {
        let rate = self.lr / (1.0 + (state.step - 1) as f64 * self.lr_decay);
        let sum = state.tensor(0, p, self.initial_accumulator_value)?;
        pass.add("Adagrad", [p, &sum], [g], Step { o: *self, rate })
    }
}

#[derive(Clone, Copy)]
struct Step {
    o: AdagradOptions,
    rate: f64,
}

impl Update<2, 1> for Step {
    #[inline(always)]
    fn element<T: Real>(&self, [p, sum]: [T; 2], [g]: [T; 1]) -> [T; 2] {
        let g = prepare(g, p, self.o.weight_decay, self.o.maximize);
        let sum = addcmul(sum, g, g, 1.0);
        [
            addcdiv(p, g, sum.sqrt() + T::of(self.o.eps), -self.rate),
            sum,
        ]
    }
}
