// Points on square grids. A grid reaches from 0 to 1, and cell i of `side` has its centre at (i + 1/2) / side.

// The four cells whose centres a point lies between: their numbers, -1 beyond the grid, what is read of each, and how that changes with the
// point's place along x and y.
struct Corners {
  int cell[4];
  float share[4], slope_x[4], slope_y[4];
};

DEVICE Corners corners_of(float x, float y, u32 side) {
  const float at_x = x * side - 0.5f, at_y = y * side - 0.5f, first_x = floorf(at_x), first_y = floorf(at_y);
  const float behind_x = at_x - first_x, behind_y = at_y - first_y;
  Corners corners;
  UNROLL
  for (u32 i = 0; i < 4; i++) {
    const u32 right = i % 2, below = i / 2;
    const float column = first_x + right, line = first_y + below;
    const float share_x = right ? behind_x : 1.0f - behind_x, share_y = below ? behind_y : 1.0f - behind_y;
    const bool inside = column >= 0.0f && column < side && line >= 0.0f && line < side;
    corners.cell[i] = inside ? (int)line * (int)side + (int)column : -1;
    corners.share[i] = share_y * share_x;
    corners.slope_x[i] = share_y * (right ? (float)side : -(float)side);
    corners.slope_y[i] = (below ? (float)side : -(float)side) * share_x;
  }
  return corners;
}
