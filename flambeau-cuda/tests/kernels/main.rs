//! Every kernel against plain references, on the CPU through the emulator: each type, views,
//! broadcasts, odd sizes, nothing at all. Each launch runs in both orders of threads and blocks and
//! has to give the same bits, and nothing around its buffers may change.

mod elementwise;
mod fused;
mod index;
mod norm;
mod pool;
mod product;
mod random;
mod reduce;
mod softmax;
mod support;
