//! RMSprop (`torch.optim.RMSprop`).

use super::{
    Algorithm, State, add, addcdiv, addcmul, lerp, options, prepare, ranges, saved_options,
};
use flambeau_core::fused::{Pass, Real, Update};
use flambeau_core::{Result, Tensor};

options! {
    /// Divides the gradient by an average of its size (Hinton's lecture 6e;
    /// [`torch.optim.RMSprop`](https://pytorch.org/docs/stable/generated/torch.optim.RMSprop.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::optim::{Optimizer, RMSprop};
    /// let p = Tensor::new([1.0f32, -2.0])?.requires_grad_(true)?;
    /// let mut optimizer = RMSprop::new([&p], 0.1);
    /// for _ in 0..2 {
    ///     optimizer.zero_grad();
    ///     p.square()?.sum()?.backward()?;
    ///     optimizer.step()?;
    /// }
    /// assert!(p.allclose(&Tensor::new([0.0f32, -0.55099])?, 1e-4, 1e-5, false)?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    RMSprop, RMSpropOptions {
        /// Decay of the average of the squared gradient (0.99).
        alpha: f64 = 0.99,
        /// Added to the denominator (1e-8).
        eps: f64 = 1e-8,
        /// Adds this many times the parameter to the gradient (0).
        weight_decay: f64 = 0.0,
        /// How much of the last step is kept (0).
        momentum: f64 = 0.0,
        /// Takes the variance instead of the mean square (false).
        centered: bool = false,
        /// Climbs instead of descending (false).
        maximize: bool = false,
    }
}

impl Algorithm for RMSpropOptions {
    const NAME: &'static str = "RMSprop";
    const STATE: &'static [&'static str] = &["square_avg", "grad_avg", "momentum_buffer"];
    saved_options!();

    fn momentum_like(&mut self) -> Option<&mut f64> {
        Some(&mut self.momentum)
    }

    fn check(&self) -> Result<(), String> {
        ranges(&[
            (self.lr >= 0.0, "lr", self.lr),
            (self.eps >= 0.0, "eps", self.eps),
            (self.momentum >= 0.0, "momentum", self.momentum),
            (self.weight_decay >= 0.0, "weight_decay", self.weight_decay),
            (self.alpha >= 0.0, "alpha", self.alpha),
        ])
    }

    fn update<'a>(
        &'a self,
        p: &Tensor,
        g: &Tensor,
        state: &mut State,
        pass: &mut Pass<'a>,
    ) -> Result<()> {
        let square = state.tensor(0, p, 0.0)?;
        match (self.centered, self.momentum > 0.0) {
            (false, false) => pass.add("RMSprop", [p, &square], [g], Plain(*self)),
            (true, false) => {
                let average = state.tensor(1, p, 0.0)?;
                pass.add("RMSprop", [p, &square, &average], [g], Centered(*self))
            }
            (false, true) => {
                let buffer = state.tensor(2, p, 0.0)?;
                pass.add("RMSprop", [p, &square, &buffer], [g], Momentum(*self))
            }
            (true, true) => {
                let (average, buffer) = (state.tensor(1, p, 0.0)?, state.tensor(2, p, 0.0)?);
                pass.add("RMSprop", [p, &square, &average, &buffer], [g], Both(*self))
            }
        }
    }
}

impl RMSpropOptions {
    /// The gradient and its averaged square.
    #[inline(always)]
    fn square<T: Real>(&self, g: T, p: T, square: T) -> (T, T) {
        let g = prepare(g, p, self.weight_decay, self.maximize);
        (
            g,
            addcmul(square * T::of(self.alpha), g, g, 1.0 - self.alpha),
        )
    }

    /// The averaged gradient and the root of the variance.
    #[inline(always)]
    fn center<T: Real>(&self, g: T, square: T, average: T) -> (T, T) {
        let average = lerp(average, g, 1.0 - self.alpha);
        let root = addcmul(square, average, average, -1.0).sqrt();
        (average, root + T::of(self.eps))
    }

    /// The momentum and the parameter.
    #[inline(always)]
    fn push<T: Real>(&self, p: T, g: T, denominator: T, buffer: T) -> (T, T) {
        let buffer = addcdiv(buffer * T::of(self.momentum), g, denominator, 1.0);
        (buffer, add(p, buffer, -self.lr))
    }
}

#[derive(Clone, Copy)]
struct Plain(RMSpropOptions);
impl Update<2, 1> for Plain {
    #[inline(always)]
    fn element<T: Real>(&self, [p, square]: [T; 2], [g]: [T; 1]) -> [T; 2] {
        let (g, square) = self.0.square(g, p, square);
        let denominator = square.sqrt() + T::of(self.0.eps);
        [addcdiv(p, g, denominator, -self.0.lr), square]
    }
}

#[derive(Clone, Copy)]
struct Centered(RMSpropOptions);
impl Update<3, 1> for Centered {
    #[inline(always)]
    fn element<T: Real>(&self, [p, square, average]: [T; 3], [g]: [T; 1]) -> [T; 3] {
        let (g, square) = self.0.square(g, p, square);
        let (average, denominator) = self.0.center(g, square, average);
        [addcdiv(p, g, denominator, -self.0.lr), square, average]
    }
}

#[derive(Clone, Copy)]
struct Momentum(RMSpropOptions);
impl Update<3, 1> for Momentum {
    #[inline(always)]
    fn element<T: Real>(&self, [p, square, buffer]: [T; 3], [g]: [T; 1]) -> [T; 3] {
        let (g, square) = self.0.square(g, p, square);
        let denominator = square.sqrt() + T::of(self.0.eps);
        let (buffer, p) = self.0.push(p, g, denominator, buffer);
        [p, square, buffer]
    }
}

#[derive(Clone, Copy)]
struct Both(RMSpropOptions);
impl Update<4, 1> for Both {
    #[inline(always)]
    fn element<T: Real>(&self, [p, square, average, buffer]: [T; 4], [g]: [T; 1]) -> [T; 4] {
        let (g, square) = self.0.square(g, p, square);
        let (average, denominator) = self.0.center(g, square, average);
        let (buffer, p) = self.0.push(p, g, denominator, buffer);
        [p, square, average, buffer]
    }
}
