//! The Mersenne Twister of Matsumoto and Nishimura (ACM TOMACS 8(1), 1998), a block at a time.
//!
//! A block of 624 words is advanced and tempered at once by loops that vectorise; draws are then
//! reads. PyTorch's engine tempers a word at each draw: same words, same state.

use crate::simd_fn;

/// Words in the state.
pub(super) const N: usize = 624;
/// Distance of the word that each step mixes in.
const M: usize = 397;

/// The engine: the recurrence's state, and the words that it yields, ready to be read.
#[derive(Clone)]
pub(super) struct Mt19937 {
    state: Box<[u32; N]>,
    /// `state`, tempered; valid from `next` on where `1 <= next < N`.
    words: Box<[u32; N]>,
    /// Words drawn from this block: 0 for a fresh seed, whose block is not made yet.
    next: usize,
}

impl Mt19937 {
    pub fn new(seed: u32) -> Self {
        let mut state = Box::new([seed; N]);
        for j in 1..N {
            let last = state[j - 1];
            state[j] = (last ^ (last >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(j as u32);
        }
        Self {
            state,
            words: Box::new([0; N]),
            next: 0,
        }
    }

    /// The engine whose state and number of words drawn are given; `None` where `next > N`.
    pub fn from_parts(state: Box<[u32; N]>, next: usize) -> Option<Self> {
        let mut words = Box::new([0; N]);
        temper_block(&state, &mut words);
        (next <= N).then_some(Self { state, words, next })
    }

    /// The state and the number of words drawn from it.
    pub fn parts(&self) -> (&[u32; N], usize) {
        (&self.state, self.next)
    }

    #[inline(always)]
    fn refill(&mut self) {
        if self.next == 0 || self.next == N {
            advance(&mut self.state, &mut self.words);
            self.next = 0;
        }
    }

    /// The next word.
    #[inline(always)]
    pub fn word(&mut self) -> u32 {
        self.refill();
        let word = self.words[self.next];
        self.next += 1;
        word
    }

    /// The next words: `max` of them or as many as the block still holds, at least one where
    /// `max > 0`.
    pub fn words(&mut self, max: usize) -> &[u32] {
        if max == 0 {
            return &[];
        }
        self.refill();
        let start = self.next;
        self.next += max.min(N - start);
        &self.words[start..self.next]
    }
}

/// One word of the recurrence, from the words at distance 0, 1 and M.
#[inline(always)]
fn mix(this: u32, following: u32, far: u32) -> u32 {
    let y = (this & 0x8000_0000) | (following & 0x7fff_ffff);
    far ^ (y >> 1) ^ ((following & 1).wrapping_neg() & 0x9908_b0df)
}

#[inline(always)]
fn temper(mut y: u32) -> u32 {
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c_5680;
    y ^= (y << 15) & 0xefc6_0000;
    y ^ (y >> 18)
}

simd_fn! {
    /// Replaces the state by the next 624 words of the recurrence and tempers them.
    fn advance(state: &mut [u32; N], words: &mut [u32; N]) {
        // Each piece is computed from words that no step of the same piece writes, which is what
        // lets it vectorise: the far word lies M ahead (still old), then N - M behind (already
        // new) for N - M words at a time.
        let s = &mut state[..];
        for j in 0..N - M {
            words[j] = mix(s[j], s[j + 1], s[j + M]);
        }
        s[..N - M].copy_from_slice(&words[..N - M]);
        let (done, rest) = s.split_at_mut(N - M);
        for j in 0..N - M {
            words[j] = mix(rest[j], rest[j + 1], done[j]);
        }
        rest[..N - M].copy_from_slice(&words[..N - M]);
        let (done, rest) = s.split_at_mut(2 * (N - M));
        let done_far = &done[N - M..];
        let last = rest.len() - 1;
        for j in 0..last {
            rest[j] = mix(rest[j], rest[j + 1], done_far[j]);
        }
        rest[last] = mix(rest[last], done[0], done_far[last]);
        for (word, &y) in words.iter_mut().zip(s.iter()) {
            *word = temper(y);
        }
    }
}

simd_fn! {
    fn temper_block(state: &[u32; N], words: &mut [u32; N]) {
        for (word, &y) in words.iter_mut().zip(state.iter()) {
            *word = temper(y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C++ standard ([rand.predef]) fixes the 10,000th word of seed 5489.
    #[test]
    fn the_standards_check_value() {
        let mut engine = Mt19937::new(5489);
        let mut last = 0;
        for _ in 0..10_000 {
            last = engine.word();
        }
        assert_eq!(last, 4_123_659_995);
    }

    #[test]
    fn runs_of_words_are_the_words() {
        let mut one = Mt19937::new(1);
        let mut many = Mt19937::new(1);
        for max in [1, 7, 0, 623, 624, 625, 2000, 3] {
            let mut left = max;
            while left > 0 {
                let run = many.words(left);
                assert!(!run.is_empty() && run.len() <= left);
                left -= run.len();
                assert!(run.iter().all(|&w| w == one.word()));
            }
        }
    }

    #[test]
    fn parts_restore_the_engine() {
        for drawn in [0, 1, 623, 624, 625, 1000] {
            let mut engine = Mt19937::new(3);
            for _ in 0..drawn {
                engine.word();
            }
            let (state, next) = engine.parts();
            let mut back = Mt19937::from_parts(Box::new(*state), next).unwrap();
            for _ in 0..700 {
                assert_eq!(back.word(), engine.word());
            }
        }
        assert!(Mt19937::from_parts(Box::new([0; N]), N + 1).is_none());
    }
}
