//! The tree of modules: what it is made of, and everything that is done to all of it.

pub(crate) mod container;
#[doc(hidden)]
pub mod derive;
mod load;

pub use load::{LoadReport, StateDict};

use crate::parameter::{Buffer, Mode, Parameter};
use flambeau_core::cuda::scope;
use flambeau_core::{DType, Device, MemoryFormat, Result, Tensor, no_grad};
use std::any::Any;

/// A part of a module that the tree knows.
pub enum Item<'a> {
    /// Something learned.
    Parameter(&'a Parameter),
    /// Something kept.
    Buffer(&'a Buffer),
    /// The training flag.
    Mode(&'a Mode),
    /// A module in the module.
    Module(&'a dyn Module),
}

/// [`Item`] for changing.
pub enum ItemMut<'a> {
    /// Something learned.
    Parameter(&'a mut Parameter),
    /// Something kept.
    Buffer(&'a mut Buffer),
    /// The training flag.
    Mode(&'a mut Mode),
    /// A module in the module.
    Module(&'a mut dyn Module),
}

/// What [`Module::visit`] calls with each part and its name.
pub type Visit<'f, 'a> = dyn FnMut(&str, Item<'a>) + 'f;
/// What [`Module::visit_mut`] calls with each part.
pub type VisitMut<'f> = dyn FnMut(ItemMut<'_>) -> Result<()> + 'f;

/// A place or type that [`Module::to`] brings a module to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Target {
    device: Option<Device>,
    dtype: Option<DType>,
    memory_format: Option<MemoryFormat>,
}

impl From<Device> for Target {
    fn from(device: Device) -> Target {
        Target {
            device: Some(device),
            ..Target::default()
        }
    }
}

impl From<DType> for Target {
    fn from(dtype: DType) -> Target {
        Target {
            dtype: Some(dtype),
            ..Target::default()
        }
    }
}

impl From<MemoryFormat> for Target {
    fn from(format: MemoryFormat) -> Target {
        Target {
            memory_format: Some(format),
            ..Target::default()
        }
    }
}

impl From<(Device, MemoryFormat)> for Target {
    fn from((device, format): (Device, MemoryFormat)) -> Target {
        Target {
            device: Some(device),
            ..format.into()
        }
    }
}

impl From<(Device, DType)> for Target {
    fn from((device, dtype): (Device, DType)) -> Target {
        Target {
            device: Some(device),
            ..dtype.into()
        }
    }
}

/// A layer or a network of them
/// ([`torch.nn.Module`](https://pytorch.org/docs/stable/generated/torch.nn.Module.html)); derive
/// it.
///
/// ```
/// use flambeau_core::{Result, Tensor};
/// use flambeau_nn::{Forward, Linear, Module};
///
/// #[derive(Module)]
/// struct Net { fc1: Linear, fc2: Linear, width: usize }
///
/// let net = Net { fc1: Linear::new(8, 4), fc2: Linear::new(4, 2), width: 4 };
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
/// assert_eq!(net.num_parameters(), 8 * net.width + 4 + 4 * 2 + 2);
/// ```
///
/// A module holds no borrowed data (`'static`) and may be used from several threads.
pub trait Module: Any + Send + Sync {
    /// The name that is printed: `Conv2d`.
    fn type_name(&self) -> &'static str;

    /// Calls `visit` with each part of this module, not of the modules in it, in order.
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>);

    /// The same for changing; stops at the first error.
    ///
    /// # Errors
    /// Those of `visit`.
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()>;

    /// This module without its type: `self` in each implementation.
    fn as_module(&self) -> &dyn Module;

    /// What is printed between the brackets: `3, 6, kernel_size=(5, 5), stride=(1, 1)`.
    fn extra_repr(&self) -> String {
        String::new()
    }

    /// The text of PyTorch's `print(module)`; `Display` writes it.
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module, ReLU, Sequential};
    /// let net = Sequential::new((Linear::new(2, 1), ReLU::new()));
    /// assert!(net.repr().contains("  (0): Linear(in_features=2, out_features=1, bias=True)"));
    /// ```
    fn repr(&self) -> String {
        let extra = self.extra_repr();
        let children: Vec<String> = self
            .named_children()
            .iter()
            .map(|(name, child)| format!("({name}): {}", indent(&child.repr())))
            .collect();
        layout(self.type_name(), &extra, &children)
    }

    /// The modules directly in this one, with their names.
    fn named_children(&self) -> Vec<(String, &dyn Module)> {
        let mut children = Vec::new();
        self.visit(&mut |name, item| {
            if let Item::Module(child) = item {
                children.push((name.to_owned(), child));
            }
        });
        children
    }

    /// The modules directly in this one.
    fn children(&self) -> Vec<&dyn Module> {
        self.named_children().into_iter().map(|(_, m)| m).collect()
    }

    /// This module under the empty name and every module below it, each before those in it.
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module, ReLU, Sequential};
    /// let net = Sequential::new((Linear::new(2, 1), ReLU::new()));
    /// let names: Vec<_> = net.named_modules().into_iter().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["", "0", "1"]);
    /// ```
    fn named_modules(&self) -> Vec<(String, &dyn Module)> {
        let mut modules = Vec::new();
        walk("", self.as_module(), &mut |name, m| {
            modules.push((name.to_owned(), m));
        });
        modules
    }

    /// This module and every module below it.
    fn modules(&self) -> Vec<&dyn Module> {
        self.named_modules().into_iter().map(|(_, m)| m).collect()
    }

    /// Every parameter of the tree with PyTorch's name, those of a module before those of the
    /// modules in it; a shared one once.
    fn named_parameters(&self) -> Vec<(String, Parameter)> {
        let mut found: Vec<(String, Parameter)> = Vec::new();
        each_item(self.as_module(), &mut |name, item| {
            if let Item::Parameter(p) = item
                && !found.iter().any(|(_, old)| old.is(p))
            {
                found.push((name.to_owned(), p.clone()));
            }
        });
        found
    }

    /// Every parameter of the tree; a shared one once. What optimizers take.
    fn parameters(&self) -> Vec<Parameter> {
        self.named_parameters()
            .into_iter()
            .map(|(_, p)| p)
            .collect()
    }

    /// Every buffer of the tree with PyTorch's name.
    fn named_buffers(&self) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        each_item(self.as_module(), &mut |name, item| {
            if let Item::Buffer(b) = item {
                found.push((name.to_owned(), b.tensor().clone()));
            }
        });
        found
    }

    /// Every buffer of the tree.
    fn buffers(&self) -> Vec<Tensor> {
        self.named_buffers().into_iter().map(|(_, b)| b).collect()
    }

    /// How many numbers the tree learns.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(|p| p.numel()).sum()
    }

    /// Sets the whole tree to training: dropout drops, batch norm normalises by the batch.
    fn train(&self) {
        self.set_training(true);
    }

    /// Sets the whole tree to evaluation.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Dropout, Forward, Module};
    /// let layer = Dropout::new(0.5);
    /// layer.eval();
    /// assert_eq!(layer.forward(&Tensor::ones([4])?)?.to_vec::<f32>()?, [1.0; 4]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    fn eval(&self) {
        self.set_training(false);
    }

    /// [`train`](Module::train) or [`eval`](Module::eval) (`module.train(mode)`).
    fn set_training(&self, training: bool) {
        each_item(self.as_module(), &mut |_, item| {
            if let Item::Mode(mode) = item {
                mode.set_training(training);
            }
        });
    }

    /// Whether the module trains: the flag of the first module of the tree that has one (every layer
    /// has), else true.
    fn is_training(&self) -> bool {
        let mut found = None;
        self.visit(&mut |_, item| match item {
            _ if found.is_some() => {}
            Item::Mode(mode) => found = Some(mode.is_training()),
            _ => {}
        });
        if found.is_none() {
            walk("", self.as_module(), &mut |_, m| {
                m.visit(&mut |_, item| match item {
                    Item::Mode(mode) if found.is_none() => found = Some(mode.is_training()),
                    _ => {}
                });
            });
        }
        found.unwrap_or(true)
    }

    /// Drops the gradient of every parameter.
    fn zero_grad(&self) {
        self.parameters().iter().for_each(|p| p.zero_grad());
    }

    /// Says whether the parameters of the tree are learned; false freezes them.
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module};
    /// let frozen = Linear::new(2, 1);
    /// frozen.requires_grad_(false)?;
    /// assert!(frozen.parameters().iter().all(|p| !p.requires_grad()));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where a parameter cannot require gradients (see [`Tensor::requires_grad_`]).
    #[track_caller]
    fn requires_grad_(&self, requires_grad: bool) -> Result<()> {
        for p in self.parameters() {
            p.tensor().requires_grad_(requires_grad)?;
        }
        Ok(())
    }

    /// Calls `f` with every module of the tree, those in a module before itself (`Module.apply`).
    /// [`downcast_ref`](trait.Module.html#method.downcast_ref) tells which layer it is.
    ///
    /// ```
    /// use flambeau_nn::init::constant_;
    /// use flambeau_nn::{Linear, Module, Sequential};
    /// let net = Sequential::new((Linear::new(2, 2), Linear::new(2, 1)));
    /// net.apply(&mut |module| {
    ///     if let Some(fc) = module.downcast_ref::<Linear>() {
    ///         constant_(&fc.weight, 0.5).unwrap();
    ///     }
    /// });
    /// assert_eq!(net.parameters()[2].to_vec::<f32>()?, [0.5, 0.5]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    fn apply(&self, f: &mut dyn FnMut(&dyn Module)) {
        self.children().into_iter().for_each(|m| m.apply(f));
        f(self.as_module());
    }

    /// On `target`: a [`Device`], a floating-point [`DType`], a [`MemoryFormat`], or a device and one of
    /// these. A parameter or buffer that is already there stays the same tensor; integer ones keep their
    /// type, those of another number of dimensions than a format is for their layout; gradients come along.
    ///
    /// Call it before an optimizer is given the parameters: what is moved is a new tensor.
    ///
    /// ```
    /// use flambeau_core::{DType, MemoryFormat};
    /// use flambeau_nn::{Conv2d, Linear, Module};
    /// assert_eq!(Linear::new(2, 1).to(DType::F64)?.weight.dtype(), DType::F64);
    /// let conv = Conv2d::new(3, 8, 3).to(MemoryFormat::ChannelsLast)?;
    /// assert_eq!(conv.weight.strides(), [27, 1, 9, 3]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not available, the type is not a floating-point one, or a layer of the
    /// tree was built with options that do not fit together.
    #[track_caller]
    fn to(mut self, target: impl Into<Target>) -> Result<Self>
    where
        Self: Sized,
    {
        let target = target.into();
        if let Some(dtype) = target.dtype
            && !dtype.is_floating_point()
        {
            flambeau_core::bail!(
                "Module::to",
                "a module can be brought to a floating-point type, not to {dtype}"
            );
        }
        if let Some(device) = target.device {
            device.check()?;
        }
        each_item(self.as_module(), &mut |_, _| ());
        let mut moved = Vec::new();
        let _memory = scope::role(scope::Role::Parameter);
        no_grad(|| bring(&mut self, target, &mut moved))?;
        Ok(self)
    }

    /// Every parameter and persistent buffer by PyTorch's name, sharing memory with the module.
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module};
    /// let fc = Linear::new(3, 2);
    /// let state = fc.state_dict();
    /// assert_eq!(state.keys().collect::<Vec<_>>(), ["weight", "bias"]);
    /// Linear::new(3, 2).load_state_dict(&state, true)?;
    /// let error = Linear::new(4, 2).load_state_dict(&state, true).unwrap_err().to_string();
    /// assert!(error.contains("weight: [2, 3] in the state dict, [2, 4] in the module"), "{error}");
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        each_item(self.as_module(), &mut |name, item| match item {
            Item::Parameter(p) => state.insert(name, p.detach()),
            Item::Buffer(b) if b.is_persistent() => state.insert(name, b.detach()),
            _ => {}
        });
        state
    }

    /// Copies the tensors of `state` into the parameters and buffers of the same names, converting
    /// types. Either all are loaded or none.
    ///
    /// A batch norm's `num_batches_tracked` may be missing, as in files older than PyTorch 0.4.1.
    ///
    /// # Errors
    /// Lists at once every missing and unexpected name (where `strict`) and every shape that
    /// differs. Without `strict`, missing and unexpected names are returned instead.
    #[track_caller]
    fn load_state_dict(&self, state: &StateDict, strict: bool) -> Result<LoadReport> {
        load::load(self.as_module(), state, strict)
    }
}

impl dyn Module {
    /// This module as a `T`, where it is one.
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module, ReLU};
    /// let layer: Box<dyn Module> = Box::new(Linear::new(2, 1));
    /// assert!(layer.downcast_ref::<Linear>().is_some() && !layer.is::<ReLU>());
    /// ```
    pub fn downcast_ref<T: Module>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }

    /// Whether this module is a `T`.
    pub fn is<T: Module>(&self) -> bool {
        self.downcast_ref::<T>().is_some()
    }
}

/// A module from one tensor to one tensor, which containers can call.
///
/// A network used on its own can have a plain `forward` of any form instead.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, Linear, ReLU, Sequential};
/// let layers: Vec<Box<dyn Forward>> = vec![Box::new(Linear::new(2, 3)), Box::new(ReLU::new())];
/// assert_eq!(Sequential::new(layers).forward(&Tensor::ones([1, 2])?)?.shape(), [1, 3]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait Forward: Module {
    /// The output for `input`.
    ///
    /// # Errors
    /// Where the input does not fit the module.
    fn forward(&self, input: &Tensor) -> Result<Tensor>;
}

pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// Every module of the tree with its dotted name, each before those in it.
pub(crate) fn walk<'a>(
    name: &str,
    module: &'a dyn Module,
    f: &mut dyn FnMut(&str, &'a dyn Module),
) {
    f(name, module);
    module.visit(&mut |field, item| {
        if let Item::Module(child) = item {
            walk(&join(name, field), child, f);
        }
    });
}

/// Every parameter, then every buffer, of each module of the tree in PyTorch's order, and the modes;
/// on the way it tells each where it stands.
pub(crate) fn each_item<'a>(root: &'a dyn Module, f: &mut dyn FnMut(&str, Item<'a>)) {
    let top = snake(root.type_name());
    walk("", root, &mut |prefix, module| {
        module.visit(&mut |name, item| match item {
            Item::Parameter(p) => {
                let name = join(prefix, name);
                p.set_name(&name);
                f(&name, item);
            }
            Item::Mode(mode) => {
                mode.set_path(&if prefix.is_empty() {
                    top.clone()
                } else {
                    join(&top, prefix)
                });
                f(prefix, item);
            }
            _ => {}
        });
        module.visit(&mut |name, item| {
            if matches!(item, Item::Buffer(_)) {
                f(&join(prefix, name), item);
            }
        });
    });
}

/// `LeNet` as `le_net`: how the program probably calls its variable.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Moves a module; `moved` pairs each tensor with what it became, so that shared ones stay shared.
fn bring(module: &mut dyn Module, target: Target, moved: &mut Vec<(Tensor, Tensor)>) -> Result<()> {
    let layer = module.type_name();
    module.visit_mut(&mut |item| match item {
        ItemMut::Mode(mode) => mode.check(layer),
        ItemMut::Module(child) => bring(child, target, moved),
        ItemMut::Parameter(p) => match converted(p, target, moved)? {
            Some(t) => {
                p.replace(t);
                Ok(())
            }
            None => Ok(()),
        },
        ItemMut::Buffer(b) => match converted(b, target, moved)? {
            Some(t) => {
                b.replace(t);
                Ok(())
            }
            None => Ok(()),
        },
    })
}

/// The tensor on the target; `None` where it is there already.
fn converted(
    t: &Tensor,
    target: Target,
    moved: &mut Vec<(Tensor, Tensor)>,
) -> Result<Option<Tensor>> {
    if let Some((_, new)) = moved.iter().find(|(old, _)| old.is(t)) {
        return Ok(Some(new.clone()));
    }
    let dtype = match target.dtype {
        Some(d) if t.dtype().is_floating_point() => d,
        _ => t.dtype(),
    };
    let device = target.device.unwrap_or(t.device());
    let format = match target.memory_format {
        Some(MemoryFormat::ChannelsLast) if t.dim() != 4 => MemoryFormat::Preserve,
        Some(MemoryFormat::ChannelsLast3d) if t.dim() != 5 => MemoryFormat::Preserve,
        format => format.unwrap_or(MemoryFormat::Preserve),
    };
    let stays = t.to_memory_format(format)?.is(t);
    if dtype == t.dtype() && device == t.device() && stays {
        return Ok(None);
    }
    let go = |x: &Tensor| {
        let moved = x.detach().to_dtype(dtype)?.to_device(device)?;
        moved.to_memory_format(format)
    };
    let new = go(t)?.requires_grad_(t.requires_grad())?;
    if let Some(grad) = t.grad() {
        new.set_grad(Some(go(&grad)?))?;
    }
    moved.push((t.clone(), new.clone()));
    Ok(Some(new))
}

/// All lines but the first, two spaces to the right.
pub(crate) fn indent(text: &str) -> String {
    text.replace('\n', "\n  ")
}

/// PyTorch's `Module.__repr__`.
pub(crate) fn layout(name: &str, extra: &str, children: &[String]) -> String {
    let extra: Vec<&str> = extra.lines().collect();
    match (&extra[..], children) {
        ([], []) => format!("{name}()"),
        ([one], []) => format!("{name}({one})"),
        _ => {
            let lines: Vec<&str> = extra
                .into_iter()
                .chain(children.iter().map(String::as_str))
                .collect();
            format!("{name}(\n  {}\n)", lines.join("\n  "))
        }
    }
}
