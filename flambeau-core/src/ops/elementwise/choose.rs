//! Choosing between elements: `where`, `masked_fill`; and sums of products.

use super::binary::result_type;
use super::products::{Fused, Product};
use super::{Lane, lane_of, map};
use crate::cuda::{self, Formula};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, broadcast};
use crate::tensor::{Operand, Tensor};
use crate::{Ctx, DType, Device, Result, Scalar, bail, with_stored};
use flambeau_cuda::kernels::Expr;
use smallvec::smallvec;

/// `condition ? a : b`.
#[derive(Debug)]
struct Where;

impl Where {
    /// Shape and type of the result.
    fn result([condition, a, b]: [&Tensor; 3]) -> Result<(Shape, DType)> {
        if condition.dtype() != DType::Bool {
            bail!(
                "where",
                "the condition must be bool, not {}; compare first (x.ne(0))",
                condition.dtype()
            );
        }
        let dtype = result_type(&[a, b]);
        let shape = broadcast(
            "where",
            &broadcast("where", condition.shape(), a.shape())?,
            b.shape(),
        )?;
        Ok((shape, dtype))
    }
}

impl Op for Where {
    fn name(&self) -> &'static str {
        "where"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let inputs = [inputs[0], inputs[1], inputs[2]];
        let (shape, dtype) = Where::result(inputs)?;
        fn each<T: Lane + super::KernelResult>(
            shape: &[usize],
            dtype: DType,
            inputs: [&Tensor; 3],
        ) -> Result<Tensor> {
            map::<T, T, 3>("where", shape, dtype, inputs, &|[c, a, b], out| {
                flambeau_cpu::simd::dispatch(
                    #[inline(always)]
                    || {
                        for (((o, c), a), b) in out.iter_mut().zip(c).zip(a).zip(b) {
                            *o = if c.to_bool() { *a } else { *b };
                        }
                    },
                );
            })
        }
        let out = match lane_of(dtype) {
            DType::F32 => each::<f32>(&shape, dtype, inputs),
            DType::F64 => each::<f64>(&shape, dtype, inputs),
            DType::I64 => each::<i64>(&shape, dtype, inputs),
            _ => each::<i32>(&shape, dtype, inputs),
        }?;
        Ok(out.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (shape, dtype) = Where::result([inputs[0], inputs[1], inputs[2]])?;
        let (expr, lane) = (Expr::ternary("a != 0 ? b : c"), lane_of(dtype));
        let params = [0.0; 3];
        let formula = Formula { expr, lane, params };
        Ok(cuda::map("where", &formula, &shape, dtype, inputs)?.into())
    }

    fn saves(&self, _: &[bool]) -> Saves {
        Saves::NONE.input(0)
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let condition = ctx.input(0)?;
        let zero = Tensor::zeros_with((), (grad.dtype(), Device::Cpu))?;
        let a = ctx
            .needs(1)
            .then(|| condition.where_(grad, &zero))
            .transpose()?;
        let b = ctx
            .needs(2)
            .then(|| condition.where_(&zero, grad))
            .transpose()?;
        Ok(smallvec![None, a, b])
    }
}

impl Tensor {
    /// Elements of `a` where this bool tensor is true, of `b` elsewhere
    /// ([`torch.where`](https://pytorch.org/docs/stable/generated/torch.where.html)); all three
    /// broadcast, the types of `a` and `b` promote.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([-1.0f32, 2.0])?;
    /// assert_eq!(x.gt(0.0)?.where_(&x, 0.0)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the condition is not bool or shapes do not broadcast.
    #[track_caller]
    pub fn where_(&self, a: impl Operand, b: impl Operand) -> Result<Tensor> {
        dispatch::call(Where, &[self, &*a.operand()?, &*b.operand()?])
    }
}

/// Refuses to store an integer where it would change.
#[track_caller]
fn check_fits(op: &'static str, value: &Tensor, dtype: DType) -> Result<()> {
    if !dtype.is_integer() {
        return Ok(());
    }
    let v = value.item::<f64>()?;
    let back: f64 =
        with_stored!(dtype, S => crate::Stored::to_f64(<S as crate::Stored>::from_f64(v)));
    // i64's greatest number is no f64; floats near it pass.
    if back != v.trunc() && !(dtype == DType::I64 && v.abs() < 9.3e18) {
        bail!(op, "the value {v} cannot be stored as {dtype}");
    }
    Ok(())
}

impl Tensor {
    /// This tensor with `value`, a number or 0-d tensor, where the bool tensor `mask` is true; the
    /// two broadcast. The value is converted to this tensor's type.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::new([1.0f32, 2.0, 3.0])?;
    /// assert_eq!(x.masked_fill(&x.gt(1.5)?, -1)?.to_vec::<f32>()?, [1.0, -1.0, -1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the mask is not bool, shapes do not broadcast, the value has dimensions or does not
    /// fit into an integer type.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Operand) -> Result<Tensor> {
        let value = value.operand()?;
        if mask.dtype() != DType::Bool {
            bail!(
                "masked_fill",
                "the mask must be bool, not {}; compare first (mask.ne(0))",
                mask.dtype()
            );
        }
        if value.dim() != 0 {
            bail!(
                "masked_fill",
                "the value must be a number or 0-d tensor, not of shape {:?}",
                value.shape()
            );
        }
        check_fits("masked_fill", &value, self.dtype())?;
        mask.where_(value.to_dtype(self.dtype())?, self)
    }
    /// [`masked_fill`](Tensor::masked_fill) in place; the mask broadcasts to this shape.
    ///
    /// # Errors
    /// As [`masked_fill`](Tensor::masked_fill), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn masked_fill_(&self, mask: &Tensor, value: impl Operand) -> Result<Tensor> {
        self.check_inplace("masked_fill")?;
        self.assign("masked_fill", self.masked_fill(mask, value)?)
    }
}

impl Tensor {
    /// this + `alpha` `other` (`torch.add(.., alpha=..)`)
    /// ([`torch.add`](https://pytorch.org/docs/stable/generated/torch.add.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([1.0f32, 2.0])?.add_scaled(&Tensor::new([10.0f32, 20.0])?, 0.5)?;
    /// assert_eq!(y.to_vec::<f32>()?, [6.0, 12.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `alpha` is a fraction and the result an integer.
    #[track_caller]
    pub fn add_scaled(&self, other: impl Operand, alpha: impl Into<Scalar>) -> Result<Tensor> {
        let other = other.operand()?;
        let alpha = alpha.into();
        check_factor("add", result_type(&[self, &*other]), alpha)?;
        scaled_sum(self, &other, alpha, alpha.to_f64(), |x, y| x.add(y))
    }
    /// [`add_scaled`](Tensor::add_scaled) in place.
    ///
    /// # Errors
    /// As [`add_scaled`](Tensor::add_scaled), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn add_scaled_(&self, other: impl Operand, alpha: impl Into<Scalar>) -> Result<Tensor> {
        let other = other.operand()?;
        let alpha = alpha.into();
        check_factor("add", result_type(&[self, &*other]), alpha)?;
        let fused = Fused(Product::Add, alpha.to_f64());
        if alpha.to_f64() != 1.0 {
            self.check_inplace("add")?;
            if fused.run_in_place(&[self, &*other])? {
                return Ok(self.written("add"));
            }
        }
        self.add_(scaled(&other, alpha)?)
    }
    /// this - `alpha` `other` (`torch.sub(.., alpha=..)`)
    /// ([`torch.sub`](https://pytorch.org/docs/stable/generated/torch.sub.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([1.0f32, 2.0])?.sub_scaled(&Tensor::new([10.0f32, 20.0])?, 0.5)?;
    /// assert_eq!(y.to_vec::<f32>()?, [-4.0, -8.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `alpha` is a fraction and the result an integer, and for bool tensors.
    #[track_caller]
    pub fn sub_scaled(&self, other: impl Operand, alpha: impl Into<Scalar>) -> Result<Tensor> {
        let other = other.operand()?;
        let alpha = alpha.into();
        check_factor("sub", result_type(&[self, &*other]), alpha)?;
        scaled_sum(self, &other, alpha, -alpha.to_f64(), |x, y| x.sub(y))
    }
    /// [`sub_scaled`](Tensor::sub_scaled) in place.
    ///
    /// # Errors
    /// As [`sub_scaled`](Tensor::sub_scaled), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn sub_scaled_(&self, other: impl Operand, alpha: impl Into<Scalar>) -> Result<Tensor> {
        let other = other.operand()?;
        let alpha = alpha.into();
        check_factor("sub", result_type(&[self, &*other]), alpha)?;
        self.sub_(scaled(&other, alpha)?)
    }

    /// The point between this and `end` at `weight`, a number or a tensor: this + weight (end - this).
    /// Floating point of one type
    /// ([`torch.lerp`](https://pytorch.org/docs/stable/generated/torch.lerp.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([0.0f32, 10.0])?.lerp(&Tensor::new([4.0f32, 20.0])?, 0.25)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 12.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the types differ or are not floating point, and where shapes do not broadcast.
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: impl Operand) -> Result<Tensor> {
        let weight = weight.operand()?;
        if !self.dtype().is_floating_point()
            || end.dtype() != self.dtype()
            || !(weight.is_number() || weight.dtype() == self.dtype())
        {
            bail!(
                "lerp",
                "start is {}, end {}, weight {}; expected one floating-point type",
                self.dtype(),
                end.dtype(),
                weight.dtype()
            );
        }
        // From the nearer end, so that weights 0 and 1 give the ends themselves.
        let span = || end.sub(self);
        let near = || self.add(span()?.mul(&*weight)?);
        let far = || end.sub(span()?.mul(weight.neg()?.add(1.0)?)?);
        if weight.is_number() {
            let p = weight.item::<f64>()?;
            return Fused(Product::Lerp, p)
                .run(&[self, end], || if p.abs() < 0.5 { near() } else { far() });
        }
        Fused(Product::Lerp, 0.0).run(&[self, end, &weight], || {
            weight.abs()?.lt(0.5)?.where_(near()?, far()?)
        })
    }
    /// [`lerp`](Tensor::lerp) in place.
    ///
    /// # Errors
    /// As [`lerp`](Tensor::lerp), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn lerp_(&self, end: &Tensor, weight: impl Operand) -> Result<Tensor> {
        self.check_inplace("lerp")?;
        let weight = weight.operand()?;
        let weight = &*weight;
        let done = match weight.is_number() {
            true => Fused(Product::Lerp, weight.item()?).run_in_place(&[self, end])?,
            false => Fused(Product::Lerp, 0.0).run_in_place(&[self, end, weight])?,
        };
        if done {
            return Ok(self.written("lerp"));
        }
        self.assign("lerp", self.lerp(end, weight)?)
    }

    /// this + `value` a b
    /// ([`torch.addcmul`](https://pytorch.org/docs/stable/generated/torch.addcmul.html)).
    ///
    /// PyTorch's default: `value` 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([2.0f32, 3.0])?, Tensor::new([4.0f32, 5.0])?);
    /// assert_eq!(Tensor::new([1.0f32, 1.0])?.addcmul(&a, &b, 0.5)?.to_vec::<f32>()?, [5.0, 8.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `value` is a fraction and the result an integer, and where shapes do not broadcast.
    #[track_caller]
    pub fn addcmul(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        let value = value.into();
        check_factor("addcmul", result_type(&[self, a, b]), value)?;
        Fused(Product::Addcmul, value.to_f64())
            .run(&[self, a, b], || self.add(scaled(a, value)?.mul(b)?))
    }
    /// [`addcmul`](Tensor::addcmul) in place.
    ///
    /// # Errors
    /// As [`addcmul`](Tensor::addcmul), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn addcmul_(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        self.check_inplace("addcmul")?;
        let value = value.into();
        if Fused(Product::Addcmul, value.to_f64()).run_in_place(&[self, a, b])? {
            return Ok(self.written("addcmul"));
        }
        self.assign("addcmul", self.addcmul(a, b, value)?)
    }

    /// this + `value` a / b; not of integers, as in PyTorch
    /// ([`torch.addcdiv`](https://pytorch.org/docs/stable/generated/torch.addcdiv.html)).
    ///
    /// PyTorch's default: `value` 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([2.0f32, 3.0])?, Tensor::new([4.0f32, 2.0])?);
    /// assert_eq!(
    ///     Tensor::new([1.0f32, 1.0])?.addcdiv(&a, &b, 0.5)?.to_vec::<f32>()?,
    ///     [1.25, 1.75]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where both `a` and `b` are integers, and where shapes do not broadcast.
    #[track_caller]
    pub fn addcdiv(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        if !a.dtype().is_floating_point() && !b.dtype().is_floating_point() {
            bail!(
                "addcdiv",
                "{} and {} are integers; convert one with to_dtype(DType::F32)",
                a.dtype(),
                b.dtype()
            );
        }
        let value = value.into();
        Fused(Product::Addcdiv, value.to_f64())
            .run(&[self, a, b], || self.add(scaled(a, value)?.div(b)?))
    }
    /// [`addcdiv`](Tensor::addcdiv) in place.
    ///
    /// # Errors
    /// As [`addcdiv`](Tensor::addcdiv), and as every [operation in place](Tensor#in-place).
    #[track_caller]
    pub fn addcdiv_(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Result<Tensor> {
        self.check_inplace("addcdiv")?;
        let value = value.into();
        if Fused(Product::Addcdiv, value.to_f64()).run_in_place(&[self, a, b])? {
            return Ok(self.written("addcdiv"));
        }
        self.assign("addcdiv", self.addcdiv(a, b, value)?)
    }
}

/// `x` plus `p` `other`, which is what `join` makes of `x` and `alpha` `other`.
#[track_caller]
fn scaled_sum(
    x: &Tensor,
    other: &Tensor,
    alpha: Scalar,
    p: f64,
    join: fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let composite = || join(x, &scaled(other, alpha)?);
    if alpha.to_f64() == 1.0 {
        return composite();
    }
    Fused(Product::Add, p).run(&[x, other], composite)
}

fn scaled(x: &Tensor, factor: Scalar) -> Result<Tensor> {
    if factor.to_f64() == 1.0 {
        return Ok(x.clone());
    }
    let product = x.mul(factor)?;
    // A number times a number is one still.
    Ok(if x.is_number() {
        product.into_number()
    } else {
        product
    })
}

/// An integer result takes no fraction as a factor.
#[track_caller]
fn check_factor(op: &'static str, dtype: DType, factor: Scalar) -> Result<()> {
    if !dtype.is_floating_point() && matches!(factor, Scalar::Float(_)) {
        bail!(
            op,
            "the result is {dtype}, so the factor must be an integer, not {}",
            factor.to_f64()
        );
    }
    Ok(())
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let x = |shape: &[usize]| Arg::uniform(shape, (-2.0, 2.0));
    let number = |a: &Arg| -> Result<Tensor> {
        match a {
            Arg::T(t) => Ok(t.clone()),
            Arg::I(v) => Ok(v.operand()?.into_owned()),
            other => Ok(other.float()?.operand()?.into_owned()),
        }
    };
    let mask = |shape: &[usize]| Arg::Ints {
        shape: shape.to_vec(),
        range: (0, 2),
        dtype: DType::Bool,
    };
    let integers = [DType::I64, DType::I32, DType::U8];
    let mut specs = vec![
        OpSpec::new("where", "torch.where", move |a| {
            Ok(vec![a[0].tensor()?.where_(number(&a[1])?, number(&a[2])?)?])
        })
        .samples(vec![
            Sample::new(vec![mask(&[3, 4]), x(&[3, 4]), x(&[4])]),
            Sample::new(vec![mask(&[3, 1]), x(&[4]), Arg::F(1.5)]),
            Sample::new(vec![mask(&[4]), Arg::I(2), x(&[2, 1])]),
            Sample::new(vec![mask(&[5]), x(&[5]), Arg::F(1.5)]).dtypes(&[
                DType::F16,
                DType::I64,
                DType::Bool,
            ]),
        ])
        .errors(vec![(vec![x(&[2]), x(&[2]), x(&[2])], "must be bool")]),
        OpSpec::new("where_numbers", "torch.where", move |a| {
            Ok(vec![a[0].tensor()?.where_(number(&a[1])?, number(&a[2])?)?])
        })
        .no_grad()
        .samples(vec![
            Sample::new(vec![mask(&[4]), Arg::F(1.5), Arg::I(2)]),
            Sample::new(vec![mask(&[4]), Arg::I(1), Arg::I(2)]),
        ]),
        OpSpec::new(
            "masked_fill",
            "lambda x, m, v: x.masked_fill(m, v)",
            move |a| {
                Ok(vec![
                    a[0].tensor()?.masked_fill(a[1].tensor()?, number(&a[2])?)?,
                ])
            },
        )
        .inplace(move |a| {
            Ok(vec![
                a[0].tensor()?
                    .masked_fill_(a[1].tensor()?, number(&a[2])?)?,
            ])
        })
        .samples(vec![
            Sample::new(vec![x(&[3, 4]), mask(&[3, 4]), Arg::F(9.0)]),
            Sample::new(vec![x(&[3, 4]), mask(&[4]), x(&[])]),
            Sample::new(vec![x(&[4]), mask(&[3, 1]), Arg::I(-1)]),
            Sample::new(vec![x(&[4]), mask(&[4]), Arg::F(1.5)]).dtypes(&[
                DType::I64,
                DType::I8,
                DType::Bool,
                DType::F16,
            ]),
        ])
        .errors(vec![
            (vec![x(&[2]), x(&[2]), Arg::F(0.0)], "must be bool"),
            (vec![x(&[2]), mask(&[2]), x(&[1])], "0-d tensor"),
            (
                vec![Arg::ints([2], (0, 9)), mask(&[2]), Arg::F(1e30)],
                "cannot be stored as int64",
            ),
        ]),
    ];
    let scalar = |a: &Arg| -> Result<Scalar> {
        Ok(match a {
            Arg::I(v) => Scalar::Int(*v),
            other => Scalar::Float(other.float()?),
        })
    };
    type Scaled = fn(&Tensor, Tensor, Scalar) -> Result<Tensor>;
    let sums: [(&str, &str, Scaled, Scaled); 2] = [
        (
            "add_scaled",
            "lambda x, y, a: torch.add(x, y, alpha=a)",
            |x, y, a| x.add_scaled(y, a),
            |x, y, a| x.add_scaled_(y, a),
        ),
        (
            "sub_scaled",
            "lambda x, y, a: torch.sub(x, y, alpha=a)",
            |x, y, a| x.sub_scaled(y, a),
            |x, y, a| x.sub_scaled_(y, a),
        ),
    ];
    for (name, torch, call, inplace) in sums {
        specs.push(
            OpSpec::new(name, torch, move |a| {
                Ok(vec![call(a[0].tensor()?, number(&a[1])?, scalar(&a[2])?)?])
            })
            .inplace(move |a| {
                Ok(vec![inplace(
                    a[0].tensor()?,
                    number(&a[1])?,
                    scalar(&a[2])?,
                )?])
            })
            .samples(vec![
                Sample::new(vec![x(&[3, 4]), x(&[4]), Arg::F(1.75)]),
                Sample::new(vec![x(&[3]), Arg::F(0.5), Arg::I(3)]),
                Sample::new(vec![x(&[3]), x(&[]), Arg::I(1)]),
                Sample::new(vec![x(&[4]), x(&[4]), Arg::I(3)]).dtypes(&integers),
            ])
            .errors(vec![(
                vec![Arg::ints([2], (0, 4)), Arg::ints([2], (0, 4)), Arg::F(0.5)],
                "must be an integer",
            )]),
        );
    }
    specs.push(
        OpSpec::new("lerp", "torch.lerp", move |a| {
            Ok(vec![a[0].tensor()?.lerp(a[1].tensor()?, number(&a[2])?)?])
        })
        .inplace(move |a| Ok(vec![a[0].tensor()?.lerp_(a[1].tensor()?, number(&a[2])?)?]))
        .samples(vec![
            Sample::new(vec![x(&[3, 4]), x(&[4]), Arg::F(0.25)]),
            Sample::new(vec![x(&[4]), x(&[4]), Arg::F(0.75)]),
            Sample::new(vec![x(&[3, 4]), x(&[3, 4]), Arg::uniform([4], (0.0, 1.0))]),
        ])
        .errors(vec![(
            vec![x(&[2]), Arg::ints([2], (0, 3)), Arg::F(0.5)],
            "one floating-point type",
        )]),
    );
    type Fused = fn(&Tensor, &Tensor, &Tensor, Scalar) -> Result<Tensor>;
    let fused: [(&str, &str, Fused, Fused); 2] = [
        (
            "addcmul",
            "lambda x, a, b, v: torch.addcmul(x, a, b, value=v)",
            Tensor::addcmul,
            Tensor::addcmul_,
        ),
        (
            "addcdiv",
            "lambda x, a, b, v: torch.addcdiv(x, a, b, value=v)",
            Tensor::addcdiv,
            Tensor::addcdiv_,
        ),
    ];
    for (name, torch, call, inplace) in fused {
        let positive = || Arg::uniform([4], (0.5, 2.0));
        let mut samples = vec![
            Sample::new(vec![x(&[3, 4]), x(&[3, 1]), positive(), Arg::F(0.5)]),
            Sample::new(vec![x(&[4]), x(&[4]), positive(), Arg::I(1)]),
        ];
        if name == "addcmul" {
            samples.push(Sample::new(vec![x(&[4]), x(&[4]), x(&[4]), Arg::I(2)]).dtypes(&integers));
        }
        let whole = || Arg::ints([2], (1, 4));
        specs.push(
            OpSpec::new(name, torch, move |a| {
                Ok(vec![call(
                    a[0].tensor()?,
                    a[1].tensor()?,
                    a[2].tensor()?,
                    scalar(&a[3])?,
                )?])
            })
            .inplace(move |a| {
                Ok(vec![inplace(
                    a[0].tensor()?,
                    a[1].tensor()?,
                    a[2].tensor()?,
                    scalar(&a[3])?,
                )?])
            })
            .samples(samples)
            .errors(vec![(
                vec![whole(), whole(), whole(), Arg::F(0.5)],
                "integer",
            )]),
        );
    }
    specs
}
