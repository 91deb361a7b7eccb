//! Packing of the right operand into panels of `PANEL` columns, zero-padded, so that the tile reads it in order.

/// Columns of a packed panel.
pub(crate) const PANEL: usize = 32;

/// The number of values of a packed `[k, n]` block.
pub(crate) const fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(PANEL)
}

/// Packs columns `.. cols` (at most [`PANEL`]) of a `[k, cols]` block whose rows are `ld` apart.
///
/// # Safety
/// `src + p * ld + j` is readable for `p < k`, `j < cols`; `dst` holds at least `k * PANEL` values.
pub(crate) unsafe fn pack_rows(src: *const f32, ld: usize, k: usize, cols: usize, dst: &mut [f32]) {
    for (p, row) in dst.chunks_exact_mut(PANEL).take(k).enumerate() {
        // SAFETY: row `p < k` has `cols` readable values.
        let from = unsafe { std::slice::from_raw_parts(src.add(p * ld), cols) };
        if let Ok(from) = <&[f32; PANEL]>::try_from(from) {
            row.copy_from_slice(from);
        } else {
            row[..cols].copy_from_slice(from);
            row[cols..].fill(0.0);
        }
    }
}

/// Packs a transposed block: column `j` of the panel is the `k` values from `src + j * ld`.
///
/// # Safety
/// `src + j * ld + p` is readable for `p < k`, `j < cols`; `dst` holds at least `k * PANEL` values.
pub(crate) unsafe fn pack_columns(src: *const f32, ld: usize, k: usize, cols: usize, dst: &mut [f32]) {
    const STEP: usize = 8;
    if cols < PANEL {
        dst[..k * PANEL].fill(0.0);
    }
    // Eight source rows at a time: few enough streams, and half a cache line written at once.
    for j0 in (0..cols).step_by(STEP) {
        let width = (cols - j0).min(STEP);
        if width == STEP {
            // SAFETY: source rows `j0 .. j0 + STEP` have `k` readable values each.
            let rows: [&[f32]; STEP] =
                std::array::from_fn(|j| unsafe { std::slice::from_raw_parts(src.add((j0 + j) * ld), k) });
            for (p, out) in dst.chunks_exact_mut(PANEL).take(k).enumerate() {
                for j in 0..STEP {
                    out[j0 + j] = rows[j][p];
                }
            }
        } else {
            for j in j0..j0 + width {
                // SAFETY: source row `j` has `k` readable values.
                let row = unsafe { std::slice::from_raw_parts(src.add(j * ld), k) };
                for (x, out) in row.iter().zip(dst.chunks_exact_mut(PANEL)) {
                    out[j] = *x;
                }
            }
        }
    }
}
