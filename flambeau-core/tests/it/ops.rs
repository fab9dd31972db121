//! Every operation's samples: against PyTorch's results and gradients in `tests/goldens`, in
//! several layouts and in place; gradients of first and second order against finite differences;
//! calls that must fail.
//!
//! `FLAMBEAU_OPS=relu,conv2d cargo test -p flambeau-core ops` tests these alone.

pub mod device;
mod differences;
mod golden;

use flambeau_core::autograd::{Grad, grad};
use flambeau_core::ops::spec::{Arg, Case, OpSpec, all};
use flambeau_core::{DType, MemoryFormat, Result, Tensor};
use golden::{Golden, compare};
use std::collections::HashSet;

/// The specs under test.
fn specs() -> Vec<OpSpec> {
    let only = std::env::var("FLAMBEAU_OPS").ok();
    let mut specs = all();
    if let Some(only) = only {
        specs.retain(|s| only.split(',').any(|o| o == s.name));
    }
    specs
}

/// Runs `check` on each spec and fails with all that it found.
fn check_all(mut check: impl FnMut(&OpSpec, &mut Vec<String>) -> Result<()>) {
    let mut failures = Vec::new();
    for spec in specs() {
        if let Err(e) = check(&spec, &mut failures) {
            failures.push(format!("{}: {e}", spec.name));
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The tensors among the arguments whose gradients are tested.
fn leaves(args: &[Arg]) -> Vec<&Tensor> {
    args.iter()
        .flat_map(|a| match a {
            Arg::T(t) if t.requires_grad() => vec![t],
            Arg::Ts(args) => leaves(args),
            _ => vec![],
        })
        .collect()
}

/// The arguments with `f` of each tensor, that of leaves without its history and required to have
/// gradients again.
fn map_tensors(args: &[Arg], f: &mut impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Vec<Arg>> {
    args.iter()
        .map(|a| {
            Ok(match a {
                Arg::T(t) => {
                    let new = f(&t.detach())?;
                    Arg::T(new.detach().requires_grad_(t.requires_grad())?)
                }
                Arg::Ts(args) => Arg::Ts(map_tensors(args, f)?),
                other => other.clone(),
            })
        })
        .collect()
}

/// The same elements in a layout without two neighbours in memory, off the storage's start.
fn strided(t: &Tensor) -> Result<Tensor> {
    let t = if t.dim() >= 2 {
        t.transpose(0, -1)?
    } else {
        t.clone()
    };
    let mut doubled = t.shape().to_vec();
    doubled.push(2);
    let s = t
        .unsqueeze(-1)?
        .expand(doubled)?
        .contiguous()?
        .select(-1, 1)?;
    if s.dim() >= 2 {
        s.transpose(0, -1)
    } else {
        Ok(s)
    }
}

/// Whether an argument is a batch of maps, or lies so.
fn has_maps(args: &[Arg]) -> bool {
    args.iter().any(|a| match a {
        Arg::T(t) => matches!(t.dim(), 4 | 5),
        Arg::Ts(args) => has_maps(args),
        _ => false,
    })
}

/// The same elements with the second dimension innermost, where there are enough dimensions for that.
fn channels_last(t: &Tensor) -> Result<Tensor> {
    match t.dim() {
        4 => t.to_memory_format(MemoryFormat::ChannelsLast),
        5 => t.to_memory_format(MemoryFormat::ChannelsLast3d),
        _ => Ok(t.clone()),
    }
}

/// make.py's cotangent.
fn cotangent(t: &Tensor) -> Result<Tensor> {
    let values = (0..t.numel()).map(|i| ((7 * i + 3) % 11) as f64 / 4.0 - 1.25 + 0.125);
    Tensor::from_vec(values.collect::<Vec<f64>>(), t.shape())?.to((t.dtype(), t.device()))
}

/// The gradients of the leaves among `args`, `None` where the outputs do not depend on them.
fn gradients(args: &[Arg], outputs: &[Tensor], options: Grad) -> Result<Vec<Option<Tensor>>> {
    let outputs: Vec<&Tensor> = outputs.iter().filter(|t| t.requires_grad()).collect();
    if outputs.is_empty() {
        flambeau_core::bail!("ops", "no output requires a gradient, though an input does");
    }
    let cotangents = outputs
        .iter()
        .map(|t| cotangent(t))
        .collect::<Result<Vec<_>>>()?;
    let cotangents: Vec<&Tensor> = cotangents.iter().collect();
    grad(
        &outputs,
        &leaves(args),
        &cotangents,
        Grad {
            allow_unused: true,
            ..options
        },
    )
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    for spec in all() {
        assert!(seen.insert(spec.name), "two specs are named {}", spec.name);
    }
}

#[test]
fn results_and_gradients_are_pytorchs() {
    check_all(|spec, failures| {
        let goldens = Golden::read(spec.name)?;
        for case in spec.cases()? {
            let key = spec.key(&case)?;
            let Some(golden) = goldens.iter().find(|g| g.key == key) else {
                failures.push(format!(
                    "{}: no golden of case {key}; run cargo xtask goldens --only {}",
                    spec.name, spec.name
                ));
                continue;
            };
            for (layout, call) in variants(spec, &case)? {
                let what = format!(
                    "{} sample {} {} {layout}",
                    spec.name, case.sample, case.dtype
                );
                match call {
                    Ok((out, grads)) => {
                        failures.extend(golden.check(spec, &case, &what, &out, &grads))
                    }
                    Err(e) => failures.push(format!("{what}: {e}")),
                }
            }
        }
        Ok(())
    });
}

type Results = Result<(Vec<Tensor>, Vec<Option<Tensor>>)>;

/// The case called in several ways that give the same.
fn variants(spec: &OpSpec, case: &Case) -> Result<Vec<(&'static str, Results)>> {
    let run = |args: &[Arg]| -> Results {
        let out = (spec.call)(args)?;
        let grads = if leaves(args).is_empty() {
            vec![]
        } else {
            gradients(args, &out, Grad::default())?
        };
        Ok((out, grads))
    };
    let apart = map_tensors(&case.args, &mut strided)?;
    let mut results = vec![("contiguous", run(&case.args)), ("strided", run(&apart))];
    if has_maps(&case.args) {
        let last = map_tensors(&case.args, &mut channels_last)?;
        results.push(("channels last", run(&last)));
    }
    if spec.inplace.is_some() {
        let plain = run(&case.args)?.0;
        let (Arg::T(x), [out]) = (&case.args[0], &plain[..]) else {
            return Ok(results);
        };
        // Otherwise the result does not fit into the first argument.
        if out.dtype() == x.dtype() && out.shape() == x.shape() {
            results.push(("in place", run_inplace(spec, &case.args)));
            results.push(("in place, strided", run_inplace(spec, &apart)));
            if has_maps(&case.args) {
                let last = map_tensors(&case.args, &mut channels_last)?;
                results.push(("in place, channels last", run_inplace(spec, &last)));
            }
        }
    }
    Ok(results)
}

fn run_inplace(spec: &OpSpec, args: &[Arg]) -> Results {
    let call = spec.inplace.as_ref().expect("the caller looked");
    let Arg::T(x) = &args[0] else { unreachable!() };
    // A copy in the graph, whose layout is the argument's (a view, so that bases are tested too).
    let target = if x.is_contiguous_format(MemoryFormat::Preserve) {
        x.copy()?
    } else {
        let place = strided(&x.detach())?;
        place.copy_(x)?;
        place
    };
    let mut inner = args.to_vec();
    inner[0] = Arg::T(target.clone());
    let version = target.version();
    let out = call(&inner)?;
    if !out[0].is(&target) || (target.version() == version && target.numel() > 0) {
        flambeau_core::bail!(
            "ops",
            "the in-place form does not write to its first argument"
        );
    }
    let grads = if leaves(args).is_empty() {
        vec![]
    } else {
        gradients(args, &out, Grad::default())?
    };
    Ok((out, grads))
}

#[test]
fn elementwise_ops_take_empty_and_0d_tensors() {
    check_all(|spec, failures| {
        for case in spec.cases()?.iter().filter(|_| spec.elementwise) {
            let what = format!("{} sample {} {}", spec.name, case.sample, case.dtype);
            let rank = case
                .args
                .iter()
                .filter_map(|a| a.tensor().ok())
                .map(Tensor::dim)
                .max();
            let plain = (spec.call)(&case.args)?;
            let empty = map_tensors(&case.args, &mut |t| {
                let mut shape = t.shape().to_vec();
                if Some(t.dim()) == rank {
                    shape.insert(0, 0);
                    return Tensor::empty_with(shape, t.dtype());
                }
                Ok(t.clone())
            })?;
            for (p, e) in plain.iter().zip((spec.call)(&empty)?) {
                if e.numel() != 0 || (e.dtype() != p.dtype() && rank > Some(0)) {
                    failures.push(format!(
                        "{what}: of empty tensors a {} tensor of shape {:?}",
                        e.dtype(),
                        e.shape()
                    ));
                }
            }
            // Where the types differ, 0-d operands promote in another way.
            if case
                .args
                .iter()
                .filter_map(|a| a.tensor().ok())
                .any(|t| t.dtype() != case.dtype)
            {
                continue;
            }
            let first = map_tensors(&case.args, &mut |t| t.flatten(0, -1)?.select(0, 0)?.copy())?;
            for (p, f) in plain.iter().zip((spec.call)(&first)?) {
                let p = p.detach().flatten(0, -1)?.select(0, 0)?;
                if let Some(m) = compare(&f.to_dtype(p.dtype())?, &p, spec.tolerance)? {
                    failures.push(format!("{what}: of 0-d tensors {m}"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn gradients_are_finite_differences() {
    check_all(|spec, failures| {
        for case in spec.cases()? {
            if spec.differentiable && case.dtype == DType::F64 && spec.samples[case.sample].smooth {
                for m in differences::check(spec, &case)? {
                    failures.push(format!("{} sample {}: {m}", spec.name, case.sample));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn wrong_calls_fail_with_a_reason() {
    check_all(|spec, failures| {
        for (i, (args, words)) in spec.errors.iter().enumerate() {
            let sample = flambeau_core::ops::spec::Sample::new(args.clone());
            let args = spec.arguments(&sample, i, DType::F32)?;
            match (spec.call)(&args) {
                Ok(_) => failures.push(format!("{}: error sample {i} succeeds", spec.name)),
                Err(e) if !e.to_string().contains(words) => failures.push(format!(
                    "{}: the error of sample {i} lacks {words:?}: {e}",
                    spec.name
                )),
                Err(_) => {}
            }
        }
        Ok(())
    });
}
