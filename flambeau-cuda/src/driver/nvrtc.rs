//! Compiling kernels with NVRTC, and keeping the result on disk.

use super::library::{self, library};
use crate::error::{Error, Result, fail};
use crate::{HEADERS, Unit};
use std::ffi::{CString, c_char, c_int, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::OnceLock;

type Status = c_int;
type Program = *mut c_void;

library! {
    /// NVRTC.
    Nvrtc {
        fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> Status;
        fn nvrtcCreateProgram(
            program: *mut Program,
            source: *const c_char,
            name: *const c_char,
            count: c_int,
            headers: *const *const c_char,
            names: *const *const c_char,
        ) -> Status;
        fn nvrtcDestroyProgram(program: *mut Program) -> Status;
        fn nvrtcCompileProgram(program: Program, count: c_int, options: *const *const c_char) -> Status;
        fn nvrtcGetCUBINSize(program: Program, bytes: *mut usize) -> Status;
        fn nvrtcGetCUBIN(program: Program, image: *mut c_char) -> Status;
        fn nvrtcGetProgramLogSize(program: Program, bytes: *mut usize) -> Status;
        fn nvrtcGetProgramLog(program: Program, text: *mut c_char) -> Status;
    }
}

/// NVRTC and its version.
pub(crate) struct Compiler {
    nvrtc: Nvrtc,
    pub(crate) version: (i32, i32),
    /// NVRTC opens it by its bare name, which finds what is loaded already.
    _builtins: Option<libloading::Library>,
}

/// NVRTC, loaded once.
pub(crate) fn compiler() -> Result<&'static Compiler> {
    static COMPILER: OnceLock<Result<Compiler>> = OnceLock::new();
    let loaded = COMPILER.get_or_init(|| {
        let builtins = library::directories().iter().find_map(|d| builtins(d));
        let names: &[&str] = if cfg!(windows) {
            &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
        } else {
            &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
        };
        let remedy = "pip install nvidia-cuda-nvrtc, or a CUDA toolkit, brings it; FLAMBEAU_CUDA_LIBRARIES names further directories";
        let nvrtc = Nvrtc::of(library::open(names, remedy)?)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: writes two integers.
        unsafe { (nvrtc.nvrtcVersion)(&mut major, &mut minor) };
        Ok(Compiler {
            nvrtc,
            version: (major, minor),
            _builtins: builtins,
        })
    });
    loaded.as_ref().map_err(Error::clone)
}

/// NVRTC's version, as in (13, 0).
///
/// # Errors
/// Where it is missing.
pub fn version() -> Result<(i32, i32)> {
    Ok(compiler()?.version)
}

fn builtins(directory: &Path) -> Option<libloading::Library> {
    let named = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libnvrtc-builtins.so.")
    };
    let mut paths = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|e| Some(e.ok()?.path()));
    let path = paths.find(named)?;
    // SAFETY: NVIDIA's library, which has no initialiser of note.
    unsafe { libloading::Library::new(path) }.ok()
}

/// The kernels of `unit` for a compute capability: from disk, or compiled and put there.
pub(crate) fn cubin(unit: &Unit, capability: (u32, u32)) -> Result<Vec<u8>> {
    let compiler = compiler()?;
    let path = directory().map(|d| d.join(file_name(unit, capability, compiler.version)));
    if let Some(image) = path.as_ref().and_then(|p| std::fs::read(p).ok()) {
        return Ok(image);
    }
    let image = compiler.compile(unit, capability)?;
    if let Some(path) = path {
        // A cache that cannot be written is no error.
        let _ = store(&path, &image);
    }
    Ok(image)
}

/// Under another name first: a reader finds the whole file or none.
fn store(path: &Path, image: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let partial = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&partial, image)?;
    std::fs::rename(&partial, path).inspect_err(|_| {
        let _ = std::fs::remove_file(&partial);
    })
}

/// `FLAMBEAU_CUDA_CACHE`, or the user's cache directory.
fn directory() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    variable("FLAMBEAU_CUDA_CACHE").or_else(|| {
        let base = variable("XDG_CACHE_HOME")
            .or_else(|| variable("LOCALAPPDATA"))
            .or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(base.join("flambeau/cuda"))
    })
}

/// Names all that the image depends on.
fn file_name(unit: &Unit, (major, minor): (u32, u32), version: (i32, i32)) -> String {
    let text = unit.text();
    let hash = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, &text, HEADERS, version).hash(&mut hasher);
        hasher.finish()
    };
    let stem = unit.file().split('.').next().unwrap_or_default();
    format!(
        "{stem}-sm_{major}{minor}-{:016x}{:016x}.cubin",
        hash(0),
        hash(1)
    )
}

impl Compiler {
    /// Compiles.
    ///
    /// # Errors
    /// NVRTC's messages.
    pub(crate) fn compile(&self, unit: &Unit, (major, minor): (u32, u32)) -> Result<Vec<u8>> {
        let mut options = vec![
            format!("--gpu-architecture=sm_{major}{minor}"),
            "--std=c++17".into(),
            "--device-as-default-execution-space".into(),
        ];
        options.extend(
            library::includes()
                .iter()
                .map(|d| format!("--include-path={}", d.display())),
        );
        let text =
            |s: &str| CString::new(s).map_err(|_| Error::new("a kernel's source holds a zero"));
        let options = options
            .iter()
            .map(|o| text(o))
            .collect::<Result<Vec<_>>>()?;
        let options: Vec<_> = options.iter().map(|o| o.as_ptr()).collect();
        let headers = HEADERS.iter().map(|(n, s)| Ok((text(n)?, text(s)?)));
        let headers = headers.collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let sources: Vec<_> = headers.iter().map(|(_, source)| source.as_ptr()).collect();
        let (source, name) = (text(&unit.text())?, text(unit.file())?);
        let mut program = null_mut();
        let n = &self.nvrtc;
        // SAFETY: every pointer leads to texts and arrays that outlive the call, of the counts given.
        let created = unsafe {
            (n.nvrtcCreateProgram)(
                &mut program,
                source.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                sources.as_ptr(),
                names.as_ptr(),
            )
        };
        if created != 0 {
            fail!("NVRTC refuses {} (status {created})", unit.file());
        }
        // SAFETY: as above; the sizes are those that the program states.
        let result = unsafe {
            let status = (n.nvrtcCompileProgram)(program, options.len() as c_int, options.as_ptr());
            if status == 0 {
                let mut bytes = 0;
                (n.nvrtcGetCUBINSize)(program, &mut bytes);
                let mut image = vec![0u8; bytes];
                (n.nvrtcGetCUBIN)(program, image.as_mut_ptr().cast());
                Ok(image)
            } else {
                let mut bytes = 0;
                (n.nvrtcGetProgramLogSize)(program, &mut bytes);
                let mut log = vec![0u8; bytes];
                (n.nvrtcGetProgramLog)(program, log.as_mut_ptr().cast());
                let log = String::from_utf8_lossy(&log)
                    .trim_end_matches('\0')
                    .to_owned();
                Err(Error::new(format!(
                    "{} does not compile for sm_{major}{minor}:\n{log}",
                    unit.file()
                )))
            }
        };
        // SAFETY: made above, and not used any more.
        unsafe { (n.nvrtcDestroyProgram)(&mut program) };
        result
    }
}
