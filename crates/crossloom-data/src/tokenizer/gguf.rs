//! The tokenizer that a GGUF file carries in its metadata, as a `tokenizer.json`.

use serde_json::{Map, Value, json};

use super::TokenizerError;

/// How a text is split before bytes are merged, by the name that GGUF files have for it.
///
/// The expressions are those of the models' own tokenizers.
fn splitting(name: &str) -> Option<Splitting> {
    const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    Some(match name {
        "default" | "gpt-2" => Splitting { digits: false, expression: None, composed: false },
        "smollm" => Splitting { digits: true, expression: None, composed: false },
        "qwen2" => Splitting { digits: false, expression: Some(QWEN2), composed: true },
        "llama-bpe" => Splitting { digits: false, expression: Some(LLAMA3), composed: false },
        _ => return None,
    })
}

/// What is done to a text before its bytes are merged.
struct Splitting {
    /// Every digit by itself.
    digits: bool,
    /// In place of GPT-2's own expression.
    expression: Option<&'static str>,
    /// Letters and their marks become one (NFC).
    composed: bool,
}

/// The vocabulary, merges and kinds of tokens of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufVocabulary {
    splitting: String,
    tokens: Vec<String>,
    merges: Vec<String>,
    /// Per token: 3 is a control token, 4 one that was added.
    kinds: Vec<u64>,
    bos: Option<usize>,
    eos: Option<usize>,
    padding: Option<usize>,
    begins_with_bos: bool,
    chat_template: Option<String>,
}

impl GgufVocabulary {
    /// Reads it from a file's metadata, arrays included.
    ///
    /// # Errors
    /// Another kind of tokenizer than BPE over bytes; what is missing or does not hold together, all of it.
    pub fn read(metadata: &Map<String, Value>) -> Result<Self, TokenizerError> {
        let mut problems = Vec::new();
        let get = |key: &str| metadata.get(&format!("tokenizer.{key}"));
        let word = |key: &str| get(key).and_then(Value::as_str).map(str::to_owned);
        match word("ggml.model").as_deref() {
            Some("gpt2") => {}
            None => problems.push("it holds no tokenizer".to_owned()),
            Some(other) => problems.push(format!(
                "its tokenizer is of the kind \"{other}\"; \"gpt2\", BPE over bytes, is built"
            )),
        }
        let mut words = |key: &str| {
            let list = get(key).and_then(Value::as_array);
            let words = list.map(|list| {
                list.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            });
            words.flatten().unwrap_or_else(|| {
                problems.push(format!("`tokenizer.{key}` is no list of texts"));
                Vec::new()
            })
        };
        let (tokens, merges) = (words("ggml.tokens"), words("ggml.merges"));
        let kinds = get("ggml.token_type").and_then(Value::as_array);
        let kinds: Vec<u64> = kinds.into_iter().flatten().map(|kind| kind.as_u64().unwrap_or(1)).collect();
        if !kinds.is_empty() && kinds.len() != tokens.len() {
            problems.push(format!("it has {} tokens and the kinds of {}", tokens.len(), kinds.len()));
        }
        let splits = word("ggml.pre").unwrap_or_else(|| "default".to_owned());
        if splitting(&splits).is_none() {
            problems.push(format!(
                "texts are split as \"{splits}\" says; default, gpt-2, smollm, qwen2 and llama-bpe are built"
            ));
        }
        let mut id = |key: &str| {
            let id = get(key)?.as_u64().and_then(|id| usize::try_from(id).ok());
            let known = id.filter(|&id| id < tokens.len());
            if known.is_none() {
                problems.push(format!("`tokenizer.{key}` is none of its {} tokens", tokens.len()));
            }
            known
        };
        let (bos, eos) = (id("ggml.bos_token_id"), id("ggml.eos_token_id"));
        let padding = id("ggml.padding_token_id");
        if !problems.is_empty() {
            return Err(TokenizerError::Invalid { reason: problems.join("; ") });
        }
        Ok(Self {
            splitting: splits,
            merges,
            kinds,
            bos,
            eos,
            padding,
            begins_with_bos: get("ggml.add_bos_token").and_then(Value::as_bool).unwrap_or(false),
            chat_template: word("chat_template"),
            tokens,
        })
    }

    /// The chat template that the file carries.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The texts of its special tokens, by the names that chat templates have for them.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = [("bos_token", self.bos), ("eos_token", self.eos), ("pad_token", self.padding)];
        named.into_iter().filter_map(|(name, id)| Some((name, self.tokens.get(id?)?.as_str())))
    }

    /// The same tokenizer as the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// A merge that is not two pieces.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, TokenizerError> {
        let invalid = |reason: String| TokenizerError::Invalid { reason };
        let splitting = splitting(&self.splitting)
            .ok_or_else(|| invalid(format!("texts are split as \"{}\" says", self.splitting)))?;
        let kind = |id: usize| self.kinds.get(id).copied().unwrap_or(1);
        let added: Vec<Value> = (self.tokens.iter().enumerate())
            .filter(|(id, _)| matches!(kind(*id), 3 | 4))
            .map(|(id, token)| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind(id) == 3,
                })
            })
            .collect();
        let vocabulary: Map<String, Value> =
            self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        if vocabulary.len() != self.tokens.len() {
            return Err(invalid(format!(
                "{} of its tokens are written alike",
                self.tokens.len() - vocabulary.len()
            )));
        }
        let merges = self.merges.iter().map(|merge| {
            let pair = merge.split_once(' ').filter(|(_, second)| !second.contains(' '));
            pair.map(|(first, second)| json!([first, second]))
                .ok_or_else(|| invalid(format!("the merge \"{merge}\" is not two pieces")))
        });
        let merges: Vec<Value> = merges.collect::<Result<_, _>>()?;
        let bytes = |expression: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": expression });
        let mut before = Vec::new();
        if splitting.digits {
            before.push(json!({ "type": "Digits", "individual_digits": true }));
        }
        if let Some(expression) = splitting.expression {
            before.push(json!({
                "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false,
            }));
        }
        before.push(bytes(splitting.expression.is_none()));
        let around =
            self.bos.filter(|_| self.begins_with_bos).and_then(|id| Some((id, self.tokens.get(id)?)));
        let around = around.map(|(id, bos)| {
            json!({
                "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": bos, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
                "special_tokens": { bos: { "id": bos, "ids": [id], "tokens": [bos] } },
            })
        });
        let whole = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": splitting.composed.then(|| json!({ "type": "NFC" })),
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": before },
            "post_processor": around,
            "decoder": bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": self.splitting == "llama-bpe", "vocab": vocabulary, "merges": merges,
            },
        });
        serde_json::to_vec(&whole).map_err(|error| invalid(error.to_string()))
    }
}
