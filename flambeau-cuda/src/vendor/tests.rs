//! The real libraries as far as they go without a device, and decisions on the emulated one.

use super::blas::Blas;
use super::dnn::{Dnn, Key, describe};
use super::{Convolve, Gemm, Operand, settings};
use crate::driver::{cublas, cudnn, driver_version};
use crate::emulate::{install, libraries};
use crate::tensor::Convolution;
use crate::{Type, device};
use libloading::Library;
use std::ffi::{c_int, c_void};

/// Convolutions of planes and volumes, with everything that a descriptor has.
fn convolutions() -> Vec<Convolution> {
    let plain = Convolution {
        batch: 2,
        channels: [4, 6, 1],
        sizes: [[1, 9, 8], [1, 7, 7], [1, 3, 2]],
        steps: [[1; 3], [0; 3], [1; 3]],
        channels_last: false,
    };
    let all = [
        plain,
        Convolution {
            channels: [4, 6, 2],
            sizes: [[1, 9, 8], [1, 4, 3], [1, 3, 2]],
            steps: [[1, 2, 3], [0, 1, 2], [1, 2, 3]],
            ..plain
        },
        // Fewer elements in each direction than the kernel has, all of them padding but one.
        Convolution {
            channels: [4, 4, 4],
            sizes: [[1, 1, 1], [1, 3, 3], [1, 3, 3]],
            steps: [[1; 3], [0, 2, 2], [1; 3]],
            ..plain
        },
        Convolution {
            sizes: [[5, 9, 8], [3, 5, 7], [2, 3, 2]],
            steps: [[2, 2, 1], [1, 1, 0], [2, 1, 1]],
            ..plain
        },
        // A volume of depth 1 whose kernel is deeper.
        Convolution {
            sizes: [[1, 9, 8], [1, 7, 7], [3, 3, 2]],
            steps: [[1; 3], [1, 0, 0], [1; 3]],
            ..plain
        },
    ];
    let last = |of: &Convolution| Convolution {
        channels_last: true,
        ..*of
    };
    all.iter().map(last).chain(all.iter().copied()).collect()
}

fn key(kind: Convolve, ty: Type, of: Convolution) -> Key {
    Key {
        kind,
        ty,
        of,
        tf32: true,
        benchmark: false,
        deterministic: false,
    }
}

/// The library that a table was made from, for functions that only tests call.
fn again(path: &[&str]) -> Option<Library> {
    crate::driver::library::open(path, "").ok()
}

#[test]
fn cudnn_reads_descriptors_as_they_are_meant() {
    let Ok(library) = cudnn::library() else {
        eprintln!("skipped: {:?}", cudnn::version());
        return;
    };
    assert!(cudnn::version().unwrap().0 >= 9);
    type Output =
        unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, c_int, *mut c_int) -> c_int;
    let more = again(&["libcudnn.so.9"]).unwrap();
    // SAFETY: the signature is that of cudnn.h.
    let output = unsafe { more.get::<Output>(b"cudnnGetConvolutionNdForwardOutputDim\0") }.unwrap();
    for of in convolutions() {
        for ty in Type::FLOATS {
            let d = describe(library, &key(Convolve::Forward, ty, of)).unwrap();
            let [x, w, _] = d.tensors.each_ref().map(|t| t.handle);
            let [input, sizes, kernel] = of.sizes;
            let flat = [input[0], sizes[0], kernel[0]] == [1; 3] && of.steps[1][0] == 0;
            let count = if flat { 4 } else { 5 };
            let mut told = [0; 5];
            // SAFETY: descriptors of the library, and room for as many numbers as it is told.
            let status = unsafe { output(d.convolution.handle, x, w, count, told.as_mut_ptr()) };
            assert_eq!(status, 0, "{of:?}");
            let mut want = vec![of.batch, of.channels[1]];
            want.extend(&sizes[usize::from(flat)..]);
            let told: Vec<usize> = told[..count as usize].iter().map(|&v| v as usize).collect();
            assert_eq!(told, want, "{of:?}");
        }
    }
}

#[test]
fn cublas_reads_layouts_as_they_are_meant() {
    let Ok(library) = cublas::library() else {
        eprintln!("skipped: {:?}", cublas::version());
        return;
    };
    assert!(cublas::version().unwrap().0 >= 12);
    let blas = Blas::unstarted(library);
    let more = again(&["libcublasLt.so.13", "libcublasLt.so.12"]).unwrap();
    type Get = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, usize, *mut usize) -> c_int;
    // SAFETY: the signature is that of cublasLt.h.
    let get = unsafe { more.get::<Get>(b"cublasLtMatrixLayoutGetAttribute\0") }.unwrap();
    for transposed in [false, true] {
        let operand = Operand {
            transposed,
            leading: 9,
            step: 70,
        };
        let layout = blas
            .layout(cublas::CUDA_R_16BF, [5, 7], operand, 3)
            .map_err(|_| "refused")
            .unwrap();
        // Type, rows, columns, distance of columns, matrices and their distance: the last is wide.
        let told = [(0, 4), (2, 8), (3, 8), (4, 8), (5, 4), (6, 8)].map(|(attribute, bytes)| {
            let (mut value, mut written) = (0u64, 0);
            // SAFETY: writes as many bytes as it is told.
            let status = unsafe {
                let to = std::ptr::from_mut(&mut value).cast();
                get(layout.handle, attribute, to, bytes, &mut written)
            };
            assert_eq!((status, written), (0, bytes), "attribute {attribute}");
            value
        });
        let [rows, columns] = if transposed { [7, 5] } else { [5, 7] };
        assert_eq!(told, [14, rows, columns, 9, 3, 70]);
    }
}

#[test]
fn without_a_device_the_libraries_say_so() {
    if driver_version().is_ok() {
        eprintln!("skipped: there is a driver");
        return;
    }
    match cublas::library() {
        Ok(library) => {
            let error = Blas::open(library, (9, 0)).err().unwrap().to_string();
            assert!(
                error.starts_with("starting cuBLASLt failed: cuBLASLt: "),
                "{error}"
            );
        }
        Err(e) => assert!(e.to_string().contains("pip install nvidia-cublas"), "{e}"),
    }
    match cudnn::library() {
        Ok(library) => {
            let error = Dnn::open(library, std::ptr::null_mut())
                .err()
                .unwrap()
                .to_string();
            assert!(
                error.starts_with("starting cuDNN failed: cuDNN: "),
                "{error}"
            );
        }
        Err(e) => assert!(
            e.to_string().contains("pip install nvidia-cudnn-cu13"),
            "{e}"
        ),
    }
}

#[test]
fn algorithms_are_chosen_as_the_switches_say() {
    if install().is_err() {
        eprintln!("skipped: there is no C++ compiler");
        return;
    }
    let device = device(0).unwrap();
    assert!(device.libraries().iter().all(Result::is_ok));
    let dnn = Dnn::open(libraries::cudnn().unwrap(), device.stream().unwrap()).unwrap();
    let of = convolutions()[1];
    let buffer = device.allocate(1 << 16).unwrap();
    let places = |at| ([at as *const c_void; 2], at as *mut c_void);
    for kind in [Convolve::Forward, Convolve::Data, Convolve::Weight] {
        let numbers = |benchmark, deterministic| {
            let key = Key {
                benchmark,
                deterministic,
                ..key(kind, Type::F32, of)
            };
            // SAFETY: the buffer is larger than any of the tensors.
            let plan = unsafe { dnn.plan(device, &key, places(buffer.address())) };
            plan.unwrap()
                .choices
                .iter()
                .map(|c| c.number)
                .collect::<Vec<_>>()
        };
        // What the heuristic puts first, what is fastest, and what gives the same bits each time.
        assert_eq!(numbers(false, false), [1, 0]);
        assert_eq!(numbers(true, false), [0, 1]);
        assert_eq!(numbers(false, true), [0]);
        assert_eq!(numbers(true, true), [0]);
    }
    // Without TF32 no choice brings it back, and half types are for tensor cores.
    for (ty, tf32, math) in [
        (Type::F32, true, cudnn::CUDNN_DEFAULT_MATH),
        (Type::F32, false, cudnn::CUDNN_FMA_MATH),
        (Type::BF16, false, cudnn::CUDNN_TENSOR_OP_MATH),
    ] {
        let key = Key {
            tf32,
            ..key(Convolve::Forward, ty, of)
        };
        // SAFETY: as above.
        let plan = unsafe { dnn.plan(device, &key, places(buffer.address())) }.unwrap();
        assert!(plan.choices.iter().all(|c| c.math == math));
    }
}

#[test]
fn what_the_library_refuses_is_said_and_remembered() {
    if install().is_err() {
        eprintln!("skipped: there is no C++ compiler");
        return;
    }
    let device = device(0).unwrap();
    let blas = Blas::open(libraries::cublas().unwrap(), (9, 0)).unwrap();
    let buffer = device.allocate(1 << 12).unwrap();
    let plain = Operand {
        transposed: false,
        leading: 4,
        step: 0,
    };
    let gemm = Gemm {
        ty: Type::F32,
        sizes: [4, 4, 4],
        batch: (1, 0),
        a: plain,
        b: plain,
        bias: false,
        alignments: [256; 4],
    };
    let run = |gemm: &Gemm| {
        // SAFETY: the buffer is larger than the matrices; nothing else uses it.
        unsafe { blas.run(device, gemm, [buffer.address(); 4], [1.0, 0.0]) }.unwrap()
    };
    assert!(run(&gemm));
    let overlapping = Operand {
        leading: 3,
        ..plain
    };
    assert!(!run(&Gemm {
        a: overlapping,
        ..gemm
    }));
    assert!(!run(&Gemm {
        ty: Type::I32,
        ..gemm
    }));
    assert!(!run(&Gemm {
        ty: Type::F64,
        bias: true,
        ..gemm
    }));
    assert_eq!(blas.plans(), [4, 1]);
    let refused = blas.refused();
    assert!(
        refused.len() == 3 && refused.iter().any(|r| r.contains("leading: 3")),
        "{refused:?}"
    );
    settings::set_matmul_precision(0);
    assert!(run(&gemm));
    assert_eq!(blas.plans(), [4, 1]);
}
