//! The functions of libcuda that are used, as cuda.h declares them.

use super::library::library;
use std::ffi::{c_char, c_int, c_uint, c_void};

pub(crate) type Status = c_int;
pub(crate) type Handle = *mut c_void;
pub(crate) type Pointer = u64;

pub(crate) const OUT_OF_MEMORY: Status = 2;
pub(crate) const NOT_READY: Status = 600;
pub(crate) const STREAM_NON_BLOCKING: c_uint = 1;
pub(crate) const EVENT_DISABLE_TIMING: c_uint = 2;
/// Calls that wait are refused by the runtime itself; what loads kernels and memory is let through.
pub(crate) const CAPTURE_RELAXED: c_int = 2;
/// For every context, and mapped into the device's addresses.
pub(crate) const PORTABLE_AND_MAPPED: c_uint = 3;
pub(crate) const MULTIPROCESSOR_COUNT: c_int = 16;
pub(crate) const MAX_THREADS_PER_MULTIPROCESSOR: c_int = 39;
pub(crate) const CAPABILITY_MAJOR: c_int = 75;
pub(crate) const CAPABILITY_MINOR: c_int = 76;

library! {
    /// libcuda.
    Cuda {
        fn cuInit(flags: c_uint) -> Status;
        fn cuDriverGetVersion(version: *mut c_int) -> Status;
        fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status;
        fn cuGetErrorString(status: Status, text: *mut *const c_char) -> Status;
        fn cuDeviceGetCount(count: *mut c_int) -> Status;
        fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status;
        fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> Status;
        fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> Status;
        fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) -> Status;
        fn cuCtxSetCurrent(context: Handle) -> Status;
        fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status;
        fn cuMemAlloc_v2(address: *mut Pointer, bytes: usize) -> Status;
        fn cuMemFree_v2(address: Pointer) -> Status;
        fn cuMemcpyHtoDAsync_v2(to: Pointer, from: *const c_void, bytes: usize, stream: Handle) -> Status;
        fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: Pointer, bytes: usize, stream: Handle) -> Status;
        fn cuMemcpyDtoDAsync_v2(to: Pointer, from: Pointer, bytes: usize, stream: Handle) -> Status;
        fn cuMemsetD8Async(to: Pointer, value: u8, count: usize, stream: Handle) -> Status;
        fn cuMemsetD16Async(to: Pointer, value: u16, count: usize, stream: Handle) -> Status;
        fn cuMemsetD32Async(to: Pointer, value: c_uint, count: usize, stream: Handle) -> Status;
        fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, flags: c_uint) -> Status;
        fn cuMemFreeHost(address: *mut c_void) -> Status;
        fn cuEventCreate(event: *mut Handle, flags: c_uint) -> Status;
        fn cuEventRecord(event: Handle, stream: Handle) -> Status;
        fn cuEventQuery(event: Handle) -> Status;
        fn cuEventSynchronize(event: Handle) -> Status;
        fn cuEventDestroy_v2(event: Handle) -> Status;
        fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) -> Status;
        fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> Status;
        fn cuGraphInstantiateWithFlags(executable: *mut Handle, graph: Handle, flags: u64) -> Status;
        fn cuGraphLaunch(executable: Handle, stream: Handle) -> Status;
        fn cuGraphExecDestroy(executable: Handle) -> Status;
        fn cuGraphDestroy(graph: Handle) -> Status;
        fn cuStreamCreate(stream: *mut Handle, flags: c_uint) -> Status;
        fn cuStreamSynchronize(stream: Handle) -> Status;
        fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> Status;
        fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> Status;
        fn cuLaunchKernel(
            function: Handle,
            grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
            block_x: c_uint, block_y: c_uint, block_z: c_uint,
            shared: c_uint,
            stream: Handle,
            args: *mut *mut c_void,
            extra: *mut *mut c_void,
        ) -> Status;
    }
}
