//! Thrift's compact protocol, in which Parquet writes its footer, its indexes and the headers of its pages: what they declare is seen here
//! before memory is reserved for it.

/// The deepest nesting of values.
const MAX_DEPTH: u32 = 24;

/// Hears of every integer, and of the length of every text and list, with the numbers of the fields that lead to it. Elements of a list have
/// its path.
pub(super) type Told<'t> = dyn FnMut(&[i16], i64) + 't;

/// Walks over the struct that `bytes` begin with; none where they are no such struct, are nested too deep, or declare more than follows.
pub(super) fn walk(bytes: &[u8], told: &mut Told<'_>) -> Option<()> {
    Walk { rest: bytes, path: Vec::new(), depth: 0 }.fields(told)
}

struct Walk<'b> {
    rest: &'b [u8],
    path: Vec<i16>,
    depth: u32,
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of values of a byte at least.
    fn count(&mut self, count: u64) -> Option<u64> {
        (count <= self.rest.len() as u64).then_some(count)
    }

    fn fields(&mut self, told: &mut Told<'_>) -> Option<()> {
        let mut field = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => i16::try_from(self.signed()?).ok()?,
                step => field.checked_add(i16::from(step))?,
            };
            self.path.push(field);
            // A truth is in the head of its field.
            if !matches!(head & 0xf, 1 | 2) {
                self.value(head & 0xf, told)?;
            }
            self.path.pop();
        }
    }

    fn value(&mut self, kind: u8, told: &mut Told<'_>) -> Option<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1..=3 => self.skip(1)?,
            4..=6 => {
                let value = self.signed()?;
                told(&self.path, value);
            }
            7 => self.skip(8)?,
            8 => {
                let length = self.unsigned()?;
                self.skip(length)?;
                told(&self.path, length as i64);
            }
            9 | 10 => {
                let head = self.byte()?;
                let length = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
                let length = self.count(length)?;
                told(&self.path, length as i64);
                for _ in 0..length {
                    self.value(head & 0xf, told)?;
                }
            }
            11 => {
                let length = self.unsigned()?;
                let kinds = if length == 0 { 0 } else { self.byte()? };
                for _ in 0..self.count(length)? {
                    self.value(kinds >> 4, told)?;
                    self.value(kinds & 0xf, told)?;
                }
            }
            12 => self.fields(told)?,
            13 => self.skip(16)?,
            _ => return None,
        }
        self.depth -= 1;
        Some(())
    }
}
