//! Random numbers that come again with the same seed.

use std::{env, ops::Range};

/// `SplitMix64`.
pub(super) struct Random(u64);

impl Random {
    /// With the seed that `FACTLINE_SEED` gives, or a new one; it is printed, so that a failure can be had again.
    pub(super) fn seeded() -> (Self, u64) {
        let given =
            env::var("FACTLINE_SEED").ok().map(|seed| seed.parse().expect("FACTLINE_SEED is a number"));
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 32);
        println!("FACTLINE_SEED={seed}");
        (Self(seed), seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, which is not empty.
    pub(super) fn of(&mut self, range: Range<u32>) -> u32 {
        let width = u64::from(range.end - range.start);
        range.start + u32::try_from(self.next() % width).expect("it is smaller than the range is wide")
    }
}
