//! CIFAR-10 and CIFAR-100 from both official layouts, python pickles and binary records.
//!
//! Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::path::{Path, PathBuf};

use super::download::Download;
use super::{Checksum, ImageSet, Split};
use crate::{Error, ErrorKind, Result};

mod archive;
mod read;
mod sources;
#[cfg(test)]
mod tests;

use sources::Source;

/// Which of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Ten classes, 50,000 training and 10,000 test pictures.
    Cifar10,
    /// A hundred classes in twenty superclasses, as many pictures.
    Cifar100,
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
        })
    }
}

/// Loads a set's training or test pictures, `[3, 32, 32]` each, in file order; CIFAR-100's
/// superclasses come as [`ImageSet::coarse`].
///
/// Looked for, in this order: the official folders in `dir` (`cifar-10-batches-bin`,
/// `cifar-10-batches-py`; `cifar-100-binary`, `cifar-100-python`), their files in `dir` itself,
/// the official archives in `dir` (`cifar-10-binary.tar.gz`, ...). An archive's checksum is
/// verified and the archive unpacked beside itself, once. The files of a folder are not summed,
/// so re-encoded copies are welcome: [`verify`] does that.
///
/// The names of the classes are read from the layout's own list; the official ones stand in
/// where that is missing.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no trace of the set, [`ErrorKind::Corrupt`] naming file
/// and record when a file of it is missing, cut off or damaged, or a label has no class, [`ErrorKind::Checksum`] when an archive is not the official one.
pub fn load(dir: &Path, variant: Variant, split: Split) -> Result<ImageSet> {
    let (source, folder) = locate(dir, variant, |source| source.files(split))?;
    read::read(source, &folder, split)
}

/// Compares every file of the set's folder in `dir` with the official checksums; the same
/// places are looked at as by [`load`].
///
/// # Errors
/// [`ErrorKind::Checksum`] for the first file that differs, [`ErrorKind::Corrupt`] for one that is
/// missing, [`ErrorKind::NotFound`] when there is no trace of the set.
pub fn verify(dir: &Path, variant: Variant) -> Result<()> {
    let (source, folder) = locate(dir, variant, Source::all_files)?;
    source
        .all_files()
        .iter()
        .try_for_each(|(name, checksum)| checksum.verify(&folder.join(name)))
}

/// Downloads the binary archive (about 165 MB) into `dir`, verifies and unpacks it; [`load`]
/// finds the set then. `progress` is told the bytes so far and those of the whole.
///
/// # Errors
/// As [`Download::run`] and [`load`]. Without a network the error comes within about 5 seconds.
pub fn download(
    dir: &Path,
    variant: Variant,
    progress: impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let source = &Source::of(variant)[0];
    let archive = dir.join(source.archive);
    let url = format!("https://www.cs.toronto.edu/~kriz/{}", source.archive);
    Download {
        max_bytes: 1 << 30,
        ..Download::new(url, &archive, Some(source.checksum))
    }
    .run(progress)?;
    archive::unpack(source, &archive, &dir.join(source.folder))
}

/// A file's name and its official checksum.
type File = (&'static str, Checksum);

/// The folder with the `needed` files, unpacked first if only its archive is there.
fn locate(
    dir: &Path,
    variant: Variant,
    needed: impl Fn(&Source) -> Vec<File>,
) -> Result<(&'static Source, PathBuf)> {
    let sources = Source::of(variant);
    let mut incomplete = None;
    let in_folders = sources
        .iter()
        .map(|source| (source, dir.join(source.folder)));
    let in_place = sources.iter().map(|source| (source, dir.to_owned()));
    for (source, folder) in in_folders.chain(in_place) {
        let files = needed(source);
        match files.iter().find(|(name, _)| !folder.join(name).is_file()) {
            None => return Ok((source, folder)),
            // A folder of the right name, or a stray file of the set, shows what was meant.
            Some((missing, _)) => {
                let begun = folder != *dir && folder.is_dir()
                    || files.iter().any(|(name, _)| folder.join(name).is_file());
                if begun && incomplete.is_none() {
                    incomplete = Some(folder.join(missing));
                }
            }
        }
    }
    if let Some(missing) = incomplete {
        return Err(Error::new(
            ErrorKind::Corrupt,
            missing.display(),
            format_args!("this file of {variant} is missing"),
            "delete its folder and fetch the set anew",
        ));
    }
    for source in sources {
        let (archive, folder) = (dir.join(source.archive), dir.join(source.folder));
        if archive.is_file() {
            source.checksum.verify(&archive)?;
            archive::unpack(source, &archive, &folder)?;
            return Ok((source, folder));
        }
    }
    let names: Vec<_> = sources
        .iter()
        .flat_map(|source| [source.folder, source.archive])
        .collect();
    Err(Error::new(
        ErrorKind::NotFound,
        dir.display(),
        format_args!("no {variant} there (looked for {})", names.join(", ")),
        "name the folder that holds one of them, or download the set",
    ))
}
