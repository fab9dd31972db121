//! What tests, goldens and documentation know of an operation: how to call it with arguments as
//! data, the same in Python, and samples.
//!
//! `cargo xtask goldens --only NAME` asks PyTorch for the results and gradients of an operation's
//! samples and keeps them in `tests/goldens/NAME.txt`; `cargo test -p flambeau-core ops` compares.

mod cases;

pub use cases::Case;

use crate::shape::Dims;
use crate::tensor::Tensor;
use crate::{DType, Result, bail};
use std::sync::Arc;

/// An argument of an operation, as data.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A tensor to be filled with numbers in the interval, of the type under test (integer types
    /// round down, unsigned ones take the magnitude); gradients with respect to it are tested.
    Uniform {
        /// Its shape.
        shape: Vec<usize>,
        /// The interval.
        range: (f64, f64),
    },
    /// Integers from the interval (upper end excluded), of that type.
    Ints {
        /// Its shape.
        shape: Vec<usize>,
        /// The interval.
        range: (i64, i64),
        /// Its type.
        dtype: DType,
    },
    /// These numbers (NaN, infinities and kinks among them), of the type under test; gradients
    /// with respect to it are tested.
    Values {
        /// Its shape.
        shape: Vec<usize>,
        /// The numbers in row-major order.
        values: Vec<f64>,
    },
    /// A tensor as it is; a constant to gradients.
    T(Tensor),
    /// Several tensors.
    Ts(Vec<Arg>),
    /// A floating-point number.
    F(f64),
    /// An integer.
    I(i64),
    /// A truth value.
    B(bool),
    /// Integers.
    L(Vec<i64>),
    /// A word.
    S(&'static str),
    /// Left out (`None` in Python).
    Nil,
}

impl Arg {
    /// A tensor of uniformly distributed numbers.
    pub fn uniform(shape: impl Dims, range: (f64, f64)) -> Arg {
        Arg::Uniform {
            shape: shape.dims().iter().map(|&d| d as usize).collect(),
            range,
        }
    }

    /// A tensor of indices.
    pub fn ints(shape: impl Dims, range: (i64, i64)) -> Arg {
        Arg::Ints {
            shape: shape.dims().iter().map(|&d| d as usize).collect(),
            range,
            dtype: DType::I64,
        }
    }

    /// A tensor of these numbers.
    pub fn values(shape: impl Dims, values: &[f64]) -> Arg {
        Arg::Values {
            shape: shape.dims().iter().map(|&d| d as usize).collect(),
            values: values.to_vec(),
        }
    }

    /// The tensor.
    ///
    /// # Errors
    /// Where the argument is something else; so for the methods below.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Arg::T(t) => Ok(t),
            other => bail!("spec", "expected a tensor, got {other:?}"),
        }
    }
    /// The tensor, or `None`.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn tensor_opt(&self) -> Result<Option<&Tensor>> {
        if matches!(self, Arg::Nil) {
            Ok(None)
        } else {
            self.tensor().map(Some)
        }
    }
    /// The tensors.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn tensors(&self) -> Result<Vec<&Tensor>> {
        match self {
            Arg::Ts(ts) => ts.iter().map(Arg::tensor).collect(),
            other => bail!("spec", "expected tensors, got {other:?}"),
        }
    }
    /// The number.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn float(&self) -> Result<f64> {
        match self {
            Arg::F(v) => Ok(*v),
            other => bail!("spec", "expected a number, got {other:?}"),
        }
    }
    /// The number, or `None`.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn float_opt(&self) -> Result<Option<f64>> {
        if matches!(self, Arg::Nil) {
            Ok(None)
        } else {
            self.float().map(Some)
        }
    }
    /// The integer.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn int(&self) -> Result<i64> {
        match self {
            Arg::I(v) => Ok(*v),
            other => bail!("spec", "expected an integer, got {other:?}"),
        }
    }
    /// The integer, or `None`.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn int_opt(&self) -> Result<Option<i64>> {
        if matches!(self, Arg::Nil) {
            Ok(None)
        } else {
            self.int().map(Some)
        }
    }
    /// The truth value.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn bool(&self) -> Result<bool> {
        match self {
            Arg::B(v) => Ok(*v),
            other => bail!("spec", "expected a truth value, got {other:?}"),
        }
    }
    /// The integers.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn list(&self) -> Result<&[i64]> {
        match self {
            Arg::L(v) => Ok(v),
            other => bail!("spec", "expected integers, got {other:?}"),
        }
    }
    /// The word.
    ///
    /// # Errors
    /// As [`tensor`](Arg::tensor).
    pub fn word(&self) -> Result<&'static str> {
        match self {
            Arg::S(v) => Ok(v),
            other => bail!("spec", "expected a word, got {other:?}"),
        }
    }
}

/// One call to test.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The arguments.
    pub args: Vec<Arg>,
    /// Whether the operation is smooth around the arguments, so that finite differences apply.
    pub smooth: bool,
    /// The types to test in, where they are not those of the operation.
    pub dtypes: Option<Vec<DType>>,
}

impl Sample {
    /// A call with these arguments.
    pub fn new(args: Vec<Arg>) -> Sample {
        Sample {
            args,
            smooth: true,
            dtypes: None,
        }
    }

    /// A call with a tensor of numbers from -2 to 2, and these arguments after it.
    #[inline]
    pub(crate) fn with(shape: &[usize], args: &[Arg]) -> Sample {
        let x = Arg::uniform(shape, (-2.0, 2.0));
        Sample::new([&[x], args].concat())
    }

    /// At a kink or pole, or with elements that are not finite: gradients are compared with
    /// PyTorch's but not with finite differences.
    #[must_use]
    pub fn kinked(mut self) -> Sample {
        self.smooth = false;
        self
    }

    /// Tested in these types instead of the operation's.
    #[must_use]
    pub fn dtypes(mut self, dtypes: &[DType]) -> Sample {
        self.dtypes = Some(dtypes.to_vec());
        self
    }
}

type Call = Arc<dyn Fn(&[Arg]) -> Result<Vec<Tensor>> + Send + Sync>;

/// An operation, described for tests.
///
/// ```
/// use flambeau_core::ops::spec::all;
/// let names: Vec<_> = all().iter().map(|spec| spec.name).collect();
/// assert!(names.contains(&"exp") && names.contains(&"conv2d"));
/// ```
#[derive(Clone)]
pub struct OpSpec {
    /// PyTorch's name.
    pub name: &'static str,
    /// A Python function of the same arguments; `torch`, `F` (torch.nn.functional) are in scope.
    pub torch: String,
    /// Calls it; `Arg::Uniform`, `Arg::Values` and `Arg::Ints` have become `Arg::T`.
    pub call: Call,
    /// Calls its in-place twin, which writes to the first argument and returns it.
    pub inplace: Option<Call>,
    /// Calls to test: against PyTorch in `dtypes`, and by finite differences in `f64`.
    pub samples: Vec<Sample>,
    /// The types `Arg::Uniform` tensors are tested in.
    pub dtypes: Vec<DType>,
    /// Whether gradients are tested: first and second order.
    pub differentiable: bool,
    /// Whether it works element by element, so that it is tested on empty and 0-d tensors too.
    pub elementwise: bool,
    /// The factor on the usual tolerances.
    pub tolerance: f64,
    /// Calls that must fail, with words of the error's text; tensors are `f32`.
    pub errors: Vec<(Vec<Arg>, &'static str)>,
}

impl OpSpec {
    /// A differentiable operation, tested in `f32` and `f64`.
    pub fn new(
        name: &'static str,
        torch: impl Into<String>,
        call: impl Fn(&[Arg]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> OpSpec {
        OpSpec {
            name,
            torch: torch.into(),
            call: Arc::new(call),
            inplace: None,
            samples: Vec::new(),
            dtypes: vec![DType::F32, DType::F64],
            differentiable: true,
            elementwise: false,
            tolerance: 1.0,
            errors: Vec::new(),
        }
    }

    /// With an in-place twin.
    #[must_use]
    pub fn inplace(
        mut self,
        call: impl Fn(&[Arg]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> OpSpec {
        self.inplace = Some(Arc::new(call));
        self
    }

    /// Working element by element.
    #[must_use]
    pub fn elementwise(mut self) -> OpSpec {
        self.elementwise = true;
        self
    }

    /// Compared this many times more loosely than usual (f64 1e-10, f32 1e-5, and two units in
    /// the last place of the half types, relative and absolute); say why where it is called.
    #[must_use]
    pub fn tolerance(mut self, factor: f64) -> OpSpec {
        self.tolerance = factor;
        self
    }

    /// Calls that must fail, with words of the error's text.
    #[must_use]
    pub fn errors(mut self, errors: Vec<(Vec<Arg>, &'static str)>) -> OpSpec {
        self.errors = errors;
        self
    }

    /// With these calls.
    #[must_use]
    pub fn samples(mut self, samples: Vec<Sample>) -> OpSpec {
        self.samples = samples;
        self
    }

    /// Tested in these types.
    #[must_use]
    pub fn dtypes(mut self, dtypes: &[DType]) -> OpSpec {
        self.dtypes = dtypes.to_vec();
        self
    }

    /// Without gradient tests.
    #[must_use]
    pub fn no_grad(mut self) -> OpSpec {
        self.differentiable = false;
        self
    }
}

/// Every operation.
// `#[inline]`, as the lists it joins: they are compiled into the tests that call them, and cost
// nothing in a program's build.
#[inline]
pub fn all() -> Vec<OpSpec> {
    [
        super::elementwise::unary::specs(),
        super::elementwise::activation::specs(),
        super::elementwise::binary::specs(),
        super::elementwise::pairs::specs(),
        super::elementwise::divide::specs(),
        super::elementwise::power::specs(),
        super::elementwise::compare::specs(),
        super::elementwise::choose::specs(),
        super::elementwise::clamp::specs(),
        super::matmul::specs(),
        super::attention::specs(),
        super::einsum::specs(),
        super::recurrent::specs(),
        super::conv::specs(),
        super::loss::specs(),
        super::norm::specs(),
        super::pad::specs(),
        super::pool::specs(),
        super::reduce::specs(),
        super::join::specs(),
        super::split::specs(),
        super::repeat::specs(),
        super::rearrange::specs(),
        super::triangle::specs(),
        super::index::specs(),
    ]
    .concat()
}
