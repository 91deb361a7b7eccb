//! Memory whose surroundings nobody may touch.

use std::ptr::NonNull;

/// Bytes between two pages that cannot be touched. They end where the second one begins, but for what makes their start a
/// multiple of 16; those bytes hold a pattern, so that a write to them is found by [`Guarded::is_whole`].
#[derive(Debug)]
pub struct Guarded {
    mapping: NonNull<u8>,
    mapped: usize,
    offset: usize,
    len: usize,
}

/// What kernels may rely on for the start of a tensor.
const ALIGN: usize = 16;
/// What memory holds before anything is written: as floats, no number.
const POISON: u8 = 0xff;

// SAFETY: it is memory with a length that nobody else has; shared references only read it.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Poisoned memory of so many bytes. `None` if the system has none.
    pub fn new(len: usize) -> Option<Self> {
        // SAFETY: asking for the size of a page changes nothing.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let inside = len.checked_next_multiple_of(ALIGN)?;
        let pages = inside.checked_next_multiple_of(page)?;
        let mapped = pages.checked_add(2 * page)?;
        let (protection, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of nobody's memory, at an address of the system's choice.
        let mapping = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return None;
        }
        let mapping = NonNull::new(mapping.cast::<u8>())?;
        let memory = Self { mapping, mapped, offset: page + pages - inside, len };
        if pages > 0 {
            // SAFETY: the pages between the first and the last lie within the mapping just made.
            let status = unsafe {
                libc::mprotect(mapping.add(page).as_ptr().cast(), pages, libc::PROT_READ | libc::PROT_WRITE)
            };
            if status != 0 {
                return None;
            }
            // SAFETY: those pages can be written now, and `offset` and `inside` end with them.
            unsafe { std::ptr::write_bytes(memory.start(), POISON, inside) };
        }
        Some(memory)
    }

    /// Memory with a copy of those bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut memory = Self::new(bytes.len())?;
        memory.bytes_mut().copy_from_slice(bytes);
        Some(memory)
    }

    /// Where it starts, a multiple of 16.
    pub fn start(&self) -> *mut u8 {
        // SAFETY: the offset is at most the mapping's length.
        unsafe { self.mapping.add(self.offset) }.as_ptr()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from the start on can be read and lie in the mapping, which lives as long as `self`; whoever writes
        // them has `self` exclusively.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, with `self` exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }

    /// Whether nothing was written between the last byte and the page behind it.
    pub fn is_whole(&self) -> bool {
        let rest = self.len.next_multiple_of(ALIGN) - self.len;
        // SAFETY: as in `bytes`: the rest is what the length was rounded up by.
        let rest = unsafe { std::slice::from_raw_parts(self.start().add(self.len), rest) };
        rest.iter().all(|&byte| byte == POISON)
    }

    /// How an address lies to this memory, if it is in it or within a page of it.
    pub fn tell(&self, address: usize) -> Option<String> {
        let start = self.mapping.as_ptr().addr();
        if !(start..start + self.mapped).contains(&address) {
            return None;
        }
        let first = self.start().addr();
        Some(if address < first {
            format!("{} bytes before its start", first - address)
        } else if address < first + self.len {
            format!("at byte {}", address - first)
        } else {
            format!("{} bytes behind its {} bytes", address - first - self.len, self.len)
        })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: made by `new` with that length, and given back once.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapped) };
    }
}
