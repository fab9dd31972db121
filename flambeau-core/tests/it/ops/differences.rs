//! Gradients of first and second order against central differences in f64.

use super::{cotangent, leaves};
use flambeau_core::autograd::{Grad, grad};
use flambeau_core::ops::spec::{Arg, Case, OpSpec};
use flambeau_core::{DType, Result, Tensor, no_grad};

const STEP: f64 = 1e-6;
/// Relative and absolute.
const TOLERANCE: f64 = 2e-6;
/// No more elements of a tensor are moved.
const ELEMENTS: usize = 48;

/// How the gradients of a case are wrong.
pub fn check(spec: &OpSpec, case: &Case) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let x: Vec<Tensor> = leaves(&case.args).into_iter().map(Tensor::detach).collect();
    if x.is_empty() {
        return Ok(failures);
    }
    // The outputs that depend on the leaves, and the cotangents of these.
    let out = (spec.call)(&case.args)?;
    let chosen: Vec<usize> = (0..out.len()).filter(|&i| out[i].requires_grad()).collect();
    if chosen.is_empty() {
        failures.push("no output requires a gradient".into());
    }
    let c: Vec<Tensor> = chosen
        .iter()
        .map(|&i| cotangent(&out[i]))
        .collect::<Result<_>>()?;
    let outputs = |x: &[Tensor]| -> Result<Vec<Tensor>> {
        let mut next = x.iter();
        let args = replace_leaves(&case.args, &mut next)?;
        let mut out = (spec.call)(&args)?
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        Ok(chosen.iter().filter_map(|&i| out[i].take()).collect())
    };

    // First: f(x) = sum of outputs * cotangents.
    let f = |x: &[Tensor]| dot(&no_grad(|| outputs(x))?, &c);
    let first = |x: &[Tensor], c: &[Tensor], create_graph: bool| -> Result<Vec<Option<Tensor>>> {
        let out = outputs(x)?;
        let options = Grad {
            allow_unused: true,
            create_graph,
            ..Grad::default()
        };
        grad(&refs(&out), &refs(x), &refs(c), options)
    };
    let xs = tracked(&x)?;
    let g = first(&xs, &c, false)?;
    compare("first-order gradient", &f, &x, &g, &mut failures)?;

    // Second: h(x, c) = sum of gradients * directions.
    let v: Vec<Tensor> = x.iter().map(cotangent).collect::<Result<_>>()?;
    let h = |xc: &[Tensor]| -> Result<f64> {
        let (x, c) = xc.split_at(x.len());
        let g = first(&tracked(x)?, c, false)?;
        g.iter().zip(&v).try_fold(0.0, |sum, (g, v)| match g {
            Some(g) => Ok(sum + dot(std::slice::from_ref(g), std::slice::from_ref(v))?),
            None => Ok(sum),
        })
    };
    let xc = [&x[..], &c[..]].concat();
    let leaves = tracked(&xc)?;
    let g = first(&leaves[..x.len()], &leaves[x.len()..], true)?;
    let (mut roots, mut directions) = (vec![], vec![]);
    for (g, v) in g.iter().zip(&v) {
        if let Some(g) = g.as_ref().filter(|g| g.requires_grad()) {
            roots.push(g);
            directions.push(v);
        }
    }
    let gg = if roots.is_empty() {
        vec![None; leaves.len()]
    } else {
        let options = Grad {
            allow_unused: true,
            ..Grad::default()
        };
        grad(&roots, &refs(&leaves), &directions, options)?
    };
    compare("second-order gradient", &h, &xc, &gg, &mut failures)?;
    Ok(failures)
}

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

fn tracked(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    tensors
        .iter()
        .map(|t| t.detach().requires_grad_(true))
        .collect()
}

/// The arguments with other leaves, by their order.
fn replace_leaves<'a>(
    args: &[Arg],
    next: &mut impl Iterator<Item = &'a Tensor>,
) -> Result<Vec<Arg>> {
    args.iter()
        .map(|a| {
            Ok(match a {
                Arg::T(t) if t.requires_grad() => {
                    Arg::T(next.next().expect("one for each leaf").clone())
                }
                Arg::Ts(args) => Arg::Ts(replace_leaves(args, next)?),
                other => other.clone(),
            })
        })
        .collect()
}

fn dot(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    a.iter().zip(b).try_fold(0.0, |sum, (a, b)| {
        let (a, b) = (a.detach().to_vec::<f64>()?, b.detach().to_vec::<f64>()?);
        Ok(sum + a.iter().zip(&b).map(|(a, b)| a * b).sum::<f64>())
    })
}

/// Compares `gradients` of `f` at `x` (`None` being zero) with differences.
fn compare(
    what: &str,
    f: &dyn Fn(&[Tensor]) -> Result<f64>,
    x: &[Tensor],
    gradients: &[Option<Tensor>],
    failures: &mut Vec<String>,
) -> Result<()> {
    for (i, (t, g)) in x.iter().zip(gradients).enumerate() {
        let values = t.to_vec::<f64>()?;
        let g = match g {
            Some(g) => g.detach().to_vec::<f64>()?,
            None => vec![0.0; values.len()],
        };
        for k in (0..values.len()).step_by(values.len().div_ceil(ELEMENTS).max(1)) {
            let at = |step: f64| {
                let mut moved = values.clone();
                moved[k] += step;
                let mut x = x.to_vec();
                x[i] = Tensor::from_vec(moved, t.shape())?;
                f(&x)
            };
            let (high, low) = (at(STEP)?, at(-STEP)?);
            let difference = (high - low) / (2.0 * STEP);
            // What rounding leaves of the quotient.
            let noise = 1e-15 * high.abs().max(low.abs()) / STEP;
            let allowed = TOLERANCE * (1.0 + difference.abs()) + 8.0 * noise;
            if (g[k] - difference).abs().is_nan() || (g[k] - difference).abs() > allowed {
                failures.push(format!(
                    "{what} of tensor {i} at {k} is {}, differences give {difference}",
                    g[k]
                ));
                break;
            }
        }
    }
    Ok(())
}

#[test]
fn a_wrong_gradient_is_found() -> Result<()> {
    // The derivative of x * y by x, with y hidden from the graph, is right; that by y is not.
    let spec = OpSpec::new("wrong", "", |args| {
        let (x, y) = (args[0].tensor()?, args[1].tensor()?);
        Ok(vec![x.mul(y.detach())?.add(&y.mul(0.0)?)?])
    });
    let spec = spec.samples(vec![flambeau_core::ops::spec::Sample::new(vec![
        Arg::uniform([3], (1.0, 2.0)),
        Arg::uniform([3], (1.0, 2.0)),
    ])]);
    let case = spec
        .cases()?
        .into_iter()
        .find(|c| c.dtype == DType::F64)
        .expect("f64 is tested");
    let found = check(&spec, &case)?;
    assert!(
        found
            .iter()
            .any(|m| m.starts_with("first-order gradient of tensor 1")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|m| m.starts_with("second-order")),
        "{found:?}"
    );
    assert!(
        !found
            .iter()
            .any(|m| m.starts_with("first-order gradient of tensor 0")),
        "{found:?}"
    );
    Ok(())
}
