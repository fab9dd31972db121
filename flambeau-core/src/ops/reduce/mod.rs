//! Reductions over dimensions.

pub(crate) mod extreme;
mod fold;
pub(crate) mod moments;
pub(crate) mod scan;
pub(crate) mod softmax;

use crate::autocast::Cast;
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::Stored;
use crate::ops::elementwise::{Lane, lane_of, to_contiguous};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Dims, Shape, memory_order, numel, wrap_dims};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Result, bail, cuda};
use flambeau_cpu::fold::{self as folds, Fold};
use flambeau_cuda::kernels::Reduce as CudaFold;
use smallvec::smallvec;

/// A reduction that folds elements with an associative function.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
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
                if nan.any()?.item::<bool>()? {
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

/// How many elements the last dimensions have, as many as `dims` names.
fn row_len(x: &Tensor, dims: &[usize]) -> usize {
    numel(&x.shape()[x.dim() - dims.len()..])
}

/// Whether `dims` are the last dimensions of the contiguous `x`, and its rows along them not short.
fn whole_rows(x: &Tensor, dims: &[usize]) -> bool {
    let last = dims.iter().all(|&d| d >= x.dim() - dims.len());
    last && x.is_contiguous() && row_len(x, dims) >= 64
}

/// `x`, contiguous and of type `lane`; converted only where it is not.
fn in_lane(op: &'static str, x: &Tensor, lane: DType) -> Result<Tensor> {
    if x.is_contiguous() && x.dtype() == lane {
        Ok(x.clone())
    } else {
        to_contiguous(op, x, lane)
    }
}

/// The shape after a reduction over `dims`.
fn kept_shape(shape: &[usize], dims: &[usize], keepdim: bool) -> Shape {
    let all = shape.iter().enumerate();
    if keepdim {
        all.map(|(d, &n)| if dims.contains(&d) { 1 } else { n })
            .collect()
    } else {
        all.filter(|(d, _)| !dims.contains(d))
            .map(|(_, &n)| n)
            .collect()
    }
}

/// The elements of each slice that `dims` runs over.
fn count(shape: &[usize], dims: &[usize]) -> usize {
    numel(&dims.iter().map(|&d| shape[d]).collect::<Shape>())
}

/// The shape of `x` as `[outer, n, inner]` around dimension `dim`.
fn around(x: &Tensor, dim: usize) -> (usize, usize, usize) {
    match x.shape() {
        [] => (1, 1, 1),
        s => (numel(&s[..dim]), s[dim], numel(&s[dim + 1..])),
    }
}

/// `x` as `outer` contiguous rows of `inner` elements each, those that `dims` runs over.
fn reduced_last(
    op: &'static str,
    x: &Tensor,
    dims: &[usize],
    lane: DType,
) -> Result<(Tensor, usize)> {
    let kept = (0..x.dim()).filter(|d| !dims.contains(d));
    let order: Shape = kept.chain(dims.iter().copied()).collect();
    let rows = in_lane(op, &x.detach().permute(order)?, lane)?;
    Ok((rows, count(x.shape(), dims)))
}

/// The gradient of a product, also where elements are zero.
fn prod_backward(g: &Tensor, x: &Tensor, out: &Tensor, dims: &[usize]) -> Result<Tensor> {
    if x.numel() == 0 || x.ne(0)?.all()?.item::<bool>()? {
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

/// Whether there is an extreme or the like of every slice: none of `dims` is empty.
#[track_caller]
fn expect_elements(op: &'static str, x: &Tensor, dims: &[usize]) -> Result<()> {
    match dims.iter().find(|&&d| x.shape()[d] == 0) {
        Some(d) => bail!(
            op,
            "the tensor of shape {:?} has no elements along dimension {d}, and {op} of nothing is not defined",
            x.shape()
        ),
        None => Ok(()),
    }
}

impl Tensor {
    #[track_caller]
    fn reduce(&self, kind: Kind, dims: Shape, keepdim: bool) -> Result<Tensor> {
        let op = Reduce {
            kind,
            dims,
            keepdim,
        };
        dispatch::call(op, &[self])
    }

    /// The same fresh contiguous memory under another shape of as many elements, without history.
    fn reshaped_whole(self, shape: Shape) -> Tensor {
        if self.shape() == &shape[..] {
            return self;
        }
        let strides = crate::shape::contiguous_strides(&shape);
        let (offset, dtype) = (self.0.offset, self.dtype());
        Tensor::make(self.0.storage.clone(), shape, strides, offset, dtype, None)
    }

    /// The sum of all elements; integers and bool sum as `i64`, nothing sums to 0
    /// ([`torch.sum`](https://pytorch.org/docs/stable/generated/torch.sum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.sum()?.item::<i64>()?, 10);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_dim((), false)
    }

    /// The sum over dimensions `dim` (all where empty), kept as size 1 with `keepdim`
    /// ([`torch.sum`](https://pytorch.org/docs/stable/generated/torch.sum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::arange(0, 6, 1)?.view([2, 3])?;
    /// assert_eq!(x.sum_dim(0, false)?.to_vec::<i64>()?, [3, 5, 7]);
    /// assert_eq!(x.sum_dim(-1, true)?.shape(), [2, 1]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a dimension is out of range or named twice.
    #[track_caller]
    pub fn sum_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(Sum, wrap_dims("sum", &dim.dims(), self.dim())?, keepdim)
    }

    /// Without the dimensions `dims`, all of size 1.
    #[track_caller]
    pub(crate) fn drop_dims(&self, dims: &[usize]) -> Result<Tensor> {
        self.view(kept_shape(self.shape(), dims, false))
    }

    /// The mean of all elements; floating point alone. Of nothing it is NaN
    /// ([`torch.mean`](https://pytorch.org/docs/stable/generated/torch.mean.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, 2.0])?.mean()?.item::<f32>()?, 1.5);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, as in PyTorch.
    #[track_caller]
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_dim((), false)
    }

    /// The mean over dimensions `dim` (all where empty), kept as size 1 with `keepdim`
    /// ([`torch.mean`](https://pytorch.org/docs/stable/generated/torch.mean.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1.0f32, 3.0], [5.0, 9.0]])?.mean_dim(1, true)?.to_vec2::<f32>()?,
    ///     [[2.0], [7.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For integer and bool tensors, as in PyTorch.
    #[track_caller]
    pub fn mean_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        expect_float("mean", self)?;
        self.reduce(Mean, wrap_dims("mean", &dim.dims(), self.dim())?, keepdim)
    }

    /// The product of all elements; integers and bool multiply as `i64`, nothing gives 1
    /// ([`torch.prod`](https://pytorch.org/docs/stable/generated/torch.prod.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([2i64, 3, 4])?.prod()?.item::<i64>()?, 24);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn prod(&self) -> Result<Tensor> {
        self.prod_dim((), false)
    }

    /// The product over dimensions `dim` (all where empty)
    /// ([`torch.prod`](https://pytorch.org/docs/stable/generated/torch.prod.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [3, 4]])?.prod_dim(0, false)?.to_vec::<i64>()?, [3, 8]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn prod_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(Prod, wrap_dims("prod", &dim.dims(), self.dim())?, keepdim)
    }

    /// The greatest element over dimensions `dim` (all where empty); NaN where there is one. Ties
    /// share the gradient evenly
    /// ([`torch.amax`](https://pytorch.org/docs/stable/generated/torch.amax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 4], [3, 2]])?.amax(1, false)?.to_vec::<i64>()?, [4, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are no elements to choose from.
    #[track_caller]
    pub fn amax(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let dims = wrap_dims("amax", &dim.dims(), self.dim())?;
        expect_elements("amax", self, &dims)?;
        self.reduce(Amax, dims, keepdim)
    }

    /// The least element over dimensions `dim`, as [`amax`](Tensor::amax)
    /// ([`torch.amin`](https://pytorch.org/docs/stable/generated/torch.amin.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 4], [3, 2]])?.amin(0, true)?.to_vec2::<i64>()?, [[1, 2]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn amin(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let dims = wrap_dims("amin", &dim.dims(), self.dim())?;
        expect_elements("amin", self, &dims)?;
        self.reduce(Amin, dims, keepdim)
    }

    /// Least and greatest elements
    /// ([`torch.aminmax`](https://pytorch.org/docs/stable/generated/torch.aminmax.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (min, max) = Tensor::new([3i64, 1, 2])?.aminmax((), false)?;
    /// assert_eq!((min.item::<i64>()?, max.item::<i64>()?), (1, 3));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn aminmax(&self, dim: impl Dims, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let dim = dim.dims().to_vec();
        Ok((self.amin(&dim, keepdim)?, self.amax(&dim, keepdim)?))
    }

    /// The greatest of all elements; see [`max_dim`](Tensor::max_dim) for a dimension's
    /// ([`torch.max`](https://pytorch.org/docs/stable/generated/torch.max.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([3i64, 1, 2])?.max()?.item::<i64>()?, 3);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn max(&self) -> Result<Tensor> {
        self.amax((), false)
    }

    /// The least of all elements
    /// ([`torch.min`](https://pytorch.org/docs/stable/generated/torch.min.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([3i64, 1, 2])?.min()?.item::<i64>()?, 1);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`amax`](Tensor::amax).
    #[track_caller]
    pub fn min(&self) -> Result<Tensor> {
        self.amin((), false)
    }

    /// Whether any element differs from zero; of nothing, false
    /// ([`torch.any`](https://pytorch.org/docs/stable/generated/torch.any.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert!(Tensor::new([0i64, 2])?.any()?.item::<bool>()?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn any(&self) -> Result<Tensor> {
        self.any_dim((), false)
    }

    /// Whether any element over dimensions `dim` (all where empty) differs from zero
    /// ([`torch.any`](https://pytorch.org/docs/stable/generated/torch.any.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[0i64, 2], [0, 0]])?.any_dim(1, false)?.to_vec::<bool>()?,
    ///     [true, false]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn any_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(Any, wrap_dims("any", &dim.dims(), self.dim())?, keepdim)
    }

    /// Whether all elements differ from zero; of nothing, true
    /// ([`torch.all`](https://pytorch.org/docs/stable/generated/torch.all.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert!(!Tensor::new([0i64, 2])?.all()?.item::<bool>()?);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn all(&self) -> Result<Tensor> {
        self.all_dim((), false)
    }

    /// Whether all elements over dimensions `dim` (all where empty) differ from zero
    /// ([`torch.all`](https://pytorch.org/docs/stable/generated/torch.all.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1i64, 2], [0, 0]])?.all_dim(1, false)?.to_vec::<bool>()?,
    ///     [true, false]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn all_dim(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        self.reduce(All, wrap_dims("all", &dim.dims(), self.dim())?, keepdim)
    }

    /// How many elements over dimensions `dim` (all where empty) differ from zero, as `i64`
    /// ([`torch.count_nonzero`](https://pytorch.org/docs/stable/generated/torch.count_nonzero.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([[1i64, 2], [0, 3]])?.count_nonzero(0)?.to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn count_nonzero(&self, dim: impl Dims) -> Result<Tensor> {
        self.ne(0)?.sum_dim(dim.dims().to_vec(), false)
    }

    /// The sum over dimensions `dim` (all where empty), NaN counting as 0
    /// ([`torch.nansum`](https://pytorch.org/docs/stable/generated/torch.nansum.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(Tensor::new([1.0f32, f32::NAN, 2.0])?.nansum((), false)?.item::<f32>()?, 3.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_dim`](Tensor::sum_dim).
    #[track_caller]
    pub fn nansum(&self, dim: impl Dims, keepdim: bool) -> Result<Tensor> {
        let nan = self.ne(self)?;
        nan.where_(0, self)?.sum_dim(dim.dims().to_vec(), keepdim)
    }

    /// Summed to `size`, to which this tensor's shape is a broadcast: the gradient of broadcasting
    /// ([`torch.Tensor.sum_to_size`](https://pytorch.org/docs/stable/generated/torch.Tensor.sum_to_size.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::ones([2, 3])?.sum_to_size(&[1, 3])?.to_vec2::<f32>()?,
    ///     [[2.0, 2.0, 2.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `size` does not broadcast to this shape.
    #[track_caller]
    pub fn sum_to_size(&self, size: &[usize]) -> Result<Tensor> {
        let lead = self.dim().checked_sub(size.len());
        let fits = lead.is_some_and(|lead| {
            size.iter()
                .zip(&self.shape()[lead..])
                .all(|(&s, &d)| s == d || s == 1)
        });
        let Some(lead) = lead.filter(|_| fits) else {
            bail!(
                "sum_to_size",
                "shape {:?} is not a broadcast of {size:?}",
                self.shape()
            );
        };
        let dims: Vec<usize> = (0..self.dim())
            .filter(|&d| d < lead || (size[d - lead] == 1 && self.shape()[d] != 1))
            .collect();
        if dims.is_empty() {
            return Ok(self.clone());
        }
        self.sum_dim(dims, true)?.view(Shape::from_slice(size))
    }
}

#[track_caller]
fn expect_float(op: &'static str, x: &Tensor) -> Result<()> {
    if x.dtype().is_floating_point() {
        return Ok(());
    }
    bail!(
        op,
        "the {op} of a {} tensor is not defined; convert with to_dtype(DType::F32) first",
        x.dtype()
    )
}

/// What tests and goldens know of this family.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    type Dim = fn(&Tensor, &[i64], bool) -> Result<Tensor>;
    let over = |name: &'static str, f: Dim| {
        let torch = format!(
            "lambda x, d, k: torch.{name}(x) if not d and not k else torch.{name}(x, tuple(d) if d else None, keepdim=k)"
        );
        OpSpec::new(name, torch, move |a| {
            Ok(vec![f(a[0].tensor()?, a[1].list()?, a[2].bool()?)?])
        })
    };
    let sample = |shape: &[usize], dims: &[i64], keep: bool| {
        Sample::new(vec![
            Arg::uniform(shape, (0.3, 2.0)),
            Arg::L(dims.to_vec()),
            Arg::B(keep),
        ])
    };
    let plain = || {
        vec![
            sample(&[3, 4], &[], false),
            sample(&[], &[], false),
            sample(&[3, 4], &[0], false),
            sample(&[3, 4], &[-1], true),
            sample(&[2, 3, 4], &[0, 2], false),
            sample(&[2, 3, 4], &[1], false),
            sample(&[3, 0], &[0], false),
        ]
    };
    let nothing = [sample(&[0, 3], &[0], false), sample(&[0], &[], false)];
    let empty = [&plain()[..], &nothing[..]].concat();
    let single = vec![
        sample(&[3, 4], &[], false),
        sample(&[3, 4], &[0], false),
        sample(&[2, 3, 4], &[1], true),
        sample(&[0, 3], &[0], false),
    ];
    let halves = &[DType::F32, DType::F64, DType::F16, DType::BF16];
    vec![
        over("sum", |x, d, k| x.sum_dim(d, k))
            .samples(empty.clone())
            .dtypes(halves),
        // Of nothing it is NaN, which has no finite differences.
        over("mean", |x, d, k| x.mean_dim(d, k))
            .samples([plain(), nothing.map(Sample::kinked).to_vec()].concat()),
        OpSpec::new(
            "prod",
            "lambda x, d, k: torch.prod(x) if not d else torch.prod(x, d[0], keepdim=k)",
            |a| Ok(vec![a[0].tensor()?.prod_dim(a[1].list()?, a[2].bool()?)?]),
        )
        .samples(single),
        over("amax", |x, d, k| x.amax(d, k)).samples(plain()),
        over("amin", |x, d, k| x.amin(d, k)).samples(plain()),
        over("nansum", |x, d, k| x.nansum(d, k)).samples(empty.clone()),
        over("any", |x, d, k| x.any_dim(d, k))
            .samples(empty.clone())
            .no_grad(),
        over("all", |x, d, k| x.all_dim(d, k))
            .samples(empty)
            .no_grad(),
        OpSpec::new("max", "torch.max", |a| Ok(vec![a[0].tensor()?.max()?]))
            .samples(vec![Sample::new(vec![Arg::uniform([3, 4], (-2.0, 2.0))])]),
        OpSpec::new("min", "torch.min", |a| Ok(vec![a[0].tensor()?.min()?]))
            .samples(vec![Sample::new(vec![Arg::uniform([3, 4], (-2.0, 2.0))])]),
    ]
    .into_iter()
    .chain(extreme::specs())
    .chain(moments::specs())
    .chain(scan::specs())
    .chain(softmax::specs())
    .collect()
}

#[cfg(test)]
mod tests;
