//! Checkpoints: safetensors files, written so that an interruption leaves the old one whole.

use crate::module::{LoadReport, Module, StateDict};
use crate::optim::{Optimizer, OptimizerState};
use flambeau_core::{DType, Error, Result, Tensor, bail, random};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where our metadata stands among the file's own.
const META: &str = "flambeau";
/// Where the checksum of all tensors' bytes stands there: the format itself has none.
const CHECKSUM: &str = "flambeau.crc32";
/// The tensor that holds the random state.
const RANDOM: &str = "random/state";

/// The pairs of types that both sides have.
const TYPES: [(DType, Dtype); 10] = [
    (DType::Bool, Dtype::BOOL),
    (DType::U8, Dtype::U8),
    (DType::I8, Dtype::I8),
    (DType::I16, Dtype::I16),
    (DType::I32, Dtype::I32),
    (DType::I64, Dtype::I64),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
];

impl StateDict {
    /// Writes a safetensors file, which PyTorch's `safetensors.torch.load_file` reads. The file is
    /// written under another name in the same folder and renamed, so that a full disk or an
    /// interruption leaves the old one as it was.
    ///
    /// ```
    /// use flambeau_nn::{Linear, Module, StateDict};
    /// let path = std::env::temp_dir().join(format!("{}-state.safetensors", std::process::id()));
    /// Linear::new(2, 1).state_dict().save(&path)?;
    /// assert_eq!(StateDict::load(&path)?.get("weight").unwrap().shape(), [1, 2]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the file cannot be written, with the reason.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write(path.as_ref(), self, None)
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// Where the file is missing, damaged, or holds a type that flambeau does not have.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Result<StateDict> {
        read(path.as_ref()).map(|(tensors, _)| tensors)
    }
}

/// Everything that training goes on from, in one file: weights under PyTorch's names, and what else
/// is added, under names that begin with a section and `/`.
///
/// ```
/// use flambeau_nn::{Checkpoint, Linear, Module};
/// use flambeau_nn::optim::{Optimizer, Sgd};
/// # let folder = std::env::temp_dir().join(format!("flambeau-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("checkpoint.safetensors");
/// let (net, mut optimizer) = (Linear::new(3, 2), Sgd::new([flambeau_core::Tensor::zeros([1])?], 0.1));
/// Checkpoint::new()
///     .model(&net)
///     .optimizer("optimizer", &optimizer)
///     .random_state()?
///     .value("epoch", 3)
///     .save(&path)?;
/// let saved = Checkpoint::load(&path)?;
/// saved.load_model(&net)?;
/// saved.load_optimizer("optimizer", &mut optimizer)?;
/// saved.restore_random_state()?;
/// assert_eq!(saved.get("epoch").and_then(|v| v.as_i64()), Some(3));
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    tensors: StateDict,
    meta: Map<String, Value>,
    /// The file it came from, for errors.
    source: Option<PathBuf>,
}

impl Checkpoint {
    /// An empty one.
    pub fn new() -> Checkpoint {
        Checkpoint::default()
    }

    /// With the model's state under PyTorch's own names.
    #[must_use]
    pub fn model(mut self, module: &impl Module) -> Checkpoint {
        for (name, t) in module.state_dict().iter() {
            self.tensors.insert(name, t.clone());
        }
        self
    }

    /// With more tensors, named `section/NAME`: another model, an average of the weights.
    #[must_use]
    pub fn tensors(mut self, section: &str, tensors: &StateDict) -> Checkpoint {
        for (name, t) in tensors.iter() {
            self.tensors.insert(&format!("{section}/{name}"), t.clone());
        }
        self
    }

    /// With an optimizer's state.
    #[must_use]
    pub fn optimizer(self, section: &str, optimizer: &impl Optimizer) -> Checkpoint {
        let state = optimizer.state_dict();
        self.tensors(section, &state.tensors)
            .value(section, state.meta)
    }

    /// With a value of JSON: an epoch, a position, a scheduler's state, options.
    #[must_use]
    pub fn value(mut self, key: &str, value: impl Into<Value>) -> Checkpoint {
        self.meta.insert(key.to_owned(), value.into());
        self
    }

    /// With the state of the default random generator.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn random_state(mut self) -> Result<Checkpoint> {
        let state = random::get_rng_state();
        let length = state.len();
        self.tensors
            .insert(RANDOM, Tensor::from_vec(state, [length])?);
        Ok(self)
    }

    /// Writes it, as [`StateDict::save`] does.
    ///
    /// # Errors
    /// Where the file cannot be written, with the reason.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write(path.as_ref(), &self.tensors, Some(&self.meta))
    }

    /// Reads one; a plain safetensors file is one without values.
    ///
    /// # Errors
    /// Where the file is missing, damaged, or holds a type that flambeau does not have.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let (tensors, meta) = read(path.as_ref())?;
        Ok(Checkpoint {
            tensors,
            meta,
            source: Some(path.as_ref().to_owned()),
        })
    }

    /// The model's tensors: those without a section.
    pub fn model_state(&self) -> StateDict {
        self.tensors
            .iter()
            .filter(|(name, _)| !name.contains('/'))
            .map(|(name, t)| (name, t.clone()))
            .collect()
    }

    /// The tensors of a section, under their own names.
    pub fn section(&self, section: &str) -> StateDict {
        self.tensors
            .iter()
            .filter_map(|(name, t)| {
                let name = name.strip_prefix(section)?.strip_prefix('/')?;
                Some((name, t.clone()))
            })
            .collect()
    }

    /// A value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.meta.get(key)
    }

    /// Loads the model's tensors into `module`, all or none.
    ///
    /// # Errors
    /// Lists every name and shape that does not fit: a checkpoint of another model.
    #[track_caller]
    pub fn load_model(&self, module: &impl Module) -> Result<LoadReport> {
        module
            .load_state_dict(&self.model_state(), true)
            .map_err(|e| self.name(e))
    }

    /// Loads an optimizer's state.
    ///
    /// # Errors
    /// Where there is none under that name, or it does not fit.
    #[track_caller]
    pub fn load_optimizer(&self, section: &str, optimizer: &mut impl Optimizer) -> Result<()> {
        let Some(meta) = self.meta.get(section) else {
            bail!("checkpoint", "{}there is no {section} in it", self.place());
        };
        let state = OptimizerState {
            tensors: self.section(section),
            meta: meta.clone(),
        };
        optimizer.load_state_dict(&state).map_err(|e| self.name(e))
    }

    /// Brings the default random generator back to where it was.
    ///
    /// # Errors
    /// Where there is no such state in it.
    #[track_caller]
    pub fn restore_random_state(&self) -> Result<()> {
        let Some(state) = self.tensors.get(RANDOM) else {
            bail!(
                "checkpoint",
                "{}there is no random state in it",
                self.place()
            );
        };
        random::set_rng_state(&state.to_vec::<u8>()?)
    }

    fn place(&self) -> String {
        self.source
            .as_ref()
            .map_or(String::new(), |p| format!("{}: ", p.display()))
    }

    /// Says which file an error is about.
    fn name(&self, error: Error) -> Error {
        let text = format!("{}{}", self.place(), error.message());
        Error::at(error.op(), text, error.location())
    }
}

/// The CRC-32 of all tensors' bytes, in the order of their names.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_unstable();
    let mut sum = crc32fast::Hasher::new();
    for (_, bytes) in tensors {
        sum.update(bytes);
    }
    format!("{:08x}", sum.finalize())
}

struct Bytes<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl View for &Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[track_caller]
fn write(path: &Path, tensors: &StateDict, meta: Option<&Map<String, Value>>) -> Result<()> {
    let mut views = Vec::new();
    for (name, tensor) in tensors.iter() {
        let dtype = TYPES
            .iter()
            .find(|(ours, _)| *ours == tensor.dtype())
            .map(|(_, theirs)| *theirs);
        let Some(dtype) = dtype else {
            bail!("save", "{name}: safetensors has no type {}", tensor.dtype());
        };
        let bytes = tensor.to_bytes()?;
        views.push((
            name,
            Bytes {
                tensor,
                dtype,
                bytes,
            },
        ));
    }
    let sum = checksum(views.iter().map(|(name, b)| (*name, b.bytes.as_slice())));
    let mut header = HashMap::from([(CHECKSUM.to_owned(), sum)]);
    if let Some(meta) = meta {
        header.insert(META.to_owned(), Value::Object(meta.clone()).to_string());
    }
    let failed = |e: String| {
        Error::new(
            "save",
            format!(
                "{} could not be written: {e}. What was there before is untouched",
                path.display()
            ),
        )
    };
    // Not `serialize_to_file`: it writes under a random name of its own, which a killed process
    // would leave behind and nobody could know to be ours.
    let file = safetensors::serialize(views.iter().map(|(n, b)| (*n, b)), Some(header))
        .map_err(|e| failed(e.to_string()))?;
    let temporary = Temporary::beside(path);
    // On the disk before it gets its name: a power cut must not leave the name with half a file.
    File::create(&temporary.0)
        .and_then(|mut f| f.write_all(&file).and_then(|()| f.sync_all()))
        .and_then(|()| fs::rename(&temporary.0, path))
        .map_err(|e| failed(e.to_string()))?;
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        // Not every file system lets a folder be synchronised; the file itself is safe.
        let _ = File::open(folder).and_then(|f| f.sync_all());
    }
    Ok(())
}

/// A file that is removed unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Temporary {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        name.push(format!(".{}.{n}.tmp", std::process::id()));
        Temporary(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[track_caller]
fn read(path: &Path) -> Result<(StateDict, Map<String, Value>)> {
    let data = fs::read(path)
        .map_err(|e| Error::new("load", format!("{} could not be read: {e}", path.display())))?;
    let damaged = |what: String| {
        Error::new(
            "load",
            format!(
                "{} is not a whole safetensors file ({what}): it may be truncated, damaged or of another format",
                path.display()
            ),
        )
    };
    let (_, header) = SafeTensors::read_metadata(&data).map_err(|e| damaged(e.to_string()))?;
    let file = SafeTensors::deserialize(&data).map_err(|e| damaged(e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if let Some(want) = metadata.get(CHECKSUM) {
        let views = file.tensors();
        let sum = checksum(
            views
                .iter()
                .map(|(name, view)| (name.as_str(), view.data())),
        );
        if sum != *want {
            return Err(damaged(format!("checksum {sum} instead of {want}")));
        }
    }
    let mut tensors = StateDict::new();
    for name in header.offset_keys() {
        let view = file.tensor(&name).map_err(|e| damaged(e.to_string()))?;
        let dtype = TYPES.iter().find(|(_, theirs)| *theirs == view.dtype());
        let Some((dtype, _)) = dtype else {
            bail!(
                "load",
                "{}: tensor {name} is of type {:?}, which flambeau does not have",
                path.display(),
                view.dtype()
            );
        };
        tensors.insert(
            &name,
            Tensor::from_bytes(view.data(), view.shape(), *dtype)?,
        );
    }
    let meta = match metadata.get(META) {
        None => Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            _ => return Err(damaged("its metadata is no JSON object".to_owned())),
        },
    };
    Ok((tensors, meta))
}
