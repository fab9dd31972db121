//! The idx format of MNIST and its successors: a magic number, the extents, the bytes.
//!
//! Format: <https://yann.lecun.com/exdb/mnist>: two zero bytes, the element type (8: unsigned
//! byte), the number of dimensions, each extent as a big-endian 32-bit number, the elements.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{ImageSet, Labels, Split};
use crate::{Error, ErrorKind, Result};

/// An array of bytes read from an idx file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdxArray {
    /// The extents, outermost first.
    pub shape: Vec<usize>,
    /// The elements, the last dimension running fastest.
    pub bytes: Vec<u8>,
}

/// Reads an idx file of unsigned bytes, as it is or compressed with gzip (its first bytes tell
/// which, not its name).
///
/// ```
/// use flambeau_vision::files::idx;
/// let path = std::env::temp_dir().join(format!("{}-idx", std::process::id()));
/// // Bytes (8) in one dimension of three.
/// std::fs::write(&path, [0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]).unwrap();
/// let array = idx::read(&path)?;
/// assert_eq!((array.shape, array.bytes), (vec![3], vec![7, 8, 9]));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// When the file cannot be read, is cut off or too long, or holds elements of another type.
pub fn read(path: &Path) -> Result<IdxArray> {
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::corrupt(path, "the file is cut off"),
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
            Error::corrupt(path, format_args!("damaged gzip data: {e}"))
        }
        _ => Error::io(path, "read", &e),
    };
    let mut magic = [0; 2];
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    file.read_exact(&mut magic).map_err(io)?;
    let whole = magic.chain(file);
    if magic == [0x1f, 0x8b] {
        parse(path, MultiGzDecoder::new(whole), io)
    } else {
        parse(path, whole, io)
    }
}

fn parse(
    path: &Path,
    mut from: impl Read,
    io: impl Fn(std::io::Error) -> Error + Copy,
) -> Result<IdxArray> {
    let mut head = [0; 4];
    from.read_exact(&mut head).map_err(io)?;
    let [0, 0, kind, dims] = head else {
        return Err(Error::corrupt(path, "not an idx file"));
    };
    if kind != 8 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            path.display(),
            format_args!("element type {kind:#04x}"),
            "only idx files of unsigned bytes (0x08) are read",
        ));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let mut extent = [0; 4];
        from.read_exact(&mut extent).map_err(io)?;
        shape.push(u32::from_be_bytes(extent) as usize);
    }
    let count = shape
        .iter()
        .try_fold(1usize, |n, &extent| n.checked_mul(extent));
    let count = count.ok_or_else(|| Error::corrupt(path, format_args!("shape {shape:?}")))?;
    // The file's own content bounds the memory, whatever the extents promise.
    let mut bytes = Vec::new();
    from.by_ref()
        .take((count as u64).saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() != count {
        let has = if bytes.len() < count {
            bytes.len().to_string()
        } else {
            "more".to_owned()
        };
        let problem =
            format_args!("shape {shape:?} asks for {count} bytes, the file has {has}").to_string();
        return Err(Error::corrupt(path, problem));
    }
    Ok(IdxArray { shape, bytes })
}

/// Reads MNIST's four-file layout from the folder `dir`: `train-images-idx3-ubyte` and
/// `train-labels-idx1-ubyte`, or `t10k-...` for [`Split::Test`], each plain or with `.gz`.
/// The pictures come as the files hold them, `[1, height, width]`.
///
/// # Errors
/// When a file is missing or damaged, pictures and labels differ in number, or a label has no
/// class.
pub fn read_set(dir: &Path, split: Split, classes: &[&str]) -> Result<ImageSet> {
    let prefix = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let images_path = find(dir, &format!("{prefix}-images-idx3-ubyte"))?;
    let labels_path = find(dir, &format!("{prefix}-labels-idx1-ubyte"))?;
    let (images, labels) = (read(&images_path)?, read(&labels_path)?);
    let [count, height, width] = images.shape[..] else {
        return Err(Error::corrupt(
            &images_path,
            format_args!("shape {:?}", images.shape),
        ));
    };
    if labels.shape != [count] {
        let problem = format_args!("labels of shape {:?} for {count} pictures", labels.shape);
        return Err(Error::corrupt(&labels_path, problem));
    }
    let size = classes.len();
    if let Some(record) = labels
        .bytes
        .iter()
        .position(|&label| usize::from(label) >= size)
    {
        let label = labels.bytes[record];
        let problem = format_args!("record {record}: label {label} is out of range 0..{size}");
        return Err(Error::corrupt(&labels_path, problem));
    }
    let classes = classes.iter().map(|&name| name.to_owned()).collect();
    Ok(ImageSet {
        images: images.bytes,
        shape: [1, height, width],
        labels: Labels {
            values: labels.bytes,
            classes,
        },
        coarse: None,
    })
}

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let names = [name.to_owned(), format!("{name}.gz")];
    let found = names
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            dir.display(),
            format_args!("neither {name} nor {name}.gz is there"),
            "name the folder that holds the four idx files",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::files::tests::folder;

    fn idx(shape: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, shape.len() as u8];
        shape
            .iter()
            .for_each(|extent| file.extend(extent.to_be_bytes()));
        file.extend(bytes);
        file
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_plain_and_compressed_sets() {
        let dir = folder("idx");
        let pixels: Vec<u8> = (0..2 * 3 * 4).collect();
        std::fs::write(
            dir.join("t10k-images-idx3-ubyte.gz"),
            gz(&idx(&[2, 3, 4], &pixels)),
        )
        .unwrap();
        std::fs::write(dir.join("t10k-labels-idx1-ubyte"), idx(&[2], &[1, 0])).unwrap();
        let set = read_set(&dir, Split::Test, &["a", "b"]).unwrap();
        assert_eq!(
            (set.shape, &set.images, &set.labels.values),
            ([1, 3, 4], &pixels, &vec![1, 0])
        );
        let message = |classes: &[&str]| {
            read_set(&dir, Split::Test, classes)
                .unwrap_err()
                .to_string()
        };
        assert!(message(&["a"]).contains("record 0: label 1 is out of range 0..1"));
        let error = read_set(&dir, Split::Train, &["a", "b"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        std::fs::write(dir.join("t10k-labels-idx1-ubyte"), idx(&[3], &[1, 0, 0])).unwrap();
        assert!(message(&["a", "b"]).contains("labels of shape [3] for 2 pictures"));
    }

    #[test]
    fn damaged_files_are_errors() {
        let dir = folder("idx-bad");
        let path = dir.join("x");
        let message = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path).unwrap_err().to_string()
        };
        let good = idx(&[2, 2], &[1, 2, 3, 4]);
        assert!(message(&good[..good.len() - 1]).contains("asks for 4 bytes, the file has 3"));
        assert!(message(&[&good[..], &[0]].concat()).contains("the file has more"));
        for length in 0..good.len() {
            message(&good[..length]);
        }
        let packed = gz(&good);
        for length in 0..packed.len() {
            message(&packed[..length]);
        }
        assert!(message(b"hello world").contains("not an idx file"));
        assert!(message(&[0, 0, 13, 1, 0, 0, 0, 0]).contains("element type 0x0d"));
        assert!(message(&idx(&[u32::MAX; 3], &[])).contains("shape"));
        assert!(message(&idx(&[u32::MAX], &[7])).contains("the file has 1"));
    }
}
