//! Modules made of modules: `Sequential`, `ModuleList`, and Rust's own `Vec`, `Box` and tuples.

use super::derive::Field;
use super::{Forward, Item, ItemMut, Module, Visit, VisitMut, indent, layout};
use flambeau_core::autograd::checkpoint;
use flambeau_core::{Error, Result, Tensor, bail};
use std::fmt;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;

/// A box is the module in it.
impl<M: Module + ?Sized> Module for Box<M> {
    fn type_name(&self) -> &'static str {
        (**self).type_name()
    }
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        (**self).visit(visit);
    }
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        (**self).visit_mut(visit)
    }
    fn as_module(&self) -> &dyn Module {
        (**self).as_module()
    }
    fn extra_repr(&self) -> String {
        (**self).extra_repr()
    }
    fn repr(&self) -> String {
        (**self).repr()
    }
}

impl<M: Forward + ?Sized> Forward for Box<M> {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        (**self).forward(input)
    }
}

/// A shared module, which a function given to
/// [`checkpoint`](flambeau_core::autograd::checkpoint()) can own: `let block = self.block.clone()`.
///
/// ```
/// use flambeau_core::autograd::checkpoint;
/// use flambeau_core::{Result, Tensor};
/// use flambeau_nn::{Forward, Linear, Module, ReLU, Sequential};
/// use std::sync::Arc;
/// #[derive(Module)]
/// struct Net { body: Arc<Sequential>, head: Linear }
/// impl Net {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         let body = self.body.clone();
///         self.head.forward(&checkpoint(&[x], move |x| body.forward(&x[0]))?)
///     }
/// }
/// let body = Arc::new(Sequential::new((Linear::new(4, 8), ReLU::new())));
/// let net = Net { body, head: Linear::new(8, 1) };
/// net.forward(&Tensor::ones([2, 4])?)?.sum()?.backward()?;
/// assert!(net.parameters().iter().all(|p| p.grad().is_some()));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
impl<M: Module + ?Sized> Module for Arc<M> {
    fn type_name(&self) -> &'static str {
        (**self).type_name()
    }
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        (**self).visit(visit);
    }
    /// Fails while there is another handle on the module: in a graph that is still held, say.
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        let name = self.type_name();
        match Arc::get_mut(self) {
            Some(module) => module.visit_mut(visit),
            None => bail!(
                "Module::to",
                "a {name} is shared with others (a graph, or another module) and cannot be moved; move it before it is shared"
            ),
        }
    }
    fn as_module(&self) -> &dyn Module {
        (**self).as_module()
    }
    fn extra_repr(&self) -> String {
        (**self).extra_repr()
    }
    fn repr(&self) -> String {
        (**self).repr()
    }
}

impl<M: Forward + ?Sized> Forward for Arc<M> {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        (**self).forward(input)
    }
}

/// PyTorch's `ModuleList.__repr__`: equal neighbours are printed once, with their count.
fn list_repr(children: &[(String, &dyn Module)]) -> String {
    let mut runs: Vec<(usize, usize, String)> = Vec::new();
    for (i, (_, child)) in children.iter().enumerate() {
        let text = child.repr();
        match runs.last_mut() {
            Some((_, end, last)) if *last == text => *end = i,
            _ => runs.push((i, i, text)),
        }
    }
    let lines: Vec<String> = runs
        .into_iter()
        .map(|(from, to, text)| {
            let text = indent(&text);
            if from == to {
                format!("({from}): {text}")
            } else {
                format!("({from}-{to}): {} x {text}", to - from + 1)
            }
        })
        .collect();
    layout("ModuleList", "", &lines)
}

/// `ParameterList.__repr__`, for lists that hold no modules.
fn parameters_repr(list: &dyn Module) -> String {
    let mut lines = Vec::new();
    list.visit(&mut |name, item| {
        if let Item::Parameter(p) = item {
            let size: Vec<String> = p.shape().iter().map(ToString::to_string).collect();
            lines.push(format!(
                "({name}): Parameter containing: [torch.{} of size {}]",
                p.dtype(),
                size.join("x")
            ));
        }
    });
    layout("ParameterList", "", &lines)
}

macro_rules! list_module {
    () => {
        fn type_name(&self) -> &'static str {
            "ModuleList"
        }
        fn as_module(&self) -> &dyn Module {
            self
        }
        fn repr(&self) -> String {
            match self.named_children() {
                none if none.is_empty() => parameters_repr(self),
                children => list_repr(&children),
            }
        }
    };
}

/// A vector of modules is a `ModuleList`, one of parameters a `ParameterList`: `layers.0.weight`.
impl<F: Field + Send + Sync + 'static> Module for Vec<F> {
    list_module!();
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        for (i, f) in self.iter().enumerate() {
            f.field(&i.to_string(), visit);
        }
    }
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        self.iter_mut().try_for_each(|f| f.field_mut(visit))
    }
}

impl<F: Field + Send + Sync + 'static, const N: usize> Module for [F; N] {
    list_module!();
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        for (i, f) in self.iter().enumerate() {
            f.field(&i.to_string(), visit);
        }
    }
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        self.iter_mut().try_for_each(|f| f.field_mut(visit))
    }
}

/// What a [`Sequential`] or [`ModuleList`] is made from: a tuple of modules or a vector of boxes.
pub trait Layers {
    /// The modules in order.
    fn layers(self) -> Vec<Box<dyn Forward>>;
}

impl Layers for () {
    fn layers(self) -> Vec<Box<dyn Forward>> {
        Vec::new()
    }
}

impl<M: Forward> Layers for Vec<M> {
    fn layers(self) -> Vec<Box<dyn Forward>> {
        self.into_iter().map(|m| Box::new(m) as _).collect()
    }
}

macro_rules! tuples {
    ($(($($t:ident $i:tt),+);)*) => {$(
        impl<$($t: Forward),+> Layers for ($($t,)+) {
            fn layers(self) -> Vec<Box<dyn Forward>> {
                vec![$(Box::new(self.$i)),+]
            }
        }
        impl<$($t: Field + Send + Sync + 'static),+> Module for ($($t,)+) {
            list_module!();
            fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
                $(self.$i.field(stringify!($i), visit);)+
            }
            fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
                $(self.$i.field_mut(visit)?;)+
                Ok(())
            }
        }
    )*};
}
tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15);
}

/// Modules called one after another
/// ([`torch.nn.Sequential`](https://pytorch.org/docs/stable/generated/torch.nn.Sequential.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, Linear, Module, ReLU, Sequential};
/// let net = Sequential::new((Linear::new(8, 4), ReLU::new(), Linear::new(4, 2)));
/// assert_eq!(net.forward(&Tensor::ones([5, 8])?)?.shape(), [5, 2]);
/// assert_eq!(net.named_parameters()[2].0, "2.weight");
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Forward>)>,
}

impl Sequential {
    /// From a tuple of up to 16 modules or a vector, named `0`, `1`, … .
    pub fn new(layers: impl Layers) -> Sequential {
        layers
            .layers()
            .into_iter()
            .fold(Sequential::default(), Sequential::add)
    }

    /// With `layer` at the end, named by its position.
    #[must_use]
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, layer: impl Forward) -> Sequential {
        let name = self.layers.len().to_string();
        self.add_named(name, layer)
    }

    /// With `layer` at the end under a name of its own (`OrderedDict`).
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module, ReLU, Sequential};
    /// let net = Sequential::new(()).add_named("fc", Linear::new(2, 1)).add(ReLU::new());
    /// assert_eq!(net.state_dict().keys().collect::<Vec<_>>(), ["fc.weight", "fc.bias"]);
    /// ```
    #[must_use]
    pub fn add_named(mut self, name: impl Into<String>, layer: impl Forward) -> Sequential {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }

    /// How many modules there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Module `i`.
    pub fn get(&self, i: usize) -> Option<&dyn Forward> {
        self.layers.get(i).map(|(_, m)| &**m)
    }

    /// The modules in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Forward> {
        self.layers.iter().map(|(_, m)| &**m)
    }
}

impl Module for Sequential {
    fn type_name(&self) -> &'static str {
        "Sequential"
    }
    fn as_module(&self) -> &dyn Module {
        self
    }
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        for (name, layer) in &self.layers {
            visit(name, Item::Module(layer.as_module()));
        }
    }
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        self.layers
            .iter_mut()
            .try_for_each(|(_, layer)| visit(ItemMut::Module(layer)))
    }
}

impl Forward for Sequential {
    #[track_caller]
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let at = Location::caller();
        let mut x = input.clone();
        for (_, layer) in &self.layers {
            x = layer.forward(&x).map_err(|e| relocate(e, at))?;
        }
        Ok(x)
    }
}

/// Calls the modules in `segments` parts of equal length, of which all but the last keep only their
/// input for the backward pass and run again there
/// ([`torch.utils.checkpoint.checkpoint_sequential`](https://pytorch.org/docs/stable/checkpoint.html));
/// modules left over belong to the last.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Linear, Module, Sequential, Tanh, checkpoint_sequential};
/// use std::sync::Arc;
/// let layers = (Linear::new(4, 4), Tanh::new(), Linear::new(4, 4), Tanh::new());
/// let net = Arc::new(Sequential::new(layers));
/// checkpoint_sequential(&net, 2, &Tensor::ones([3, 4])?)?.sum()?.backward()?;
/// assert!(net.parameters().iter().all(|p| p.grad().is_some()));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where there are no segments, or more than modules; and those of the modules.
#[track_caller]
pub fn checkpoint_sequential(
    net: &Arc<Sequential>,
    segments: usize,
    input: &Tensor,
) -> Result<Tensor> {
    if segments == 0 || segments > net.len() {
        bail!(
            "checkpoint_sequential",
            "{segments} segments cannot be made of {} modules",
            net.len()
        );
    }
    let at = Location::caller();
    let run = |net: &Sequential, modules: Range<usize>, x: &Tensor| {
        modules
            .filter_map(|i| net.get(i))
            .try_fold(x.clone(), |x, m| m.forward(&x))
    };
    let size = net.len() / segments;
    let mut x = input.clone();
    for from in (0..segments - 1).map(|i| i * size) {
        let net = net.clone();
        x = checkpoint(&[&x], move |x| run(&net, from..from + size, &x[0]))
            .map_err(|e| relocate(e, at))?;
    }
    run(net, (segments - 1) * size..net.len(), &x).map_err(|e| relocate(e, at))
}

/// A call through a box has no line of the user's: where an error shows one of this crate, it gets
/// that of the call to the container.
fn relocate(error: Error, at: &'static Location<'static>) -> Error {
    let ours = file!().trim_end_matches("module/container.rs");
    if error.location().file().starts_with(ours) {
        error.relocate(at)
    } else {
        error
    }
}

/// Modules in a list that the program calls as it likes
/// ([`torch.nn.ModuleList`](https://pytorch.org/docs/stable/generated/torch.nn.ModuleList.html)); a
/// `Vec` of one type
/// of module serves as well.
///
/// ```
/// use flambeau_nn::{Linear, Module, ModuleList};
/// let mut list = ModuleList::new((Linear::new(2, 2),));
/// list.push(Linear::new(2, 1));
/// assert_eq!((list.len(), list.parameters().len()), (2, 4));
/// ```
#[derive(Default)]
pub struct ModuleList {
    layers: Vec<Box<dyn Forward>>,
}

impl ModuleList {
    /// From a tuple of up to 16 modules or a vector.
    pub fn new(layers: impl Layers) -> ModuleList {
        ModuleList {
            layers: layers.layers(),
        }
    }

    /// Adds a module at the end.
    pub fn push(&mut self, layer: impl Forward) {
        self.layers.push(Box::new(layer));
    }

    /// How many modules there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Module `i`.
    pub fn get(&self, i: usize) -> Option<&dyn Forward> {
        self.layers.get(i).map(|m| &**m)
    }

    /// The modules in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Forward> {
        self.layers.iter().map(|m| &**m)
    }
}

impl Module for ModuleList {
    list_module!();
    fn visit<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        self.layers.visit(visit);
    }
    fn visit_mut(&mut self, visit: &mut VisitMut<'_>) -> Result<()> {
        self.layers.visit_mut(visit)
    }
}

macro_rules! print {
    ($($t:ident),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.repr())
            }
        }
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.repr())
            }
        }
    )*};
}
print!(Sequential, ModuleList);
