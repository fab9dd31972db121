//! The loss of class indices, fused with log-softmax.

use super::{Slice, SliceMut, run, same};
use crate::error::{Result, fail};
use crate::kernels;
use crate::{Ptr, Type};

/// A loss over rows `[rows, classes]` of logits or log-probabilities.
#[derive(Clone, Copy, Debug)]
pub struct ClassLoss<'a> {
    /// The type of logits, losses and their gradients; log-probabilities and class weights are of
    /// its accumulating type.
    pub ty: Type,
    /// Whether the input is logits.
    pub logits: bool,
    /// Samples.
    pub rows: usize,
    /// Classes.
    pub classes: usize,
    /// `[rows]`, `i64`.
    pub target: &'a Slice<'a>,
    /// `[classes]`.
    pub weight: Option<&'a Slice<'a>>,
    /// The target that counts for nothing.
    pub ignore: i64,
    /// How much of each target is spread evenly.
    pub smoothing: f64,
}

/// What a loss computes.
#[derive(Debug)]
pub struct Losses<'a, 'b> {
    /// `[rows, classes]`, of the accumulating type.
    pub log_probabilities: &'a mut SliceMut<'b>,
    /// The loss of each row, `f64`.
    pub each: &'a mut SliceMut<'b>,
    /// The weight of each row's target, `f64`.
    pub weights: &'a mut SliceMut<'b>,
    /// The sum of those, `f32`.
    pub total: &'a mut SliceMut<'b>,
    /// The sum of the losses.
    pub sum: &'a mut SliceMut<'b>,
    /// Whether that is divided by the total.
    pub mean: bool,
}

impl ClassLoss<'_> {
    fn kernel(&self) -> Result<kernels::ClassLoss> {
        let weight = match self.weight {
            Some(w) => w.flat(self.ty.accumulate(), self.classes)?,
            None => 0,
        };
        Ok(kernels::ClassLoss {
            ty: self.ty,
            logits: self.logits,
            rows: self.rows,
            classes: self.classes,
            target: self.target.flat(Type::I64, self.rows)?,
            weight,
            ignore: self.ignore,
            smoothing: self.smoothing,
        })
    }

    fn same(&self, out: &SliceMut<'_>, others: &[&Slice<'_>]) -> Result<()> {
        same(out.device(), &[self.target])?;
        same(out.device(), others)?;
        self.weight.map_or(Ok(()), |w| same(out.device(), &[w]))
    }

    /// The losses of `x`. A target that is no class is reported when the device is next waited for.
    ///
    /// # Errors
    /// Where sizes or types do not fit.
    pub fn forward(&self, x: &Slice<'_>, to: Losses<'_, '_>) -> Result<()> {
        let (n, device) = (self.rows * self.classes, to.sum.device());
        self.same(to.sum, &[x])?;
        let written = [&to.log_probabilities, &to.each, &to.weights, &to.total];
        if written.iter().any(|w| !std::ptr::eq(w.device(), device)) {
            fail!("results of a loss are on several devices");
        }
        let one = |s: &SliceMut<'_>, ty: Type, n: usize| -> Result<Ptr> { s.flat(ty, n) };
        let launches = self.kernel()?.forward(
            x.flat(self.ty, n)?,
            one(to.log_probabilities, self.ty.accumulate(), n)?,
            [
                one(to.each, Type::F64, self.rows)?,
                one(to.weights, Type::F64, self.rows)?,
            ],
            (one(to.sum, self.ty, 1)?, to.mean),
            one(to.total, Type::F32, 1)?,
            device.mailbox(),
        );
        // SAFETY: all operands were checked to have as many elements as the kernels use, which
        // compare targets with the number of classes; results are borrowed exclusively.
        unsafe { run(device, launches) }
    }

    /// The gradient of the rows from that of the loss: one number, or one for each row where `each`;
    /// `total` where the losses were divided by it.
    ///
    /// # Errors
    /// As [`forward`](ClassLoss::forward).
    pub fn backward(
        &self,
        log_probabilities: &Slice<'_>,
        (grad, each): (&Slice<'_>, bool),
        total: Option<&Slice<'_>>,
        out: &mut SliceMut<'_>,
    ) -> Result<()> {
        let n = self.rows * self.classes;
        self.same(out, &[log_probabilities, grad])?;
        let by = match total {
            Some(total) => {
                same(out.device(), &[total])?;
                total.flat(Type::F32, 1)?
            }
            None => 0,
        };
        let launch = self.kernel()?.backward(
            log_probabilities.flat(self.ty.accumulate(), n)?,
            (grad.flat(self.ty, if each { self.rows } else { 1 })?, each),
            by,
            out.flat(self.ty, n)?,
        );
        // SAFETY: as above.
        unsafe { run(out.device(), launch) }
    }
}
