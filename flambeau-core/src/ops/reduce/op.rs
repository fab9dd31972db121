//! The operation behind every reduction that folds elements with an associative function.

use super::{count, fold, in_lane, kept_shape, row_len, scan, whole_rows};
use crate::autocast::Cast;
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{Lane, lane_of, to_contiguous};
use crate::shape::{Shape, memory_order};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::fold::{self as folds, Fold};
use flambeau_cuda::kernels::Reduce as CudaFold;
use smallvec::smallvec;

/// What elements are folded with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Sum,
    Mean,
    Prod,
    Amax,
    Amin,
    Any,
    All,
}

use Kind::*;

#[derive(Debug)]
struct Reduce {
    kind: Kind,
    dims: Shape,
    keepdim: bool,
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Sum => "sum",
            Mean => "mean",
            Prod => "prod",
            Amax => "amax",
            Amin => "amin",
            Any => "any",
            All => "all",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let dtype = self.result_type(x.dtype());
        let lane = match self.kind {
            Any | All => DType::Bool,
            _ => lane_of(dtype),
        };
        // Memory order first: a transposed tensor is folded where it lies.
        let order = memory_order(x.shape(), x.strides());
        let permuted = order.as_ref().map(|o| x.permute(o)).transpose()?;
        let dims: Shape = match &order {
            Some(o) => (0..x.dim())
                .filter(|&d| self.dims.contains(&o[d]))
                .collect(),
            None => self.dims.clone(),
        };
        let y = permuted.as_ref().unwrap_or(x);
        let out = match lane {
            DType::F32 if x.dtype() == DType::BF16 && self.sums() && whole_rows(y, &dims) => {
                let shape = kept_shape(y.shape(), &dims, true);
                let out = fold::sum_bf16_rows(self.name(), y, row_len(y, &dims), &shape)?;
                self.divided::<f32>(x, out, |v, n| v / n as f32)
            }
            DType::F32 => {
                let out = self.folded(self.fold_f32(), y, &dims, lane)?;
                self.divided::<f32>(x, out, |v, n| v / n as f32)
            }
            DType::F64 => {
                let out = self.folded(self.fold_f64(), y, &dims, lane)?;
                self.divided::<f64>(x, out, |v, n| v / n)
            }
            DType::I64 => self.folded(self.fold_i64(), y, &dims, lane)?,
            DType::Bool => {
                let y = in_lane(self.name(), y, lane)?;
                fold::dims(self.fold_bool(), self.name(), &y, &dims, lane)?
            }
            _ => self.folded(self.fold_i32(), y, &dims, lane)?,
        };
        let out = match order {
            Some(order) => {
                let mut inverse: Shape = smallvec![0; order.len()];
                order.iter().enumerate().for_each(|(i, &d)| inverse[d] = i);
                out.permute(inverse)?
            }
            None => out,
        };
        // A fresh tensor of the final shape and type, also where there was nothing to fold.
        let out = if out.dtype() == dtype && out.is_contiguous() && !out.shares_storage(x) {
            out
        } else {
            to_contiguous(self.name(), &out, dtype)?
        };
        Ok(out
            .reshaped_whole(kept_shape(x.shape(), &self.dims, self.keepdim))
            .into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let x = inputs[0];
        let dtype = self.result_type(x.dtype());
        let kind = match self.kind {
            Sum => CudaFold::Sum,
            Mean => CudaFold::Mean,
            Prod => CudaFold::Prod,
            Amax => CudaFold::Max,
            Amin => CudaFold::Min,
            Any => CudaFold::Any,
            All => CudaFold::All,
        };
        let out = cuda::reduce(self.name(), kind, x, &self.dims, dtype)?;
        let shape = kept_shape(x.shape(), &self.dims, self.keepdim);
        Ok(out.reshaped_whole(shape).into())
    }

    fn autocast(&self) -> Cast {
        match self.kind {
            Prod => Cast::Full,
            _ => Cast::Keep,
        }
    }

    fn saves(&self, _: &[bool]) -> Saves {
        match self.kind {
            Prod | Amax | Amin => Saves::OUTPUT.input(0),
            _ => Saves::NONE,
        }
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let shape = ctx.shape(0);
        let kept = |t: &Tensor| {
            if self.keepdim || self.dims.len() == shape.len() {
                Ok(t.clone())
            } else {
                t.view(kept_shape(shape, &self.dims, true))
            }
        };
        let g = kept(grad)?;
        let g = match self.kind {
            Sum => g.expand(shape)?,
            Mean => {
                let n = count(shape, &self.dims);
                g.div(n as f64)?.expand(shape)?
            }
            Prod => prod_backward(&g, &ctx.input(0)?, &kept(&ctx.output()?)?, &self.dims)?,
            Amax | Amin => {
                let (x, y) = (ctx.input(0)?, kept(&ctx.output()?)?);
                // Ties share the gradient evenly; a NaN is the extreme of its elements.
                let mut same = x.eq(&y)?;
                let nan = y.ne(&y)?;
                if nan.on_cuda() || nan.any()?.item::<bool>()? {
                    same = nan.where_(x.ne(&x)?, same)?;
                }
                let ties = same.sum_dim(self.dims.clone(), true)?;
                let ties = ties.eq(0)?.where_(1, &ties)?;
                same.where_(&g.div(ties)?, 0.0)?
            }
            Any | All => bail!("backward", "{} has no gradient", self.name()),
        };
        Ok(smallvec![Some(g)])
    }
}

impl Reduce {
    /// The type of the result for elements of `dtype`.
    fn result_type(&self, dtype: DType) -> DType {
        match self.kind {
            Sum | Mean | Prod => dtype.sum_type(),
            Amax | Amin => dtype,
            Any | All if dtype == DType::U8 => DType::U8,
            Any | All => DType::Bool,
        }
    }

    /// Whether elements are added up.
    fn sums(&self) -> bool {
        matches!(self.kind, Sum | Mean)
    }

    fn fold_f32(&self) -> &'static Fold<f32> {
        match self.kind {
            Prod => &folds::PROD_F32,
            Amax => &folds::MAX_F32,
            Amin => &folds::MIN_F32,
            _ => &folds::SUM_F32,
        }
    }
    fn fold_f64(&self) -> &'static Fold<f64> {
        match self.kind {
            Prod => &folds::PROD_F64,
            Amax => &folds::MAX_F64,
            Amin => &folds::MIN_F64,
            _ => &folds::SUM_F64,
        }
    }
    fn fold_i64(&self) -> &'static Fold<i64> {
        match self.kind {
            Prod => &folds::PROD_I64,
            Amax => &folds::MAX_I64,
            Amin => &folds::MIN_I64,
            _ => &folds::SUM_I64,
        }
    }
    fn fold_i32(&self) -> &'static Fold<i32> {
        if self.kind == Amax {
            &folds::MAX_I32
        } else {
            &folds::MIN_I32
        }
    }
    fn fold_bool(&self) -> &'static Fold<u8> {
        if self.kind == Any {
            &folds::ANY
        } else {
            &folds::ALL
        }
    }

    /// Dimensions `dims` of `x` folded in a lane, as size 1.
    fn folded<T: Lane>(
        &self,
        fold: &Fold<T>,
        x: &Tensor,
        dims: &[usize],
        lane: DType,
    ) -> Result<Tensor> {
        // Whole rows of another type are converted on the way, without a copy of all of them.
        if x.dtype() != lane && whole_rows(x, dims) {
            let n = row_len(x, dims);
            let shape = kept_shape(x.shape(), dims, true);
            return Tensor::build::<T>(self.name(), &shape, lane, |out| {
                fold::converted_rows(fold, x, n, out)
            });
        }
        fold::dims(
            fold,
            self.name(),
            &in_lane(self.name(), x, lane)?,
            dims,
            lane,
        )
    }

    /// Divided by the number of elements where this is a mean.
    fn divided<T: Stored>(&self, x: &Tensor, out: Tensor, by: impl Fn(T, f64) -> T) -> Tensor {
        if self.kind != Mean {
            return out;
        }
        let n = count(x.shape(), &self.dims);
        if n == 1 {
            return out;
        }
        out.write()
            .slice::<T>()
            .iter_mut()
            .for_each(|v| *v = by(*v, n as f64));
        out
    }
}

/// The gradient of a product, also where elements are zero.
fn prod_backward(g: &Tensor, x: &Tensor, out: &Tensor, dims: &[usize]) -> Result<Tensor> {
    // On a device nobody waits to see whether there are zeros.
    if x.numel() == 0 || (!x.on_cuda() && x.ne(0)?.all()?.item::<bool>()?) {
        return g.mul(out)?.div(x);
    }
    // The product of all others: of those before and of those after, along one dimension.
    let kept: Vec<usize> = (0..x.dim()).filter(|d| !dims.contains(d)).collect();
    let order: Vec<usize> = kept.iter().chain(dims).copied().collect();
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, &d)| inverse[d] = i);
    let moved = x.permute(order)?;
    let rows = moved.flatten(kept.len() as i64, -1)?;
    let before = scan::exclusive_cumprod(&rows, false)?;
    let after = scan::exclusive_cumprod(&rows, true)?;
    let others = before
        .mul(after)?
        .reshape(Shape::from_slice(moved.shape()))?;
    others.permute(inverse)?.mul(g)
}

impl Tensor {
    #[track_caller]
    pub(super) fn reduce(&self, kind: Kind, dims: Shape, keepdim: bool) -> Result<Tensor> {
        let op = Reduce {
            kind,
            dims,
            keepdim,
        };
        dispatch::call(op, &[self])
    }
}
