//! Every operation's samples on a CUDA device against the CPU: the machine's first one, or, without
//! any, one in plain memory whose kernels a C++ compiler makes for the CPU.

use super::{check_all, gradients, leaves, map_tensors};
use flambeau_core::autograd::Grad;
use flambeau_core::backends::cuda::BlasLibrary;
use flambeau_core::ops::spec::{Arg, Case, OpSpec};
use flambeau_core::{ConvOptions, DType, Device, Result, Tensor, backends, cuda};
use std::sync::{PoisonError, RwLock};

/// The device to test on, where there is one. Convolutions there are as exact as on the CPU.
pub fn device() -> Option<Device> {
    backends::cudnn::set_allow_tf32(false);
    if !cuda::is_available()
        && let Err(e) = cuda::install_emulated()
    {
        eprintln!("skipped: {e}");
        return None;
    }
    Some(Device::Cuda(0))
}

/// Results and gradients of a case, on the CPU.
type Results = (Vec<Tensor>, Vec<Option<Tensor>>);

fn run(spec: &OpSpec, args: &[Arg], device: Device) -> Result<Results> {
    let out = (spec.call)(args)?;
    let grads = match leaves(args).is_empty() {
        true => vec![],
        false => gradients(args, &out, Grad::default())?,
    };
    for t in out.iter().chain(grads.iter().flatten()) {
        if t.device() != device {
            flambeau_core::bail!("ops", "a result is on {}", t.device());
        }
    }
    let home = |t: Tensor| t.detach().cpu();
    Ok((
        out.into_iter().map(home).collect::<Result<_>>()?,
        grads
            .into_iter()
            .map(|g| g.map(home).transpose())
            .collect::<Result<_>>()?,
    ))
}

/// What differs between the two.
fn differences(spec: &OpSpec, case: &Case, device: Device) -> Result<Vec<String>> {
    let (out, grads) = run(spec, &case.args, Device::Cpu)?;
    let mut found = Vec::new();
    let apart = map_tensors(&case.args, &mut super::strided)?;
    let mut layouts = vec![("contiguous", case.args.clone()), ("strided", apart)];
    if super::has_maps(&case.args) {
        let last = map_tensors(&case.args, &mut super::channels_last)?;
        layouts.push(("channels last", last));
    }
    for (layout, args) in &layouts {
        let moved = map_tensors(args, &mut |t| t.to_device(device))?;
        let (theirs, their_grads) = run(spec, &moved, device)?;
        let mut compare = |what: String, ours: &Tensor, theirs: &Tensor| {
            let difference = super::compare(theirs, ours, spec.tolerance)?;
            found.extend(difference.map(|m| {
                let m = m.replace("PyTorch's", "on the CPU");
                format!(
                    "{} sample {} {} {layout}: {what} {m}",
                    spec.name, case.sample, case.dtype
                )
            }));
            Result::Ok(())
        };
        for (i, (a, b)) in out.iter().zip(&theirs).enumerate() {
            compare(format!("output {i}"), a, b)?;
        }
        for (i, pair) in grads.iter().zip(&their_grads).enumerate() {
            match pair {
                (Some(a), Some(b)) => compare(format!("gradient {i}"), a, b)?,
                (None, None) => {}
                _ => compare(
                    format!("gradient {i}"),
                    &Tensor::zeros(())?,
                    &Tensor::ones(())?,
                )?,
            }
        }
    }
    Ok(found)
}

/// Whether products or convolutions are all there is to an operation: cuBLASLt and cuDNN compute it.
fn for_libraries(name: &str) -> bool {
    let products = [
        "matmul", "mm", "bmm", "mv", "dot", "addmm", "baddbmm", "linear",
    ];
    products.contains(&name) || name.starts_with("conv")
}

/// What anybody would expect of the libraries they take, in every type and as views.
#[test]
fn cuda_libraries_refuse_nothing_usual() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let _with = LIBRARIES.read().unwrap_or_else(PoisonError::into_inner);
    let floats = [DType::F32, DType::F64, DType::F16, DType::BF16];
    for dtype in floats {
        let new = |shape: &[usize]| Tensor::ones(shape)?.to_dtype(dtype)?.to_device(device);
        let (a, b) = (new(&[1, 48, 72])?, new(&[3, 72, 40])?);
        for a in [
            &a,
            &new(&[2, 3, 48, 72])?,
            &new(&[3, 72, 48])?.transpose(1, 2)?,
        ] {
            a.matmul(&b)?;
            b.transpose(1, 2)?.matmul(&a.transpose(-2, -1)?)?;
        }
        let x = new(&[2, 48, 9, 11])?.requires_grad_(true)?;
        let w = new(&[48, 24, 3, 3])?.requires_grad_(true)?;
        let options = ConvOptions {
            stride: [2, 1],
            padding: [1, 1],
            groups: 2,
            ..ConvOptions::default()
        };
        x.conv2d(&w, None, &options)?.sum()?.backward()?;
    }
    let ours = |r: &String| r.contains("48");
    let refused: Vec<_> = cuda::library_refusals(0)?
        .into_iter()
        .filter(ours)
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}

/// Held by tests while the libraries are as they were; exclusively by the one that turns them off.
static LIBRARIES: RwLock<()> = RwLock::new(());

#[test]
fn cuda_without_libraries_gives_what_the_cpu_gives() {
    let Some(device) = device() else { return };
    let _alone = LIBRARIES.write().unwrap_or_else(PoisonError::into_inner);
    backends::cudnn::set_enabled(false);
    backends::cuda::set_preferred_blas_library(BlasLibrary::Own);
    let mut wrong = Vec::new();
    for spec in super::specs() {
        let cases = spec.cases().unwrap();
        let usual = |c: &&Case| for_libraries(spec.name) && c.dtype == DType::F32;
        for case in cases.iter().filter(usual) {
            let found = differences(&spec, case, device);
            wrong.extend(found.unwrap_or_else(|e| vec![format!("{}: {e}", spec.name)]));
        }
    }
    backends::cudnn::set_enabled(true);
    backends::cuda::set_preferred_blas_library(BlasLibrary::CublasLt);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tests every `of`-th operation, from number `part` on: several tests, for they run side by side.
fn compare_devices(part: usize, of: usize) {
    let Some(device) = device() else { return };
    let _with = LIBRARIES.read().unwrap_or_else(PoisonError::into_inner);
    let all = std::env::var("FLAMBEAU_CUDA_DTYPES").is_ok_and(|v| v == "all");
    let mut number = 0;
    check_all(|spec, failures| {
        number += 1;
        if number % of != part {
            return Ok(());
        }
        let cases = spec.cases()?;
        let usual = cases.iter().any(|c| c.dtype == DType::F32);
        for case in cases {
            // Each type is a kernel to be compiled: only a device does that fast.
            let costly = case.dtype != DType::F32
                && !(for_libraries(spec.name) && case.dtype.is_floating_point());
            if !all && usual && costly {
                continue;
            }
            match differences(spec, &case, device) {
                Ok(found) => failures.extend(found),
                Err(e) => failures.push(format!(
                    "{} sample {} {}: {e}",
                    spec.name, case.sample, case.dtype
                )),
            }
        }
        Ok(())
    });
}

macro_rules! parts {
    ($($name:ident $part:literal),*) => {$(
        #[test]
        fn $name() {
            compare_devices($part, 4);
        }
    )*};
}
parts!(cuda_gives_what_the_cpu_gives_0 0, cuda_gives_what_the_cpu_gives_1 1,
    cuda_gives_what_the_cpu_gives_2 2, cuda_gives_what_the_cpu_gives_3 3);
