//! Stochastic gradient descent (`torch.optim.SGD`).

use super::{Algorithm, State, add, options, prepare, ranges, saved_options};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Stochastic gradient descent, with momentum if wanted
    /// ([`torch.optim.SGD`](https://pytorch.org/docs/stable/generated/torch.optim.SGD.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let w = Tensor::new([1.0f32])?.requires_grad_(true)?;
    /// let mut optimizer = Sgd::new([&w], 0.5).momentum(0.9);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     w.mul(2.0)?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// // 1 - 0.5 * 2 - 0.5 * (0.9 * 2 + 2)
    /// assert!((w.item::<f32>()? + 1.9).abs() < 1e-6);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    Sgd, SgdOptions {
        /// How much of the last step is kept (0).
        momentum: f64 = 0.0,
        /// How much of the gradient does not enter the momentum (0).
        dampening: f64 = 0.0,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// Nesterov's momentum (false).
        nesterov: bool = false,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

impl Algorithm for SgdOptions {
    const NAME: &'static str = "SGD";
    const STATE: &'static [&'static str] = &["momentum_buffer"];
    saved_options!();

    fn momentum_like(&mut self) -> Option<&mut f64> {
        Some(&mut self.momentum)
    }

    fn check(&self) -> Result<(), String> {
        ranges(&[
            (self.lr >= 0.0, "lr", self.lr),
            (self.momentum >= 0.0, "momentum", self.momentum),
            (self.weight_decay >= 0.0, "weight_decay", self.weight_decay),
        ])?;
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Err("nesterov needs a momentum above 0 and no dampening".to_owned());
        }
        Ok(())
    }

    fn update<'a>(
        &'a self,
        p: &Tensor,
        g: &Tensor,
        state: &mut State,
        pass: &mut Pass<'a>,
    ) -> Result<()> {
        if self.momentum == 0.0 {
            return pass.add("SGD", [p], [g], Plain(*self));
        }
        let first = !state.has(0);
        let buffer = state.tensor(0, p, 0.0)?;
        pass.add("SGD", [p, &buffer], [g], Momentum { o: *self, first })
    }
}

#[derive(Clone, Copy)]
struct Plain(SgdOptions);

impl Update<1, 1> for Plain {
    #[inline(always)]
    fn element<T: Real>(&self, [p]: [T; 1], [g]: [T; 1]) -> [T; 1] {
        let g = prepare(g, p, self.0.weight_decay, self.0.maximize);
        [add(p, g, -self.0.lr)]
    }
}

#[derive(Clone, Copy)]
struct Momentum {
    o: SgdOptions,
    first: bool,
}

impl Update<2, 1> for Momentum {
    #[inline(always)]
    fn element<T: Real>(&self, [p, b]: [T; 2], [g]: [T; 1]) -> [T; 2] {
        let o = &self.o;
        let g = prepare(g, p, o.weight_decay, o.maximize);
        let b = if self.first {
            g
        } else {
            add(b * T::of(o.momentum), g, 1.0 - o.dampening)
        };
        let g = if o.nesterov { add(g, b, o.momentum) } else { b };
        [add(p, g, -o.lr), b]
    }
}
