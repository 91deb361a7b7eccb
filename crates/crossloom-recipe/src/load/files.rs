//! Reading files, and the files that they extend.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::architecture::Architectures;
use super::{ReadArchitecture, leaves_folder};
use crate::diagnostic::{Finding, SourceKind, Sources, Span};
use crate::tree::{Node, Table, Value, merge, parse_document};

/// Largest recipe file, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Longest chain of `extends`.
const MAX_DEPTH: usize = 16;
/// A recipe in a folder of this name may extend what lies in the folder around it.
const STUDIES: &str = "studies";
/// Most files in one recipe.
const MAX_FILES: usize = 128;

/// What is collected while a recipe is loaded.
pub(super) struct Loader<'r> {
    pub(super) path: PathBuf,
    pub(super) sources: Sources,
    pub(super) findings: Vec<Finding>,
    pub(super) files: Vec<PathBuf>,
    /// How often a file was read, the same one more than once.
    opened: usize,
    /// Whether some text could not be read, so that settings are missing for no fault of theirs.
    pub(super) unread: bool,
    layers: u32,
    /// What says which dimensions weights have; without it, a recipe has to.
    pub(super) architectures: Option<Architectures<'r>>,
}

/// A file on its way through `extends`.
struct Opened {
    /// The file, as it can be opened.
    path: PathBuf,
    /// As seen from the recipe's folder.
    short: String,
    /// Where its own relative paths start: its folder, or that of the file that it links to.
    home: PathBuf,
    /// The canonical folder that relative paths may not leave.
    root: PathBuf,
}

/// In which role a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadAs {
    /// A recipe, or a part of one.
    Recipe,
    /// What a variant extends: a part of a recipe without variants of its own.
    Variant,
}

impl<'r> Loader<'r> {
    pub(super) fn new(path: &Path, read: Option<&'r ReadArchitecture<'r>>) -> Self {
        Self {
            path: path.to_owned(),
            sources: Sources::default(),
            findings: Vec::new(),
            files: Vec::new(),
            opened: 0,
            unread: false,
            layers: 0,
            architectures: read.map(Architectures::new),
        }
    }

    pub(super) fn next_layer(&mut self) -> u32 {
        self.layers += 1;
        self.layers
    }

    /// The text of the recipe itself. `None` after the reason has been reported.
    pub(super) fn read_main(&mut self) -> Option<String> {
        read(&self.path).map_err(|reason| self.unreadable(&reason)).ok()
    }

    pub(super) fn check_size(&mut self, text: String) -> Option<String> {
        if text.len() <= MAX_BYTES {
            return Some(text);
        }
        self.unreadable(&too_large());
        None
    }

    fn unreadable(&mut self, reason: &str) {
        let name = self.path.display().to_string();
        let source = self.sources.add(SourceKind::File, name.clone(), name, String::new());
        self.findings.push(
            Finding::error(Span::whole(source), format!("cannot read the recipe: {reason}"))
                .help("a recipe is a TOML file; `crossloom recipe ls` lists those that come with crossloom"),
        );
    }

    /// The tree of the recipe's file over everything that it extends.
    pub(super) fn document(&mut self, text: &str) -> Node {
        let name = self.path.file_name().map_or_else(|| self.path.clone(), PathBuf::from);
        let home = home(&self.path);
        let own = home.canonicalize().unwrap_or_else(|_| home.clone());
        // Studies are made of the recipes around them.
        let around = own.parent().filter(|_| own.file_name().is_some_and(|name| name == STUDIES));
        let root = around.map_or_else(|| own.clone(), Path::to_owned);
        let place = Opened { path: self.path.clone(), short: name.display().to_string(), home, root };
        let mut stack = vec![canonical(&self.path)];
        self.tree(&place, text, ReadAs::Recipe, &mut stack)
    }

    fn tree(&mut self, place: &Opened, text: &str, role: ReadAs, stack: &mut Vec<PathBuf>) -> Node {
        self.opened += 1;
        if !self.files.contains(&place.path) {
            self.files.push(place.path.clone());
        }
        let name = place.path.display().to_string();
        let source = self.sources.add(SourceKind::File, name, place.short.clone(), text.to_owned());
        let mut merged = Node::new(Value::Table(Table::new()), Span::whole(source));
        let mut own = match parse_document(text, source) {
            Ok(own) => own,
            Err(findings) => {
                self.unread = true;
                self.findings.extend(findings);
                return merged;
            }
        };
        let extends = own.table_mut().and_then(|table| table.shift_remove("extends"));
        if let Some(entry) = extends {
            self.extended(&entry.node, place, role, stack, &mut merged);
        }
        if role == ReadAs::Variant {
            for key in ["variants", "sweep"] {
                if let Some(entry) = own.table_mut().and_then(|table| table.shift_remove(key)) {
                    let message = format!("a file that a variant extends cannot have `{key}`");
                    let help = "move it into the recipe itself";
                    self.findings.push(Finding::error(entry.key, message).help(help));
                }
            }
        }
        self.methods(&mut own);
        self.variant_extends(&mut own, place, stack);
        self.normalise(&mut own);
        let layer = self.next_layer();
        stamp_outside_variants(&mut own, layer);
        merge(&mut merged, own);
        merged
    }

    /// Puts under every variant what it extends.
    fn variant_extends(&mut self, own: &mut Node, place: &Opened, stack: &mut Vec<PathBuf>) {
        let Some(variants) = own.get_mut("variants").and_then(Node::table_mut) else { return };
        for entry in variants.values_mut() {
            let node = &mut entry.node;
            let mut under = Node::new(Value::Table(Table::new()), node.span);
            if let Some(extends) = node.table_mut().and_then(|table| table.shift_remove("extends")) {
                self.extended(&extends.node, place, ReadAs::Variant, stack, &mut under);
            }
            self.normalise(node);
            let layer = self.next_layer();
            node.stamp(layer);
            let over = std::mem::replace(node, under);
            merge(node, over);
        }
    }

    fn extended(
        &mut self,
        list: &Node,
        place: &Opened,
        role: ReadAs,
        stack: &mut Vec<PathBuf>,
        merged: &mut Node,
    ) {
        let Value::Array(items) = &list.value else {
            let message = format!("`extends` must be a list of files, found {}", list.value.type_name());
            let help = list.string().map(|text| format!("write `extends = [{text:?}]`"));
            let finding = Finding::error(list.span, message);
            self.findings.push(finding.help_or(help, "for example `extends = [\"base.toml\"]`"));
            self.unread = true;
            return;
        };
        for item in items {
            let Some(text) = item.string() else {
                let message = format!("`extends` lists files, found {}", item.value.type_name());
                let help = "write the names of files, in quotes";
                self.findings.push(Finding::error(item.span, message).help(help));
                self.unread = true;
                continue;
            };
            match self.open(text, place, stack) {
                Ok((next, content)) => {
                    stack.push(canonical(&next.path));
                    let mut tree = self.tree(&next, &content, role, stack);
                    stack.pop();
                    // A name belongs to one file.
                    if let Some(table) = tree.table_mut() {
                        table.shift_remove("name");
                    }
                    merge(merged, tree);
                }
                Err((message, help)) => {
                    self.unread = true;
                    self.findings.push(Finding::error(item.span, message).help(help));
                }
            }
        }
    }

    /// Finds and reads a file that `place` extends.
    fn open(
        &self,
        text: &str,
        place: &Opened,
        stack: &[PathBuf],
    ) -> Result<(Opened, String), (String, String)> {
        let relative = Path::new(text);
        let path = place.home.join(relative);
        let outside = || {
            let help = "use a path inside the folder, or an absolute one".to_owned();
            (format!("`{text}` leaves the recipe's folder"), help)
        };
        if stack.len() > MAX_DEPTH {
            return Err((format!("`extends` is more than {MAX_DEPTH} files deep"), FEWER.to_owned()));
        }
        if self.opened >= MAX_FILES {
            return Err((format!("the recipe is made of more than {MAX_FILES} files"), FEWER.to_owned()));
        }
        let canonical = path.canonicalize().map_err(|error| {
            let lexically_outside = leaves_folder(&folder_relative(&place.short).join(relative));
            if relative.is_relative() && lexically_outside {
                outside()
            } else {
                (cannot_read(text, &error), missing_file(place))
            }
        })?;
        if relative.is_relative() && !canonical.starts_with(&place.root) {
            return Err(outside());
        }
        if let Some(first) = stack.iter().position(|file| *file == canonical) {
            let names = stack[first..].iter().chain([&canonical]).map(|file| file_name(file));
            let circle = names.collect::<Vec<_>>().join(" → ");
            return Err((
                format!("`extends` goes in a circle: {circle}"),
                "remove one of these `extends`".to_owned(),
            ));
        }
        let content =
            read(&path).map_err(|reason| (format!("cannot read `{text}`: {reason}"), missing_file(place)))?;
        let home = home(&path);
        let (root, short) = if relative.is_absolute() {
            (home.canonicalize().unwrap_or_else(|_| home.clone()), text.to_owned())
        } else {
            (place.root.clone(), folder_relative(&place.short).join(relative).display().to_string())
        };
        Ok((Opened { path, short, home, root }, content))
    }
}

/// A hint for too many files.
const FEWER: &str = "put the settings of some of the files into one";

/// A hint for a file that cannot be read.
fn missing_file(from: &Opened) -> String {
    let Opened { path, short, home, .. } = from;
    if is_link(path) {
        return format!(
            "`{short}` is a link into `{}`, which the path is relative to; it names a TOML file",
            home.display()
        );
    }
    format!("the path is relative to `{short}`, and names a TOML file")
}

/// Variants have layers of their own, because they extend files of their own.
fn stamp_outside_variants(own: &mut Node, layer: u32) {
    own.layer = layer;
    let Some(table) = own.table_mut() else { return };
    for (key, entry) in table {
        if key != "variants" {
            entry.node.stamp(layer);
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let reason = |error: std::io::Error| error_text(&error);
    // Before it is opened: to open a pipe waits for a writer.
    if !std::fs::metadata(path).map_err(reason)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(reason)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(reason)?;
    if bytes.len() > MAX_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        format!("it is not UTF-8 text (line {line})")
    })
}

fn too_large() -> String {
    format!("it is larger than {} MiB", MAX_BYTES >> 20)
}

fn cannot_read(text: &str, error: &std::io::Error) -> String {
    format!("cannot read `{text}`: {}", error_text(error))
}

fn error_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

/// The folder that a file's relative paths start at. A link stands for the file it leads to: what that file extends lies
/// beside it.
fn home(path: &Path) -> PathBuf {
    let real = if is_link(path) { canonical(path) } else { path.to_owned() };
    real.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn folder_relative(short: &str) -> PathBuf {
    Path::new(short).parent().map(Path::to_owned).unwrap_or_default()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
