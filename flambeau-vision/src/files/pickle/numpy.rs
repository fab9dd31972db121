//! numpy's arrays as pickles spell them, understood without numpy.
//!
//! `ndarray.__reduce__` gives `_reconstruct(ndarray, (0,), b'b')` and the state
//! `(1, shape, dtype, is_fortran, bytes)`; from protocol 5 on `_frombuffer(bytes, dtype, shape,
//! order)`. A dtype is `dtype('u1', False, True)` and the state `(3, '|', ...)` whose second item
//! is the byte order. Python 3 writes bytes for protocol 2 as `_codecs.encode(text, 'latin1')`.

use super::{Id, Raw, Step};

/// A numpy array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array<'p> {
    /// numpy's type code without the byte order: `u1`, `i8`, `f4`, ...
    pub dtype: &'p str,
    /// Whether the elements lie big end first.
    pub big_endian: bool,
    /// The extents, outermost first.
    pub shape: &'p [usize],
    /// Whether the first dimension runs fastest, not the last.
    pub fortran: bool,
    /// The elements: as many as the shape says.
    pub bytes: &'p [u8],
}

/// The names a pickle may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Ndarray,
    Dtype,
    Reconstruct,
    FromBuffer,
    Encode,
}

#[derive(Debug, Clone)]
pub(super) struct Dtype {
    code: String,
    size: usize,
    big_endian: bool,
}

#[derive(Debug, Clone)]
pub(super) struct RawArray(Option<Content>);

#[derive(Debug, Clone)]
struct Content {
    dtype: Dtype,
    shape: Vec<usize>,
    fortran: bool,
    bytes: Id,
}

impl RawArray {
    pub(super) fn view<'p>(&'p self, values: &'p [Raw<'_>]) -> Option<Array<'p>> {
        let Content {
            dtype,
            shape,
            fortran,
            bytes,
        } = self.0.as_ref()?;
        let Raw::Bytes(bytes) = &values[*bytes as usize] else {
            return None;
        };
        let Dtype {
            code, big_endian, ..
        } = dtype;
        Some(Array {
            dtype: code,
            big_endian: *big_endian,
            shape,
            fortran: *fortran,
            bytes,
        })
    }
}

impl Name {
    pub(super) fn find(module: &str, name: &str) -> Step<Self> {
        // numpy 2 moved its core to numpy._core.
        let module = module.replace("numpy._core", "numpy.core");
        match (module.as_str(), name) {
            ("numpy", "ndarray") => Ok(Self::Ndarray),
            ("numpy", "dtype") => Ok(Self::Dtype),
            ("numpy.core.multiarray", "_reconstruct") => Ok(Self::Reconstruct),
            ("numpy.core.numeric", "_frombuffer") => Ok(Self::FromBuffer),
            ("_codecs", "encode") => Ok(Self::Encode),
            _ => Err(format!(
                "it calls on {module}.{name}, which is neither plain data nor a numpy array; \
                 pickled code is never run here"
            )),
        }
    }

    /// What calling the name with these arguments makes.
    pub(super) fn call<'a>(self, arguments: &[Id], values: &[Raw<'a>]) -> Step<Raw<'a>> {
        let value = |i: usize| arguments.get(i).map(|&id| &values[id as usize]);
        let odd = || format!("a call of numpy's {self:?} that is not understood");
        match (self, value(0).ok_or_else(odd)?) {
            (Self::Reconstruct, Raw::Name(Self::Ndarray)) => Ok(Raw::Array(RawArray(None))),
            (Self::Dtype, code) => {
                let code = text(code).ok_or_else(odd)?;
                Ok(Raw::Dtype(Dtype::new(code)?))
            }
            (Self::FromBuffer, _) => {
                let [buffer, dtype, shape, _] = *arguments else {
                    return Err(odd());
                };
                let fortran = value(3).and_then(text) == Some("F");
                array(buffer, dtype, shape, fortran, values)
            }
            (Self::Encode, Raw::Str(text)) => {
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
                Ok(Raw::Bytes(bytes.ok_or_else(odd)?.into()))
            }
            _ => Err(odd()),
        }
    }
}

impl Dtype {
    fn new(code: &str) -> Step<Self> {
        let (kind, size) = code.split_at_checked(1).unwrap_or(("", ""));
        match size.parse() {
            Ok(size @ (1 | 2 | 4 | 8)) if "biuf".contains(kind) => Ok(Self {
                code: code.to_owned(),
                size,
                big_endian: false,
            }),
            _ => Err(format!("numpy dtype {code:?} is not read here")),
        }
    }
}

/// The object with the state that pickle's BUILD gives it.
pub(super) fn build<'a>(object: &Raw<'a>, state: Id, values: &[Raw<'a>]) -> Step<Raw<'a>> {
    let Raw::Tuple(state) = &values[state as usize] else {
        return Err("a state that is no tuple".into());
    };
    match (object, &state[..]) {
        (Raw::Dtype(dtype), [_, order, ..]) => {
            let big_endian = text(&values[*order as usize]) == Some(">");
            Ok(Raw::Dtype(Dtype {
                big_endian,
                ..dtype.clone()
            }))
        }
        (Raw::Array(_), &[_, shape, dtype, fortran, bytes]) => {
            let fortran = matches!(values[fortran as usize], Raw::Bool(true) | Raw::Int(1));
            array(bytes, dtype, shape, fortran, values)
        }
        _ => Err("a state for what has none".into()),
    }
}

/// An array, once its bytes are as many as its shape and dtype say.
fn array<'a>(bytes: Id, dtype: Id, shape: Id, fortran: bool, values: &[Raw<'a>]) -> Step<Raw<'a>> {
    let [content, dtype, shape] = [bytes, dtype, shape].map(|id| &values[id as usize]);
    let (Raw::Bytes(content), Raw::Dtype(dtype), Raw::Tuple(shape)) = (content, dtype, shape)
    else {
        return Err("a numpy array of Python objects or of odd parts".into());
    };
    let extent = |&id: &Id| match values[id as usize] {
        Raw::Int(extent) => usize::try_from(extent).ok(),
        _ => None,
    };
    let shape: Option<Vec<usize>> = shape.iter().map(extent).collect();
    let shape = shape.ok_or("a numpy array with a damaged shape")?;
    let size = shape
        .iter()
        .try_fold(dtype.size, |n, &extent| n.checked_mul(extent));
    if size != Some(content.len()) {
        let length = content.len();
        return Err(format!(
            "a numpy array of shape {shape:?}, {} in {length} bytes",
            dtype.code
        ));
    }
    let dtype = dtype.clone();
    Ok(Raw::Array(RawArray(Some(Content {
        dtype,
        shape,
        fortran,
        bytes,
    }))))
}

fn text<'v>(value: &'v Raw<'_>) -> Option<&'v str> {
    match value {
        Raw::Str(text) => Some(text),
        Raw::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}
