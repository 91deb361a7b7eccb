//! What can be wrong with a picture.

/// Why a picture could not be read, resized or normalised. Every variant about a file names it.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file could not be opened or read.
    #[error("picture `{name}`: cannot be read: {source}")]
    Io {
        /// The file.
        name: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is larger than the limit, and was not read.
    #[error("picture `{name}`: the file has {bytes} bytes; the limit is {limit}")]
    FileTooLarge {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// The most bytes that are read.
        limit: u64,
    },
    /// The picture's sides are above the limit; no pixel was decoded.
    #[error("picture `{name}`: {width}x{height} pixels; the limit is {max_width}x{max_height}")]
    TooLarge {
        /// The file.
        name: String,
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit on pixels per row.
        max_width: u32,
        /// The limit on rows.
        max_height: u32,
    },
    /// The picture has more pixels than the limit; none was decoded.
    #[error("picture `{name}`: {pixels} pixels; the limit is {limit}")]
    TooManyPixels {
        /// The file.
        name: String,
        /// How many its header promises.
        pixels: u64,
        /// The most pixels that are decoded.
        limit: u64,
    },
    /// Decoding would need more memory than the limit.
    #[error("picture `{name}`: decoding it needs more than the limit of {limit} bytes of memory")]
    TooMuchMemory {
        /// The file.
        name: String,
        /// The most bytes that decoding may take.
        limit: u64,
    },
    /// The file ends in the middle of the picture.
    #[error(
        "picture `{name}`: the file is truncated: it ends before the picture is complete ({bytes} bytes)"
    )]
    Truncated {
        /// The file.
        name: String,
        /// How many bytes it has.
        bytes: usize,
    },
    /// Neither PNG nor JPEG.
    #[error("picture `{name}`: not a format that can be read (PNG and JPEG can)")]
    UnknownFormat {
        /// The file.
        name: String,
    },
    /// The file's content is not valid.
    #[error("picture `{name}`: cannot be decoded: {reason}")]
    Corrupt {
        /// The file.
        name: String,
        /// The decoder's reason.
        reason: String,
    },
    /// Samples and sides do not belong together.
    #[error("a picture of {width}x{height} pixels has {expected} samples, at least one; {found} were given")]
    WrongLength {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// `width * height * 3`.
        expected: usize,
        /// How many samples there were.
        found: usize,
    },
    /// The buffer for the normalised picture has another size.
    #[error("the buffer for normalised pixels has {found} elements; the picture has {expected} samples")]
    WrongBuffer {
        /// Samples of the picture.
        expected: usize,
        /// Elements of the buffer.
        found: usize,
    },
    /// A mean or deviation that cannot normalise.
    #[error(
        "normalisation mean {mean:?}, std {std:?}: every value must be finite and every std greater than zero"
    )]
    BadNormalization {
        /// Per channel, on the scale 0 to 1.
        mean: [f32; 3],
        /// Per channel, on the scale 0 to 1.
        std: [f32; 3],
    },
    /// A picture cannot be resized to this size.
    #[error("cannot resize a picture to {width}x{height} pixels: each side must be from 1 to {limit}")]
    BadSize {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// The largest side.
        limit: u32,
    },
    /// The PNG encoder failed.
    #[error("the picture cannot be written as PNG: {reason}")]
    Encode {
        /// The encoder's reason.
        reason: String,
    },
    /// A processor's configuration cannot be used.
    #[error("{}", problems.join("; "))]
    Processor {
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
    /// Features and the picture whose tokens they are do not belong together.
    #[error("{what}: {found} were given, the picture has {expected}")]
    Features {
        /// What was counted.
        what: &'static str,
        /// As many as the picture needs.
        expected: usize,
        /// As many as there were.
        found: usize,
    },
}
