use super::TileUnit;

/// Eight tiles in plain Rust, after the definition of TDPBF16PS in Intel's manual.
pub(crate) struct Emulated([[[u8; 64]; 16]; 8]);

/// Denormal numbers count as 0, going in and coming out.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0.0f32.copysign(x)
    } else {
        x
    }
}

fn float(row: &[u8; 64], i: usize) -> f32 {
    f32::from_le_bytes([row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]])
}

fn half(row: &[u8; 64], i: usize) -> f32 {
    flushed(f32::from_le_bytes([0, 0, row[2 * i], row[2 * i + 1]]))
}

impl TileUnit for Emulated {
    fn enter() -> Emulated {
        // Whatever was there before.
        Emulated([[[0xff; 64]; 16]; 8])
    }

    fn leave(self) {}

    unsafe fn zero<const T: u8>(&mut self) {
        self.0[T as usize] = [[0; 64]; 16];
    }

    unsafe fn load<const T: u8>(&mut self, at: *const u8, stride: usize) {
        for (i, row) in self.0[T as usize].iter_mut().enumerate() {
            // SAFETY: the caller vouches for the rows.
            *row = unsafe { at.add(i * stride).cast::<[u8; 64]>().read_unaligned() };
        }
    }

    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        for m in 0..16 {
            let mut sums = [[0.0f32; 2]; 16];
            for k in 0..16 {
                for (n, sums) in sums.iter_mut().enumerate() {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let a = half(&self.0[A as usize][m], 2 * k + i);
                        let b = half(&self.0[B as usize][k], 2 * n + i);
                        *sum = flushed(a.mul_add(b, *sum));
                    }
                }
            }
            for (n, [even, odd]) in sums.into_iter().enumerate() {
                let row = &mut self.0[C as usize][m];
                let sum = flushed(flushed(float(row, n)) + flushed(even + odd));
                row[4 * n..4 * n + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }

    unsafe fn store<const T: u8>(&mut self, at: *mut u8, stride: usize) {
        for (i, row) in self.0[T as usize].iter().enumerate() {
            // SAFETY: the caller vouches for the rows.
            unsafe { at.add(i * stride).cast::<[u8; 64]>().write_unaligned(*row) };
        }
    }
}
