//! cuDNN's convolutions as cudnn.h declares them: what is used of it, and where it is found.
//!
//! The functions of the three members of the family differ in nothing but which tensors they take:
//! forward `x, w, y`, data gradient `w, dy, dx`, weight gradient `x, dy, dw`; so they share types.

use super::library::{self, constants, library};
use super::{cublas, nvrtc};
use crate::error::{Error, Result, fail};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

pub(crate) type Status = c_int;
type Handle = *mut c_void;

library! {
    /// cuDNN.
    Cudnn {
        fn cudnnGetVersion() -> usize;
        fn cudnnGetErrorString(status: Status) -> *const c_char;
        fn cudnnGetLastErrorString(text: *mut c_char, bytes: usize) -> ();
        fn cudnnCreate(handle: *mut Handle) -> Status;
        fn cudnnSetStream(handle: Handle, stream: Handle) -> Status;
        fn cudnnCreateTensorDescriptor(desc: *mut Handle) -> Status;
        fn cudnnDestroyTensorDescriptor(desc: Handle) -> Status;
        fn cudnnSetTensorNdDescriptor(
            desc: Handle, ty: c_int, count: c_int, sizes: *const c_int, strides: *const c_int,
        ) -> Status;
        fn cudnnCreateFilterDescriptor(desc: *mut Handle) -> Status;
        fn cudnnDestroyFilterDescriptor(desc: Handle) -> Status;
        fn cudnnSetFilterNdDescriptor(
            desc: Handle, ty: c_int, format: c_int, count: c_int, sizes: *const c_int,
        ) -> Status;
        fn cudnnCreateConvolutionDescriptor(desc: *mut Handle) -> Status;
        fn cudnnDestroyConvolutionDescriptor(desc: Handle) -> Status;
        fn cudnnSetConvolutionNdDescriptor(
            desc: Handle,
            count: c_int,
            padding: *const c_int,
            stride: *const c_int,
            dilation: *const c_int,
            mode: c_int,
            compute: c_int,
        ) -> Status;
        fn cudnnSetConvolutionGroupCount(desc: Handle, groups: c_int) -> Status;
        fn cudnnSetConvolutionMathType(desc: Handle, math: c_int) -> Status;
        fn cudnnGetConvolutionForwardAlgorithm_v7(
            handle: Handle,
            x: Handle, w: Handle, conv: Handle, y: Handle,
            asked: c_int, found: *mut c_int, results: *mut Choice,
        ) -> Status;
        fn cudnnGetConvolutionBackwardDataAlgorithm_v7(
            handle: Handle,
            w: Handle, dy: Handle, conv: Handle, dx: Handle,
            asked: c_int, found: *mut c_int, results: *mut Choice,
        ) -> Status;
        fn cudnnGetConvolutionBackwardFilterAlgorithm_v7(
            handle: Handle,
            x: Handle, dy: Handle, conv: Handle, dw: Handle,
            asked: c_int, found: *mut c_int, results: *mut Choice,
        ) -> Status;
        fn cudnnFindConvolutionForwardAlgorithmEx(
            handle: Handle,
            x_desc: Handle, x: *const c_void,
            w_desc: Handle, w: *const c_void,
            conv: Handle,
            y_desc: Handle, y: *mut c_void,
            asked: c_int, found: *mut c_int, results: *mut Choice,
            workspace: *mut c_void, bytes: usize,
        ) -> Status;
        fn cudnnFindConvolutionBackwardDataAlgorithmEx(
            handle: Handle,
            w_desc: Handle, w: *const c_void,
            dy_desc: Handle, dy: *const c_void,
            conv: Handle,
            dx_desc: Handle, dx: *mut c_void,
            asked: c_int, found: *mut c_int, results: *mut Choice,
            workspace: *mut c_void, bytes: usize,
        ) -> Status;
        fn cudnnFindConvolutionBackwardFilterAlgorithmEx(
            handle: Handle,
            x_desc: Handle, x: *const c_void,
            dy_desc: Handle, dy: *const c_void,
            conv: Handle,
            dw_desc: Handle, dw: *mut c_void,
            asked: c_int, found: *mut c_int, results: *mut Choice,
            workspace: *mut c_void, bytes: usize,
        ) -> Status;
        fn cudnnGetConvolutionForwardWorkspaceSize(
            handle: Handle,
            x: Handle, w: Handle, conv: Handle, y: Handle,
            algorithm: c_int, bytes: *mut usize,
        ) -> Status;
        fn cudnnGetConvolutionBackwardDataWorkspaceSize(
            handle: Handle,
            w: Handle, dy: Handle, conv: Handle, dx: Handle,
            algorithm: c_int, bytes: *mut usize,
        ) -> Status;
        fn cudnnGetConvolutionBackwardFilterWorkspaceSize(
            handle: Handle,
            x: Handle, dy: Handle, conv: Handle, dw: Handle,
            algorithm: c_int, bytes: *mut usize,
        ) -> Status;
        fn cudnnConvolutionForward(
            handle: Handle,
            alpha: *const c_void,
            x_desc: Handle, x: *const c_void,
            w_desc: Handle, w: *const c_void,
            conv: Handle, algorithm: c_int,
            workspace: *mut c_void, bytes: usize,
            beta: *const c_void,
            y_desc: Handle, y: *mut c_void,
        ) -> Status;
        fn cudnnConvolutionBackwardData(
            handle: Handle,
            alpha: *const c_void,
            w_desc: Handle, w: *const c_void,
            dy_desc: Handle, dy: *const c_void,
            conv: Handle, algorithm: c_int,
            workspace: *mut c_void, bytes: usize,
            beta: *const c_void,
            dx_desc: Handle, dx: *mut c_void,
        ) -> Status;
        fn cudnnConvolutionBackwardFilter(
            handle: Handle,
            alpha: *const c_void,
            x_desc: Handle, x: *const c_void,
            dy_desc: Handle, dy: *const c_void,
            conv: Handle, algorithm: c_int,
            workspace: *mut c_void, bytes: usize,
            beta: *const c_void,
            dw_desc: Handle, dw: *mut c_void,
        ) -> Status;
    }
}

constants! {
    CUDNN_DATA_FLOAT: c_int = 0;
    CUDNN_DATA_DOUBLE: c_int = 1;
    CUDNN_DATA_HALF: c_int = 2;
    CUDNN_DATA_BFLOAT16: c_int = 9;
    CUDNN_TENSOR_NCHW: c_int = 0;
    CUDNN_TENSOR_NHWC: c_int = 1;
    CUDNN_CROSS_CORRELATION: c_int = 1;
    CUDNN_DETERMINISTIC: c_int = 1;
    /// Allows TF32 for f32.
    CUDNN_DEFAULT_MATH: c_int = 0;
    CUDNN_TENSOR_OP_MATH: c_int = 1;
    CUDNN_FMA_MATH: c_int = 3;
    /// What a caller got wrong, or the library does not do, lies from here...
    CUDNN_STATUS_BAD_PARAM: Status = 2000;
    /// ... to below here.
    CUDNN_STATUS_INTERNAL_ERROR: Status = 4000;
}

/// `cudnnConvolutionFwdAlgoPerf_t` and its kin, which have the same fields.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Choice {
    pub(crate) algorithm: c_int,
    pub(crate) status: Status,
    time: f32,
    memory: usize,
    pub(crate) determinism: c_int,
    pub(crate) math: c_int,
    reserved: [c_int; 3],
}

impl Cudnn {
    /// What a status means.
    pub(crate) fn describe(&self, status: Status) -> String {
        let mut more = [0u8; 512];
        // SAFETY: the library's texts are static and end in a zero; it writes at most as many bytes
        // as it is told, of which the last stays a zero.
        let text = unsafe {
            (self.cudnnGetLastErrorString)(more.as_mut_ptr().cast(), more.len() - 1);
            CStr::from_ptr((self.cudnnGetErrorString)(status)).to_string_lossy()
        };
        let more = CStr::from_bytes_until_nul(&more).unwrap_or_default();
        format!("cuDNN: {text} {}", more.to_string_lossy())
            .trim_end()
            .to_owned()
    }
}

/// The library, loaded once.
///
/// # Errors
/// Where it is missing or too old: what to install.
pub(crate) fn library() -> Result<&'static Cudnn> {
    static LIBRARY: OnceLock<Result<Cudnn>> = OnceLock::new();
    let loaded = LIBRARY.get_or_init(|| {
        let names = match cfg!(windows) {
            true => ["cudnn64_9.dll"],
            false => ["libcudnn.so.9"],
        };
        let package = match super::driver_version() {
            Ok((..13, _)) => "nvidia-cudnn-cu12",
            _ => "nvidia-cudnn-cu13",
        };
        let remedy = format!(
            "pip install {package} brings it; without it convolutions go through flambeau's own kernels"
        );
        // It opens these two by their bare names, which finds what is loaded already.
        let _ = (cublas::library(), nvrtc::compiler());
        let cudnn = Cudnn::of(library::open(&names, &remedy)?)?;
        // SAFETY: takes nothing, and needs no device.
        match unsafe { (cudnn.cudnnGetVersion)() } {
            version @ 0..90_000 => fail!("cuDNN {version} is too old; {remedy}"),
            _ => Ok(cudnn),
        }
    });
    loaded.as_ref().map_err(Error::clone)
}

/// cuDNN's version, as in (9, 26, 0).
///
/// # Errors
/// Where it is missing: what to install.
pub fn version() -> Result<(usize, usize, usize)> {
    // SAFETY: takes nothing, and needs no device.
    let version = unsafe { (library()?.cudnnGetVersion)() };
    Ok((version / 10_000, version / 100 % 100, version % 100))
}
