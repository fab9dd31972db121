//! The one error type: operation, rule, numbers, the user's line and the module path.

use std::fmt;
use std::panic::Location;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where in the user's program.
///
/// Printed as `op: rule and numbers. At file:line:column, in module.path`.
///
/// ```
/// use flambeau_core::Tensor;
/// let x = Tensor::ones([2, 3])?;
/// let error = x.matmul(&x).unwrap_err();
/// assert_eq!(error.op(), "matmul");
/// assert!(error.to_string().contains("[2, 3]"), "{error}");
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    op: &'static str,
    message: String,
    location: &'static Location<'static>,
    modules: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of operation `op`. The message states the rule broken, with the numbers that
    /// disagree, and what to do. The caller's line is recorded.
    #[track_caller]
    #[cold]
    pub fn new(op: &'static str, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            op,
            message: message.into(),
            location: Location::caller(),
            modules: Vec::new(),
            source: None,
        }))
    }

    /// The same with the line of the user's call, where that is known better than by
    /// `#[track_caller]`.
    #[cold]
    pub fn at(
        op: &'static str,
        message: impl Into<String>,
        location: &'static Location<'static>,
    ) -> Error {
        let mut e = Error::new(op, message);
        e.0.location = location;
        e
    }

    /// Adds the error that this one comes from; it is printed after the message, unless the
    /// message already says it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the module whose forward was running, innermost first: `fc1 Linear(256 -> 10)`.
    #[must_use]
    pub fn in_module(mut self, module: impl Into<String>) -> Error {
        self.0.modules.push(module.into());
        self
    }

    /// The operation that failed.
    pub fn op(&self) -> &'static str {
        self.0.op
    }

    /// The message without operation, line and module.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The line of the user's program.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            op,
            message,
            location,
            modules,
            source,
        } = &*self.0;
        write!(f, "{op}: {message}")?;
        if let Some(source) = source.as_ref().map(ToString::to_string)
            && !message.contains(&source)
        {
            write!(f, ": {source}")?;
        }
        write!(f, ". At {}", Place(location))?;
        for (i, module) in modules.iter().rev().enumerate() {
            write!(f, "{}{module}", if i == 0 { ", in " } else { " > " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as _)
    }
}

/// A line of the user's program as `file:line:column`. Cargo names the files of a target outside
/// of its package's folder `package/../file`; that is printed as `file`.
pub(crate) struct Place(pub(crate) &'static Location<'static>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        write!(f, "{}:{}:{}", tidy(at.file()), at.line(), at.column())
    }
}

/// `path` without steps into a folder and out again.
fn tidy(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match parts.last() {
            Some(&last) if part == ".." && !matches!(last, "" | "." | "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns an [`Error`] from the enclosing function: `bail!("matmul", "inner dimensions …")`.
#[macro_export]
macro_rules! bail {
    ($op:expr, $($message:tt)+) => {
        return Err($crate::Error::new($op, format!($($message)+)))
    };
}

impl Error {
    /// The same error at the line where the user called.
    #[must_use]
    pub fn relocate(mut self, location: &'static Location<'static>) -> Error {
        self.0.location = location;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_printed_without_detours() {
        let at = Location::caller();
        let text = Place(at).to_string();
        assert_eq!(
            text,
            format!("{}:{}:{}", tidy(at.file()), at.line(), at.column())
        );
        assert_eq!(tidy("app/../examples/a.rs"), "examples/a.rs");
        assert_eq!(tidy("/home/x/../../y/a.rs"), "/y/a.rs");
        assert_eq!(tidy("../../a/b.rs"), "../../a/b.rs");
        assert_eq!(tidy("src/main.rs"), "src/main.rs");
    }
}
