//! Matrix products: `matmul` with all its shape rules, `addmm` and its kin, `linear`.
//!
//! Everything ends in one strided, batched GEMM, which reads transposed and broadcast operands
//! where they lie.

use crate::autocast::{Cast, Composite};
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::dtype::{Scalar, Stored};
use crate::ops::elementwise::to_contiguous;
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::{Shape, Strides, broadcast, broadcast_strides, numel};
use crate::tensor::Tensor;
use crate::{Ctx, DType, Device, Result, bail, cuda};
use flambeau_cpu::gemm::{Add, GemmScalar, Layout, Sizes, gemm_add};
use half::{bf16, f16};
use smallvec::{SmallVec, smallvec};

/// `alpha * a @ b + beta * c` for `a` `[.., m, k]`, `b` `[.., k, n]` with broadcast batches; `c`,
/// the third input where there is one, broadcasts to the result.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) alpha: f64,
    pub(super) beta: f64,
}

impl Op for Product {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let c = inputs.get(2).map(|&c| (c, self.beta));
        Ok(product(self.name, inputs[0], inputs[1], self.alpha, c)?.into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn autocast(&self) -> Cast {
        match self.name {
            "mv" | "dot" => Cast::Keep,
            _ => Cast::Low,
        }
    }

    fn saves(&self, needs: &[bool]) -> Saves {
        Saves::NONE.input_if(1, needs[0]).input_if(0, needs[1])
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let scaled = |g: Tensor, by: f64| if by == 1.0 { Ok(g) } else { g.mul(by) };
        let mut grads: Grads = smallvec![None, None];
        if ctx.needs(0) {
            let b = ctx.input(1)?;
            grads[0] = Some(scaled(grad.matmul(&b.transpose(-2, -1)?)?, self.alpha)?);
        }
        if ctx.needs(1) {
            let a = ctx.input(0)?;
            let g = if ctx.shape(1).len() == 2 && a.dim() > 2 {
                // One product instead of a batch that would have to be summed.
                gram(&a, grad)?
            } else {
                a.transpose(-2, -1)?.matmul(grad)?
            };
            grads[1] = Some(scaled(g, self.alpha)?);
        }
        if ctx.input_count() > 2 {
            let g = ctx.needs(2).then(|| scaled(grad.clone(), self.beta));
            grads.push(g.transpose()?);
        }
        Ok(grads)
    }
}

/// `aᵀ @ b` of the rows of both, whatever the leading dimensions.
fn gram(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let rows = |t: &Tensor| {
        let columns = t.shape()[t.dim() - 1];
        let count = numel(&t.shape()[..t.dim() - 1]);
        t.reshape([count, columns])
    };
    rows(a)?.t()?.matmul(&rows(b)?)
}

/// The shape of a product, or why there is none.
fn product_shape(op: &'static str, a: &Tensor, b: &Tensor) -> Result<Shape> {
    if a.dtype() != b.dtype() {
        bail!(
            op,
            "expected both to have the same dtype, got lhs {} and rhs {}; convert one with to_dtype",
            a.dtype(),
            b.dtype()
        );
    }
    if a.dtype() == DType::Bool {
        bail!(
            op,
            "there is no matrix product of bool tensors; convert with to_dtype(DType::F32) first"
        );
    }
    let (m, k) = (a.shape()[a.dim() - 2], a.shape()[a.dim() - 1]);
    let (l, n) = (b.shape()[b.dim() - 2], b.shape()[b.dim() - 1]);
    if k != l {
        bail!(
            op,
            "inner dimensions differ: lhs {:?}, rhs {:?}; need {k} == {l}",
            a.shape(),
            b.shape()
        );
    }
    let mut shape = broadcast(op, &a.shape()[..a.dim() - 2], &b.shape()[..b.dim() - 2])?;
    shape.push(m);
    shape.push(n);
    Ok(shape)
}

/// The product as a new tensor. Half types are summed up in `f32` and rounded once, integers wrap.
/// `c` comes with its factor.
fn product(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    alpha: f64,
    c: Option<(&Tensor, f64)>,
) -> Result<Tensor> {
    let shape = product_shape(op, a, b)?;
    let dtype = a.dtype();
    if a.on_cuda() {
        return cuda::product(op, [a, b], alpha, c, &shape);
    }
    if dtype.is_floating_point() {
        let out = Tensor::empty_with(&shape, (dtype, Device::Cpu))?;
        match dtype {
            DType::F32 => blocks::<f32>(a, b, c, &out, |p| p.multiply(alpha)),
            DType::F64 => blocks::<f64>(a, b, c, &out, |p| p.multiply(alpha)),
            DType::BF16 => blocks::<bf16>(a, b, c, &out, |p| p.multiply(alpha)),
            _ => blocks::<f16>(a, b, c, &out, |p| p.multiply(alpha)),
        }
        return Ok(out);
    }
    let wide = |t: &Tensor| {
        if t.dtype() == DType::I64 {
            Ok(t.clone())
        } else {
            to_contiguous(op, t, DType::I64)
        }
    };
    let out = Tensor::empty_with(&shape, (DType::I64, Device::Cpu))?;
    blocks::<i64>(&wide(a)?, &wide(b)?, None, &out, |p| p.integers());
    if dtype == DType::I64 {
        Ok(out)
    } else {
        to_contiguous(op, &out, dtype)
    }
}

/// Equally spaced products, `out = a @ b + add`; `out` is contiguous.
struct Block<'a, T> {
    sizes: Sizes,
    a: (&'a [T], Layout),
    b: (&'a [T], Layout),
    add: Add<'a, T>,
    out: &'a mut [T],
}

/// The strides of a matrix operand, broadcast to a batch: of the batch, and of the last two
/// dimensions.
fn matrix_strides(t: &Tensor, batch: &[usize]) -> (Strides, Layout) {
    let d = t.dim() - 2;
    let (row, col) = (t.strides()[d], t.strides()[d + 1]);
    let strides = broadcast_strides(&t.shape()[..d], &t.strides()[..d], batch);
    (strides, Layout { batch: 0, row, col })
}

/// Calls `f` for each run of equally spaced products.
fn blocks<T: Stored>(
    a: &Tensor,
    b: &Tensor,
    c: Option<(&Tensor, f64)>,
    out: &Tensor,
    f: impl Fn(Block<'_, T>),
) {
    if out.numel() == 0 {
        return;
    }
    let lead = out.dim() - 2;
    let batch = &out.shape()[..lead];
    let ((a_batch, mut a_layout), (b_batch, mut b_layout)) =
        (matrix_strides(a, batch), matrix_strides(b, batch));
    // What factor 0 multiplies is not read, so that NaN in it does not spread.
    let c = c.filter(|&(_, beta)| beta != 0.0);
    let mut c_strides = match c {
        Some((c, _)) => broadcast_strides(c.shape(), c.strides(), out.shape()),
        None => smallvec![0; out.dim()],
    };
    let (col, row) = (c_strides.pop(), c_strides.pop());
    let mut c_layout = Layout {
        batch: 0,
        row: row.unwrap_or(0),
        col: col.unwrap_or(0),
    };
    let mut sizes = Sizes {
        batch: 1,
        m: out.shape()[lead],
        n: out.shape()[lead + 1],
        k: a.shape()[a.dim() - 1],
    };
    // Size and the operands' strides of the batch dimensions after merging, outermost first.
    let mut dims: SmallVec<[(usize, [usize; 3]); 6]> = SmallVec::new();
    for (i, &d) in batch.iter().enumerate().filter(|&(_, &d)| d != 1) {
        let steps = [a_batch[i], b_batch[i], c_strides[i]];
        match dims.last_mut() {
            Some(last) if last.1 == steps.map(|s| d * s) => *last = (last.0 * d, steps),
            _ => dims.push((d, steps)),
        }
    }
    if let Some(&(d, [a_step, 0, c_step])) = dims.last()
        && (sizes.m == 1 || a_step == sizes.m * a_layout.row && c_step == sizes.m * c_layout.row)
    {
        // One right operand for all: the batch is more rows.
        if sizes.m == 1 {
            (a_layout.row, c_layout.row) = (a_step, c_step);
        }
        sizes.m *= d;
        dims.pop();
    }
    if let Some((d, steps)) = dims.pop() {
        sizes.batch = d;
        [a_layout.batch, b_layout.batch, c_layout.batch] = steps;
    }
    let (a_read, b_read) = (a.read(), b.read());
    let (a, b) = (a_read.slice::<T>(), b_read.slice::<T>());
    let c_read = c.map(|(c, beta)| (c.read(), beta));
    let mut write = out.write();
    let step = sizes.batch * sizes.m * sizes.n;
    for (i, out) in write.slice::<T>().chunks_exact_mut(step).enumerate() {
        let (mut rest, mut at) = (i, [0; 3]);
        for &(d, steps) in dims.iter().rev() {
            for (at, step) in at.iter_mut().zip(steps) {
                *at += rest % d * step;
            }
            rest /= d;
        }
        // Without an inner dimension nothing is read, and there may be nothing at `at`.
        let from = |x, at: usize| match sizes.k {
            0 => &[][..],
            _ => &(x as &[T])[at..],
        };
        f(Block {
            sizes,
            a: (from(a, at[0]), a_layout),
            b: (from(b, at[1]), b_layout),
            add: match &c_read {
                Some((c, beta)) => Add::Other(*beta, &c.slice::<T>()[at[2]..], c_layout),
                None => Add::Nothing,
            },
            out,
        });
    }
}

impl<T: GemmScalar> Block<'_, T> {
    fn multiply(self, alpha: f64) {
        let Sizes { m, n, .. } = self.sizes;
        let to = Layout {
            batch: m * n,
            row: n,
            col: 1,
        };
        let Block { a, b, add, out, .. } = self;
        gemm_add(self.sizes, alpha, a, b, add, (out, to));
    }
}

impl Block<'_, i64> {
    /// The plain loop, modulo 2^64 and so, after narrowing, modulo each type's range.
    fn integers(self) {
        let Sizes { m, n, k, .. } = self.sizes;
        let ((a, a_layout), (b, b_layout)) = (self.a, self.b);
        for (i, row) in self.out.chunks_exact_mut(n).enumerate() {
            let (batch, i) = (i / m, i % m);
            row.fill(0);
            for k in 0..k {
                let x = a[batch * a_layout.batch + i * a_layout.row + k * a_layout.col];
                let from = batch * b_layout.batch + k * b_layout.row;
                for (j, o) in row.iter_mut().enumerate() {
                    *o = o.wrapping_add(x.wrapping_mul(b[from + j * b_layout.col]));
                }
            }
        }
    }
}

/// `x @ weightᵀ + bias`: input `[.., in]`, weight `[out, in]`, bias `[out]` or none.
#[derive(Debug)]
struct Linear;

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        let (x, w) = (inputs[0], inputs[1]);
        let [o, i] = w.shape() else {
            bail!(
                "linear",
                "the weight has shape {:?}; it must be [out, in]",
                w.shape()
            )
        };
        if x.dim() == 0 || x.shape()[x.dim() - 1] != *i {
            bail!(
                "linear",
                "inner dimensions differ: input {:?}, weight {:?}; the input's last dimension must be {i}",
                x.shape(),
                w.shape()
            );
        }
        let transposed = w.alias(
            smallvec![*i, *o],
            smallvec![w.strides()[1], w.strides()[0]],
            w.0.offset,
        );
        let bias = inputs.get(2).map(|&b| (b, 1.0));
        if let Some((b, _)) = bias
            && (b.dtype() != x.dtype() || b.shape() != [*o] && b.numel() != 1)
        {
            bail!(
                "linear",
                "the bias is {} {:?}; it must be {} [{o}], one number for each of the weight's rows",
                b.dtype(),
                b.shape(),
                x.dtype()
            );
        }
        if x.dim() >= 2 {
            return Ok(product("linear", x, &transposed, 1.0, bias)?.into());
        }
        let out = product("linear", &x.unsqueeze(0)?, &transposed, 1.0, bias)?;
        Ok(Tensor::make(
            out.0.storage.clone(),
            smallvec![*o],
            smallvec![1],
            0,
            out.dtype(),
            None,
        )
        .into())
    }

    fn cuda(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.forward(inputs)
    }

    fn autocast(&self) -> Cast {
        Cast::Low
    }

    fn saves(&self, needs: &[bool]) -> Saves {
        Saves::NONE.input_if(1, needs[0]).input_if(0, needs[1])
    }

    fn backward(&self, ctx: &Ctx<'_>, grad: &Tensor) -> Result<Grads> {
        let mut grads: Grads = smallvec![None, None];
        if ctx.needs(0) {
            grads[0] = Some(grad.matmul(&ctx.input(1)?)?);
        }
        if ctx.needs(1) {
            grads[1] = Some(gram(grad, &ctx.input(0)?)?);
        }
        if ctx.input_count() > 2 {
            grads.push(ctx.needs(2).then(|| grad.clone()));
        }
        Ok(grads)
    }
}

fn expect_dims(op: &'static str, dims: [usize; 2], a: &Tensor, b: &Tensor) -> Result<()> {
    if [a.dim(), b.dim()] == dims {
        return Ok(());
    }
    bail!(
        op,
        "takes a tensor of {} dimensions and one of {}, got lhs {:?} and rhs {:?}; matmul takes any",
        dims[0],
        dims[1],
        a.shape(),
        b.shape()
    )
}

#[track_caller]
fn plain(name: &'static str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (alpha, beta) = (1.0, 0.0);
    dispatch::call(Product { name, alpha, beta }, &[a, b])
}

impl Tensor {
    /// The matrix product
    /// ([`torch.matmul`](https://pytorch.org/docs/stable/generated/torch.matmul.html)): of the last
    /// two dimensions, the others broadcasting.
    /// A vector counts as a row on the left, as a column on the right, and its dimension does not
    /// appear in the result; two vectors give their dot product.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let a = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]])?;
    /// assert_eq!(a.matmul(&a)?.to_vec::<f32>()?, [7.0, 10.0, 15.0, 22.0]);
    /// let error = Tensor::ones([32, 784])?.matmul(&Tensor::ones([256, 10])?).unwrap_err();
    /// assert_eq!(error.message(), "inner dimensions differ: lhs [32, 784], rhs [256, 10]; need 784 == 256");
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where inner dimensions differ, batch dimensions do not broadcast, types differ, or an
    /// operand is 0-d or bool.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        self.any_product("matmul", other)
    }

    #[track_caller]
    fn any_product(&self, op: &'static str, other: &Tensor) -> Result<Tensor> {
        let (n, m) = (self.dim(), other.dim());
        if n == 0 || m == 0 {
            bail!(
                op,
                "both operands need at least 1 dimension, got lhs {:?}, rhs {:?}; multiply numbers with mul",
                self.shape(),
                other.shape()
            );
        }
        if n >= 2 && m >= 2 {
            return plain(op, self, other);
        }
        let inner = (self.shape()[n - 1], other.shape()[m.max(2) - 2]);
        if inner.0 != inner.1 {
            bail!(
                op,
                "inner dimensions differ: lhs {:?}, rhs {:?}; need {} == {}",
                self.shape(),
                other.shape(),
                inner.0,
                inner.1
            );
        }
        match (n, m) {
            (1, 1) => plain(op, &self.unsqueeze(0)?, &other.unsqueeze(1)?)?.view(()),
            (1, _) => plain(op, &self.unsqueeze(0)?, other)?.drop_dims(&[m - 2]),
            _ => plain(op, self, &other.unsqueeze(1)?)?.drop_dims(&[n - 1]),
        }
    }

    /// The product of two matrices, `[m, k]` and `[k, n]`
    /// ([`torch.mm`](https://pytorch.org/docs/stable/generated/torch.mm.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([[1.0f32, 2.0]])?.mm(&Tensor::new([[3.0f32], [4.0]])?)?.to_vec2::<f32>()?,
    ///     [[11.0]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`matmul`](Tensor::matmul), and for other than two dimensions.
    #[track_caller]
    pub fn mm(&self, other: &Tensor) -> Result<Tensor> {
        expect_dims("mm", [2, 2], self, other)?;
        plain("mm", self, other)
    }

    /// The products of two batches of matrices, `[b, m, k]` and `[b, k, n]`; nothing broadcasts
    /// ([`torch.bmm`](https://pytorch.org/docs/stable/generated/torch.bmm.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::arange(0, 8, 1)?.view([2, 2, 2])?;
    /// assert_eq!(x.bmm(&x)?.to_vec3::<i64>()?, [[[2, 3], [6, 11]], [[46, 55], [66, 79]]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`matmul`](Tensor::matmul), and for other than three dimensions or unequal batches.
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Result<Tensor> {
        expect_dims("bmm", [3, 3], self, other)?;
        if self.shape()[0] != other.shape()[0] {
            bail!(
                "bmm",
                "batch sizes differ: lhs {:?}, rhs {:?}; matmul broadcasts",
                self.shape(),
                other.shape()
            );
        }
        plain("bmm", self, other)
    }

    /// A matrix `[m, k]` times a vector `[k]`
    /// ([`torch.mv`](https://pytorch.org/docs/stable/generated/torch.mv.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let y = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]])?.mv(&Tensor::new([1.0f32, 10.0])?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [21.0, 43.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`matmul`](Tensor::matmul), and for other dimensions.
    #[track_caller]
    pub fn mv(&self, vector: &Tensor) -> Result<Tensor> {
        expect_dims("mv", [2, 1], self, vector)?;
        self.any_product("mv", vector)
    }

    /// The sum of the products of two vectors
    /// ([`torch.dot`](https://pytorch.org/docs/stable/generated/torch.dot.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1.0f32, 2.0])?.dot(&Tensor::new([3.0f32, 4.0])?)?.item::<f32>()?,
    ///     11.0
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`matmul`](Tensor::matmul), and for other than one dimension.
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Result<Tensor> {
        expect_dims("dot", [1, 1], self, other)?;
        self.any_product("dot", other)
    }

    /// Every element of a vector times every one of another: `[m]`, `[n]` give `[m, n]`
    /// ([`torch.outer`](https://pytorch.org/docs/stable/generated/torch.outer.html)). Types
    /// promote.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// assert_eq!(
    ///     Tensor::new([1i64, 2])?.outer(&Tensor::new([3i64, 4])?)?.to_vec2::<i64>()?,
    ///     [[3, 4], [6, 8]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For other than one dimension.
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Result<Tensor> {
        expect_dims("outer", [1, 1], self, other)?;
        self.unsqueeze(1)?.mul(other)
    }

    /// `beta * self + alpha * mat1 @ mat2`; this tensor broadcasts to the product
    /// ([`torch.addmm`](https://pytorch.org/docs/stable/generated/torch.addmm.html)). With `beta` 0
    /// it is not read.
    ///
    /// PyTorch's defaults: `beta` 1, `alpha` 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([[1.0f32, 2.0]])?, Tensor::new([[3.0f32], [4.0]])?);
    /// assert_eq!(Tensor::new([[100.0f32]])?.addmm(&a, &b, 0.5, 2)?.to_vec2::<f32>()?, [[72.0]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`mm`](Tensor::mm), and where types differ or this tensor does not broadcast.
    #[track_caller]
    pub fn addmm(
        &self,
        mat1: &Tensor,
        mat2: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Result<Tensor> {
        expect_dims("addmm", [2, 2], mat1, mat2)?;
        self.add_product("addmm", mat1, mat2, beta.into(), alpha.into())
    }

    /// `beta * self + alpha * batch1 @ batch2`, for batches of matrices
    /// ([`torch.baddbmm`](https://pytorch.org/docs/stable/generated/torch.baddbmm.html)).
    ///
    /// PyTorch's defaults: `beta` 1, `alpha` 1.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::new([[[1.0f32, 2.0]]])?, Tensor::new([[[3.0f32], [4.0]]])?);
    /// assert_eq!(
    ///     Tensor::new([[[100.0f32]]])?.baddbmm(&a, &b, 1, 1)?.to_vec3::<f32>()?,
    ///     [[[111.0]]]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bmm`](Tensor::bmm), and where types differ or this tensor does not broadcast.
    #[track_caller]
    pub fn baddbmm(
        &self,
        batch1: &Tensor,
        batch2: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Result<Tensor> {
        expect_dims("baddbmm", [3, 3], batch1, batch2)?;
        self.add_product("baddbmm", batch1, batch2, beta.into(), alpha.into())
    }

    #[track_caller]
    fn add_product(
        &self,
        name: &'static str,
        a: &Tensor,
        b: &Tensor,
        beta: Scalar,
        alpha: Scalar,
    ) -> Result<Tensor> {
        let region = Composite::new(Cast::Low, [self, a, b])?;
        let [c, a, b] = region.inputs();
        let shape = product_shape(name, a, b)?;
        if c.dtype() != a.dtype() || broadcast(name, c.shape(), &shape)? != shape {
            bail!(
                name,
                "the tensor to add is {} {:?}; it must be {} and broadcast to the product's shape {:?}",
                c.dtype(),
                c.shape(),
                a.dtype(),
                &shape[..]
            );
        }
        if !a.dtype().is_floating_point() {
            if [alpha, beta].iter().any(|s| matches!(s, Scalar::Float(_))) {
                bail!(
                    name,
                    "beta and alpha must be integers for {} tensors",
                    a.dtype()
                );
            }
            let product = plain(name, a, b)?.mul(alpha.to_i64())?;
            return product.add(c.mul(beta.to_i64())?);
        }
        let (alpha, beta) = (alpha.to_f64(), beta.to_f64());
        dispatch::call(Product { name, alpha, beta }, &[a, b, c])
    }

    /// `self @ weightᵀ + bias`
    /// ([`F.linear`](https://pytorch.org/docs/stable/generated/torch.nn.functional.linear.html)):
    /// input `[.., in]`, weight `[out, in]` or `[in]`, bias
    /// `[out]`; the result is `[.., out]`, or `[..]` for a vector weight.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (w, b) = (Tensor::new([[1.0f32, -1.0]])?, Tensor::new([0.5f32])?);
    /// assert_eq!(Tensor::new([3.0f32, 1.0])?.linear(&w, Some(&b))?.to_vec::<f32>()?, [2.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the last dimension is not the weight's `in`, the bias not of length `out`, or types
    /// differ.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        if weight.dim() == 1 {
            let region = Composite::new(Cast::Low, [self, weight])?;
            let ([x, weight], bias) = (region.inputs(), region.optional(bias)?);
            let out = x.matmul(weight)?;
            return match bias {
                Some(b) => out.add(b),
                None => Ok(out),
            };
        }
        match bias {
            Some(bias) => dispatch::call(Linear, &[self, weight, bias]),
            None => dispatch::call(Linear, &[self, weight]),
        }
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let range = (-1.0, 1.0);
    let t = |shape: &[usize]| Arg::uniform(shape, range);
    let pair = |a: &[usize], b: &[usize]| Sample::new(vec![t(a), t(b)]);
    let scaled = |c: &[usize], a: &[usize], b: &[usize], beta: f64, alpha: f64| {
        Sample::new(vec![t(c), t(a), t(b), Arg::F(beta), Arg::F(alpha)])
    };
    type Pair = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let two = |name: &'static str, f: Pair| {
        OpSpec::new(name, format!("torch.{name}"), move |a| {
            Ok(vec![f(a[0].tensor()?, a[1].tensor()?)?])
        })
    };
    vec![
        two("matmul", Tensor::matmul).samples(vec![
            pair(&[3, 4], &[4, 5]),
            pair(&[4], &[4]),
            pair(&[4], &[4, 2]),
            pair(&[3, 4], &[4]),
            pair(&[4], &[2, 4, 3]),
            pair(&[2, 3, 4], &[4]),
            pair(&[2, 3, 4], &[4, 2]),
            pair(&[3, 4], &[2, 4, 2]),
            pair(&[2, 1, 3, 4], &[3, 4, 2]),
            pair(&[0, 4], &[4, 2]),
            pair(&[3, 0], &[0, 2]),
            pair(&[2, 0, 3], &[3, 2]),
            pair(&[0], &[0]),
        ]),
        two("mm", Tensor::mm).samples(vec![pair(&[3, 4], &[4, 5]), pair(&[1, 4], &[4, 1])]),
        two("bmm", Tensor::bmm).samples(vec![
            pair(&[2, 3, 4], &[2, 4, 5]),
            pair(&[0, 3, 4], &[0, 4, 5]),
        ]),
        two("mv", Tensor::mv).samples(vec![pair(&[3, 4], &[4]), pair(&[3, 0], &[0])]),
        two("dot", Tensor::dot).samples(vec![pair(&[5], &[5])]),
        two("outer", Tensor::outer).samples(vec![pair(&[3], &[4]), pair(&[0], &[2])]),
        OpSpec::new(
            "addmm",
            "lambda c, a, b, beta, alpha: torch.addmm(c, a, b, beta=beta, alpha=alpha)",
            |a| {
                let (c, x, y) = (a[0].tensor()?, a[1].tensor()?, a[2].tensor()?);
                Ok(vec![c.addmm(x, y, a[3].float()?, a[4].float()?)?])
            },
        )
        .samples(vec![
            scaled(&[3, 5], &[3, 4], &[4, 5], 1.0, 1.0),
            scaled(&[5], &[3, 4], &[4, 5], 0.5, -2.0),
            scaled(&[3, 1], &[3, 4], &[4, 5], 0.0, 2.0),
        ]),
        OpSpec::new(
            "baddbmm",
            "lambda c, a, b, beta, alpha: torch.baddbmm(c, a, b, beta=beta, alpha=alpha)",
            |a| {
                let (c, x, y) = (a[0].tensor()?, a[1].tensor()?, a[2].tensor()?);
                Ok(vec![c.baddbmm(x, y, a[3].float()?, a[4].float()?)?])
            },
        )
        .samples(vec![
            scaled(&[2, 3, 5], &[2, 3, 4], &[2, 4, 5], 1.0, 1.0),
            scaled(&[1, 1, 5], &[2, 3, 4], &[2, 4, 5], -0.5, 2.0),
        ]),
        OpSpec::new("linear", "F.linear", |a| {
            Ok(vec![
                a[0].tensor()?.linear(a[1].tensor()?, a[2].tensor_opt()?)?,
            ])
        })
        .samples(vec![
            Sample::new(vec![t(&[3, 4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[3, 4]), t(&[5, 4]), Arg::Nil]),
            Sample::new(vec![t(&[2, 3, 4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[0, 4]), t(&[5, 4]), t(&[5])]),
            Sample::new(vec![t(&[2, 4]), t(&[4]), Arg::Nil]),
        ]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Tensor {
        let n = numel(shape);
        Tensor::arange(0, n, 1)
            .and_then(|t| t.to_dtype(DType::F64)?.sub(n as f64 / 2.0)?.view(shape))
            .unwrap()
    }

    /// By the definition, through elementwise products and sums.
    fn slow(a: &Tensor, b: &Tensor) -> Vec<f64> {
        a.unsqueeze(-1)
            .and_then(|a| a.mul(b.unsqueeze(-3)?)?.sum_dim(-2, false)?.to_vec())
            .unwrap()
    }

    #[test]
    fn layouts_need_no_copy_and_agree() {
        let check = |a: &Tensor, b: &Tensor| {
            assert_eq!(a.matmul(b).unwrap().to_vec::<f64>().unwrap(), slow(a, b));
        };
        let (a, b) = (
            counting(&[4, 3]).t().unwrap(),
            counting(&[5, 4]).t().unwrap(),
        );
        check(&a, &b);
        check(&counting(&[6, 4]).slice(0, 1, 6, 2).unwrap(), &b);
        let expanded = counting(&[1, 4]).expand([3, 4]).unwrap();
        check(&expanded, &b);
        // Batches: permuted, shared, broadcast on both sides.
        let x = counting(&[2, 3, 5, 4]);
        check(&x, &b);
        check(&x.permute([1, 0, 2, 3]).unwrap(), &b);
        check(&x, &counting(&[3, 4, 2]));
        check(&x.permute([1, 0, 2, 3]).unwrap(), &counting(&[2, 4, 2]));
        check(&counting(&[2, 1, 5, 4]), &counting(&[3, 4, 2]));
        check(&counting(&[3, 1, 4]), &b);
        check(&counting(&[3, 4]), &counting(&[2, 4, 2]));
    }

    #[test]
    fn integers_wrap_and_halves_round_once() {
        let a = Tensor::new([[100i8, 3], [2, -7]]).unwrap();
        let exact = [10_006i32, 300 - 21, 200 - 14, 6 + 49].map(|v| v as i8);
        assert_eq!(a.matmul(&a).unwrap().to_vec::<i8>().unwrap(), exact);
        let x = Tensor::full_with([1, 4096], 1.0, DType::BF16).unwrap();
        let sum = x.matmul(&x.t().unwrap()).unwrap();
        assert_eq!(
            (sum.dtype(), sum.item::<f32>().unwrap()),
            (DType::BF16, 4096.0)
        );
    }

    #[test]
    fn errors_name_the_rule() {
        let message = |r: Result<Tensor>| r.unwrap_err().to_string();
        let f = |shape: &[usize]| Tensor::ones(shape).unwrap();
        let e = message(f(&[2, 3]).matmul(&f(&[4])));
        assert!(e.contains("lhs [2, 3], rhs [4]; need 3 == 4"), "{e}");
        let e = message(f(&[2, 3]).matmul(&counting(&[3, 2])));
        assert!(e.contains("expected both to have the same dtype"), "{e}");
        assert!(message(f(&[2, 2, 3]).matmul(&f(&[3, 3, 2]))).contains("broadcast"));
        assert!(message(f(&[]).matmul(&f(&[1]))).contains("at least 1 dimension"));
        assert!(message(f(&[2, 3]).linear(&f(&[5, 4]), None)).contains("must be 4"));
        assert!(message(f(&[2, 4]).linear(&f(&[5, 4]), Some(&f(&[4])))).contains("[5]"));
        assert!(message(f(&[2, 3]).mm(&f(&[3]))).contains("mm"));
        let b = Tensor::full([2, 2], true).unwrap();
        assert!(message(b.matmul(&b)).contains("bool"));
    }

    #[test]
    fn beta_zero_does_not_read() {
        let nan = Tensor::full([2], f64::NAN)
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap();
        let (a, b) = (counting(&[3, 4]), counting(&[4, 2]));
        let out = nan.addmm(&a, &b, 0, 2).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(
            out,
            slow(&a, &b).iter().map(|v| v * 2.0).collect::<Vec<_>>()
        );
    }
}
