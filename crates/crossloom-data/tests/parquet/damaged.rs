//! Files that lie: whatever they declare, no memory is reserved for it beyond the stated limits, and they are refused with a reason.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossloom_data::records::{Records, format};
use proptest::prelude::*;

use crate::reading::folder;

/// The largest piece of memory that was asked for.
static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// A page of 256 MiB is decoded, and nothing larger is ever asked for.
const LIMIT: usize = 257 << 20;

struct Watching;

// SAFETY: every call is passed on unchanged to the system's allocator; the number beside it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: `pointer` came from this allocator with this layout, so from the system's.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// How many files are damaged; `CROSSLOOM_FUZZ_CASES` says another number.
fn cases() -> u32 {
    std::env::var("CROSSLOOM_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}

/// Reads all of a file; whether it was sound, or refused with reasons that name it.
fn is_sound(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.parquet");
    fs::write(&path, bytes).unwrap();
    let named = |message: String| message.contains("damaged.parquet");
    let records = match Records::open(format("parquet").unwrap(), &[path], folder.path()) {
        Ok(records) => records,
        Err(refused) => return named(refused.to_string()),
    };
    (0..records.len()).all(|number| match records.read(number) {
        Ok(record) => {
            records.pictures(number, &record).err().is_none_or(|refused| named(refused.to_string()))
        }
        Err(refused) => named(refused.to_string()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_refused_with_a_reason_or_sound(
        name in prop::sample::select(vec!["llava", "messages", "pages", "questions", "paths", "gzip"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..6_usize), 0..5),
        cut in prop::option::weighted(0.05, any::<prop::sample::Index>()),
    ) {
        let mut file = fs::read(folder().join(format!("{name}.parquet"))).unwrap();
        // Where the footer begins: half of all changes are in it.
        let end = file.len();
        let declared: [u8; 4] = file[end - 8..end - 4].try_into().unwrap();
        let footer = end - 8 - u32::from_le_bytes(declared) as usize;
        for (at, byte, kind) in changes {
            let at = if kind < 3 { at.index(file.len()) } else { footer.min(file.len() - 1) + at.index(file.len() - footer.min(file.len() - 1)) };
            match kind % 3 {
                0 => file[at] = byte,
                // A number that goes on, and so is large.
                1 => file[at..].iter_mut().take(4).for_each(|byte| *byte |= 0x80),
                _ => file[at] ^= 1 << (byte % 8),
            }
        }
        if let Some(cut) = cut {
            let (from, tail) = (cut.index(file.len() - 8), file.split_off(file.len() - 8));
            file.truncate(from);
            file.extend(tail);
        }
        prop_assert!(is_sound(&file));
        let largest = LARGEST.load(Ordering::Relaxed);
        prop_assert!(largest < LIMIT, "{largest} bytes were asked for at once");
    }
}
