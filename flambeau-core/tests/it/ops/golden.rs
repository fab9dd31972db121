//! Reading goldens (the format is described in `goldens/make.py`) and comparing with them.

use flambeau_core::ops::spec::{Case, OpSpec};
use flambeau_core::{DType, Error, Result, Tensor};
use std::path::Path;

/// What PyTorch answered to one case.
pub struct Golden {
    pub key: String,
    outputs: Vec<Tensor>,
    grads: Vec<Option<Tensor>>,
}

impl Golden {
    pub fn read(name: &str) -> Result<Vec<Golden>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/{name}.txt"));
        let text = std::fs::read_to_string(path).map_err(|_| {
            Error::new(
                "golden",
                format!("there is none; run cargo xtask goldens --only {name}"),
            )
        })?;
        let mut goldens: Vec<Golden> = Vec::new();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').ok_or_else(|| bad(line))?;
            if word == "case" {
                goldens.push(Golden {
                    key: rest.to_string(),
                    outputs: vec![],
                    grads: vec![],
                });
                continue;
            }
            let golden = goldens.last_mut().ok_or_else(|| bad(line))?;
            match (word, rest) {
                ("out", _) => golden.outputs.push(tensor(rest)?),
                ("grad", "none") => golden.grads.push(None),
                ("grad", _) => golden.grads.push(Some(tensor(rest)?)),
                _ => return Err(bad(line)),
            }
        }
        Ok(goldens)
    }

    /// What differs.
    pub fn check(
        &self,
        spec: &OpSpec,
        case: &Case,
        what: &str,
        outputs: &[Tensor],
        grads: &[Option<Tensor>],
    ) -> Vec<String> {
        let mut failures = Vec::new();
        let mut note = |part: String, m: Result<Option<String>>| match m {
            Ok(None) => {}
            Ok(Some(m)) => failures.push(format!("{what}: {part} {m}")),
            Err(e) => failures.push(format!("{what}: {part} {e}")),
        };
        if outputs.len() != self.outputs.len() || grads.len() != self.grads.len() {
            let m = format!(
                "{} outputs and {} gradients, PyTorch's {} and {}",
                outputs.len(),
                grads.len(),
                self.outputs.len(),
                self.grads.len()
            );
            note("has".into(), Ok(Some(m)));
        }
        for (i, (ours, theirs)) in outputs.iter().zip(&self.outputs).enumerate() {
            note(format!("output {i}"), compare(ours, theirs, spec.tolerance));
        }
        for (i, (ours, theirs)) in grads.iter().zip(&self.grads).enumerate() {
            let zeros = |like: &Tensor| Tensor::zeros_with(like.shape(), like.dtype());
            let m = match (ours, theirs) {
                (Some(o), Some(t)) => compare(o, t, spec.tolerance),
                (Some(o), None) => zeros(o).and_then(|z| compare(o, &z, spec.tolerance)),
                (None, Some(t)) => zeros(t).and_then(|z| compare(&z, t, spec.tolerance)),
                (None, None) => Ok(None),
            };
            note(
                format!("gradient {i} of {} leaves", super::leaves(&case.args).len()),
                m,
            );
        }
        failures
    }
}

fn bad(line: &str) -> Error {
    let start: String = line.chars().take(40).collect();
    Error::new("golden", format!("a line that is none: {start}"))
}

/// `DTYPE [SHAPE] NUMBERS...`
fn tensor(text: &str) -> Result<Tensor> {
    let mut words = text.split(' ');
    let mut next = || words.next().ok_or_else(|| bad(text));
    let dtype = DType::from_name(next()?).ok_or_else(|| bad(text))?;
    let shape = next()?.trim_matches(['[', ']']);
    let shape = (shape.split(',').filter(|d| !d.is_empty()))
        .map(|d| d.parse::<usize>().map_err(|_| bad(text)))
        .collect::<Result<Vec<_>>>()?;
    if dtype.is_floating_point() {
        let values = words.map(|w| w.parse::<f64>().map_err(|_| bad(text)));
        Tensor::from_vec(values.collect::<Result<Vec<f64>>>()?, shape)?.to_dtype(dtype)
    } else {
        let values = words.map(|w| w.parse::<i64>().map_err(|_| bad(text)));
        Tensor::from_vec(values.collect::<Result<Vec<i64>>>()?, shape)?.to_dtype(dtype)
    }
}

/// How `ours` differs from `theirs` in shape, type or beyond the type's precision.
pub fn compare(ours: &Tensor, theirs: &Tensor, factor: f64) -> Result<Option<String>> {
    if ours.shape() != theirs.shape() || ours.dtype() != theirs.dtype() {
        return Ok(Some(format!(
            "is {} of shape {:?}, PyTorch's {} of shape {:?}",
            ours.dtype(),
            ours.shape(),
            theirs.dtype(),
            theirs.shape()
        )));
    }
    if !ours.dtype().is_floating_point() {
        let read = |t: &Tensor| t.detach().to_dtype(DType::I64)?.to_vec::<i64>();
        let (ours, theirs) = (read(ours)?, read(theirs)?);
        return Ok((ours != theirs).then(|| format!("is {ours:?}, PyTorch's {theirs:?}")));
    }
    let tolerance = factor
        * match ours.dtype() {
            DType::F64 => 1e-10,
            DType::F32 => 1e-5,
            DType::F16 => 2e-3,
            _ => 1.6e-2,
        };
    let read = |t: &Tensor| t.detach().to_dtype(DType::F64)?.to_vec::<f64>();
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    let same = |a: f64, b: f64| {
        a == b
            || (a.is_nan() && b.is_nan())
            // Nothing finite is near an infinity.
            || (b.is_finite() && (a - b).abs() <= tolerance * (1.0 + b.abs()))
    };
    let wrong = ours.iter().zip(&theirs).position(|(&a, &b)| !same(a, b));
    Ok(wrong.map(|i| format!("at {i} is {:?}, PyTorch's {:?}", ours[i], theirs[i])))
}
