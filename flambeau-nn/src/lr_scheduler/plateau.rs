//! A rate that falls when nothing improves any more.

use crate::optim::{Optimizer, Rate};
use flambeau_core::{Result, bail};
use serde_json::{Value, json};

/// Lowers the rate where a measured value has not improved for `patience` epochs
/// ([`torch.optim.lr_scheduler.ReduceLROnPlateau`](https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::lr_scheduler::ReduceLROnPlateau;
/// use flambeau_nn::optim::{Optimizer, Sgd};
/// let optimizer = Sgd::new([Tensor::zeros([1])?], 1.0);
/// let mut scheduler = ReduceLROnPlateau::new(&optimizer).patience(1);
/// for loss in [1.0, 1.0, 1.0] {
///     scheduler.step(loss);
/// }
/// assert_eq!(optimizer.lr(), 0.1);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub struct ReduceLROnPlateau {
    rates: Vec<Rate>,
    maximize: bool,
    factor: f64,
    patience: u64,
    threshold: f64,
    absolute: bool,
    cooldown: u64,
    min_lr: f64,
    eps: f64,
    /// `None` before the first epoch.
    best: Option<f64>,
    bad_epochs: u64,
    cooldown_left: u64,
    epoch: i64,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $t:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $t) -> Self {
            self.$name = $name;
            self
        }
    )*};
}

impl ReduceLROnPlateau {
    /// With PyTorch's defaults: mode `min`, a tenth after ten epochs without improvement.
    pub fn new(optimizer: &impl Optimizer) -> ReduceLROnPlateau {
        ReduceLROnPlateau {
            rates: optimizer.rates(),
            maximize: false,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            absolute: false,
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
            best: None,
            bad_epochs: 0,
            cooldown_left: 0,
            epoch: 0,
        }
    }

    setters! {
        /// The value is to grow, as an accuracy is (`mode="max"`).
        maximize: bool;
        /// The factor on the rate (0.1).
        factor: f64;
        /// How many epochs without improvement are borne (10).
        patience: u64;
        /// How large an improvement must be to count (1e-4).
        threshold: f64;
        /// The threshold is a difference rather than a fraction of the best (`threshold_mode="abs"`).
        absolute: bool;
        /// How many epochs are not counted after a change (0).
        cooldown: u64;
        /// The lowest rate (0).
        min_lr: f64;
        /// Smaller changes are not made (1e-8).
        eps: f64;
    }

    fn is_better(&self, value: f64, best: f64) -> bool {
        match (self.maximize, self.absolute) {
            (false, false) => value < best * (1.0 - self.threshold),
            (false, true) => value < best - self.threshold,
            (true, false) => value > best * (1.0 + self.threshold),
            (true, true) => value > best + self.threshold,
        }
    }

    /// Goes on to the next epoch with the value measured in this one.
    pub fn step(&mut self, value: f64) {
        self.epoch = self.epoch.saturating_add(1);
        let better = match self.best {
            // PyTorch starts from infinity, which only a NaN does not better.
            None => !value.is_nan(),
            Some(best) => self.is_better(value, best),
        };
        if better {
            self.best = Some(value);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs = self.bad_epochs.saturating_add(1);
        }
        if self.cooldown_left > 0 {
            self.cooldown_left -= 1;
            self.bad_epochs = 0;
        }
        if self.bad_epochs > self.patience {
            for rate in &self.rates {
                let new = (rate.lr() * self.factor).max(self.min_lr);
                if rate.lr() - new > self.eps {
                    rate.set_lr(new);
                }
            }
            self.cooldown_left = self.cooldown;
            self.bad_epochs = 0;
        }
    }

    /// The learning rates now, by group.
    pub fn get_last_lr(&self) -> Vec<f64> {
        self.rates.iter().map(Rate::lr).collect()
    }

    /// Where the schedule stands.
    pub fn state_dict(&self) -> Value {
        json!({
            "scheduler": "ReduceLROnPlateau",
            "best": self.best,
            "bad_epochs": self.bad_epochs,
            "cooldown_left": self.cooldown_left,
            "last_epoch": self.epoch,
        })
    }

    /// Goes on from a saved place; load the optimizer's state as well.
    ///
    /// # Errors
    /// Where the state is not that of such a schedule.
    #[track_caller]
    pub fn load_state_dict(&mut self, state: &Value) -> Result<()> {
        let (Some("ReduceLROnPlateau"), Some(bad), Some(left), Some(epoch)) = (
            state["scheduler"].as_str(),
            state["bad_epochs"].as_u64(),
            state["cooldown_left"].as_u64(),
            state["last_epoch"].as_i64(),
        ) else {
            bail!(
                "load_state_dict",
                "the state is not that of a ReduceLROnPlateau"
            );
        };
        (self.bad_epochs, self.cooldown_left, self.epoch) = (bad, left, epoch);
        self.best = state["best"].as_f64();
        Ok(())
    }
}
