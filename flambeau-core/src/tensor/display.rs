//! How a tensor prints: as PyTorch prints it, by the rules of its `_tensor_str.py`.

use super::Tensor;
use crate::dtype::Stored;
use crate::{DType, Device, with_stored};
use parking_lot::RwLock;
use std::fmt::{self, Write};

/// How tensors print
/// ([`torch.set_printoptions`](https://pytorch.org/docs/stable/generated/torch.set_printoptions.html)).
///
/// ```standalone_crate
/// use flambeau_core::{PrintOptions, Tensor, set_printoptions};
/// set_printoptions(PrintOptions { precision: 2, ..PrintOptions::default() });
/// assert_eq!(Tensor::new([0.12345f32])?.to_string(), "tensor([0.12])");
/// set_printoptions(PrintOptions::default());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrintOptions {
    /// Digits after the point of floating-point numbers. Default 4.
    pub precision: usize,
    /// Tensors of more elements than this are summarised. Default 1000.
    pub threshold: usize,
    /// Indices shown at each end of a dimension in a summary. Default 3.
    pub edgeitems: usize,
    /// Columns to fill before a line is broken. Default 80.
    pub linewidth: usize,
    /// Whether floating-point numbers print as `1.0000e+02`; `None`, the default, decides by their
    /// range.
    pub sci_mode: Option<bool>,
}

const DEFAULT: PrintOptions = PrintOptions {
    precision: 4,
    threshold: 1000,
    edgeitems: 3,
    linewidth: 80,
    sci_mode: None,
};

static OPTIONS: RwLock<PrintOptions> = RwLock::new(DEFAULT);

impl Default for PrintOptions {
    fn default() -> PrintOptions {
        DEFAULT
    }
}

/// Sets how tensors print from now on, in all threads.
///
/// ```standalone_crate
/// use flambeau_core::{PrintOptions, Tensor, set_printoptions};
/// let x = Tensor::new([1.23456f32, 2.0])?;
/// assert_eq!(x.to_string(), "tensor([1.2346, 2.0000])");
/// set_printoptions(PrintOptions { precision: 2, ..PrintOptions::default() });
/// assert_eq!(x.to_string(), "tensor([1.23, 2.00])");
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub fn set_printoptions(options: PrintOptions) {
    *OPTIONS.write() = options;
}

/// How tensors print at present.
pub fn printoptions() -> PrintOptions {
    *OPTIONS.read()
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(self, printoptions()))
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const PREFIX: &str = "tensor(";

fn render(t: &Tensor, o: PrintOptions) -> String {
    let mut suffixes = Vec::new();
    if t.device() != Device::Cpu {
        suffixes.push(format!("device='{}'", t.device()));
    }
    let size = || {
        let sizes: Vec<String> = t.shape().iter().map(usize::to_string).collect();
        let comma = if sizes.len() == 1 { "," } else { "" };
        format!("size=({}{comma})", sizes.join(", "))
    };
    let dtype = || format!("dtype=torch.{}", t.dtype());
    let mut out = String::from(PREFIX);
    if t.numel() == 0 {
        if t.dim() != 1 {
            suffixes.push(size());
        }
        if t.dtype() != DType::F32 {
            suffixes.push(dtype());
        }
        out.push_str("[]");
    } else {
        if o.edgeitems == 0 {
            suffixes.push(size());
        }
        if !matches!(t.dtype(), DType::F32 | DType::I64 | DType::Bool) {
            suffixes.push(dtype());
        }
        let (texts, width) = texts(t, o);
        let mut layout = Layout {
            shape: t.shape(),
            o,
            summarize: summarize(t, o),
            width,
            texts: texts.into_iter(),
        };
        layout.write(&mut out, 0, PREFIX.len());
    }
    match t.grad_fn() {
        Some(node) => suffixes.push(format!("grad_fn={node}")),
        None if t.requires_grad() => suffixes.push("requires_grad=True".into()),
        None => {}
    }
    // As PyTorch counts: from the last line break on, that character and one more included.
    let mut last_line = match out.rfind('\n') {
        Some(at) => out.len() - at + 1,
        None => out.len() + 2,
    };
    for suffix in suffixes {
        if last_line + suffix.len() + 2 > o.linewidth {
            let _ = write!(out, ",\n{:indent$}{suffix}", "", indent = PREFIX.len());
            last_line = PREFIX.len() + suffix.len();
        } else {
            let _ = write!(out, ", {suffix}");
            last_line += suffix.len() + 2;
        }
    }
    out + ")"
}

fn summarize(t: &Tensor, o: PrintOptions) -> bool {
    t.numel() > o.threshold
}

/// The indices of a dimension that are shown.
fn shown(size: usize, summarize: bool, o: PrintOptions) -> impl Iterator<Item = usize> + Clone {
    let edge = if summarize && size > o.edgeitems.saturating_mul(2) {
        o.edgeitems
    } else {
        size
    };
    (0..edge).chain(size - edge.min(size - edge)..size)
}

/// The elements shown, in order, padded to one width, and that width. What is wider (`nan` among
/// single digits) stays so, as in PyTorch.
fn texts(t: &Tensor, o: PrintOptions) -> (Vec<String>, usize) {
    let summarize = summarize(t, o);
    let mut places = vec![0];
    for (&size, &stride) in t.shape().iter().zip(t.strides()) {
        places = places
            .iter()
            .flat_map(|&p| shown(size, summarize, o).map(move |i| p + i * stride))
            .collect();
    }
    let guard = t.read();
    let (mut texts, width) = if t.dtype().is_floating_point() {
        let values: Vec<f64> = with_stored!(t.dtype(), S => {
            let data = guard.slice::<S>();
            places.iter().map(|&p| data[p].to_f64()).collect()
        });
        floats(&values, o)
    } else {
        let boolean = t.dtype() == DType::Bool;
        let texts: Vec<String> = with_stored!(t.dtype(), S => {
            let data = guard.slice::<S>();
            places.iter().map(|&p| match data[p].to_i64() {
                v if !boolean => v.to_string(),
                0 => "False".into(),
                _ => "True".into(),
            }).collect()
        });
        let width = texts.iter().map(String::len).max().unwrap_or(1);
        (texts, width)
    };
    for text in &mut texts {
        *text = format!("{text:>width$}");
    }
    (texts, width)
}

/// Formats numbers as PyTorch's `_Formatter` chooses for all of them together, from those that are
/// neither zero nor infinite nor NaN.
fn floats(values: &[f64], o: PrintOptions) -> (Vec<String>, usize) {
    let telling = || values.iter().filter(|v| v.is_finite() && **v != 0.0);
    let min = telling().fold(f64::INFINITY, |m, v| m.min(v.abs()));
    let max = telling().fold(0.0f64, |m, v| m.max(v.abs()));
    let integers = telling().all(|v| *v == v.ceil());
    let scientific = max > 0.0
        && o.sci_mode
            .unwrap_or(max / min > 1000.0 || max > 1.0e8 || min < 1.0e-4);
    let text = |&v: &f64| {
        if v.is_nan() {
            "nan".into()
        } else if v.is_infinite() {
            v.to_string()
        } else if scientific {
            exponent(v, o.precision)
        } else if integers {
            format!("{v:.0}.")
        } else {
            format!("{v:.*}", o.precision)
        }
    };
    let width = telling().map(|v| text(v).len()).max().unwrap_or(1);
    (values.iter().map(text).collect(), width)
}

/// C's `%.{precision}e`: an exponent has a sign and two digits at least.
fn exponent(v: f64, precision: usize) -> String {
    let text = format!("{v:.precision$e}");
    match text.split_once('e') {
        Some((digits, e)) => {
            let (sign, e) = e.strip_prefix('-').map_or(('+', e), |e| ('-', e));
            format!("{digits}e{sign}{e:0>2}")
        }
        None => text,
    }
}

/// Brackets, line breaks and dots around the elements.
struct Layout<'a> {
    shape: &'a [usize],
    o: PrintOptions,
    summarize: bool,
    width: usize,
    texts: std::vec::IntoIter<String>,
}

impl Layout<'_> {
    fn write(&mut self, out: &mut String, dim: usize, indent: usize) {
        let Some((&size, inner)) = self.shape[dim..].split_first() else {
            out.extend(self.texts.next());
            return;
        };
        let cut = self.summarize && size > self.o.edgeitems.saturating_mul(2);
        let count = shown(size, self.summarize, self.o).count();
        let mut items: Vec<String> = Vec::with_capacity(count + 1);
        for i in 0..count {
            if cut && i == count / 2 {
                items.push(if inner.is_empty() { " ..." } else { "..." }.into());
            }
            let mut item = String::new();
            self.write(&mut item, dim + 1, indent + 1);
            items.push(item);
        }
        if cut && count == 0 {
            items.push("...".into());
        }
        let newline = |n: usize| format!(",{}{:indent$} ", "\n".repeat(n), "");
        out.push('[');
        if inner.is_empty() {
            let per_line = (self.o.linewidth.saturating_sub(indent) / (self.width + 2)).max(1);
            let lines: Vec<String> = items.chunks(per_line).map(|l| l.join(", ")).collect();
            out.push_str(&lines.join(&newline(1)));
        } else {
            out.push_str(&items.join(&newline(inner.len())));
        }
        out.push(']');
    }
}
