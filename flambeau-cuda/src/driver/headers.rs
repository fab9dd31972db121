//! What we declare of NVIDIA's libraries against their headers, and the libraries themselves as far as
//! they go without a device. Where they are not installed the tests say so; `pip install nvidia-cublas
//! nvidia-cudnn-cu13 nvidia-cuda-nvrtc nvidia-cuda-runtime` brings both.

use super::library::{Signature, directories};
use super::{api, cublas, cudnn, nccl, nvrtc};
use crate::emulate::{compiler, libraries};
use crate::{ReduceOp, Type};
use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compares types as far as a call depends on them: how large a number is and of which kind, how many
/// pointers lead to what, and whether that may be written.
const COMPARE: &str = r#"
#include <cstddef>
#include <type_traits>
template <class A, class B> constexpr bool same() {
    if constexpr (std::is_pointer_v<A> && std::is_pointer_v<B>) {
        using X = std::remove_pointer_t<A>;
        using Y = std::remove_pointer_t<B>;
        if constexpr (std::is_const_v<X> != std::is_const_v<Y>) return false;
        // Handles lead to what only the library knows, and results to what is compared by itself.
        else if constexpr (std::is_void_v<X> || std::is_void_v<Y> || std::is_class_v<Y>) return true;
        else return same<std::remove_cv_t<X>, std::remove_cv_t<Y>>();
    } else if constexpr ((std::is_integral_v<A> || std::is_enum_v<A>) && (std::is_integral_v<B> || std::is_enum_v<B>)) {
        return sizeof(A) == sizeof(B);
    } else {
        return std::is_same_v<A, B>;
    }
}
template <class A, class B> struct compare;
template <class R, class... A, class S, class... B> struct compare<R(A...), S(B...)> {
    static constexpr bool value = [] {
        if constexpr (sizeof...(A) == sizeof...(B)) return same<R, S>() && (same<A, B>() && ...);
        else return false;
    }();
};
"#;

/// What `crt/host_defines.h`, which lies in a package with a compiler, defines of what the headers use.
const HOST_DEFINES: &str = "
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __device_builtin__
#define __cudart_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __align__(n) __attribute__((aligned(n)))
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDA_CB
";

/// A type of ours as C++ writes it.
fn spelled(ty: &str) -> String {
    if let Some(rest) = ty.strip_prefix("*mut ") {
        return format!("{}*", spelled(rest));
    }
    if let Some(rest) = ty.strip_prefix("*const ") {
        return format!("{} const*", spelled(rest));
    }
    match ty {
        "()" | "c_void" | "Algorithm" | "Heuristic" | "Choice" => "void",
        "Handle" | "Program" | "Comm" => "void*",
        "Id" => "ncclUniqueId",
        "Status" | "c_int" => "int",
        "c_uint" => "unsigned",
        "c_char" => "char",
        "u8" => "unsigned char",
        "u16" => "unsigned short",
        "u64" | "Pointer" => "unsigned long long",
        "i64" => "long long",
        "usize" => "std::size_t",
        other => panic!("what is {other} in C++?"),
    }
    .into()
}

fn functions(of: &[Signature]) -> String {
    let mut text = String::new();
    for (name, parameters, result) in of {
        let list: Vec<String> = parameters.iter().map(|t| spelled(t)).collect();
        let ours = format!("{}({})", spelled(result), list.join(", "));
        let _ = writeln!(
            text,
            "static_assert(compare<{ours}, decltype({name})>::value, \"{name} is not {ours}\");"
        );
    }
    text
}

fn constants(of: &[(&str, i64)]) -> String {
    let each = of.iter().map(|(name, value)| {
        format!("static_assert((long long){name} == {value}, \"{name} is not {value}\");\n")
    });
    each.collect()
}

macro_rules! layout {
    ($ty:ty as $theirs:literal { $($field:ident: $name:literal),* }) => {{
        let size = format!(
            "static_assert(sizeof({}) == {}, \"size of {0}\");\n", $theirs, size_of::<$ty>(),
        );
        size $(+ &format!(
            "static_assert(offsetof({}, {}) == {}, \"{0}::{1}\");\n",
            $theirs, $name, offset_of!($ty, $field),
        ))*
    }};
}

fn temporary(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("flambeau-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Folders of headers, of all packages.
fn includes() -> Vec<PathBuf> {
    let beside = |d: &PathBuf| Some(d.parent()?.join("include"));
    directories().iter().filter_map(beside).collect()
}

/// What the compiler says of `text`, which includes `headers`; `None` where they are not here.
fn compiled(folder: &Path, headers: &[&str], text: &str, definition: &str) -> Option<String> {
    let folders = includes();
    let missing = headers
        .iter()
        .find(|h| !folders.iter().any(|d| d.join(h).is_file()));
    let (Some(compiler), None) = (compiler(), missing) else {
        eprintln!("skipped: no C++ compiler, or no {missing:?} in {folders:?}");
        return None;
    };
    std::fs::create_dir_all(folder.join("crt")).unwrap();
    std::fs::write(folder.join("crt/host_defines.h"), HOST_DEFINES).unwrap();
    // Beside it: what a compiler has to be, which is no matter here.
    std::fs::write(folder.join("crt/host_config.h"), "").unwrap();
    std::fs::write(folder.join("compare.cpp"), text).unwrap();
    let mut command = Command::new(compiler);
    command.args(["-std=c++17", "-fsyntax-only", "-w", definition]);
    // The first of each name counts: all headers of one version.
    for folder in folders.iter().chain([&folder.to_path_buf()]) {
        command.arg("-I").arg(folder);
    }
    let output = command.arg(folder.join("compare.cpp")).output().unwrap();
    let _ = std::fs::remove_dir_all(folder);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() {
        String::new()
    } else {
        errors
    })
}

fn agrees(name: &str, headers: &[&str], text: String) {
    let includes: String = headers
        .iter()
        .map(|h| format!("#include <{h}>\n"))
        .collect();
    let text = includes + COMPARE + &text;
    if let Some(errors) = compiled(&temporary(name), headers, &text, "-DCOMPARE") {
        assert!(errors.is_empty(), "{errors}");
    }
}

#[test]
fn cublas_is_declared_as_in_its_header() {
    let text = functions(cublas::CublasLt::SIGNATURES)
        + &constants(cublas::CONSTANTS)
        + &layout!(cublas::Algorithm as "cublasLtMatmulAlgo_t" {})
        + &layout!(cublas::Heuristic as "cublasLtMatmulHeuristicResult_t" {
            algorithm: "algo", workspace: "workspaceSize", status: "state"
        });
    agrees("cublas", &["cublasLt.h"], text);
}

#[test]
fn cudnn_is_declared_as_in_its_header() {
    let mut text = functions(cudnn::Cudnn::SIGNATURES) + &constants(cudnn::CONSTANTS);
    for theirs in ["Fwd", "BwdData", "BwdFilter"] {
        let layout = layout!(cudnn::Choice as "CHOICE" {
            algorithm: "algo", status: "status", determinism: "determinism", math: "mathType"
        });
        text += &layout.replace("CHOICE", &format!("cudnnConvolution{theirs}AlgoPerf_t"));
    }
    agrees("cudnn", &["cudnn.h"], text);
}

#[test]
fn the_driver_and_nvrtc_are_declared_as_in_their_headers() {
    agrees("cuda", &["cuda.h"], functions(api::Cuda::SIGNATURES));
    agrees("nvrtc", &["nvrtc.h"], functions(nvrtc::Nvrtc::SIGNATURES));
}

#[test]
fn nccl_is_declared_as_in_its_header() {
    let types = [
        ("ncclInt8", Type::I8),
        ("ncclUint8", Type::U8),
        ("ncclUint8", Type::Bool),
        ("ncclInt32", Type::I32),
        ("ncclInt64", Type::I64),
        ("ncclFloat16", Type::F16),
        ("ncclFloat32", Type::F32),
        ("ncclFloat64", Type::F64),
        ("ncclBfloat16", Type::BF16),
    ];
    let types = types.map(|(name, ty)| (name, nccl::kind(ty).map_or(-1, i64::from)));
    let ops = [
        ("ncclSum", ReduceOp::Sum),
        ("ncclProd", ReduceOp::Product),
        ("ncclMax", ReduceOp::Max),
        ("ncclMin", ReduceOp::Min),
        ("ncclAvg", ReduceOp::Average),
    ];
    let ops = ops.map(|(name, op)| (name, nccl::code(op).into()));
    let text = functions(nccl::Nccl::SIGNATURES)
        + &constants(&types)
        + &constants(&ops)
        + &constants(&[("ncclInProgress", nccl::IN_PROGRESS.into())])
        + &layout!(nccl::Id as "ncclUniqueId" { internal: "internal" });
    agrees("nccl", &["nccl.h"], text);
}

#[test]
fn a_wrong_declaration_is_noticed() {
    const WRONG: &[Signature] = &[("cublasLtCreate", &["*const Handle"], "Status")];
    let wrong = [
        functions(WRONG),
        constants(&[("CUBLAS_OP_T", 2)]),
        layout!(u64 as "cublasLtMatmulAlgo_t" {}),
    ];
    for text in wrong {
        let text = format!("#include <cublasLt.h>\n{COMPARE}{text}");
        if let Some(errors) = compiled(&temporary("wrong"), &["cublasLt.h"], &text, "-DCOMPARE") {
            assert!(
                errors.contains("static assertion failed") || errors.contains("static_assert"),
                "{errors}"
            );
        }
    }
}

#[test]
fn the_stand_ins_are_declared_as_in_the_headers() {
    let headers = ["cublasLt.h", "cudnn.h"];
    let errors = compiled(
        &temporary("stand-in"),
        &headers,
        libraries::TEXT,
        "-DNVIDIA_HEADERS",
    );
    assert!(errors.as_ref().is_none_or(String::is_empty), "{errors:?}");
}
