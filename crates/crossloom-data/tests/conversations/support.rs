//! Files of conversations in a folder, and streams of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crossloom_data::chat::ChatFormat;
use crossloom_data::conversations::{
    Bucket, ConversationReader, ConversationStream, PictureReader, Source, StreamOptions,
};
use crossloom_data::image::{Fit, Image, ImageProcessor, Normalization, ResizeFilter};
use crossloom_data::packing::ImageMode;
use crossloom_data::records::{Records, format};
use crossloom_data::tokenizer::{ChatTokenizer, PublishedTokenizer, Spelled, Tokenizer, TokenizerOptions};
use serde_json::{Value, json};

/// Turns that end, for words; a picture has its own.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role }} : {{ m.content }} <eos> {% endfor %}\
                        {% if add_generation_prompt %}assistant : {% endif %}";

/// Words that the tokenizer knows.
const WORDS: &str = "user assistant system : . a b c d e f g h i j k l m n o p q r s t u v w x y z";

pub(crate) fn tokenizer(image_token: bool) -> ChatTokenizer {
    let words = Tokenizer::train(WORDS.split(' '), &TokenizerOptions::default()).unwrap();
    let published =
        PublishedTokenizer::from_json(words.to_json().unwrap().as_bytes(), Spelled::Tokens).unwrap();
    let tokens = BTreeMap::from([("eos_token".to_owned(), "<eos>".to_owned())]);
    let image_token = image_token.then(|| "<image>".to_owned());
    ChatTokenizer::new(published, ChatFormat { template: TEMPLATE.to_owned(), tokens, image_token }).unwrap()
}

/// Squares of 4 by 4 pixels, 4 visual tokens each.
pub(crate) fn plain() -> PictureReader {
    let processor = ImageProcessor::squares(Fit::Stretch, 4, ResizeFilter::Bilinear, Normalization::HALF);
    PictureReader::new(processor.unwrap(), 4, None).unwrap()
}

/// Views of 8 by 8 pixels and 4 visual tokens; a picture alone is a base and up to 4 tiles.
pub(crate) fn anyres() -> PictureReader {
    let config = json!({
        "image_processor_type": "LlavaOnevisionImageProcessor", "size": { "height": 8, "width": 8 },
        "image_grid_pinpoints": [[8, 8], [8, 16], [16, 8], [16, 16]],
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    });
    let Value::Object(config) = config else { unreachable!() };
    PictureReader::new(ImageProcessor::read(&config).unwrap(), 4, None).unwrap()
}

/// A folder of pictures `0.png` to `9.png`, each of one shade, and files of conversations.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..10_u8 {
            let (width, height) = if number == 9 { (15, 7) } else { (6, 6) };
            let picture =
                Image::new(width, height, vec![shade(number); (width * height * 3) as usize]).unwrap();
            fs::write(folder.path().join(format!("{number}.png")), picture.to_png().unwrap()).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Samples of rows in LLaVA's form.
    pub(crate) fn source(&self, name: &str, rows: &[String], weight: Option<f64>) -> Source {
        let path = self.path(name);
        fs::write(&path, rows.join("\n")).unwrap();
        let records = Records::open(format("llava").unwrap(), &[path], self.0.path()).unwrap();
        Source { records, weight }
    }
}

/// The shade of a picture by its number.
pub(crate) fn shade(number: u8) -> u8 {
    20 * number + 10
}

/// A row: pictures in front of the first question, and turns of a question and an answer.
pub(crate) fn row(pictures: &[u8], turns: &[(&str, &str)]) -> String {
    let mut conversations = Vec::new();
    for (at, (question, answer)) in turns.iter().enumerate() {
        let places = if at == 0 { "<image>\n".repeat(pictures.len()) } else { String::new() };
        conversations.push(json!({ "from": "human", "value": format!("{places}{question}") }));
        conversations.push(json!({ "from": "gpt", "value": answer }));
    }
    let images: Vec<String> = pictures.iter().map(|number| format!("{number}.png")).collect();
    json!({ "image": images, "conversations": conversations }).to_string()
}

/// How a stream of a test is drawn.
pub(crate) struct Setting {
    pub(crate) pictures: PictureReader,
    pub(crate) image_token: bool,
    pub(crate) rows: usize,
    pub(crate) lengths: Vec<usize>,
    pub(crate) views: Vec<usize>,
    pub(crate) samples_per_row: usize,
    pub(crate) skip: u64,
    pub(crate) truncate: u64,
    pub(crate) threads: usize,
    pub(crate) ahead: usize,
    pub(crate) seed: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            pictures: plain(),
            image_token: true,
            rows: 2,
            lengths: vec![40],
            views: vec![2],
            samples_per_row: 1,
            skip: 0,
            truncate: 0,
            threads: 2,
            ahead: 4,
            seed: 5,
        }
    }
}

impl Setting {
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let Self { pictures, rows, lengths, views, samples_per_row, .. } = self;
        let tokenizer = tokenizer(self.image_token);
        Bucket::all(*rows, lengths, views, *samples_per_row, None, pictures, &tokenizer).unwrap()
    }

    pub(crate) fn reader(&self) -> Arc<ConversationReader> {
        let rooms = self.buckets().iter().map(|bucket| bucket.room).collect();
        Arc::new(ConversationReader::new(tokenizer(self.image_token), self.pictures.clone(), rooms))
    }

    pub(crate) fn stream(&self, sources: Vec<Source>) -> ConversationStream {
        self.shared(&Arc::new(sources))
    }

    pub(crate) fn shared(&self, sources: &Arc<Vec<Source>>) -> ConversationStream {
        let options = StreamOptions {
            seed: self.seed,
            samples_per_row: self.samples_per_row,
            skip: self.skip,
            truncate: self.truncate,
            table: Normalization::HALF.table().unwrap(),
            image_mode: ImageMode::Shown,
            threads: self.threads,
            ahead: self.ahead,
        };
        ConversationStream::new(Arc::clone(sources), self.reader(), self.buckets(), options).unwrap()
    }
}
