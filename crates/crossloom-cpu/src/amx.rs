//! AMX, the matrix unit of newer x86 processors: eight tiles of 16 rows by 64 bytes, and products of `bf16` pairs between them.
//!
//! A system lends tiles to a process that asks for them, and a thread configures them before use. What a tile holds lives only inside
//! [`Tiles::product`]: nothing is expected of it between calls.

/// Pairs of a row of a tile: depths of packed operands are filled up to a multiple of so many.
pub(crate) const PAIRS: usize = 16;
/// Rows and columns of the block of `C` that four tiles hold.
pub(crate) const SIDE: usize = 32;

/// Whether so many rows and columns of `bf16` fill tiles, so that none is read that is not there.
pub(crate) fn are_whole(rows: usize, columns: usize) -> bool {
    rows.is_multiple_of(SIDE / 2) && columns.is_multiple_of(2 * PAIRS)
}

/// A block of sums, `[SIDE, SIDE]`.
pub(crate) type Block = [f32; SIDE * SIDE];

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use native::{Tiles, available};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use absent::{Tiles, available};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    use super::{Block, PAIRS, SIDE};

    /// What `ldtilecfg` reads: all eight tiles with 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Configuration([u8; 64]);

    static WHOLE: Configuration = Configuration({
        let mut bytes = [0; 64];
        // The palette; of every tile the bytes of a row (two bytes each), and the rows.
        bytes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            bytes[16 + 2 * tile] = 4 * PAIRS as u8;
            bytes[48 + tile] = 16;
            tile += 1;
        }
        bytes
    });

    /// Whether the processor multiplies `bf16` in tiles, and the system lends them to this process, which is asked once.
    pub(crate) fn available() -> bool {
        static LENT: OnceLock<bool> = OnceLock::new();
        *LENT.get_or_init(|| has_tiles() && is_lent())
    }

    fn has_tiles() -> bool {
        const BF16: u32 = 1 << 22;
        const TILE: u32 = 1 << 24;
        const STATE: u64 = 0b11 << 17;
        if !std::arch::is_x86_feature_detected!("xsave") || __cpuid_count(0, 0).eax < 7 {
            return false;
        }
        let features = __cpuid_count(7, 0).edx;
        // SAFETY: the processor has the instruction, and the system has turned it on: both are what `xsave` detection says.
        let state = unsafe { enabled() };
        features & BF16 != 0 && features & TILE != 0 && state & STATE == STATE
    }

    /// The parts of a thread's state that the system keeps.
    #[target_feature(enable = "xsave")]
    fn enabled() -> u64 {
        // SAFETY: register 0 exists wherever the instruction does.
        unsafe { _xgetbv(0) }
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
    fn is_lent() -> bool {
        const REQUEST: libc::c_ulong = 0x1023;
        const TILE_DATA: libc::c_ulong = 18;
        // SAFETY: the call takes two numbers and touches no memory; a system that does not know it answers with an error.
        unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
    }

    /// The tiles of this thread, configured; given back when dropped. Stays on its thread.
    pub(crate) struct Tiles(PhantomData<*const ()>);

    impl Tiles {
        /// Configures them.
        ///
        /// # Safety
        /// They are [`available`].
        pub(crate) unsafe fn configured() -> Self {
            // SAFETY: the processor has them and the system lent them, by the caller's promise; the configuration is a valid one.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly)) };
            Self(PhantomData)
        }

        /// The sums of the products of 16 rows of `a` (32 where `tall`), `row_of_a` bytes apart, and the [`SIDE`] columns of a packed panel `b`.
        /// An element is the sum over runs of [`PAIRS`] pairs, in order; in a run first elements and second elements are summed apart.
        ///
        /// # Safety
        /// `words` is a multiple of [`PAIRS`] and above 0. From `a` on, 16 (or 32) rows of so many words may be read, from `b` on `words` rows of
        /// [`SIDE`]; they need hold no values where the sums are not read.
        #[expect(clippy::unused_self, reason = "the value stands for tiles that are configured")]
        pub(crate) unsafe fn product(
            &self,
            words: usize,
            (a, row_of_a): (*const u32, usize),
            tall: bool,
            b: *const u32,
            sums: &mut Block,
        ) {
            let row_of_b = 4 * SIDE;
            let (right, second) =
                (sums.as_mut_ptr().wrapping_add(16), sums.as_mut_ptr().wrapping_add(16 * SIDE));
            let runs = words / PAIRS;
            // SAFETY: tiles are configured while `self` lives. Per run of pairs, 16 rows of 64 bytes are read of each operand's half, which
            // the caller vouches for; `sums` is the whole block that is written. No other code of this crate touches tiles.
            unsafe {
                if tall {
                    asm!(
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        "2:",
                        "tileloadd tmm6, [{b} + {row_of_b}]",
                        "tileloadd tmm4, [{a} + {row_of_a}]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{b_right} + {row_of_b}]",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tileloadd tmm5, [{a_lower} + {row_of_a}]",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        "add {a}, 64",
                        "add {a_lower}, 64",
                        "add {b}, 2048",
                        "add {b_right}, 2048",
                        "dec {runs}",
                        "jnz 2b",
                        "tilestored [{sums} + {row_of_b}], tmm0",
                        "tilestored [{right} + {row_of_b}], tmm1",
                        "tilestored [{lower} + {row_of_b}], tmm2",
                        "tilestored [{corner} + {row_of_b}], tmm3",
                        a = inout(reg) a => _,
                        a_lower = inout(reg) a.wrapping_byte_add(16 * row_of_a) => _,
                        row_of_a = in(reg) row_of_a,
                        b = inout(reg) b => _,
                        b_right = inout(reg) b.wrapping_add(16) => _,
                        row_of_b = in(reg) row_of_b,
                        runs = inout(reg) runs => _,
                        sums = in(reg) sums.as_mut_ptr(),
                        right = in(reg) right,
                        lower = in(reg) second,
                        corner = in(reg) second.wrapping_add(16),
                        options(nostack),
                    );
                } else {
                    asm!(
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "2:",
                        "tileloadd tmm6, [{b} + {row_of_b}]",
                        "tileloadd tmm4, [{a} + {row_of_a}]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{b_right} + {row_of_b}]",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "add {a}, 64",
                        "add {b}, 2048",
                        "add {b_right}, 2048",
                        "dec {runs}",
                        "jnz 2b",
                        "tilestored [{sums} + {row_of_b}], tmm0",
                        "tilestored [{right} + {row_of_b}], tmm1",
                        a = inout(reg) a => _,
                        row_of_a = in(reg) row_of_a,
                        b = inout(reg) b => _,
                        b_right = inout(reg) b.wrapping_add(16) => _,
                        row_of_b = in(reg) row_of_b,
                        runs = inout(reg) runs => _,
                        sums = in(reg) sums.as_mut_ptr(),
                        right = in(reg) right,
                        options(nostack),
                    );
                }
            }
        }
    }

    impl Tiles {
        /// As [`Tiles::product`] of 32 rows of `a` and the first 16 columns of `b`, of which only these sums are written. The 32 rows behind
        /// those of `a` are brought near meanwhile: a processor does not guess what tiles read next.
        ///
        /// # Safety
        /// As [`Tiles::product`]; what is brought near need not exist.
        #[expect(clippy::unused_self, reason = "the value stands for tiles that are configured")]
        pub(crate) unsafe fn narrow_product(
            &self,
            words: usize,
            (a, row_of_a): (*const u32, usize),
            b: *const u32,
            sums: &mut Block,
        ) {
            // SAFETY: as in `product`, of two tiles; prefetches read nothing and never fault.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm2",
                    "2:",
                    "tileloadd tmm6, [{b} + {row_of_b}]",
                    "tileloadd tmm4, [{a} + {row_of_a}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{a_lower} + {row_of_a}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "mov {row:e}, 8",
                    "mov {at}, {ahead}",
                    "3:",
                    "prefetcht1 [{at}]",
                    "prefetcht1 [{at} + {row_of_a}]",
                    "prefetcht1 [{at} + 2 * {row_of_a}]",
                    "prefetcht1 [{at} + {three_rows}]",
                    "lea {at}, [{at} + 4 * {row_of_a}]",
                    "dec {row:e}",
                    "jnz 3b",
                    "add {a}, 64",
                    "add {a_lower}, 64",
                    "add {ahead}, 64",
                    "add {b}, 2048",
                    "dec {runs}",
                    "jnz 2b",
                    "tilestored [{sums} + {row_of_b}], tmm0",
                    "tilestored [{lower} + {row_of_b}], tmm2",
                    a = inout(reg) a => _,
                    a_lower = inout(reg) a.wrapping_byte_add(16 * row_of_a) => _,
                    ahead = inout(reg) a.wrapping_byte_add(32 * row_of_a) => _,
                    at = out(reg) _,
                    row = out(reg) _,
                    row_of_a = in(reg) row_of_a,
                    three_rows = in(reg) 3 * row_of_a,
                    b = inout(reg) b => _,
                    row_of_b = in(reg) 4 * SIDE,
                    runs = inout(reg) words / PAIRS => _,
                    sums = in(reg) sums.as_mut_ptr(),
                    lower = in(reg) sums.as_mut_ptr().wrapping_add(16 * SIDE),
                    options(nostack),
                );
            }
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: the processor has tiles, as the value could be made; what they hold is of no use any more.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod absent {
    use super::Block;

    /// There are none here.
    pub(crate) fn available() -> bool {
        false
    }

    /// Tiles, which nothing here has.
    pub(crate) enum Tiles {}

    impl Tiles {
        /// Never called.
        ///
        /// # Safety
        /// They are [`available`], which they never are.
        pub(crate) unsafe fn configured() -> Self {
            unreachable!("no tiles are available")
        }

        /// Never called, as there is no value.
        ///
        /// # Safety
        /// None is needed.
        pub(crate) unsafe fn product(
            &self,
            _: usize,
            _: (*const u32, usize),
            _: bool,
            _: *const u32,
            _: &mut Block,
        ) {
            match *self {}
        }

        /// Never called, as there is no value.
        ///
        /// # Safety
        /// None is needed.
        pub(crate) unsafe fn narrow_product(
            &self,
            _: usize,
            _: (*const u32, usize),
            _: *const u32,
            _: &mut Block,
        ) {
            match *self {}
        }
    }
}
