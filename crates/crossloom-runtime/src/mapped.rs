//! Files of weights that stay where they are.
//!
//! A file is mapped, its header checked once, and its tensors are read where they lie. The header of a safetensors file is
//! read here, by the `safetensors` crate; of other formats by whoever opens the file. Two things can go wrong with memory that is a file, and both are told as errors:
//!
//! - *The file is written or replaced.* Size, time of last change and identity of the file are compared with those of when
//!   the header was checked: when a session is bound, and before and after every run.
//! - *The file is truncated.* Reading a page that the file no longer has ends the process (`SIGBUS`), so the same
//!   comparison stands before every run. What no comparison can exclude is a truncation in the middle of a run. So a file
//!   is mapped only if nobody but its owner may write it; one that group or others may write is read into memory instead,
//!   at once, and can do what it likes then. Whoever may act as the owner can end the process anyway.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crossloom_ir::{DType, TensorType};
use safetensors::tensor::{Dtype, SafeTensors};

use crate::RunError;

/// A file of tensors whose header was checked.
pub struct MappedFile {
    path: PathBuf,
    file: File,
    version: Version,
    bytes: Content,
    header: Header,
}

/// What a file holds, by name.
pub type Header = BTreeMap<String, Located>;

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The type of its elements; what the file calls it if it is none of ours.
    pub dtype: Result<DType, String>,
    /// Extent of every axis, slowest first.
    pub shape: Vec<usize>,
    /// Its bytes, from the file's first one.
    pub range: Range<usize>,
}

impl Located {
    /// What the type of its elements is called.
    pub fn dtype_name(&self) -> &str {
        self.dtype.as_ref().map_or_else(String::as_str, |dtype| dtype.name())
    }

    /// Its type, if its elements are of one of ours.
    pub fn ty(&self) -> Option<TensorType> {
        Some(TensorType { dtype: *self.dtype.as_ref().ok()?, shape: self.shape.clone() })
    }

    /// Whether it lies in a file of so many bytes, and has as many of them as its type.
    pub fn fits(&self, file: usize) -> bool {
        // As if no axis were empty: the extents beside an empty one must not be absurd either.
        let mut extents = self.shape.iter().map(|&extent| extent.max(1));
        let elements = extents.try_fold(1_usize, usize::checked_mul);
        let lies = self.range.start <= self.range.end && self.range.end <= file;
        let whole = self.ty().is_none_or(|ty| {
            // No type has more than four bytes to an element.
            elements.is_some_and(|elements| elements.checked_mul(4).is_some())
                && ty.has_whole_blocks()
                && ty.bytes() == self.range.len()
        });
        elements.is_some() && lies && whole
    }
}

/// The bytes of a file.
enum Content {
    Mapped(memmap2::Mmap),
    Copied(Vec<u64>, usize),
}

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

/// The bytes of one tensor of a file. They stay mapped as long as this exists.
#[derive(Debug)]
pub struct MappedTensor {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl MappedTensor {
    /// The file in which it lies.
    pub fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }
}

impl AsRef<[u8]> for MappedTensor {
    fn as_ref(&self) -> &[u8] {
        &self.file.bytes()[self.range.clone()]
    }
}

impl MappedFile {
    /// Maps a safetensors file and checks its header.
    ///
    /// # Errors
    /// The file cannot be read, or it is no sound safetensors file.
    pub fn open(path: &Path) -> Result<Arc<Self>, RunError> {
        Self::open_as(path, safetensors_header)
    }

    /// Maps a file of another format, whose header `read` finds in its bytes.
    ///
    /// # Errors
    /// The file cannot be read; what `read` says; a tensor does not lie within the file.
    pub fn open_as(
        path: &Path,
        read: impl FnOnce(&[u8]) -> Result<Header, String>,
    ) -> Result<Arc<Self>, RunError> {
        let failed = |message: String| RunError::File { path: path.to_owned(), message };
        let mut file = File::open(path).map_err(|e| failed(e.to_string()))?;
        let metadata = file.metadata().map_err(|e| failed(e.to_string()))?;
        if !metadata.is_file() {
            return Err(failed("is no regular file".to_owned()));
        }
        let bytes = if only_its_owner_writes(&metadata) {
            // SAFETY: the mapping is private and read-only. That its file keeps its length and content is checked around
            // every use, see the head of this module; its elements are types of which any bits are a value.
            Content::Mapped(unsafe { memmap2::Mmap::map(&file) }.map_err(|e| failed(e.to_string()))?)
        } else {
            let len = usize::try_from(metadata.len()).map_err(|e| failed(e.to_string()))?;
            let mut words = vec![0_u64; len.div_ceil(size_of::<u64>())];
            let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..len];
            file.read_exact(bytes).map_err(|e| failed(e.to_string()))?;
            Content::Copied(words, len)
        };
        let header = read(bytes.as_slice()).map_err(failed)?;
        if let Some((name, _)) = header.iter().find(|(_, located)| !located.fits(bytes.as_slice().len())) {
            return Err(failed(format!("tensor `{name}` does not lie within the file")));
        }
        let mapped = Self { path: path.to_owned(), file, version: Version::of(&metadata), bytes, header };
        mapped.check()?;
        Ok(Arc::new(mapped))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was read into memory because others than its owner may write it.
    pub fn is_copy(&self) -> bool {
        matches!(self.bytes, Content::Copied(..))
    }

    /// What the header says, by name.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A tensor of the file: its type, and its bytes.
    ///
    /// # Errors
    /// The file has none of that name, or its element type is none of ours.
    pub fn tensor(self: &Arc<Self>, name: &str) -> Result<(TensorType, MappedTensor), RunError> {
        let Some(located) = self.header.get(name) else {
            return Err(self.failed(format!("has no tensor `{name}`")));
        };
        let Some(ty) = located.ty() else {
            let dtype = located.dtype_name();
            return Err(
                self.failed(format!("tensor `{name}` has elements of type {dtype}, which is not supported"))
            );
        };
        Ok((ty, MappedTensor { file: Arc::clone(self), range: located.range.clone() }))
    }

    /// Whether the file is what it was when its header was checked.
    ///
    /// # Errors
    /// It was written, truncated, replaced or removed. Of a file that was read into memory nothing is asked.
    pub fn check(&self) -> Result<(), RunError> {
        if self.is_copy() {
            return Ok(());
        }
        let open = self.file.metadata().map_err(|e| self.failed(e.to_string()))?;
        let named = std::fs::metadata(&self.path).map_err(|e| self.failed(format!("is gone: {e}")))?;
        for (now, what) in [(Version::of(&open), "changed"), (Version::of(&named), "been replaced")] {
            if now != self.version {
                let (was, is) = (self.version.len, now.len);
                let message =
                    format!("has {what} since its header was checked (it had {was} bytes and has {is})");
                return Err(self.failed(format!("{message}; weights that are mapped must not be written")));
            }
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    fn failed(&self, message: String) -> RunError {
        RunError::File { path: self.path.clone(), message }
    }
}

/// What a safetensors file says of its tensors. That they lie within the file is not known yet.
///
/// # Errors
/// What is wrong with its header.
pub fn safetensors_header(bytes: &[u8]) -> Result<Header, String> {
    let (header_len, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    // The length of the header is eight bytes in front of it.
    let start = header_len + size_of::<u64>();
    let located = header.tensors().into_iter().map(|(name, info)| {
        let dtype = match info.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::BF16 => Ok(DType::Bf16),
            Dtype::F16 => Ok(DType::F16),
            Dtype::I32 => Ok(DType::I32),
            Dtype::U8 => Ok(DType::U8),
            other => Err(other.to_string().to_lowercase()),
        };
        let (from, to) = info.data_offsets;
        (name, Located { dtype, shape: info.shape.clone(), range: start + from..start + to })
    });
    Ok(located.collect())
}

impl Content {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Copied(words, len) => &bytemuck::cast_slice(words)[..*len],
        }
    }
}

/// Whether no other user may write the file.
#[cfg(unix)]
fn only_its_owner_writes(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mode() & 0o022 == 0
}

/// Whether no other user may write the file, which cannot be told here.
#[cfg(not(unix))]
fn only_its_owner_writes(_: &Metadata) -> bool {
    false
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_fits_where_its_bytes_are_those_of_its_type() {
        let fits = |dtype, shape: &[usize], range| {
            Located { dtype: Ok(dtype), shape: shape.to_vec(), range }.fits(100)
        };
        assert!(fits(DType::F32, &[2, 3], 8..32) && fits(DType::Q8_0, &[2, 32], 0..68));
        assert!(fits(DType::F32, &[0, 3], 8..8) && fits(DType::F32, &[], 0..4));
        assert!(!fits(DType::F32, &[2, 3], 8..33) && !fits(DType::F32, &[2, 13], 0..104));
        for absurd in
            [&[usize::MAX, 2][..], &[0, usize::MAX], &[usize::MAX / 32, 0, 64], &[usize::MAX / 64, 32]]
        {
            assert!(!fits(DType::Q8_0, absurd, 0..0), "{absurd:?}");
            assert!(!fits(DType::F32, absurd, 0..0), "{absurd:?}");
        }
    }
}
