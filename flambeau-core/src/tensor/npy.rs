//! NumPy's files: `.npy`, one array, and `.npz`, a zip archive of them.
//!
//! The format is NumPy's `numpy.lib.format`: a magic string, a version, and a Python dictionary of
//! type, order and shape, which is parsed here and never evaluated. Nothing is allocated before the
//! file has been found long enough for what its header claims.

use super::Tensor;
use crate::shape::check_numel;
use crate::{DType, Error, Result, bail};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header accepted; NumPy's own limit is 10,000.
const LONGEST_HEADER: usize = 1 << 16;

impl Tensor {
    /// The array of a `.npy` file, of any byte order and memory order.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let path = std::env::temp_dir().join(format!("{}-load.npy", std::process::id()));
    /// Tensor::new([[1i64, 2]])?.save_npy(&path)?;
    /// assert_eq!(Tensor::load_npy(&path)?.to_vec2::<i64>()?, [[1, 2]]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the file is not to be read, is cut short or corrupt, or holds a type that there is no
    /// tensor of (Python objects above all, which are never read).
    #[track_caller]
    pub fn load_npy(path: impl AsRef<Path>) -> Result<Tensor> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| broken("load_npy", path, e))?;
        let length = file
            .metadata()
            .map_err(|e| broken("load_npy", path, e))?
            .len();
        let name = path.display().to_string();
        read_array("load_npy", &name, &mut BufReader::new(file), length)
    }

    /// Writes a `.npy` file that NumPy reads, row-major and little-endian, replacing what was
    /// there only when complete.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let path = std::env::temp_dir().join(format!("{}-save.npy", std::process::id()));
    /// Tensor::new([0.5f32, 1.5])?.save_npy(&path)?;
    /// assert_eq!(Tensor::load_npy(&path)?.to_vec::<f32>()?, [0.5, 1.5]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// For `bf16`, which NumPy does not have, and where the file cannot be written.
    #[track_caller]
    pub fn save_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (header, data) = (header("save_npy", self)?, self.to_bytes()?);
        replace(path, |out| {
            out.write_all(&header)?;
            out.write_all(&data)
        })
        .map_err(|e| broken("save_npy", path, e))
    }

    /// The arrays of a `.npz` file, compressed or not, in the file's order under their names.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let path = std::env::temp_dir().join(format!("{}-load.npz", std::process::id()));
    /// Tensor::save_npz(&path, &[("a", &Tensor::new([1i64])?), ("b", &Tensor::new([2.5f32])?)])?;
    /// let arrays = Tensor::load_npz(&path)?;
    /// assert_eq!((&arrays[0].0[..], &arrays[1].0[..]), ("a", "b"));
    /// assert_eq!(arrays[1].1.to_vec::<f32>()?, [2.5]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load_npy`](Tensor::load_npy), naming the array.
    #[track_caller]
    pub fn load_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>> {
        let (op, path) = ("load_npz", path.as_ref());
        let file = File::open(path).map_err(|e| broken(op, path, e))?;
        let mut archive =
            zip::ZipArchive::new(BufReader::new(file)).map_err(|e| broken(op, path, e))?;
        let mut arrays = Vec::new();
        for i in 0..archive.len() {
            let mut entry = archive.by_index(i).map_err(|e| broken(op, path, e))?;
            let Some(name) = entry.name().strip_suffix(".npy").map(String::from) else {
                continue;
            };
            let length = entry.size();
            let label = format!("{}, array {name:?}", path.display());
            let array = read_array(op, &label, &mut entry, length)?;
            // The archive's checksum is compared where the entry ends.
            match entry.read(&mut [0]) {
                Ok(0) => arrays.push((name, array)),
                Ok(_) => bail!(
                    op,
                    "{label}: more data follows the array than its shape takes"
                ),
                Err(e) => return Err(Error::new(op, label).with_source(e)),
            }
        }
        Ok(arrays)
    }

    /// Writes arrays under their names as `numpy.savez` does, uncompressed.
    ///
    /// ```no_run
    /// use flambeau_core::Tensor;
    /// let (w, b) = (Tensor::ones([2, 3])?, Tensor::zeros([2])?);
    /// Tensor::save_npz("layer.npz", &[("weight", &w), ("bias", &b)])?;
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`save_npy`](Tensor::save_npy), and where a name appears twice.
    #[track_caller]
    pub fn save_npz(path: impl AsRef<Path>, arrays: &[(&str, &Tensor)]) -> Result<()> {
        write_npz(
            "save_npz",
            path.as_ref(),
            arrays,
            zip::CompressionMethod::Stored,
        )
    }

    /// Writes arrays under their names as `numpy.savez_compressed` does.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let path = std::env::temp_dir().join(format!("{}-compressed.npz", std::process::id()));
    /// let x = Tensor::zeros([1 << 16])?;
    /// Tensor::save_npz_compressed(&path, &[("x", &x)])?;
    /// assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`save_npz`](Tensor::save_npz).
    #[track_caller]
    pub fn save_npz_compressed(path: impl AsRef<Path>, arrays: &[(&str, &Tensor)]) -> Result<()> {
        write_npz(
            "save_npz_compressed",
            path.as_ref(),
            arrays,
            zip::CompressionMethod::Deflated,
        )
    }
}

#[track_caller]
fn write_npz(
    op: &'static str,
    path: &Path,
    arrays: &[(&str, &Tensor)],
    method: zip::CompressionMethod,
) -> Result<()> {
    for (i, (name, _)) in arrays.iter().enumerate() {
        if arrays[..i].iter().any(|(n, _)| n == name) {
            bail!(op, "two arrays are named {name:?}; names must differ");
        }
    }
    let headers: Vec<Vec<u8>> = arrays
        .iter()
        .map(|(_, t)| header(op, t))
        .collect::<Result<_>>()?;
    replace(path, |out| {
        let mut archive = zip::ZipWriter::new(out);
        for ((name, tensor), header) in arrays.iter().zip(&headers) {
            let data = tensor.to_bytes().map_err(std::io::Error::other)?;
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(method)
                .large_file(data.len() > u32::MAX as usize / 2);
            archive.start_file(format!("{name}.npy"), options)?;
            archive.write_all(header)?;
            archive.write_all(&data)?;
        }
        archive.finish()?;
        Ok(())
    })
    .map_err(|e| broken(op, path, e))
}

#[track_caller]
fn broken(
    op: &'static str,
    path: &Path,
    e: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(op, path.display().to_string()).with_source(e)
}

/// Writes a file beside `path` under another name and gives it that name when it is complete.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| std::io::Error::other("the path names no file"))?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    unfinished.push(format!(".{}-{count}.tmp", std::process::id()));
    let unfinished: PathBuf = path.with_file_name(unfinished);
    let attempt = || {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        write(&mut out)?;
        out.into_inner()?.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    attempt().inspect_err(|_| {
        let _ = std::fs::remove_file(&unfinished);
    })
}

fn descr(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::BF16 => return None,
    })
}

#[track_caller]
fn header(op: &'static str, t: &Tensor) -> Result<Vec<u8>> {
    let Some(descr) = descr(t.dtype()) else {
        bail!(
            op,
            "NumPy has no {}; convert with to_dtype(DType::F32) first",
            t.dtype()
        );
    };
    let sizes: Vec<String> = t.shape().iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let mut text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        sizes.join(", ")
    );
    // NumPy leaves room for the first size to grow to the longest number.
    let room = sizes.first().map_or(0, |s| 21 - s.len());
    text.push_str(&" ".repeat(room));
    // Version 1: the data starts at a multiple of 64. A version 2 header counts in four bytes.
    let prefix = if text.len() + 64 < 1 << 16 { 10 } else { 12 };
    let padding = 64 - (prefix + text.len() + 1) % 64;
    text.push_str(&" ".repeat(padding));
    text.push('\n');
    let mut out = MAGIC.to_vec();
    if prefix == 10 {
        out.extend([1, 0]);
        out.extend((text.len() as u16).to_le_bytes());
    } else {
        out.extend([2, 0]);
        out.extend((text.len() as u32).to_le_bytes());
    }
    out.extend(text.as_bytes());
    Ok(out)
}

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

/// One array from a reader that holds `length` bytes, `name` being what errors call it.
#[track_caller]
fn read_array(op: &'static str, name: &str, from: &mut impl Read, length: u64) -> Result<Tensor> {
    let (header, start) =
        read_header(from).map_err(|reason| Error::new(op, format!("{name}: {reason}")))?;
    let Header {
        dtype,
        big_endian,
        fortran,
        shape,
    } = header;
    let need = check_numel(op, &shape)? as u64 * dtype.size() as u64;
    let have = length.saturating_sub(start);
    if have < need {
        bail!(
            op,
            "{name}: cut short or corrupt: shape {shape:?} of {dtype} takes {need} bytes, {have} follow the header"
        );
    }
    // Read as it comes: an archive may claim more than it holds.
    let mut data = Vec::new();
    from.take(need)
        .read_to_end(&mut data)
        .map_err(|e| Error::new(op, name.to_string()).with_source(e))?;
    if (data.len() as u64) < need {
        bail!(
            op,
            "{name}: cut short: shape {shape:?} of {dtype} takes {need} bytes, {} are there",
            data.len()
        );
    }
    if big_endian {
        data.chunks_exact_mut(dtype.size())
            .for_each(<[u8]>::reverse);
    }
    if fortran && shape.len() > 1 {
        let reversed: Vec<usize> = shape.iter().rev().copied().collect();
        let order: Vec<usize> = (0..shape.len()).rev().collect();
        Tensor::from_bytes(&data, reversed, dtype)?
            .permute(order)?
            .contiguous()
    } else {
        Tensor::from_bytes(&data, shape, dtype)
    }
}

/// The header, and how many bytes it took.
fn read_header(from: &mut impl Read) -> Result<(Header, u64), String> {
    let mut take = |n: usize| -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; n];
        from.read_exact(&mut bytes)
            .map_err(|e| format!("cut short in its header: {e}"))?;
        Ok(bytes)
    };
    let start = take(8)?;
    if &start[..6] != MAGIC {
        return Err("not a .npy file: it does not start with \\x93NUMPY".into());
    }
    let length = match start[6] {
        1 => u16::from_le_bytes([take(1)?[0], take(1)?[0]]) as usize,
        2 | 3 => {
            let b = take(4)?;
            u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize
        }
        v => {
            return Err(format!(
                "version {v} of the .npy format is not known; 1 to 3 are"
            ));
        }
    };
    if length > LONGEST_HEADER {
        return Err(format!(
            "its header claims {length} bytes; more than {LONGEST_HEADER} are not read"
        ));
    }
    let text = String::from_utf8(take(length)?).map_err(|_| "its header is not text")?;
    let before = if start[6] == 1 { 10 } else { 12 };
    Ok((parse_header(&text)?, (before + length) as u64))
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_header(text: &str) -> Result<Header, String> {
    let corrupt = || format!("corrupt header {:?}", text.trim_end());
    let mut p = Parser { rest: text.trim() };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    if !p.eat("{") {
        return Err(corrupt());
    }
    while !p.eat("}") {
        let key = p.string().ok_or_else(corrupt)?;
        if !p.eat(":") {
            return Err(corrupt());
        }
        match key {
            "descr" if p.rest.starts_with('[') => {
                return Err(
                    "it holds records of several fields; save each field as an array of its own"
                        .into(),
                );
            }
            "descr" => descr = Some(p.string().ok_or_else(corrupt)?),
            "fortran_order" => {
                fortran = Some(if p.eat("True") {
                    true
                } else if p.eat("False") {
                    false
                } else {
                    return Err(corrupt());
                })
            }
            "shape" => shape = Some(p.tuple().ok_or_else(corrupt)?),
            _ => return Err(corrupt()),
        }
        if !p.eat(",") && !p.rest.starts_with('}') {
            return Err(corrupt());
        }
    }
    let (Some(descr), Some(fortran), Some(shape), "") = (descr, fortran, shape, p.rest) else {
        return Err(corrupt());
    };
    let (big_endian, kind) = match descr.split_at_checked(1) {
        Some((">", kind)) => (true, kind),
        Some(("<" | "|" | "=", kind)) => (false, kind),
        _ => (false, descr),
    };
    let dtype = match kind {
        "b1" | "?" => DType::Bool,
        "u1" => DType::U8,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ if kind.starts_with('O') => {
            return Err(
                "it holds Python objects, which only running code could read; save numbers instead"
                    .into(),
            );
        }
        _ => {
            return Err(format!(
                "there is no tensor of NumPy's type {descr:?}; convert in NumPy first, as with a.astype('float32') or 'int64'"
            ));
        }
    };
    Ok(Header {
        dtype,
        big_endian,
        fortran,
        shape,
    })
}

/// The few Python literals a header is made of.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = self
            .rest
            .chars()
            .next()
            .filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.rest[1..].split_once(quote)?;
        self.rest = rest.trim_start();
        (!text.contains('\\')).then_some(text)
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut sizes = Vec::new();
        if !self.eat("(") {
            return None;
        }
        while !self.eat(")") {
            let end = self.rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, rest) = self.rest.split_at(end);
            sizes.push(number.parse().ok()?);
            // Python 2 wrote long integers with an L.
            self.rest = rest.strip_prefix('L').unwrap_or(rest).trim_start();
            if !self.eat(",") && !self.rest.starts_with(')') {
                return None;
            }
        }
        Some(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_parse_in_any_order_and_nothing_else_does() {
        let good = parse_header("{\"shape\": (3L, 4L), 'fortran_order': True, 'descr': '>i2'}  \n");
        let header = Header {
            dtype: DType::I16,
            big_endian: true,
            fortran: true,
            shape: vec![3, 4],
        };
        assert_eq!(good, Ok(header));
        for bad in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, }",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} + [1]",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'x': 1}",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (3,)}",
        ] {
            assert!(parse_header(bad).unwrap_err().contains("corrupt"), "{bad}");
        }
    }
}
