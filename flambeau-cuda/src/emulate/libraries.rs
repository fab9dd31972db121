//! Stand-ins for NVIDIA's libraries that compute by plain loops in the emulated device's memory: what
//! is asked of the real ones is carried out to the letter, and refused where they would refuse it.

use super::{compiler, folder, io, scratch, write};
use crate::driver::cublas::CublasLt;
use crate::driver::cudnn::Cudnn;
use crate::error::{Error, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The stand-ins' text, which compiles with NVIDIA's headers as with the declarations in it.
pub(crate) const TEXT: &str = include_str!("libraries.cpp");

const COMPILE: &[&str] = &[
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-shared",
    "-ffp-contract=off",
    "-w",
];

/// The compiled library.
fn path() -> Result<PathBuf> {
    static MADE: OnceLock<Result<PathBuf>> = OnceLock::new();
    let make = || -> super::Result<PathBuf> {
        let compiler = compiler().ok_or(super::Error("there is no C++ compiler".into()))?;
        let mut hasher = DefaultHasher::new();
        (TEXT, COMPILE, compiler).hash(&mut hasher);
        let folder = folder()?;
        let path = folder.join(format!("libraries-{:016x}.so", hasher.finish()));
        if path.exists() {
            return Ok(path);
        }
        let work = scratch(&folder)?;
        let built = (|| {
            write(&work, "libraries.cpp", TEXT)?;
            let mut command = Command::new(compiler);
            let command = command.current_dir(&work).args(COMPILE);
            super::call(
                "libraries.cpp",
                command.args(["-o", "l.so", "libraries.cpp"]),
            )?;
            std::fs::rename(work.join("l.so"), &path).map_err(io("keep the stand-in libraries"))
        })();
        let _ = std::fs::remove_dir_all(&work);
        built.map(|()| path)
    };
    MADE.get_or_init(|| make().map_err(|e| Error::new(e.to_string())))
        .clone()
}

fn open() -> Result<libloading::Library> {
    // SAFETY: our own library, without constructors.
    unsafe { libloading::Library::new(path()?) }.map_err(|e| Error::new(e.to_string()))
}

/// The stand-in for cuBLASLt.
pub(crate) fn cublas() -> Result<&'static CublasLt> {
    static LIBRARY: OnceLock<Result<CublasLt>> = OnceLock::new();
    let loaded = LIBRARY.get_or_init(|| CublasLt::of(open()?));
    loaded.as_ref().map_err(Error::clone)
}

/// The stand-in for cuDNN.
pub(crate) fn cudnn() -> Result<&'static Cudnn> {
    static LIBRARY: OnceLock<Result<Cudnn>> = OnceLock::new();
    let loaded = LIBRARY.get_or_init(|| Cudnn::of(open()?));
    loaded.as_ref().map_err(Error::clone)
}
