//! State dicts: tensors by name, and their way into a module.

use super::{Item, Module, each_item};
use flambeau_core::{Error, Result, Tensor, no_grad};
use std::collections::HashMap;
use std::fmt::Write;
use std::panic::Location;

/// Tensors by name, in order (`Module.state_dict()`); cloning copies handles.
///
/// ```
/// use flambeau_nn::{Linear, Module};
/// let (a, b) = (Linear::new(2, 1), Linear::new(2, 1));
/// b.load_state_dict(&a.state_dict(), true)?;
/// assert_eq!(b.weight.to_vec::<f32>()?, a.state_dict().get("weight").unwrap().to_vec::<f32>()?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct StateDict {
    entries: Vec<(String, Tensor)>,
    index: HashMap<String, usize>,
}

impl StateDict {
    /// An empty one.
    pub fn new() -> StateDict {
        StateDict::default()
    }

    /// Adds a tensor, or replaces the one of that name.
    pub fn insert(&mut self, name: &str, tensor: Tensor) {
        match self.index.get(name) {
            Some(&i) => self.entries[i].1 = tensor,
            None => {
                self.index.insert(name.to_owned(), self.entries.len());
                self.entries.push((name.to_owned(), tensor));
            }
        }
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|&i| &self.entries[i].1)
    }

    /// Takes a tensor out; the order of the others stays.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        let i = self.index.remove(name)?;
        self.index
            .values_mut()
            .filter(|j| **j > i)
            .for_each(|j| *j -= 1);
        Some(self.entries.remove(i).1)
    }

    /// The names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, t)| (name.as_str(), t))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The same names with copies of the tensors, which later training leaves alone.
    ///
    /// ```
    /// use flambeau_nn::init::zeros_;
    /// use flambeau_nn::{Linear, Module};
    /// let fc = Linear::new(2, 1);
    /// let best = fc.state_dict().copy()?;
    /// zeros_(&fc.weight)?;
    /// assert_ne!(best.get("weight").unwrap().to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn copy(&self) -> Result<StateDict> {
        self.iter()
            .map(|(name, t)| Ok((name.to_owned(), t.detach().copy()?)))
            .collect()
    }
}

impl std::fmt::Debug for StateDict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(n, t)| (n, (t.shape(), t.dtype()))))
            .finish()
    }
}

impl<S: AsRef<str>> FromIterator<(S, Tensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (S, Tensor)>>(iter: I) -> StateDict {
        let mut state = StateDict::new();
        iter.into_iter()
            .for_each(|(name, t)| state.insert(name.as_ref(), t));
        state
    }
}

/// What loading a state dict without `strict` passed over.
///
/// ```
/// use flambeau_nn::{Linear, Module};
/// let mut state = Linear::new(2, 1).state_dict();
/// state.remove("bias");
/// let report = Linear::new(2, 1).load_state_dict(&state, false)?;
/// assert_eq!(report.missing, ["bias"]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Names of the module that the state dict does not have; their tensors are as before.
    pub missing: Vec<String>,
    /// Names of the state dict that the module does not have.
    pub unexpected: Vec<String>,
}

#[track_caller]
pub(super) fn load(module: &dyn Module, state: &StateDict, strict: bool) -> Result<LoadReport> {
    let at = Location::caller();
    let mut wanted: Vec<(String, Tensor)> = Vec::new();
    each_item(module, &mut |name, item| match item {
        Item::Parameter(p) => wanted.push((name.to_owned(), p.tensor().clone())),
        Item::Buffer(b) if b.is_persistent() => wanted.push((name.to_owned(), b.tensor().clone())),
        _ => {}
    });
    let mut report = LoadReport::default();
    let mut shapes = Vec::new();
    let mut pairs = Vec::new();
    for (name, own) in &wanted {
        match state.get(name) {
            None if old_batch_norm(name, state) => {}
            None => report.missing.push(name.clone()),
            Some(new) if new.shape() != own.shape() => shapes.push(format!(
                "{name}: {:?} in the state dict, {:?} in the module",
                new.shape(),
                own.shape()
            )),
            Some(new) => pairs.push((own, new)),
        }
    }
    let own: HashMap<&str, ()> = wanted.iter().map(|(n, _)| (n.as_str(), ())).collect();
    report.unexpected = state
        .keys()
        .filter(|n| !own.contains_key(n))
        .map(str::to_owned)
        .collect();

    let mut faults = String::new();
    let mut list = |title: &str, names: &[String]| {
        if !names.is_empty() {
            let _ = write!(
                faults,
                "\n  {title} ({}): {}",
                names.len(),
                names.join(", ")
            );
        }
    };
    if strict {
        list("missing in the state dict", &report.missing);
        list("unexpected in the state dict", &report.unexpected);
    }
    list("shapes that differ", &shapes);
    if !faults.is_empty() {
        let hint = if strict && shapes.is_empty() {
            "\n  Nothing was loaded. Load it into the model it was saved from, or pass strict = false to load the names that both have"
        } else {
            "\n  Nothing was loaded. Load it into the model it was saved from"
        };
        return Err(Error::at(
            "load_state_dict",
            format!(
                "the state dict does not fit {}:{faults}{hint}",
                module.type_name()
            ),
            at,
        ));
    }
    // Converted first, so that what can fail for want of memory fails before anything is written.
    let converted = pairs
        .into_iter()
        .map(|(own, new)| Ok((own, new.detach().to_dtype(own.dtype())?)))
        .collect::<Result<Vec<_>>>()?;
    no_grad(|| -> Result<()> {
        for (own, new) in converted {
            own.copy_(&new)?;
        }
        Ok(())
    })?;
    Ok(report)
}

/// Whether a name may be missing: the counter that batch norm got in PyTorch 0.4.1.
fn old_batch_norm(name: &str, state: &StateDict) -> bool {
    name.strip_suffix("num_batches_tracked")
        .is_some_and(|prefix| state.get(&format!("{prefix}running_mean")).is_some())
}
