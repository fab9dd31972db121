//! Elementwise computations: an expression in CUDA C++ over up to three inputs.

use super::{blocks, flat};
use crate::{Launch, Layout, Pod, Type, Unit, View};
use smallvec::SmallVec;
use std::cmp::Reverse;

/// An expression of the elements of the inputs.
///
/// `params` names the macro and its parameters: `EXPR(x)`, `EXPR(a, b)`; `text` is what it stands
/// for, for parameters of the computing type. It may use `p0` to `p3` ([`Params`]) and `index`, the
/// element's number where there is no input, and what `math.cuh` and CUDA's mathematics offer: `exp`, `sqrt` and the like
/// serve `float` and `double` alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expr {
    /// As in `EXPR(x)`.
    pub params: &'static str,
    /// As in `x * sigmoid(x)`.
    pub text: &'static str,
}

impl Expr {
    /// An expression of nothing but `index` and numbers.
    pub const fn nullary(text: &'static str) -> Expr {
        let params = "EXPR()";
        Expr { params, text }
    }
    /// An expression of `x`.
    pub const fn unary(text: &'static str) -> Expr {
        let params = "EXPR(x)";
        Expr { params, text }
    }
    /// An expression of `a` and `b`.
    pub const fn binary(text: &'static str) -> Expr {
        let params = "EXPR(a, b)";
        Expr { params, text }
    }
    /// An expression of `a`, `b` and `c`.
    pub const fn ternary(text: &'static str) -> Expr {
        let params = "EXPR(a, b, c)";
        Expr { params, text }
    }
    /// What copies and converts.
    pub const COPY: Expr = Expr::unary("(x)");
    /// What fills with a number.
    pub const FILL: Expr = Expr::nullary("p0");
    /// What counts: `p0 + index * p1`.
    pub const ARANGE: Expr = Expr::nullary("p0 + (COMPUTE)index * p1");
}

/// The numbers of an expression: floating-point computing types read `real`, integers `whole`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Params {
    /// As floating-point numbers.
    pub real: [f64; 4],
    /// As integers.
    pub whole: [i64; 4],
}

// SAFETY: eight numbers of eight bytes; the C++ struct has the same fields.
unsafe impl Pod for Params {}

impl From<&[f64]> for Params {
    fn from(numbers: &[f64]) -> Params {
        let mut params = Params::default();
        for (i, &v) in numbers.iter().enumerate() {
            (params.real[i], params.whole[i]) = (v, v as i64);
        }
        params
    }
}

/// The kernel for what is not one run of neighbours.
pub(crate) const STRIDED: &str = "elementwise_strided";

/// What stands for a parameter of an [`Expr`].
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Elements of memory.
    View(View<'a>),
    /// The number of that place in [`Params`].
    Number(usize),
}

/// `out = expr(inputs)` over `shape`, computed in type `compute`; an input that is broadcast has
/// strides of 0. `None` where there are no elements.
///
/// # Errors
/// Where the layouts do not join to at most [`MAX_DIMS`](crate::MAX_DIMS) dimensions: copy what is
/// not contiguous first.
///
/// # Panics
/// If there are more than three inputs.
pub fn elementwise_of(
    expr: Expr,
    compute: Type,
    shape: &[usize],
    out: View<'_>,
    inputs: &[Input<'_>],
    params: Params,
) -> Result<Option<Launch>, TooManyDims> {
    const ARITY: [&str; 4] = ["0", "1", "2", "3"];
    const IN: [&str; 3] = ["IN0", "IN1", "IN2"];
    const NUMBER: [&str; 3] = ["NUMBER0", "NUMBER1", "NUMBER2"];
    const P: [&str; 4] = ["p0", "p1", "p2", "p3"];
    let n: usize = shape.iter().product();
    if n == 0 {
        return Ok(None);
    }
    let mut unit = Unit::new("elementwise.cu")
        .define("ARITY", ARITY[inputs.len()])
        .define(expr.params, expr.text)
        .define("COMPUTE", compute.name())
        .define("OUT", out.ty.name());
    let mut strides = [out.strides; 4];
    let mut pointers = [0; 3];
    let mut widest = out.ty.size();
    for (i, input) in inputs.iter().enumerate() {
        let x = match input {
            Input::View(view) => view,
            Input::Number(p) => {
                unit = unit.define(NUMBER[i], P[*p]);
                continue;
            }
        };
        unit = unit.define(IN[i], x.ty.name());
        strides[i + 1] = x.strides;
        pointers[i] = x.ptr;
        widest = widest.max(x.ty.size());
    }
    // Dimensions in the order that the result has in memory: what lies alike in another order than
    // the shape's is one run of elements too.
    let mut order: SmallVec<[usize; 8]> = (0..shape.len()).filter(|&d| shape[d] != 1).collect();
    let to = strides[0];
    let layout = if inputs.is_empty() || order.is_sorted_by_key(|&d| Reverse(to[d])) {
        Layout::new(shape, strides)
    } else {
        order.sort_by_key(|&d| Reverse(to[d]));
        let turned = |v: &[usize]| {
            order
                .iter()
                .map(|&d| v[d])
                .collect::<SmallVec<[usize; 8]>>()
        };
        let all = strides.map(turned);
        Layout::new(&turned(shape), all.each_ref().map(|s| &s[..]))
    };
    let layout = layout.ok_or(TooManyDims)?;
    let contiguous = (0..=inputs.len()).all(|i| layout.contiguous(i));
    let mut launch = if contiguous {
        // 16 bytes of the widest type for each thread.
        flat(unit, "elementwise", blocks(n.div_ceil(16 / widest)))
    } else {
        flat(unit, STRIDED, blocks(n))
    };
    let args = launch.args.push(out.ptr);
    for ptr in pointers {
        args.push(ptr);
    }
    args.push(n as i64);
    if !contiguous {
        args.push(layout);
    }
    args.push(params);
    Ok(Some(launch))
}

/// [`elementwise_of`] of elements alone.
///
/// # Errors
/// As it.
///
/// # Panics
/// As it.
pub fn elementwise(
    expr: Expr,
    compute: Type,
    shape: &[usize],
    out: View<'_>,
    inputs: &[View<'_>],
    params: Params,
) -> Result<Option<Launch>, TooManyDims> {
    let inputs: SmallVec<[Input<'_>; 3]> = inputs.iter().map(|&x| Input::View(x)).collect();
    elementwise_of(expr, compute, shape, out, &inputs, params)
}

/// A layout of more dimensions than kernels take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDims;

impl std::fmt::Display for TooManyDims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let max = crate::MAX_DIMS;
        write!(
            f,
            "more than {max} dimensions that do not join; make the tensors contiguous"
        )
    }
}

impl std::error::Error for TooManyDims {}
