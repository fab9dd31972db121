//! Learning-rate schedules (`torch.optim.lr_scheduler`).
//!
//! A scheduler takes hold of its optimizer's learning rates when it is made, so that neither
//! borrows the other: `scheduler.step()` stands where it stands in PyTorch. A schedule is a formula
//! from the epoch to the rate ([`Schedule`]); [`Scheduler`] does the rest. The formulas are
//! PyTorch's recursive forms, so that schedules chained on one optimizer multiply as they do there.
//!
//! | | |
//! | --- | --- |
//! | by epochs | [`StepLR`], [`MultiStepLR`], [`ExponentialLR`], [`LinearLR`], [`ConstantLR`], [`PolynomialLR`] |
//! | cosines, cycles | [`CosineAnnealingLR`], [`CosineAnnealingWarmRestarts`], [`OneCycleLR`] (a step a batch) |
//! | a function | [`LambdaLR`], [`MultiplicativeLR`] |
//! | by a measured value | [`ReduceLROnPlateau`] |

mod cycle;
mod decay;
mod plateau;

pub use cycle::{
    CosineAnnealing, CosineAnnealingLR, CosineAnnealingWarmRestarts, OneCycle, OneCycleLR,
    WarmRestarts,
};
pub use decay::{
    Constant, ConstantLR, Exponential, ExponentialLR, Lambda, LambdaLR, Linear, LinearLR,
    MultiStep, MultiStepLR, Multiplicative, MultiplicativeLR, Polynomial, PolynomialLR, Step,
    StepLR,
};
pub use plateau::ReduceLROnPlateau;

use crate::optim::{Optimizer, Rate};
use flambeau_core::{Result, bail};
use serde_json::{Value, json};

/// What every scheduler of epochs does.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::lr_scheduler::{LrScheduler, StepLR};
/// use flambeau_nn::optim::{Optimizer, Sgd};
/// let optimizer = Sgd::new([Tensor::ones([1])?], 0.1);
/// let mut scheduler = StepLR::new(&optimizer, 1);
/// scheduler.step();
/// assert_eq!(scheduler.get_last_lr(), [optimizer.lr()]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait LrScheduler {
    /// Goes on to the next epoch: call it after the epoch's optimizer steps.
    fn step(&mut self);

    /// The learning rates now, by group.
    fn get_last_lr(&self) -> Vec<f64>;

    /// How many times [`step`](LrScheduler::step) was called.
    fn last_epoch(&self) -> i64;

    /// Where the schedule stands. Its options are not saved, as they are in the program.
    fn state_dict(&self) -> Value;

    /// Goes on from a saved place; load the optimizer's state as well.
    ///
    /// # Errors
    /// Where the state is not that of such a schedule.
    fn load_state_dict(&mut self, state: &Value) -> Result<()>;
}

/// What a schedule computes the next rate from.
pub struct Tick {
    /// The epoch that begins; 0 when the scheduler is made, and never negative.
    pub epoch: i64,
    /// The rate of the epoch before (of the optimizer, at epoch 0).
    pub lr: f64,
    /// The rate the optimizer was made with.
    pub base_lr: f64,
}

/// A formula for the learning rate.
pub trait Schedule: Send {
    /// PyTorch's name.
    const NAME: &'static str;

    /// The learning rate.
    fn lr(&self, tick: &Tick) -> f64;

    /// The momentum, in schedules that turn it too.
    fn momentum(&self, tick: &Tick) -> Option<f64> {
        let _ = tick;
        None
    }
}

/// A scheduler of the schedule `S`; see [`StepLR`], [`CosineAnnealingLR`] and the others, which are
/// this type under their names.
pub struct Scheduler<S> {
    schedule: S,
    rates: Vec<Rate>,
    base: Vec<f64>,
    /// The rates and momenta that the optimizer had when the scheduler was made.
    before: Vec<(f64, f64)>,
    epoch: i64,
}

impl<S: Schedule> Scheduler<S> {
    fn of(optimizer: &impl Optimizer, schedule: S) -> Scheduler<S> {
        let rates = optimizer.rates();
        let mut scheduler = Scheduler {
            schedule,
            base: rates.iter().map(Rate::initial_lr).collect(),
            before: rates.iter().map(|r| (r.lr(), r.momentum())).collect(),
            rates,
            epoch: 0,
        };
        scheduler.go_to(0);
        scheduler
    }

    /// Changes an option and begins again.
    fn option(mut self, change: impl FnOnce(&mut S)) -> Scheduler<S> {
        change(&mut self.schedule);
        for (rate, (lr, momentum)) in self.rates.iter().zip(&self.before) {
            rate.set_lr(*lr);
            rate.set_momentum(*momentum);
        }
        self.go_to(0);
        self
    }

    fn go_to(&mut self, epoch: i64) {
        self.epoch = epoch;
        for (rate, &base_lr) in self.rates.iter().zip(&self.base) {
            let tick = Tick {
                epoch,
                lr: rate.lr(),
                base_lr,
            };
            rate.set_lr(self.schedule.lr(&tick));
            if let Some(m) = self.schedule.momentum(&tick) {
                rate.set_momentum(m);
            }
        }
    }
}

impl<S: Schedule> LrScheduler for Scheduler<S> {
    fn step(&mut self) {
        self.go_to(self.epoch.saturating_add(1));
    }

    fn get_last_lr(&self) -> Vec<f64> {
        self.rates.iter().map(Rate::lr).collect()
    }

    fn last_epoch(&self) -> i64 {
        self.epoch
    }

    fn state_dict(&self) -> Value {
        json!({
            "scheduler": S::NAME,
            "last_epoch": self.epoch,
            "base_lrs": self.base,
            "last_lr": self.get_last_lr(),
            "last_momentum": self.rates.iter().map(|r| Some(r.momentum()).filter(|m| !m.is_nan())).collect::<Vec<_>>(),
        })
    }

    #[track_caller]
    fn load_state_dict(&mut self, state: &Value) -> Result<()> {
        let numbers = |key: &str| -> Option<Vec<f64>> {
            let list: Vec<f64> = state[key]
                .as_array()?
                .iter()
                .filter_map(Value::as_f64)
                .collect();
            (list.len() == self.rates.len()).then_some(list)
        };
        let name = state["scheduler"].as_str().unwrap_or("no scheduler");
        let (Some(epoch), Some(base), Some(last)) = (
            state["last_epoch"]
                .as_i64()
                .filter(|&e| name == S::NAME && e >= 0),
            numbers("base_lrs"),
            numbers("last_lr"),
        ) else {
            bail!(
                "load_state_dict",
                "the state is that of {name} and does not fit a {} of {} groups",
                S::NAME,
                self.rates.len()
            );
        };
        (self.epoch, self.base) = (epoch, base);
        for (i, rate) in self.rates.iter().enumerate() {
            rate.set_lr(last[i]);
            if let Some(m) = state["last_momentum"][i].as_f64() {
                rate.set_momentum(m);
            }
        }
        Ok(())
    }
}

/// A number of epochs of which twice as many can be counted; 0 counts as 1.
fn span(epochs: u64) -> i64 {
    epochs.clamp(1, i64::MAX as u64 / 2) as i64
}

/// Declares a scheduler: its name, what its constructor takes and what its methods set.
macro_rules! scheduler {
    (
        $(#[$doc:meta])*
        $alias:ident, $schedule:ident($($(#[$needed_about:meta])* $needed:ident: $needed_ty:ty),*) {
            $($(#[$about:meta])* $field:ident: $t:ty = $default:expr,)*
        }
    ) => {
        $(#[$doc])*
        pub type $alias = $crate::lr_scheduler::Scheduler<$schedule>;

        #[doc = concat!("The schedule of [`", stringify!($alias), "`].")]
        pub struct $schedule {
            $($(#[$needed_about])* $needed: $needed_ty,)*
            $($(#[$about])* $field: $t,)*
        }

        impl $alias {
            /// Takes hold of the optimizer's learning rates.
            $(
                #[doc = concat!("`", stringify!($needed), "`: ")]
                $(#[$needed_about])*
            )*
            pub fn new(
                optimizer: &impl $crate::optim::Optimizer
                $(, $needed: $needed_ty)*
            ) -> $alias {
                Self::of(optimizer, $schedule { $($needed,)* $($field: $default,)* })
            }
            $(
                $(#[$about])*
                #[must_use]
                pub fn $field(self, $field: $t) -> $alias {
                    self.option(|o| o.$field = $field)
                }
            )*
        }
    };
}
use scheduler;
