//! What tests, goldens and documentation know of an operation: how to call it with arguments as
//! data, the same in Python, and samples.

use crate::shape::Dims;
use crate::tensor::Tensor;
use crate::{DType, Result, bail};
use std::sync::Arc;

/// An argument of an operation, as data.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A tensor to be filled with numbers in the interval, of the type under test.
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
    /// A tensor as it is.
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
    pub fn tensor_opt(&self) -> Result<Option<&Tensor>> {
        if matches!(self, Arg::Nil) {
            Ok(None)
        } else {
            self.tensor().map(Some)
        }
    }
    /// The tensors.
    pub fn tensors(&self) -> Result<Vec<&Tensor>> {
        match self {
            Arg::Ts(ts) => ts.iter().map(Arg::tensor).collect(),
            other => bail!("spec", "expected tensors, got {other:?}"),
        }
    }
    /// The number.
    pub fn float(&self) -> Result<f64> {
        match self {
            Arg::F(v) => Ok(*v),
            other => bail!("spec", "expected a number, got {other:?}"),
        }
    }
    /// The number, or `None`.
    pub fn float_opt(&self) -> Result<Option<f64>> {
        if matches!(self, Arg::Nil) {
            Ok(None)
        } else {
            self.float().map(Some)
        }
    }
    /// The integer.
    pub fn int(&self) -> Result<i64> {
        match self {
            Arg::I(v) => Ok(*v),
            other => bail!("spec", "expected an integer, got {other:?}"),
        }
    }
    /// The integer, or `None`.
    pub fn int_opt(&self) -> Result<Option<i64>> {
        if matches!(self, Arg::Nil) {
            Ok(None)
        } else {
            self.int().map(Some)
        }
    }
    /// The truth value.
    pub fn bool(&self) -> Result<bool> {
        match self {
            Arg::B(v) => Ok(*v),
            other => bail!("spec", "expected a truth value, got {other:?}"),
        }
    }
    /// The integers.
    pub fn list(&self) -> Result<&[i64]> {
        match self {
            Arg::L(v) => Ok(v),
            other => bail!("spec", "expected integers, got {other:?}"),
        }
    }
    /// The word.
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
}

impl Sample {
    /// A call with these arguments.
    pub fn new(args: Vec<Arg>) -> Sample {
        Sample { args }
    }
}

type Call = Arc<dyn Fn(&[Arg]) -> Result<Vec<Tensor>> + Send + Sync>;

/// An operation, described for tests.
#[derive(Clone)]
pub struct OpSpec {
    /// PyTorch's name.
    pub name: &'static str,
    /// A Python function of the same arguments; `torch`, `F` (torch.nn.functional) are in scope.
    pub torch: String,
    /// Calls it; `Arg::Uniform` and `Arg::Ints` have become `Arg::T`.
    pub call: Call,
    /// Calls to test: against PyTorch in `dtypes`, and by finite differences in `f64`.
    pub samples: Vec<Sample>,
    /// The types `Arg::Uniform` tensors are tested in.
    pub dtypes: Vec<DType>,
    /// Whether gradients are tested: first and second order.
    pub differentiable: bool,
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
            samples: Vec::new(),
            dtypes: vec![DType::F32, DType::F64],
            differentiable: true,
        }
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
pub fn all() -> Vec<OpSpec> {
    [
        super::elementwise::unary::specs(),
        super::elementwise::binary::specs(),
        super::matmul::specs(),
        super::conv::specs(),
        super::pool::specs(),
    ]
    .concat()
}
