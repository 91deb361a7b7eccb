"""Writing to a cache of keys and values, and attention over it."""

import numpy as np

from filetest import draw, write


def written(cache, rows, slot, start, count):
    """Row by row, position by position."""
    new = np.array(cache)
    for b in range(len(slot)):
        for t in range(count[b]):
            new[slot[b], start[b] + t] = rows[b, t]
    return new


def attended(q, keys, values, heads, kv_heads, scale, slot, start, count, segments=None):
    """Each query over a list of the keys that it sees."""
    hd = q.shape[2] // heads
    o = np.zeros_like(q)
    for b in range(len(slot)):
        for t in range(count[b]):
            own = start[b] + t
            seen = list(range(own + 1))
            if segments is not None:
                row = segments[slot[b]]
                seen = [s for s in seen if s == own or (row[own] != -1 and row[s] in (0, row[own]))]
            for h in range(heads):
                kv = slice((h * kv_heads // heads) * hd, (h * kv_heads // heads + 1) * hd)
                query = q[b, t, h * hd:(h + 1) * hd]
                p = np.exp(scale * keys[slot[b], seen, kv] @ query)
                o[b, t, h * hd:(h + 1) * hd] = (p / p.sum()) @ values[slot[b], seen, kv]
    return o


cache, rows = draw(3, 4, 2), draw(2, 2, 2)
segments, marks = np.array([[0, 0, 1, 9], [9, 9, 9, 9], [0, 9, 9, 9]]), np.array([[2, -1], [0, 1]])
slot, start, count = np.array([2, 0]), np.array([1, 3]), np.array([2, 1])
write("cache_write",
      "Two rows of a call go on with slots 2 and 0 of a cache, which hold one and three positions; of the second row only\n"
      "one position is real. Slot 1 stays.",
      """
      state %c "cache": f32[3, 4, 2]
      state %s "segments": i32[3, 4]
      input %r "rows": f32[2, 2, 2]
      input %m "marks": i32[2, 2]
      input %slot "slot": i32[2]
      input %start "start": i32[2]
      input %count "count": i32[2]
      %new = cache_write %c, %r, %slot, %start, %count : f32[3, 4, 2]
      %new_segments = cache_write %s, %m, %slot, %start, %count : i32[3, 4]
      update %c = %new
      update %s = %new_segments
      """,
      ({"cache": cache, "segments": segments, "rows": rows, "marks": marks, "slot": slot, "start": start, "count": count},
       {"!cache": written(cache, rows, slot, start, count),
        "!segments": written(segments, marks, slot, start, count)}))

q, keys, values = draw(2, 2, 4), draw(3, 5, 2), draw(3, 5, 2)
segments = np.array([[0, 0, 1, 1, 9], [9, 9, 9, 9, 9], [0, 1, 2, -1, 1]])
slot, start, count = np.array([2, 0]), np.array([3, 3]), np.array([2, 1])
place = (slot, start, count)
write("cached_attention",
      "Two new positions stand at 3 and 4 of slot 2, one at 3 of slot 0, and one is not real. Without segments all earlier\n"
      "positions are seen; with them the shared ones (0) and the query's own, and by padding (-1) itself alone.",
      """
      input %q "q": f32[2, 2, 4]
      state %k "keys": f32[3, 5, 2]
      state %v "values": f32[3, 5, 2]
      state %s "segments": i32[3, 5]
      input %slot "slot": i32[2]
      input %start "start": i32[2]
      input %count "count": i32[2]
      %all = cached_attention %q, %k, %v, %slot, %start, %count {heads = 2, kv_heads = 1, scale = 0.7} : f32[2, 2, 4]
      %own = cached_attention %q, %k, %v, %s, %slot, %start, %count {heads = 2, kv_heads = 1, segments = true, scale = 0.7} : f32[2, 2, 4]
      return "all" = %all
      return "own" = %own
      """,
      ({"q": q, "keys": keys, "values": values, "segments": segments, "slot": slot, "start": start, "count": count},
       {"all": attended(q, keys, values, 2, 1, 0.7, *place),
        "own": attended(q, keys, values, 2, 1, 0.7, *place, segments)}))
