//! Rates that fall (or rise) from epoch to epoch.

use super::{Schedule, Tick, scheduler, span};

scheduler! {
    /// Multiplies the rate by `gamma` every `step_size` epochs
    /// ([`torch.optim.lr_scheduler.StepLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{LrScheduler, StepLR};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = StepLR::new(&optimizer, 2).gamma(0.1);
    /// let rates: Vec<f64> = (0..4).map(|_| { let lr = optimizer.lr(); scheduler.step(); lr }).collect();
    /// assert_eq!(rates, [0.5, 0.5, 0.05, 0.05]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    StepLR, Step(
        /// epochs between two changes; 0 counts as 1.
        step_size: u64
    ) {
        /// The factor (0.1).
        gamma: f64 = 0.1,
    }
}

impl Schedule for Step {
    const NAME: &'static str = "StepLR";
    fn lr(&self, t: &Tick) -> f64 {
        if t.epoch == 0 || t.epoch % span(self.step_size) != 0 {
            t.lr
        } else {
            t.lr * self.gamma
        }
    }
}

scheduler! {
    /// Multiplies the rate by `gamma` at each of the milestones
    /// ([`torch.optim.lr_scheduler.MultiStepLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{LrScheduler, MultiStepLR};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = MultiStepLR::new(&optimizer, vec![1, 3]);
    /// for expected in [0.5, 0.05, 0.05, 0.005, 0.005] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    MultiStepLR, MultiStep(
        /// epochs; one named twice counts twice.
        milestones: Vec<i64>
    ) {
        /// The factor (0.1).
        gamma: f64 = 0.1,
    }
}

impl Schedule for MultiStep {
    const NAME: &'static str = "MultiStepLR";
    fn lr(&self, t: &Tick) -> f64 {
        let times = self.milestones.iter().filter(|m| **m == t.epoch).count();
        t.lr * self.gamma.powi(times as i32)
    }
}

scheduler! {
    /// Multiplies the rate by `gamma` every epoch
    /// ([`torch.optim.lr_scheduler.ExponentialLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ExponentialLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{ExponentialLR, LrScheduler};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = ExponentialLR::new(&optimizer, 0.5);
    /// for expected in [0.5, 0.25, 0.125, 0.0625] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ExponentialLR, Exponential(
        /// the factor.
        gamma: f64
    ) {}
}

impl Schedule for Exponential {
    const NAME: &'static str = "ExponentialLR";
    fn lr(&self, t: &Tick) -> f64 {
        if t.epoch == 0 {
            t.lr
        } else {
            t.lr * self.gamma
        }
    }
}

scheduler! {
    /// A fraction of the rate for the first epochs, then all of it
    /// ([`torch.optim.lr_scheduler.ConstantLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ConstantLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{ConstantLR, LrScheduler};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = ConstantLR::new(&optimizer).factor(0.5).total_iters(2);
    /// for expected in [0.25, 0.25, 0.5, 0.5] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ConstantLR, Constant() {
        /// The fraction (1/3).
        factor: f64 = 1.0 / 3.0,
        /// How many epochs (5).
        total_iters: i64 = 5,
    }
}

impl Schedule for Constant {
    const NAME: &'static str = "ConstantLR";
    fn lr(&self, t: &Tick) -> f64 {
        match t.epoch {
            0 => t.lr * self.factor,
            e if e == self.total_iters => t.lr * (1.0 / self.factor),
            _ => t.lr,
        }
    }
}

scheduler! {
    /// From one fraction of the rate to another in a straight line: a warm-up
    /// ([`torch.optim.lr_scheduler.LinearLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{LinearLR, LrScheduler};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = LinearLR::new(&optimizer).start_factor(0.5).total_iters(2);
    /// for expected in [0.25, 0.375, 0.5, 0.5] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LinearLR, Linear() {
        /// The first fraction (1/3).
        start_factor: f64 = 1.0 / 3.0,
        /// The last (1).
        end_factor: f64 = 1.0,
        /// How many epochs it takes (5).
        total_iters: i64 = 5,
    }
}

impl Schedule for Linear {
    const NAME: &'static str = "LinearLR";
    fn lr(&self, t: &Tick) -> f64 {
        if t.epoch == 0 {
            return t.lr * self.start_factor;
        }
        if t.epoch > self.total_iters {
            return t.lr;
        }
        let rise = self.end_factor - self.start_factor;
        let so_far = self.total_iters as f64 * self.start_factor + (t.epoch - 1) as f64 * rise;
        t.lr * (1.0 + rise / so_far)
    }
}

scheduler! {
    /// Down to zero along a power of the epochs left
    /// ([`torch.optim.lr_scheduler.PolynomialLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.PolynomialLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{LrScheduler, PolynomialLR};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = PolynomialLR::new(&optimizer).total_iters(4);
    /// for expected in [0.5, 0.375, 0.25, 0.125, 0.0] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    PolynomialLR, Polynomial() {
        /// How many epochs it takes (5).
        total_iters: i64 = 5,
        /// The power (1).
        power: f64 = 1.0,
    }
}

impl Schedule for Polynomial {
    const NAME: &'static str = "PolynomialLR";
    fn lr(&self, t: &Tick) -> f64 {
        if t.epoch == 0 || t.epoch > self.total_iters {
            return t.lr;
        }
        let left = |epoch: i64| 1.0 - epoch as f64 / self.total_iters as f64;
        t.lr * (left(t.epoch) / left(t.epoch - 1)).powf(self.power)
    }
}

/// A function from the epoch to a factor.
type Function = Box<dyn Fn(i64) -> f64 + Send>;

scheduler! {
    /// The first rate times a function of the epoch
    /// ([`torch.optim.lr_scheduler.LambdaLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LambdaLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{LambdaLR, LrScheduler};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = LambdaLR::new(&optimizer, Box::new(|epoch| 1.0 / (1 + epoch) as f64));
    /// for expected in [0.5, 0.25, 0.166667, 0.125] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    LambdaLR, Lambda(
        /// the function, boxed.
        lr_lambda: Function
    ) {}
}

impl Schedule for Lambda {
    const NAME: &'static str = "LambdaLR";
    fn lr(&self, t: &Tick) -> f64 {
        t.base_lr * (self.lr_lambda)(t.epoch)
    }
}

scheduler! {
    /// The last rate times a function of the epoch
    /// ([`torch.optim.lr_scheduler.MultiplicativeLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiplicativeLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{LrScheduler, MultiplicativeLR};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = MultiplicativeLR::new(&optimizer, Box::new(|_| 0.5));
    /// for expected in [0.5, 0.25, 0.125, 0.0625] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    MultiplicativeLR, Multiplicative(
        /// the function, boxed.
        lr_lambda: Function
    ) {}
}

impl Schedule for Multiplicative {
    const NAME: &'static str = "MultiplicativeLR";
    fn lr(&self, t: &Tick) -> f64 {
        if t.epoch == 0 {
            t.lr
        } else {
            t.lr * (self.lr_lambda)(t.epoch)
        }
    }
}
