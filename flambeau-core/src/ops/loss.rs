//! The losses that are operations of their own: negative log-likelihood and its fusion with
//! log-softmax, cross-entropy. The others are composites in `flambeau-nn`.

use crate::autocast::{Cast, Composite};
use crate::autograd::{by_twin, is_grad_enabled};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::float::Float;
use flambeau_cpu::simd::dispatch as dispatch_simd;
use flambeau_cpu::softmax;
use flambeau_cpu::threads::{parallel_chunks_mut, parallel_slices_mut};
use smallvec::smallvec;

/// How a loss combines its elements.
///
/// ```
/// use flambeau_core::{ClassLoss, Reduction, Tensor};
/// let (logits, target) = (Tensor::zeros([3, 4])?, Tensor::new([0i64, 1, 2])?);
/// let options = ClassLoss { reduction: Reduction::Sum, ..ClassLoss::default() };
/// assert!((logits.cross_entropy(&target, options)?.item::<f32>()? - 4.15888).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// One loss for each sample.
    None,
    /// Their (weighted) mean, the default.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// Options of [`Tensor::cross_entropy`] and [`Tensor::nll_loss`].
///
/// ```
/// use flambeau_core::{ClassLoss, Tensor};
/// let (logits, target) = (Tensor::eye(2, 2)?, Tensor::new([0i64, 1])?);
/// let options = ClassLoss { label_smoothing: 0.1, ..ClassLoss::default() };
/// assert!((logits.cross_entropy(&target, options)?.item::<f32>()? - 0.36326).abs() < 1e-5);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClassLoss<'a> {
    /// A weight for each class, `[classes]`.
    pub weight: Option<&'a Tensor>,
    /// Targets of this value count for nothing. Default -100.
    pub ignore_index: i64,
    /// Default mean.
    pub reduction: Reduction,
    /// How much of each target is spread evenly over all classes, 0 to 1 (cross-entropy alone).
    pub label_smoothing: f64,
}

impl Default for ClassLoss<'_> {
    fn default() -> Self {
        ClassLoss {
            weight: None,
            ignore_index: -100,
            reduction: Reduction::Mean,
            label_smoothing: 0.0,
        }
    }
}

/// Rows `[rows, classes]` of logits (or of log-probabilities) against class indices `[rows]`, with
/// class weights `[classes]` as a third input where there are any.
///
/// The loss of row i with target y is `-((1 - s) w[y] l[y] + s / C Σ w[c] l[c])` for smoothing s
/// and log-probabilities l; `by` is what the mean divides by, `Σ w[y]` over the rows that count.
#[derive(Clone, Copy, Debug)]
struct ClassLossOp {
    name: &'static str,
    /// Whether the input is logits, normalised here.
    logits: bool,
    ignore_index: i64,
    reduction: Reduction,
    smoothing: f64,
}

impl ClassLossOp {
    /// Refuses targets that are no class.
    fn check(&self, targets: &[i64], classes: usize) -> Result<()> {
        let wrong =
            |&(_, &y): &(usize, &i64)| y != self.ignore_index && (y < 0 || y >= classes as i64);
        if let Some((row, y)) = targets.iter().enumerate().find(wrong) {
            bail!(
                self.name,
                "target {y} of sample {row} is no class: the input has {classes} classes, so targets are 0 to {} (or ignore_index {})",
                classes as i64 - 1,
                self.ignore_index
            );
        }
        Ok(())
    }

    fn run<T: Float + Stored>(
        &self,
        x: &Tensor,
        target: &Tensor,
        weight: Option<&Tensor>,
    ) -> Result<Output> {
        let (rows, classes) = (x.shape()[0], x.shape()[1]);
        let (xr, tr) = (x.read(), target.read());
        let (x_all, targets) = (
            &xr.slice::<T>()[..rows * classes],
            &tr.slice::<i64>()[..rows],
        );
        let wr = weight.map(Tensor::read);
        let w = wr.as_ref().map(|g| &g.slice::<T>()[..classes]);
        let class_weight = |c: usize| w.map_or(1.0, |w| wide(w[c]));
        // What is given as log-probabilities is not copied: of it the gradient reads the sizes alone.
        let log_probabilities = match self.logits {
            true => Tensor::build::<T>(self.name, x.shape(), x.dtype(), |out| {
                softmax::forward(x_all, out, [rows, classes, 1], true);
            })?,
            false => x.clone(),
        };
        let lr = log_probabilities.read();
        let l_all = &lr.slice::<T>()[..rows * classes];
        let loss = |row: usize, y: usize| {
            let l = &l_all[row * classes..(row + 1) * classes];
            let mut loss = -(1.0 - self.smoothing) * class_weight(y) * wide(l[y]);
            if self.smoothing > 0.0 {
                let weighted = |(c, &v): (usize, &T)| class_weight(c) * wide(v);
                let spread: f64 = l.iter().enumerate().map(weighted).sum();
                loss -= self.smoothing / classes as f64 * spread;
            }
            loss
        };
        let per_chunk = match self.smoothing > 0.0 {
            true => GRAIN.div_ceil(classes.max(1)),
            false => GRAIN / 4,
        };
        let (dtype, each) = (x.dtype(), self.reduction == Reduction::None);
        // Of each chunk of rows the sum, the weight, and whether all targets are classes.
        let mut parts = vec![(0.0f64, 0.0f64, true); rows.div_ceil(per_chunk)];
        let sum = |i: usize, part: &mut (f64, f64, bool), mut out: Option<&mut [T]>| {
            for (k, &y) in targets[i * per_chunk..].iter().take(per_chunk).enumerate() {
                let found = match y {
                    y if y == self.ignore_index => 0.0,
                    y if y < 0 || y >= classes as i64 => {
                        part.2 = false;
                        continue;
                    }
                    y => {
                        part.1 += class_weight(y as usize);
                        loss(i * per_chunk + k, y as usize)
                    }
                };
                part.0 += found;
                if let Some(out) = &mut out {
                    out[k] = narrow::<T>(found);
                }
            }
        };
        let mut tensor = None;
        if each {
            tensor = Some(Tensor::build::<T>(self.name, &[rows], dtype, |out| {
                let mut both: Vec<_> = parts.iter_mut().zip(out.chunks_mut(per_chunk)).collect();
                parallel_chunks_mut(&mut both, 1, |i, both| {
                    let (part, out) = &mut both[0];
                    sum(i, part, Some(out));
                });
            })?);
        } else {
            parallel_chunks_mut(&mut parts, 1, |i, part| sum(i, &mut part[0], None));
        }
        if !parts.iter().all(|p| p.2) {
            self.check(targets, classes)?;
        }
        drop(lr);
        let (losses, total_weight) =
            (parts.iter()).fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        let scalar =
            |v: f64| Tensor::build::<T>(self.name, &[], dtype, |out| out[0] = narrow::<T>(v));
        let tensor = match (tensor, self.reduction) {
            (Some(tensor), _) => tensor,
            (_, Reduction::Mean) => scalar(losses / total_weight)?,
            _ => scalar(losses)?,
        };
        Ok(Output {
            tensor,
            extras: smallvec![log_probabilities, Tensor::scalar(total_weight)?],
        })
    }

    /// The same for a CUDA device.
    fn rows<'a>(&self, target: &'a Tensor, weight: Option<&'a Tensor>) -> cuda::Rows<'a> {
        cuda::Rows {
            op: self.name,
            logits: self.logits,
            target,
            weight,
            ignore: self.ignore_index,
            smoothing: self.smoothing,
        }
    }

    /// The gradient of the rows from that of the loss.
    fn gradient<T: Float + Stored>(
        &self,
        l: &Tensor,
        target: &Tensor,
        weight: Option<&Tensor>,
        by: f64,
        grad: &Tensor,
    ) -> Result<Tensor> {
        let (rows, classes) = (l.shape()[0], l.shape()[1]);
        let (lr, tr, gr) = (l.read(), target.read(), grad.read());
        let (l_all, targets) = (
            &lr.slice::<T>()[..rows * classes],
            &tr.slice::<i64>()[..rows],
        );
        let g = &gr.slice::<T>()[..grad.numel()];
        let wr = weight.map(Tensor::read);
        let w = wr.as_ref().map(|g| &g.slice::<T>()[..classes]);
        let class_weight = |c: usize| w.map_or(1.0, |w| wide(w[c]));
        let spread = self.smoothing / classes.max(1) as f64;
        let all: f64 = if self.smoothing > 0.0 && rows > 0 {
            (0..classes).map(class_weight).sum::<f64>() * spread
        } else {
            0.0
        };
        let scale = if self.reduction == Reduction::Mean {
            1.0 / by
        } else {
            1.0
        };
        Tensor::build::<T>(self.name, l.shape(), l.dtype(), |out| {
            parallel_slices_mut(out, classes, GRAIN, |start, out| {
                let first = start / classes;
                if !self.logits {
                    out.fill(T::ZERO);
                }
                for (k, row) in out.chunks_exact_mut(classes).enumerate() {
                    let i = first + k;
                    let y = targets[i];
                    if y == self.ignore_index {
                        row.fill(T::ZERO);
                        continue;
                    }
                    let g = wide(if g.len() == 1 { g[0] } else { g[i] }) * scale;
                    let target_weight = (1.0 - self.smoothing) * class_weight(y as usize);
                    if self.logits {
                        let mass = narrow::<T>(g * (target_weight + all));
                        let l = &l_all[i * classes..(i + 1) * classes];
                        dispatch_simd(
                            #[inline(always)]
                            || {
                                for (p, l) in row.iter_mut().zip(l) {
                                    *p = l.exp() * mass;
                                }
                            },
                        );
                    }
                    if self.smoothing > 0.0 {
                        for (c, p) in row.iter_mut().enumerate() {
                            *p -= narrow::<T>(g * spread * class_weight(c));
                        }
                    }
                    row[y as usize] -= narrow::<T>(g * target_weight);
                }
            });
        })
    }

    /// The same from plain operations; `log_sums`, one number a row, shifts the logits so that
    /// none of their exponentials overflows.
    fn composite(&self, inputs: &[Tensor], log_sums: &Tensor) -> Result<Tensor> {
        let x = &inputs[0];
        // No class is -1, so an ignored target hits none.
        let counts = inputs[1].ne(self.ignore_index)?;
        let target = counts.where_(&inputs[1], -1)?.unsqueeze(1)?;
        let classes = x.shape()[1];
        let l = if self.logits {
            let shifted = x.sub(log_sums)?;
            shifted.sub(shifted.exp()?.sum_dim(1, true)?.log()?)?
        } else {
            x.clone()
        };
        let weights = match inputs.get(2) {
            Some(w) => w.detach(),
            None => Tensor::ones_with([classes], (x.dtype(), x.device()))?,
        };
        let hit = Tensor::arange_with(0, classes, 1, x.device())?.eq(&target)?;
        let row_weights = hit.where_(&weights, 0.0)?.sum_dim(1, false)?;
        let picked = hit.where_(l.mul(&weights)?, 0.0)?.sum_dim(1, false)?;
        let mut loss = picked.mul(self.smoothing - 1.0)?;
        if self.smoothing > 0.0 {
            let spread = l
                .mul(&weights)?
                .sum_dim(1, false)?
                .mul(-self.smoothing / classes as f64)?;
            loss = loss.add(counts.where_(&spread, 0.0)?)?;
        }
        match self.reduction {
            Reduction::None => Ok(loss),
            Reduction::Sum => loss.sum(),
            Reduction::Mean => loss.sum()?.div(row_weights.sum()?),
        }
    }
}

impl Op for ClassLossOp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let dtype = inputs[0].dtype();
        let lane = if dtype == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let x = to_lane(self.name, inputs[0], lane)?;
        let target = inputs[1].contiguous()?;
        let weight = inputs
            .get(2)
            .map(|w| to_lane(self.name, w, lane))
            .transpose()?;
        let mut out = match lane {
            DType::F64 => self.run::<f64>(&x, &target, weight.as_ref()),
            _ => self.run::<f32>(&x, &target, weight.as_ref()),
        }?;
        if dtype != lane {
            out.tensor = to_contiguous(self.name, &out.tensor, dtype)?;
        }
        Ok(out)
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, mean) = (inputs[0], self.reduction == Reduction::Mean);
        let rows = self.rows(inputs[1], inputs.get(2).copied());
        let found = rows.forward(x, mean)?;
        let tensor = match self.reduction {
            Reduction::None => found.each.to_dtype(x.dtype())?,
            _ => found.sum,
        };
        Ok(Output {
            tensor,
            extras: smallvec![found.log_probabilities, found.total],
        })
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::INPUTS
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let weighted = ctx.node.inputs.len() > 2;
        if weighted && ctx.needs(2) {
            bail!(self.name, "class weights have no gradient; detach() them");
        }
        if is_grad_enabled() {
            let log_sums = ctx.input(0)?.detach().sub(ctx.extra(0))?.narrow(1, 0, 1)?;
            return by_twin(ctx, grad, &|inputs| self.composite(inputs, &log_sums));
        }
        let l = ctx.extra(0);
        if grad.on_cuda() {
            let (target, total) = (ctx.input(1)?, ctx.extra(1));
            let weight = weighted.then(|| ctx.input(2)).transpose()?;
            let by = (self.reduction == Reduction::Mean).then_some(total);
            let rows = self.rows(&target, weight.as_ref());
            let mut grads: Grads = smallvec![None; ctx.node.inputs.len()];
            grads[0] = Some(rows.backward(ctx.dtype(0), l, grad, by)?);
            return Ok(grads);
        }
        let grad = to_lane(self.name, grad, l.dtype())?;
        let weight = if weighted {
            Some(to_lane(self.name, &ctx.input(2)?, l.dtype())?)
        } else {
            None
        };
        let (target, by) = (ctx.input(1)?.contiguous()?, ctx.extra(1).item::<f64>()?);
        let g = match l.dtype() {
            DType::F64 => self.gradient::<f64>(l, &target, weight.as_ref(), by, &grad),
            _ => self.gradient::<f32>(l, &target, weight.as_ref(), by, &grad),
        }?;
        let mut grads: Grads = smallvec![None; ctx.node.inputs.len()];
        grads[0] = Some(g);
        Ok(grads)
    }
}

/// `f64` to and from a lane; both traits of the kernels' types have such methods.
fn wide<T: Float>(v: T) -> f64 {
    v.to_f64()
}
fn narrow<T: Float>(v: f64) -> T {
    T::from_f64(v)
}

fn to_lane(op: &'static str, x: &Tensor, lane: DType) -> Result<Tensor> {
    if x.dtype() == lane && x.is_contiguous() {
        Ok(x.detach())
    } else {
        to_contiguous(op, x, lane)
    }
}

/// Elements of rows a thread takes at a time.
const GRAIN: usize = 1 << 14;

impl Tensor {
    /// Cross-entropy between logits `[batch, classes, …]` (or `[classes]`) and targets
    /// ([`F.cross_entropy`](https://pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html)):
    /// class indices `[batch, …]` of type `i64`, or probabilities of the
    /// logits' shape and a floating-point type.
    ///
    /// ```
    /// use flambeau_core::{ClassLoss, Tensor};
    /// let logits = Tensor::new([[2.0f32, 0.0], [0.0, 2.0]])?;
    /// let loss = logits.cross_entropy(&Tensor::new([0i64, 1])?, ClassLoss::default())?;
    /// assert!((loss.item::<f32>()? - 0.126928).abs() < 1e-6);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes or types do not fit, or a target is no class.
    #[track_caller]
    pub fn cross_entropy(&self, target: &Tensor, options: ClassLoss<'_>) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&options.label_smoothing) {
            bail!(
                "cross_entropy",
                "label_smoothing is {}; it must lie between 0 and 1",
                options.label_smoothing
            );
        }
        let region = Composite::new(Cast::Full, [self, target])?;
        let ([x, target], weight) = (region.inputs(), region.optional(options.weight)?);
        let options = ClassLoss {
            weight: weight.as_ref(),
            ..options
        };
        if target.dtype().is_floating_point() {
            return x.soft_cross_entropy(target, options);
        }
        x.class_loss("cross_entropy", true, target, options)
    }

    /// Negative log-likelihood of log-probabilities `[batch, classes, …]` (or `[classes]`) under
    /// class indices `[batch, …]`
    /// ([`F.nll_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.nll_loss.html)).
    ///
    /// ```
    /// use flambeau_core::{ClassLoss, Tensor};
    /// let (logp, target) = (Tensor::new([[-0.5f32, -1.0], [-2.0, -0.25]])?, Tensor::new([1i64, 0])?);
    /// assert_eq!(logp.nll_loss(&target, ClassLoss::default())?.item::<f32>()?, 1.5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where shapes or types do not fit, or a target is no class.
    #[track_caller]
    pub fn nll_loss(&self, target: &Tensor, options: ClassLoss<'_>) -> Result<Tensor> {
        let region = Composite::new(Cast::Full, [self])?;
        let ([x], weight) = (region.inputs(), region.optional(options.weight)?);
        let options = ClassLoss {
            weight: weight.as_ref(),
            label_smoothing: 0.0,
            ..options
        };
        x.class_loss("nll_loss", false, target, options)
    }

    #[track_caller]
    fn class_loss(
        &self,
        op: &'static str,
        logits: bool,
        target: &Tensor,
        options: ClassLoss<'_>,
    ) -> Result<Tensor> {
        if !self.dtype().is_floating_point() {
            bail!(
                op,
                "the input is {}; it must be of a floating-point type",
                self.dtype()
            );
        }
        // PyTorch takes int64 and uint8 alone. Integers of Rust are i32 by default, and which
        // class is meant does not depend on how its number is held.
        if !target.dtype().is_integer() {
            bail!(
                op,
                "the targets are {}; class indices must be integers: convert with to_dtype(DType::I64)",
                target.dtype()
            );
        }
        let class_dim = usize::from(self.dim() > 1);
        let mut expected = Shape::from_slice(self.shape());
        if self.dim() == 0 {
            bail!(
                op,
                "the input has no dimension of classes; expected [batch, classes, …] or [classes]"
            );
        }
        expected.remove(class_dim);
        if target.shape() != &expected[..] {
            bail!(
                op,
                "input {:?} needs targets of shape {:?}, one class index for each sample; got {:?}",
                self.shape(),
                &expected[..],
                target.shape()
            );
        }
        let classes = self.shape()[class_dim];
        self.check_class_weight(op, classes, options.weight)?;
        // Classes last, one row for each target.
        let rows = if self.dim() > 2 {
            self.movedim_to_last(1)?
        } else {
            self.clone()
        }
        .reshape([target.numel(), classes])?;
        let target = target.to_dtype(DType::I64)?;
        let flat = target.reshape([target.numel()])?;
        let run = ClassLossOp {
            name: op,
            logits,
            ignore_index: options.ignore_index,
            reduction: options.reduction,
            smoothing: options.label_smoothing,
        };
        let loss = match options.weight {
            Some(w) => dispatch::call(run, &[&rows, &flat, w]),
            None => dispatch::call(run, &[&rows, &flat]),
        }?;
        if options.reduction == Reduction::None {
            loss.reshape(expected)
        } else {
            Ok(loss)
        }
    }

    #[track_caller]
    fn check_class_weight(
        &self,
        op: &'static str,
        classes: usize,
        weight: Option<&Tensor>,
    ) -> Result<()> {
        match weight {
            Some(w) if w.shape() != [classes] => {
                bail!(
                    op,
                    "the class weights have shape {:?}; expected [{classes}], one for each class",
                    w.shape()
                )
            }
            Some(w) if w.dtype() != self.dtype() => {
                bail!(
                    op,
                    "the class weights are {}, the input {}; they must be of the same type",
                    w.dtype(),
                    self.dtype()
                )
            }
            _ => Ok(()),
        }
    }

    /// Dimension `dim` moved behind the others.
    #[track_caller]
    fn movedim_to_last(&self, dim: usize) -> Result<Tensor> {
        let order: Vec<usize> = (0..self.dim()).filter(|&d| d != dim).chain([dim]).collect();
        self.permute(order)
    }

    /// Cross-entropy with probabilities for targets.
    #[track_caller]
    fn soft_cross_entropy(&self, target: &Tensor, options: ClassLoss<'_>) -> Result<Tensor> {
        let op = "cross_entropy";
        if target.shape() != self.shape() {
            let hint = if target.dim() + 1 == self.dim() {
                "; for class indices convert the targets with to_dtype(DType::I64)"
            } else {
                ""
            };
            bail!(
                op,
                "{} targets are class probabilities and must have the input's shape {:?}; got {:?}{hint}",
                target.dtype(),
                self.shape(),
                target.shape()
            );
        }
        if self.dim() == 0 {
            bail!(
                op,
                "the input has no dimension of classes; expected [batch, classes, …] or [classes]"
            );
        }
        let class_dim = usize::from(self.dim() > 1);
        let classes = self.shape()[class_dim];
        self.check_class_weight(op, classes, options.weight)?;
        let smoothing = options.label_smoothing;
        let target = if smoothing > 0.0 {
            target
                .mul(1.0 - smoothing)?
                .add(smoothing / classes as f64)?
        } else {
            target.clone()
        };
        let mut terms = self.log_softmax(class_dim as i64)?.mul(&target)?;
        if let Some(w) = options.weight {
            let mut shape = vec![1; self.dim()];
            shape[class_dim] = classes;
            terms = terms.mul(w.reshape(shape)?)?;
        }
        match options.reduction {
            Reduction::None => terms.sum_dim([class_dim], false)?.neg(),
            Reduction::Sum => terms.sum()?.neg(),
            Reduction::Mean => terms.sum()?.div(-((self.numel() / classes.max(1)) as f64)),
        }
    }
}

/// What tests and goldens know of the losses.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    fn reduction(a: &Arg) -> Result<Reduction> {
        Ok(match a.word()? {
            "none" => Reduction::None,
            "sum" => Reduction::Sum,
            _ => Reduction::Mean,
        })
    }
    let x = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let y = |shape: &[usize]| Arg::ints(shape, (0, 4));
    let call =
        |x: Arg, y: Arg, weighted: bool, ignore: i64, reduction: &'static str, smoothing: f64| {
            let weight = if weighted {
                Arg::T(Tensor::new([0.5f64, 2.0, 1.0, 1.5]).expect("four numbers"))
            } else {
                Arg::Nil
            };
            Sample::new(vec![
                x,
                y,
                weight,
                Arg::I(ignore),
                Arg::S(reduction),
                Arg::F(smoothing),
            ])
        };
    let run = |logits: bool| {
        move |a: &[Arg]| {
            let x = a[0].tensor()?;
            // A constant weight takes the type under test.
            let weight = a[2]
                .tensor_opt()?
                .map(|w| w.to_dtype(x.dtype()))
                .transpose()?;
            let options = ClassLoss {
                weight: weight.as_ref(),
                ignore_index: a[3].int()?,
                reduction: reduction(&a[4])?,
                label_smoothing: a[5].float()?,
            };
            let loss = if logits {
                x.cross_entropy(a[1].tensor()?, options)
            } else {
                x.nll_loss(a[1].tensor()?, options)
            };
            Ok(vec![loss?])
        }
    };
    vec![
        OpSpec::new(
            "cross_entropy",
            "lambda x, y, w, i, r, s: F.cross_entropy(x, y, w if w is None else w.to(x.dtype), ignore_index=i, reduction=r, label_smoothing=s)",
            run(true),
        )
        .samples(vec![
            call(x(&[3, 4]), y(&[3]), false, -100, "mean", 0.0),
            call(x(&[5, 4]), y(&[5]), true, 1, "mean", 0.1),
            call(x(&[5, 4]), y(&[5]), true, 2, "none", 0.3),
            call(x(&[2, 4, 3]), y(&[2, 3]), false, 0, "sum", 0.0),
            call(x(&[4]), y(&[]), true, -100, "mean", 0.2),
            call(x(&[3, 4]), Arg::uniform([3, 4], (0.1, 1.0)), true, -100, "mean", 0.1),
            call(x(&[2, 4, 3]), Arg::uniform([2, 4, 3], (0.1, 1.0)), false, -100, "none", 0.0),
        ]),
        OpSpec::new(
            "nll_loss",
            "lambda x, y, w, i, r, s: F.nll_loss(x, y, w if w is None else w.to(x.dtype), ignore_index=i, reduction=r)",
            run(false),
        )
        .samples(vec![
            call(x(&[3, 4]), y(&[3]), false, -100, "mean", 0.0),
            call(x(&[5, 4]), y(&[5]), true, 1, "mean", 0.0),
            call(x(&[2, 4, 3]), y(&[2, 3]), true, 0, "none", 0.0),
        ]),
    ]
}
