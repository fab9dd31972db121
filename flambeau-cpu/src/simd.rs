//! Run-time choice of the CPU's vector instructions, so that one binary runs everywhere.
//!
//! Loops are written once, as plain Rust, and compiled once per [`Level`]: [`dispatch`] calls its
//! argument inside a function that has the level's instructions enabled, and what is inlined
//! there is vectorised for them. [`simd_fn!`](crate::simd_fn) wraps a whole function that way.
//! On aarch64 NEON is part of the baseline, so [`Level::Portable`] is already vectorised.

use std::sync::OnceLock;

/// The instruction sets a loop can be compiled for, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The target's baseline: SSE2 on x86-64, NEON on aarch64.
    Portable,
    /// 256-bit vectors with FMA, BMI and f16 conversion.
    Avx2,
    /// 512-bit vectors: F, BW, VL, DQ and CD, on top of [`Level::Avx2`].
    Avx512,
}

impl Level {
    /// The name that `FLAMBEAU_SIMD` takes: `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }
}

/// The best level this CPU offers, found once.
///
/// The environment variable `FLAMBEAU_SIMD` (`portable`, `avx2`, `avx512`) can lower it, never
/// raise it; another value is ignored.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wanted = std::env::var("FLAMBEAU_SIMD").ok();
        lowered(detect(), wanted.as_deref())
    })
}

/// `detected`, or the level named by `wanted` where that is lower.
fn lowered(detected: Level, wanted: Option<&str>) -> Level {
    [Level::Portable, Level::Avx2, Level::Avx512]
        .into_iter()
        .find(|l| wanted == Some(l.name()))
        .map_or(detected, |l| l.min(detected))
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    macro_rules! all {
        ($($f:tt),*) => { $(is_x86_feature_detected!($f))&&* };
    }
    if !all!("avx2", "fma", "bmi1", "bmi2", "f16c", "popcnt", "lzcnt") {
        Level::Portable
    } else if !all!("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd") {
        Level::Avx2
    } else {
        Level::Avx512
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Names of the vector features this CPU has, for a diagnosis.
pub fn cpu_features() -> Vec<&'static str> {
    // Nothing is added where the architecture is neither of the two below.
    #[allow(unused_mut)]
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! probe {
            ($($f:tt),*) => { $(if is_x86_feature_detected!($f) { found.push($f); })* };
        }
        probe!(
            "sse4.2",
            "avx",
            "avx2",
            "fma",
            "f16c",
            "avxvnni",
            "avx512f",
            "avx512bw",
            "avx512vl",
            "avx512dq",
            "avx512cd",
            "avx512vnni",
            "avx512bf16",
            "avx512fp16"
        );
        found.extend(amx_features());
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! probe {
            ($($f:tt),*) => { $(if std::arch::is_aarch64_feature_detected!($f) { found.push($f); })* };
        }
        probe!("neon", "fp16", "dotprod", "bf16", "i8mm", "sve");
    }
    found
}

/// The AMX features of CPUID leaf 7 (their `is_x86_feature_detected` names are not stable yet).
#[cfg(target_arch = "x86_64")]
fn amx_features() -> Vec<&'static str> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(0).eax < 7 {
        return Vec::new();
    }
    let edx = __cpuid_count(7, 0).edx;
    [(24, "amx-tile"), (22, "amx-bf16"), (25, "amx-int8")]
        .into_iter()
        .filter(|(bit, _)| edx >> bit & 1 == 1)
        .map(|(_, name)| name)
        .collect()
}

/// A computation that [`dispatch`] can run at the CPU's level.
///
/// Closures implement it. Implement it by hand (or with [`simd_fn!`](crate::simd_fn)) with an
/// `#[inline(always)]` `run` for a long body: the compiler may decline to inline a long closure,
/// and code that is not inlined is compiled for the baseline.
pub trait Task {
    /// What the computation returns.
    type Output;
    /// Does the computation. Mark it `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

// Not `FnOnce`: a closure that could be called again is called once through a shim, which takes no
// `#[inline(always)]` and so may be left out of line, compiled for the baseline.
impl<R, F: FnMut() -> R> Task for F {
    type Output = R;
    #[inline(always)]
    fn run(mut self) -> R {
        self()
    }
}

/// Runs `task` with the instructions of [`level`] enabled.
///
/// Whatever is inlined into `task` is compiled once for each level. The choice costs about a
/// nanosecond, so it belongs around a loop, not inside one.
///
/// ```
/// let x = [1.0f32, 2.0, 3.0];
/// let sum = flambeau_cpu::simd::dispatch(|| x.iter().sum::<f32>());
/// assert_eq!(sum, 6.0);
/// ```
#[inline(always)]
pub fn dispatch<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: `level` returns Avx512 only where the CPU has every feature enabled there.
        Level::Avx512 => return unsafe { run_avx512(task) },
        // SAFETY: as above, for Avx2.
        Level::Avx2 => return unsafe { run_avx2(task) },
        Level::Portable => {}
    }
    run_portable(task)
}

/// Out of line, as the others are: callers that are compiled several times share it.
#[inline(never)]
fn run_portable<T: Task>(task: T) -> T::Output {
    task.run()
}

/// # Safety
/// The CPU must have the enabled features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c,popcnt,lzcnt")]
unsafe fn run_avx512<T: Task>(task: T) -> T::Output {
    task.run()
}

/// # Safety
/// The CPU must have the enabled features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c,popcnt,lzcnt")]
unsafe fn run_avx2<T: Task>(task: T) -> T::Output {
    task.run()
}

/// Defines functions whose whole body is compiled once per SIMD [`Level`](crate::simd::Level) and
/// chosen at run time.
///
/// The body sees its arguments only (no generics, no `self`); what it calls must be
/// `#[inline(always)]` to be vectorised with it.
///
/// ```
/// flambeau_cpu::simd_fn! {
///     /// Adds `x` to `out`.
///     pub fn accumulate(x: &[f32], out: &mut [f32]) {
///         for (o, x) in out.iter_mut().zip(x) {
///             *o += *x;
///         }
///     }
/// }
/// let mut out = [1.0; 5];
/// accumulate(&[2.0; 5], &mut out);
/// assert_eq!(out, [3.0; 5]);
/// ```
#[macro_export]
macro_rules! simd_fn {
    (@one [$($head:tt)*] ($($arg:ident: $ty:ty),*) [$ret:ty] $body:block) => {
        $($head)*($($arg: $ty),*) -> $ret {
            // Each argument's name doubles as the type parameter of its field, which spares the
            // macro from naming lifetimes.
            #[allow(non_camel_case_types)]
            struct Body<$($arg),*> { $($arg: $arg),* }
            impl $crate::simd::Task for Body<$($ty),*> {
                type Output = $ret;
                #[inline(always)]
                fn run(self) -> $ret {
                    let Body { $($arg),* } = self;
                    $body
                }
            }
            $crate::simd::dispatch(Body { $($arg),* })
        }
    };
    () => {};
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty $body:block $($rest:tt)*) => {
        $crate::simd_fn!(@one [$(#[$meta])* $vis fn $name] ($($arg: $ty),*) [$ret] $body);
        $crate::simd_fn!($($rest)*);
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block $($rest:tt)*) => {
        $crate::simd_fn!(@one [$(#[$meta])* $vis fn $name] ($($arg: $ty),*) [()] $body);
        $crate::simd_fn!($($rest)*);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_lowers_but_never_raises() {
        assert_eq!(lowered(Level::Avx512, Some("avx2")), Level::Avx2);
        assert_eq!(lowered(Level::Avx2, Some("portable")), Level::Portable);
        assert_eq!(lowered(Level::Avx2, Some("avx512")), Level::Avx2);
        assert_eq!(lowered(Level::Avx2, Some("nonsense")), Level::Avx2);
        assert_eq!(lowered(Level::Avx2, None), Level::Avx2);
    }

    #[test]
    fn dispatch_returns_and_borrows() {
        let mut v = vec![1u32; 100];
        let n = dispatch(|| {
            v.iter_mut().for_each(|x| *x += 1);
            v.len()
        });
        assert_eq!((n, v.iter().sum::<u32>()), (100, 200));
    }
}
