//! CUDA devices: what a program asks of them, and what operations compute on them with.
//!
//! An operation's CUDA body is its `Op::cuda`, beside `forward`; it ends in one of the functions
//! here, which hand buffers and layouts to `flambeau_cuda`. One without a body is refused, or
//! computed by the CPU where `FLAMBEAU_CUDA_FALLBACK=1` asks for it.

mod check;
mod communicator;
mod elementwise;
mod formula;
mod graph;
mod index;
mod loss;
mod norm;
mod product;
mod random;
mod reduce;
pub(crate) mod skip;
mod windows;

pub(crate) use elementwise::{Formula, convert, copy_into, fill, map, map_in_place};
pub(crate) use formula::{Traced, trace};
pub(crate) use index::{gather, pick, put, running_extreme, scan, scatter, sort};
pub(crate) use loss::Rows;
pub(crate) use norm::{
    Affine, Gradients, channel_norm, channel_norm_backward, channels, row_norm, row_norm_backward,
    rows,
};
pub(crate) use product::{Convolve, convolve, product};
pub(crate) use random::{random, seed};
pub(crate) use reduce::{extreme, moments, reduce, softmax, softmax_backward};
pub(crate) use windows::{average_pool, max_pool, max_pool_backward};

use crate::dispatch::{Op, Output};
use crate::ops::format::in_memory_order;
use crate::shape::{Shape, Strides, check_numel, contiguous_strides};
use crate::storage::{Memory, Read, Write};
use crate::tensor::Tensor;
use crate::{DType, Device, Error, Result};
use flambeau_cuda as cuda;
use flambeau_cuda::Type;
use flambeau_cuda::tensor::{Place, Slice, SliceMut, Update};
use smallvec::SmallVec;
use std::sync::LazyLock;

pub use check::assert_async;
pub use communicator::{Communicator, Exchange, ReduceOp, UniqueId};
pub use flambeau_cuda::Stats as MemoryStats;
/// The emulated device, for tests (feature `cuda-emulate`).
#[cfg(feature = "cuda-emulate")]
pub use flambeau_cuda::emulate::install as install_emulated;
pub use flambeau_cuda::{PinnedStats, scope};
pub use graph::{Graph, collect_updates, is_capturing};
pub use skip::{is_skipping, skip_where};

/// Whether there is a CUDA device, and what it needs ([`Device::check`] says what is missing).
///
/// ```
/// use flambeau_core::{Device, cuda};
/// assert_eq!(cuda::is_available(), Device::Cuda(0).check().is_ok());
/// ```
pub fn is_available() -> bool {
    cuda::available().is_ok()
}

/// How many CUDA devices there are.
pub fn device_count() -> usize {
    cuda::count()
}

/// The device's name and compute capability (`torch.cuda.get_device_name`).
///
/// # Errors
/// Where there is no such device.
#[track_caller]
pub fn device_name(index: usize) -> Result<String> {
    let device = device("device_name", index)?;
    let (major, minor) = device.capability();
    Ok(format!("{} (sm_{major}{minor})", device.name()))
}

/// Waits for all work on a device (`torch.cuda.synchronize`).
///
/// # Errors
/// What failed since it was last waited for. Run with `FLAMBEAU_CUDA_SYNC=1` to have each failure
/// reported by the operation that caused it.
#[track_caller]
pub fn synchronize(index: usize) -> Result<()> {
    device("synchronize", index)?
        .synchronize()
        .map_err(|e| failed("synchronize", e))
}

/// What the allocator of a device holds and has done (`torch.cuda.memory_stats`).
///
/// # Errors
/// Where there is no such device.
#[track_caller]
pub fn memory_stats(index: usize) -> Result<MemoryStats> {
    Ok(device("memory_stats", index)?.stats())
}

/// What the allocator of pinned memory holds and has done (`torch.cuda.host_memory_stats`).
///
/// # Errors
/// Where there is no such device.
#[track_caller]
pub fn pinned_memory_stats(index: usize) -> Result<PinnedStats> {
    Ok(device("pinned_memory_stats", index)?.pinned_stats())
}

/// Counts the peaks of [`memory_stats`] anew.
///
/// # Errors
/// Where there is no such device.
#[track_caller]
pub fn reset_peak_memory_stats(index: usize) -> Result<()> {
    device("reset_peak_memory_stats", index)?.reset_peak();
    Ok(())
}

/// Bytes of a device's memory that are free, and in all (`torch.cuda.mem_get_info`).
///
/// # Errors
/// Where there is no such device, or it does not answer.
#[track_caller]
pub fn memory_info(index: usize) -> Result<(u64, u64)> {
    device("memory_info", index)?
        .memory()
        .map_err(|e| failed("memory_info", e))
}

/// Gives memory that is kept for reuse back to the driver (`torch.cuda.empty_cache`).
///
/// # Errors
/// Where there is no such device.
#[track_caller]
pub fn empty_cache(index: usize) -> Result<()> {
    device("empty_cache", index)?.empty_cache();
    Ok(())
}

/// The products and convolutions that cuBLASLt and cuDNN refused on a device, so that flambeau's own
/// kernels, which are slower, compute them: a line each, for people to read. Empty where the libraries
/// are missing, which [`report`] tells.
///
/// # Errors
/// Where there is no such device.
#[track_caller]
pub fn library_refusals(index: usize) -> Result<Vec<String>> {
    Ok(device("library_refusals", index)?.refused())
}

/// How often elements were copied on a device so far only to lie in another order: into another memory
/// format, to follow each other, or out of a view. A step of training in which this rises has operations
/// that do not take its [`MemoryFormat`](crate::MemoryFormat), or tensors that are in another one.
///
/// # Errors
/// Where there is no such device.
#[track_caller]
pub fn layout_copies(index: usize) -> Result<u64> {
    Ok(device("layout_copies", index)?.layout_copies())
}

/// What is there of what CUDA needs, a line each, for people to read.
pub fn report() -> Vec<String> {
    let version = |r: cuda::Result<(i32, i32)>| match r {
        Ok((major, minor)) => format!("{major}.{minor}"),
        Err(e) => e.to_string(),
    };
    let library = |r: cuda::Result<(usize, usize, usize)>| match r {
        Ok((major, minor, patch)) => format!("{major}.{minor}.{patch}"),
        Err(e) => e.to_string(),
    };
    let mut lines = vec![
        format!("driver: {}", version(cuda::driver_version())),
        format!("nvrtc: {}", version(cuda::compiler_version())),
        format!("cublasLt: {}", library(cuda::cublas_version())),
        format!("cudnn: {}", library(cuda::cudnn_version())),
        match cuda::nccl_version() {
            Ok((major, minor, patch)) => format!("nccl: {major}.{minor}.{patch}"),
            Err(e) => format!("nccl: {e} (only for several devices)"),
        },
    ];
    match cuda::available() {
        Err(e) => lines.push(format!("not available: {e}")),
        Ok(()) => lines.extend((0..device_count()).map(|i| {
            let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
            let memory = memory_info(i)
                .map(|(free, total)| format!("{:.1} of {:.1} GiB free", gib(free), gib(total)));
            let text = |r: Result<String>| r.unwrap_or_else(|e| e.message().to_owned());
            // What is missing stands above; here stands what is there and does not start.
            let found = [
                cuda::cublas_version().is_ok(),
                cuda::cudnn_version().is_ok(),
            ];
            let started = device("report", i).map(cuda::Device::libraries);
            let failures = (started.into_iter().flatten().zip(found))
                .filter_map(|(started, found)| started.err().filter(|_| found));
            let failures: String = failures.map(|e| format!("; {e}")).collect();
            format!(
                "cuda:{i}: {}, {}{failures}",
                text(device_name(i)),
                text(memory)
            )
        })),
    }
    lines
}

/// Device number `index`.
#[track_caller]
pub(crate) fn device(op: &'static str, index: usize) -> Result<&'static cuda::Device> {
    cuda::device(index).map_err(|e| failed(op, e))
}

/// An error of the runtime as one of `op`.
#[track_caller]
pub(crate) fn failed(op: &'static str, e: cuda::Error) -> Error {
    Error::new(op, e.to_string())
}

/// The type that memory holds for `dtype`.
pub(crate) fn type_of(dtype: DType) -> Type {
    match dtype {
        DType::Bool => Type::Bool,
        DType::U8 => Type::U8,
        DType::I8 => Type::I8,
        DType::I16 => Type::I16,
        DType::I32 => Type::I32,
        DType::I64 => Type::I64,
        DType::F16 => Type::F16,
        DType::BF16 => Type::BF16,
        DType::F32 => Type::F32,
        DType::F64 => Type::F64,
    }
}

/// The device that `inputs` are computed on: that of those on CUDA. Numbers and 0-d tensors may be
/// on the CPU beside them.
///
/// # Errors
/// Where they are on several devices.
#[track_caller]
pub(crate) fn one_device(op: &'static str, inputs: &[&Tensor]) -> Result<Device> {
    let first = inputs
        .iter()
        .find(|x| x.on_cuda())
        .map_or(Device::Cpu, |x| x.device());
    let other = inputs
        .iter()
        .find(|x| x.device() != first && (x.on_cuda() || x.dim() > 0));
    match other {
        None => Ok(first),
        Some(x) => Err(Error::new(
            op,
            format!(
                "expected all tensors to be on the same device, but found {first} and {}; move the {} one of shape {:?} with to({first})",
                x.device(),
                x.device(),
                x.shape(),
            ),
        )),
    }
}

/// Runs an operation of which an input is on a CUDA device.
#[cold]
#[inline(never)]
#[track_caller]
pub(crate) fn run(op: &dyn Op, inputs: &[&Tensor]) -> Result<Output> {
    one_device(op.name(), inputs)?;
    op.cuda(inputs)
}

/// What an operation without a CUDA body does.
#[track_caller]
pub(crate) fn without_body(
    op: &'static str,
    inputs: &[&Tensor],
    forward: &dyn Fn(&[&Tensor]) -> Result<Output>,
) -> Result<Output> {
    static FALLBACK: LazyLock<bool> =
        LazyLock::new(|| std::env::var("FLAMBEAU_CUDA_FALLBACK").is_ok_and(|v| v == "1"));
    let device = one_device(op, inputs)?;
    if !*FALLBACK {
        return Err(Error::new(
            op,
            format!(
                "there is no {op} on {device} yet; compute it with cpu() and go on with to({device}), or set FLAMBEAU_CUDA_FALLBACK=1 to have the CPU compute all such operations, which copies"
            ),
        ));
    }
    let inputs = inputs
        .iter()
        .map(|x| x.detach().cpu())
        .collect::<Result<Vec<_>>>()?;
    let out = forward(&inputs.iter().collect::<Vec<_>>())?;
    Ok(Output {
        tensor: out.tensor.to_device(device)?,
        extras: out
            .extras
            .iter()
            .map(|x| x.to_device(device))
            .collect::<Result<_>>()?,
    })
}

/// A new contiguous tensor on a device, whose memory `fill` writes.
#[track_caller]
pub(crate) fn build(
    op: &'static str,
    shape: &[usize],
    dtype: DType,
    device: Device,
    fill: impl FnOnce(&mut cuda::Buffer) -> cuda::Result<()>,
) -> Result<Tensor> {
    let Device::Cuda(index) = device else {
        return Err(Error::new(op, "expected a CUDA device"));
    };
    let bytes = check_numel(op, shape)? * dtype.size();
    let mut buffer = self::device(op, index)?
        .allocate(bytes)
        .map_err(|e| failed(op, e))?;
    fill(&mut buffer).map_err(|e| failed(op, e))?;
    Ok(Tensor::from_memory(Memory::Cuda(buffer), shape, dtype))
}

/// The elements of a tensor that `read` gives access to.
pub(crate) fn slice<'a>(
    op: &'static str,
    t: &Tensor,
    read: &'a Read<'_>,
    shape: &'a [usize],
    strides: &'a [usize],
) -> Result<Slice<'a>> {
    let Some(buffer) = read.cuda() else {
        return Err(Error::new(op, "expected a tensor on a CUDA device"));
    };
    let (ty, offset) = (type_of(t.dtype()), t.storage_offset());
    let place = Place {
        ty,
        offset,
        shape,
        strides,
    };
    Slice::new(buffer, place).map_err(|e| failed(op, e))
}

/// The elements of a tensor that `write` gives access to.
pub(crate) fn slice_mut<'a>(
    op: &'static str,
    t: &'a Tensor,
    write: &'a mut Write<'_>,
) -> Result<SliceMut<'a>> {
    let Some(buffer) = write.cuda() else {
        return Err(Error::new(op, "expected a tensor on a CUDA device"));
    };
    SliceMut::new(buffer, place(t)).map_err(|e| failed(op, e))
}

/// Brings the elements of `x` to another device, or to or from the CPU.
#[track_caller]
pub(crate) fn transfer(x: &Tensor, to: Device, non_blocking: bool) -> Result<Tensor> {
    in_memory_order(x, |x| transfer_whole(&x.contiguous()?, to, non_blocking))
}

/// The same, of a contiguous tensor.
#[track_caller]
fn transfer_whole(x: &Tensor, to: Device, non_blocking: bool) -> Result<Tensor> {
    let (op, shape, dtype) = ("to", x.shape(), x.dtype());
    let (start, len) = (x.storage_offset() * dtype.size(), x.nbytes());
    if let Device::Cuda(index) = to {
        let host = if x.on_cuda() { x.cpu()? } else { x.clone() };
        // What is not brought there for a module or an optimizer is taken for a batch.
        let _scope = scope::is_plain().then(|| scope::role(scope::Role::Input));
        if let (Some(_), [samples, ..]) = (&_scope, shape) {
            device(op, index)?.note_batch(*samples);
        }
        if let Some(pinned) = host.read().pinned() {
            return build(op, shape, dtype, to, |buffer| {
                buffer.upload_pinned(0, pinned, start, len)
            });
        }
        return host
            .with_bytes(|bytes| build(op, shape, dtype, to, |buffer| buffer.upload(0, bytes)))?;
    }
    let read = x.read();
    let Some(buffer) = read.cuda() else {
        return Ok(x.clone());
    };
    if non_blocking {
        let mut host = buffer.device().pin(len).map_err(|e| failed(op, e))?;
        let started = buffer.download_pinned(start, &mut host, len);
        started.map_err(|e| failed(op, e))?;
        return Ok(Tensor::from_memory(
            Memory::Pinned(Box::new(host)),
            shape,
            dtype,
        ));
    }
    let mut host = crate::storage::allocate(op, len)?;
    buffer
        .download(start, host.as_bytes_mut())
        .map_err(|e| failed(op, e))?;
    Ok(Tensor::from_buffer(host, shape, dtype))
}

/// A copy of the CPU's `x` in pinned memory: of the default device's allocator where that is one of
/// CUDA, else of the first one's.
#[track_caller]
pub(crate) fn pin(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "pin_memory";
    let index = match crate::default_device() {
        Device::Cuda(index) => index,
        Device::Cpu => 0,
    };
    let pinned = device(OP, index)?.pin(x.nbytes());
    let mut pinned = pinned.map_err(|e| failed(OP, e))?;
    in_memory_order(x, |x| {
        let target = pinned.slice_mut::<u8>().map_err(|e| failed(OP, e))?;
        x.with_bytes(|bytes| target.copy_from_slice(bytes))?;
        let memory = Memory::Pinned(Box::new(pinned));
        Ok(Tensor::from_memory(memory, x.shape(), x.dtype()))
    })
}

/// Where a tensor's elements lie.
fn place(t: &Tensor) -> Place<'_> {
    Place {
        ty: type_of(t.dtype()),
        offset: t.storage_offset(),
        shape: t.shape(),
        strides: t.strides(),
    }
}

/// Runs a formula over the tensors of several updates, those of each alike and without gaps: of each as
/// many that are written and read as `counts` says.
pub(crate) fn update(
    op: &'static str,
    formula: &Traced,
    counts: &[(usize, usize)],
    (written, write): (&[&Tensor], &mut [Write<'_>]),
    (others, read): (&[&Tensor], &[Read<'_>]),
) -> Result<()> {
    let absent = || Error::new(op, "expected tensors on a CUDA device");
    let mut written = written.iter().map(|t| place(t)).zip(write.iter_mut());
    let mut others = others.iter().map(|t| place(t)).zip(read);
    let mut groups = Vec::with_capacity(counts.len());
    for &(w, r) in counts {
        let mut group = Update {
            written: SmallVec::new(),
            read: SmallVec::new(),
        };
        for (place, guard) in written.by_ref().take(w) {
            let buffer = guard.cuda().ok_or_else(absent)?;
            group
                .written
                .push(SliceMut::new(buffer, place).map_err(|e| failed(op, e))?);
        }
        for (place, guard) in others.by_ref().take(r) {
            let buffer = guard.cuda().ok_or_else(absent)?;
            group
                .read
                .push(Slice::new(buffer, place).map_err(|e| failed(op, e))?);
        }
        groups.push(group);
    }
    if graph::collect(formula.body, &formula.constants) {
        return Ok(());
    }
    skip::with(|found| {
        let read = found.map(Tensor::read);
        let skip = match (found, &read) {
            (Some(t), Some(read)) => Some(slice(op, t, read, t.shape(), t.strides())?),
            _ => None,
        };
        flambeau_cuda::tensor::update(formula.body, &groups, &formula.constants, skip.as_ref())
            .map_err(|e| failed(op, e))
    })
}

/// Multiplies tensors on one CUDA device, without gaps and of one floating-point type, by the number
/// `scale` (0-d, `f32`, on that device), in place and in one launch where they are few; `found` (0-d,
/// `f32`) becomes 1 where an element is then not finite. The host waits for nothing.
///
/// # Errors
/// Where a tensor is elsewhere, of another type or has gaps, or two share memory.
#[track_caller]
pub fn unscale(tensors: &[&Tensor], scale: &Tensor, found: &Tensor) -> Result<()> {
    const OP: &str = "unscale_";
    let absent = || cuda::Error::new("expected tensors on a CUDA device");
    let written: Vec<&Tensor> = tensors.iter().copied().chain([found]).collect();
    for (i, t) in written.iter().enumerate() {
        if written[..i].iter().any(|other| other.shares_storage(t)) {
            return Err(Error::new(OP, "two of the gradients share memory"));
        }
    }
    {
        let (mut w, r) = crate::fused::lock(&written, &[scale]);
        let mut run = || -> cuda::Result<()> {
            let mut slices = Vec::with_capacity(written.len());
            for (t, guard) in written.iter().zip(w.iter_mut()) {
                slices.push(SliceMut::new(guard.cuda().ok_or_else(absent)?, place(t))?);
            }
            let mut found = slices.pop().ok_or_else(absent)?;
            let by = r.first().and_then(Read::cuda).ok_or_else(absent)?;
            let by = Slice::new(by, place(scale))?;
            flambeau_cuda::tensor::unscale(&slices, &by, &mut found)
        };
        run().map_err(|e| failed(OP, e))?;
    }
    for t in written {
        t.written(OP);
    }
    Ok(())
}

/// A new tensor of these strides on a device, under which its elements follow each other in some order;
/// `fill` writes them.
#[track_caller]
pub(crate) fn make_as(
    op: &'static str,
    shape: &[usize],
    strides: &[usize],
    (dtype, device): (DType, Device),
    fill: impl FnOnce(&mut SliceMut<'_>) -> cuda::Result<()>,
) -> Result<Tensor> {
    let out = build(op, shape, dtype, device, |buffer| {
        let place = Place {
            ty: type_of(dtype),
            offset: 0,
            shape,
            strides,
        };
        fill(&mut SliceMut::new(buffer, place)?)
    })?;
    Ok(out.restrided(Shape::from_slice(shape), Strides::from_slice(strides)))
}

/// A new contiguous tensor on a device, whose elements `fill` writes.
#[track_caller]
pub(crate) fn make(
    op: &'static str,
    shape: &[usize],
    dtype: DType,
    device: Device,
    fill: impl FnOnce(&mut SliceMut<'_>) -> cuda::Result<()>,
) -> Result<Tensor> {
    make_as(op, shape, &contiguous_strides(shape), (dtype, device), fill)
}

/// Calls `f` with the elements of `x`, which has to be on a device.
pub(crate) fn with_slice<R>(
    op: &'static str,
    x: &Tensor,
    f: impl FnOnce(&Slice<'_>) -> Result<R>,
) -> Result<R> {
    let read = x.read();
    f(&slice(op, x, &read, x.shape(), x.strides())?)
}

/// `x`, contiguous and of type `dtype`, without history.
pub(crate) fn packed(op: &'static str, x: &Tensor, dtype: DType) -> Result<Tensor> {
    match x.is_contiguous() && x.dtype() == dtype {
        true => Ok(x.detach()),
        false => convert(op, x, dtype),
    }
}
