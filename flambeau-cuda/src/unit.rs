//! The kernel files, and what is compiled: a file with definitions.

use smallvec::SmallVec;
use std::fmt::Write;
use std::hash::{Hash, Hasher};

/// A kernel file with preprocessor definitions: what the compiler gets, and the key under which its
/// result is kept. Cheap to make, compare and hash.
///
/// ```
/// use flambeau_cuda::Unit;
/// let unit = Unit::new("elementwise.cu").define("OUT", "float");
/// assert!(unit.text().starts_with("#define OUT float\n"));
/// assert_ne!(unit, Unit::new("elementwise.cu").define("OUT", "double"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unit {
    file: &'static str,
    body: Body,
    defines: SmallVec<[(&'static str, &'static str); 6]>,
}

/// A file's text. Compared and hashed by its address: the texts are constants.
#[derive(Clone, Copy, Debug)]
struct Body(&'static str);

impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Body {}

impl Hash for Body {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
    }
}

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../kernels/", $name)))),*]
    };
}

/// Files that are compiled.
const FILES: &[(&str, &str)] = files!(
    "check.cu" "class_loss.cu" "conv.cu" "dropout.cu" "elementwise.cu" "fused.cu" "index.cu" "matmul.cu"
    "norm.cu" "pool.cu" "random.cu" "reduce.cu" "scan.cu" "softmax.cu" "sort.cu"
);

/// Files that others include: name and text.
pub const HEADERS: &[(&str, &str)] = files!("common.cuh" "gemm.cuh" "math.cuh" "philox.cuh");

impl Unit {
    /// The kernel file of that name, as yet without definitions.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn new(file: &str) -> Unit {
        let (file, body) = (FILES.iter().find(|(name, _)| *name == file))
            .unwrap_or_else(|| panic!("no kernel file is called {file}"));
        Unit::of(file, body)
    }

    /// A kernel file that is not one of ours: its name for messages, and its text.
    pub fn of(file: &'static str, text: &'static str) -> Unit {
        Unit {
            file,
            body: Body(text),
            defines: SmallVec::new(),
        }
    }

    /// With `#define name value` in front of the file; `name` may have parameters, as in
    /// `EXPR(x)`.
    pub fn define(mut self, name: &'static str, value: &'static str) -> Unit {
        self.defines.push((name, value));
        self
    }

    /// The file's name.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// The definitions, in the order they were made.
    pub fn defines(&self) -> &[(&'static str, &'static str)] {
        &self.defines
    }

    /// The whole text for the compiler, which resolves includes from [`HEADERS`].
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.defines {
            let _ = writeln!(text, "#define {name} {value}");
        }
        // Messages of the compiler then name the file and its own lines.
        let _ = writeln!(text, "#line 1 \"{}\"", self.file);
        text + self.body.0
    }
}
