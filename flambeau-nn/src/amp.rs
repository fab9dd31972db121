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
    /// Where the device decides; scale and tracker above are then old.
    on_device: Option<OnDevice>,
}

/// What a scaler keeps on a CUDA device that decides itself whether a step is taken.
struct OnDevice {
    /// 0-d, `f32`, as is the next.
    scale: Tensor,
    growth_tracker: Tensor,
    /// By optimizer, what is not 0 where its last step was skipped, until that is asked for.
    unsettled: Vec<(Option<Rate>, Tensor)>,
}

/// Whether both are those of one optimizer.
fn same(a: Option<&Rate>, b: Option<&Rate>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is(b),
        (a, b) => a.is_none() && b.is_none(),
    }
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
            on_device: None,
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
        match &self.on_device {
            Some(on) => output.mul(&on.scale),
            None => output.mul(Tensor::full((), self.scale)?),
        }
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
        if let Some(on) = &self.on_device {
            let found = no_grad(|| on.unscale(&grads))?;
            let seen = &mut self.optimizers[i];
            (seen.stage, seen.overflowed) = (Stage::Unscaled, None);
            seen.found = found.into_iter().collect();
            return Ok(());
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

    /// The optimizer's step, unless a gradient has overflowed; says whether it was done, or left to the
    /// device ([`to_device`](GradScaler::to_device)) to decide. Gradients
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
        const NONE: &str =
            "no parameter of the optimizer has a gradient; call backward() on scale(&loss) before";
        if self.on_device.is_some() {
            let Some(found) = self.optimizers[i].found.first().cloned() else {
                bail!("step", "{NONE}");
            };
            self.settle(optimizer)?;
            cuda::skip_where(&found, || optimizer.step())?;
            self.optimizers[i].stage = Stage::Stepped;
            self.note(optimizer, &found);
            return Ok(true);
        }
        let Some(overflowed) = self.optimizers[i].resolve()? else {
            bail!("step", "{NONE}");
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
        const NONE: &str =
            "no gradients were looked at since the last update(); call step() or unscale_() before";
        if let Some(on) = &self.on_device {
            let found: Vec<&Tensor> = self.optimizers.iter().flat_map(|s| &s.found).collect();
            if found.is_empty() {
                bail!("update", "{NONE}");
            }
            let factors = (self.growth_factor, self.backoff_factor);
            no_grad(|| on.update(&found, factors, self.growth_interval))?;
            self.optimizers.clear();
            return Ok(());
        }
        let mut found = None;
        for seen in &mut self.optimizers {
            if let Some(overflowed) = seen.resolve()? {
                *found.get_or_insert(false) |= overflowed;
            }
        }
        let Some(overflowed) = found else {
            bail!("update", "{NONE}");
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
            self.set(scale as f32, None)?;
            self.optimizers.clear();
        }
        Ok(())
    }

    /// The scale; 1 where not enabled. Waits for the device where it is kept there, and is NaN where that
    /// does not answer.
    pub fn get_scale(&self) -> f64 {
        if self.enabled {
            self.numbers().0.into()
        } else {
            1.0
        }
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
        let (scale, tracker) = self.numbers();
        json!({
            "scale": scale,
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": tracker,
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
        self.set(scale as f32, Some(tracker))?;
        (self.growth_factor, self.backoff_factor) = (growth, backoff);
        self.growth_interval = interval;
        Ok(())
    }

    /// Keeps the scale on a CUDA device from here on, or, of [`Device::Cpu`], on the host again. The
    /// device then decides whether a step is taken: nobody waits, and steps may be captured into a graph,
    /// which [`GraphedStep::run_scaled`](crate::GraphedStep::run_scaled) does. Factors and interval of a
    /// captured step are those of its capture.
    ///
    /// All gradients have to be on that device. What an optimizer counted for a step that was skipped is
    /// taken back before its next one, or by [`settle`](GradScaler::settle).
    ///
    /// ```
    /// use flambeau_core::{Device, Tensor, cuda};
    /// use flambeau_nn::amp::GradScaler;
    /// let mut scaler = GradScaler::new().init_scale(1024.0);
    /// if cuda::is_available() {
    ///     scaler.to_device(Device::Cuda(0))?;
    /// }
    /// assert_eq!(scaler.get_scale(), 1024.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not available, or there is a step without an [`update`](GradScaler::update).
    #[track_caller]
    pub fn to_device(&mut self, device: Device) -> Result<()> {
        if !self.optimizers.is_empty() {
            bail!("to_device", "a step is under way; call update() first");
        }
        let current = self.on_device.as_ref().map(|on| on.scale.device());
        if current.unwrap_or(Device::Cpu) == device {
            return Ok(());
        }
        let (scale, tracker) = self.numbers();
        (self.scale, self.growth_tracker) = (scale, tracker);
        self.on_device = match device {
            Device::Cpu => None,
            _ => Some(OnDevice {
                scale: Tensor::full_with((), scale, (DType::F32, device))?,
                growth_tracker: Tensor::full_with((), tracker as f64, (DType::F32, device))?,
                unsettled: Vec::new(),
            }),
        };
        Ok(())
    }

    /// Takes back what `optimizer` counted for its last step where a device has skipped it, for which it
    /// waits: to be called before the optimizer's state is saved. Does nothing while the host decides.
    ///
    /// # Errors
    /// Where the device fails, or a graph is captured.
    #[track_caller]
    pub fn settle<O: Optimizer + ?Sized>(&mut self, optimizer: &mut O) -> Result<()> {
        let Some(on) = &mut self.on_device else {
            return Ok(());
        };
        let rate = optimizer.rates().into_iter().next();
        let last = |(of, _): &(Option<Rate>, Tensor)| same(of.as_ref(), rate.as_ref());
        if let Some(i) = on.unsettled.iter().position(last) {
            if on.unsettled[i].1.item::<f32>()? != 0.0 {
                optimizer.uncount();
            }
            on.unsettled.swap_remove(i);
        }
        Ok(())
    }

    /// What tells whether the last step of `optimizer` was skipped, where that is not settled.
    pub(crate) fn found<O: Optimizer + ?Sized>(&self, optimizer: &O) -> Option<Tensor> {
        let rate = optimizer.rates().into_iter().next();
        let unsettled = self.on_device.iter().flat_map(|on| &on.unsettled);
        let mut own = unsettled.filter(|(of, _)| same(of.as_ref(), rate.as_ref()));
        own.next().map(|(_, found)| found.clone())
    }

    /// Says that a step of `optimizer` was put on the device, and what tells whether it is skipped.
    pub(crate) fn note<O: Optimizer + ?Sized>(&mut self, optimizer: &O, found: &Tensor) {
        let rate = optimizer.rates().into_iter().next();
        if let Some(on) = &mut self.on_device {
            on.unsettled
                .retain(|(of, _)| !same(of.as_ref(), rate.as_ref()));
            on.unsettled.push((rate, found.clone()));
        }
    }

    /// The scale and how many good steps there were in a row, from where they are kept.
    fn numbers(&self) -> (f32, u64) {
        match &self.on_device {
            None => (self.scale, self.growth_tracker),
            Some(on) => {
                let scale = on.scale.item::<f32>().unwrap_or(f32::NAN);
                (scale, on.growth_tracker.item::<i64>().unwrap_or(0) as u64)
            }
        }
    }

    /// Sets the scale, and how many good steps there were, where they are kept.
    fn set(&mut self, scale: f32, tracker: Option<u64>) -> Result<()> {
        self.scale = scale;
        self.growth_tracker = tracker.unwrap_or(self.growth_tracker);
        if let Some(on) = &self.on_device {
            on.scale.fill_(scale)?;
            if let Some(tracker) = tracker {
                on.growth_tracker.fill_(tracker as f64)?;
            }
        }
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
        let same = |s: &Seen| same(s.rate.as_ref(), rate.as_ref());
        let known = self.optimizers.iter().position(same);
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

impl OnDevice {
    /// Divides the gradients by the scale; what is not 0 where one was not finite, if there is any.
    #[track_caller]
    fn unscale(&self, grads: &[Tensor]) -> Result<Option<Tensor>> {
        let device = self.scale.device();
        let fits =
            |g: &Tensor| g.device() == device && g.is_contiguous_format(MemoryFormat::Preserve);
        if let Some(g) = grads.iter().find(|g| !fits(g)) {
            bail!(
                "unscale_",
                "the scale is kept on {device}; a gradient of shape {:?} is on {}, or has gaps in memory. Move it, or keep the scale on the host (to_device(Device::Cpu))",
                g.shape(),
                g.device()
            );
        }
        if grads.is_empty() {
            return Ok(None);
        }
        let by = self.scale.to_dtype(DType::F64)?.reciprocal()?;
        let by = by.to_dtype(DType::F32)?;
        let found = Tensor::zeros_with((), (DType::F32, device))?;
        for (_, grads) in by_kind(grads.iter()) {
            cuda::unscale(&grads, &by, &found)?;
        }
        Ok(Some(found))
    }

    /// What [`GradScaler::update`] does, without looking.
    fn update(
        &self,
        found: &[&Tensor],
        (growth, backoff): (f64, f64),
        interval: u64,
    ) -> Result<()> {
        let mut any = found[0].ne(0.0)?;
        for other in &found[1..] {
            any = any.logical_or(&other.ne(0.0)?)?;
        }
        let wide = self.scale.to_dtype(DType::F64)?;
        let grown = wide.mul(growth)?.to_dtype(DType::F32)?;
        let shrunk = wide.mul(backoff)?.to_dtype(DType::F32)?;
        let steps = self.growth_tracker.add(1.0)?;
        let full = steps.eq(interval as f64)?;
        let grows = full.logical_and(&grown.isfinite()?)?;
        let scale = any.where_(&shrunk, &grows.where_(&grown, &self.scale)?)?;
        let steps = any.logical_or(&full)?.where_(0.0, &steps)?;
        self.scale.copy_(&scale)?;
        self.growth_tracker.copy_(&steps)?;
        Ok(())
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
    let kinds = by_kind(grads);
    let mut all = Vec::with_capacity(kinds.len());
    for ((device, _), grads) in kinds {
        let found = Tensor::zeros_with((), (DType::F32, device))?;
        let scale = Tensor::full_with((), by, (DType::F32, device))?;
        cuda::unscale(&grads, &scale, &found)?;
        all.push(found);
    }
    Ok(all)
}

/// Gradients by device and type.
fn by_kind<'g>(
    grads: impl IntoIterator<Item = &'g Tensor>,
) -> Vec<((Device, DType), Vec<&'g Tensor>)> {
    let mut kinds: Vec<((Device, DType), Vec<&Tensor>)> = Vec::new();
    for g in grads {
        let key = (g.device(), g.dtype());
        match kinds.iter_mut().find(|k| k.0 == key) {
            Some(kind) => kind.1.push(g),
            None => kinds.push((key, vec![g])),
        }
    }
    kinds
}

/// Both extremes keep NaN; one of them shows an infinity.
fn is_finite(g: &Tensor) -> Result<bool> {
    if g.numel() == 0 {
        return Ok(true);
    }
    let g = g.detach();
    Ok(g.max()?.item::<f64>()?.is_finite() && g.min()?.item::<f64>()?.is_finite())
}
