//! Gradient scaling for mixed precision (`torch.amp`); the casting itself is
//! [`flambeau_core::autocast`](flambeau_core::autocast()). [`GradScaler`] is all there is here.

use crate::optim::{Optimizer, Rate};
use flambeau_core::fused::{Real, Update, update};
use flambeau_core::{DType, Device, MemoryFormat, Result, Tensor, bail, cuda, no_grad};
use serde_json::{Value, json};

/// Scales losses so that small gradients do not vanish in `f16`, and skips the steps whose
/// gradients have overflowed (Micikevicius et al., arXiv 1710.03740;
/// [`torch.amp.GradScaler`](https://pytorch.org/docs/stable/generated/torch.amp.GradScaler.html)).
///
/// The scale is halved after a skipped step and doubled after 2000 good ones in a row. `bf16` has
/// the range of `f32` and needs none of this.
///
/// ```
/// use flambeau_core::{DType, Tensor, autocast};
/// use flambeau_nn::amp::GradScaler;
/// use flambeau_nn::optim::{Optimizer, Sgd};
/// use flambeau_nn::{Forward, Linear, Module};
/// let net = Linear::new(4, 1);
/// let mut optimizer = Sgd::new(net.parameters(), 0.1);
/// let mut scaler = GradScaler::new().init_scale(1024.0);
/// let x = Tensor::ones([8, 4])?;
/// for _ in 0..3 {
///     optimizer.zero_grad();
///     let loss = autocast(DType::F16, || net.forward(&x)?.square()?.mean())?;
///     scaler.scale(&loss)?.backward()?;
///     assert!(scaler.step(&mut optimizer)?);
///     scaler.update()?;
/// }
/// assert_eq!(scaler.get_scale(), 1024.0);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub struct GradScaler {
    enabled: bool,
    /// As in PyTorch an `f32`.
    scale: f32,
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: u64,
    /// Steps in a row that were not skipped.
    growth_tracker: u64,
    /// Whether anything was scaled yet.
    used: bool,
    optimizers: Vec<Seen>,
}

/// What happened to an optimizer since the last update.
struct Seen {
    /// Its first group's rate tells one optimizer from another, wherever they are moved.
    rate: Option<Rate>,
    stage: Stage,
    /// Whether a gradient was not finite; `None` where there was no gradient to look at.
    overflowed: Option<bool>,
    /// The same on CUDA devices, each a number that is not 0 where one was found; read when the step
    /// has to be decided.
    found: Vec<Tensor>,
}

impl Seen {
    /// Whether a gradient was not finite, on any device.
    fn resolve(&mut self) -> Result<Option<bool>> {
        for found in self.found.drain(..) {
            let found = found.item::<f32>()? != 0.0;
            *self.overflowed.get_or_insert(false) |= found;
        }
        Ok(self.overflowed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ready,
    Unscaled,
    Stepped,
}

impl Default for GradScaler {
    fn default() -> GradScaler {
        GradScaler::new()
    }
}

impl GradScaler {
    /// Scale 65536, growth factor 2, backoff factor 0.5, growth interval 2000.
    pub fn new() -> GradScaler {
        GradScaler {
            enabled: true,
            scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            growth_tracker: 0,
            used: false,
            optimizers: Vec::new(),
        }
    }

    /// The scale to begin with.
    #[must_use]
    pub fn init_scale(mut self, scale: f64) -> Self {
        self.scale = scale as f32;
        self
    }

    /// Whether anything is scaled; where not, [`step`](GradScaler::step) is the optimizer's and
    /// the rest does nothing. Default true.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// With another [growth factor](GradScaler::set_growth_factor).
    #[must_use]
    pub fn growth_factor(mut self, factor: f64) -> Self {
        self.growth_factor = factor;
        self
    }

    /// With another [backoff factor](GradScaler::set_backoff_factor).
    #[must_use]
    pub fn backoff_factor(mut self, factor: f64) -> Self {
        self.backoff_factor = factor;
        self
    }

    /// With another [growth interval](GradScaler::set_growth_interval).
    #[must_use]
    pub fn growth_interval(mut self, interval: u64) -> Self {
        self.growth_interval = interval;
        self
    }

    /// `output` times the scale: call `backward` on the result.
    ///
    /// # Errors
    /// Where a factor is out of its range.
    #[track_caller]
    pub fn scale(&mut self, output: &Tensor) -> Result<Tensor> {
        if !self.enabled {
            return Ok(output.clone());
        }
        if self.growth_factor.is_nan() || self.growth_factor <= 1.0 {
            bail!(
                "GradScaler",
                "the growth factor is {}; it must be above 1",
                self.growth_factor
            );
        }
        if self.backoff_factor.is_nan() || self.backoff_factor >= 1.0 {
            bail!(
                "GradScaler",
                "the backoff factor is {}; it must be below 1",
                self.backoff_factor
            );
        }
        self.used = true;
        output.mul(Tensor::full((), self.scale)?)
    }

    /// Divides the gradients of the optimizer's parameters by the scale, so that they can be looked
    /// at or clipped before [`step`](GradScaler::step), which otherwise does it itself.
    ///
    /// # Errors
    /// Where nothing was scaled before, this was already done since the last
    /// [`update`](GradScaler::update), or a gradient is `f16` itself: parameters stay `f32` under
    /// autocast.
    #[track_caller]
    pub fn unscale_<O: Optimizer + ?Sized>(&mut self, optimizer: &O) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        self.check_used("unscale_")?;
        let i = self.seen(optimizer);
        match self.optimizers[i].stage {
            Stage::Ready => {}
            Stage::Unscaled => bail!(
                "unscale_",
                "it was already called for this optimizer since the last update()"
            ),
            Stage::Stepped => bail!(
                "unscale_",
                "it is called after step(); call it before, or update() first"
            ),
        }
        let grads: Vec<Tensor> = (optimizer.parameters().iter())
            .filter_map(|p| p.grad())
            .collect();
        if grads.iter().any(|g| g.dtype() == DType::F16) {
            bail!(
                "unscale_",
                "a gradient is float16, where dividing it loses what scaling has saved; keep parameters in float32 and use autocast"
            );
        }
        let by = (1.0 / f64::from(self.scale)) as f32;
        let mut overflowed = None;
        let (on_cuda, others): (Vec<&Tensor>, Vec<&Tensor>) = (grads.iter())
            .partition(|g| g.is_cuda() && g.is_contiguous_format(MemoryFormat::Preserve));
        let found = no_grad(|| {
            for g in others {
                let found = overflowed.get_or_insert(false);
                *found |= !is_finite(g)?;
                update("unscale_", [g], [], Unscale(by.into()))?;
            }
            unscale_on_devices(on_cuda, by)
        })?;
        let seen = &mut self.optimizers[i];
        (seen.stage, seen.overflowed, seen.found) = (Stage::Unscaled, overflowed, found);
        Ok(())
    }

    /// The optimizer's step, unless a gradient has overflowed; says whether it was done. Gradients
    /// are unscaled first where that was not done yet.
    ///
    /// # Errors
    /// Where nothing was scaled before, no parameter has a gradient, or this was already called
    /// since the last [`update`](GradScaler::update); and those of the optimizer.
    #[track_caller]
    pub fn step<O: Optimizer + ?Sized>(&mut self, optimizer: &mut O) -> Result<bool> {
        if !self.enabled {
            return optimizer.step().map(|()| true);
        }
        self.check_used("step")?;
        let i = self.seen(optimizer);
        match self.optimizers[i].stage {
            Stage::Ready => self.unscale_(optimizer)?,
            Stage::Unscaled => {}
            Stage::Stepped => bail!(
                "step",
                "it was already called for this optimizer since the last update()"
            ),
        }
        let Some(overflowed) = self.optimizers[i].resolve()? else {
            bail!(
                "step",
                "no parameter of the optimizer has a gradient; call backward() on scale(&loss) before"
            );
        };
        if !overflowed {
            optimizer.step()?;
        }
        self.optimizers[i].stage = Stage::Stepped;
        Ok(!overflowed)
    }

    /// Changes the scale after what the steps since the last update have found; call it once, after
    /// the steps of all optimizers.
    ///
    /// # Errors
    /// Where nothing was scaled, or no gradients were looked at, since the last update.
    #[track_caller]
    pub fn update(&mut self) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        self.check_used("update")?;
        let mut found = None;
        for seen in &mut self.optimizers {
            if let Some(overflowed) = seen.resolve()? {
                *found.get_or_insert(false) |= overflowed;
            }
        }
        let Some(overflowed) = found else {
            bail!(
                "update",
                "no gradients were looked at since the last update(); call step() or unscale_() before"
            );
        };
        if overflowed {
            self.scale = (f64::from(self.scale) * self.backoff_factor) as f32;
            self.growth_tracker = 0;
        } else {
            self.growth_tracker += 1;
            if self.growth_tracker == self.growth_interval {
                let grown = (f64::from(self.scale) * self.growth_factor) as f32;
                if grown.is_finite() {
                    self.scale = grown;
                }
                self.growth_tracker = 0;
            }
        }
        self.optimizers.clear();
        Ok(())
    }

    /// [`update`](GradScaler::update) to a given scale (`update(new_scale)`).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::amp::GradScaler;
    /// let mut scaler = GradScaler::new();
    /// scaler.scale(&Tensor::ones(())?)?;
    /// scaler.update_to(128.0)?;
    /// assert_eq!(scaler.get_scale(), 128.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where nothing was scaled before.
    #[track_caller]
    pub fn update_to(&mut self, scale: f64) -> Result<()> {
        if self.enabled {
            self.check_used("update")?;
            self.scale = scale as f32;
            self.optimizers.clear();
        }
        Ok(())
    }

    /// The scale; 1 where not enabled.
    pub fn get_scale(&self) -> f64 {
        if self.enabled { self.scale.into() } else { 1.0 }
    }

    /// What the scale is multiplied by after enough good steps.
    pub fn get_growth_factor(&self) -> f64 {
        self.growth_factor
    }

    /// Sets it; above 1.
    pub fn set_growth_factor(&mut self, factor: f64) {
        self.growth_factor = factor;
    }

    /// What the scale is multiplied by after a skipped step.
    pub fn get_backoff_factor(&self) -> f64 {
        self.backoff_factor
    }

    /// Sets it; below 1.
    pub fn set_backoff_factor(&mut self, factor: f64) {
        self.backoff_factor = factor;
    }

    /// How many good steps in a row let the scale grow.
    pub fn get_growth_interval(&self) -> u64 {
        self.growth_interval
    }

    /// Sets it.
    pub fn set_growth_interval(&mut self, interval: u64) {
        self.growth_interval = interval;
    }

    /// Whether anything is scaled.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The scale and how it changes, under PyTorch's names; empty where not enabled.
    ///
    /// ```
    /// use flambeau_nn::amp::GradScaler;
    /// let scaler = GradScaler::new().init_scale(1024.0);
    /// let mut other = GradScaler::new();
    /// other.load_state_dict(&scaler.state_dict())?;
    /// assert_eq!(other.get_scale(), 1024.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn state_dict(&self) -> Value {
        if !self.enabled {
            return json!({});
        }
        json!({
            "scale": self.scale,
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": self.growth_tracker,
        })
    }

    /// Goes on from a saved state; does nothing where not enabled.
    ///
    /// # Errors
    /// Where the state is that of a scaler that was not enabled, or lacks an entry.
    #[track_caller]
    pub fn load_state_dict(&mut self, state: &Value) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        if state.as_object().is_some_and(|s| s.is_empty()) {
            bail!(
                "load_state_dict",
                "the state is empty: it was saved by a GradScaler that was not enabled"
            );
        }
        let (Some(scale), Some(growth), Some(backoff), Some(interval), Some(tracker)) = (
            state["scale"].as_f64(),
            state["growth_factor"].as_f64(),
            state["backoff_factor"].as_f64(),
            state["growth_interval"].as_u64(),
            state["_growth_tracker"].as_u64(),
        ) else {
            bail!(
                "load_state_dict",
                "the state is not a GradScaler's: it must hold the numbers scale, growth_factor, backoff_factor, growth_interval and _growth_tracker"
            );
        };
        self.scale = scale as f32;
        (self.growth_factor, self.backoff_factor) = (growth, backoff);
        (self.growth_interval, self.growth_tracker) = (interval, tracker);
        Ok(())
    }

    #[track_caller]
    fn check_used(&self, op: &'static str) -> Result<()> {
        if self.used {
            return Ok(());
        }
        bail!(
            op,
            "nothing was scaled yet; call backward() on scaler.scale(&loss), not on the loss"
        );
    }

    /// The place of `optimizer` among those seen since the last update.
    fn seen<O: Optimizer + ?Sized>(&mut self, optimizer: &O) -> usize {
        let rate = optimizer.rates().into_iter().next();
        let known = self.optimizers.iter().position(|s| match (&s.rate, &rate) {
            (Some(a), Some(b)) => a.is(b),
            (a, b) => a.is_none() && b.is_none(),
        });
        known.unwrap_or_else(|| {
            self.optimizers.push(Seen {
                rate,
                stage: Stage::Ready,
                overflowed: None,
                found: Vec::new(),
            });
            self.optimizers.len() - 1
        })
    }
}

/// g times a number.
#[derive(Clone, Copy)]
struct Unscale(f64);

impl Update<1, 0> for Unscale {
    #[inline(always)]
    fn element<T: Real>(&self, [g]: [T; 1], []: [T; 0]) -> [T; 1] {
        [g * T::of(self.0)]
    }
}

/// Multiplies gradients on CUDA devices, those of a device and type in one launch; what tells whether
/// one was not finite stays there, so that nobody waits.
fn unscale_on_devices(grads: Vec<&Tensor>, by: f32) -> Result<Vec<Tensor>> {
    let mut kinds: Vec<(Device, DType, Vec<&Tensor>)> = Vec::new();
    for g in grads {
        let (device, dtype) = (g.device(), g.dtype());
        match kinds.iter_mut().find(|k| (k.0, k.1) == (device, dtype)) {
            Some(kind) => kind.2.push(g),
            None => kinds.push((device, dtype, vec![g])),
        }
    }
    let mut all = Vec::with_capacity(kinds.len());
    for (device, _, grads) in kinds {
        let found = Tensor::zeros_with((), (DType::F32, device))?;
        let scale = Tensor::full_with((), by, (DType::F32, device))?;
        cuda::unscale(&grads, &scale, &found)?;
        all.push(found);
    }
    Ok(all)
}

/// Both extremes keep NaN; one of them shows an infinity.
fn is_finite(g: &Tensor) -> Result<bool> {
    if g.numel() == 0 {
        return Ok(true);
    }
    let g = g.detach();
    Ok(g.max()?.item::<f64>()?.is_finite() && g.min()?.item::<f64>()?.is_finite())
}
