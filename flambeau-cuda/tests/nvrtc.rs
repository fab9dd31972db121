//! Every kernel of every type compiles for the GPUs of compute capability 8.0 and 9.0, with NVRTC,
//! which needs no GPU. Where the library is missing the test says so; `.ci/run` installs it.

use flambeau_cuda::kernels as k;
use flambeau_cuda::{HEADERS, Launch, Type, Unit, View};
use libloading::Library;
use std::collections::HashSet;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The units of all launches that the functions of `kernels` make, each once.
fn units() -> Vec<Unit> {
    let mut launches: Vec<Launch> = Vec::new();
    let scratch = &mut |_: usize| 256u64;
    let view = |ty, strides| View {
        ptr: 0,
        ty,
        strides,
    };
    launches.push(k::check(0, 0, 0));
    for ty in Type::ALL {
        elementwise(ty, &mut launches);
        let (shape, strides): ([usize; 2], &[usize]) = ([4096, 4096], &[4096, 1]);
        let sum = if ty.is_float() { ty } else { Type::I64 };
        let mut folds = vec![
            (k::Reduce::Sum, sum),
            (k::Reduce::Prod, sum),
            (k::Reduce::Max, ty),
            (k::Reduce::Min, ty),
            (k::Reduce::MaxAt, ty),
            (k::Reduce::MinAt, ty),
            (k::Reduce::Any, Type::Bool),
            (k::Reduce::All, Type::Bool),
        ];
        if ty.is_float() {
            folds.extend([
                (k::Reduce::Mean, ty),
                (k::Reduce::Norm2, ty),
                (k::Reduce::NormP(3.0), ty),
                (k::Reduce::Var { correction: 1.0 }, ty),
                (k::Reduce::Std { correction: 1.0 }, ty),
            ]);
        }
        for (op, to) in folds {
            let x = view(ty, strides);
            launches.extend(k::reduce(op, &shape, &[1], x, (0, to), 0, scratch).unwrap());
        }
        if matches!(ty, Type::F16 | Type::BF16) {
            let (op, x) = (k::Reduce::Var { correction: 0.0 }, view(ty, strides));
            launches.extend(k::reduce(op, &shape, &[1], x, (0, Type::F32), 0, scratch).unwrap());
        }
        let whole = k::Indexed {
            shape: &shape,
            dims: &[0],
            front: 0,
            count: 9,
        };
        launches.extend(whole.pick(view(ty, strides), 0, 0).unwrap());
        for add in [false, true] {
            launches.extend(whole.put(view(ty, strides), 0, 0, add, scratch).unwrap());
        }
        launches.extend(k::compact(ty, 9, 0, 0, 0));
        launches.extend(k::sort(ty, [1, 5000], false, 9, 0, [0; 2], scratch));
        let scans = [
            k::Scan::Sum,
            k::Scan::Prod,
            k::Scan::MaxAt,
            k::Scan::MinAt,
            k::Scan::Linear,
        ];
        for op in scans
            .into_iter()
            .filter(|&op| op != k::Scan::Linear || ty.is_float())
        {
            let extreme = matches!(op, k::Scan::MaxAt | k::Scan::MinAt);
            let to = if extreme { ty } else { sum };
            let shape = [1, 1 << 14, 1];
            launches.extend(k::scan(op, (ty, to), shape, false, [0; 2], [0; 2], scratch));
        }
        if ty != Type::Bool {
            for (row, column) in [(1, 3), (3, 1)] {
                let m = k::Matrix {
                    ptr: 0,
                    batches: &[],
                    row,
                    column,
                };
                launches.extend(k::matmul((ty, ty), &[], [3; 3], m, m, [1.0, 0.0], 0, 0));
            }
        }
        let index = k::Along {
            sizes: &shape,
            dim: 0,
            shape: &shape,
        };
        if !ty.is_float() && ty != Type::Bool {
            let at = view(ty, strides);
            launches.extend(k::flatten_index(&shape, at, 9, (true, true), 0, 0).unwrap());
            launches.extend(index.gather(view(Type::F32, strides), at, 0, 0).unwrap());
        }
        random(ty, &mut launches);
    }
    for ty in Type::FLOATS {
        floats(ty, &mut launches);
    }
    let mut seen = HashSet::new();
    let all = launches.into_iter().map(|launch| launch.unit);
    all.filter(|unit| seen.insert(unit.clone())).collect()
}

fn elementwise(ty: Type, launches: &mut Vec<Launch>) {
    let view = |ty| View {
        ptr: 0,
        ty,
        strides: &[1][..],
    };
    let mut add = |expr, compute, out, inputs: &[Type]| {
        let inputs: Vec<_> = inputs.iter().map(|&ty| view(ty)).collect();
        let params = k::Params::default();
        launches.extend(k::elementwise(expr, compute, &[9], view(out), &inputs, params).unwrap());
    };
    let c = ty.compute();
    for to in Type::ALL {
        let compute = if to == Type::Bool { c } else { to.compute() };
        add(k::Expr::COPY, compute, to, &[ty]);
    }
    add(k::Expr::FILL, c, ty, &[]);
    add(k::Expr::ARANGE, c, ty, &[]);
    add(
        k::Expr::binary("maximum(a, b) + minimum(a, p0)"),
        c,
        ty,
        &[ty, ty],
    );
    add(k::Expr::binary("a < b"), c, Type::Bool, &[ty, ty]);
    add(k::Expr::ternary("a != 0 ? b : c"), c, ty, &[ty, ty, ty]);
    if ty.is_float() {
        add(
            k::Expr::unary("digamma(x) + polygamma(2, x) + erfinv(x) + lgamma(x)"),
            c,
            ty,
            &[ty],
        );
        add(
            k::Expr::unary("sigmoid(x) * tanh(x) + expm1(x) + sign(x)"),
            c,
            ty,
            &[ty],
        );
        add(
            k::Expr::binary("remainder_floor(a, b) + pow(a, b) + atan2(a, b)"),
            c,
            ty,
            &[ty, ty],
        );
    } else if ty != Type::Bool {
        add(
            k::Expr::binary("remainder_floor(a, b) + divide_floor(a, b)"),
            c,
            ty,
            &[ty, ty],
        );
    }
}

fn random(ty: Type, launches: &mut Vec<Launch>) {
    let generator = k::Philox {
        seed: 0,
        offset: 0,
        state: 0,
    };
    let threads = k::Threads {
        multiprocessors: 132,
        of_each: 2048,
    };
    let mut kinds = vec![
        k::Random::Bernoulli { p: 0.5 },
        k::Random::Integers { base: 0, range: 6 },
        k::Random::Integers {
            base: 0,
            range: 1 << 40,
        },
    ];
    if ty.is_float() {
        kinds.push(k::Random::Uniform {
            low: 0.0,
            high: 1.0,
        });
        kinds.push(k::Random::Normal {
            mean: 0.0,
            std: 1.0,
        });
        let dropout = k::dropout(ty, 9, 0.5, generator, threads, 0, [0; 2]);
        launches.extend(dropout.map(|(launch, _)| launch));
    }
    for kind in kinds {
        let launch = kind.launch(ty, 9, generator, threads, 0);
        launches.extend(launch.map(|(launch, _)| launch));
    }
}

fn floats(ty: Type, launches: &mut Vec<Launch>) {
    let scratch = &mut |_: usize| 256u64;
    for log in [false, true] {
        launches.extend(k::softmax(ty, log, [2, 3, 1], 0, 0));
        let loss = k::ClassLoss {
            ty,
            logits: log,
            rows: 2,
            classes: 3,
            target: 0,
            weight: 0,
            ignore: -100,
            smoothing: 0.0,
        };
        launches.extend(loss.forward(0, 0, [0; 2], (0, false), 0, 0));
    }
    let params = if ty == Type::F64 {
        vec![ty]
    } else {
        vec![ty, Type::F32]
    };
    for param in params {
        let norm = k::RowNorm {
            ty,
            param,
            rows: 2,
            width: 3,
            channels: 3,
            inner: 1,
        };
        launches.extend(norm.forward(0, [0; 2], 1e-5, 0, 0));
        let conv = k::Conv::new(
            1,
            [1; 3],
            [[1, 3, 3], [1; 3], [1, 3, 3]],
            [[1; 3], [0; 3], [1; 3]],
        );
        launches.extend(conv.weight([ty, param], [0; 2], 0, scratch));
    }
    let pool = k::Pool::adaptive(1, [[1, 4, 4], [1, 2, 2]]);
    launches.extend(pool.max_forward(ty, 0, 0, 0));
    for update in [
        k::Update::SGD,
        k::Update::SGD_MOMENTUM,
        k::Update::ADAM,
        k::Update::ADAM_AMSGRAD,
    ] {
        let ptrs = vec![0; update.writes + update.reads];
        let tensors = [k::Arrays {
            ptrs: &ptrs,
            len: 9,
        }];
        launches.extend(update.launch(ty, &tensors, [0.0; k::NUMBERS], 0, [0; 2]));
    }
    let one = [k::Arrays { ptrs: &[0], len: 9 }];
    launches.extend(k::list_norm(ty, &one, 0, scratch));
}

/// NVRTC, from `FLAMBEAU_CUDA_LIBRARIES` or from the package that `python3` has.
fn nvrtc() -> Option<Library> {
    let package = "import nvidia, pathlib\nfor p in nvidia.__path__:\n for d in pathlib.Path(p).glob('*/lib'): print(d)";
    let python = Command::new("python3").args(["-c", package]).output().ok();
    let printed = python.map_or(String::new(), |o| {
        String::from_utf8_lossy(&o.stdout).into_owned()
    });
    let named = std::env::var_os("FLAMBEAU_CUDA_LIBRARIES").unwrap_or_default();
    let folders = std::env::split_paths(&named).chain(printed.lines().map(PathBuf::from));
    for folder in folders {
        // NVRTC asks for its builtins by name alone, which finds them where they are open already.
        let files = std::fs::read_dir(&folder).ok();
        let paths: Vec<PathBuf> = files?.filter_map(|f| Some(f.ok()?.path())).collect();
        let open = |start: &str| {
            let named = |p: &&PathBuf| {
                p.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(start))
            };
            let path = paths.iter().find(named)?;
            // SAFETY: NVIDIA's library, whose initialiser asks for nothing.
            unsafe { Library::new(path) }.ok()
        };
        if let (Some(builtins), Some(nvrtc)) = (open("libnvrtc-builtins.so."), open("libnvrtc.so."))
        {
            std::mem::forget(builtins);
            return Some(nvrtc);
        }
    }
    None
}

type Texts = *const *const c_char;

/// Compiles a unit; what NVRTC says where it does not, or where it warns.
fn compile(nvrtc: &Library, unit: &Unit, arch: &str) -> Result<(), String> {
    let c = |text: &str| CString::new(text).unwrap();
    let pointers =
        |texts: &[CString]| -> Vec<*const c_char> { texts.iter().map(|t| t.as_ptr()).collect() };
    let names: Vec<CString> = HEADERS.iter().map(|(name, _)| c(name)).collect();
    let bodies: Vec<CString> = HEADERS.iter().map(|(_, body)| c(body)).collect();
    // What compiles and what does not is the same; five times less work for the optimiser. Known from
    // NVRTC 12.8 on.
    let fast = c("--Ofast-compile=max");
    let options = [
        c(&format!("--gpu-architecture={arch}")),
        c("--std=c++17"),
        fast,
    ];
    let (text, file) = (c(&unit.text()), c(unit.file()));
    let mut program: *mut c_void = std::ptr::null_mut();
    let (count, names, bodies) = (names.len() as c_int, pointers(&names), pointers(&bodies));
    // SAFETY: the signatures are those of nvrtc.h, the pointers lead to what outlives the calls.
    unsafe {
        let create = nvrtc
            .get::<unsafe extern "C" fn(
                *mut *mut c_void,
                *const c_char,
                *const c_char,
                c_int,
                Texts,
                Texts,
            ) -> c_int>(b"nvrtcCreateProgram")
            .unwrap();
        let compile = nvrtc
            .get::<unsafe extern "C" fn(*mut c_void, c_int, Texts) -> c_int>(b"nvrtcCompileProgram")
            .unwrap();
        let size = nvrtc
            .get::<unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int>(
                b"nvrtcGetProgramLogSize",
            )
            .unwrap();
        let log = nvrtc
            .get::<unsafe extern "C" fn(*mut c_void, *mut u8) -> c_int>(b"nvrtcGetProgramLog")
            .unwrap();
        let destroy = nvrtc
            .get::<unsafe extern "C" fn(*mut *mut c_void) -> c_int>(b"nvrtcDestroyProgram")
            .unwrap();
        assert_eq!(
            create(
                &mut program,
                text.as_ptr(),
                file.as_ptr(),
                count,
                bodies.as_ptr(),
                names.as_ptr()
            ),
            0
        );
        let status = compile(program, options.len() as c_int, pointers(&options).as_ptr());
        let mut bytes = 0;
        size(program, &mut bytes);
        let mut words = vec![0; bytes];
        log(program, words.as_mut_ptr());
        destroy(&mut program);
        let words = String::from_utf8_lossy(&words)
            .trim_matches('\0')
            .to_owned();
        if status == 0 && words.is_empty() {
            Ok(())
        } else {
            Err(words)
        }
    }
}

#[test]
fn every_kernel_compiles_for_sm_80_and_sm_90() {
    let Some(nvrtc) = nvrtc() else {
        eprintln!(
            "skipped: NVRTC is not here; pip install nvidia-cuda-nvrtc, or name its folder in FLAMBEAU_CUDA_LIBRARIES"
        );
        return;
    };
    let units = units();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            for arch in ["sm_80", "sm_90"] {
                if let Err(words) = compile(&nvrtc, unit, arch) {
                    let what = format!(
                        "{} with {:?} for {arch}:\n{words}",
                        unit.file(),
                        unit.defines()
                    );
                    failures.lock().unwrap().push(what);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{} units", units.len());
}
