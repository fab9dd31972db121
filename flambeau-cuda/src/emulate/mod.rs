//! Runs kernels on the CPU: compiles a [`Unit`] with the system's C++ compiler and `emulate.h` in
//! front, and walks grid and block. For tests; slow.
//!
//! What a GPU leaves undefined is an error here where it can be seen: threads of one block at
//! different barriers, a warp primitive that not every named lane reaches, misaligned vectors.
//! Blocks and threads run in either [`Order`]; a kernel whose results differ between the two has a
//! race.

mod device;
pub(crate) mod libraries;
mod nccl;

pub use device::install;
pub(crate) use device::{Plain, installed};

use crate::{HEADERS, Launch, Unit};
use libloading::Library;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

/// Why a kernel could not be compiled or run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

type Result<T> = std::result::Result<T, Error>;

/// In which order blocks, and the threads of a block between barriers, take their turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last.
    Forward,
    /// From the last to the first.
    Reverse,
}

/// A compiled unit.
#[derive(Clone)]
pub struct Module(Arc<Loaded>);

struct Loaded {
    library: Library,
    name: &'static str,
    /// Grid position and shared memory are variables of the library: one launch at a time.
    running: Mutex<()>,
}

/// What `emulate::launch` in `emulate.h` is called through.
type Run = unsafe extern "C" fn(
    grid: *const u32,
    block: *const u32,
    shared: u32,
    args: *mut *mut c_void,
    reverse: c_int,
    message: *mut c_char,
    message_size: usize,
) -> c_int;

const EMULATE_H: &str = include_str!("emulate.h");

/// The C++ compiler: `$CXX`, or `c++`. `None` where it does not answer.
pub fn compiler() -> Option<&'static str> {
    static FOUND: LazyLock<Option<String>> = LazyLock::new(|| {
        let name = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let answers = Command::new(&name).arg("--version").output().is_ok();
        answers.then_some(name)
    });
    FOUND.as_deref()
}

/// Compiles the unit, or takes it from where an earlier process left it (beside the running
/// program, in `emulated`).
///
/// # Errors
/// Where there is no compiler, or it refuses the text: its own words.
pub fn compile(unit: &Unit) -> Result<Module> {
    type Slot = Arc<OnceLock<Result<Module>>>;
    static MODULES: LazyLock<Mutex<HashMap<Unit, Slot>>> = LazyLock::new(Mutex::default);
    let slot = {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        modules.entry(unit.clone()).or_default().clone()
    };
    slot.get_or_init(|| load(unit)).clone()
}

/// Runs a launch, in the forward order.
///
/// # Errors
/// As [`compile`] and [`Module::launch`].
///
/// # Safety
/// As [`Module::launch`].
pub unsafe fn run(launch: &mut Launch) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { run_in(launch, Order::Forward) }
}

/// Runs a launch in an order of choice.
///
/// # Errors
/// As [`compile`] and [`Module::launch`].
///
/// # Safety
/// As [`Module::launch`].
pub unsafe fn run_in(launch: &mut Launch, order: Order) -> Result<()> {
    let module = compile(&launch.unit)?;
    let args = &mut launch.args.pointers();
    let (grid, block) = (launch.grid, launch.block);
    // SAFETY: the caller's promise.
    unsafe { module.launch_in(launch.entry, grid, block, launch.shared, args, order) }
}

impl Module {
    /// Runs the kernel called `name` over `grid` blocks of `block` threads with `shared` bytes of
    /// dynamic shared memory; returns when it has ended.
    ///
    /// # Errors
    /// Where there is no such kernel, the shape is not one that a GPU takes, or the kernel did what
    /// would hang or be undefined there.
    ///
    /// # Safety
    /// `args` has to point to one value for each of the kernel's parameters, of its type, and what
    /// the kernel reads and writes through them has to be there.
    pub unsafe fn launch(
        &self,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.launch_in(name, grid, block, shared, args, Order::Forward) }
    }

    /// As [`launch`](Module::launch), in an order of choice.
    ///
    /// # Errors
    /// As [`launch`](Module::launch).
    ///
    /// # Safety
    /// As [`launch`](Module::launch).
    pub unsafe fn launch_in(
        &self,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        args: &mut [*mut c_void],
        order: Order,
    ) -> Result<()> {
        let failed = |why: &str| Err(Error(format!("{}: {name}: {why}", self.0.name)));
        if let Some(why) = refused(grid, block, shared) {
            return failed(&why);
        }
        let constant = |what: &str| {
            let symbol = format!("{name}__{what}");
            // SAFETY: our own library exports these symbols with these types, and is kept as long as
            // `self`.
            let found = unsafe { self.0.library.get::<*const c_int>(symbol.as_bytes()) };
            // SAFETY: as above.
            found.map(|s| unsafe { **s })
        };
        let (Ok(count), Ok(bound)) = (constant("parameters"), constant("bound")) else {
            return failed("there is no such kernel");
        };
        if count as usize != args.len() {
            return failed(&format!("{} arguments for {count} parameters", args.len()));
        }
        let threads: u32 = block.iter().product();
        if threads > bound as u32 {
            return failed(&format!(
                "{threads} threads where __launch_bounds__ allows {bound}"
            ));
        }
        let symbol = format!("{name}__emulated");
        // SAFETY: our own library exports the entry with this type.
        let Ok(entry) = (unsafe { self.0.library.get::<Run>(symbol.as_bytes()) }) else {
            return failed("there is no such kernel");
        };
        let mut message = [0; 1024];
        let _one = (self.0.running.lock()).unwrap_or_else(PoisonError::into_inner);
        let reverse = c_int::from(order == Order::Reverse);
        // SAFETY: the arguments are the caller's promise; the rest points to what was made above.
        let rc = unsafe {
            entry(
                grid.as_ptr(),
                block.as_ptr(),
                shared,
                args.as_mut_ptr(),
                reverse,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if rc == 0 {
            return Ok(());
        }
        // SAFETY: `emulate::fail` ends the message with a zero.
        failed(&unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy())
    }
}

/// What the driver would refuse.
fn refused(grid: [u32; 3], block: [u32; 3], shared: u32) -> Option<String> {
    let threads: u64 = block.iter().map(|&n| u64::from(n)).product();
    if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        Some(format!("a grid of {grid:?} blocks cannot be launched"))
    } else if threads == 0 || threads > 1024 || block[2] > 64 {
        Some(format!("a block of {block:?} threads cannot be launched"))
    } else if shared > 48 << 10 {
        Some(format!("{shared} bytes of shared memory are above 48 KiB"))
    } else {
        None
    }
}

fn load(unit: &Unit) -> Result<Module> {
    let text = unit.text();
    let mut hasher = DefaultHasher::new();
    // Everything that has a part in the result, this file too.
    (
        &text,
        HEADERS,
        EMULATE_H,
        include_str!("mod.rs"),
        compiler(),
    )
        .hash(&mut hasher);
    let folder = folder()?;
    let path = folder.join(format!("{:016x}.so", hasher.finish()));
    if !path.exists() {
        build(unit, &text, &folder, &path)?;
    }
    // SAFETY: a library without constructors, made of our own kernels.
    let library = unsafe { Library::new(&path) }.map_err(|e| Error(e.to_string()))?;
    Ok(Module(Arc::new(Loaded {
        library,
        name: unit.file(),
        running: Mutex::new(()),
    })))
}

/// Where compiled units are kept: beside the running program, which is the target folder in tests.
fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(io("find the program"))?;
    let folder = program.parent().unwrap_or(Path::new(".")).join("emulated");
    std::fs::create_dir_all(&folder).map_err(io("make the folder for compiled kernels"))?;
    Ok(folder)
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |e| Error(format!("emulate: cannot {what}: {e}"))
}

/// Contraction would fuse what `__fmul_rn` keeps apart. Variables of template functions, shared memory
/// among them, would be one and the same in all libraries of the process if they were visible.
const COMPILE: &[&str] = &[
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-w",
];

/// What finds the entry points: the preprocessor alone, which leaves `__global__` as it is.
const PREPROCESS: &[&str] = &["-std=c++17", "-E", "-P", "-DFLAMBEAU_EMULATE"];

/// Finds the entry points, appends a launcher for each, and compiles.
fn build(unit: &Unit, text: &str, folder: &Path, path: &Path) -> Result<()> {
    let compiler = compiler().ok_or(Error("emulate: there is no C++ compiler".into()))?;
    let headers = headers(compiler, folder)?;
    let work = scratch(folder)?;
    let result = (|| {
        let new = || {
            let mut command = Command::new(compiler);
            command.current_dir(&work).arg("-I").arg(&headers);
            command
        };
        write(&work, "unit.cpp", text)?;
        let preprocessed = call(unit.file(), new().args(PREPROCESS).arg("unit.cpp"))?;
        let launchers: String = entries(&preprocessed).map(|e| launcher(&e)).collect();
        let whole = format!("#include \"emulate.h\"\n{text}\n{launchers}");
        write(&work, "unit.cpp", &whole)?;
        let output = ["-shared", "-o", "unit.so", "unit.cpp"];
        call(unit.file(), new().args(COMPILE).args(output))?;
        // Another process may have done the same: either library is right.
        std::fs::rename(work.join("unit.so"), path).map_err(io("keep a compiled kernel"))
    })();
    let _ = std::fs::remove_dir_all(&work);
    result
}

/// The folder of the headers. `emulate.h` is compiled in advance: reading it takes longer than
/// compiling a kernel.
fn headers(compiler: &str, folder: &Path) -> Result<PathBuf> {
    static MADE: OnceLock<Result<PathBuf>> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        (HEADERS, EMULATE_H, COMPILE, compiler).hash(&mut hasher);
        let path = folder.join(format!("headers-{:016x}", hasher.finish()));
        if path.exists() {
            return Ok(path);
        }
        let work = scratch(folder)?;
        for (name, text) in HEADERS {
            write(&work, name, text)?;
        }
        write(&work, "emulate.h", EMULATE_H)?;
        let output = ["-x", "c++-header", "emulate.h", "-o", "emulate.h.gch"];
        let mut command = Command::new(compiler);
        let command = command.current_dir(&work).args(COMPILE).args(output);
        call("emulate.h", command)?;
        // Where another process was faster its folder stays.
        if std::fs::rename(&work, &path).is_err() {
            let _ = std::fs::remove_dir_all(&work);
        }
        Ok(path)
    })
    .clone()
}

/// A new folder for one compilation.
fn scratch(folder: &Path) -> Result<PathBuf> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{}-{id}", std::process::id()));
    std::fs::create_dir_all(&path).map_err(io("make a folder"))?;
    Ok(path)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::write(folder.join(name), text).map_err(io("write a kernel's text"))
}

fn call(file: &str, command: &mut Command) -> Result<String> {
    let output = command.output().map_err(io("run the C++ compiler"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error(format!("{file}: {words}")))
}

/// A kernel's name, and how many threads its blocks may have.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    name: &'a str,
    bound: u32,
}

/// What a kernel without `__launch_bounds__` is sure to have registers for: a thread may take 255,
/// and a multiprocessor has 65,536.
const UNBOUND: u32 = 256;

/// The kernels in a preprocessed text.
fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let starts = text.split("extern \"C\" __global__ void").skip(1);
    starts.filter_map(|rest| {
        let rest = rest.trim_start();
        let (bound, rest) = match rest.strip_prefix("__launch_bounds__(") {
            Some(rest) => {
                let (bound, rest) = rest.split_once(')')?;
                (bound.trim().parse().ok()?, rest)
            }
            None => (UNBOUND, rest),
        };
        let name = rest.split('(').next()?.trim();
        Some(Entry { name, bound })
    })
}

fn launcher(Entry { name, bound }: &Entry<'_>) -> String {
    format!(
        "
template <class... A> constexpr int {name}__count(void (*)(A...)) {{ return sizeof...(A); }}
extern \"C\" {{
#pragma GCC visibility push(default)
extern const int {name}__parameters = {name}__count(&::{name});
extern const int {name}__bound = {bound};
int {name}__emulated(const unsigned* grid, const unsigned* block, unsigned shared, void** args,
                     int reverse, char* text, size_t size) {{
    return emulate::launch(&::{name}, grid, block, shared, args, reverse, text, size);
}}
#pragma GCC visibility pop
}}
"
    )
}
