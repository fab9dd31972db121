//! The loss of class indices on a device.

use super::{make, packed, slice, type_of};
use crate::tensor::Tensor;
use crate::{DType, Error, Result};
use flambeau_cuda::tensor::{ClassLoss, Losses};

/// What a loss is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) op: &'static str,
    /// Whether the input is logits.
    pub(crate) logits: bool,
    pub(crate) target: &'a Tensor,
    pub(crate) weight: Option<&'a Tensor>,
    pub(crate) ignore: i64,
    pub(crate) smoothing: f64,
}

/// What it gives: the log-probabilities, the loss of each row (`f64`), their sum or mean, and the
/// number that a mean is divided by.
pub(crate) struct Found {
    pub(crate) log_probabilities: Tensor,
    pub(crate) each: Tensor,
    pub(crate) sum: Tensor,
    pub(crate) total: Tensor,
}

impl Rows<'_> {
    /// Calls `f` with the loss as the device knows it.
    fn with<R>(
        &self,
        dtype: DType,
        [rows, classes]: [usize; 2],
        f: impl FnOnce(&ClassLoss<'_>) -> Result<R>,
    ) -> Result<R> {
        let target = packed(self.op, self.target, DType::I64)?;
        let full = if dtype == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let weight = self.weight.map(|w| packed(self.op, w, full)).transpose()?;
        let (target_read, weight_read) = (target.read(), weight.as_ref().map(Tensor::read));
        let of_target = slice(
            self.op,
            &target,
            &target_read,
            target.shape(),
            target.strides(),
        )?;
        let of_weight = match (&weight, &weight_read) {
            (Some(w), Some(read)) => Some(slice(self.op, w, read, w.shape(), w.strides())?),
            _ => None,
        };
        f(&ClassLoss {
            ty: type_of(dtype),
            logits: self.logits,
            rows,
            classes,
            target: &of_target,
            weight: of_weight.as_ref(),
            ignore: self.ignore,
            smoothing: self.smoothing,
        })
    }

    /// The losses of `x` `[rows, classes]`.
    #[track_caller]
    pub(crate) fn forward(&self, x: &Tensor, mean: bool) -> Result<Found> {
        let x = packed(self.op, x, x.dtype())?;
        let (rows, device, dtype) = (x.shape()[0], x.device(), x.dtype());
        let full = if dtype == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let read = x.read();
        let from = slice(self.op, &x, &read, x.shape(), x.strides())?;
        let new = |shape: &[usize], dtype| Tensor::empty_with(shape, (dtype, device));
        let found = Found {
            log_probabilities: new(x.shape(), full)?,
            each: new(&[rows], DType::F64)?,
            sum: new(&[], dtype)?,
            total: new(&[], DType::F32)?,
        };
        let weights = new(&[rows], DType::F64)?;
        self.with(dtype, [rows, x.shape()[1]], |loss| {
            let written = [
                &found.log_probabilities,
                &found.each,
                &weights,
                &found.total,
                &found.sum,
            ];
            let mut guards = written.map(Tensor::write);
            let mut slices = Vec::with_capacity(written.len());
            for (t, guard) in written.iter().zip(&mut guards) {
                slices.push(super::slice_mut(self.op, t, guard)?);
            }
            let [log_probabilities, each, weights, total, sum] = &mut slices[..] else {
                return Err(Error::new(self.op, "expected five results"));
            };
            let to = Losses {
                log_probabilities,
                each,
                weights,
                total,
                sum,
                mean,
            };
            loss.forward(&from, to)
                .map_err(|e| super::failed(self.op, e))
        })?;
        Ok(found)
    }

    /// The gradient of the rows, of type `dtype`, from that of the loss; `total` where the losses
    /// were divided by it.
    #[track_caller]
    pub(crate) fn backward(
        &self,
        dtype: DType,
        log_probabilities: &Tensor,
        grad: &Tensor,
        total: Option<&Tensor>,
    ) -> Result<Tensor> {
        let shape = log_probabilities.shape();
        let grad = packed(self.op, grad, dtype)?;
        let reads = [log_probabilities.read(), grad.read()];
        let l = slice(
            self.op,
            log_probabilities,
            &reads[0],
            shape,
            log_probabilities.strides(),
        )?;
        let g = slice(self.op, &grad, &reads[1], grad.shape(), grad.strides())?;
        let total_read = total.map(Tensor::read);
        let by = match (total, &total_read) {
            (Some(t), Some(read)) => Some(slice(self.op, t, read, t.shape(), t.strides())?),
            _ => None,
        };
        self.with(dtype, [shape[0], shape[1]], |loss| {
            make(self.op, shape, dtype, log_probabilities.device(), |out| {
                loss.backward(&l, (&g, grad.dim() > 0), by.as_ref(), out)
            })
        })
    }
}
