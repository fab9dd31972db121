//! What a module is made of: parameters, buffers and the mode it runs in.

use flambeau_core::cuda::scope::{self, Scope};
use flambeau_core::{Error, Result, Tensor};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A dotted name, given when the tree around it is first walked. The longest walk wins, so that a
/// look at a part of the tree does not shorten what the whole tree gave.
#[derive(Default)]
pub(crate) struct NameCell(Mutex<Option<Arc<str>>>);

impl NameCell {
    fn get(&self) -> Option<Arc<str>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, name: &str) {
        let depth = |s: &str| s.split('.').count();
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_deref().is_none_or(|old| depth(old) < depth(name)) {
            *slot = Some(name.into());
        }
    }
}

/// A tensor that a module learns
/// ([`torch.nn.Parameter`](https://pytorch.org/docs/stable/generated/torch.nn.Parameter.html)): a
/// leaf that requires a gradient
/// ([`torch.nn.parameter.Parameter`](https://pytorch.org/docs/stable/generated/torch.nn.parameter.Parameter.html)).
///
/// It derefs to its [`Tensor`]. Cloning copies the handle: both are the same parameter, which is how
/// two layers share a weight.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::Parameter;
/// let scale = Parameter::new(Tensor::ones([3])?)?;
/// assert!(scale.requires_grad() && scale.shape() == [3]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Parameter {
    tensor: Tensor,
    name: Arc<NameCell>,
}

impl Parameter {
    /// A parameter over the memory of `data`.
    ///
    /// # Errors
    /// Where `data` is not of a floating-point type.
    #[track_caller]
    pub fn new(data: Tensor) -> Result<Parameter> {
        Ok(Parameter::from(data.detach().requires_grad_(true)?))
    }

    /// The tensor itself.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// PyTorch's name in the tree, such as `conv1.weight`, once `parameters()`, `to`, `state_dict`
    /// or the like have walked it.
    pub fn name(&self) -> Option<Arc<str>> {
        self.name.get()
    }

    pub(crate) fn set_name(&self, name: &str) {
        self.name.set(name);
    }

    /// The same parameter of the tree with another tensor behind it.
    pub(crate) fn replace(&mut self, tensor: Tensor) {
        self.tensor = tensor;
    }
}

/// The tensor becomes the parameter as it is, whether or not it requires a gradient.
impl From<Tensor> for Parameter {
    fn from(tensor: Tensor) -> Parameter {
        Parameter {
            tensor,
            name: Arc::default(),
        }
    }
}

impl From<&Tensor> for Parameter {
    fn from(tensor: &Tensor) -> Parameter {
        tensor.clone().into()
    }
}

impl From<&Parameter> for Parameter {
    fn from(parameter: &Parameter) -> Parameter {
        parameter.clone()
    }
}

impl Deref for Parameter {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Parameter({}{:?}, {})",
            self.name().map_or(String::new(), |n| format!("{n}, ")),
            self.shape(),
            self.dtype()
        )
    }
}

/// A tensor that belongs to a module without being learned, such as a running mean
/// ([`torch.nn.parameter.Buffer`](https://pytorch.org/docs/stable/generated/torch.nn.parameter.Buffer.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Buffer, Module};
/// #[derive(Module)]
/// struct Count { seen: Buffer }
/// let count = Count { seen: Buffer::new(Tensor::zeros(())?) };
/// assert_eq!((count.parameters().len(), count.state_dict().len()), (0, 1));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub struct Buffer {
    tensor: Tensor,
    persistent: bool,
}

impl Buffer {
    /// A buffer that the state dict holds.
    pub fn new(data: Tensor) -> Buffer {
        Buffer {
            tensor: data,
            persistent: true,
        }
    }

    /// A buffer that moves with the module but is not saved (`persistent=False`).
    pub fn not_persistent(data: Tensor) -> Buffer {
        Buffer {
            tensor: data,
            persistent: false,
        }
    }

    /// The tensor itself.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Whether the state dict holds it.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    pub(crate) fn replace(&mut self, tensor: Tensor) {
        self.tensor = tensor;
    }
}

impl Deref for Buffer {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({:?}, {})", self.shape(), self.dtype())
    }
}

/// Whether a module trains, and where it stands in its tree.
///
/// Every layer has one. A struct of the user needs one only to tell training from evaluation while
/// it holds no layer at all; [`Module::is_training`](crate::Module::is_training) finds the first one
/// of the tree.
///
/// ```
/// use flambeau_nn::{Mode, Module};
/// #[derive(Module)]
/// struct Noise { mode: Mode }
/// let noise = Noise { mode: Mode::default() };
/// noise.eval();
/// assert!(!noise.mode.is_training());
/// ```
pub struct Mode {
    training: AtomicBool,
    path: NameCell,
    /// Options that do not fit together: constructors return the layer itself, as PyTorch's do, so
    /// the error waits for the first call that can return one.
    fault: Option<(String, &'static Location<'static>)>,
}

impl Default for Mode {
    /// Training, as a new module is in PyTorch.
    fn default() -> Mode {
        Mode {
            training: AtomicBool::new(true),
            path: NameCell::default(),
            fault: None,
        }
    }
}

impl Mode {
    /// Whether the module trains.
    #[inline]
    pub fn is_training(&self) -> bool {
        self.training.load(Ordering::Relaxed)
    }

    pub(crate) fn set_training(&self, training: bool) {
        self.training.store(training, Ordering::Relaxed);
    }

    /// The module's place in the tree, such as `net.features.0`, once the tree was walked.
    pub fn path(&self) -> Option<Arc<str>> {
        self.path.get()
    }

    pub(crate) fn set_path(&self, path: &str) {
        self.path.set(path);
    }

    /// The later options decide: `None` takes a fault back.
    #[track_caller]
    pub(crate) fn set_fault(&mut self, fault: Option<String>) {
        let at = Location::caller();
        self.fault = fault.map(|text| (text, at));
    }

    /// While it lives, memory of the device that `input` is on counts as the module's; `None`, at no
    /// cost, on the CPU.
    #[inline]
    pub(crate) fn scope(&self, layer: &str, input: &Tensor) -> Option<Scope> {
        input.is_cuda().then(|| match self.path() {
            Some(path) => scope::module(&path),
            None => scope::module(layer),
        })
    }

    /// The options' error, if there is one.
    pub(crate) fn check(&self, layer: &'static str) -> Result<()> {
        match &self.fault {
            None => Ok(()),
            Some((text, location)) => Err(Error::at(layer, text.clone(), location)),
        }
    }

    /// Adds to an error where in the tree it happened: `net.fc1 Linear(256 -> 10)`.
    #[cold]
    pub(crate) fn locate(&self, error: Error, layer: impl fmt::Display) -> Error {
        match self.path() {
            Some(path) => error.in_module(format!("{path} {layer}")),
            None => error.in_module(layer.to_string()),
        }
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_training() {
            "training"
        } else {
            "evaluating"
        })
    }
}
