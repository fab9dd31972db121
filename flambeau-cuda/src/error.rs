//! What can go wrong between the program and the device.

use std::fmt;

/// What failed, in words for whoever runs the program.
#[derive(Clone, Debug)]
pub struct Error(String);

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Error {
        Error(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Returns an [`Error`] with a formatted message.
macro_rules! fail {
    ($($message:tt)*) => { return Err($crate::error::Error::new(format!($($message)*))) };
}
pub(crate) use fail;
