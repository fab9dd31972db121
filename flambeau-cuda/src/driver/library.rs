//! Finding shared libraries where the system, a CUDA toolkit or Python's packages put them.

use crate::error::{Error, Result};
use libloading::Library;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Directories that may hold CUDA's libraries, beside those that the system's loader knows:
/// `FLAMBEAU_CUDA_LIBRARIES`, the toolkit's, and those of Python's `nvidia-*` packages.
pub(crate) fn directories() -> &'static [PathBuf] {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found = listed("FLAMBEAU_CUDA_LIBRARIES");
        for root in ["CUDA_HOME", "CUDA_PATH"].into_iter().flat_map(listed) {
            found.extend(["lib64", "lib", "bin"].map(|d| root.join(d)));
        }
        found.push("/usr/local/cuda/lib64".into());
        for packages in site_packages() {
            for package in entries(&packages.join("nvidia")) {
                found.extend(["lib", "bin"].map(|d| package.join(d)));
            }
        }
        found.retain(|d| d.is_dir());
        found
    })
}

/// Directories of headers that belong to [`directories`].
pub(crate) fn includes() -> Vec<PathBuf> {
    let beside = |d: &PathBuf| Some(d.parent()?.join("include"));
    let mut found: Vec<PathBuf> = directories().iter().filter_map(beside).collect();
    found.retain(|d| d.join("cuda_fp16.h").is_file());
    found
}

fn listed(variable: &str) -> Vec<PathBuf> {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value)
        .filter(|p| !p.as_os_str().is_empty())
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = list.filter_map(|e| Some(e.ok()?.path())).collect();
    // The newest version first.
    paths.sort_unstable();
    paths.reverse();
    paths
}

/// Where Python keeps packages: of the active environment, of the first `python3` on the path, the
/// user's, the system's, and pyenv's.
fn site_packages() -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .flat_map(listed)
        .collect();
    let python = listed("PATH")
        .into_iter()
        .map(|d| d.join("python3"))
        .find(|p| p.is_file());
    if let Some(python) = python.and_then(|p| p.canonicalize().ok()) {
        prefixes.extend(python.ancestors().nth(2).map(Path::to_path_buf));
    }
    let home = listed("HOME");
    prefixes.extend(home.iter().map(|h| h.join(".local")));
    for versions in listed("PYENV_ROOT")
        .into_iter()
        .chain(home.iter().map(|h| h.join(".pyenv")))
    {
        prefixes.extend(entries(&versions.join("versions")));
    }
    prefixes.extend(["/usr/local".into(), "/usr".into()]);
    let mut found = listed("PYTHONPATH");
    for prefix in prefixes {
        for python in entries(&prefix.join("lib")) {
            found.extend(["site-packages", "dist-packages"].map(|d| python.join(d)));
        }
        found.push(prefix.join("Lib/site-packages"));
    }
    found
}

/// The first of `names` that loads, by the system's rules or from [`directories`].
///
/// # Errors
/// Names what was looked for, where, and what to install.
pub(crate) fn open(names: &[&str], remedy: &str) -> Result<Library> {
    let mut broken = None;
    for path in candidates(names) {
        // SAFETY: these are NVIDIA's libraries by their published names; their initialisers are run
        // as every program that links them runs them.
        match unsafe { Library::new(&path) } {
            Ok(library) => return Ok(library),
            Err(e) if path.is_absolute() => broken = Some(format!("{}: {e}", path.display())),
            Err(_) => {}
        }
    }
    Err(match broken {
        Some(reason) => Error::new(format!("{} does not load ({reason})", names[0])),
        None => Error::new(format!("{} was not found; {remedy}", names[0])),
    })
}

fn candidates(names: &[&str]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    for directory in directories() {
        all.extend(
            names
                .iter()
                .map(|n| directory.join(n))
                .filter(|p| p.is_file()),
        );
    }
    all
}

/// A table of C functions, looked up by name when the library is loaded.
macro_rules! library {
    ($(#[$doc:meta])* $name:ident { $(fn $f:ident($($a:ident: $t:ty),* $(,)?) -> $r:ty;)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case)]
        pub(crate) struct $name {
            $(pub(crate) $f: unsafe extern "C" fn($($t),*) -> $r,)*
            _library: libloading::Library,
        }

        impl $name {
            /// The functions of an open library.
            ///
            /// # Errors
            /// Names a function that it lacks.
            pub(crate) fn of(library: libloading::Library) -> $crate::error::Result<$name> {
                Ok($name {
                    $($f: {
                        // SAFETY: the signature is that of the library's published header, and the
                        // library stays loaded as long as this table.
                        let found = unsafe {
                            library.get::<unsafe extern "C" fn($($t),*) -> $r>(
                                concat!(stringify!($f), "\0").as_bytes(),
                            )
                        };
                        *found.map_err(|e| $crate::error::Error::new(format!(
                            "{} lacks {} ({e}); a newer version is needed", stringify!($name), stringify!($f),
                        )))?
                    },)*
                    _library: library,
                })
            }

            /// Name, parameters and result of each function, for the comparison with the header.
            #[cfg(test)]
            pub(crate) const SIGNATURES: &'static [$crate::driver::library::Signature] =
                &[$((stringify!($f), &[$(stringify!($t)),*], stringify!($r))),*];
        }
    };
}
pub(crate) use library;

/// Name, types of the parameters and type of the result of a C function.
#[cfg(test)]
pub(crate) type Signature = (&'static str, &'static [&'static str], &'static str);

/// Constants under the names that a library's header has for them.
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident: $t:ty = $value:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: $t = $value;)*

        /// Name and value of each, for the comparison with the header.
        #[cfg(test)]
        pub(crate) const CONSTANTS: &[(&str, i64)] = &[$((stringify!($name), $name as i64)),*];
    };
}
pub(crate) use constants;
