//! Runs on data in the tokens of a pretrained language model.

use std::path::Path;

use crossloom_data::tokenizer::{Tokenizer, TokenizerOptions};
use crossloom_recipe::{LoadedRecipe, Part};
use crossloom_run::backends::Resources;
use crossloom_run::stages::Shapes;
use crossloom_run::{Asked, Data, Trained};
use crossloom_train::run_dir::RunDir;
use safetensors::Dtype;

use crate::pretrained::{DECODER, tensors, with, write};
use crate::support::{Entry, finish, interrupt, try_run};

/// Turns that end, as a model of words would have them.
const TEMPLATE: &str = "{% for m in messages %}<answer> {{ m.role }} {{ m.content }} <eos> {% endfor %}\
                        {% if add_generation_prompt %}<answer> assistant {% endif %}";

/// A language model with a tokenizer of words, in another order than that of any data set.
pub(crate) fn language(folder: &Path) {
    write(folder, DECODER, &tensors(Part::Language), Dtype::F32);
    let known = "what is the color shape of a there in image does contain not is which colour present user assistant \
                 red green blue yellow black gray teal brown circle square triangle rectangle yes no";
    let words = Tokenizer::train(known.rsplit(' '), &TokenizerOptions::default()).unwrap();
    words.save(&folder.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), r#"{"eos_token": "<eos>", "pad_token": "<pad>"}"#)
        .unwrap();
}

/// The small recipe on that model, with more settings.
pub(crate) fn loaded(folder: &Path, more: &[&str]) -> Result<LoadedRecipe, String> {
    let weights = format!("model.language.weights='{}'", folder.display());
    let own = [
        weights.as_str(),
        "data.tokenizer=model",
        "data.text_positions=128",
        "train.parts.language.trainable=false",
    ];
    with(&[&own[..], more].concat())
}

#[test]
fn a_run_in_a_models_tokens_resumes_and_is_asked_from_a_copied_folder_alone() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("language");
    language(&folder);
    let recipe = loaded(&folder, &[]).unwrap();
    let cli = &recipe.variant("cli").unwrap().recipe;
    let data = Data::load(cli, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(cli).unwrap();
    let shapes = Shapes::of(cli).unwrap();
    let planned = (plan.batch_size, plan.sequence_len, plan.targets, 90);
    assert_eq!(planned, (shapes.batch.batch, shapes.batch.tokens, shapes.batch.targets, shapes.vocab));
    assert!(!plan.lead.is_empty(), "the template begins a turn in front of the picture");

    let whole = finish(&recipe, &["cli"], &place.path().join("whole"), Entry::New);
    let out = place.path().join("stopped");
    interrupt(&recipe, &["cli"], &out, Entry::New, 3);
    let resumed = finish(&recipe, &["cli"], &out, Entry::Resume);
    let newest = "cli/checkpoints/step-6/model.safetensors";
    let bytes = |run: &RunDir| std::fs::read(run.path().join(newest)).unwrap();
    assert!(bytes(&whole.dir) == bytes(&resumed.dir));

    // The tokenizer is the run's own by now: that of the model may be gone.
    for file in ["tokenizer.json", "chat_template.jinja", "tokenizer_config.json"] {
        std::fs::remove_file(folder.join(file)).unwrap();
    }
    let picture = place.path().join("picture.png");
    let (split, _) = data.images(crossloom_recipe::Split::Test);
    let example = &split.examples()[0];
    std::fs::write(&picture, split.images().image(example.image).unwrap().to_png().unwrap()).unwrap();
    let trained = Trained::load(&whole.dir.variant("cli").unwrap(), cli, Resources::default()).unwrap();
    let asked = Asked::about(&picture, std::slice::from_ref(&example.question));
    let answer = trained.ask(&asked).unwrap().remove(0);
    let record = &whole.variants[0].records[0];
    assert_eq!(record.question, example.question);
    assert_eq!((Some(&answer.answer), answer.finished), (record.answer.as_ref(), record.finished));
}

#[test]
fn what_does_not_fit_is_told_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("language");
    language(&folder);
    let out = place.path().join("run");
    let refused = |more: &[&str]| match loaded(&folder, more) {
        Err(message) => message,
        Ok(recipe) => {
            let error = try_run(&recipe, &["cli"], &out, Entry::New).err().unwrap();
            assert!(!out.exists(), "{error}");
            error.to_string()
        }
    };
    let message = refused(&["data.text_positions=1"]);
    assert!(message.contains("positions after the picture; the sequence has"), "{message}");
    let message = refused(&["eval.max_new_tokens=1"]);
    assert!(message.contains("the longest answer of the data has 1 tokens and an end"), "{message}");
    let json = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let many = (0..200).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
    Tokenizer::train([many.as_str()], &TokenizerOptions::default())
        .unwrap()
        .save(&folder.join("tokenizer.json"))
        .unwrap();
    let message = refused(&[]);
    assert!(message.contains("205 ids") && message.contains("90 rows"), "{message}");
    std::fs::write(folder.join("tokenizer.json"), json).unwrap();
    std::fs::write(folder.join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    let message = refused(&[]);
    assert!(
        message.contains("leaves the assistant's words out") && message.contains("language"),
        "{message}"
    );
    std::fs::remove_file(folder.join("chat_template.jinja")).unwrap();
    assert!(refused(&[]).contains("the model has no chat template"));
}

#[test]
fn a_run_is_known_by_its_tokenizer_and_its_template() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("language");
    language(&folder);
    let out = place.path().join("run");
    let first = loaded(&folder, &[]).unwrap();
    let run = RunDir::open(interrupt(&first, &["cli"], &out, Entry::New, 3)).unwrap();
    let hash = |recipe: &LoadedRecipe| recipe.variant("cli").unwrap().recipe.training_hash();
    assert_eq!(hash(&first), hash(&loaded(&folder, &[]).unwrap()));

    let template = folder.join("chat_template.jinja");
    std::fs::write(&template, format!("present {TEMPLATE}")).unwrap();
    let other = loaded(&folder, &[]).unwrap();
    assert_ne!(hash(&first), hash(&other));
    let error = try_run(&other, &["cli"], &out, Entry::Resume).err().unwrap();
    let help = error.help().unwrap();
    assert!(help.contains("made with other settings: data.tokenizer_hash: "), "{help}");
    let error = crossloom_run::resolved::load(&run, &[]).unwrap_err().to_string();
    assert!(error.contains("tokenizer and chat template") && error.contains("language"), "{error}");
    std::fs::write(&template, TEMPLATE).unwrap();
    crossloom_run::resolved::load(&run, &[]).unwrap();
}

/// Pictures of drawn data and files of questions about them in a folder; `more` are further rows of the training file.
fn files(folder: &Path, more: &[&str]) -> String {
    let drawn = crate::support::recipe(&[]);
    let data = Data::load(&drawn.variant("cli").unwrap().recipe, Path::new("."), &mut |_| ()).unwrap();
    std::fs::create_dir_all(folder.join("pictures")).unwrap();
    for (name, split) in [("train", crossloom_recipe::Split::Train), ("test", crossloom_recipe::Split::Test)]
    {
        let (split, _) = data.images(split);
        let mut rows = String::new();
        for example in split.examples() {
            let picture = format!("{name}-{}.png", example.image);
            let png = split.images().image(example.image).unwrap().to_png().unwrap();
            std::fs::write(folder.join("pictures").join(&picture), png).unwrap();
            let row = serde_json::json!({ "image": picture, "question": example.question, "answer": example.answer });
            rows += &format!("{row}\n");
        }
        if name == "train" {
            rows += &more.join("\n");
        }
        std::fs::write(folder.join(format!("{name}.jsonl")), rows).unwrap();
    }
    let at = folder.display();
    format!(
        "data.source={{ kind = 'files', format = 'questions', train = ['{at}/train.jsonl'], test = ['{at}/test.jsonl'], \
         pictures = '{at}/pictures', skip = 1 }}"
    )
}

#[test]
fn a_run_on_files_resumes_bit_for_bit_and_is_the_same_where_they_are_moved() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("language");
    language(&folder);
    let own = place.path().join("own");
    let source = files(&own, &[r#"{"image": "absent.png", "question": "what is there", "answer": "no"}"#]);
    let recipe = loaded(&folder, &[&source]).unwrap();
    let whole = finish(&recipe, &["cli"], &place.path().join("whole"), Entry::New);
    let notes = whole.dir.read_record().unwrap().notes;
    let left_out =
        |note: &String| note.contains("1 of 34 train samples") && note.contains("train.jsonl`, line 34");
    assert!(notes.iter().any(left_out), "{notes:?}");
    let out = place.path().join("stopped");
    interrupt(&recipe, &["cli"], &out, Entry::New, 3);

    // What is resumed reads the files elsewhere.
    let moved = place.path().join("moved");
    std::fs::rename(&own, &moved).unwrap();
    let source = source.replace(&own.display().to_string(), &moved.display().to_string());
    let again = loaded(&folder, &[&source]).unwrap();
    assert_eq!(recipe.training_hash(), again.training_hash());
    let resumed = finish(&again, &["cli"], &out, Entry::Resume);
    let newest = "cli/checkpoints/step-6/model.safetensors";
    let bytes = |run: &RunDir| std::fs::read(run.path().join(newest)).unwrap();
    assert!(bytes(&whole.dir) == bytes(&resumed.dir));
    crossloom_run::resolved::load(&resumed.dir, &[]).unwrap();

    // Other samples are another run; other pictures are not gone on with.
    let picture = moved.join("pictures/train-0.png");
    let png = std::fs::read(&picture).unwrap();
    std::fs::copy(moved.join("pictures/train-1.png"), &picture).unwrap();
    let error = try_run(&again, &["cli"], &out, Entry::Resume).err().unwrap().to_string();
    assert!(error.contains("the train split of files has changed"), "{error}");
    std::fs::write(&picture, png).unwrap();
    let rows = std::fs::read_to_string(moved.join("train.jsonl")).unwrap();
    std::fs::write(moved.join("train.jsonl"), rows.replace("\"no\"", "\"yes\"")).unwrap();
    assert_ne!(recipe.training_hash(), loaded(&folder, &[&source]).unwrap().training_hash());
    let error = crossloom_run::resolved::load(&resumed.dir, &[]).unwrap_err().to_string();
    assert!(error.contains("the files of samples") && error.contains("train.jsonl"), "{error}");
}

#[test]
fn samples_that_cannot_be_learned_from_stop_a_run_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("language");
    language(&folder);
    let own = place.path().join("own");
    let source = files(&own, &["{\"image\"", r#"{"question": "what is there", "answer": "no"}"#]);
    let out = place.path().join("run");
    let recipe = loaded(&folder, &[&source]).unwrap();
    let error = try_run(&recipe, &["cli"], &out, Entry::New).err().unwrap().to_string();
    assert!(
        error.contains("2 of 35 train samples") && error.contains("train.jsonl`, line 34: no such row"),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn a_step_that_is_not_finite_names_file_and_line_of_its_samples() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("language");
    language(&folder);
    let source = files(&place.path().join("own"), &[]);
    // The hidden state overflows where features of any size are let in.
    let gate = "variants.cli.topology.gate={ kind = 'constant', value = 1e38 }";
    let recipe = loaded(&folder, &[&source, "train.lr=10", "train.warmup=0", gate]).unwrap();
    let error = try_run(&recipe, &["cli"], &place.path().join("run"), Entry::New).err().unwrap().to_string();
    assert!(error.contains("image ") && error.contains(" (train.jsonl, line "), "{error}");
}
