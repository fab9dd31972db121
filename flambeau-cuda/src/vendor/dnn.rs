//! Convolutions by cuDNN's own convolution functions.
//!
//! The graph interface, which cuDNN would rather have, describes the same work by attributes that are
//! checked only against a device, and by engines that differ between devices. These functions take
//! whole descriptors, whose meaning cuDNN tells without one.

use super::settings;
use super::{Factor, Handle, Made, PLANS, Refusal, Status, possible};
use crate::driver::Call;
use crate::driver::cudnn::{self as c, Choice, Cudnn};
use crate::error::{Error, Result};
use crate::tensor::Convolution;
use crate::{Buffer, Device, Ptr, Type};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// Which member of the family, and so which tensors it takes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Convolve {
    /// Input, weight; to the output.
    Forward,
    /// Weight, the output's gradient; to the input's.
    Data,
    /// Input, the output's gradient; to the weight's.
    Weight,
}

/// What a decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: Convolve,
    pub(super) ty: Type,
    pub(super) of: Convolution,
    pub(super) tf32: bool,
    pub(super) benchmark: bool,
    pub(super) deterministic: bool,
}

/// A decision: the descriptors of the three tensors and of the convolution, and what may compute it,
/// the best first.
pub(super) struct Plan {
    tensors: [Made; 3],
    convolution: Made,
    pub(super) choices: SmallVec<[Algorithm; 4]>,
}

#[derive(Clone, Copy)]
pub(super) struct Algorithm {
    pub(super) number: c_int,
    pub(super) math: c_int,
    workspace: usize,
}

/// The library on one device.
pub(crate) struct Dnn {
    library: &'static Cudnn,
    handle: Handle,
    /// `None` for what the library has no way to do.
    plans: Mutex<HashMap<Key, Option<Plan>>>,
}

// SAFETY: the handle may be used from any thread, by one at a time: the lock on the plans is held.
unsafe impl Send for Dnn {}
// SAFETY: as above.
unsafe impl Sync for Dnn {}

/// The functions of a member of the family.
struct Functions {
    choose: unsafe extern "C" fn(
        Handle,
        Handle,
        Handle,
        Handle,
        Handle,
        c_int,
        *mut c_int,
        *mut Choice,
    ) -> Status,
    time: unsafe extern "C" fn(
        Handle,
        Handle,
        *const c_void,
        Handle,
        *const c_void,
        Handle,
        Handle,
        *mut c_void,
        c_int,
        *mut c_int,
        *mut Choice,
        *mut c_void,
        usize,
    ) -> Status,
    workspace:
        unsafe extern "C" fn(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status,
    run: unsafe extern "C" fn(
        Handle,
        *const c_void,
        Handle,
        *const c_void,
        Handle,
        *const c_void,
        Handle,
        c_int,
        *mut c_void,
        usize,
        *const c_void,
        Handle,
        *mut c_void,
    ) -> Status,
}

impl Convolve {
    fn functions(self, l: &Cudnn) -> Functions {
        match self {
            Convolve::Forward => Functions {
                choose: l.cudnnGetConvolutionForwardAlgorithm_v7,
                time: l.cudnnFindConvolutionForwardAlgorithmEx,
                workspace: l.cudnnGetConvolutionForwardWorkspaceSize,
                run: l.cudnnConvolutionForward,
            },
            Convolve::Data => Functions {
                choose: l.cudnnGetConvolutionBackwardDataAlgorithm_v7,
                time: l.cudnnFindConvolutionBackwardDataAlgorithmEx,
                workspace: l.cudnnGetConvolutionBackwardDataWorkspaceSize,
                run: l.cudnnConvolutionBackwardData,
            },
            Convolve::Weight => Functions {
                choose: l.cudnnGetConvolutionBackwardFilterAlgorithm_v7,
                time: l.cudnnFindConvolutionBackwardFilterAlgorithmEx,
                workspace: l.cudnnGetConvolutionBackwardFilterWorkspaceSize,
                run: l.cudnnConvolutionBackwardFilter,
            },
        }
    }
}

/// Sizes and steps as the library counts them.
type Ints = SmallVec<[c_int; 5]>;

fn int(v: usize) -> std::result::Result<c_int, Refusal> {
    c_int::try_from(v).map_err(|_| Refusal::Unsupported)
}

impl Dnn {
    /// Starts the library on the device that is current, for its stream.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn open(library: &'static Cudnn, stream: Handle) -> Result<Dnn> {
        let mut handle = null_mut();
        // SAFETY: writes one handle, which is kept for the life of the process, as is the stream.
        let status = unsafe {
            match (library.cudnnCreate)(&mut handle) {
                0 => (library.cudnnSetStream)(handle, stream),
                status => status,
            }
        };
        if status != 0 {
            return Err(Error::new(format!(
                "starting cuDNN failed: {}",
                library.describe(status)
            )));
        }
        let plans = Mutex::default();
        Ok(Dnn {
            library,
            handle,
            plans,
        })
    }

    /// Puts a convolution on the device's stream, of tensors without gaps. False, with nothing done, where
    /// the library has no way to compute it.
    ///
    /// # Errors
    /// Where the library or the device fails.
    ///
    /// # Safety
    /// The addresses lead to tensors of the device, in the order of `kind`, with as many elements as
    /// the geometry says; that of the result is borrowed exclusively.
    pub(crate) unsafe fn run(
        &self,
        device: &'static Device,
        kind: Convolve,
        ty: Type,
        of: &Convolution,
        [first, second, result]: [Ptr; 3],
    ) -> Result<bool> {
        // Makes the device current: the handle has its stream.
        device.stream()?;
        let key = Key {
            kind,
            ty,
            of: *of,
            tf32: ty == Type::F32 && settings::CUDNN_TF32.get(),
            // Timing waits, which a capture does not stand.
            benchmark: settings::CUDNN_BENCHMARK.get() && !device.is_capturing(),
            deterministic: settings::CUDNN_DETERMINISTIC.get(),
        };
        let places = (
            [first, second].map(|p| p as *const c_void),
            result as *mut c_void,
        );
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS && !plans.contains_key(&key) {
            plans.clear();
        }
        let plan = match plans.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            // SAFETY: the caller's: the result may be written.
            Entry::Vacant(new) => new.insert(possible(unsafe { self.plan(device, &key, places) })?),
        };
        let Some(plan) = plan else {
            return Ok(false);
        };
        // The best for whose workspace there is memory. The others are not asked for again: to find that
        // there is none empties the allocator's cache. Our own kernel needs none.
        let mut works = None;
        while let Some(&choice) = plan.choices.first() {
            if let Ok(workspace) = device.allocate(choice.workspace) {
                works = Some((choice, workspace));
                break;
            }
            plan.choices.remove(0);
        }
        let Some((choice, workspace)) = works else {
            return Ok(false);
        };
        device.hold(&[first, second, result])?;
        let call = self.call(&key, plan, choice, &workspace, [first, second, result]);
        let done = device.driver().enqueue(call)?;
        if !done {
            plans.insert(key, None);
        }
        Ok(done)
    }

    /// What the library has no way to compute, of what it was asked.
    pub(crate) fn refused(&self) -> Vec<String> {
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = plans.iter().filter(|(_, plan)| plan.is_none());
        refused
            .map(|(key, _)| format!("cuDNN: {:?} of {:?}, {:?}", key.kind, key.ty, key.of))
            .collect()
    }

    /// What puts it on the stream: of [`run`](Self::run)'s tensors and by its promises.
    fn call(
        &self,
        key: &Key,
        plan: &Plan,
        choice: Algorithm,
        workspace: &Buffer,
        [first, second, result]: [Ptr; 3],
    ) -> Call {
        let (l, handle, functions) = (
            self.library,
            self.handle as usize,
            key.kind.functions(self.library),
        );
        let [a, b, to] = plan.tensors.each_ref().map(|t| t.handle as usize);
        let (convolution, ty) = (plan.convolution.handle as usize, key.ty);
        let at = workspace.address();
        Box::new(move || {
            let (one, zero) = (Factor::new(ty, 1.0), Factor::new(ty, 0.0));
            // SAFETY: the descriptors are the plan's; memory is as the caller of `run` says, and the
            // workspace is used by nothing that runs before this is done.
            let done = possible(unsafe {
                let set = (l.cudnnSetConvolutionMathType)(convolution as Handle, choice.math);
                check(l, set).and_then(|()| {
                    let status = (functions.run)(
                        handle as Handle,
                        one.pointer(),
                        a as Handle,
                        first as *const c_void,
                        b as Handle,
                        second as *const c_void,
                        convolution as Handle,
                        choice.number,
                        at as *mut c_void,
                        choice.workspace,
                        zero.pointer(),
                        to as Handle,
                        result as *mut c_void,
                    );
                    check(l, status)
                })
            });
            done.map(|done| done.is_some())
        })
    }

    /// Describes the tensors and decides how to compute.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    pub(super) unsafe fn plan(
        &self,
        device: &'static Device,
        key: &Key,
        places: ([*const c_void; 2], *mut c_void),
    ) -> std::result::Result<Plan, Refusal> {
        let described = describe(self.library, key)?;
        let Described {
            tensors,
            convolution,
            math,
        } = &described;
        let functions = key.kind.functions(self.library);
        let [a, b, to] = tensors.each_ref().map(|t| t.handle);
        let mut found = [Choice::default(); 10];
        let mut count = 0;
        // SAFETY: writes as many results as there is room for.
        self.check(unsafe {
            let (asked, to_write) = (found.len() as c_int, found.as_mut_ptr());
            (functions.choose)(
                self.handle,
                a,
                b,
                convolution.handle,
                to,
                asked,
                &mut count,
                to_write,
            )
        })?;
        let workspace = |choice: &Choice| -> std::result::Result<Algorithm, Refusal> {
            // Where TF32 is not wanted no choice brings it back.
            let math = match *math {
                c::CUDNN_FMA_MATH => c::CUDNN_FMA_MATH,
                _ => choice.math,
            };
            let mut bytes = 0;
            // SAFETY: sets a number of the descriptor, and writes one.
            unsafe {
                self.check((self.library.cudnnSetConvolutionMathType)(
                    convolution.handle,
                    math,
                ))?;
                self.check((functions.workspace)(
                    self.handle,
                    a,
                    b,
                    convolution.handle,
                    to,
                    choice.algorithm,
                    &mut bytes,
                ))?;
            }
            let (number, workspace) = (choice.algorithm, bytes);
            Ok(Algorithm {
                number,
                math,
                workspace,
            })
        };
        let works = |choice: &&Choice| {
            choice.status == 0
                && (!key.deterministic || choice.determinism == c::CUDNN_DETERMINISTIC)
        };
        let usable = |found: &[Choice]| -> SmallVec<[Algorithm; 4]> {
            let found = found.iter().filter(works);
            found.filter_map(|c| workspace(c).ok()).collect()
        };
        let mut choices = usable(&found[..count as usize]);
        if key.benchmark && !choices.is_empty() {
            // SAFETY: resets the descriptor; so below.
            self.check(unsafe {
                (self.library.cudnnSetConvolutionMathType)(convolution.handle, *math)
            })?;
            let mut sizes: Vec<usize> = choices.iter().map(|c| c.workspace).collect();
            sizes.sort_unstable();
            let largest = sizes
                .iter()
                .rev()
                .find_map(|&bytes| device.allocate(bytes).ok());
            let memory = largest.as_ref().map_or((0, 0), |b| (b.address(), b.len()));
            let ([first, second], result) = places;
            // SAFETY: as above; it computes into the result and works in the workspace, both of which
            // are the caller's to be written.
            let status = unsafe {
                let (asked, to_write) = (found.len() as c_int, found.as_mut_ptr());
                (functions.time)(
                    self.handle,
                    a,
                    first,
                    b,
                    second,
                    convolution.handle,
                    to,
                    result,
                    asked,
                    &mut count,
                    to_write,
                    memory.0 as *mut c_void,
                    memory.1,
                )
            };
            // What could not be timed is left to the heuristic.
            if status == 0 {
                let timed = usable(&found[..count as usize]);
                choices = if timed.is_empty() { choices } else { timed };
            }
        }
        if choices.is_empty() {
            return Err(Refusal::Unsupported);
        }
        let Described {
            tensors,
            convolution,
            ..
        } = described;
        Ok(Plan {
            tensors,
            convolution,
            choices,
        })
    }

    fn check(&self, status: Status) -> std::result::Result<(), Refusal> {
        check(self.library, status)
    }
}

fn check(library: &Cudnn, status: Status) -> std::result::Result<(), Refusal> {
    match status {
        0 => Ok(()),
        c::CUDNN_STATUS_BAD_PARAM..c::CUDNN_STATUS_INTERNAL_ERROR => Err(Refusal::Unsupported),
        _ => Err(Refusal::Failed(Error::new(library.describe(status)))),
    }
}

/// The descriptors of a convolution: of the tensors in the order of its kind, and of the rest.
pub(super) struct Described {
    pub(super) tensors: [Made; 3],
    pub(super) convolution: Made,
    /// The kind of arithmetic that was asked for.
    math: c_int,
}

/// Tells the library of a convolution; no device is needed.
pub(super) fn describe(l: &'static Cudnn, key: &Key) -> std::result::Result<Described, Refusal> {
    let Convolution {
        batch,
        channels: [ins, outs, groups],
        sizes: [input, output, kernel],
        steps: [stride, padding, dilation],
        channels_last,
    } = key.of;
    let (ty, compute) = match key.ty {
        Type::F16 => (c::CUDNN_DATA_HALF, c::CUDNN_DATA_FLOAT),
        Type::BF16 => (c::CUDNN_DATA_BFLOAT16, c::CUDNN_DATA_FLOAT),
        Type::F32 => (c::CUDNN_DATA_FLOAT, c::CUDNN_DATA_FLOAT),
        Type::F64 => (c::CUDNN_DATA_DOUBLE, c::CUDNN_DATA_DOUBLE),
        _ => return Err(Refusal::Unsupported),
    };
    let math = match key.ty {
        Type::F16 | Type::BF16 => c::CUDNN_TENSOR_OP_MATH,
        Type::F32 if !key.tf32 => c::CUDNN_FMA_MATH,
        _ => c::CUDNN_DEFAULT_MATH,
    };
    // Planes rather than volumes of depth 1, which have far more algorithms.
    let flat = [input[0], output[0], kernel[0]] == [1; 3] && padding[0] == 0;
    let skip = usize::from(flat);
    let ints = |front: &[usize], rest: [usize; 3]| -> std::result::Result<Ints, Refusal> {
        (front.iter().chain(&rest[skip..]))
            .map(|&v| int(v))
            .collect()
    };
    let check = |status| check(l, status);
    let tensor = |channels, sizes: [usize; 3]| -> std::result::Result<Made, Refusal> {
        let sizes = ints(&[batch, channels], sizes)?;
        let mut strides = sizes.clone();
        let mut step = 1usize;
        // From the innermost dimension on.
        let mut order: SmallVec<[usize; 5]> = (0..sizes.len()).rev().collect();
        if channels_last {
            let channels = order.remove(sizes.len() - 2);
            order.insert(0, channels);
        }
        for d in order {
            strides[d] = int(step)?;
            step = step.saturating_mul(sizes[d] as usize);
        }
        // Offsets are counted in 32 bits.
        int(step)?;
        let mut made = Made::new(l.cudnnDestroyTensorDescriptor);
        // SAFETY: writes a handle, and reads as many numbers as it is told.
        unsafe {
            check((l.cudnnCreateTensorDescriptor)(&mut made.handle))?;
            let (sizes, strides) = (sizes.as_ptr(), strides.as_ptr());
            let count = 5 - skip as c_int;
            check((l.cudnnSetTensorNdDescriptor)(
                made.handle,
                ty,
                count,
                sizes,
                strides,
            ))?;
        }
        Ok(made)
    };
    let filter = || -> std::result::Result<Made, Refusal> {
        let sizes = ints(&[outs, ins / groups], kernel)?;
        let mut made = Made::new(l.cudnnDestroyFilterDescriptor);
        // SAFETY: as above.
        unsafe {
            check((l.cudnnCreateFilterDescriptor)(&mut made.handle))?;
            let format = match channels_last {
                true => c::CUDNN_TENSOR_NHWC,
                false => c::CUDNN_TENSOR_NCHW,
            };
            let count = 5 - skip as c_int;
            check((l.cudnnSetFilterNdDescriptor)(
                made.handle,
                ty,
                format,
                count,
                sizes.as_ptr(),
            ))?;
        }
        Ok(made)
    };
    let (x, y, w) = (tensor(ins, input)?, tensor(outs, output)?, filter()?);
    let mut convolution = Made::new(l.cudnnDestroyConvolutionDescriptor);
    let [padding, stride, dilation] = [padding, stride, dilation].map(|v| ints(&[], v));
    let (padding, stride, dilation) = (padding?, stride?, dilation?);
    // SAFETY: as above.
    unsafe {
        check((l.cudnnCreateConvolutionDescriptor)(
            &mut convolution.handle,
        ))?;
        check((l.cudnnSetConvolutionNdDescriptor)(
            convolution.handle,
            3 - skip as c_int,
            padding.as_ptr(),
            stride.as_ptr(),
            dilation.as_ptr(),
            c::CUDNN_CROSS_CORRELATION,
            compute,
        ))?;
        check((l.cudnnSetConvolutionGroupCount)(
            convolution.handle,
            int(groups)?,
        ))?;
        check((l.cudnnSetConvolutionMathType)(convolution.handle, math))?;
    }
    Ok(Described {
        tensors: match key.kind {
            Convolve::Forward => [x, w, y],
            Convolve::Data => [w, y, x],
            Convolve::Weight => [x, y, w],
        },
        convolution,
        math,
    })
}
