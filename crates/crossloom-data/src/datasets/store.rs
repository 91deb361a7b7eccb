//! Many pictures of one size in one allocation.

use super::DatasetError;
use crate::image::{CHANNELS, Image};

/// Decoded pictures of one size, u8 `[count, height, width, 3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStore {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl ImageStore {
    /// An empty store with room for `capacity` pictures.
    ///
    /// # Errors
    /// When a side is 0, or the memory cannot be had.
    pub fn with_capacity(width: u32, height: u32, capacity: usize) -> Result<Self, DatasetError> {
        if width == 0 || height == 0 {
            let value = format!("{width}x{height}");
            return Err(DatasetError::Option { key: "the image size", value, rule: "at least 1x1" });
        }
        let one = u128::from(width) * u128::from(height) * CHANNELS as u128;
        let bytes = one.saturating_mul(capacity as u128);
        let memory = || DatasetError::Memory { count: capacity, width, height, bytes };
        let mut rgb = Vec::new();
        rgb.try_reserve_exact(usize::try_from(bytes).map_err(|_| memory())?).map_err(|_| memory())?;
        Ok(Self { width, height, rgb })
    }

    /// Adds a picture behind the others.
    ///
    /// # Errors
    /// When it has another size.
    pub fn push(&mut self, image: &Image) -> Result<(), DatasetError> {
        if (image.width(), image.height()) != (self.width, self.height) {
            return Err(DatasetError::ImageSize {
                index: self.len(),
                width: self.width,
                height: self.height,
                found_width: image.width(),
                found_height: image.height(),
            });
        }
        self.rgb.extend_from_slice(image.rgb());
        Ok(())
    }

    /// Pixels per row of every picture.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows of every picture.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.rgb.len() / self.samples()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rgb.is_empty()
    }

    /// The samples of one picture, `[height, width, 3]`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let from = index.checked_mul(self.samples())?;
        self.rgb.get(from..from.checked_add(self.samples())?)
    }

    /// A copy of one picture, for a report.
    pub fn image(&self, index: usize) -> Option<Image> {
        Image::new(self.width, self.height, self.get(index)?.to_vec()).ok()
    }

    /// Bytes that it holds, room for more pictures included.
    pub fn bytes(&self) -> u64 {
        self.rgb.capacity() as u64
    }

    /// All samples, `[count, height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    fn samples(&self) -> usize {
        self.width as usize * self.height as usize * CHANNELS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn pictures_come_back_and_other_sizes_are_refused() {
        let mut store = ImageStore::with_capacity(2, 1, 2).unwrap();
        let image = Image::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        store.push(&image).unwrap();
        assert_eq!((store.len(), store.image(0).unwrap()), (1, image));
        assert!(store.get(1).is_none() && store.get(usize::MAX).is_none());
        let other = Image::new(1, 2, vec![0; 6]).unwrap();
        assert!(matches!(store.push(&other), Err(DatasetError::ImageSize { index: 1, .. })));
        assert!(ImageStore::with_capacity(0, 1, 2).is_err());
        assert!(matches!(
            ImageStore::with_capacity(u32::MAX, u32::MAX, usize::MAX),
            Err(DatasetError::Memory { .. })
        ));
    }
}
