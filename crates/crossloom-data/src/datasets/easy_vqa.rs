//! The easy-VQA data set (PyPI `easy-vqa` 1.0): one coloured shape per picture, 13 answers.
//!
//! The package keeps, per split, `images/{number}.png` of 64x64 pixels and `questions.json`, a list of
//! `[question, answer, picture number]`. Three quarters of the questions are yes/no.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use super::{DatasetError, Example, ImageStore, QuestionType, VqaDataset, VqaSplit};
use crate::image::{Image, ImageError, ImageLimits, ImageProcessor};

const NAME: &str = "easy-vqa";
/// Where the data lies in the unpacked package.
const DATA_FOLDER: &str = "easy_vqa/data";
/// Ten times the real size.
const MAX_QUESTION_BYTES: u64 = 20 << 20;

/// How easy-VQA is read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EasyVqaOptions {
    /// What becomes of every picture, once, when it is read; `None` keeps them as they are, squares of 64 pixels.
    pub processor: Option<ImageProcessor>,
    /// Only the first pictures of the training split and their questions.
    pub train_images: Option<usize>,
    /// Only the first pictures of the test split and their questions.
    pub test_images: Option<usize>,
}

/// easy-VQA in memory.
#[derive(Debug, Clone)]
pub struct EasyVqa {
    train: VqaSplit,
    test: VqaSplit,
}

impl EasyVqa {
    /// Reads the unpacked package in `folder` (what [`AssetCache::ensure`](crate::assets::AssetCache::ensure) gives).
    ///
    /// # Errors
    /// When a file is missing or malformed, a picture cannot be decoded (all are tried), or a split is empty.
    pub fn load(folder: &Path, options: &EasyVqaOptions) -> Result<Self, DatasetError> {
        let data = folder.join(DATA_FOLDER);
        Ok(Self {
            train: load_split(&data, "train", options.train_images, options)?,
            test: load_split(&data, "test", options.test_images, options)?,
        })
    }
}

impl VqaDataset for EasyVqa {
    fn name(&self) -> &str {
        NAME
    }

    fn source(&self) -> String {
        "PyPI easy-vqa 1.0".to_owned()
    }

    fn train(&self) -> &VqaSplit {
        &self.train
    }

    fn test(&self) -> &VqaSplit {
        &self.test
    }
}

fn load_split(
    data: &Path,
    split: &'static str,
    limit: Option<usize>,
    options: &EasyVqaOptions,
) -> Result<VqaSplit, DatasetError> {
    let folder = data.join(split);
    let mut questions = read_questions(&folder.join("questions.json"))?;
    let mut ids: BTreeSet<u64> = questions.iter().map(|(_, _, id)| *id).collect();
    if let Some(limit) = limit {
        ids = ids.into_iter().take(limit).collect();
        questions.retain(|(_, _, id)| ids.contains(id));
    }
    if ids.is_empty() {
        return Err(DatasetError::Empty {
            name: NAME.to_owned(),
            split,
            images: 0,
            examples: questions.len(),
        });
    }
    let ids: Vec<u64> = ids.into_iter().collect();
    let images = read_images(&folder.join("images"), &ids, options)?;
    let examples = questions
        .into_iter()
        .map(|(question, answer, image_id)| Example {
            image: ids.binary_search(&image_id).unwrap_or(usize::MAX),
            image_id,
            question_type: QuestionType::of_shape_answer(&answer),
            question,
            answer,
        })
        .collect();
    VqaSplit::new(NAME, split, images, examples)
}

fn read_questions(path: &Path) -> Result<Vec<(String, String, u64)>, DatasetError> {
    let name = NAME.to_owned();
    let io_error = |source| DatasetError::Io { name: name.clone(), path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(io_error)?.len();
    if bytes > MAX_QUESTION_BYTES {
        return Err(DatasetError::FileTooLarge {
            name,
            path: path.to_owned(),
            bytes,
            limit: MAX_QUESTION_BYTES,
        });
    }
    let json = fs::read(path).map_err(io_error)?;
    serde_json::from_slice(&json).map_err(|error| DatasetError::Questions {
        name,
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn read_images(folder: &Path, ids: &[u64], options: &EasyVqaOptions) -> Result<ImageStore, DatasetError> {
    let limits = ImageLimits::default();
    let read = |id: u64| -> Result<Image, ImageError> {
        let image = Image::open(&folder.join(format!("{id}.png")), &limits)?;
        match &options.processor {
            Some(processor) => processor.whole(image),
            None => Ok(image),
        }
    };
    let results: Vec<Result<Image, ImageError>> = ids.par_iter().map(|&id| read(id)).collect();
    let mut images = Vec::with_capacity(results.len());
    let mut errors = Vec::new();
    for result in results {
        match result {
            Ok(image) => images.push(image),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(DatasetError::Images { name: NAME.to_owned(), tried: ids.len(), errors });
    }
    let (width, height) = images.first().map_or((0, 0), |image| (image.width(), image.height()));
    let mut store = ImageStore::with_capacity(width, height, images.len())?;
    for image in &images {
        store.push(image)?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::image::{Fit, Normalization, ResizeFilter};
    use std::path::PathBuf;

    /// A package of two pictures per split, in the real layout.
    fn package() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for split in ["train", "test"] {
            let images = folder.path().join(DATA_FOLDER).join(split).join("images");
            fs::create_dir_all(&images).unwrap();
            for id in [3_u8, 11] {
                let image = Image::new(4, 4, vec![id; 48]).unwrap();
                fs::write(images.join(format!("{id}.png")), image.to_png().unwrap()).unwrap();
            }
            let json = r#"[["what shape is present?", "circle", 11], ["is there a red shape?", "no", 3],
                           ["what color is the shape?", "teal", 3]]"#;
            fs::write(questions(&folder, split), json).unwrap();
        }
        folder
    }

    fn questions(folder: &tempfile::TempDir, split: &str) -> PathBuf {
        folder.path().join(DATA_FOLDER).join(split).join("questions.json")
    }

    #[track_caller]
    fn error(folder: &tempfile::TempDir) -> (DatasetError, String) {
        let error = EasyVqa::load(folder.path(), &EasyVqaOptions::default()).unwrap_err();
        let message = error.to_string();
        (error, message)
    }

    #[test]
    fn questions_find_their_pictures() {
        let data = EasyVqa::load(package().path(), &EasyVqaOptions::default()).unwrap();
        let train = data.train();
        assert_eq!(train.images().len(), 2);
        let first = &train.examples()[0];
        assert_eq!((first.image, first.image_id), (1, 11));
        assert_eq!(train.images().get(first.image).unwrap()[0], 11);
        let types: Vec<&str> =
            train.examples().iter().map(|example| example.question_type.as_str()).collect();
        assert_eq!(types, ["shape", "yes_no", "colour"]);
        assert_eq!(data.answers(), ["circle", "no", "teal"]);
        assert_eq!(data.manifest().test.examples, 3);
    }

    #[test]
    fn pictures_are_limited_and_resized_when_asked() {
        let processor =
            ImageProcessor::squares(Fit::Stretch, 2, ResizeFilter::Bilinear, Normalization::HALF).unwrap();
        let options =
            EasyVqaOptions { processor: Some(processor), train_images: Some(1), ..EasyVqaOptions::default() };
        let data = EasyVqa::load(package().path(), &options).unwrap();
        let train = data.train();
        assert_eq!((train.images().len(), train.images().width(), train.examples().len()), (1, 2, 2));
        assert!(train.examples().iter().all(|example| example.image_id == 3));
        let none = EasyVqaOptions { test_images: Some(0), ..options };
        let error = EasyVqa::load(package().path(), &none).unwrap_err();
        assert!(matches!(error, DatasetError::Empty { split: "test", .. }), "{error}");
    }

    #[test]
    fn an_empty_set_is_an_error() {
        let folder = package();
        fs::write(questions(&folder, "train"), "[]").unwrap();
        let (error, message) = error(&folder);
        assert!(matches!(error, DatasetError::Empty { split: "train", .. }));
        assert!(message.contains("the train split is empty"), "{message}");
    }

    #[test]
    fn malformed_questions_are_placed() {
        let folder = package();
        for json in ["{", "[[1, 2, 3]]", r#"[["q", "a", -1]]"#, r#"[["q", "a"]]"#] {
            fs::write(questions(&folder, "test"), json).unwrap();
            let (error, message) = error(&folder);
            assert!(matches!(error, DatasetError::Questions { .. }), "{error:?}");
            assert!(message.contains("questions.json") && message.contains("line 1"), "{message}");
        }
        fs::write(questions(&folder, "test"), r#"[[" ", "circle", 3], ["q", "", 3]]"#).unwrap();
        let (_, message) = error(&folder);
        assert!(
            message.contains("example 0 has a blank question; example 1 has a blank answer"),
            "{message}"
        );
    }

    #[test]
    fn every_unreadable_picture_is_reported() {
        let folder = package();
        let images = folder.path().join(DATA_FOLDER).join("train/images");
        let png = fs::read(images.join("3.png")).unwrap();
        fs::write(images.join("3.png"), &png[..png.len() / 2]).unwrap();
        fs::remove_file(images.join("11.png")).unwrap();
        let (error, message) = error(&folder);
        assert!(matches!(&error, DatasetError::Images { errors, tried: 2, .. } if errors.len() == 2));
        assert!(message.contains("3.png") && message.contains("11.png"), "{message}");
    }

    #[test]
    fn a_missing_package_names_the_file() {
        let (error, message) = error(&tempfile::tempdir().unwrap());
        assert!(matches!(error, DatasetError::Io { .. }));
        assert!(message.contains("questions.json"), "{message}");
    }
}
