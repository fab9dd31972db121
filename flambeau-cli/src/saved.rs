//! What the command keeps in a checkpoint beside the weights.

use crate::Failure;
use crate::args::{DatasetName, ModelName};
use clap::ValueEnum;
use flambeau::nn::Checkpoint;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The checkpoint's name in the folder that training writes to.
pub(crate) const FILE: &str = "checkpoint.safetensors";

/// The checkpoint that a path means: itself, or the one in that folder.
pub(crate) fn file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(FILE)
    } else {
        path.to_owned()
    }
}

/// What the network was trained on.
pub(crate) struct About {
    pub(crate) dataset: DatasetName,
    pub(crate) model: ModelName,
    pub(crate) classes: Vec<String>,
}

impl About {
    pub(crate) fn value(&self) -> Value {
        json!({ "dataset": self.dataset.text(), "model": self.model.text(), "classes": self.classes })
    }

    /// Reads it back.
    pub(crate) fn of(checkpoint: &Checkpoint) -> Result<About, Failure> {
        let read = || {
            let about = checkpoint.get("about")?;
            let text = |key: &str| about.get(key)?.as_str();
            Some(About {
                dataset: DatasetName::from_str(text("dataset")?, false).ok()?,
                model: ModelName::from_str(text("model")?, false).ok()?,
                classes: about
                    .get("classes")?
                    .as_array()?
                    .iter()
                    .map(|c| c.as_str().map(str::to_owned))
                    .collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| "the checkpoint does not say what it was trained on; it was not written by flambeau train".into())
    }

    /// The data set must have the classes that the network was trained on.
    pub(crate) fn check_classes(&self, classes: &[String]) -> Result<(), Failure> {
        if self.classes == classes {
            return Ok(());
        }
        Err(format!(
            "the checkpoint was trained on {} ({} classes: {}, …), but the pictures are of {} other classes; choose the data set with --dataset",
            self.dataset.text(),
            self.classes.len(),
            self.classes.first().map_or("", String::as_str),
            classes.len()
        )
        .into())
    }
}
