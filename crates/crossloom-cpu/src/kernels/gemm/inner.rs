//! Long sums over rows of weights, which are stored `[n, k]`: inner products whose lanes lie along `k`, so that nothing is turned and
//! numbers are read where they lie. Weights in blocks, and narrow ones for several rows, are made numbers some columns at a time.
//!
//! An element of `C` is the same sum whatever rows and columns stand beside it: of the numbers of a lane in order, lanes in the order of
//! the register's sum, in blocks of equal depth, at most [`LONG`], whose sums are added in order.

use std::mem::MaybeUninit;
use std::ops::Range;

use crossloom_ir::quantized::GROUP;

use super::blocks::{group_of, of_format, register};
use super::few::{TASK_VALUES, columns_of_task};
use super::form::Form;
use super::left::Strip;
use super::shape::Gemm;
use super::tile::Update;
use super::{Blocks, Call, DEPTH, LONG, ROWS, Right, STRIP, Sums, WIDTH};
use crate::element::Element;
use crate::kernels::convert::convert_body;
use crate::lane_sums::lane_sums;
use crate::parallel::{self, chunk_range};
use crate::prefetch::prefetch;
use crate::simd::{Simd, Vf, dispatch};

/// Columns of a tile.
const TILE: usize = 4;
/// Columns of one depth that are taken through all rows, where these are more than a strip: they take half of a first-level cache.
const COLUMNS: usize = 2 * TILE;
/// How many columns of blocks ahead of those that one row is multiplied by memory is asked for: it takes longer to come than a tile.
const AHEAD: usize = 4 * TILE;
/// Numbers of the largest block of all formats.
const BLOCK: usize = 256;

// Depths are whole blocks, and these whole groups.
const _: () =
    assert!(LONG.is_multiple_of(BLOCK) && BLOCK.is_multiple_of(GROUP) && WIDTH.is_multiple_of(COLUMNS));

/// The numbers of a column. They begin where cache lines do, so that no register is read from two.
#[repr(C, align(64))]
struct Column([[f32; GROUP]; LONG / GROUP]);

/// Whether a product is computed so: by its form, never by its rows. In short sums, adding the lanes would be much of the work.
pub(super) fn suits(p: &Gemm, form: Form) -> bool {
    form == Form::Numbers && p.trans_b && !p.trans_a && p.k >= DEPTH
}

/// The depth of a block of sums of that length, which are cut into as few as can be, of equal depth but for whole blocks.
fn depth_of(k: usize) -> usize {
    k.div_ceil(k.div_ceil(LONG)).next_multiple_of(BLOCK)
}

/// All products of the batch at once; `call` gives each. Tasks own rows and columns of one.
pub(super) fn all<'a, A: Element, B: Element, C: Element>(
    p: &Gemm,
    call: impl Fn(usize) -> Call<'a, A, B, C> + Sync,
) {
    let values = TASK_VALUES * STRIP / p.m.clamp(STRIP, ROWS);
    let cols = columns_of_task(p, values, COLUMNS);
    let (row_tasks, col_tasks) = (p.m.div_ceil(ROWS), p.n.div_ceil(cols));
    let of_one = row_tasks * col_tasks;
    parallel::for_each(p.batch * of_one, |task| {
        let (columns, rows) = (task % of_one / row_tasks, task % row_tasks);
        inner_task(&call(task / of_one), chunk_range(p.m, ROWS, rows), chunk_range(p.n, cols, columns));
    });
}

dispatch!(
    fn inner_task<A, B, C>(call: &Call<'_, A, B, C>, rows: Range<usize>, cols: Range<usize>) = inner_body
);

/// These rows and columns of `C`, depth by depth.
#[inline(always)]
fn inner_body<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    rows: Range<usize>,
    cols: Range<usize>,
) {
    let p = call.p;
    let mut strip = Strip::new(Form::Numbers);
    let mut memory = MaybeUninit::<[Column; COLUMNS]>::uninit();
    let mut sums = MaybeUninit::<[f32; ROWS * WIDTH]>::uninit();
    let at = call.c_offset + rows.start * p.ldc + cols.start;
    // SAFETY: tasks own disjoint tiles of `C`, which `check` saw to exist; there are at most `ROWS` rows and `WIDTH` columns.
    let sums = unsafe { Sums::of(s, call, at, rows.len(), cols.len(), sums.as_mut_ptr().cast()) };
    let deep = depth_of(p.k);
    for k in (0..p.k).step_by(deep) {
        let (depth, update) = (deep.min(p.k - k), call.update_at(k));
        // One row makes no numbers, and reads columns as they come. Of few rows tiles wait for the numbers of theirs.
        let columns = match rows.len() {
            1 => WIDTH,
            2..=STRIP => TILE,
            _ => COLUMNS,
        };
        for j in (0..cols.len()).step_by(columns) {
            let (first, n) = (cols.start + j, columns.min(cols.len() - j));
            for i in (0..rows.len()).step_by(STRIP) {
                let height = STRIP.min(rows.len() - i);
                // SAFETY: the strip of `A`, the columns of `B` and the tile of the sums exist; the memory has room for that many columns.
                unsafe {
                    strip.fill(s, call, rows.start + i, height, k, depth);
                    let (a, c) = (strip.behind(0), sums.ptr.add(i * sums.stride + j));
                    let to = To { c, ldc: sums.stride, alpha: p.alpha, update };
                    let rows = Lines { ptr: a.ptr, ld: a.row, ahead: 0 };
                    match call.b {
                        Right::Blocks(b) if columns == WIDTH => {
                            let a = std::slice::from_raw_parts(a.ptr, depth);
                            let sums = std::slice::from_raw_parts_mut(c, n);
                            one_row(b, p.ldb, a, k, first, (p.alpha, update), sums);
                        }
                        Right::Floats(b) if B::WIDE || columns == WIDTH => {
                            let ahead = if i == 0 { TILE } else { 0 };
                            let b = Lines { ptr: b.as_ptr().add(first * p.ldb + k), ld: p.ldb, ahead };
                            tiles(s, depth, rows, height, b, n, to);
                        }
                        b => {
                            let numbers = memory.as_mut_ptr().cast::<Column>();
                            if i == 0 {
                                widen(s, b, p.ldb, [first, n], columns, [k, depth], numbers);
                            }
                            let b = Lines { ptr: numbers.cast::<f32>(), ld: LONG, ahead: 0 };
                            tiles(s, depth, rows, height, b, n, to);
                        }
                    }
                }
            }
        }
    }
    for i in 0..rows.len() {
        // SAFETY: the sums are complete, and these rows and columns belong to this task.
        unsafe { sums.finish(s, call, i, at + i * p.ldc, cols.start, cols.len()) };
    }
}

/// Makes numbers of `n` columns from `first` on, of the depth from `k` on. Memory is asked for so many columns `ahead`.
///
/// # Safety
/// `B` has these; there is memory for as many columns.
#[inline(always)]
unsafe fn widen<S: Simd, B: Element>(
    s: S,
    b: Right<'_, B>,
    ld: usize,
    [first, n]: [usize; 2],
    ahead: usize,
    [k, depth]: [usize; 2],
    to: *mut Column,
) {
    for column in 0..n {
        // SAFETY: the memory has this column, whose numbers are written and not read; of a `B` of floats there are as many.
        unsafe {
            let to = to.add(column);
            match b {
                Right::Floats(b) => {
                    let from = &b[(first + column) * ld + k..][..depth];
                    convert_body(s, from, std::slice::from_raw_parts_mut(to.cast::<f32>(), depth));
                }
                Right::Blocks(b) => {
                    let groups = std::slice::from_raw_parts_mut(to.cast(), depth / GROUP);
                    b.numbers(b.row(ld, first + column), k / GROUP, ahead * b.dtype.bytes_of(ld), groups);
                }
            }
        }
    }
}

/// Rows of numbers that lie along `k`, `ld` apart.
#[derive(Clone, Copy)]
struct Lines<E> {
    ptr: *const E,
    ld: usize,
    /// How many rows on memory is asked for; none where they are near.
    ahead: usize,
}

/// Where sums go, and how.
#[derive(Clone, Copy)]
struct To {
    c: *mut f32,
    ldc: usize,
    alpha: f32,
    update: Update,
}

dispatch!(
    /// One row, whose numbers of the depth from `k` on are `a`, by columns from `first` on, whose numbers do not leave their registers. Sums
    /// are scaled and brought to their places.
    fn one_row(
        b: Blocks<'_>,
        ld: usize,
        a: &[f32],
        k: usize,
        first: usize,
        scale: (f32, Update),
        sums: &mut [f32],
    ) = one_row_body
);

#[inline(always)]
fn one_row_body<S: Simd>(
    s: S,
    b: Blocks<'_>,
    ld: usize,
    a: &[f32],
    k: usize,
    first: usize,
    scale: (f32, Update),
    sums: &mut [f32],
) {
    of_format!(b.dtype, D => {
        let (ahead, last) = (AHEAD * D.bytes_of(ld), first + sums.len() - 1);
        for (tile, sums) in sums.chunks_mut(TILE).enumerate() {
            // Where columns end within a tile, the last one is summed again.
            let columns = [0, 1, 2, 3].map(|i| b.row(ld, (first + tile * TILE + i).min(last)));
            let mut acc = [Vf::zero(s); TILE];
            for (group, a) in a.as_chunks::<GROUP>().0.iter().enumerate() {
                // Spelled out, so that sums and numbers stay in registers.
                macro_rules! columns {
                    ($($j:literal)+) => {
                        $(
                            let numbers = group_of(D, columns[$j], k / GROUP + group, ahead);
                            let mut lane = 0;
                            while lane < GROUP {
                                // SAFETY: registers divide a group.
                                unsafe {
                                    let y = register(s, &numbers, lane);
                                    acc[$j] = Vf::load_ptr(s, a.as_ptr().add(lane)).mul_add(y, acc[$j]);
                                }
                                lane += S::F32_LANES;
                            }
                        )+
                    };
                }
                columns!(0 1 2 3);
            }
            for (sum, acc) in sums.iter_mut().zip(lane_sums(acc)) {
                // SAFETY: a place of its own.
                unsafe { scale.1.put(scale.0 * acc, sum) };
            }
        }
    });
}

/// `rows` rows of a strip by `n` columns.
///
/// # Safety
/// There are so many rows and columns of `depth` numbers, and sums of as many, which nobody else touches.
#[inline(always)]
unsafe fn tiles<S: Simd, B: Element>(
    s: S,
    depth: usize,
    a: Lines<f32>,
    rows: usize,
    b: Lines<B>,
    n: usize,
    to: To,
) {
    let mut i = 0;
    macro_rules! step {
        ($tile:ident, $height:literal) => {
            for j in (0..n).step_by(TILE) {
                // SAFETY: rows `i .. i + height` exist. Where columns end within a tile, the last one is summed again.
                unsafe {
                    let columns = [0, 1, 2, 3].map(|column| b.ptr.add((j + column).min(n - 1) * b.ld));
                    let a = Lines { ptr: a.ptr.add(i * a.ld), ..a };
                    let to = To { c: to.c.add(i * to.ldc + j), ..to };
                    let ahead = if i == 0 { b.ahead * b.ld } else { 0 };
                    $tile(s, depth, a, columns, ahead, TILE.min(n - j), to);
                }
            }
            i += $height;
        };
    }
    while S::REGISTER_COUNT >= 32 && i + 4 <= rows {
        step!(tile4, 4);
    }
    while i + 2 <= rows {
        step!(tile2, 2);
    }
    if i < rows {
        step!(tile1, 1);
    }
    debug_assert_eq!(i, rows);
}

/// A register, or if `MASKED` its first `n` lanes.
///
/// # Safety
/// As many numbers are readable.
#[inline(always)]
unsafe fn load<S: Simd, E: Element, const MASKED: bool>(s: S, from: *const E, n: usize) -> Vf<S> {
    // SAFETY: by the contract of this function.
    unsafe { if MASKED { Vf::load_first(s, from, n) } else { Vf::load_ptr(s, from) } }
}

/// Defines a function that sums so many rows by the columns of a tile. Rows are spelled out: accumulators that a loop indexes do not reliably
/// stay in registers.
macro_rules! define_tile {
    ($name:ident, [$($i:literal)+]) => {
        /// # Safety
        /// As [`tiles`], of the tile's rows, and of the first `n` columns. What is `ahead` numbers behind is brought near, if anything.
        #[inline(always)]
        unsafe fn $name<S: Simd, B: Element>(
            s: S,
            depth: usize,
            a: Lines<f32>,
            b: [*const B; TILE],
            ahead: usize,
            n: usize,
            to: To,
        ) {
            let zero = Vf::zero(s);
            let mut acc = [$({ let _ = $i; [zero; TILE] }),+];
            let whole = depth / S::F32_LANES * S::F32_LANES;
            macro_rules! step {
                ($masked:literal, $q:expr) => {
                    if ahead > 0 {
                        prefetch(b[0].wrapping_add($q + ahead).cast());
                        prefetch(b[1].wrapping_add($q + ahead).cast());
                        prefetch(b[2].wrapping_add($q + ahead).cast());
                        prefetch(b[3].wrapping_add($q + ahead).cast());
                    }
                    let y0 = load::<S, B, $masked>(s, b[0].add($q), depth - $q);
                    let y1 = load::<S, B, $masked>(s, b[1].add($q), depth - $q);
                    let y2 = load::<S, B, $masked>(s, b[2].add($q), depth - $q);
                    let y3 = load::<S, B, $masked>(s, b[3].add($q), depth - $q);
                    $(
                        let x = load::<S, f32, $masked>(s, a.ptr.add($i * a.ld + $q), depth - $q);
                        acc[$i][0] = x.mul_add(y0, acc[$i][0]);
                        acc[$i][1] = x.mul_add(y1, acc[$i][1]);
                        acc[$i][2] = x.mul_add(y2, acc[$i][2]);
                        acc[$i][3] = x.mul_add(y3, acc[$i][3]);
                    )+
                };
            }
            // SAFETY: registers end at or before the depth, to where rows and columns reach.
            unsafe {
                let mut q = 0;
                while q < whole {
                    step!(false, q);
                    q += S::F32_LANES;
                }
                if whole < depth {
                    step!(true, whole);
                }
                $(
                    let (sums, at) = (lane_sums(acc[$i]), to.c.add($i * to.ldc));
                    if n == TILE {
                        to.update.put_all(sums.map(|sum| to.alpha * sum), at);
                    } else {
                        for (j, sum) in sums.into_iter().enumerate().take(n) {
                            to.update.put(to.alpha * sum, at.add(j));
                        }
                    }
                )+
            }
        }
    };
}

define_tile!(tile4, [0 1 2 3]);
define_tile!(tile2, [0 1]);
define_tile!(tile1, [0]);
