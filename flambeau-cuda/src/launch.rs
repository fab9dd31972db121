//! A kernel launch as a value: what to compile, which entry, over how many threads, with which
//! arguments. The driver runs it on a GPU, the emulator on the CPU.

use crate::Unit;
use smallvec::SmallVec;
use std::ffi::c_void;

/// A plain value that a kernel takes as an argument.
///
/// # Safety
/// Every bit of it has to be initialised (no padding) and every pattern of bits is a value; it holds
/// no references, its layout is that of the C++ type, and it needs no alignment above 8.
pub unsafe trait Pod: Copy + 'static {}

macro_rules! pod {
    ($($t:ty)*) => {
        $(
            // SAFETY: a number without padding, of the same layout in C++.
            unsafe impl Pod for $t {}
        )*
    };
}
pod!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 half::f16 half::bf16);

/// The arguments of a launch, in the order of the kernel's parameters.
///
/// The values lie in one buffer of words; [`pointers`](Args::pointers) gives what
/// `cuLaunchKernel` takes.
#[derive(Clone, Debug, Default)]
pub struct Args {
    words: SmallVec<[u64; 48]>,
    starts: SmallVec<[u32; 16]>,
}

impl Args {
    /// No arguments yet.
    pub fn new() -> Args {
        Args::default()
    }

    /// With one more value.
    pub fn push<T: Pod>(&mut self, value: T) -> &mut Self {
        let start = self.words.len();
        self.starts.push(start as u32);
        self.words
            .resize(start + size_of::<T>().div_ceil(size_of::<u64>()), 0);
        // SAFETY: the words from `start` on have room for a `T` and are aligned for it; a `Pod`
        // needs no more than their 8 bytes of alignment.
        unsafe { self.words.as_mut_ptr().add(start).cast::<T>().write(value) };
        self
    }

    /// All that the arguments hold; a pointer is a word of its own.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// A pointer to each value; they hold until `self` is changed or moved.
    pub fn pointers(&mut self) -> SmallVec<[*mut c_void; 16]> {
        let words = self.words.as_mut_ptr();
        (self.starts.iter())
            // SAFETY: each start lies inside of the words.
            .map(|&start| unsafe { words.add(start as usize) }.cast())
            .collect()
    }
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What to compile.
    pub unit: Unit,
    /// The kernel's name in it.
    pub entry: &'static str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory; kernels keep to the 48 KiB that need no opting in.
    pub shared: u32,
    /// The arguments.
    pub args: Args,
}
