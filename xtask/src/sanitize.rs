//! The tests of the runtime and the core under AddressSanitizer, which sees reads and writes outside
//! of an allocation or after its end, and memory that is never freed.

use std::process::Command;

type Failure = Box<dyn std::error::Error>;

/// Runs them. Needs what rustc ships for x86-64 and AArch64 Linux: the sanitizer's runtime. The
/// compiler's flag is unstable, so a stable toolchain has to be told that it is meant
/// (`RUSTC_BOOTSTRAP`); everything is built once more, into `target/sanitize`.
///
/// ThreadSanitizer is not offered: it needs the standard library built with it too (`-Zbuild-std`,
/// its source and a nightly toolchain), and reports every lock of an uninstrumented one. Miri
/// (`cargo +nightly miri test -p flambeau-cpu`) needs a nightly toolchain as well.
pub fn run() -> Result<(), Failure> {
    let target = host()?;
    if !matches!(
        target.as_str(),
        "x86_64-unknown-linux-gnu" | "aarch64-unknown-linux-gnu"
    ) {
        return Err(format!(
            "rustc ships no AddressSanitizer for {target}; run this on x86-64 or AArch64 Linux with glibc"
        )
        .into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "test",
            "--package",
            "flambeau-cpu",
            "--package",
            "flambeau-core",
        ])
        // Not the test of memory in use: the sanitizer holds back what is freed.
        .args(["--lib", "--test", "it", "--target", &target])
        .args([
            "--target-dir",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../target/sanitize"),
        ])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // Tests ask for more memory than there is, and want an error for it.
        .env("ASAN_OPTIONS", "allocator_may_return_null=1")
        .status()?;
    if status.success() {
        println!("AddressSanitizer found nothing in flambeau-cpu and flambeau-core");
        Ok(())
    } else {
        Err(format!("the tests under AddressSanitizer ended with {status}").into())
    }
}

/// The target that rustc builds for where none is named.
fn host() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = Command::new(rustc).arg("-vV").output()?;
    let about = String::from_utf8(about.stdout)?;
    let host = about.lines().find_map(|l| l.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV names no host")?.to_owned())
}
