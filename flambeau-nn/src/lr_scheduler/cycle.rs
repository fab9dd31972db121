//! Rates that rise and fall.

use super::{Schedule, Tick, scheduler, span};
use std::f64::consts::PI;

scheduler! {
    /// From the first rate to `eta_min` along half a cosine, and back (Loshchilov and Hutter, arXiv
    /// 1608.03983;
    /// [`torch.optim.lr_scheduler.CosineAnnealingLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{CosineAnnealingLR, LrScheduler};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = CosineAnnealingLR::new(&optimizer, 4);
    /// for expected in [0.5, 0.426777, 0.25, 0.073223, 0.0] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    CosineAnnealingLR, CosineAnnealing(
        /// epochs from the highest rate to the lowest.
        t_max: u64
    ) {
        /// The lowest rate (0).
        eta_min: f64 = 0.0,
    }
}

impl Schedule for CosineAnnealing {
    const NAME: &'static str = "CosineAnnealingLR";
    fn lr(&self, t: &Tick) -> f64 {
        let half = span(self.t_max);
        let cos = |epoch: f64| 1.0 + (PI * epoch / half as f64).cos();
        if t.epoch == 0 {
            t.lr
        } else if (t.epoch - 1 - half).rem_euclid(2 * half) == 0 {
            // The recursion would divide by zero at the lowest point.
            t.lr + (t.base_lr - self.eta_min) * (1.0 - (PI / half as f64).cos()) / 2.0
        } else {
            cos(t.epoch as f64) / cos((t.epoch - 1) as f64) * (t.lr - self.eta_min) + self.eta_min
        }
    }
}

scheduler! {
    /// Down along half a cosine, then from the top again, each time `t_mult` times as long (arXiv
    /// 1608.03983;
    /// [`torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{CosineAnnealingWarmRestarts, LrScheduler};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = CosineAnnealingWarmRestarts::new(&optimizer, 2);
    /// for expected in [0.5, 0.25, 0.5, 0.25, 0.5] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    CosineAnnealingWarmRestarts, WarmRestarts(
        /// epochs to the first restart.
        t_0: u64
    ) {
        /// The factor from one length to the next (1).
        t_mult: u64 = 1,
        /// The lowest rate (0).
        eta_min: f64 = 0.0,
    }
}

impl Schedule for WarmRestarts {
    const NAME: &'static str = "CosineAnnealingWarmRestarts";
    fn lr(&self, t: &Tick) -> f64 {
        let (mut at, mut length, factor) = (t.epoch, span(self.t_0), span(self.t_mult));
        if factor == 1 {
            at %= length;
        }
        while at >= length {
            at -= length;
            length = length.saturating_mul(factor);
        }
        let cos = (PI * at as f64 / length as f64).cos();
        self.eta_min + (t.base_lr - self.eta_min) * (1.0 + cos) / 2.0
    }
}

scheduler! {
    /// Up to `max_lr`, then far down, with the momentum the other way: one `step` a batch (Smith
    /// and Topin, arXiv 1708.07120;
    /// [`torch.optim.lr_scheduler.OneCycleLR`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html)).
    /// After `total_steps` the last rate stays.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::lr_scheduler::{LrScheduler, OneCycleLR};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    /// let mut scheduler = OneCycleLR::new(&optimizer, 1.0, 5);
    /// for expected in [0.04, 0.950485, 0.611262, 0.188258, 4e-06] {
    ///     assert!((optimizer.lr() - expected).abs() < 1e-5);
    ///     scheduler.step();
    /// }
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    OneCycleLR, OneCycle(
        /// the highest rate.
        max_lr: f64,
        /// how many steps there will be.
        total_steps: u64
    ) {
        /// The part of the steps in which the rate rises (0.3).
        pct_start: f64 = 0.3,
        /// Straight lines instead of cosines (false).
        linear: bool = false,
        /// Turns the momentum too, where the optimizer has one (true).
        cycle_momentum: bool = true,
        /// The lowest momentum (0.85).
        base_momentum: f64 = 0.85,
        /// The highest momentum (0.95).
        max_momentum: f64 = 0.95,
        /// The first rate is the highest divided by this (25).
        div_factor: f64 = 25.0,
        /// The last rate is the first divided by this (10,000).
        final_div_factor: f64 = 1e4,
        /// Falls back to the first rate in the time it took to rise, then to the last (false).
        three_phase: bool = false,
    }
}

impl OneCycle {
    fn at(&self, epoch: i64, start: f64, top: f64, end: f64) -> f64 {
        let total = self.total_steps.max(1) as f64;
        let rise = self.pct_start * total;
        let phases = if self.three_phase {
            vec![
                (rise - 1.0, start, top),
                (2.0 * rise - 2.0, top, start),
                (total - 1.0, start, end),
            ]
        } else {
            vec![(rise - 1.0, start, top), (total - 1.0, top, end)]
        };
        let epoch = (epoch as f64).min(total - 1.0);
        let mut from = 0.0;
        for (i, &(to, low, high)) in phases.iter().enumerate() {
            if epoch <= to || i == phases.len() - 1 {
                let part = (epoch - from) / (to - from);
                return if self.linear {
                    (high - low) * part + low
                } else {
                    high + (low - high) / 2.0 * ((PI * part).cos() + 1.0)
                };
            }
            from = to;
        }
        end
    }
}

impl Schedule for OneCycle {
    const NAME: &'static str = "OneCycleLR";

    fn lr(&self, t: &Tick) -> f64 {
        let start = self.max_lr / self.div_factor;
        self.at(t.epoch, start, self.max_lr, start / self.final_div_factor)
    }

    fn momentum(&self, t: &Tick) -> Option<f64> {
        let (low, high) = (self.base_momentum, self.max_momentum);
        self.cycle_momentum
            .then(|| self.at(t.epoch, high, low, high))
    }
}
