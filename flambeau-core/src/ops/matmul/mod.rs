//! Matrix products: `matmul` with all its shape rules and its kin here, `addmm` in `add`, and
//! `linear` in a file of its own.
//!
//! Everything ends in one strided, batched GEMM (`run`), which reads transposed and broadcast
//! operands where they lie.

mod add;
mod linear;
mod run;

use crate::autocast::Cast;
use crate::dispatch::{self, Grads, Op, Output, Saves};
use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::numel;
use crate::tensor::Tensor;
use crate::{Ctx, Result, bail};
use run::product;
use smallvec::smallvec;

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
}

/// What tests and goldens know of this family.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let t = |shape: &[usize]| Arg::uniform(shape, (-1.0, 1.0));
    let pair = |a: &[usize], b: &[usize]| Sample::new(vec![t(a), t(b)]);
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
    ]
    .into_iter()
    .chain(add::specs())
    .chain(linear::specs())
    .collect()
}

#[cfg(test)]
mod tests;
