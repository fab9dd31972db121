//! Reading the files of a found layout.

use std::fs;
use std::path::Path;

use super::sources::{Format, Source};
use super::{ImageSet, Split};
use crate::files::Labels;
use crate::files::pickle::{Pickle, Value};
use crate::{Error, ErrorKind, Result};

/// Bytes of a picture.
const PIXELS: usize = 3 * 32 * 32;
/// The largest official file is 155 MB; nothing above this is read.
const MAX_FILE: u64 = 1 << 30;

/// What is being gathered: the pixels, and the labels of each kind.
struct Gathered {
    images: Vec<u8>,
    labels: Vec<Labels>,
}

pub(super) fn read(source: &Source, folder: &Path, split: Split) -> Result<ImageSet> {
    let names = class_names(source, folder)?;
    let empty = |classes| Labels {
        values: Vec::new(),
        classes,
    };
    let mut set = Gathered {
        images: Vec::new(),
        labels: names.into_iter().map(empty).collect(),
    };
    for (name, _) in source.files(split) {
        let path = folder.join(name);
        let bytes = read_file(&path)?;
        match source.format {
            Format::Binary { .. } => set.add_records(&bytes, &path)?,
            Format::Python { .. } => set.add_pickle(&bytes, &path, source)?,
        }
    }
    let Gathered { images, mut labels } = set;
    let fine = labels.pop().expect("each set has a kind of label");
    Ok(ImageSet {
        images,
        shape: [3, 32, 32],
        labels: fine,
        coarse: labels.pop(),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let io = |e: std::io::Error| Error::io(path, "read", &e);
    let length = fs::metadata(path).map_err(io)?.len();
    if length > MAX_FILE {
        return Err(Error::corrupt(
            path,
            format_args!("{length} bytes are too many"),
        ));
    }
    fs::read(path).map_err(io)
}

/// The names of the classes of each kind of label.
fn class_names(source: &Source, folder: &Path) -> Result<Vec<Vec<String>>> {
    let kinds = source.label_kinds();
    let mut all: Vec<Vec<String>> = kinds.iter().map(|kind| kind.official_names()).collect();
    let mut replace = |kind: usize, path: &Path, names: Vec<String>| {
        if names.len() != all[kind].len() {
            let (has, needs) = (names.len(), all[kind].len());
            let problem = format!("{has} names of classes instead of {needs}");
            return Err(Error::corrupt(path, problem));
        }
        all[kind] = names;
        Ok(())
    };
    let files = source
        .name_files()
        .iter()
        .map(|name| folder.join(name))
        .enumerate();
    for (number, path) in files.filter(|(_, path)| path.is_file()) {
        let bytes = read_file(&path)?;
        match source.format {
            Format::Binary { .. } => {
                let text = String::from_utf8_lossy(&bytes);
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                replace(number, &path, lines.map(str::to_owned).collect())?;
            }
            Format::Python { .. } => {
                let pickle = Pickle::read(&bytes).map_err(|e| Error::corrupt(&path, e))?;
                for (number, kind) in kinds.iter().enumerate() {
                    let names = list(pickle.root(), kind.names_key, |v| v.text(), &path)?;
                    replace(
                        number,
                        &path,
                        names.into_iter().map(str::to_owned).collect(),
                    )?;
                }
            }
        }
    }
    Ok(all)
}

impl Gathered {
    fn add_records(&mut self, bytes: &[u8], path: &Path) -> Result<()> {
        let heads = self.labels.len();
        let size = heads + PIXELS;
        let records = bytes.chunks_exact(size);
        if bytes.is_empty() || !records.remainder().is_empty() {
            let problem = format!(
                "{} bytes are no whole number of records of {size}: record {} is cut off",
                bytes.len(),
                bytes.len() / size
            );
            return Err(Error::corrupt(path, problem));
        }
        self.images.reserve(records.len() * PIXELS);
        for (number, record) in records.enumerate() {
            let (labels, pixels) = record.split_at(heads);
            for (kind, &label) in self.labels.iter_mut().zip(labels) {
                add_label(kind, label.into(), number, path)?;
            }
            self.images.extend_from_slice(pixels);
        }
        Ok(())
    }

    fn add_pickle(&mut self, bytes: &[u8], path: &Path, source: &Source) -> Result<()> {
        let corrupt = |problem: String| Error::corrupt(path, problem);
        let pickle = Pickle::read(bytes).map_err(|e| corrupt(e.to_string()))?;
        let data = pickle.root().get("data");
        let data = data.ok_or_else(|| corrupt("no entry 'data'".into()))?;
        let array = data
            .array()
            .ok_or_else(|| corrupt("'data' is no numpy array".into()))?;
        let (dtype, shape) = (array.dtype, array.shape);
        let &[count @ 1..=usize::MAX, PIXELS] = shape else {
            return Err(corrupt(format!(
                "'data' has shape {shape:?} instead of [N, {PIXELS}]"
            )));
        };
        if dtype != "u1" || array.fortran {
            let problem = format!("'data' is of dtype {dtype} or in Fortran's order");
            let remedy = "save it as a C-ordered array of uint8";
            return Err(Error::new(
                ErrorKind::Unsupported,
                path.display(),
                problem,
                remedy,
            ));
        }
        for (kind, labels) in source.label_kinds().iter().zip(&mut self.labels) {
            let values = list(pickle.root(), kind.key, |v| v.int(), path)?;
            if values.len() != count {
                let problem = format!("{} {} for {count} pictures", values.len(), kind.key);
                return Err(corrupt(problem));
            }
            for (number, label) in values.into_iter().enumerate() {
                add_label(labels, label, number, path)?;
            }
        }
        self.images.extend_from_slice(array.bytes);
        Ok(())
    }
}

fn add_label(labels: &mut Labels, label: i64, record: usize, path: &Path) -> Result<()> {
    let classes = labels.classes.len();
    match u8::try_from(label) {
        Ok(value) if usize::from(value) < classes => {
            labels.values.push(value);
            Ok(())
        }
        _ => {
            let problem = format!("record {record}: label {label} is out of range 0..{classes}");
            Err(Error::corrupt(path, problem))
        }
    }
}

/// The list under `key` of a pickled dict, each item as `item` sees it.
fn list<'p, 'a, T>(
    dict: Value<'p, 'a>,
    key: &str,
    item: impl Fn(Value<'p, 'a>) -> Option<T>,
    path: &Path,
) -> Result<Vec<T>> {
    let items = dict.get(key).and_then(Value::items);
    let items: Option<Vec<T>> = items.and_then(|items| items.map(item).collect());
    items.ok_or_else(|| Error::corrupt(path, format_args!("no list '{key}' of the right kind")))
}
