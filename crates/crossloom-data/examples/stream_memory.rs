//! How much memory a stream of conversations takes: it makes samples with pictures that are ten times as large as the memory allowed to the
//! whole process, streams each of them once, and compares.
//!
//! ```sh
//! cargo run -p crossloom-data --example stream_memory -- 48
//! ```
//!
//! The number is the budget in MiB (48). It exits with 1 where the process has held more at any time.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crossloom_data::chat::ChatFormat;
use crossloom_data::conversations::{
    Bucket, ConversationReader, ConversationStream, PictureReader, Source, StreamOptions,
};
use crossloom_data::image::{Fit, Image, ImageProcessor, Normalization, ResizeFilter};
use crossloom_data::packing::ImageMode;
use crossloom_data::records::{Records, format};
use crossloom_data::tokenizer::{ChatTokenizer, PublishedTokenizer, Spelled, Tokenizer, TokenizerOptions};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }} : {{ m.content }} <eos> {% endfor %}\
                        {% if add_generation_prompt %}assistant : {% endif %}";
/// Pixels of a picture: of noise, whose file is as large as its samples.
const WIDTH: u32 = 1024;
const HEIGHT: u32 = 768;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let budget = std::env::args().nth(1).map_or(Ok(48), |text| text.parse::<u64>())? << 20;
    let folder = tempfile::tempdir()?;
    let (samples, bytes) = written(folder.path(), 10 * budget)?;
    let mut stream = stream(folder.path())?;
    let (mut seen, mut waiting) = (0, 0);
    while seen + waiting < samples {
        let batch = stream.next_batch()?;
        seen += batch.samples.len();
        waiting = batch.state.waiting.len();
    }
    let peak = peak().ok_or("the peak of memory is known on Linux alone")?;
    println!(
        "{samples} samples with {} MiB of pictures; {seen} handed out; at most {} MiB in memory, {} allowed",
        bytes >> 20,
        peak >> 20,
        budget >> 20
    );
    Ok(if peak <= budget && bytes >= 10 * budget { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes samples whose pictures have so many bytes, and tells how many there are of both.
fn written(folder: &Path, bytes: u64) -> Result<(usize, u64), Box<dyn Error>> {
    let (mut written, mut samples, mut state) = (0, 0, 1_u64);
    let mut rows = std::fs::File::create(folder.join("train.jsonl"))?;
    while written < bytes {
        let noise = (0..WIDTH * HEIGHT * 3).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        let png = Image::new(WIDTH, HEIGHT, noise.collect())?.to_png()?;
        written += png.len() as u64;
        std::fs::write(folder.join(format!("{samples}.png")), png)?;
        writeln!(rows, r#"{{"image": "{samples}.png", "question": "a", "answer": "b"}}"#)?;
        samples += 1;
    }
    Ok((samples, written))
}

fn stream(folder: &Path) -> Result<ConversationStream, Box<dyn Error>> {
    let words = Tokenizer::train(["user assistant : a b"], &TokenizerOptions::default())?;
    let published = PublishedTokenizer::from_json(words.to_json()?.as_bytes(), Spelled::Tokens)?;
    let chat = ChatFormat {
        template: TEMPLATE.to_owned(),
        tokens: [("eos_token".to_owned(), "<eos>".to_owned())].into(),
        image_token: Some("<image>".to_owned()),
    };
    let tokenizer = ChatTokenizer::new(published, chat)?;
    let fit = Fit::Crop { edge: 224 };
    let processor = ImageProcessor::squares(fit, 224, ResizeFilter::Bicubic, Normalization::CLIP)?;
    let pictures = PictureReader::new(processor, 256, None)?;
    let buckets = Bucket::all(4, &[32], &[1], 1, None, &pictures, &tokenizer)?;
    let rooms = buckets.iter().map(|bucket| bucket.room).collect();
    let reader = Arc::new(ConversationReader::new(tokenizer, pictures, rooms));
    let files = [folder.join("train.jsonl")];
    let questions = format("questions")?;
    let sources = vec![Source { records: Records::open(questions, &files, folder)?, weight: None }];
    let options = StreamOptions {
        seed: 0,
        samples_per_row: 1,
        skip: 0,
        truncate: 0,
        table: Normalization::CLIP.table()?,
        image_mode: ImageMode::Shown,
        threads: 2,
        ahead: 4,
    };
    Ok(ConversationStream::new(Arc::new(sources), reader, buckets, options)?)
}

/// The most bytes that this process held so far.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}
