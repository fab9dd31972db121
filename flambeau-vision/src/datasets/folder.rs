//! Pictures in folders, one folder a class.

use super::{After, transform_methods};
use crate::transforms::Transform;
use crate::{Error, ErrorKind, Image, Result};
use flambeau_data::{Dataset, SampleRng};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kinds of files that are taken for pictures, by the end of their names.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Folders nested deeper than this are taken for a loop of links.
const MAX_DEPTH: usize = 64;

/// Pictures read from `root/CLASS/.../NAME.png` (or `.jpg`, `.jpeg`) when they are asked for
/// ([`torchvision.datasets.ImageFolder`](https://pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html)).
///
/// Classes are the folders' names in order, pictures come class by class in the order of their
/// paths; other files are passed over. Pictures are RGB.
///
/// ```
/// use flambeau_data::Dataset;
/// use flambeau_vision::datasets::ImageFolder;
/// use flambeau_vision::files::RgbImage;
/// let root = std::env::temp_dir().join(format!("{}-folder", std::process::id()));
/// for class in ["cat", "dog"] {
///     std::fs::create_dir_all(root.join(class)).unwrap();
///     RgbImage::new(1, 1, vec![0; 3])?.write_png(&root.join(class).join("1.png"))?;
/// }
/// let set = ImageFolder::new(&root)?;
/// assert_eq!((set.len(), set.classes()), (2, &["cat".to_string(), "dog".to_string()][..]));
/// # std::fs::remove_dir_all(&root).unwrap();
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ImageFolder {
    classes: Vec<String>,
    samples: Vec<(PathBuf, usize)>,
    after: After,
}

impl ImageFolder {
    /// Lists the pictures in `root`.
    ///
    /// # Errors
    /// Where `root` cannot be read or holds no folder, or a class has no picture.
    pub fn new(root: impl AsRef<Path>) -> Result<ImageFolder> {
        let root = root.as_ref();
        let mut classes: Vec<String> = entries(root)?
            .into_iter()
            .filter(|path| path.is_dir())
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        classes.sort();
        let none = |problem: String| {
            let remedy = "lay the pictures out as ROOT/CLASS/NAME.png (or .jpg, .jpeg)";
            Error::new(ErrorKind::NotFound, root.display(), problem, remedy)
        };
        if classes.is_empty() {
            return Err(none("there is no folder of a class in it".into()));
        }
        let mut samples = Vec::new();
        for (label, class) in classes.iter().enumerate() {
            let before = samples.len();
            walk(&root.join(class), 0, &mut |path| {
                samples.push((path, label))
            })?;
            if samples.len() == before {
                return Err(none(format!("class {class} has no picture")));
            }
            // A folder's own pictures come before those of the folders in it.
            let key = |path: &Path| {
                (
                    path.parent().map(|p| p.as_os_str().to_owned()),
                    path.file_name().map(|n| n.to_owned()),
                )
            };
            samples[before..].sort_by_cached_key(|(path, _)| key(path));
        }
        Ok(ImageFolder {
            classes,
            samples,
            after: After::default(),
        })
    }

    transform_methods!();

    /// The names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The pictures' files with their labels.
    pub fn samples(&self) -> &[(PathBuf, usize)] {
        &self.samples
    }
}

impl Dataset for ImageFolder {
    type Item = (Image, i64);

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&self, index: usize, rng: &mut SampleRng) -> flambeau_core::Result<(Image, i64)> {
        let Some((path, label)) = self.samples.get(index) else {
            flambeau_core::bail!(
                "Dataset",
                "index {index} is out of range: ImageFolder has {} pictures",
                self.len()
            );
        };
        self.after.apply(Image::open(path)?, *label as i64, rng)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    read().map_err(|e| Error::io(folder, "list the folder", &e))
}

fn walk(folder: &Path, depth: usize, found: &mut dyn FnMut(PathBuf)) -> Result<()> {
    for path in entries(folder)? {
        let kind = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if path.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, found)?;
            }
        } else if kind.is_some_and(|kind| EXTENSIONS.contains(&&*kind)) {
            found(path);
        }
    }
    Ok(())
}
