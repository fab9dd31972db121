//! Optimizers (`torch.optim`).
//!
//! An optimizer is its options and a formula for one parameter ([`Algorithm`]), in a file of its
//! own; [`Optim`] does for all of them what is the same: groups, the state by parameter, saving.
//! A formula is written for one element, in PyTorch's order of rounding, and run as one pass over
//! the memory of all parameters, their gradients and states ([`flambeau_core::fused`]).

mod adadelta;
mod adagrad;
mod adam;
mod adamax;
mod clip;
mod nadam;
mod radam;
mod rmsprop;
mod sgd;
mod state;

pub use adadelta::{Adadelta, AdadeltaOptions};
pub use adagrad::{Adagrad, AdagradOptions};
pub use adam::{Adam, AdamOptions, AdamW, AdamWOptions};
pub use adamax::{Adamax, AdamaxOptions};
pub use clip::{clip_grad_norm_, clip_grad_value_};
pub use nadam::{NAdam, NAdamOptions};
pub use radam::{RAdam, RAdamOptions};
pub use rmsprop::{RMSprop, RMSpropOptions};
pub use sgd::{Sgd, SgdOptions};
pub use state::OptimizerState;

use crate::parameter::Parameter;
use crate::warnings::{Warning, warn};
use flambeau_core::cuda::scope;
use flambeau_core::fused::{Pass, Real};
use flambeau_core::{Result, Tensor, bail, cuda, no_grad};
use serde_json::{Map, Value};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What every optimizer does; the facade's prelude brings it in.
///
/// Every step is `zero_grad`, a backward pass, `step`:
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::optim::{Adam, Optimizer};
/// let w = Tensor::new([3.0f32])?.requires_grad_(true)?;
/// let mut optimizer = Adam::new([&w], 0.5);
/// for _ in 0..100 {
///     optimizer.zero_grad();
///     w.square()?.sum()?.backward()?;
///     optimizer.step()?;
/// }
/// assert!(w.item::<f32>()?.abs() < 0.1);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait Optimizer {
    /// Changes each parameter that has a gradient.
    ///
    /// # Errors
    /// Where an option is out of its range, or there are no parameters.
    fn step(&mut self) -> Result<()>;

    /// Replays a graph that holds a whole step of training, this optimizer's included: it counts the
    /// step, and the graph gets the numbers of this one, such as the learning rate. Parameters have
    /// to keep the gradients that the captured backward pass made.
    /// [`GraphedStep`](crate::GraphedStep) does this and the capturing.
    ///
    /// # Errors
    /// As `step`, and where this step is not the captured one with other numbers; it is not done
    /// and not counted then.
    fn replay(&mut self, graph: &mut cuda::Graph) -> Result<()>;

    /// Takes back what the last step counted, where the device has skipped it
    /// ([`cuda::skip_where`]): bias corrections and the like are then those of steps that were taken.
    /// Does nothing where the last step was taken for certain.
    fn uncount(&mut self);

    /// Drops the gradient of every parameter (`set_to_none=True`).
    fn zero_grad(&self);

    /// Every parameter, group by group.
    fn parameters(&self) -> Vec<Parameter>;

    /// Handles on the groups' learning rates, shared with the optimizer: what schedulers turn.
    fn rates(&self) -> Vec<Rate>;

    /// The learning rate of the first group.
    fn lr(&self) -> f64 {
        self.rates().first().map_or(f64::NAN, Rate::lr)
    }

    /// Sets the learning rate of every group.
    fn set_lr(&mut self, lr: f64) {
        self.rates().iter().for_each(|r| r.set_lr(lr));
    }

    /// Everything that the next step depends on, besides parameters and gradients.
    fn state_dict(&self) -> OptimizerState;

    /// Takes over a saved state, copying its tensors. Either all is loaded or nothing.
    ///
    /// # Errors
    /// Lists what does not fit: another optimizer, other groups, other shapes.
    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()>;
}

/// An optimizer's options with its formula.
pub trait Algorithm: Clone + Send + Sync + 'static {
    /// PyTorch's name.
    const NAME: &'static str;
    /// PyTorch's names of the tensors it keeps for each parameter.
    const STATE: &'static [&'static str];

    /// The learning rate.
    fn lr(&mut self) -> &mut f64;
    /// The momentum, or the first beta, where there is one for schedulers to turn.
    fn momentum_like(&mut self) -> Option<&mut f64> {
        None
    }
    /// The options' range.
    ///
    /// # Errors
    /// Says which option is out of range.
    fn check(&self) -> Result<(), String>;
    /// The options by name.
    fn save(&self) -> Map<String, Value>;
    /// The options from what [`save`](Algorithm::save) wrote; unknown names are left alone.
    ///
    /// # Errors
    /// Names the option that has a value of another kind.
    fn restore(&mut self, saved: &Map<String, Value>) -> Result<(), String>;
    /// Adds to `pass` the change of `p` by its gradient `g`; `state.step` already counts this step.
    ///
    /// # Errors
    /// Those of [`Pass::add`].
    fn update<'a>(
        &'a self,
        p: &Tensor,
        g: &Tensor,
        state: &mut State,
        pass: &mut Pass<'a>,
    ) -> Result<()>;
}

/// What an optimizer keeps for a parameter.
#[derive(Clone, Default)]
pub struct State {
    /// How many steps have changed the parameter.
    pub step: u64,
    /// A number that an algorithm keeps (the product of momenta in NAdam).
    pub number: Option<f64>,
    tensors: SmallVec<[Option<Tensor>; 3]>,
}

impl State {
    /// Tensor `i` of [`Algorithm::STATE`]; where it does not exist yet, `init` everywhere.
    fn tensor(&mut self, i: usize, like: &Tensor, init: f64) -> Result<Tensor> {
        if self.tensors.len() <= i {
            self.tensors.resize(i + 1, None);
        }
        match &mut self.tensors[i] {
            Some(t) => Ok(t.clone()),
            empty => {
                if cuda::is_capturing(like.device()) {
                    bail!(
                        "step",
                        "a graph is captured, and the optimizer has not stepped before: what it keeps would be made anew at each replay. Take one step first"
                    );
                }
                let _memory = scope::role(scope::Role::Optimizer);
                let new = like.detach().full_like(init)?;
                Ok(empty.insert(new).clone())
            }
        }
    }

    fn has(&self, i: usize) -> bool {
        matches!(self.tensors.get(i), Some(Some(_)))
    }
}

/// A group's learning rate and momentum, shared by its optimizer and schedulers.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::optim::{Optimizer, Sgd};
/// let optimizer = Sgd::new([Tensor::ones([1])?], 0.1);
/// optimizer.rates()[0].set_lr(0.01);
/// assert_eq!(optimizer.lr(), 0.01);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Rate(Arc<Cells>);

#[derive(Default)]
struct Cells {
    lr: AtomicU64,
    momentum: AtomicU64,
    initial_lr: OnceLock<f64>,
}

impl Rate {
    fn new() -> Rate {
        Rate(Arc::default())
    }

    /// Whether both are handles on one group.
    pub(crate) fn is(&self, other: &Rate) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The learning rate of the next step.
    pub fn lr(&self) -> f64 {
        f64::from_bits(self.0.lr.load(Ordering::Relaxed))
    }

    /// Sets it.
    pub fn set_lr(&self, lr: f64) {
        self.0.lr.store(lr.to_bits(), Ordering::Relaxed);
    }

    /// The momentum (or first beta) of the next step; NaN in optimizers without.
    pub fn momentum(&self) -> f64 {
        f64::from_bits(self.0.momentum.load(Ordering::Relaxed))
    }

    /// Sets it, where the optimizer has one.
    pub fn set_momentum(&self, momentum: f64) {
        self.0.momentum.store(momentum.to_bits(), Ordering::Relaxed);
    }

    /// The learning rate as it was when the first scheduler took hold of it.
    pub(crate) fn initial_lr(&self) -> f64 {
        *self.0.initial_lr.get_or_init(|| self.lr())
    }
}

/// Parameters that share options.
pub struct Group<O> {
    parameters: Vec<Parameter>,
    states: Vec<State>,
    options: O,
    rate: Rate,
}

impl<O: Algorithm> Group<O> {
    fn new(parameters: Vec<Parameter>, mut options: O) -> Group<O> {
        let rate = Rate::new();
        rate.set_lr(*options.lr());
        rate.set_momentum(options.momentum_like().map_or(f64::NAN, |m| *m));
        Group {
            states: vec![State::default(); parameters.len()],
            parameters,
            options,
            rate,
        }
    }

    /// The group's parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The group's options as they stand.
    pub fn options(&self) -> O {
        let mut options = self.options.clone();
        *options.lr() = self.rate.lr();
        if let Some(m) = options.momentum_like() {
            *m = self.rate.momentum();
        }
        options
    }

    fn set_options(&mut self, change: impl Fn(&mut O)) {
        let mut options = self.options();
        change(&mut options);
        self.rate.set_lr(*options.lr());
        self.rate
            .set_momentum(options.momentum_like().map_or(f64::NAN, |m| *m));
        self.options = options;
    }
}

/// An optimizer of the algorithm `O`; see [`Sgd`], [`Adam`], [`AdamW`] and the others, which are
/// this type under their names.
pub struct Optim<O: Algorithm> {
    defaults: O,
    groups: Vec<Group<O>>,
    watch: Watch,
    /// The counts before the last step, where the device may have skipped it.
    before: Counts,
}

/// Steps and numbers by parameter.
type Counts = Vec<(u64, Option<f64>)>;

impl<O: Algorithm + Default> Optim<O> {
    /// An optimizer of `parameters` (those of [`Module::parameters`](crate::Module::parameters), or
    /// tensors) at learning rate `lr`; other options have PyTorch's defaults and are set by the
    /// methods of their names.
    ///
    /// Options out of range and an empty list are errors of the first [`step`](Optimizer::step).
    pub fn new<P: Into<Parameter>>(parameters: impl IntoIterator<Item = P>, lr: f64) -> Self {
        let mut defaults = O::default();
        *defaults.lr() = lr;
        let parameters = parameters.into_iter().map(Into::into).collect();
        Optim {
            groups: vec![Group::new(parameters, defaults.clone())],
            defaults,
            watch: Watch::default(),
            before: Counts::new(),
        }
    }
}

impl<O: Algorithm> Optim<O> {
    fn counts(&self) -> Counts {
        let states = self.groups.iter().flat_map(|g| &g.states);
        states.map(|s| (s.step, s.number)).collect()
    }

    /// Sets an option, of every group there is.
    fn option(mut self, change: impl Fn(&mut O)) -> Self {
        change(&mut self.defaults);
        self.groups.iter_mut().for_each(|g| g.set_options(&change));
        self
    }

    /// With another group of parameters, whose options differ as `change` says from those set so
    /// far (`add_param_group`). Set the common options before.
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module};
    /// use flambeau_nn::optim::{Optimizer, Sgd};
    /// let (body, head) = (Linear::new(4, 4), Linear::new(4, 2));
    /// let optimizer = Sgd::new(body.parameters(), 1e-3)
    ///     .momentum(0.9)
    ///     .group(head.parameters(), |o| o.lr = 1e-2);
    /// assert_eq!(optimizer.param_groups()[1].options().momentum, 0.9);
    /// assert_eq!(optimizer.rates()[1].lr(), 1e-2);
    /// ```
    #[must_use]
    pub fn group<P: Into<Parameter>>(
        mut self,
        parameters: impl IntoIterator<Item = P>,
        change: impl FnOnce(&mut O),
    ) -> Self {
        self.add_param_group(parameters, change);
        self
    }

    /// [`group`](Optim::group) for an optimizer in use: freshly unfrozen layers, say.
    ///
    /// ```
    /// use flambeau_nn::optim::Sgd;
    /// use flambeau_nn::{Linear, Module};
    /// let mut optimizer = Sgd::new(Linear::new(2, 1).parameters(), 0.1);
    /// optimizer.add_param_group(Linear::new(2, 2).parameters(), |o| o.lr = 0.01);
    /// assert_eq!(optimizer.param_groups()[1].options().lr, 0.01);
    /// ```
    pub fn add_param_group<P: Into<Parameter>>(
        &mut self,
        parameters: impl IntoIterator<Item = P>,
        change: impl FnOnce(&mut O),
    ) {
        let mut options = self.defaults.clone();
        change(&mut options);
        let parameters = parameters.into_iter().map(Into::into).collect();
        self.groups.push(Group::new(parameters, options));
    }

    /// The groups in order.
    pub fn param_groups(&self) -> &[Group<O>] {
        &self.groups
    }

    #[track_caller]
    fn check(&self) -> Result<()> {
        if self.groups.iter().all(|g| g.parameters.is_empty()) {
            bail!(
                O::NAME,
                "the optimizer was given no parameters; pass net.parameters()"
            );
        }
        for (i, group) in self.groups.iter().enumerate() {
            if let Err(text) = group.options().check() {
                bail!(O::NAME, "{text} (group {i})");
            }
        }
        Ok(())
    }

    /// A parameter in two places would be changed twice a step.
    #[track_caller]
    fn check_distinct(&mut self) -> Result<()> {
        let all: Vec<&Parameter> = self.groups.iter().flat_map(|g| &g.parameters).collect();
        if self.watch.checked == all.len() {
            return Ok(());
        }
        for (i, p) in all.iter().enumerate() {
            if all[..i].iter().any(|q| q.is(p)) {
                bail!(
                    O::NAME,
                    "parameter {} was given twice; give each once, in one group",
                    p.name().map_or_else(|| i.to_string(), |n| n.to_string())
                );
            }
        }
        self.watch.checked = all.len();
        Ok(())
    }
}

impl<O: Algorithm> Optimizer for Optim<O> {
    #[track_caller]
    fn step(&mut self) -> Result<()> {
        self.check()?;
        self.check_distinct()?;
        self.watch
            .before(self.groups.iter().flat_map(|g| &g.parameters));
        let options: Vec<O> = self.groups.iter().map(Group::options).collect();
        self.before = match cuda::is_skipping() {
            true => self.counts(),
            false => Counts::new(),
        };
        no_grad(|| {
            let mut pass = Pass::new();
            for (group, options) in self.groups.iter_mut().zip(&options) {
                for (p, state) in group.parameters.iter().zip(&mut group.states) {
                    if let Some(g) = p.grad() {
                        state.step += 1;
                        options.update(p, &g, state, &mut pass)?;
                    }
                }
            }
            pass.run()?;
            Ok(())
        })
    }

    #[track_caller]
    fn replay(&mut self, graph: &mut cuda::Graph) -> Result<()> {
        let counts = self.counts();
        let updates = cuda::collect_updates(|| self.step());
        let done = updates.and_then(|updates| {
            graph.set_updates(updates)?;
            graph.replay()
        });
        self.before = counts;
        if done.is_err() {
            self.uncount();
        }
        done
    }

    fn uncount(&mut self) {
        let states = self.groups.iter_mut().flat_map(|g| &mut g.states);
        for (state, (step, number)) in states.zip(std::mem::take(&mut self.before)) {
            (state.step, state.number) = (step, number);
        }
    }

    fn zero_grad(&self) {
        for p in self.groups.iter().flat_map(|g| &g.parameters) {
            p.zero_grad();
        }
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.groups
            .iter()
            .flat_map(|g| g.parameters.iter().cloned())
            .collect()
    }

    fn rates(&self) -> Vec<Rate> {
        self.groups.iter().map(|g| g.rate.clone()).collect()
    }

    fn state_dict(&self) -> OptimizerState {
        state::save(O::NAME, O::STATE, &self.groups)
    }

    #[track_caller]
    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()> {
        state::load(O::NAME, O::STATE, &mut self.groups, state)
    }
}

/// Looks out for a training loop without `zero_grad`.
#[derive(Default)]
struct Watch {
    /// The gradient of the smallest parameter at the last step, and its version then.
    last: Option<(Tensor, u32)>,
    /// Steps in a row whose gradients had grown on top of those of the step before.
    grown: u32,
    /// How many parameters were found to be distinct.
    checked: usize,
}

impl Watch {
    fn before<'a>(&mut self, parameters: impl Iterator<Item = &'a Parameter>) {
        let smallest = parameters
            .filter_map(|p| p.grad())
            .min_by_key(|g| g.numel());
        let Some(grad) = smallest else {
            warn(
                Warning::NoGradient,
                "optimizer.step() found no gradient on any parameter: call loss.backward() before it, on a loss computed from these parameters",
            );
            return;
        };
        let version = grad.version();
        match &self.last {
            Some((old, before)) if old.is(&grad) && version > *before => self.grown += 1,
            _ => self.grown = 0,
        }
        if self.grown >= 2 {
            warn(
                Warning::ForgottenZeroGrad,
                "gradients have piled up over several optimizer.step() calls: call optimizer.zero_grad() once per step, before loss.backward()",
            );
        }
        self.last = Some((grad, version));
    }
}

/// `a + alpha * b`, rounded once (`a.add(b, alpha=alpha)`).
#[inline(always)]
fn add<T: Real>(a: T, b: T, alpha: f64) -> T {
    b.mul_add(T::of(alpha), a)
}

/// `a + value * b * c` (`a.addcmul(b, c, value=value)`).
#[inline(always)]
fn addcmul<T: Real>(a: T, b: T, c: T, value: f64) -> T {
    (T::of(value) * b).mul_add(c, a)
}

/// `a + value * b / c` (`a.addcdiv(b, c, value=value)`).
#[inline(always)]
fn addcdiv<T: Real>(a: T, b: T, c: T, value: f64) -> T {
    a + T::of(value) * b / c
}

/// `a` moved towards `b` (`a.lerp(b, weight)`).
#[inline(always)]
fn lerp<T: Real>(a: T, b: T, weight: f64) -> T {
    if weight.abs() < 0.5 {
        (b - a).mul_add(T::of(weight), a)
    } else {
        (b - a).mul_add(T::of(weight) - T::of(1.0), b)
    }
}

/// The gradient as most formulas begin: turned around to maximize, drawn to zero by weight decay.
#[inline(always)]
fn prepare<T: Real>(g: T, p: T, weight_decay: f64, maximize: bool) -> T {
    let g = if maximize { -g } else { g };
    if weight_decay != 0.0 {
        add(g, p, weight_decay)
    } else {
        g
    }
}

/// `Err` with the first of the conditions that does not hold.
fn ranges(checks: &[(bool, &str, f64)]) -> Result<(), String> {
    match checks.iter().find(|(holds, ..)| !holds) {
        None => Ok(()),
        Some((_, name, value)) => Err(format!("{name} = {value} is out of its range")),
    }
}

/// Declares an optimizer: its options with PyTorch's defaults, a method for each, and how they are
/// saved.
macro_rules! options {
    (
        $(#[$doc:meta])*
        $alias:ident, $options:ident { $($(#[$about:meta])* $field:ident: $t:ty = $default:expr,)* }
    ) => {
        $(#[$doc])*
        pub type $alias = $crate::optim::Optim<$options>;

        #[doc = concat!("The options of [`", stringify!($alias), "`].")]
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $options {
            /// The learning rate.
            pub lr: f64,
            $($(#[$about])* pub $field: $t,)*
        }

        impl Default for $options {
            fn default() -> Self {
                $options { lr: 1e-3, $($field: $default,)* }
            }
        }

        impl $alias {
            $(
                $(#[$about])*
                #[must_use]
                pub fn $field(self, $field: $t) -> Self {
                    self.option(|o| o.$field = $field)
                }
            )*
        }

        impl $options {
            fn save_options(&self) -> serde_json::Map<String, serde_json::Value> {
                let mut saved = serde_json::Map::new();
                saved.insert("lr".to_owned(), serde_json::json!(self.lr));
                $(saved.insert(stringify!($field).to_owned(), serde_json::json!(self.$field));)*
                saved
            }

            fn restore_options(
                &mut self,
                saved: &serde_json::Map<String, serde_json::Value>,
            ) -> Result<(), String> {
                let wrong = |name: &str| format!("option {name} has a value of another kind");
                if let Some(v) = saved.get("lr") {
                    self.lr = serde_json::from_value(v.clone()).map_err(|_| wrong("lr"))?;
                }
                $(if let Some(v) = saved.get(stringify!($field)) {
                    self.$field = serde_json::from_value(v.clone())
                        .map_err(|_| wrong(stringify!($field)))?;
                })*
                Ok(())
            }
        }
    };
}
use options;

/// The part of [`Algorithm`] that [`options!`] made.
macro_rules! saved_options {
    () => {
        fn lr(&mut self) -> &mut f64 {
            &mut self.lr
        }
        fn save(&self) -> serde_json::Map<String, serde_json::Value> {
            self.save_options()
        }
        fn restore(
            &mut self,
            saved: &serde_json::Map<String, serde_json::Value>,
        ) -> Result<(), String> {
            self.restore_options(saved)
        }
    };
}
use saved_options;
