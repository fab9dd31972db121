//! From samples to arguments with numbers in them, the same wherever they are made.

use super::{Arg, OpSpec, Sample};
use crate::tensor::Tensor;
use crate::{DType, Result};
use std::fmt::Write;

/// A sample in one type, with numbers drawn.
pub struct Case {
    /// Which of the operation's samples.
    pub sample: usize,
    /// The type under test.
    pub dtype: DType,
    /// The arguments. The tensors that gradients are tested for require gradients.
    pub args: Vec<Arg>,
}

/// splitmix64: independent of the library's own random numbers, which are under test too.
struct Numbers(u64);

impl Numbers {
    /// Uniform in [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / 2f64.powi(64)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    // FNV-1a.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl OpSpec {
    /// Every sample in every type.
    ///
    /// # Errors
    /// Where an argument's numbers do not fill its shape.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for (i, sample) in self.samples.iter().enumerate() {
            for &dtype in sample.dtypes.as_ref().unwrap_or(&self.dtypes) {
                cases.push(Case {
                    sample: i,
                    dtype,
                    args: self.arguments(sample, i, dtype)?,
                });
            }
        }
        Ok(cases)
    }

    /// The arguments of `sample`, the `index`-th, in `dtype`. Gradients are tested in f32 and f64.
    ///
    /// # Errors
    /// As [`cases`](OpSpec::cases).
    pub fn arguments(&self, sample: &Sample, index: usize, dtype: DType) -> Result<Vec<Arg>> {
        let grad = self.differentiable && matches!(dtype, DType::F32 | DType::F64);
        let mut numbers = Numbers(hash(self.name.as_bytes()) ^ index as u64);
        (sample.args.iter())
            .map(|a| fill(a, dtype, grad, &mut numbers))
            .collect()
    }

    /// What PyTorch is asked, as JSON.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn request(&self, cases: &[Case]) -> Result<String> {
        let mut out = format!("{{\"name\":{:?},\"cases\":[", self.name);
        for (i, case) in cases.iter().enumerate() {
            let question = self.question(case)?;
            out.push_str(if i > 0 { "," } else { "" });
            write!(
                out,
                "{{\"key\":{:?},{question}}}",
                self.key_of(case, &question)
            )
            .expect("strings take any text");
        }
        out.push_str("]}");
        Ok(out)
    }

    /// What identifies a case in a file of goldens: sample, type and a hash of all that the answer
    /// depends on.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn key(&self, case: &Case) -> Result<String> {
        Ok(self.key_of(case, &self.question(case)?))
    }

    fn key_of(&self, case: &Case, question: &str) -> String {
        format!(
            "{} {} {:016x}",
            case.sample,
            case.dtype,
            hash(question.as_bytes())
        )
    }

    fn question(&self, case: &Case) -> Result<String> {
        let mut out = format!("\"torch\":{:?},\"args\":", self.torch);
        json_list(&case.args, &mut out, json)?;
        Ok(out)
    }
}

/// `arg` with tensors in place of their descriptions.
fn fill(arg: &Arg, dtype: DType, grad: bool, numbers: &mut Numbers) -> Result<Arg> {
    let tensor = |values: &[f64], shape: &[usize]| -> Result<Arg> {
        let values = values.iter().map(|&v| match dtype {
            DType::U8 => v.floor().abs(),
            d if d.is_integer() => v.floor(),
            DType::Bool => f64::from(v.floor() % 2.0 != 0.0),
            _ => v,
        });
        let t = Tensor::from_vec(values.collect::<Vec<f64>>(), shape)?.to_dtype(dtype)?;
        Ok(Arg::T(t.requires_grad_(grad)?))
    };
    Ok(match arg {
        Arg::Uniform {
            shape,
            range: (low, high),
        } => {
            let n: usize = shape.iter().product();
            let values: Vec<f64> = (0..n)
                .map(|_| low + (high - low) * numbers.next())
                .collect();
            tensor(&values, shape)?
        }
        Arg::Values { shape, values } => tensor(values, shape)?,
        Arg::Ints {
            shape,
            range: (low, high),
            dtype,
        } => {
            let n: usize = shape.iter().product();
            let values: Vec<i64> = (0..n)
                .map(|_| low + ((high - low) as f64 * numbers.next()) as i64)
                .collect();
            Arg::T(Tensor::from_vec(values, shape)?.to_dtype(*dtype)?)
        }
        Arg::Ts(args) => Arg::Ts(
            (args.iter())
                .map(|a| fill(a, dtype, grad, numbers))
                .collect::<Result<_>>()?,
        ),
        other => other.clone(),
    })
}

fn json_list<T>(
    items: &[T],
    out: &mut String,
    each: impl Fn(&T, &mut String) -> Result<()>,
) -> Result<()> {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        each(item, out)?;
    }
    out.push(']');
    Ok(())
}

/// Python reads JSON with `NaN` and `Infinity`.
fn number(v: f64, out: &mut String) {
    if v.is_nan() {
        out.push_str("NaN");
    } else if v.is_infinite() {
        out.push_str(if v > 0.0 { "Infinity" } else { "-Infinity" });
    } else {
        out.push_str(&format!("{v:?}"));
    }
}

fn json(arg: &Arg, out: &mut String) -> Result<()> {
    match arg {
        Arg::T(t) => {
            out.push_str(&format!(
                "{{\"dtype\":\"{}\",\"grad\":{},\"shape\":{:?},\"data\":",
                t.dtype(),
                t.requires_grad(),
                t.shape()
            ));
            let t = t.detach();
            if t.dtype().is_floating_point() {
                json_list(&t.to_dtype(DType::F64)?.to_vec::<f64>()?, out, |&v, out| {
                    number(v, out);
                    Ok(())
                })?;
            } else {
                out.push_str(&format!("{:?}", t.to_dtype(DType::I64)?.to_vec::<i64>()?));
            }
            out.push('}');
        }
        Arg::Ts(args) => {
            out.push_str("{\"tensors\":");
            json_list(args, out, json)?;
            out.push('}');
        }
        Arg::F(v) => number(*v, out),
        Arg::I(v) => out.push_str(&v.to_string()),
        Arg::B(v) => out.push_str(if *v { "true" } else { "false" }),
        Arg::L(v) => out.push_str(&format!("{v:?}")),
        Arg::S(v) => out.push_str(&format!("{v:?}")),
        Arg::Nil => out.push_str("null"),
        Arg::Uniform { .. } | Arg::Values { .. } | Arg::Ints { .. } => {
            unreachable!("arguments are filled before they are written")
        }
    }
    Ok(())
}
