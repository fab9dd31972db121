//! The emulator itself, on kernels made for it.

use flambeau_cuda::emulate::{self, Order};
use flambeau_cuda::{Args, Launch, Unit};

fn launch(unit: Unit, entry: &'static str, grid: u32, block: u32, args: Args) -> Launch {
    Launch {
        unit,
        entry,
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        shared: 4096,
        args,
    }
}

fn no_compiler() -> bool {
    let none = emulate::compiler().is_none();
    if none {
        eprintln!("skipped: there is no C++ compiler");
    }
    none
}

/// Runs `entry` of the test kernels on one block of 64 threads that gets 64 numbers to write to.
fn on_64(entry: &'static str, order: Order) -> Result<Vec<i32>, String> {
    let mut out = vec![0i32; 64];
    let mut args = Args::new();
    args.push(out.as_mut_ptr() as u64);
    let mut launch = launch(Unit::of("tests.cu", TESTS), entry, 1, 64, args);
    // SAFETY: every kernel of `TESTS` takes a pointer to 64 integers.
    unsafe { emulate::run_in(&mut launch, order) }.map_err(|e| e.to_string())?;
    Ok(out)
}

const TESTS: &str = r#"
#include "common.cuh"

extern "C" __global__ void reverse(int* out) {
    DYNAMIC_SHARED(int, shared);
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void race(int* out) {
    __shared__ int shared[64];
    shared[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void warp_sum(int* out) {
    int v = threadIdx.x;
    for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(0xffffffffu, v, by);
    unsigned odd = __ballot_sync(0xffffffffu, threadIdx.x & 1);
    int next = __shfl_down_sync(0xffffffffu, v + (int)threadIdx.x, 1);
    int in_eights = __shfl_sync(0xffffffffu, (int)threadIdx.x, 3, 8);
    out[threadIdx.x] = odd == 0xaaaaaaaau ? v * 1000000 + next * 100 + in_eights : -1;
}

extern "C" __global__ void half_waits(int* out) {
    if (threadIdx.x < 32) __syncthreads();
    out[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(int* out) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1;
}

extern "C" __global__ void lane_missing(int* out) {
    if (threadIdx.x != 5) out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}

extern "C" __global__ void lane_outside(int* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1, 16);
}

extern "C" __global__ void count(int* out) { atomicAdd(out + threadIdx.x % 2, 1); }
"#;

#[test]
fn barriers_shared_memory_warps_and_atomics_work() {
    if no_compiler() {
        return;
    }
    for order in [Order::Forward, Order::Reverse] {
        let reversed: Vec<i32> = (0..64).rev().collect();
        assert_eq!(on_64("reverse", order).unwrap(), reversed);
        let sums: Vec<i32> = (0..64)
            .map(|t| {
                let warp = t / 32 * 32;
                let sum: i32 = (warp..warp + 32).sum();
                let next = if t % 32 == 31 { t } else { t + 1 };
                sum * 1_000_000 + (sum + next) * 100 + t / 8 * 8 + 3
            })
            .collect();
        assert_eq!(on_64("warp_sum", order).unwrap(), sums);
        assert_eq!(on_64("count", order).unwrap()[..3], [32, 32, 0]);
    }
}

#[test]
fn a_race_shows_between_the_orders() {
    if no_compiler() {
        return;
    }
    assert_ne!(on_64("race", Order::Forward), on_64("race", Order::Reverse));
}

#[test]
fn what_would_hang_or_be_undefined_is_an_error() {
    if no_compiler() {
        return;
    }
    for order in [Order::Forward, Order::Reverse] {
        let says = |entry, words: &str| {
            let error = on_64(entry, order).unwrap_err();
            assert!(error.contains(words), "{entry}: {error}");
        };
        says(
            "half_waits",
            "thread 0 waits at the barrier at tests.cu:27, thread 32 has ended",
        );
        says(
            "two_barriers",
            "thread 0 waits at the barrier at tests.cu:33, thread 32 waits at the barrier at tests.cu:35",
        );
        says("lane_missing", "thread 5 has ended");
        says("lane_outside", "reads lane");
        // After all of these the library still works.
        assert!(on_64("reverse", order).is_ok());
        says("nowhere", "there is no such kernel");
    }
    let mut wrong = launch(Unit::of("tests.cu", TESTS), "count", 1, 64, Args::new());
    // SAFETY: never runs: the arguments are counted.
    let error = unsafe { emulate::run(&mut wrong) }.unwrap_err();
    assert!(error.0.contains("0 arguments for 1 parameters"), "{error}");
    wrong.args.push(0u64);
    wrong.block = [512, 1, 1];
    // SAFETY: never runs: the kernel has no launch bounds, and might take too many registers.
    let error = unsafe { emulate::run(&mut wrong) }.unwrap_err();
    assert!(error.0.contains("__launch_bounds__ allows 256"), "{error}");
    wrong.block = [2048, 1, 1];
    // SAFETY: never runs: no GPU has such blocks.
    let error = unsafe { emulate::run(&mut wrong) }.unwrap_err();
    assert!(error.0.contains("cannot be launched"), "{error}");
}

/// Two units run at the same time: shared memory of one name in a template must not be one variable.
#[test]
fn units_share_no_memory() {
    if no_compiler() {
        return;
    }
    const PLACE: &str = r#"
    #include "common.cuh"
    template <class T> __device__ T* place() { __shared__ T shared; return &shared; }
    extern "C" __global__ void where(u64* out) { *out = (u64)place<int>(); }
    "#;
    let [a, b] = ["1", "2"].map(|number| {
        let mut address = 0u64;
        let mut args = Args::new();
        args.push(&raw mut address as u64);
        let unit = Unit::of("place.cu", PLACE).define("NUMBER", number);
        let mut launch = launch(unit, "where", 1, 1, args);
        // SAFETY: the kernel takes the address of one number.
        unsafe { emulate::run(&mut launch) }.unwrap();
        address
    });
    assert_ne!(a, b);
}
